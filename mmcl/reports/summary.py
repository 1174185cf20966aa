"""What a run recovered of each kind of factor, from the rows of its ``results.csv``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmcl.reports.roles import role_of

LINEAR = ("linear", "logistic")
NONLINEAR = ("kernel_ridge", "mlp")
INTERVENTION = "kernel_ridge_intervention"
PREDICTORS = (*LINEAR, *NONLINEAR, INTERVENTION)
LABELS = {
    "content": "content c",
    "style": "style s",
    "modality_specific": "modality-specific m",
    "content_intervened": "content c'",
}
PROBE_METRICS = {
    "balanced_accuracy": "balanced accuracy",
    "auroc": "AUROC",
    "bits": "lower bound, bits",
    "f1_macro": "macro F1",
    "f1_weighted": "weighted F1",
}
"""What probes are scored by, and how it is called."""
RECALLS = {"recall_at": "Recall", "class_recall_at": "Recall of the classes"}
"""Kinds of recall, whose metrics end with a number, and how they are called."""
LINED = ("loss", "median_rank")
"""Other metrics that have lines of their own."""
ORDER = ("content", "content_intervened", "style", "modality_specific")


@dataclass(frozen=True)
class Line:
    """What a run recovered of one kind of factor: the mean over the modalities' own encodings."""

    role: str
    intervened: bool
    metric: str
    linear: float | None
    nonlinear: float | None
    chance: float | None
    ceiling: float | None

    @property
    def label(self) -> str:
        return LABELS.get(self.role, self.role)


def summarise_rows(rows: Iterable[Mapping[str, Any]]) -> list[Line]:
    """The lines of a run's table, from rows of text or numbers.

    A modality's style and modality-specific factors are scored from that modality's own encoding, content from
    every encoding; a line is the mean over them, where all are scored alike: a colour that is a number in one modality
    and a name in another has two lines. ``results.csv`` has every encoding with every factor. Evaluators that
    the table has no column for are left out.

    Plain Python: on the few dozen rows of a run it is much faster than a data frame, and a sweep has hundreds of runs.
    """
    parts: dict[tuple[bool, bool, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["split"] != "test" or row["evaluator"] not in PREDICTORS or row["metric"] in PROBE_METRICS:
            continue
        role = role_of(str(row["target"]), str(row["representation"]))
        if role is not None:
            owned = "." in str(row["target"])
            key = (row["intervention"] != "none", owned, role, str(row["metric"]))
            parts.setdefault(key, []).append(row)
    return [_line(key[0], key[2], parts[key]) for key in sorted(parts, key=_place)]


def _place(key: tuple[bool, bool, str, str]) -> tuple[bool, int, bool, str, str]:
    """What all modalities share comes first."""
    intervened, owned, role, metric = key
    return intervened, ORDER.index(role) if role in ORDER else len(ORDER), owned, role, metric


def _line(intervened: bool, role: str, rows: Sequence[Mapping[str, Any]]) -> Line:
    nonlinear = (INTERVENTION, *NONLINEAR) if intervened else NONLINEAR
    # Chance and ceiling are the nonlinear predictor's, or the linear one's where there is no other.
    shown = nonlinear if any(row["evaluator"] in nonlinear for row in rows) else LINEAR
    return Line(
        role=role,
        intervened=intervened,
        metric=str(rows[0]["metric"]),
        linear=_mean(rows, "value", LINEAR),
        nonlinear=_mean(rows, "value", nonlinear),
        chance=_mean(rows, "chance", shown),
        ceiling=_mean(rows, "ceiling", shown),
    )


def _mean(rows: Sequence[Mapping[str, Any]], column: str, evaluators: tuple[str, ...]) -> float | None:
    """``None`` where no cell has a number; a mean over a NaN is NaN: what is missing must be seen."""
    cells = [row[column] for row in rows if row["evaluator"] in evaluators]
    known = [float(cell) for cell in cells if cell != ""]
    return sum(known) / len(known) if known else None


@dataclass(frozen=True)
class ProbeLine:
    """What the probes of one representation say of one factor: ``values`` by evaluator, and the best constant."""

    target: str
    representation: str
    metric: str
    intervened: bool
    values: Mapping[str, float]
    chance: float | None


def summarise_probes(rows: Iterable[Mapping[str, Any]]) -> list[ProbeLine]:
    """A line for each metric, factor and representation, from rows of text or numbers; no mean over anything.

    What a modality, or all of them, say of a factor is the question here, so that no encoding counts for a role. Lines
    are in the order of :data:`PROBE_METRICS`, then factors, then representations, both as they come.
    """
    found: dict[tuple[bool, str, str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row["split"] == "test" and row["metric"] in PROBE_METRICS:
            key = (
                row["intervention"] != "none",
                *(str(row[c]) for c in ("metric", "target", "representation")),
            )
            found.setdefault(key, {})[str(row["evaluator"])] = row
    metrics, targets = list(PROBE_METRICS), list(dict.fromkeys(key[2] for key in found))
    order = sorted(found, key=lambda key: (key[0], metrics.index(key[1]), targets.index(key[2])))
    return [_probe_line(key, found[key]) for key in order]


def others(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Evaluator -> its test rows that neither :func:`summarise_rows` nor :func:`summarise_probes` takes, without losses
    and recalls, which have lines of their own."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        taken = row["evaluator"] in PREDICTORS or row["metric"] in PROBE_METRICS or row["metric"] in LINED
        if row["split"] == "test" and not taken and str(row["metric"]).rpartition("_")[0] not in RECALLS:
            found.setdefault(str(row["evaluator"]), []).append(row)
    return found


def _probe_line(key: tuple[bool, str, str, str], rows: Mapping[str, Mapping[str, Any]]) -> ProbeLine:
    intervened, metric, target, representation = key
    values = {name: float(row["value"]) for name, row in rows.items()}
    chance = _mean(list(rows.values()), "chance", tuple(rows))
    return ProbeLine(target, representation, metric, intervened, values, chance)
