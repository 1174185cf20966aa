"""Scores of predictions."""

from __future__ import annotations

import torch
from torch import Tensor


def r2_score(y: Tensor, prediction: Tensor) -> float:
    """Coefficient of determination, uniform average over columns of ``1 - SSE / SST``.

    ``y``, ``prediction``: ``(N, k)``; computed in float64. SST is about the mean of ``y`` itself (the split
    that is scored). A constant column scores 1 if predicted exactly and 0 otherwise: scikit-learn's rule.
    Departure: it holds for every constant (scikit-learn's r2 of 0.1, whose mean is rounded, is about -1e32).
    Range ``(-inf, 1]``. Raises ``ValueError`` when shapes differ or ``N < 2``.

    >>> r2_score(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [1.0]]))
    0.5
    """
    if y.shape != prediction.shape or y.ndim != 2 or len(y) < 2:
        raise ValueError(f"shapes {tuple(y.shape)} and {tuple(prediction.shape)}: must be equal, (N >= 2, k)")
    y, prediction = y.double(), prediction.double()
    sse = (y - prediction).square().sum(dim=0)
    sst = (y - y.mean(dim=0)).square().sum(dim=0)
    # A constant column's computed mean may be off by rounding, which would make a tiny SST out of none.
    constant = (y == y[0]).all(dim=0) | (sst == 0)
    scores = torch.where(constant, (sse == 0).double(), 1 - sse / sst.masked_fill(constant, 1.0))
    return float(scores.mean())
