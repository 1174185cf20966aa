"""Attention over positions."""

import dataclasses

import pytest
import torch

from mmcl.encoders import ByView, Fixed, Trajectories
from mmcl.encoders.trajectories import TrajectoryNet, with_differences
from mmcl.worlds import Drifters


def views(n=200, positions=10):
    world = Drifters(modes=4, steps=20, positions=positions).draw(torch.Generator().manual_seed(0))
    return world.sample(n, torch.Generator().manual_seed(1)).views


def build(spec, x):
    return ByView(8, {"flow": Fixed(), "path": spec}).build(x, torch.Generator().manual_seed(2)).double()


SPEC = Trajectories(blocks=2, width=16, heads=2)


def test_a_rows_encoding_does_not_depend_on_the_others_and_on_scale():
    x = views()
    z = build(SPEC, x)({k: v.double() for k, v in x.items()})
    assert z["path"].shape == (200, 8)
    assert torch.equal(z["flow"], x["flow"].double())
    one = build(SPEC, x)({k: v[7:8].double() for k, v in x.items()})["path"]
    assert torch.allclose(one, z["path"][7:8], atol=1e-12)
    # Positions are standardised for each time: far or near, the encoders see the same.
    scaled = {**x, "path": torch.cat([3 * x["path"][..., :2] + 5, x["path"][..., 2:]], dim=2)}
    again = build(SPEC, scaled)({k: v.double() for k, v in scaled.items()})["path"]
    assert torch.allclose(again, z["path"], atol=1e-4)


def test_the_order_of_positions_counts_and_every_kth_is_seen_from_the_last_back():
    x = {k: v.double() for k, v in views().items()}
    net = build(Trajectories(blocks=1, width=16, heads=2, every=3), x).encoders["path"]
    z = net(x["path"])
    moved = x["path"].clone()
    moved[:, [1, 2, 4, 5, 7, 8]] += 1.0
    assert torch.equal(net(moved), z)
    moved[:, 3] += 1.0
    assert not torch.allclose(net(moved), z)
    whole = build(SPEC, x).encoders["path"]
    swapped = x["path"][:, [1, 0, *range(2, 10)]]
    assert not torch.allclose(whole(swapped), whole(x["path"]))


@pytest.mark.parametrize("differences", [0, 2])
def test_steps_that_are_not_there_are_not_seen(differences):
    x = {k: v.double() for k, v in views().items()}
    net = build(dataclasses.replace(SPEC, differences=differences), x).encoders["path"]
    cut = x["path"].clone()
    cut[:, 2, 2] = 0.0
    other = cut.clone()
    other[:, 2, :2] = 9.0
    assert torch.allclose(net(cut), net(other), atol=1e-12)
    assert not torch.allclose(net(cut), net(x["path"]))
    cut = x["path"].clone()
    cut[:, 7:, 2] = 0.0  # padded at the end: the last one that is there tells
    other = cut.clone()
    other[:, 7:, :2] = 9.0
    assert torch.allclose(net(cut), net(other), atol=1e-12)


@pytest.mark.parametrize("orders", [1, 2])
def test_differences_are_of_the_positions_that_are_seen_and_there(orders):
    x = views()["path"].double()
    there = torch.rand(len(x), 10, generator=torch.Generator().manual_seed(3)) < 0.8
    wild = torch.where(there[..., None], x[..., :2], 1e3)
    found, known = (part[..., 2 * orders :] for part in with_differences(wild, there, orders))
    for i in range(len(x)):  # slowly: one row and step after the other
        for t in range(10):
            assert bool(known[i, t].all()) == bool(known[i, t].any())
            here = t >= orders and bool(there[i, t - orders : t + 1].all())
            expected = x[i, : t + 1, :2].diff(n=orders, dim=0)[-1] if here else torch.zeros(2)
            assert bool(known[i, t, 0]) == here
            assert torch.allclose(found[i, t], expected.double(), atol=1e-12)
    net = build(
        Trajectories(blocks=1, width=16, heads=2, every=3, differences=orders),
        {"path": x, "flow": views()["flow"]},
    )
    moved = x.clone()
    moved[:, [1, 2, 4, 5, 7, 8]] += 1.0
    flow = views()["flow"].double()
    assert torch.equal(net({"path": moved, "flow": flow})["path"], net({"path": x, "flow": flow})["path"])


def test_bad_values_are_refused_by_name():
    with pytest.raises(ValueError, match="width=18: must be even, and a multiple of heads=4"):
        Trajectories(width=18)
    with pytest.raises(ValueError, match="every=0"):
        Trajectories(every=0)
    with pytest.raises(ValueError, match="differences=-1: must be >= 0"):
        Trajectories(differences=-1)
    with pytest.raises(ValueError, match="view 'path': shape"):
        ByView(8, {"flow": Fixed(), "path": SPEC}).build(
            {"flow": torch.zeros(3, 8), "path": torch.zeros(3, 4)}, torch.Generator()
        )


def test_what_is_not_there_is_no_part_of_the_scale():
    """A wild value where nothing is there changes neither mean nor spread, of positions or of differences."""
    x = views()["path"].double()
    x[::2, 2, 2] = 0.0
    wild = x.clone()
    wild[::2, 2, :2] = 1e3
    nets = [TrajectoryNet(sample, 8, dataclasses.replace(SPEC, differences=2)) for sample in (x, wild)]
    assert torch.equal(nets[0].mean, nets[1].mean)
    assert torch.equal(nets[0].std, nets[1].std)
    there = x[1::2, :, :2]
    assert torch.allclose(nets[0].mean[2, :2], there[:, 2].mean(dim=0).float())
    assert torch.allclose(nets[0].std[2, 2:4], (there[:, 2] - there[:, 1]).std(dim=0, correction=0).float())
