"""Redundant, unique and synergistic information, of the bits that probes find in single encodings and in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import pandas as pd

from mmcl.errors import UserError

METRIC = "decomposition"
"""Of the rows that are made: in bits."""

KEYS = ["run_key", "evaluator", "evaluation_key", "split", "intervention", "target"]
"""What the scores have in common that are decomposed together."""


class Atoms(NamedTuple):
    """In bits. ``redundant + unique1 = I1``, ``redundant + unique2 = I2``, the sum of all four is ``I12``."""

    redundant: float
    unique1: float
    unique2: float
    synergistic: float


def atoms(first: float, second: float, both: float) -> Atoms:
    """The decomposition of least mutual information: R = min(I1, I2), U1 = I1 - R, U2 = I2 - R, S = I12 - max(I1, I2).

    R is the largest and S the smallest that any decomposition with these sums and without negative parts may have. Of
    the laws of this package's worlds of classes it is the one of Bertschinger et al. (2014) as well
    (:func:`mmcl.theory.decompose`; a test of every world and bias), and it needs no joint law, so that it can be had of
    measured bits. These are lower bounds, of which one below 0 says no more than 0 does, and is taken for that. S is
    negative where both together are found to have less than one alone.

    Args:
        first, second, both: the information on a label of one source, the other, and both, in bits.

    Source: Barrett (2015), "Exploration of synergistic and redundant information sharing in static and dynamical
    Gaussian systems".

    >>> atoms(1.0, 0.0, 1.5)
    Atoms(redundant=0.0, unique1=1.0, unique2=0.0, synergistic=0.5)
    """
    first, second, both = (max(bits, 0.0) for bits in (first, second, both))
    redundant = min(first, second)
    return Atoms(redundant, first - redundant, second - redundant, both - max(first, second))


def decomposition_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows ``redundant``, ``unique A``, ``unique B``, ``synergistic`` (as ``representation``) of each probe and label.

    Args:
        scores: as in ``results.csv``, with numbers as ``value`` and ``ceiling``; those of the metric ``bits`` of
            representations A, B and A+B are decomposed (:func:`atoms`), and their ceilings, what there is, likewise.

    Returns:
        Rows with the columns of ``scores``, of the metric ``decomposition``, chance 0; the ceiling is NaN where one of
        the three has none. Where a probe has no bits of A+B there is no row.

    Raises:
        UserError: no score can be decomposed.
    """
    rows = []
    for _, group in scores[scores.metric.eq("bits")].groupby(KEYS, sort=False):
        found = {row.representation: row for row in group.itertuples(index=False)}
        for first, second in combinations([name for name in found if "+" not in name], 2):
            three = [found.get(name) for name in (first, second, f"{first}+{second}")]
            if any(row is None for row in three):
                continue
            value = _atoms([row.value for row in three])
            ceiling = _atoms([row.ceiling for row in three])
            names = ("redundant", f"unique {first}", f"unique {second}", "synergistic")
            rows += [
                three[2]._asdict()
                | {"representation": name, "metric": METRIC, "value": v, "chance": 0.0, "ceiling": c}
                for name, v, c in zip(names, value, ceiling, strict=True)
            ]
    if not rows:
        raise UserError(
            "derive: decomposition: no probe has bits of two encodings and of both; leave derive out, or evaluate with "
            "probe_linear or probe_mlp"
        )
    return pd.DataFrame(rows, columns=list(scores.columns))


def _atoms(informations: Sequence[float]) -> Sequence[float]:
    """NaN in, NaN out: ``min`` would hide one."""
    return atoms(*informations) if all(map(math.isfinite, informations)) else [math.nan] * 4
