"""Two jointly Gaussian vectors: the world in which contrastive learning has closed forms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmcl.checks import require
from mmcl.worlds.base import Batch, FactorRole
from mmcl.worlds.checks import is_whole, require_cpu, require_sample, require_state, require_whole


@dataclass(frozen=True)
class Gaussian:
    """The law N(0, C) of two vectors u and v, the observed views.

    Fields:
        sizes: ``[n_u, n_v]``, each >= 1.
        covariance: C as rows, n_u + n_v of as many numbers, symmetric and positive definite, of which the first n_u are
            u's; None: drawn with the world.
        max_correlation: of a drawn C, the largest canonical correlation that it may have, in [0, 1). They are uniform
            from 0 to this; the canonical directions are uniform, and the marginals' roots are ``I + 0.3 N(0, 1)``.

    Raises ``ValueError``, naming the field, for a value out of range.

    Source: Baptista et al. (2025), Section 5. That C may be drawn is ours.
    """

    sizes: list[int] = field(default_factory=lambda: [1, 1])
    covariance: list[list[float]] | None = None
    max_correlation: float = 0.9

    def __post_init__(self) -> None:
        # Plain lists of our own: the caller's may be changed later, or be a config library's list type.
        object.__setattr__(self, "sizes", list(self.sizes))
        good = len(self.sizes) == 2 and all(is_whole(size, 1) for size in self.sizes)
        require(good, "sizes", self.sizes, "two whole numbers >= 1")
        require(0 <= self.max_correlation < 1, "max_correlation", self.max_correlation, "in [0, 1)")
        if self.covariance is not None:
            rows = [[float(x) for x in row] for row in self.covariance]
            object.__setattr__(self, "covariance", rows)
            n = sum(self.sizes)
            lengths = [len(row) for row in rows]
            require(lengths == [n] * n, "covariance", rows, f"{n} rows of {n} numbers, as sizes={self.sizes}")
            matrix = torch.tensor(rows, dtype=torch.float64)
            symmetric = torch.allclose(matrix, matrix.mT, rtol=1e-9, atol=0.0)
            require(
                bool(torch.isfinite(matrix).all()) and symmetric, "covariance", rows, "finite and symmetric"
            )
            # As the theory judges it, without units: mmcl/theory/gaussian.py.
            scale = matrix.diagonal().clamp(min=0).sqrt()
            good = bool((scale > 0).all())
            good = good and float(torch.linalg.eigvalsh(matrix / torch.outer(scale, scale))[0]) > 1e-12
            allowed = "positive definite, with all canonical correlations below 1"
            require(good, "covariance", rows, allowed)

    def draw(self, generator: torch.Generator) -> GaussianWorld:
        """Draw one world: C, if it is not given.

        Raises ``ValueError`` for a generator that is not on the CPU: a world must not depend on a device.
        """
        require_cpu(generator)
        if self.covariance is not None:
            return self.restore({"covariance": torch.tensor(self.covariance, dtype=torch.float64)})
        k = min(self.sizes)
        correlations = self.max_correlation * torch.rand(k, dtype=torch.float64, generator=generator)
        roots, directions = [], []
        for size in self.sizes:
            noise = torch.randn(size, size, dtype=torch.float64, generator=generator)
            roots.append(torch.eye(size, dtype=torch.float64) + 0.3 * noise)
            square = torch.randn(size, size, dtype=torch.float64, generator=generator)
            directions.append(torch.linalg.qr(square)[0][:, :k])
        cross = roots[0] @ (directions[0] * correlations) @ directions[1].mT @ roots[1].mT
        above = torch.cat([roots[0] @ roots[0].mT, cross], dim=1)
        below = torch.cat([cross.mT, roots[1] @ roots[1].mT], dim=1)
        return self.restore({"covariance": torch.cat([above, below])})

    def restore(self, state: Mapping[str, Tensor]) -> GaussianWorld:
        """The world with this state, as ``state_dict`` gave it. It samples bitwise what the original did.

        Raises ``ValueError``, naming the tensor, if it is missing, or of another shape or dtype.
        """
        n = sum(self.sizes)
        require_state(state, {"covariance": ((n, n), torch.float64)})
        return GaussianWorld(self, state)


@dataclass(frozen=True)
class RandomField:
    """Noisy values of a Gaussian field on the unit interval (u), and its first coefficients (v).

    With ``psi_j(x) = sqrt(2) cos(j pi x)``, ``lambda_j = (j^2 pi^2 + tau^2)^-alpha``, independent ``xi_j ~ N(0, 1)``::

        w(x) = sum_{j=1}^modes lambda_j^1/2 xi_j psi_j(x),    u_i = w(x_i) + N(0, noise^2),    v_j = xi_j.

    The points are equidistant, with both ends.

    Fields:
        points: n_u, >= 2.
        coefficients: n_v, from 1 to ``modes``.
        noise: standard deviation of each value's noise, > 0.
        modes: of the field.
        tau, alpha: > 0; the larger alpha, the smoother the field.

    Raises ``ValueError``, naming the field, for a value out of range.

    Source: Baptista et al. (2025), Section 6.1. They leave open the grid's ends and the norm of psi_j, which here is 1.
    """

    points: int = 12
    coefficients: int = 5
    noise: float = 0.05
    modes: int = 1000
    tau: float = 3.0
    alpha: float = 2.0

    def __post_init__(self) -> None:
        require_whole("points", self.points, 2)
        require_whole("modes", self.modes, 1)
        good = is_whole(self.coefficients, 1) and self.coefficients <= self.modes
        require(good, "coefficients", self.coefficients, f"a whole number from 1 to modes={self.modes}")
        for name in ("noise", "tau", "alpha"):
            require(0 < getattr(self, name) < math.inf, name, getattr(self, name), "> 0 and finite")

    @property
    def law(self) -> Gaussian:
        """The law of (u, v)."""
        mode = torch.arange(1, self.modes + 1, dtype=torch.float64)
        deviation = (mode**2 * math.pi**2 + self.tau**2) ** (-self.alpha / 2)
        place = torch.linspace(0, 1, self.points, dtype=torch.float64)
        field = math.sqrt(2) * torch.cos(math.pi * place[:, None] * mode) * deviation
        c_uu = field @ field.mT + self.noise**2 * torch.eye(self.points, dtype=torch.float64)
        c_uv = field[:, : self.coefficients]
        c_vv = torch.eye(self.coefficients, dtype=torch.float64)
        covariance = torch.cat([torch.cat([c_uu, c_uv], dim=1), torch.cat([c_uv.mT, c_vv], dim=1)])
        return Gaussian([self.points, self.coefficients], covariance.tolist())

    def draw(self, generator: torch.Generator) -> GaussianWorld:
        """The world; nothing is drawn."""
        return self.law.draw(generator)

    def restore(self, state: Mapping[str, Tensor]) -> GaussianWorld:
        """The world with this state. Raises ``ValueError`` as that of :class:`Gaussian`."""
        return self.law.restore(state)


class GaussianWorld:
    """One world of a :class:`Gaussian`, which makes it. ``covariance``: C, ``(n_u + n_v, n_u + n_v)``, float64."""

    def __init__(self, model: Gaussian, state: Mapping[str, Tensor]) -> None:
        self.model = model
        self.covariance = state["covariance"].detach().cpu().clone()
        self._root = torch.linalg.cholesky(self.covariance).float()

    @property
    def views(self) -> dict[str, int]:
        """Name of each view -> its size."""
        return dict(zip(("u", "v"), self.model.sizes, strict=True))

    @property
    def roles(self) -> dict[str, FactorRole]:
        """The vectors themselves are the factors: ``u`` and ``v``."""
        return {name: FactorRole("modality_specific", name) for name in self.views}

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of the tensor that makes this world: ``covariance``."""
        return {"covariance": self.covariance.clone()}

    def sample(self, n: int, generator: torch.Generator, intervention: str | None = None) -> Batch:
        """Draw ``n`` >= 1 samples: views, and factors of the same values, float32.

        Raises ``ValueError`` for n < 1, an intervention, or a generator that is not on the CPU.
        """
        require_sample(n, generator, intervention)
        # A caller's autocast must not reach the world, or the data would depend on the training's precision.
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            normals = torch.randn(n, len(self.covariance), generator=generator)
            u, v = (normals @ self._root.mT).split(self.model.sizes, dim=1)
        views = {"u": u.contiguous(), "v": v.contiguous()}
        return Batch(views, dict(views))
