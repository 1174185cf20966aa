"""Drifters in random flows: a stream function of Fourier modes, and the path of a particle that it carries."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mmcl.checks import require
from mmcl.worlds.base import Batch, FactorRole
from mmcl.worlds.checks import require_cpu, require_sample, require_state, require_whole

CHUNK = 512
"""Flows that are integrated at a time: their coefficients stay in a core's cache."""


def wave_vectors(count: int) -> Tensor:
    """The ``count`` shortest nonzero k in Z^2, one of each k and -k: ``(count, 2)``, int64.

    The field of -k is the complex conjugate of that of k, so that the real parts of these are all there are. Of one
    length, in the order of their components.

    >>> wave_vectors(4).tolist()
    [[0, 1], [1, 0], [1, -1], [1, 1]]
    """
    reach = math.ceil(math.sqrt(count)) + 1
    half = [
        (a, b) for a in range(reach + 1) for b in range(-reach, reach + 1) if (a > 0 or b > 0)
    ]  # a = 0: b > 0 alone
    half.sort(key=lambda k: (k[0] ** 2 + k[1] ** 2, k))
    return torch.tensor(half[:count])


@dataclass(frozen=True)
class Drifters:
    """The law of flows on the torus [0, 1)^2 and of a drifter's path in each (Baptista et al., 2025, Section 6.3).

    The stream function and the velocity are ::

        psi(x, t) = Re sum_k c_k exp(i omega_k t) exp(2 pi i k.x),    w = (d psi / d x_2, -d psi / d x_1),

    over the ``modes`` shortest wave vectors. The real and imaginary parts of c_k are independent and normal with mean 0
    and a standard deviation proportional to |k|^-smoothness. The drifter starts at ``start`` and follows
    dx/dt = w(x, t) until ``duration``, by the classical Runge-Kutta method of order 4 in ``steps`` equal steps, in
    float64; every (``steps / positions``)-th position is kept, the start is not. Positions are not taken modulo 1.

    Fields:
        modes: >= 1.
        smoothness: >= 0.
        speed: of the velocity's components, their root mean square. By default paths are 0.3 long on average, and end
            half of that from their start.
        frequency: standard deviation of omega_k, which is normal and drawn with the world; >= 0. 0: steady flows.
        duration: T > 0.
        steps: >= 1, a multiple of ``positions``.
        positions: >= 1.
        start: in [0, 1)^2.

    Raises ``ValueError`` naming a bad field.

    The paper has 49 modes, T = 0.1, this start, steps of 1e-5 and 1,000 positions. It does not say which modes, nor the
    laws of c_k and omega_k, nor how fast its drifters are: those here are our choice.
    """

    modes: int = 49
    smoothness: float = 0.0
    speed: float = 2.5
    frequency: float = 10.0
    duration: float = 0.1
    steps: int = 100
    positions: int = 50
    start: list[float] = field(default_factory=lambda: [0.75, 0.75])

    def __post_init__(self) -> None:
        for name in ("modes", "steps", "positions"):
            require_whole(name, getattr(self, name), 1)
        for name in ("smoothness", "frequency"):
            require(0 <= getattr(self, name) < math.inf, name, getattr(self, name), ">= 0 and finite")
        for name in ("speed", "duration"):
            require(0 < getattr(self, name) < math.inf, name, getattr(self, name), "> 0 and finite")
        require(
            self.steps % self.positions == 0, "steps", self.steps, f"a multiple of positions={self.positions}"
        )
        good = len(self.start) == 2 and all(0 <= x < 1 for x in self.start)
        require(good, "start", list(self.start), "two numbers in [0, 1)")

    def draw(self, generator: torch.Generator) -> DriftersWorld:
        """Draw one world: its frequencies.

        Raises ``ValueError`` for a generator that is not on the CPU: a world must not depend on a device.
        """
        require_cpu(generator)
        normals = torch.randn(self.modes, dtype=torch.float64, generator=generator)
        return self.restore({"frequencies": self.frequency * normals})

    def restore(self, state: Mapping[str, Tensor]) -> DriftersWorld:
        """The world with this state, as ``state_dict`` gave it. It samples bitwise what the original did.

        Raises ``ValueError``, naming the tensor, if it is missing, or of another shape or dtype.
        """
        require_state(state, {"frequencies": ((self.modes,), torch.float64)})
        return DriftersWorld(self, state)


