"""Checks that several worlds' configs and samplers share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from mmcl.checks import require, require_choice

PARTS = ("validation", "test")
"""What ``SplitWorld.part`` may be asked for."""


def is_whole(value: object, low: int) -> bool:
    """Whether ``value`` is a whole number of at least ``low``."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def require_whole(name: str, value: object, low: int) -> None:
    """Raise ``ValueError`` that names the field unless ``value`` is a whole number of at least ``low``."""
    require(is_whole(value, low), name, value, f"a whole number >= {low}")


def require_pairs(part: str, n: int, have: int, or_else: str = "") -> None:
    """Raise ``ValueError`` for more pairs than the part has; ``or_else``: what besides asking for fewer would help."""
    remedy = f"set evaluation.n_fit, n_test and pictures to that{or_else}"
    require(n <= have, "n", n, f"<= {have}, the pairs of {part}: {remedy}")


def require_cpu(generator: torch.Generator) -> None:
    """Raise ``ValueError`` for a generator that is not on the CPU."""
    device = str(generator.device)
    require(
        generator.device.type == "cpu", "generator.device", device, "cpu, so that no draw depends on a device"
    )


class Mixing(Protocol):
    """The fields of a world's config that say how its mixings are drawn, see ``draw_mixing``."""

    @property
    def mixing_layers(self) -> int: ...
    @property
    def mixing_slope(self) -> float: ...
    @property
    def condition_ratio(self) -> float: ...
    @property
    def condition_draws(self) -> int: ...


def require_mixing(model: Mixing) -> None:
    """Raise ``ValueError`` that names the first of these fields that is out of range."""
    require_whole("mixing_layers", model.mixing_layers, 1)
    require(0 < model.mixing_slope <= 1, "mixing_slope", model.mixing_slope, "in (0, 1]")
    require(0 < model.condition_ratio <= 1, "condition_ratio", model.condition_ratio, "in (0, 1]")
    require_whole("condition_draws", model.condition_draws, 1)


def require_part(name: str) -> None:
    """Raise ``ValueError`` unless there is a part of this name."""
    require_choice("part", name, PARTS)


def require_sample(n: int, generator: torch.Generator, intervention: str | None) -> None:
    """What worlds without interventions ask of ``sample``: raise ``ValueError`` that names what is wrong."""
    require_whole("n", n, 1)
    require_cpu(generator)
    require(
        intervention is None,
        "intervention",
        intervention,
        "none: this world has no interventions; choose evaluators without",
    )


def require_state(
    state: Mapping[str, Tensor], expected: Mapping[str, tuple[tuple[int, ...], torch.dtype]]
) -> None:
    """Raise ``ValueError``, naming the tensors, unless ``state`` has these names, shapes and dtypes and no others."""
    there = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()}
    wrong = sorted(k for k in expected.keys() | there.keys() if expected.get(k) != there.get(k))
    if wrong:
        said = "; ".join(f"{k!r} is {there.get(k)} instead of {expected.get(k)}" for k in wrong)
        raise ValueError(f"the world file does not fit the config: tensor {said}")


def require_permutations(state: Mapping[str, Tensor], names: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless each of these tensors holds 0, 1, ..., once each."""
    for name in names:
        if not torch.equal(state[name].sort().values, torch.arange(len(state[name]))):
            raise ValueError(f"the world file is damaged: tensor {name!r} has a level twice")
