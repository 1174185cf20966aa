"""In which order given pairs, in one shard or many, are trained on: a pure function of (seed, position)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from mmcl.random import Stream, generator


@dataclass(frozen=True)
class Order:
    """The endless sequence of pairs that a run of ``seed`` is trained on: epoch after epoch, each pair once in each.

    In an epoch the shards stand in random order. ``mixed`` of them at a time are put together and their pairs shuffled:
    whoever reads along the sequence has no more than so many shards to do with at once (twice as many where one group
    ends). So it is less than a shuffle of all pairs: two of one shard are rarely far from each other.

    Args:
        counts: pairs of each shard, each >= 1.
        mixed: >= 1.
        seed: of the run.
    """

    counts: tuple[int, ...]
    mixed: int
    seed: int

    def at(self, first: int, n: int) -> np.ndarray:
        """The pairs at positions ``first``, ..., ``first + n - 1``: ``(n, 2)``, int64: shard, and row in it."""
        found: list[np.ndarray] = []
        while n > 0:
            epoch, place = divmod(first, sum(self.counts))
            group, place = self._group(epoch, place)
            part = _shuffled(self, epoch, group)[place : place + n]
            found.append(part)
            first, n = first + len(part), n - len(part)
        return np.concatenate(found) if found else np.empty((0, 2), dtype=np.int64)

    def _group(self, epoch: int, place: int) -> tuple[int, int]:
        """The group that a place in an epoch lies in, and the place in the group."""
        sizes = np.array(self.counts)[_shards(self, epoch)]
        ends = np.add.reduceat(sizes, np.arange(0, len(sizes), self.mixed)).cumsum()
        group = int(np.searchsorted(ends, place, side="right"))
        return group, place - (int(ends[group - 1]) if group else 0)


@lru_cache(maxsize=4)
def _shards(order: Order, epoch: int) -> np.ndarray:
    """The shards in the order of an epoch."""
    return torch.randperm(len(order.counts), generator=generator(order.seed, Stream.TRAIN, epoch, 0)).numpy()


@lru_cache(maxsize=8)
def _shuffled(order: Order, epoch: int, group: int) -> np.ndarray:
    """The pairs of one group, ``(n, 2)``."""
    shards: Sequence[int] = _shards(order, epoch)[group * order.mixed : (group + 1) * order.mixed].tolist()
    pairs = np.concatenate(
        [np.stack([np.full(order.counts[s], s), np.arange(order.counts[s])], axis=1) for s in shards]
    )
    random = generator(order.seed, Stream.TRAIN, epoch, group + 1)
    return pairs[torch.randperm(len(pairs), generator=random).numpy()]
