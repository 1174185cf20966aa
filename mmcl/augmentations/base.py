"""Which augmentation each view has, and the random numbers that they are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmcl.checks import require


@dataclass(frozen=True)
class Numbers:
    """Random numbers for the rows of one process: its rows of those that one process would draw for the whole batch.

    They are drawn on the CPU, so that a run does not depend on the device that trains it.

    Fields:
        generator: where they come from.
        total: rows of the whole batch.
        rows: those of this process.
        device: where the numbers go.
    """

    generator: torch.Generator
    total: int
    rows: slice
    device: torch.device

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """``(rows, *shape)``, uniform in [low, high), float32."""
        return low + (high - low) * self._mine(torch.rand(self.total, *shape, generator=self.generator))

    def normal(self, *shape: int) -> Tensor:
        """``(rows, *shape)``, N(0, 1), float32."""
        return self._mine(torch.randn(self.total, *shape, generator=self.generator))

    def chance(self, probability: float, *shape: int) -> Tensor:
        """``(rows, *shape)``, bool: true with ``probability``."""
        return self.uniform(*shape) < probability

    def _mine(self, numbers: Tensor) -> Tensor:
        return numbers[self.rows].to(self.device, non_blocking=True)


Change = Callable[[Tensor, Numbers], Tensor]
"""``(n, ...) -> (n, ...)``: changes each row by itself, and not its argument."""


@dataclass(frozen=True)
class Augment:
    """Config of the augmentation of every view.

    Args:
        default: of views that ``views`` does not name; ``None`` leaves them as they are.
        views: name -> its own; ``None`` among them cannot be told from no entry, so name a part that does nothing.

    Each draw of a view is a pure function of (seed, step, draw), whatever the number of processes and their devices.
    """

    default: Any = None
    views: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, part in {
            "default": self.default,
            **{f"views.{n}": p for n, p in self.views.items()},
        }.items():
            good = part is None or callable(part)
            require(
                good, name, part, "an augmentation: a node with the _target_ of one of mmcl.augmentations"
            )

    def check(self, views: Mapping[str, Any]) -> None:
        """Raise ``ValueError`` for a name that none of ``views`` has."""
        for name in self.views:
            require(name in views, "augmentation.views", name, f"views of the data: {', '.join(views)}")

    def __call__(self, views: Mapping[str, Tensor], numbers: Numbers) -> dict[str, Tensor]:
        """One draw of every view, in the order of their names in ``views``."""
        found = {}
        for name, x in views.items():
            change = self.views.get(name, self.default)
            found[name] = x if change is None else change(x, numbers)
        return found
