"""Encoders of images."""

from __future__ import annotations

from enum import Enum

import torch
import torchvision
from torch import Tensor, nn

from mmcl.encoders.norms import Norm


class ImageNet(Enum):
    """``resnet18``: the authors'; ``small``: three convolutions, for small images and small machines."""

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
        width: channels of the first of ``small``'s convolutions, of 8 x 8 pixels with stride 4; two of 3 x 3 with
            stride 2 have twice as many.
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
    # Half the time of four convolutions of 4 x 4 with stride 2: on CPUs, what is done at 32 x 32 costs most.
    for n_in, n_out, kernel, stride, padding in (
        (channels, width, 8, 4, 2), (width, 2 * width, 3, 2, 1), (2 * width, 2 * width, 3, 2, 1),
    ):  # fmt: skip
        layers += [
            nn.Conv2d(n_in, n_out, kernel, stride, padding, bias=False),
            norm.layer(n_out),
            nn.ReLU(inplace=True),
        ]
    # Flat, not pooled: where an object is must not be lost.
    flat = 2 * width * (height // 16) * (across // 16)
    layers += [nn.Flatten(), nn.Linear(flat, 256), nn.LeakyReLU(inplace=True), nn.Linear(256, encoding_size)]
    return nn.Sequential(*layers)


def to_channels_last(module: nn.Module) -> nn.Module:
    """The module with its convolutions' weights stored channels last, which CPUs and GPUs compute faster with."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
