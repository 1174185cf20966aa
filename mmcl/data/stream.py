"""A training stream in which global batch k is a pure function of (seed, k)."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import count, islice

import lightning.pytorch as pl
import torch

from mmcl.data.ahead import ahead
from mmcl.random import Stream, generator
from mmcl.worlds import Batch, StreamedWorld, World

# Values of all views in one draw of small batches: 1 MB of float32, which a core's cache holds. Part of what a seed
# means: with another value, a seed names other batches.
_VALUES_PER_DRAW = 2**18


@dataclass(frozen=True)
class BatchStream:
    """Batches of fresh samples from ``world``, beginning with global batch ``start``.

    Every rank draws the whole global batch and takes its rows of it, so that many devices see the batch that one
    would, and a resumed run sees the batches that an uninterrupted one would. Sampling costs a few per cent of a
    training step, which is what this exactness is paid with. Small batches are drawn
    :attr:`batches_per_draw` at a time.

    Of a :class:`~mmcl.worlds.StreamedWorld` every rank reads its own rows alone, by threads that work ahead. Batch k is
    then the K samples from position ``k K`` of the world's sequence on, or with fresh batches the first K of the 2 K
    from ``2 k K`` on.

    Args:
        world: where samples come from.
        seed: the run's seed; draw j comes from ``Stream.TRAIN`` of it, item j.
        batch_size: rows of the global batch, K.
        fresh: also draw an independent second batch of K rows, for losses whose negatives are fresh samples.
        start: the first k.
        stop: the k to end before; ``None``: none.
        together: batches to yield at a time; a multiple of it stands at the end of each list of them.
        rank, ranks: which rows to take: ``K / ranks`` of them, from row ``rank * K / ranks`` on.
        for_gpu: a thread draws ahead, into page-locked memory where CUDA is, so that a GPU does not wait for samples.
            The same batches. (On a CPU the thread would take its core from the step.)

    Yields:
        A list of ``(batch, fresh batch or None)``.
    """

    world: World
    seed: int
    batch_size: int
    fresh: bool = False
    start: int = 0
    stop: int | None = None
    together: int = 1
    rank: int = 0
    ranks: int = 1
    for_gpu: bool = False

    def __post_init__(self) -> None:
        if self.batch_size % self.ranks:
            raise ValueError(
                f"batch_size={self.batch_size}: must be divisible by the number of devices, {self.ranks}"
            )

    @property
    def batches_per_draw(self) -> int:
        """How many batches one draw makes, >= 1: small batches are drawn together, for that costs a third."""
        return max(1, _VALUES_PER_DRAW // (self._rows * sum(self.world.views.values())))

    @property
    def _rows(self) -> int:
        # One draw of 2K rows costs less than two of K; rows are independent of each other either way.
        return 2 * self.batch_size if self.fresh else self.batch_size

    def batch(self, k: int) -> tuple[Batch, Batch | None]:
        """Global batch ``k``: this rank's rows of it."""
        return self._take(self.world, k) if isinstance(self.world, StreamedWorld) else next(self._drawn(k))

    def _batches(self, k: int) -> Generator[tuple[Batch, Batch | None], None, None]:
        """Batches ``k``, ``k + 1``, ..., this rank's rows of each."""
        if isinstance(self.world, StreamedWorld):
            numbers = count(k) if self.stop is None else range(k, self.stop)
            return ahead(partial(self._take, self.world), numbers, self.world.ahead)
        return self._drawn(k)

    def _take(self, world: StreamedWorld, k: int) -> tuple[Batch, Batch | None]:
        rows = self.batch_size // self.ranks
        first = k * self._rows + self.rank * rows
        mine = self._placed(world.take(self.seed, first, rows))
        if not self.fresh:
            return mine, None
        return mine, self._placed(world.take(self.seed, first + self.batch_size, rows))

    def _drawn(self, k: int) -> Generator[tuple[Batch, Batch | None], None, None]:
        rows = self.batch_size // self.ranks
        draw_index, skip = divmod(k, self.batches_per_draw)
        numbers = count(draw_index)
        with (
            closing(ahead(self._draw, numbers, 1))
            if self.for_gpu
            else nullcontext(map(self._draw, numbers)) as draws
        ):
            for draw in draws:
                for first in range(skip * self._rows + self.rank * rows, len(draw), self._rows):
                    mine = draw.rows(slice(first, first + rows))
                    second = first + self.batch_size
                    yield mine, draw.rows(slice(second, second + rows)) if self.fresh else None
                skip = 0

    def _draw(self, j: int) -> Batch:
        rows = self.batches_per_draw * self._rows
        return self._placed(self.world.sample(rows, generator(self.seed, Stream.TRAIN, j)))

    def _placed(self, batch: Batch) -> Batch:
        return batch.pinned() if self.for_gpu and torch.cuda.is_available() else batch

    def __iter__(self) -> Iterator[list[tuple[Batch, Batch | None]]]:
        k = self.start
        with closing(self._batches(k)) as batches:
            while self.stop is None or k < self.stop:
                end = k - k % self.together + self.together
                end = end if self.stop is None else min(end, self.stop)
                yield list(islice(batches, end - k))
                k = end


class StreamingDataModule(pl.LightningDataModule):
    """Feeds a :class:`BatchStream` to Lightning, from the step that the trainer has reached to its last."""

    def __init__(self, world: World, *, seed: int, batch_size: int, fresh: bool, together: int = 1) -> None:
        super().__init__()
        self.world = world
        self.seed = seed
        self.batch_size = batch_size
        self.fresh = fresh
        self.together = together

    def train_dataloader(self) -> BatchStream:
        assert self.trainer is not None
        return BatchStream(
            self.world,
            self.seed,
            self.batch_size,
            self.fresh,
            start=self.trainer.global_step,
            stop=self.trainer.max_steps,
            together=self.together,
            rank=self.trainer.global_rank,
            ranks=self.trainer.world_size,
            for_gpu=self.trainer.strategy.root_device.type == "cuda",
        )

    def transfer_batch_to_device(
        self, batch: list[tuple[Batch, Batch | None]], device: torch.device, dataloader_idx: int
    ) -> list[tuple[Batch, Batch | None]]:
        """Views to the device; factors stay, as training does not look at them.

        Lightning's own way copies the batch's structure in every step, which costs a narrow encoder's step 2 %.
        """
        return [
            (first.views_to(device), second.views_to(device) if second is not None else None)
            for first, second in batch
        ]
