"""Checks that several worlds' configs and samplers share."""

from __future__ import annotations

from typing import Protocol

import torch

from mmcl.checks import require


def is_whole(value: object, low: int) -> bool:
    """Whether ``value`` is a whole number of at least ``low``."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def require_whole(name: str, value: object, low: int) -> None:
    """Raise ``ValueError`` that names the field unless ``value`` is a whole number of at least ``low``."""
    require(is_whole(value, low), name, value, f"a whole number >= {low}")


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
