"""A run's results, read from its directory for loggers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from mmcl.records.files import read_csv
from mmcl.records.outcome import Outcome
from mmcl.reports.configs import HASHES
from mmcl.reports.summary import Line, ProbeLine, summarise_probes, summarise_rows


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


def probe_summary(lines: Iterable[ProbeLine]) -> dict[str, float]:
    """A name and a score for each probe: ``probe_linear/synergy_bits/x1+x2``, of the factor from the representation.

    Balanced accuracies and areas are from 0 to 1. Under an intervention ``probe_linear/intervention/...``.
    """
    return {
        f"{name}/{'intervention/' * line.intervened}{line.target}_{line.metric}/{line.representation}": value
        for line in lines
        for name, value in line.values.items()
    }


def read_outcome(run_dir: Path) -> Outcome:
    """What the finished run in ``run_dir`` came to."""
    path = run_dir / "results.csv"
    results = pd.read_csv(path, dtype=dict.fromkeys(HASHES, str))
    losses = results[results.metric.eq("loss")]
    heldout = {f"heldout_loss/{split}": float(v) for split, v in zip(losses.split, losses.value, strict=True)}
    rows = read_csv(path)
    return Outcome(
        step=json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))["steps_done"],
        summary={**summary(summarise_rows(rows)), **probe_summary(summarise_probes(rows)), **heldout},
        columns=list(results.columns),
        rows=[[_plain(v) for v in row] for row in results.itertuples(index=False)],
        figure=run_dir / "figure.png",
        pictures={path.stem: path for path in sorted((run_dir / "pictures").glob("*.png"))},
    )


def _plain(value: Any) -> Any:
    """``value`` as a builtin; a missing one is ``None``."""
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value
