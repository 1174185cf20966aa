"""A number of samples of any world as all the training data that there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mmcl.checks import require
from mmcl.data.order import Order
from mmcl.worlds import Batch, FactorRole, SplitWorld, StreamedWorld, World, part_of, world_hash

WORLD = "world."
"""How the names of the world's tensors begin in a state."""

CALIBRATION = 16384
"""Samples that an encoder may be set from, where the world does not say."""

_DRAWN: dict[tuple[str, int], Batch] = {}
"""The samples that were drawn last: a run loads its world for training, evaluation and pictures, and they may cost
minutes."""


@dataclass(frozen=True)
class Finite:
    """``n`` samples of a world, which training goes through in epochs; an evaluation draws fresh ones, as ever.

    The samples are a function of the world. So the difference between a run of this and one of the world itself is that
    its encoders may learn the samples by heart.

    Args:
        world: a node with the ``_target_`` of a world that draws its samples; given data come in epochs anyway.
        n: N >= 2.

    Raises ``ValueError`` for a value out of range. Source: the sample sizes of Baptista et al. (2025), Section 6.
    """

    world: Any
    n: int = 10000

    def __post_init__(self) -> None:
        good = hasattr(self.world, "draw") and hasattr(self.world, "restore")
        require(good, "world", self.world, "a node with the _target_ of a world")
        require(self.n >= 2, "n", self.n, ">= 2")

    def draw(self, generator: torch.Generator) -> FiniteWorld:
        """The world as it draws itself, and a seed of the samples."""
        world = self.world.draw(generator)
        return FiniteWorld(world, torch.randint(2**62, (1,), generator=generator), self.n)

    def restore(self, state: Mapping[str, Tensor]) -> FiniteWorld:
        """The world with this state; its samples are drawn again, the same.

        Raises ``ValueError``, naming the tensor, if one is missing or another.
        """
        seed = state.get("samples")
        if seed is None or seed.shape != (1,) or seed.dtype != torch.int64:
            raise ValueError("the world file does not fit the config: it has no 'samples' of one int64")
        inner = {name.removeprefix(WORLD): x for name, x in state.items() if name.startswith(WORLD)}
        return FiniteWorld(self.world.restore(inner), seed, self.n)


class FiniteWorld:
    """``n`` samples of ``world``: a :class:`~mmcl.worlds.StreamedWorld` and :class:`~mmcl.worlds.SplitWorld`.

    ``seed``: ``(1,)``, int64, of the samples. They are drawn when the first are wanted, and held in memory.

    Raises ``ValueError`` for a world of given samples.
    """

    ahead = 1

    def __init__(self, world: World, seed: Tensor, n: int) -> None:
        if isinstance(world, StreamedWorld):
            raise ValueError(
                "data.world: holds given samples, of which training goes through all; use it without finite"
            )
        self.world = world
        # As many as an encoder is set from in the world itself.
        self.calibration = int(getattr(world, "calibration", CALIBRATION))
        self._seed = seed.detach().cpu().clone()
        self._n = n

    def __len__(self) -> int:
        return self._n

    @cached_property
    def _samples(self) -> Batch:
        key = (world_hash(self.state_dict()), self._n)
        if key not in _DRAWN:
            _DRAWN.clear()
            _DRAWN[key] = self.world.sample(self._n, torch.Generator().manual_seed(int(self._seed)))
        return _DRAWN[key]

    @property
    def views(self) -> dict[str, int]:
        """Name of each view -> its observation size."""
        return self.world.views

    @property
    def roles(self) -> dict[str, FactorRole]:
        """Name of each factor -> its role."""
        return self.world.roles

    def state_dict(self) -> dict[str, Tensor]:
        """The world's tensors, and ``samples``, the seed of its samples."""
        return {
            **{WORLD + name: x for name, x in self.world.state_dict().items()},
            "samples": self._seed.clone(),
        }

    def take(self, seed: int, first: int, n: int) -> Batch:
        """The samples at positions ``first`` to ``first + n`` of the endless sequence that ``seed`` is trained on."""
        return self._samples.rows(torch.from_numpy(Order((len(self),), 1, seed).at(first, n)[:, 1]))

    def sample(self, n: int, generator: torch.Generator, intervention: str | None = None) -> Batch:
        """``n`` of the samples, with replacement. Raises ``ValueError`` for an intervention."""
        require(intervention is None, "intervention", intervention, "none: given samples cannot be changed")
        return self._samples.rows(torch.randint(len(self), (n,), generator=generator))

    @property
    def covariance(self) -> Tensor | None:
        """Second moments of all views' values side by side, ``(d, d)``, float64; ``None`` if views are no vectors, or
        there are too few samples for them to be positive definite."""
        views = self._samples.views.values()
        if any(x.ndim != 2 for x in views) or len(self) <= sum(x.shape[1] for x in views):
            return None
        x = torch.cat([x.double() for x in views], dim=1)
        return x.mT @ x / len(x)

    def part(self, name: str) -> World:
        """Fresh samples of the world, or those that it holds out itself."""
        return part_of(self.world, name)

    def check_size(self, part: str, n: int) -> None:
        """Raise ``ValueError`` if the world holds out fewer than ``n`` samples."""
        if isinstance(self.world, SplitWorld):
            self.world.check_size(part, n)

    def shown(self, view: str, x: Tensor) -> Any:
        """How the world shows samples of a view; ``None`` if it does not."""
        show = getattr(self.world, "shown", None)
        return None if show is None else show(view, x)
