"""The Darmois construction: content as a uniform vector, which is where AlignMaxEnt has its minimum."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.checks import require


def gaussian_darmois(content: Tensor, covariance: Tensor) -> Tensor:
    """The conditional distribution functions of Gaussian content, one after the other: ``(N, n)`` -> ``(0, 1)^n``.

    ``d_k(c) = P(c'_k <= c_k | c'_1 = c_1, ..., c'_{k-1} = c_{k-1})`` for c' ~ N(0, Sigma), which is Phi((L^-1 c)_k)
    with Sigma = L L^T, L lower triangular, and Phi the standard normal distribution function. It is an invertible
    function of c whose components are independent and uniform.

    So an encoder that inverts its mixing and applies this to the content has zero alignment and, on the unit cube, the
    largest entropy there is, 0: the value 0 of SymAlignMaxEnt, below which no pair of encoders into the cube is. It is
    the minimiser in Step 1 of the proof of Theorem 1.

    Args:
        content: ``(N, n)``, computed in float64.
        covariance: ``(n, n)``, symmetric and positive definite.

    Raises:
        ValueError: shapes that do not fit, or a covariance that is not positive definite.

    Source: Darmois (1951); Hyvärinen and Pajunen (1999); Daunhawer et al. (2023), proof of Theorem 1 (A.1).

    >>> gaussian_darmois(torch.tensor([[0.0, 0.0]]), torch.eye(2)).tolist()
    [[0.5, 0.5]]
    """
    size = content.shape[-1]
    require(content.ndim == 2, "content.shape", tuple(content.shape), "(N, n)")
    require(
        tuple(covariance.shape) == (size, size),
        "covariance.shape",
        tuple(covariance.shape),
        f"({size}, {size})",
    )
    factor, failed = torch.linalg.cholesky_ex(covariance.double())
    require(not bool(failed), "covariance", covariance.tolist(), "positive definite")
    whitened = torch.linalg.solve_triangular(factor, content.double().mT, upper=False).mT
    return torch.special.ndtr(whitened)
