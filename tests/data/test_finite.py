"""A finite number of samples of a world."""

import pytest
import torch

from mmcl.data import BatchStream, Digits, Finite, finite
from mmcl.worlds import DigitPairs, Gaussian, GaussianWorld, RandomField, SplitWorld, StreamedWorld

MODEL = Gaussian([2, 1], [[2.0, 0.5, 1.0], [0.5, 1.0, 0.3], [1.0, 0.3, 1.5]])


def generator(seed):
    return torch.Generator().manual_seed(seed)


def rows(batch):
    return torch.cat([batch.views["u"], batch.views["v"]], dim=1)


def test_training_goes_through_the_samples_in_epochs_and_evaluations_see_fresh_ones():
    world = Finite(MODEL, 12).draw(generator(0))
    assert isinstance(world, StreamedWorld)
    assert isinstance(world, SplitWorld)
    stream = BatchStream(world, seed=3, batch_size=4)
    epochs = [
        torch.cat([rows(stream.batch(k)[0]) for k in range(first, first + 3)]).unique(dim=0)
        for first in (0, 3)
    ]
    assert epochs[0].shape == (12, 3)
    assert torch.equal(*epochs)
    assert not torch.equal(rows(stream.batch(0)[0]), rows(stream.batch(3)[0]))
    fresh = rows(world.part("test").sample(50, generator(1)))
    assert not set(map(tuple, fresh.tolist())) & set(map(tuple, epochs[0].tolist()))
    world.check_size("test", 10**9)
    drawn = rows(world.sample(100, generator(2))).unique(dim=0)
    assert torch.equal(
        drawn, epochs[0]
    )  # missing one of twelve in 100 draws: probability 2e-3, and the seed is fixed


def test_a_restored_world_has_the_same_samples_and_seeds_have_others():
    model = Finite(MODEL, 20)
    world = model.draw(generator(0))
    first = rows(world.take(5, 0, 20))
    finite._DRAWN.clear()
    assert torch.equal(rows(model.restore(world.state_dict()).take(5, 0, 20)), first)
    other = model.draw(generator(1))
    assert not torch.equal(rows(world.take(5, 0, 20)), rows(other.take(5, 0, 20)))
    with pytest.raises(ValueError, match="has no 'samples' of one int64"):
        model.restore({"world.covariance": torch.eye(3)})


def test_what_the_world_holds_out_itself_is_held_out():
    world = Finite(DigitPairs(), 50).draw(generator(0))
    assert world.roles["sum"].role == "synergy"
    with pytest.raises(ValueError, match="the pairs of test"):
        world.check_size("test", 10**9)
    assert len(world.part("test").sample(30, generator(1))) == 30


def test_covariance_is_that_of_the_samples():
    world = Finite(RandomField(), 300).draw(generator(0))
    x = rows(world.take(0, 0, 300)).double()
    assert torch.allclose(world.covariance, x.mT @ x / 300, atol=1e-12)
    assert Finite(RandomField(), 17).draw(generator(0)).covariance is None


def test_samples_are_drawn_once_for_all_loads_of_a_world(monkeypatch):
    drawn = []
    world = Finite(MODEL, 30).draw(generator(0))
    sample = GaussianWorld.sample
    monkeypatch.setattr(
        GaussianWorld, "sample", lambda self, n, *args: drawn.append(n) or sample(self, n, *args)
    )
    for _ in range(3):
        Finite(MODEL, 30).restore(world.state_dict()).take(0, 0, 5)
    assert drawn == [30]


def test_bad_values_are_refused_by_name():
    with pytest.raises(ValueError, match="n=1: must be >= 2"):
        Finite(MODEL, 1)
    with pytest.raises(ValueError, match=r"world=\{\}: must be a node with the _target_ of a world"):
        Finite({})
    with pytest.raises(ValueError, match=r"data\.world: holds given samples"):
        Finite(Digits(), 50).draw(generator(0))
    with pytest.raises(ValueError, match="intervention='permute_content'"):
        Finite(MODEL, 5).draw(generator(0)).sample(5, generator(0), "permute_content")
