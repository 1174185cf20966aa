"""Contrastive learning of Gaussian vectors with linear encoders: exact losses, their minima and minimisers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from mmcl.checks import require
from mmcl.theory.gaussian import GaussianPair, Tilt


class Tilting(Enum):
    """How encodings are compared: ``<g, h>``, or ``-|g - h|^2 / 2``, both at temperature 1."""

    inner_product = "inner_product"
    squared_distance = "squared_distance"


@dataclass(frozen=True)
class Optimum:
    """The least loss over encoders of D dimensions, and a tilt that has it.

    ``tilt`` is unique where the correlations of places D and D + 1 differ and none of the first D is 0.
    """

    tilt: Tilt
    loss: float


def conditional_loss(
    pair: GaussianPair, tilt: Tilt, weight_u_given_v: float = 1.0, weight_v_given_u: float = 1.0
) -> Tensor:
    """The exact conditional loss of infinitely many samples: a scalar, differentiable in ``tilt``.

        -E_mu[w_u/2 log rho(u|v) + w_v/2 log rho(v|u)],    rho(u|v) = e^s(u,v) / E_u' e^s(u',v), and alike,

    of which the part of ``w_u`` is, ``s = u^T A v - 1/2 u^T B u - 1/2 v^T C v``,

        -Tr(A^T C_uv) + 1/2 Tr(B C_uu) - 1/2 log|I + B C_uu| + 1/2 Tr(A^T (B + C_uu^-1)^-1 A C_vv),

    halved. With weights (1, 1) it is the limit of SymInfoNCE less log K. Adding ``(w_u + w_v) / 2`` times the mutual
    information gives the mean Kullback-Leibler divergences from mu's conditionals to nu's.

    Args:
        pair: mu.
        tilt: the model, of which there must be conditionals: B + C_uu^-1 and C + C_vv^-1 positive definite.
        weight_u_given_v, weight_v_given_u: lambda_u, lambda_v, >= 0.

    Source: Baptista et al. (2025), Optimization Problem 3.13; the exact form is ours (that of Appendix D is twice it).
    """
    parts = [
        (weight_u_given_v, tilt.a, tilt.b, pair.c_uu, pair.c_vv, pair.c_uv),
        (weight_v_given_u, tilt.a.mT, tilt.c, pair.c_vv, pair.c_uu, pair.c_uv.mT),
    ]
    total = pair.covariance.new_zeros(())
    for weight, a, b, own, other, cross in parts:
        require(weight >= 0, "weight", weight, ">= 0")
        precision = b + torch.linalg.inv(own)
        value = -(a * cross).sum() + 0.5 * (b * own).sum()
        value = value - 0.5 * (torch.logdet(precision) + torch.logdet(own))
        value = value + 0.5 * (a * torch.linalg.solve(precision, a @ other)).sum()
        total = total + 0.5 * weight * value
    return total


def joint_loss(pair: GaussianPair, tilt: Tilt) -> Tensor:
    """The exact joint loss of infinitely many samples: a scalar, differentiable in ``tilt``.

        -E_mu s + log E_(mu_u x mu_v) e^s
          = -Tr(A^T C_uv) + 1/2 Tr(B C_uu) + 1/2 Tr(C C_vv) - 1/2 log|diag(C_uu, C_vv) precision of nu|,

    infinite where nu does not exist. Adding the mutual information gives the Kullback-Leibler divergence from mu to nu.
    It is never less than the conditional loss with weights (1, 1).

    Source: Baptista et al. (2025), Optimization Problem 3.7, Theorems 3.8 and 3.10; the exact form is ours.
    """
    value = -(tilt.a * pair.c_uv).sum() + 0.5 * (tilt.b * pair.c_uu).sum() + 0.5 * (tilt.c * pair.c_vv).sum()
    factor, failed = torch.linalg.cholesky_ex(tilt.precision(pair))
    if bool(failed):
        return value + float("inf")
    logdet = 2 * factor.diagonal().log().sum() + torch.logdet(pair.c_uu) + torch.logdet(pair.c_vv)
    return value - 0.5 * logdet


def conditional_optimum(
    pair: GaussianPair,
    size: int,
    tilting: Tilting,
    weight_u_given_v: float = 1.0,
    weight_v_given_u: float = 1.0,
) -> Optimum:
    """The least :func:`conditional_loss` over linear encoders of ``size`` dimensions.

    In canonical coordinates the minimiser is diagonal, of the correlations sigma_i of the first ``size`` places::

        weights  tilting           a                    b                c                least loss
        any      inner product     sigma                0                0                -(w_u + w_v)/4 sum sigma^2
        (w, 0)   squared distance  sigma/(1 - sigma^2)  sigma a          1/(1 - sigma^2)  w/4 sum log(1 - sigma^2)
        (0, w)   squared distance  sigma/(1 - sigma^2)  1/(1 - sigma^2)  sigma a          w/4 sum log(1 - sigma^2)
        (w, w)   squared distance  t                    t                t                w/2 sum l

    with ``t = s / (1 - s)``, ``s = (3 - sqrt(9 - 8 sigma)) / 2``, ``l = t - log(1 + t) + t s - 2 t sigma``. With the
    squared distance and (w, 0), nu's conditional of u given v is mu's (in the first ``size`` directions). With the
    inner product it has mu's mean, but the prior's covariance.

    Args:
        pair: mu.
        size: D, from 1; beyond min(n_u, n_v) nothing is gained.
        tilting: how encodings are compared.
        weight_u_given_v, weight_v_given_u: >= 0, one of them > 0; for the squared distance equal, or one of them 0.

    Raises:
        ValueError: a value out of range, or weights of which no closed form is known.

    Source: Baptista et al. (2025), Theorems 5.1 and 5.3, Corollary 5.2. With the squared distance, the closed forms of
    rank D and of (w, w) are ours: for the former the paper has an optimisation problem, (50), with a misprinted sign.
    That of (w, w) is known from its stationary points and by numerical optimisation (a test), not proven.
    """
    w_u, w_v = weight_u_given_v, weight_v_given_u
    require(min(w_u, w_v) >= 0 and max(w_u, w_v) > 0, "weights", (w_u, w_v), ">= 0, and one of them > 0")
    if tilting is Tilting.inner_product:
        half = (w_u + w_v) / 2
        return _optimum(pair, size, lambda x: (x, 0 * x, 0 * x, -0.5 * half * x**2))
    if w_u == w_v:
        return _optimum(pair, size, lambda x: _two_sided(x, w_u))
    require(
        0 in (w_u, w_v), "weights", (w_u, w_v), "equal, or one of them 0: of others no closed form is known"
    )

    def one_sided(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rest = 1 - x**2
        weak, strong = x**2 / rest, 1 / rest
        b, c = (weak, strong) if w_u > 0 else (strong, weak)
        return x / rest, b, c, 0.25 * max(w_u, w_v) * rest.log()

    return _optimum(pair, size, one_sided)


def joint_optimum(pair: GaussianPair, size: int, tilting: Tilting) -> Optimum:
    """The least :func:`joint_loss` over linear encoders of ``size`` dimensions.

    In canonical coordinates, of the correlations sigma_i of the first ``size`` places::

        tilting            a = (b = c =)                                 least loss
        inner product      h = (sqrt(1 + 4 sigma^2) - 1) / (2 sigma)     -sum [sigma h + 1/2 log(1 - h^2)]
        squared distance   sigma / (2 (1 - sigma))                       1/2 sum [sigma + log(1 - sigma)]

    The inner product's optimum of full size has mu's cross-covariance, ``Cov_nu(u, v) = C_uv``.

    Raises ``ValueError`` for a ``size`` below 1. Source: Baptista et al. (2025), Theorem 5.6 and Corollary 5.7. That of
    the squared distance is ours, known from its stationary points and by numerical optimisation (a test), not proven.
    """
    if tilting is Tilting.squared_distance:
        return _optimum(pair, size, lambda x: (*3 * (x / (2 * (1 - x)),), 0.5 * (x + torch.log1p(-x))))

    def inner_product(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        h = 2 * x / (1 + (1 + 4 * x**2).sqrt())  # the same, and 0 at 0
        return h, 0 * h, 0 * h, -(x * h + 0.5 * torch.log1p(-(h**2)))

    return _optimum(pair, size, inner_product)


def _two_sided(x: Tensor, weight: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    s = 4 * x / (3 + (9 - 8 * x).sqrt())  # (3 - sqrt(9 - 8 x)) / 2, and 0 at 0
    t = s / (1 - s)
    return t, t, t, 0.5 * weight * (t - torch.log1p(t) + t * s - 2 * t * x)


def _optimum(
    pair: GaussianPair, size: int, of: Callable[[Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]
) -> Optimum:
    """The tilt that is diagonal in canonical coordinates, ``of(correlations) = (a, b, c, losses)``."""
    require(size >= 1, "size", size, ">= 1")
    known = pair.canonical
    a, b, c, losses = of(known.correlations[:size])
    left, right = known.whiten_u @ known.u[:, :size], known.whiten_v @ known.v[:, :size]
    tilt = Tilt(left * a @ right.mT, left * b @ left.mT, right * c @ right.mT)
    return Optimum(tilt, float(losses.sum()))
