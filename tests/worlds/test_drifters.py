"""Flows and their drifters: the velocity, Runge-Kutta's order, the laws, and how they are shown."""

import dataclasses
import doctest
import math

import numpy as np
import pytest
import torch

from mmcl.worlds import Drifters, drifters
from mmcl.worlds.drifters import wave_vectors


def generator(seed):
    return torch.Generator().manual_seed(seed)


def world(seed=0, **fields):
    return Drifters(**fields).draw(generator(seed))


def flows(w, n, seed=1):
    return torch.randn(n, 2, w.model.modes, dtype=torch.float64, generator=generator(seed)) * w._spread


def test_doctest():
    assert doctest.testmod(drifters, extraglobs={"torch": torch}).failed == 0


def test_wave_vectors_are_the_shortest_and_one_of_each_pair():
    waves = wave_vectors(49)
    assert len({tuple(k) for k in waves.tolist()} | {tuple(k) for k in (-waves).tolist()}) == 98
    lengths = waves.square().sum(dim=1)
    assert torch.equal(lengths, lengths.sort().values)
    every = sorted(a * a + b * b for a in range(-9, 10) for b in range(-9, 10) if (a, b) != (0, 0))
    assert lengths.tolist() == every[: 2 * 49 : 2]


def velocity(w, flow, x, t):
    """(d psi / d x_2, -d psi / d x_1) of one flow, by automatic differentiation of the printed stream function."""
    x = x.clone().requires_grad_()
    c = w._scale * torch.complex(flow[0], flow[1])
    phase = w.frequencies * t + 2 * math.pi * (w.waves.double() @ x)
    psi = (c * torch.polar(torch.ones_like(phase), phase)).real.sum()
    (gradient,) = torch.autograd.grad(psi, x)
    return torch.stack([gradient[1], -gradient[0]])


def test_a_path_by_a_loop():
    w = world(modes=7, steps=6, positions=3, duration=0.05)
    for flow, path in zip(flows(w, 3), w.paths(flows(w, 3)), strict=True):
        x, t, h, kept = torch.tensor([0.75, 0.75], dtype=torch.float64), 0.0, 0.05 / 6, []
        for step in range(6):
            v1 = velocity(w, flow, x, t)
            v2 = velocity(w, flow, x + h / 2 * v1, t + h / 2)
            v3 = velocity(w, flow, x + h / 2 * v2, t + h / 2)
            v4 = velocity(w, flow, x + h * v3, t + h)
            x, t = x + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4), t + h
            kept += [x] if step % 2 else []
        assert torch.allclose(path, torch.stack(kept), atol=1e-12)


def test_halving_the_steps_divides_the_error_by_sixteen():
    """And 100 steps of the default world are within 3e-5 of 200, in 200 flows whose drifters go 0.3 far on average."""
    w = world()
    flow = flows(w, 200)
    paths = {
        n: dataclasses.replace(w.model, steps=n).restore(w.state_dict()).paths(flow) for n in (100, 200, 400)
    }
    coarse, fine = ((paths[2 * n] - paths[n]).norm(dim=2).mean() for n in (100, 200))
    assert 12 < float(coarse / fine) < 20
    assert float((paths[200] - paths[100]).abs().max()) < 3e-5
    steps = torch.cat([paths[100][:, :1] - 0.75, paths[100].diff(dim=1)], dim=1).norm(dim=2).sum(dim=1)
    assert 0.2 < float(steps.mean()) < 0.45


def test_laws_are_those_that_are_stated():
    """Speeds of 5 per component in 4,000 flows, whose estimate has a standard deviation of 1.2 %: 4.5 of these.

    Coefficients of norm 1, falling as |k|^-2."""
    w = world(steps=1, positions=1, duration=1e-6, smoothness=2.0, speed=5.0)
    batch = w.sample(4000, generator(2))
    speed = (batch.views["path"][:, 0, :2].double() - 0.75) / 1e-6
    for component in speed.unbind(dim=1):
        assert float(component.std()) == pytest.approx(5, rel=0.055)
    flow = batch.views["flow"].double()
    assert float(flow.square().sum(dim=1).mean()) == pytest.approx(1, rel=0.05)
    spread = flow.std(dim=0).reshape(2, 49).mean(dim=0) * w.waves.double().norm(dim=1) ** 2
    assert float(spread.max() / spread.min()) < 1.15
    assert torch.equal(batch.views["path"][..., 2], torch.ones(4000, 1))
    assert torch.equal(batch.factors["flow"], batch.views["flow"])


def test_a_restored_world_samples_bitwise_and_seeds_differ():
    w = world()
    again = w.model.restore(w.state_dict())
    a, b = (x.sample(5, generator(3)) for x in (w, again))
    assert all(torch.equal(a.views[k], b.views[k]) for k in a.views)
    other = world(1).sample(5, generator(3))
    assert torch.equal(other.views["flow"], a.views["flow"])
    assert not torch.equal(other.views["path"], a.views["path"])
    with pytest.raises(ValueError, match="frequencies"):
        w.model.restore({})


def test_steady_flows_keep_their_stream_function():
    """Without frequencies psi is constant along a path."""
    w = world(frequency=0.0, steps=400, positions=4)
    flow = flows(w, 20)
    c = torch.complex(*flow.unbind(1))
    path = torch.cat([torch.full((20, 1, 2), 0.75, dtype=torch.float64), w.paths(flow)], dim=1)
    phase = 2 * math.pi * path @ w.waves.double().mT
    psi = (c[:, None] * torch.polar(torch.ones_like(phase), phase)).real.sum(dim=2)
    assert float((psi - psi[:, :1]).abs().max()) < 1e-5


def test_views_are_shown_as_pictures():
    w = world(modes=1, frequency=0.0)  # k = (0, 1): psi = cos(2 pi x_2), largest at the upper and lower edge
    pictures = w.shown("flow", torch.tensor([[1.0, 0.0]]))
    assert (pictures.shape, pictures.dtype) == ((1, 3, 128, 128), np.uint8)
    red, _, blue = pictures[0].astype(int)
    assert (red[0] > blue[0] + 50).all()
    assert (blue[64] > red[64] + 50).all()
    start = (pictures[0] == 0).all(axis=0)  # at (0.75, 0.75)
    assert start.sum() == 25
    assert start[94:99, 94:99].all()
    assert (pictures[0] == pictures[0][:, :, :1])[:, ~start.any(axis=1)].all()
    path = torch.tensor([[[0.76, 0.95, 1.0], [0.76, 1.2, 1.0]]])
    shown = w.shown("path", path)[0].transpose(1, 2, 0)
    seen = (shown != 255).any(axis=2)
    rows, columns = seen.nonzero()
    assert set(columns) == {95, 96, 97, 98}  # from 96 to 97, three pixels wide
    assert set(rows) == {*range(95, 128), *range(27)}  # over the edge, and in again


def test_bad_values_are_refused_by_name():
    for fields, message in (
        ({"modes": 0}, "modes=0"),
        ({"speed": 0.0}, r"speed=0\.0"),
        ({"steps": 75}, "steps=75: must be a multiple of positions=50"),
        ({"start": [1.0, 0.0]}, r"start=\[1\.0, 0\.0\]"),
        ({"smoothness": float("nan")}, "smoothness=nan"),
    ):
        with pytest.raises(ValueError, match=message):
            Drifters(**fields)
