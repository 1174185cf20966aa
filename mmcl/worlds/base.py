"""What every world offers: batches of views with their factors, the factors' roles, a hashable state."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from mmcl.checks import require

Role = Literal["content", "shared", "style", "modality_specific", "synergy", "label"]

INTERVENTIONS = ("permute_content",)
"""What ``World.sample`` may be asked to do to content before the mixing."""


@dataclass(frozen=True)
class Batch:
    """Observations and the factors that made them, row by row.

    Shapes: ``views[name]: (n, d_name)`` float; ``factors[name]: (n, k)``, float where the factor is
    continuous and int64 (one column of class indices per component) where it is discrete. ``chooses: (n,)``, bool: of
    samples that predictors are fitted on, those of the split that chooses their strength; ``None``: there is no such.

    Raises ``ValueError`` if there is no view, or if the tensors differ in their number of rows.
    """

    views: dict[str, Tensor]
    factors: dict[str, Tensor]
    chooses: Tensor | None = None

    def __post_init__(self) -> None:
        if not self.views:
            raise ValueError("views={}: must hold at least one view")
        rows = {name: len(tensor) for name, tensor in (*self.views.items(), *self.factors.items())}
        if len(set(rows.values())) != 1:
            raise ValueError(f"rows={rows}: must be the same for every view and factor")
        if self.chooses is not None:
            n, good = len(self), self.chooses.dtype == torch.bool and self.chooses.shape == (len(self),)
            require(good, "chooses", f"{tuple(self.chooses.shape)}, {self.chooses.dtype}", f"({n},), bool")

    def __len__(self) -> int:
        return len(next(iter(self.views.values())))

    def rows(self, rows: slice | Tensor) -> Batch:
        """The batch of the given rows, or of their numbers (of a slice, tensors share memory with this one)."""
        return Batch(
            views={name: view[rows] for name, view in self.views.items()},
            factors={name: factor[rows] for name, factor in self.factors.items()},
            chooses=None if self.chooses is None else self.chooses[rows],
        )

    def pinned(self) -> Batch:
        """The batch with its views in page-locked memory, which a GPU copies from while it computes. Needs CUDA."""
        return replace(self, views={name: view.pin_memory() for name, view in self.views.items()})

    def views_to(self, device: torch.device) -> Batch:
        """The batch with its views on ``device``; factors stay where they are."""
        if all(view.device == device for view in self.views.values()):
            return self
        views = {name: view.to(device, non_blocking=True) for name, view in self.views.items()}
        return replace(self, views=views)


@dataclass(frozen=True)
class FactorRole:
    """What a factor is in the generative process.

    ``role``: 'content' (the same in every modality), 'shared' (the same in some), 'style' (may change across them),
    'modality_specific', 'synergy' (a relation of several views, which none of them tells alone), or 'label' (of given
    data: to be predicted, and nothing is known of where it is). ``modality``: the view whose factor it is; None for
    what several views share or make together.
    ``classes``: the number of classes of each component of a discrete factor (chance accuracy is 1 /
    classes); None for a continuous one.
    """

    role: Role
    modality: str | None = None
    classes: int | None = None


@runtime_checkable
class World(Protocol):
    """A data-generating process with known factors. All it draws comes from the generator passed in."""

    @property
    def views(self) -> dict[str, int]:
        """Name of each view -> its observation size."""
        ...

    @property
    def roles(self) -> dict[str, FactorRole]:
        """Name of each factor of a batch sampled without intervention -> its role."""
        ...

    def sample(self, n: int, generator: torch.Generator, intervention: str | None = None) -> Batch:
        """Draw ``n`` samples: a pure function of the world's state, ``n`` and the generator's state."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors that, with the config, make this world and no other."""
        ...


@runtime_checkable
class SplitWorld(World, Protocol):
    """A world whose evaluation differs from its training: in given samples that are held out, or in the law.

    :class:`World` itself is that of training.
    """

    calibration: int
    """How many samples an encoder may set its first layer from."""

    def part(self, name: str) -> World:
        """The samples of ``validation``, which predictors are fitted on, or of ``test``, which score them.

        Where samples are given, ``sample`` gives none of them twice.
        """
        ...

    def check_size(self, part: str, n: int) -> None:
        """Raise ``ValueError`` if the part has fewer than ``n`` samples."""
        ...


def part_of(world: World, name: str) -> World:
    """The part ``name`` of a world that has parts; of any other the world itself."""
    return world.part(name) if isinstance(world, SplitWorld) else world


@runtime_checkable
class CountedWorld(SplitWorld, Protocol):
    """A world of given samples, of which an evaluation may take all."""

    def size(self, part: str) -> int:
        """How many samples the part has."""
        ...


@runtime_checkable
class KnownWorld(World, Protocol):
    """A world of two views that knows how much they tell of its factors, at most."""

    def laws(self) -> dict[str, Tensor]:
        """Factor -> ``p(x1, x2, y)`` of its samples, float64, x1 and x2 being what a view without noise says of y."""
        ...


@runtime_checkable
class StreamedWorld(World, Protocol):
    """A world whose training samples come in a sequence, and are read from somewhere as training goes along."""

    ahead: int
    """How many threads shall read before they are asked, >= 1."""

    def take(self, seed: int, first: int, n: int) -> Batch:
        """The ``n`` samples from position ``first`` on of the sequence that ``seed`` is trained on: a pure function."""
        ...


def content_of(world: World) -> tuple[str, ...]:
    """The names of the factors that all modalities share, in the world's order; of some worlds there are several."""
    return tuple(name for name, role in world.roles.items() if role.role == "content")


def world_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 (64 hex digits) of a world's state: its names, dtypes, shapes and raw bytes.

    Taken in the order of the names, it depends neither on a file format nor on the order, device or memory
    layout of the tensors. Two states that differ in one bit of one value differ in their hash (so -0.0 and
    0.0 count as different).

    >>> world_hash({"a": torch.zeros(2)}) == world_hash({"a": torch.zeros(2)})
    True
    >>> world_hash({"a": torch.zeros(2)}) == world_hash({"a": torch.zeros(1, 2)})
    False
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        payload = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        # repr() quotes the name and the header's length is fixed by the payload's, so no two states read
        # alike.
        header = f"{name!r} {tensor.dtype} {tuple(tensor.shape)} {len(payload)}\n"
        digest.update(header.encode())
        digest.update(payload)
    return digest.hexdigest()
