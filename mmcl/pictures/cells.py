"""One sample in one place of a picture: an image, or a text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

Shown = np.ndarray | Sequence[str]
"""The samples of a view as they can be shown: images ``(n, C, H, W)``, uint8, C = 1 or 3, or a text for each."""

OWN = "#009e73"
"""Of what belongs together; told from black also where colours are not."""


def draw_cell(axis: Any, shown: Shown, index: int, *, title: str = "", own: bool = False) -> None:
    """Show sample ``index`` in ``axis``, framed thickly if it is the query's ``own``."""
    axis.set_xticks([])
    axis.set_yticks([])
    if isinstance(shown, np.ndarray):
        image = shown[index].transpose(1, 2, 0)
        axis.imshow(
            image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", interpolation="nearest"
        )
    else:
        text = textwrap.shorten(shown[index], 140, placeholder=" …")
        axis.text(
            0.5, 0.5, textwrap.fill(text, 21), transform=axis.transAxes, ha="center", va="center", fontsize=7
        )
        axis.set_aspect("equal")
    for spine in axis.spines.values():
        spine.set_color(OWN if own else "#bbbbbb")
        spine.set_linewidth(3 if own else 0.6)
    if title:
        axis.set_title(title, fontsize=8, pad=3, color=OWN if own else "black")
