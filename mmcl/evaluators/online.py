"""A score cheap enough for a progress bar."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.evaluators.scores import r2_score


@torch.no_grad()
def linear_r2(z: Tensor, y: Tensor) -> float:
    """R^2 of ``y: (N, k)`` from ``z: (N, D)`` by least squares: the first half fits, the second scores.

    By the pseudo-inverse of the ``(D, D)`` covariance in float64: cost ``N D^2``, no more rank needed than
    there is. For watching a run, not for reporting. NaN where an input is not finite or N < 4 (a progress
    bar should not end a run). Raises ``ValueError`` when the numbers of rows differ.
    """
    if len(z) != len(y):
        raise ValueError(f"{len(z)} encodings and {len(y)} targets: must be as many")
    n = len(z) // 2
    z, y = z.double(), y.to(z.device).double()
    if n < 2 or not bool(torch.isfinite(z).all() & torch.isfinite(y).all()):
        return float("nan")
    z_mean, y_mean = z[:n].mean(dim=0), y[:n].mean(dim=0)
    centred = z[:n] - z_mean
    weights = torch.linalg.pinv(centred.T @ centred, rtol=1e-10, hermitian=True) @ (
        centred.T @ (y[:n] - y_mean)
    )
    return r2_score(y[n:], (z[n:] - z_mean) @ weights + y_mean)
