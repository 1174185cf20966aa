"""Augmentation of tables and series: values left out, and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mmcl.augmentations.base import Numbers
from mmcl.checks import require, require_share


@dataclass(frozen=True)
class DropAndNoise:
    """Sets features, or steps of a series, to 0, and adds Gaussian noise: each of the two with a probability.

    Of ``(n, d)`` features are dropped, each by itself; of a series ``(n, T, d + 1)``, whose last column says with 1 or
    0 whether a step is there, whole steps. That column is never changed, and where it is 0 nothing is.

    Args:
        drop: share of the features or steps that is set to 0, in [0, 1]: each is with this probability.
        drop_up_to: whether that share is itself drawn for each sample, uniform in [0, drop).
        drop_probability: of a sample to lose any, in [0, 1].
        noise: standard deviation, >= 0, in the data's units.
        noise_probability: of a sample to have noise added, in [0, 1].

    Dufumier et al. (2025) use ``drop=0.8, drop_up_to=true, noise=0.1`` with probabilities of 0.5 on MultiBench.
    """

    drop: float = 0.3
    drop_up_to: bool = False
    drop_probability: float = 1.0
    noise: float = 0.3
    noise_probability: float = 1.0

    def __post_init__(self) -> None:
        for name in ("drop", "drop_probability", "noise_probability"):
            require_share(name, getattr(self, name))
        require(0 <= self.noise < math.inf, "noise", self.noise, ">= 0 and finite")

    def __call__(self, x: Tensor, numbers: Numbers) -> Tensor:
        """``(n, d)`` or ``(n, T, d + 1)``, floating; raises ``ValueError`` for another shape."""
        good = x.ndim in (2, 3) and x.is_floating_point()
        kinds = "(rows, features) or (rows, steps, features + 1), floating"
        require(good, "shape", f"{tuple(x.shape)}, {x.dtype}", kinds)
        series = x.ndim == 3
        values, there = (x[..., :-1], x[..., -1:]) if series else (x, torch.ones_like(x[:, :1]))
        wide = (1,) * (x.ndim - 1)
        up_to = numbers.uniform(*wide)  # drawn either way, so that the choice moves no other number
        share = self.drop * (up_to if self.drop_up_to else 1.0) * numbers.chance(self.drop_probability, *wide)
        dropped = numbers.uniform(x.shape[1], *wide[1:]) < share
        scale = self.noise * numbers.chance(self.noise_probability, *wide)
        values = values.masked_fill(dropped, 0.0) + scale * numbers.normal(*values.shape[1:]) * there
        values = values.to(x.dtype)
        return torch.cat([values, there], dim=-1) if series else values
