import threading
from dataclasses import replace
from itertools import islice

import pytest
import torch

from mmcl.data import BatchStream
from mmcl.random import Stream, generator
from mmcl.worlds import LatentVariableModel


@pytest.fixture(scope="module")
def world():
    return LatentVariableModel(condition_ratio=0.2, condition_draws=50).draw(generator(0, Stream.WORLD))


def test_batch_k_is_a_function_of_seed_and_k_alone(world):
    stream = BatchStream(world, seed=3, batch_size=8)
    walked = [b for ((b, _),) in islice(stream, 5)]
    jumped = stream.batch(4)[0]
    ((resumed, _),) = next(iter(BatchStream(world, seed=3, batch_size=8, start=4)))
    for name in ("x1", "x2"):
        assert torch.equal(walked[4].views[name], jumped.views[name])
        assert torch.equal(walked[4].views[name], resumed.views[name])
    assert not torch.equal(walked[3].views["x1"], walked[4].views["x1"])
    assert not torch.equal(
        BatchStream(world, seed=4, batch_size=8).batch(4)[0].views["x1"], jumped.views["x1"]
    )


@pytest.mark.parametrize(("start", "lengths"), [(0, [3, 3, 2]), (4, [2, 2]), (6, [2]), (8, [])])
def test_batches_come_in_lists_that_end_at_multiples_and_at_the_stop(world, start, lengths):
    stream = BatchStream(world, seed=3, batch_size=8, start=start, stop=8, together=3)
    lists = list(stream)
    assert [len(batches) for batches in lists] == lengths
    for k, (batch, _) in enumerate((pair for batches in lists for pair in batches), start):
        assert torch.equal(batch.views["x1"], stream.batch(k)[0].views["x1"])


@pytest.mark.parametrize("fresh", [False, True])
def test_batches_are_the_rows_of_draws_in_turn(world, fresh):
    """x1 and x2 have 30 values a row: 2^18 of them are 2 draws' worth of 3,000 rows, or one of 2 x 3,000."""
    size = 3000
    stream = BatchStream(world, seed=3, batch_size=size, fresh=fresh)
    per_draw, rows = stream.batches_per_draw, 2 * size if fresh else size
    assert per_draw == (1 if fresh else 2)
    for k in (0, 1, 5):
        draw = world.sample(per_draw * rows, generator(3, Stream.TRAIN, k // per_draw))
        first = k % per_draw * rows
        for i, batch in enumerate(b for b in stream.batch(k) if b is not None):
            assert torch.equal(batch.views["x2"], draw.views["x2"][first + i * size : first + (i + 1) * size])


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("size", [3, 3000])
def test_a_thread_that_draws_ahead_draws_the_same_batches_and_ends_with_them(world, fresh, size):
    drawn_by = []

    class Watched:
        views = world.views

        def sample(self, n, generator):
            drawn_by.append(threading.current_thread())
            return world.sample(n, generator)

    here = BatchStream(world, seed=3, batch_size=size, fresh=fresh, start=1, stop=6, together=2)
    before = threading.active_count()
    for ours, theirs in zip(replace(here, world=Watched(), for_gpu=True), here, strict=True):
        for batches in zip(ours, theirs, strict=True):
            for mine, other in zip(*batches, strict=True):
                assert (mine is None) == (other is None)
                assert mine is None or torch.equal(mine.views["x2"], other.views["x2"])
    assert drawn_by
    assert threading.main_thread() not in drawn_by
    assert threading.active_count() == before
    batches = iter(replace(here, for_gpu=True))
    next(batches)
    batches.close()  # as a trainer that stops early does
    assert threading.active_count() == before


def test_an_error_of_the_thread_that_draws_ahead_comes_to_the_caller(world):
    class Broken:
        views = world.views

        def sample(self, n, generator):
            raise RuntimeError("no sample")

    with pytest.raises(RuntimeError, match="no sample"):
        next(iter(BatchStream(Broken(), seed=3, batch_size=8, for_gpu=True)))


def test_a_batch_too_large_to_be_drawn_with_another_is_a_draw_of_its_own(world):
    assert BatchStream(world, seed=0, batch_size=6144).batches_per_draw == 1
    assert BatchStream(world, seed=0, batch_size=100_000).batches_per_draw == 1


@pytest.mark.parametrize("fresh", [False, True])
def test_the_ranks_rows_put_together_are_the_global_batch(world, fresh):
    whole = BatchStream(world, seed=0, batch_size=12, fresh=fresh).batch(7)
    parts = [
        BatchStream(world, seed=0, batch_size=12, fresh=fresh, rank=r, ranks=3).batch(7) for r in range(3)
    ]
    for i in range(2 if fresh else 1):
        for name in ("x1", "x2"):
            assert torch.equal(torch.cat([p[i].views[name] for p in parts]), whole[i].views[name])
        assert len(whole[i]) == 12


def test_the_fresh_batch_shares_no_row_with_the_batch(world):
    batch, fresh = BatchStream(world, seed=0, batch_size=16, fresh=True).batch(0)
    distances = torch.cdist(batch.factors["content"], fresh.factors["content"])
    assert distances.min() > 0
    assert BatchStream(world, seed=0, batch_size=16).batch(0)[1] is None


def test_a_batch_that_does_not_divide_among_devices_is_refused(world):
    with pytest.raises(ValueError, match="batch_size=10"):
        BatchStream(world, seed=0, batch_size=10, ranks=3)


def test_streams_of_one_seed_are_unlike(world):
    draws = {s: world.sample(4, generator(0, s)).views["x1"] for s in Stream}
    for a in Stream:
        for b in Stream:
            assert (a == b) == torch.equal(draws[a], draws[b])
