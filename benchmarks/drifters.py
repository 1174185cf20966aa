"""Paths of drifters in random flows, against complex exponentials and against the sines and cosines alone."""

from __future__ import annotations

import math

import torch
from measure import ratio, report, times
from torch import Tensor

from mmcl.worlds import Drifters
from mmcl.worlds.drifters import CHUNK, DriftersWorld, runge_kutta


def complex_paths(world: DriftersWorld, flow: Tensor) -> Tensor:
    """The stream function's gradient as it is printed."""
    model, k = world.model, world.waves.double()
    c = world._scale * torch.complex(*flow.unbind(1))
    x = torch.tensor(model.start, dtype=torch.float64).expand(len(flow), 2)

    def velocity(x: Tensor, t: float) -> Tensor:
        phase = world.frequencies * t + 2 * math.pi * (x @ k.T)
        slopes = (2j * math.pi * c * torch.polar(torch.ones_like(phase), phase)).real @ k
        return torch.stack([slopes[:, 1], -slopes[:, 0]], dim=1)

    return torch.stack(runge_kutta(velocity, x, model), dim=1)


def main() -> None:
    g = torch.Generator().manual_seed(0)
    world = Drifters().draw(g)
    model = world.model
    flow = torch.randn(CHUNK, 2, model.modes, dtype=torch.float64, generator=g) * world._spread
    torch.testing.assert_close(world.paths(flow), complex_paths(world, flow))
    phase = torch.randn(model.modes, CHUNK, dtype=torch.float64, generator=g)

    def sines() -> None:
        for _ in range(4 * model.steps):
            phase.sin(), phase.cos()

    ours, printed, alone = times(
        lambda: world.paths(flow), lambda: complex_paths(world, flow), sines, repeats=11
    )
    what = f"paths of {CHUNK} drifters, {model.steps} steps of Runge-Kutta, {model.modes} modes"
    report(
        ratio(what, ours, "with complex exponentials", printed),
        ratio(what, ours, "its sines and cosines alone", alone),
    )


if __name__ == "__main__":
    main()
