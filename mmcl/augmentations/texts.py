"""Augmentation of text."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmcl.augmentations.base import Numbers
from mmcl.checks import require, require_share


@dataclass(frozen=True)
class WordMask:
    """Replaces words by the unknown one.

    Args:
        probability: of each word, in [0, 1].
        unknown: the unknown word's number; vocabularies begin with padding, the end of a text, and it.
        special: words below this number stay: padding, the end of a text, the unknown word.
    """

    probability: float = 0.15
    unknown: int = 2
    special: int = 3

    def __post_init__(self) -> None:
        require_share("probability", self.probability)
        for name in ("unknown", "special"):
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")

    def __call__(self, x: Tensor, numbers: Numbers) -> Tensor:
        """``(n, L)``, int64."""
        require(not x.is_floating_point(), "dtype", x.dtype, "int64, numbers of words")
        masked = numbers.chance(self.probability, x.shape[1]) & (x >= self.special)
        return x.masked_fill(masked, self.unknown)
