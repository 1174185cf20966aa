"""What stands after a convolution: normalisation by the batch's statistics, by fixed ones, or by each sample's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

import torch
from torch import Tensor, nn
from torch.nn import functional


class Norm(Enum):
    """``batch``: BatchNorm, as released. ``frozen``: BatchNorm whose statistics are those that a sample has at the
    start, and stay. ``group``: GroupNorm.

    With ``frozen`` and ``group`` a sample's encoding does not depend on the rest of its batch: for small batches, and
    for ``trainer.encode_rows``, whose gradients are then exact.
    """

    batch = "batch"
    frozen = "frozen"
    group = "group"

    def layer(self, channels: int) -> nn.Module:
        """For ``(B, channels, H, W)``."""
        if self is Norm.batch:
            return nn.BatchNorm2d(channels)
        if self is Norm.frozen:
            return FrozenBatchNorm(channels)
        return nn.GroupNorm(groups(channels), channels)


def groups(channels: int) -> int:
    """The largest number of groups up to 32 that have two channels or more; 1 for a prime number of channels.

    >>> groups(64), groups(25), groups(2)
    (32, 5, 1)
    """
    return next(n for n in range(32, 0, -1) if channels % n == 0 and (channels // n > 1 or n == 1))


class FrozenBatchNorm(nn.Module):
    """``(x - mean) / sqrt(variance + 1e-5) * weight + bias`` with a fixed mean and variance for each channel.

    Weight and bias are learned. Mean and variance are 0 and 1 until :func:`freeze_statistics` sets them. (No
    subclass of torch's BatchNorm, which several GPUs would turn into one that looks at the batch.)
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.watching = False

    def forward(self, x: Tensor) -> Tensor:
        if self.watching:
            self.running_mean.copy_(x.mean(dim=(0, 2, 3)))
            self.running_var.copy_(x.var(dim=(0, 2, 3), correction=0))
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=False
        )


def freeze_statistics(module: nn.Module, sample: Tensor) -> None:
    """Set the statistics of the module's :class:`FrozenBatchNorm` layers to those of ``sample``, each given the layers
    before it as they are then."""
    layers = [layer for layer in module.modules() if isinstance(layer, FrozenBatchNorm)]
    if layers:
        with torch.no_grad(), _watching(layers):
            module(sample)


@contextmanager
def _watching(layers: list[FrozenBatchNorm]) -> Iterator[None]:
    for layer in layers:
        layer.watching = True
    try:
        yield
    finally:
        for layer in layers:
            layer.watching = False
