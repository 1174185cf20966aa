"""Backbones of series ``(B, T, d + 1)``, whose last column says with 1 or 0 whether a step is there."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from mmcl.checks import require
from mmcl.encoders.backbones.positions import line_positions
from mmcl.encoders.tokens import NumberTokens, Tokens, split_series


def check_series(sample: Tensor) -> int:
    """The features of a step; raises ``ValueError`` unless ``sample`` is of series."""
    good = sample.ndim == 3 and sample.shape[2] >= 2
    require(good, "shape", tuple(sample.shape), "(rows, steps, features + 1) for a backbone of series")
    return sample.shape[2] - 1


@dataclass(frozen=True)
class Recurrent:
    """A GRU's output at every step (MultiBench's of MIMIC)."""

    def build(self, sample: Tensor, size: int) -> nn.Module:
        """For a sample ``(n, T, d + 1)``. Raises ``ValueError`` for another shape."""
        return RecurrentNet(nn.GRU(check_series(sample), size, batch_first=True))


class RecurrentNet(nn.Module):
    """``(B, T, d + 1) -> Tokens (B, T, size)``."""

    def __init__(self, net: nn.GRU) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tokens:
        values, there = split_series(x)
        return Tokens(self.net(values)[0], there)


@dataclass(frozen=True)
class SeriesTransformer:
    """A linear map of each step, and transformer blocks that normalise first (MultiBench's of text, vision and audio).

    Args:
        blocks: >= 1.
        heads: of attention, >= 1; must divide the encoding size.
        width: of the blocks' MLP, >= 1.
        positions: whether steps know their place, by sines and cosines. As released they do not: the order of words is
            not seen.
    """

    blocks: int = 5
    heads: int = 5
    width: int = 2048
    positions: bool = False

    def __post_init__(self) -> None:
        for name in ("blocks", "heads", "width"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")

    def build(self, sample: Tensor, size: int) -> nn.Module:
        """For a sample ``(n, T, d + 1)``. Raises ``ValueError`` for another shape, or a size that heads do not
        divide."""
        self.check_size(size)
        project = nn.Linear(check_series(sample), size, bias=False)
        return SeriesTransformerNet(project, size, self)

    def check_size(self, size: int) -> None:
        """Raise ``ValueError`` for a size that heads do not divide, or an odd one where steps have positions."""
        require(size % self.heads == 0, "encoder.encoding_size", size, f"a multiple of heads={self.heads}")
        require(
            not self.positions or size % 2 == 0,
            "encoder.encoding_size",
            size,
            "even where steps have positions",
        )


class SeriesTransformerNet(nn.Module):
    """``(B, T, d + 1) -> Tokens (B, T, size)``; ``project`` maps steps to ``size``."""

    def __init__(self, project: nn.Module, size: int, spec: SeriesTransformer) -> None:
        super().__init__()
        self.project = project
        self.positions = spec.positions
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                size, spec.heads, spec.width, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(spec.blocks)
        )
        self.norm = nn.LayerNorm(size)

    def steps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is projected, and which steps are there, ``(B, T)``, bool."""
        return split_series(x)

    def forward(self, x: Tensor) -> Tokens:
        values, there = self.steps(x)
        h = self.project(values)
        if self.positions:
            h = h + line_positions(h.shape[1], h.shape[2]).to(h)
        # A row without any step attends to its first one, as attention over nothing is not a number.
        seen = there | ((~there).all(dim=1, keepdim=True) & (torch.arange(x.shape[1], device=x.device) == 0))
        for block in self.blocks:
            h = block(h, src_key_padding_mask=~seen)
        return Tokens(self.norm(h), there)


@dataclass(frozen=True)
class CausalConvolutions:
    """Convolutions over time that see no later step, each halving the steps (Vision&Touch's of 32 steps of forces).

    Their last map has one step with ``channels`` values, each of which is a token: a scalar times a learned vector,
    with a learned offset, as of a table's feature.

    Args:
        layers: >= 1; the series must have 2^layers steps.
        channels: of the last, >= 1; the others have half as many, and so on.
    """

    layers: int = 5
    channels: int = 128

    def __post_init__(self) -> None:
        require(self.layers >= 1, "layers", self.layers, ">= 1")
        least = 2 ** (self.layers - 1)
        require(
            self.channels >= 1 and self.channels % least == 0,
            "channels",
            self.channels,
            f"a multiple of {least}",
        )

    def build(self, sample: Tensor, size: int) -> nn.Module:
        """For a sample ``(n, T, d + 1)``. Raises ``ValueError`` for another shape or number of steps."""
        features = check_series(sample)
        steps = 2**self.layers
        require(sample.shape[1] == steps, "steps", sample.shape[1], f"{steps} for {self.layers} layers")
        return CausalNet(features, size, self)


class CausalNet(nn.Module):
    """``(B, T, d + 1) -> Tokens (B, channels, size)``; steps that are not there count as zeros."""

    def __init__(self, features: int, size: int, spec: CausalConvolutions) -> None:
        super().__init__()
        widths = [features] + [spec.channels // 2 ** (spec.layers - 1 - k) for k in range(spec.layers)]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Conv1d(n_in, n_out, kernel_size=2, stride=2), nn.LeakyReLU(0.1, inplace=True)]
        self.net = nn.Sequential(*layers)
        self.tokens = NumberTokens(spec.channels, size)

    def forward(self, x: Tensor) -> Tokens:
        values, there = split_series(x)
        tokens: Tokens = self.tokens(self.net((values * there[..., None]).transpose(1, 2))[..., 0])
        return tokens
