"""Encoders of images."""

from __future__ import annotations

from enum import Enum
from itertools import pairwise

import torch
import torchvision
from torch import Tensor, nn

from mmcl.encoders.norms import Norm


class ImageNet(Enum):
    """``resnet18``: the authors'; ``small``: four convolutions, for small images and small machines."""

    resnet18 = "resnet18"
    small = "small"


class Pixels(nn.Module):
    """Pixels from 0 to 255 as numbers of mean 0 and variance 1 in each channel, by a fixed map set from a sample.

    ``(B, C, H, W) -> (B, C, H, W)``, in the floating type that autocast or the input has; uint8 becomes float32.

    Args:
        sample: ``(n, C, H, W)``, n >= 1, values from 0 to 255; 1,024 of them tell enough.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, sample: Tensor) -> None:
        super().__init__()
        x = sample[:1024].float()
        self.register_buffer("mean", x.mean(dim=(0, 2, 3))[:, None, None])
        # (a channel that never varies would be divided by 0)
        self.register_buffer("std", x.std(dim=(0, 2, 3), correction=0).clamp(min=1.0)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(self.mean.dtype) - self.mean) / self.std


def image_encoder(
    sample: Tensor, encoding_size: int, net: ImageNet, width: int, norm: Norm = Norm.batch
) -> nn.Sequential:
    """``(B, C, H, W)`` -> ``(B, encoding_size)``, for pixels from 0 to 255.

    Args:
        sample: ``(n, C, H, W)``: its size is that of all images; the first layer is set from its pixels.
        encoding_size: D.
        net: see :class:`ImageNet`. ``resnet18`` is torchvision's with 100 outputs, LeakyReLU and a linear layer, as
            released by Daunhawer et al. (2023), with random weights.
        width: channels of the first of ``small``'s convolutions; the others have twice and four times as many.
        norm: what stands after a convolution; statistics of ``frozen`` are still to be set.

    Raises:
        ValueError: images for ``small`` whose sides are not a multiple of 16, of at least 32.
    """
    _, channels, height, across = sample.shape
    if net is ImageNet.resnet18:
        body = torchvision.models.resnet18(weights=None, num_classes=100, norm_layer=norm.layer)
        if channels != 3:
            body.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        return nn.Sequential(Pixels(sample), body, nn.LeakyReLU(), nn.Linear(100, encoding_size))
    if min(height, across) < 32 or height % 16 or across % 16:
        raise ValueError(
            f"encoder.image=small: images are {across} x {height}, must have sides of 32 or more, multiples of 16; "
            "use encoder.image=resnet18"
        )
    layers: list[nn.Module] = [Pixels(sample)]
    widths = [channels, width, 2 * width, 4 * width, 4 * width]
    for n_in, n_out in pairwise(widths):
        layers += [
            nn.Conv2d(n_in, n_out, kernel_size=4, stride=2, padding=1, bias=False),
            norm.layer(n_out),
            nn.ReLU(inplace=True),
        ]
    # Flat, not pooled: where an object is must not be lost.
    flat = 4 * width * (height // 16) * (across // 16)
    layers += [nn.Flatten(), nn.Linear(flat, 256), nn.LeakyReLU(inplace=True), nn.Linear(256, encoding_size)]
    return nn.Sequential(*layers)


def to_channels_last(module: nn.Module) -> nn.Module:
    """The module with its convolutions' weights stored channels last, which CPUs and GPUs compute faster with."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
