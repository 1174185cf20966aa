"""An encoder of trajectories: self-attention over their positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmcl.checks import require
from mmcl.encoders.backbones.positions import line_positions
from mmcl.encoders.backbones.series import check_series
from mmcl.encoders.tokens import split_series


@dataclass(frozen=True)
class Trajectories:
    """A linear map of each position, residual attention blocks, and a linear map of the last position that is there.

    ``g = P . A_M . ... . A_1 . L``: blocks are multi-head attention and an MLP, each after a LayerNorm and with a
    residual. Baptista et al. (2025), Section 6.3, with M = 12 on 1,000 positions; widths, heads and the embedding of
    times are not stated there. Here times are told by sines and cosines, and positions are first brought to mean 0 and
    variance 1 for each time by itself, by fixed numbers from a sample: what differs soon after the start is small. So
    are their differences, which are ours: in a smooth path what tells of all but the mean velocity is small.

    Args:
        blocks: M >= 1.
        width: of tokens, d', even.
        heads: of attention, >= 1; must divide the width.
        every: of the positions every so many-th is seen, from the last one back; >= 1.
        differences: orders of the differences to the positions before, of those that are seen, which stand beside each:
            velocities, accelerations, ...; >= 0. Where one of the positions is not there they are 0, their mean.
    """

    blocks: int = 3
    width: int = 64
    heads: int = 4
    every: int = 1
    differences: int = 0

    def __post_init__(self) -> None:
        for name in ("blocks", "width", "heads", "every"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        require(self.differences >= 0, "differences", self.differences, ">= 0")
        good = self.width % 2 == 0 and self.width % self.heads == 0
        require(good, "width", self.width, f"even, and a multiple of heads={self.heads}")

    def build(self, sample: Tensor, size: int) -> nn.Module:
        """For a sample ``(n, T, d + 1)``: to ``(B, size)``. Raises ``ValueError`` for another shape."""
        check_series(sample)
        return TrajectoryNet(sample[:, (sample.shape[1] - 1) % self.every :: self.every], size, self)


class TrajectoryNet(nn.Module):
    """``(B, T, d + 1)`` -> ``(B, size)``, see :class:`Trajectories`; ``sample``: of the positions that are seen."""

    mean: Tensor
    std: Tensor
    times: Tensor

    def __init__(self, sample: Tensor, size: int, spec: Trajectories) -> None:
        super().__init__()
        self.every = spec.every
        self.differences = spec.differences
        values, known = with_differences(*split_series(sample.double()), spec.differences)
        count = known.sum(dim=0).clamp(min=1)
        mean = values.sum(dim=0) / count
        spread = (((values - mean) * known).square().sum(dim=0) / count).sqrt()
        self.register_buffer("mean", mean.float())
        # (what never varies would be divided by 0)
        self.register_buffer("std", torch.where(spread > 0, spread, 1.0).float())
        self.register_buffer("times", line_positions(values.shape[1], spec.width).float())
        self.lift = nn.Linear(values.shape[2], spec.width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                spec.width,
                spec.heads,
                4 * spec.width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(spec.blocks)
        )
        self.norm = nn.LayerNorm(spec.width)
        self.project = nn.Linear(spec.width, size)

    def forward(self, x: Tensor) -> Tensor:
        values, there = split_series(x[:, (x.shape[1] - 1) % self.every :: self.every])
        values, known = with_differences(values, there, self.differences)
        h = self.lift((values - self.mean) / self.std * known) + self.times
        padded = None if bool(there.all()) else ~there
        for block in self.blocks:
            h = block(h, src_key_padding_mask=padded)
        steps = torch.arange(h.shape[1], device=h.device)
        last = (there * steps).argmax(dim=1)  # the last that is there; of a path without any, the first
        z: Tensor = self.project(self.norm(h[torch.arange(len(h), device=h.device), last]))
        return z


def with_differences(values: Tensor, there: Tensor, orders: int) -> tuple[Tensor, Tensor]:
    """Values ``(B, T, d)`` and beside them so many orders of their differences to the step before, ``(B, T, d (1 +
    orders))``, and which of these are known, bool: those of steps that are all there. The others are 0.

    >>> x = torch.tensor([[[1.0], [4.0], [9.0], [16.0]]])
    >>> with_differences(x, torch.ones(1, 4, dtype=torch.bool), 2)[0][0].T
    tensor([[ 1.,  4.,  9., 16.],
            [ 0.,  3.,  5.,  7.],
            [ 0.,  0.,  2.,  2.]])
    """
    parts, known = [values], [there]
    for _ in range(orders):
        both = known[-1] & known[-1].roll(1, dims=1)
        both[:, 0] = False
        parts.append(parts[-1] - parts[-1].roll(1, dims=1))
        known.append(both)
    mask = torch.stack(known, dim=2).repeat_interleave(values.shape[2], dim=2)
    return torch.where(mask, torch.cat(parts, dim=2), 0.0), mask
