"""A run's results, read from its directory for loggers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from mmcl.records.outcome import Outcome
from mmcl.reports.run import Line, summarise

KEYS = ("run_key", "evaluation_key")
"""Columns of hashes, of which some look like numbers."""


def summary(lines: Iterable[Line]) -> dict[str, float]:
    """A name and a score for each factor and predictor: ``nonlinear/content_r2``, ``linear/style_accuracy``, ...

    Scores under an intervention are ``nonlinear/intervention/content_r2``.
    """
    scores = {}
    for line in lines:
        factor = f"{'intervention/' if line.intervened else ''}{line.role}_{line.metric}"
        for kind, value in (
            ("linear", line.linear),
            ("nonlinear", line.nonlinear),
            ("ceiling", line.ceiling),
        ):
            if value is not None:
                scores[f"{kind}/{factor}"] = value
    return scores


def read_outcome(run_dir: Path) -> Outcome:
    """What the finished run in ``run_dir`` came to."""
    results = pd.read_csv(run_dir / "results.csv", dtype=dict.fromkeys(KEYS, str))
    losses = results[results.metric.eq("loss")]
    heldout = {f"heldout_loss/{split}": float(v) for split, v in zip(losses.split, losses.value, strict=True)}
    return Outcome(
        step=json.loads((run_dir / "manifest.json").read_text())["steps_done"],
        summary={**summary(summarise(results)), **heldout},
        columns=list(results.columns),
        rows=[[_plain(v) for v in row] for row in results.itertuples(index=False)],
        figure=run_dir / "figure.png",
    )


def _plain(value: Any) -> Any:
    """``value`` as a builtin; a missing one is ``None``."""
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value
