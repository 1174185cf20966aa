"""Learning curves of many runs, thinned alike so that the seeds of a group can be averaged step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

POINTS = 200
"""Points of a curve at most."""

DIGITS = 5
"""Significant digits of a value: more than a screen can show."""

Logged = Mapping[str, Mapping[int, str]]
"""``name -> step -> value``, the values still as text: most of them are thinned away."""


@dataclass(frozen=True)
class Curves:
    """The curves of one group: the steps that were kept, and for each run its values there (``None``: none logged)."""

    steps: list[int]
    values: dict[int, list[float | None]]


def read_metrics(path: Path) -> dict[str, dict[int, str]]:
    """A run's ``metrics.csv``; empty where there is none yet.

    A process may be writing to it: what follows the last line end is left for the next time.

    Raises:
        ValueError: a line is not ``step,name,value``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    found: dict[str, dict[int, str]] = {}
    whole = text[: text.rfind("\n") + 1]
    for number, line in enumerate(whole.splitlines()[1:], start=2):
        try:
            step, rest = line.split(",", 1)
            name, value = rest.rsplit(",", 1)
            found.setdefault(name, {})[int(step)] = value
        except ValueError:
            raise ValueError(f"{path.name}: line {number} is not step,name,value") from None
    return found


def thin(steps: Sequence[int], points: int = POINTS) -> list[int]:
    """At most ``points`` of the sorted ``steps``, evenly spaced among them, with the first and the last.

    >>> thin([1, 2, 3, 4, 5, 6, 7], 3)
    [1, 4, 7]
    """
    if len(steps) <= points:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (points - 1))] for i in range(points)]


def thin_group(logged: Mapping[int, Logged]) -> dict[str, Curves]:
    """The curves of a group's runs, for each metric, on steps that are the same for all of them.

    Of all steps that any run of the group logged at most :data:`POINTS` are kept. The values are as they were logged:
    nothing is averaged or interpolated. Values that are not finite are left out.
    """
    found = {}
    for name in sorted({name for metrics in logged.values() for name in metrics}):
        runs = {run: metrics[name] for run, metrics in logged.items() if name in metrics}
        steps = thin(sorted(set().union(*runs.values())))
        found[name] = Curves(
            steps, {run: [_number(values.get(step)) for step in steps] for run, values in runs.items()}
        )
    return found


def _number(text: str | None) -> float | None:
    try:
        value = float(f"{float(text):.{DIGITS}g}") if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
