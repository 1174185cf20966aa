"""Which rows of ``results.csv`` count for a factor's role, however many modalities there are."""

from __future__ import annotations

import pandas as pd


def own(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of each modality's own encodings, with the column ``role``.

    A modality's style and modality-specific factors (``style.x1``) count from that modality's own encoding (``x1``)
    alone; factors of no modality (``content``) count from every encoding. ``role`` is the part of ``target`` before
    the dot. ``results`` has the columns ``target`` and ``representation`` at least.
    """
    role = results.target.str.partition(".")[0]
    owner = results.target.str.partition(".")[2]
    return results.assign(role=role)[owner.eq("") | owner.eq(results.representation)]
