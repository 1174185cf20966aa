"""Pairs of pictures that share a shape: Trifeature, rendered here, with combinations of features held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from mmcl.checks import require
from mmcl.worlds.base import Batch, FactorRole
from mmcl.worlds.checks import (
    is_whole,
    require_cpu,
    require_pairs,
    require_part,
    require_permutations,
    require_sample,
    require_state,
    require_whole,
)
from mmcl.worlds.trifeature import require_law, trifeature_laws, trifeature_roles, with_match

FEATURES = ("shape", "texture", "colour")
PLACED = 6
"""Numbers in [0, 1) that place a picture's object and its texture, see ``mmcl.rendering.trifeature``."""


@dataclass(frozen=True)
class ImageTrifeature:
    """The law of pairs of pictures of objects of one shape, each with a texture and a colour of its own.

    Of the K^3 combinations of shape, texture and colour m K^2 are held out, with ``m = round(held_out K)``, those of ::

        a(shape) + b(texture) + c(colour) mod K < m,  a, b, c random permutations of the levels.

    So every two levels of two features occur together in exactly K - m combinations of training and in m held-out ones:
    no pair of levels is new in an evaluation, only threes are. (The source draws its 200 held-out of 1,000 combinations
    without such a rule.) The pool is ``renders`` pictures of each combination of training and ``held_out_renders`` of
    each held-out one, each with a place, rotations and a phase of its own.

    A pair is a first picture, uniform over its part of the pool, and a second one, uniform over those of the same
    shape, itself included; with probability ``bias`` the second one is uniform over those of that shape in colour
    M(texture.x1), M a bijection that is drawn with the world. As the pool is balanced, there always is one, and the law
    of shape, first texture and second colour is exactly that of :func:`~mmcl.worlds.trifeature.trifeature_laws`.
    Training pairs follow ``bias``; ``validation`` (pairs of the same pictures) and ``test`` (of held-out combinations)
    have none, and no pair twice.

    Fields:
        levels: K, from 2 to 10: of ten shapes, textures and colours, the first K.
        bias: in [0, 1].
        size: side of a picture in pixels, a whole number >= 32.
        renders: pictures of each combination of training, >= 1.
        held_out: share of combinations that are held out; 1 <= round(held_out K) < K.
        held_out_renders: pictures of each of these, >= 1.

    Raises ``ValueError``, naming the field, for a value out of range.

    Source: Dufumier et al. (2025), the controlled experiments on Trifeature, after Hermann and Lampinen (2020); the
    pictures are those of :mod:`mmcl.rendering.trifeature`.
    """

    levels: int = 10
    bias: float = 0.0
    size: int = 64
    renders: int = 3
    held_out: float = 0.2
    held_out_renders: int = 1

    def __post_init__(self) -> None:
        require_law(self.levels, self.bias)
        require(is_whole(self.size, 32), "size", self.size, "a whole number of pixels >= 32")
        require_whole("renders", self.renders, 1)
        require(0 < self.held_out < 1, "held_out", self.held_out, "in (0, 1)")
        require(
            1 <= self._held_out_levels < self.levels,
            "held_out",
            self.held_out,
            f"such that round(held_out x levels) is from 1 to {self.levels - 1}, with levels={self.levels}: "
            "every level must be in training and among what is held out",
        )
        require_whole("held_out_renders", self.held_out_renders, 1)

    @property
    def _held_out_levels(self) -> int:
        """m: of K combinations with the same two levels, those that are held out."""
        return round(self.held_out * self.levels)

    @property
    def pool_sizes(self) -> dict[str, int]:
        """Pictures of combinations of ``train`` and of held-out ones, ``test``."""
        held_out = self.levels**2 * self._held_out_levels
        return {
            "train": (self.levels**3 - held_out) * self.renders,
            "test": held_out * self.held_out_renders,
        }

    def draw(self, generator: torch.Generator) -> ImageTrifeatureWorld:
        """Draw one world: mapping, split and placements, which ``bias`` and ``size`` do not change.

        Raises ``ValueError`` for a generator that is not on the CPU: a world must not depend on a device.
        """
        require_cpu(generator)
        names = ("mapping", *(f"order.{feature}" for feature in FEATURES))
        state = {name: torch.randperm(self.levels, generator=generator) for name in names}
        for part, count in self.pool_sizes.items():
            state[f"placement.{part}"] = torch.rand(count, PLACED, dtype=torch.float64, generator=generator)
        return self.restore(state)

    def restore(self, state: Mapping[str, Tensor]) -> ImageTrifeatureWorld:
        """The world with this state, as ``state_dict`` gave it. It renders and samples bitwise what the original did.

        Raises ``ValueError``, naming the tensors, if one is missing, not expected, of another shape or dtype, or no
        permutation.
        """
        orders = ("mapping", *(f"order.{feature}" for feature in FEATURES))
        expected: dict[str, tuple[tuple[int, ...], torch.dtype]] = dict.fromkeys(
            orders, ((self.levels,), torch.int64)
        )
        for part, count in self.pool_sizes.items():
            expected[f"placement.{part}"] = ((count, PLACED), torch.float64)
        require_state(state, expected)
        require_permutations(state, orders)
        kept = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        held_out = self.held_out_combinations(kept)
        pools = {
            "train": Pool(held_out.logical_not(), self.renders, kept["placement.train"], self.size),
            "test": Pool(held_out, self.held_out_renders, kept["placement.test"], self.size),
        }
        return ImageTrifeatureWorld(self, kept, pools, "train")

    def held_out_combinations(self, state: Mapping[str, Tensor]) -> Tensor:
        """Which combinations are held out: (K, K, K) for shape, texture, colour, bool."""
        a, b, c = (state[f"order.{feature}"] for feature in FEATURES)
        total = a[:, None, None] + b[:, None] + c
        return total % self.levels < self._held_out_levels