def runge_kutta(velocity: Callable[[Tensor, float], Tensor], x: Tensor, model: Drifters) -> list[Tensor]:
    """The places that are kept of those that start at ``x`` and follow ``velocity(x, t)``: see :class:`Drifters`."""
    h = model.duration / model.steps
    kept = []
    for step in range(model.steps):
        t = step * h
        v1 = velocity(x, t)
        v2 = velocity(x + 0.5 * h * v1, t + 0.5 * h)
        v3 = velocity(x + 0.5 * h * v2, t + 0.5 * h)
        v4 = velocity(x + h * v3, t + h)
        x = x + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
        if (step + 1) % (model.steps // model.positions) == 0:
            kept.append(x)
    return kept


class DriftersWorld:
    """One world of :class:`Drifters`, which makes it.

    Views: ``flow``, the coefficients, real parts and then imaginary ones, in units in which their squares add up to 1
    on average: ``(n, 2 modes)``; and ``path``, ``(n, positions, 3)``, a series whose third column says that each step
    is there. Factor: ``flow``.

    ``frequencies``: omega, ``(modes,)``, float64. ``waves``: k, ``(modes, 2)``.
    """

    def __init__(self, model: Drifters, state: Mapping[str, Tensor]) -> None:
        self.model = model
        self.frequencies = state["frequencies"].detach().cpu().clone()
        self.waves = wave_vectors(model.modes)
        spread = self.waves.double().norm(dim=1) ** -model.smoothness
        self._spread = spread / (2 * spread.square().sum()).sqrt()
        # The variance of a velocity component: that of Re(c_k e^i..) is spread^2, and the flow has no direction.
        square = 0.5 * ((2 * math.pi * self.waves.double()).square().sum(dim=1) * self._spread.square()).sum()
        self._scale = model.speed / float(square.sqrt())

    @property
    def views(self) -> dict[str, int]:
        """Name of each view -> its number of values."""
        return {"flow": 2 * self.model.modes, "path": 3 * self.model.positions}

    @property
    def roles(self) -> dict[str, FactorRole]:
        """Name of each factor -> its role."""
        return {"flow": FactorRole("modality_specific", "flow")}

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of the tensor that makes this world: ``frequencies``."""
        return {"frequencies": self.frequencies.clone()}

    def sample(self, n: int, generator: torch.Generator, intervention: str | None = None) -> Batch:
        """Draw ``n`` >= 1 flows, and the path of a drifter in each: float32.

        Raises ``ValueError`` for n < 1, an intervention, or a generator that is not on the CPU.
        """
        require_sample(n, generator, intervention)
        flow = torch.randn(n, 2, self.model.modes, dtype=torch.float64, generator=generator) * self._spread
        path = torch.cat([self.paths(part) for part in flow.split(CHUNK)]).float()
        series = torch.cat([path, path.new_ones(*path.shape[:2], 1)], dim=2)
        views = {"flow": flow.flatten(1).float(), "path": series}
        return Batch(views, {"flow": views["flow"]})

    def shown(self, view: str, x: Tensor) -> np.ndarray:
        """Pictures ``(n, 3, 128, 128)``, uint8: of ``flow`` the stream function at time 0 and where drifters start, of
        ``path`` the path."""
        from mmcl.rendering.flows import flow_pictures, path_pictures  # matplotlib is slow to import

        start = np.array(self.model.start)
        if view == "flow":
            real, imaginary = x.cpu().double().chunk(2, dim=1)
            return flow_pictures(torch.complex(real, imaginary).numpy(), self.waves.numpy(), start)
        return path_pictures(x[..., :2].cpu().double().numpy(), start)

    def paths(self, flow: Tensor) -> Tensor:
        """The positions of a drifter in each flow ``(n, 2, modes)``, float64: ``(n, positions, 2)``."""
        model = self.model
        real, imaginary = self._scale * flow.permute(1, 2, 0).contiguous()
        waves = 2 * math.pi * self.waves.double()
        turned = torch.stack([-waves[:, 1], waves[:, 0]])

        def velocity(x: Tensor, t: float) -> Tensor:
            # d psi / d x_j = -2 pi sum_k k_j Im(c_k exp(i phase_k)), real: complex exponentials take five times that.
            phase = waves @ x + t * self.frequencies[:, None]
            return turned @ (real * phase.sin()).addcmul_(imaginary, phase.cos())

        x = torch.tensor(model.start, dtype=torch.float64)[:, None].expand(2, len(flow))
        return torch.stack([x.T for x in runge_kutta(velocity, x, model)], dim=1)
