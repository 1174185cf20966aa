"""Backbones of vectors: an MLP to one token, a token for each feature, features that another model made."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from mmcl.checks import require
from mmcl.encoders.mlp import mlp
from mmcl.encoders.tokens import NumberTokens, Tokens, split_series


def check_numbers(sample: Tensor, dimensions: int, allowed: str) -> None:
    """Raise ``ValueError`` unless ``sample`` has so many dimensions and is floating: no words, no pixels."""
    good = sample.ndim == dimensions and sample.is_floating_point()
    require(good, "shape", f"{tuple(sample.shape)}, {sample.dtype}", f"{allowed}, floating")


@dataclass(frozen=True)
class Vector:
    """An MLP with ReLU from ``(B, d)`` to one token.

    Args:
        widths: of its hidden layers.
    """

    widths: list[int] = field(default_factory=lambda: [256, 256])

    def __post_init__(self) -> None:
        require(
            all(width >= 1 for width in self.widths), "widths", list(self.widths), "a list of widths >= 1"
        )

    def build(self, sample: Tensor, size: int) -> nn.Module:
        """For a sample ``(n, d)``; tokens of ``size``. Raises ``ValueError`` for another shape."""
        check_numbers(sample, 2, "(rows, features) for a vector's backbone")
        return VectorNet(mlp([sample.shape[1], *self.widths, size], slope=0.0, bound=None))


class VectorNet(nn.Module):
    """``(B, d) -> Tokens (B, 1, size)``."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tokens:
        return Tokens(self.net(x)[:, None])


@dataclass(frozen=True)
class Table:
    """A token ``w_k x_k + b_k`` for each feature x_k, after an MLP (MultiBench's of MIMIC: 5 -> 10 -> 10 features).

    Args:
        widths: of the MLP's layers, its outputs last; none: the features themselves.
    """

    widths: list[int] = field(default_factory=lambda: [10, 10])

    def __post_init__(self) -> None:
        require(
            all(width >= 1 for width in self.widths),
            "widths",
            list(self.widths),
            "a list of widths >= 1, or []",
        )

    def build(self, sample: Tensor, size: int) -> nn.Module:
        """For a sample ``(n, d)``; tokens of ``size``. Raises ``ValueError`` for another shape."""
        check_numbers(sample, 2, "(rows, features) for a table's backbone")
        sizes = [sample.shape[1], *self.widths]
        net = mlp(sizes, slope=0.0, bound=None) if self.widths else nn.Identity()
        return nn.Sequential(net, NumberTokens(sizes[-1], size))


@dataclass(frozen=True)
class Features:
    """Tokens that another, frozen model made, brought to the encoding size by a linear map.

    ``(B, L, d + 1)``, whose last column says which tokens are there; or ``(B, d)``, one token.

    Args:
        linear: without it the tokens stay as they are, and must have the encoding size.
    """

    linear: bool = True

    def build(self, sample: Tensor, size: int) -> nn.Module:
        """For a sample of them. Raises ``ValueError`` for another shape, or width without ``linear``."""
        check_numbers(sample, min(max(sample.ndim, 2), 3), "(rows, features) or (rows, tokens, features + 1)")
        width = sample.shape[-1] - (sample.ndim == 3)
        require(
            self.linear or width == size,
            "encoder.encoding_size",
            size,
            f"{width}, the features' own, or linear=true",
        )
        return FeatureNet(nn.Linear(width, size) if self.linear else nn.Identity())


class FeatureNet(nn.Module):
    """``(B, L, d + 1) -> Tokens (B, L, size)``, ``(B, d) -> Tokens (B, 1, size)``."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tokens:
        if x.ndim == 2:
            return Tokens(self.net(x)[:, None])
        values, there = split_series(x)
        return Tokens(self.net(values), there)