class Pool:
    """Pictures of some combinations of features, equally many of each.

    Args:
        combinations: ``(K, K, K)``, bool: those that there are; as many colours for every shape and texture, and as
            many textures for every shape and colour.
        renders: pictures of each.
        placement: ``(pictures, 6)``, in [0, 1).
        size: side of a picture.
    """

    def __init__(self, combinations: Tensor, renders: int, placement: Tensor, size: int) -> None:
        self.levels = combinations.nonzero().repeat_interleave(renders, dim=0)
        """The shape, texture and colour of each picture: ``(pictures, 3)``, int64."""
        self._placement = placement
        self._size = size
        count = len(combinations)
        shape, _, colour = self.levels.unbind(dim=1)
        # Stable, so that the order does not depend on a library's sort.
        self.of_shape = shape.argsort(stable=True).reshape(count, -1)
        """The pictures of each shape: ``(K, pictures / K)``."""
        self.of_shape_and_colour = (shape * count + colour).argsort(stable=True).reshape(count, count, -1)
        """The pictures of each shape and colour: ``(K, K, pictures / K^2)``."""

    def __len__(self) -> int:
        return len(self.levels)

    @cached_property
    def pictures(self) -> Tensor:
        """``(pictures, 3, size, size)``, uint8; rendered when they are first asked for."""
        from mmcl.rendering.trifeature import render  # matplotlib comes with it, which no other world needs

        shapes, textures, colours = self.levels.numpy().T
        return torch.from_numpy(render(shapes, textures, colours, self._placement.numpy(), self._size))


class ImageTrifeatureWorld:
    """One world of an :class:`ImageTrifeature`, which makes it: the pairs of training, ``validation`` or ``test``.

    ``mapping``: ``(K,)``, int64, texture -> colour. ``bias``: that of :meth:`sample`.
    """

    calibration = 1024

    def __init__(
        self, model: ImageTrifeature, state: Mapping[str, Tensor], pools: Mapping[str, Pool], part: str
    ) -> None:
        self.model = model
        self.mapping = state["mapping"]
        self.bias = model.bias if part == "train" else 0.0
        self._state = state
        self._pools = pools
        self._part = part

    @property
    def pool(self) -> Pool:
        """The pictures that pairs are made of."""
        return self._pools["test" if self._part == "test" else "train"]

    def __len__(self) -> int:
        """How many different ordered pairs there are."""
        return len(self.pool) * self.pool.of_shape.shape[1]

    @property
    def views(self) -> dict[str, int]:
        """Name of each view -> its number of values."""
        return dict.fromkeys(("x1", "x2"), prod((3, self.model.size, self.model.size)))

    @property
    def roles(self) -> dict[str, FactorRole]:
        """Name of each factor -> its role."""
        return trifeature_roles(self.model.levels)

    def laws(self, bias: float | None = None) -> dict[str, Tensor]:
        """Factor -> exact ``p(x1, x2, y)`` at this bias, or its own, see ``trifeature_laws``."""
        return trifeature_laws(self.mapping, self.bias if bias is None else bias)

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the tensors that make this world, without its pixels.

        ``mapping``, ``order.shape``, ``order.texture``, ``order.colour``: (K,), int64; ``placement.train``,
        ``placement.test``: (pictures, 6), float64, in [0, 1).
        """
        return {name: tensor.clone() for name, tensor in self._state.items()}

    def part(self, name: str) -> ImageTrifeatureWorld:
        """Pairs without bias: ``validation``, of the pictures of training, or ``test``, of held-out combinations."""
        require_part(name)
        return ImageTrifeatureWorld(self.model, self._state, self._pools, name)

    def check_size(self, part: str, n: int) -> None:
        """Raise ``ValueError`` if the part has fewer than ``n`` different pairs."""
        require_pairs(part, n, len(self.part(part)), ", or render more pictures")

    def sample(self, n: int, generator: torch.Generator, intervention: str | None = None) -> Batch:
        """``n`` >= 1 pairs: of training any, of a part ``n`` different ones; views (n, 3, size, size), uint8.

        Factors are (n, 1), int64. For one generator state, a larger bias changes the second picture of more of the same
        samples, and nothing else.

        Raises ``ValueError`` for n < 1, an intervention, a generator that is not on the CPU, or more pairs than a part
        has.
        """
        require_sample(n, generator, intervention)
        pool = self.pool
        of_shape = pool.of_shape.shape[1]
        if self._part == "train":
            first = torch.randint(len(pool), (n,), generator=generator)
            place = torch.randint(of_shape, (n,), generator=generator)
        else:
            self.check_size(self._part, n)
            pairs = torch.randperm(len(self), generator=generator)[:n]
            first, place = pairs // of_shape, pairs % of_shape
        shape, texture, _ = pool.levels[first].unbind(dim=1)
        second = pool.of_shape[shape, place]
        if self._part == "train":
            # Drawn at every bias, so that the bias moves no other draw.
            forced = torch.rand(n, generator=generator) < self.bias
            matching = pool.of_shape_and_colour[shape, self.mapping[texture]]
            place = torch.randint(matching.shape[1], (n, 1), generator=generator)
            second = torch.where(forced, matching.gather(1, place)[:, 0], second)
        factors = {"shape": shape[:, None]}
        for view, rows in (("x1", first), ("x2", second)):
            for column, feature in ((1, "texture"), (2, "colour")):
                factors[f"{feature}.{view}"] = pool.levels[rows, column][:, None]
        views = {"x1": pool.pictures[first], "x2": pool.pictures[second]}
        return Batch(views, with_match(factors, self.mapping))
