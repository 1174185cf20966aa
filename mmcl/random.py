"""Randomness by name: independent streams from one seed.

``seed`` is the one dial. Each purpose draws from its own stream, ``SeedSequence([seed, stream, *index])``, so
that adding a draw in one place moves no other, and a draw can be found again from its name alone: training batch
``k`` is a pure function of ``(seed, k)``. All generators live on the CPU, so that a run's numbers do not depend
on the device that trains it.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What a stream of random numbers is for. Values are part of every recorded result: never renumber."""

    WORLD = 0
    INIT = 1
    TRAIN = 2
    VALIDATION = 3
    TEST = 4
    PROBE = 5
    AUGMENTATION = 6


def generator(seed: int, stream: Stream, *index: int) -> torch.Generator:
    """A CPU generator for ``stream`` of ``seed``, and for item ``index`` of it (for example batch ``k``).

    torch seeds its CPU generator with 32 bits. Among n items two therefore coincide with probability about
    n^2 / 2^33: in 300,000 batches some ten are seen twice, which no result depends on.

    >>> a = torch.rand(1, generator=generator(0, Stream.TRAIN, 7))
    >>> b = torch.rand(1, generator=generator(0, Stream.TRAIN, 7))
    >>> bool(a == b)
    True
    """
    state = np.random.SeedSequence([seed, int(stream), *index]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
