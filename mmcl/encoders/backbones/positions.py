"""Fixed positions of tokens: sines and cosines (Vaswani et al., 2017), along a line and in the plane."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmcl.checks import require


def line_positions(steps: int, size: int) -> Tensor:
    """Along a line, ``(steps, size)``: sines in one half, cosines in the other, of an even ``size``.

    At frequencies ``10000^(-k / (size / 2))`` for k = 0, ..., size / 2 - 1.

    >>> line_positions(4, 6).shape
    torch.Size([4, 6])
    """
    frequencies = torch.exp(-math.log(10_000) * torch.arange(size // 2) / (size // 2))
    angles = torch.arange(steps)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def sine_positions(height: int, width: int, size: int) -> Tensor:
    """In the plane, ``(height * width, size)``: those of x along a line in one half, of y in the other.

    Raises ``ValueError`` for a size that is no multiple of 4.

    >>> sine_positions(2, 3, 8).shape
    torch.Size([6, 8])
    """
    require(size % 4 == 0, "encoding_size", size, "a multiple of 4 for tokens that know their place")
    x = line_positions(width, size // 2).repeat(height, 1)
    y = line_positions(height, size // 2).repeat_interleave(width, dim=0)
    return torch.cat([x, y], dim=1)
