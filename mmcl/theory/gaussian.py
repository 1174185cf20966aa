"""Two jointly Gaussian vectors: their canonical correlations, and laws that tilt the product of their marginals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mmcl.checks import require


@dataclass(frozen=True)
class Canonical:
    """``C_uu^-1/2 C_uv C_vv^-1/2 = U diag(correlations) V^T``, and both inverse roots; all float64.

    ``correlations``: (k,), k = min(n_u, n_v), in [0, 1), descending. ``u``: (n_u, k), ``v``: (n_v, k), with orthonormal
    columns. ``whiten_u``: C_uu^-1/2, (n_u, n_u); ``whiten_v``: C_vv^-1/2, (n_v, n_v); symmetric.
    """

    correlations: Tensor
    u: Tensor
    v: Tensor
    whiten_u: Tensor
    whiten_v: Tensor


@dataclass(frozen=True)
class GaussianPair:
    """The law mu = N(0, C) of (u, v).

    Args:
        covariance: C, ``(n_u + n_v, n_u + n_v)``, symmetric and positive definite; kept in float64.
        size_u: n_u, from 1 to n - 1: the first components are u.

    Raises ``ValueError`` for what is not: then some canonical correlation is 1, and no tilting has a finite optimum.
    """

    covariance: Tensor
    size_u: int

    def __post_init__(self) -> None:
        c = self.covariance.detach().cpu().double()
        object.__setattr__(self, "covariance", c)
        square = c.ndim == 2 and c.shape[0] == c.shape[1]
        require(square, "covariance.shape", tuple(c.shape), "square")
        require(1 <= self.size_u < len(c), "size_u", self.size_u, f"from 1 to {len(c) - 1}")
        symmetric = bool(torch.isfinite(c).all()) and torch.allclose(c, c.mT, rtol=1e-9, atol=0.0)
        require(symmetric, "covariance", c.tolist(), "finite and symmetric")
        # Judged without units, so that a small component is not taken for a singular law.
        scale = c.diagonal().clamp(min=0).sqrt()
        least = torch.linalg.eigvalsh(c / torch.outer(scale, scale))[0] if bool((scale > 0).all()) else -1.0
        require(
            float(least) > 1e-12,
            "covariance",
            c.tolist(),
            "positive definite, with all canonical correlations below 1",
        )

    @property
    def c_uu(self) -> Tensor:
        """Cov(u), ``(n_u, n_u)``."""
        return self.covariance[: self.size_u, : self.size_u]

    @property
    def c_uv(self) -> Tensor:
        """Cov(u, v), ``(n_u, n_v)``."""
        return self.covariance[: self.size_u, self.size_u :]

    @property
    def c_vv(self) -> Tensor:
        """Cov(v), ``(n_v, n_v)``."""
        return self.covariance[self.size_u :, self.size_u :]

    @cached_property
    def canonical(self) -> Canonical:
        """Canonical correlations and directions (Hotelling, 1936)."""
        whiten_u, whiten_v = _inverse_root(self.c_uu), _inverse_root(self.c_vv)
        u, correlations, vh = torch.linalg.svd(whiten_u @ self.c_uv @ whiten_v, full_matrices=False)
        return Canonical(correlations, u, vh.mT, whiten_u, whiten_v)

    @property
    def information(self) -> float:
        """I(u; v) = -1/2 sum log(1 - sigma_i^2), in nats."""
        return -0.5 * float(torch.log1p(-(self.canonical.correlations**2)).sum())

    def u_given_v(self) -> tuple[Tensor, Tensor]:
        """Slope C_uv C_vv^-1, ``(n_u, n_v)``, and covariance C_uu - C_uv C_vv^-1 C_vu of u given v."""
        slope = torch.linalg.solve(self.c_vv, self.c_uv, left=False)
        return slope, self.c_uu - slope @ self.c_uv.mT

    def v_given_u(self) -> tuple[Tensor, Tensor]:
        """Slope C_vu C_uu^-1, ``(n_v, n_u)``, and covariance C_vv - C_vu C_uu^-1 C_uv of v given u."""
        slope = torch.linalg.solve(self.c_uu, self.c_uv.mT, left=False)
        return slope, self.c_vv - slope @ self.c_uv


def _inverse_root(c: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(c)
    return vectors / values.sqrt() @ vectors.mT


@dataclass(frozen=True)
class Tilt:
    """The model nu: proportional to ``exp(u^T A v - 1/2 u^T B u - 1/2 v^T C v)`` times the product of mu's marginals.

    With linear encoders G u and H v at temperature 1, ``A = G^T H``; the inner product has ``B = C = 0``, the negative
    halved squared distance ``B = G^T G`` and ``C = H^T H``. Then nu is Gaussian with mean 0 and ::

        precision = [[C_uu^-1 + B, -A], [-A^T, C_vv^-1 + C]].

    ``a``: (n_u, n_v), ``b``: (n_u, n_u), ``c``: (n_v, n_v), float64. Its methods are differentiable in these.

    Source: Baptista et al. (2025), Theorems 5.1 and 5.3.
    """

    a: Tensor
    b: Tensor
    c: Tensor

    @staticmethod
    def inner_product(g: Tensor, h: Tensor) -> Tilt:
        """Of the encoders G, ``(D, n_u)``, and H, ``(D, n_v)``, with ``<G u, H v>``."""
        return Tilt(g.mT @ h, g.new_zeros(g.shape[1], g.shape[1]), h.new_zeros(h.shape[1], h.shape[1]))

    @staticmethod
    def squared_distance(g: Tensor, h: Tensor) -> Tilt:
        """Of the encoders G, ``(D, n_u)``, and H, ``(D, n_v)``, with ``-|G u - H v|^2 / 2``."""
        return Tilt(g.mT @ h, g.mT @ g, h.mT @ h)

    def precision(self, pair: GaussianPair) -> Tensor:
        """Inverse covariance of nu, ``(n_u + n_v, n_u + n_v)``; not positive definite where nu does not exist."""
        above = torch.cat([torch.linalg.inv(pair.c_uu) + self.b, -self.a], dim=1)
        below = torch.cat([-self.a.mT, torch.linalg.inv(pair.c_vv) + self.c], dim=1)
        return torch.cat([above, below])

    def covariance(self, pair: GaussianPair) -> Tensor:
        """Covariance of nu.

        Raises ``ValueError`` where nu does not exist: for the inner product unless ``|C_uu^1/2 A C_vv^1/2|_2 < 1``.
        """
        precision = self.precision(pair)
        factor, failed = torch.linalg.cholesky_ex(precision)
        require(not bool(failed), "precision", precision.tolist(), "positive definite: there is no such law")
        return torch.cholesky_inverse(factor)

    def u_given_v(self, pair: GaussianPair) -> tuple[Tensor, Tensor]:
        """Slope and covariance of nu's u given v: ``(B + C_uu^-1)^-1 A`` and ``(B + C_uu^-1)^-1``."""
        covariance = torch.linalg.inv(self.b + torch.linalg.inv(pair.c_uu))
        return covariance @ self.a, covariance

    def v_given_u(self, pair: GaussianPair) -> tuple[Tensor, Tensor]:
        """Slope and covariance of nu's v given u: ``(C + C_vv^-1)^-1 A^T`` and ``(C + C_vv^-1)^-1``."""
        covariance = torch.linalg.inv(self.c + torch.linalg.inv(pair.c_vv))
        return covariance @ self.a.mT, covariance

    def mean_errors(self, pair: GaussianPair) -> tuple[Tensor, Tensor]:
        """E|E_nu[u|v] - E_mu[u|v]|^2 over mu's v, and alike of v given u: scalars, in squared units of u and of v."""
        of_u = self.u_given_v(pair)[0] - pair.u_given_v()[0]
        of_v = self.v_given_u(pair)[0] - pair.v_given_u()[0]
        return (of_u @ pair.c_vv * of_u).sum(), (of_v @ pair.c_uu * of_v).sum()
