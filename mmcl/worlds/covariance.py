"""Random covariances, as Cholesky factors."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.checks import require


def wishart_cholesky(size: int, generator: torch.Generator) -> Tensor:
    """The lower Cholesky factor L of a draw L L^T ~ Wishart(size, I): (size, size) float64.

    Bartlett decomposition: L_ij ~ N(0, 1) for j < i and L_ii^2 ~ chi^2(size - i), i from 0, all independent.
    The covariance has mean ``size * I`` (it is not divided by the degrees of freedom). With as many degrees
    of freedom as dimensions it is often ill-conditioned; the factor is drawn directly, so nothing is
    factorised.

    Source: paper, section 5.1 (covariances with off-diagonal entries); the law is the one of its code
    release. Raises ``ValueError`` unless size >= 1.
    """
    require(size >= 1, "size", size, ">= 1")
    normals = torch.randn(size, size, dtype=torch.float64, generator=generator)
    # Row i has size - i entries on and right of the diagonal: their squares sum to a chi^2(size - i),
    # independent of the entries left of it, which are used as they are.
    diagonal = normals.triu().square().sum(dim=1).sqrt()
    return normals.tril(-1) + torch.diag(diagonal)
