"""Whether scores rank as what they are held against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

RESAMPLINGS = 9999


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rho: the correlation of the ranks of ``x`` and ``y``, of which equals share the mean; in [-1, 1].

    NaN for fewer than two pairs, or where all of ``x`` or of ``y`` are equal.

    >>> round(rank_correlation([0.1, 0.2, 0.3, 0.9], [1.0, 2.0, 4.0, 3.0]), 6)
    0.8
    """
    if len(x) < 2:
        return float("nan")
    return float(_correlations(np.array([x], dtype=float), np.array([y], dtype=float))[0])


def rank_interval(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """The 95 % percentile interval of :func:`rank_correlation` when pairs are resampled (Efron, 1979).

    The same values give the same interval. Resamplings without a correlation are left out; NaN if all are.
    """
    pairs = np.array(sorted(zip(x, y, strict=True)), dtype=float)
    if len(pairs) < 2:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(0).integers(len(pairs), size=(RESAMPLINGS, len(pairs)))
    found = _correlations(pairs[drawn, 0], pairs[drawn, 1])
    if np.isnan(found).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


def _correlations(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row; NaN where one side is constant."""
    a, b = (pd.DataFrame(side).rank(axis=1).to_numpy() for side in (x, y))
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (a, b))
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    correlation: NDArray[np.float64] = np.divide(
        (a * b).sum(axis=1), scale, out=np.full(len(scale), np.nan), where=scale > 0
    )
    return correlation
