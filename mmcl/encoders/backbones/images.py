"""Backbones of images: a token for each place of a convolutional net's last map."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

import torch
import torchvision
from torch import Tensor, nn

from mmcl.checks import require
from mmcl.encoders.backbones.positions import sine_positions
from mmcl.encoders.images import Pixels, to_channels_last
from mmcl.encoders.norms import Norm, freeze_statistics
from mmcl.encoders.tokens import Tokens


class MapTokens(nn.Module):
    """A net's last map ``(B, C, h, w)`` as ``Tokens (B, h w, size)``: a 1 x 1 convolution, and each place's position.

    Args:
        net: the net, pixels from 0 to 255 to its map.
        sample: ``(n, C, H, W)`` images, of which one tells the map's size.
        size: of the tokens.
        pooled: one token, the map's mean, instead, without positions.
    """

    positions: Tensor | None

    def __init__(self, net: nn.Module, sample: Tensor, size: int, *, pooled: bool) -> None:
        super().__init__()
        with torch.no_grad():
            training = net.training
            shape = net.eval()(sample[:1]).shape
            net.train(training)
        self.net = net
        self.pooled = pooled
        self.project = nn.Conv2d(shape[1], size, kernel_size=1)
        self.register_buffer("positions", None if pooled else sine_positions(shape[2], shape[3], size))

    def forward(self, x: Tensor) -> Tokens:
        found = self.project(self.net(x)).flatten(2).transpose(1, 2)
        if self.positions is None:
            return Tokens(found.mean(dim=1, keepdim=True))
        return Tokens(found + self.positions.to(found.dtype))


@dataclass(frozen=True)
class ConvNet:
    """3 x 3 convolutions with a normalisation and ReLU, each but the last followed by 2 x 2 max pooling: for images of
    8 to 64 pixels, tokens of a map of 1/2^(n-1) of their sides; with a stride s > 1 of 1/(s 2^(n-2)), for n > 1.

    Args:
        channels: of each convolution.
        stride: of the first convolution. Above 1 it is of 2 s x 2 s pixels and not pooled: on CPUs, what is done with
            every pixel costs most.
        norm: see :class:`~mmcl.encoders.norms.Norm`.
        pooled: one token, the map's mean, instead of one for each place.
    """

    channels: list[int] = field(default_factory=lambda: [24, 48, 96, 96])
    stride: int = 1
    norm: Norm = Norm.batch
    pooled: bool = False

    def __post_init__(self) -> None:
        good = len(self.channels) >= 1 and all(c >= 1 for c in self.channels)
        require(good, "channels", list(self.channels), "a non-empty list of numbers >= 1")
        require(
            self.stride == 1 or (self.stride % 2 == 0 and self.stride > 0), "stride", self.stride, "1 or even"
        )

    def build(self, sample: Tensor, size: int) -> nn.Module:
        """For a sample ``(n, C, H, W)``. Raises ``ValueError`` for another shape, or images too small."""
        check_images(sample)
        strided = self.stride > 1
        last = len(self.channels) - 1
        least = self.stride * 2 ** max(0, last - strided)
        side = min(sample.shape[2:])
        remedy = f"fewer{', or stride smaller,' if strided else ''} for images of {side} pixels"
        require(side >= least, "channels", list(self.channels), remedy)
        layers: list[nn.Module] = [Pixels(sample)]
        for place, (n_in, n_out) in enumerate(pairwise([sample.shape[1], *self.channels])):
            stem = strided and place == 0
            sizes = (2 * self.stride, self.stride, self.stride // 2) if stem else (3, 1, 1)
            layers += [
                nn.Conv2d(n_in, n_out, *sizes, bias=False),
                self.norm.layer(n_out),
                nn.ReLU(inplace=True),
            ]
            if place < last and not stem:
                layers.append(nn.MaxPool2d(2))
        net = nn.Sequential(*layers)
        freeze_statistics(net, sample[:1024].float())
        return to_channels_last(MapTokens(net, sample.float(), size, pooled=self.pooled))


class Trunk(Enum):
    """``resnet18``: to 1/32 of the sides, 512 channels. ``alexnet``: 224 pixels to 6 x 6 places, 256 channels."""

    resnet18 = "resnet18"
    alexnet = "alexnet"


@dataclass(frozen=True)
class TorchvisionNet:
    """torchvision's convolutional layers, with random weights.

    Args:
        net: see :class:`Trunk`.
        norm: of ResNet-18; AlexNet has none.
        pooled: one token, the map's mean, instead of one for each place.
    """

    net: Trunk = Trunk.resnet18
    norm: Norm = Norm.batch
    pooled: bool = False

    def build(self, sample: Tensor, size: int) -> nn.Module:
        """For a sample ``(n, C, H, W)``. Raises ``ValueError`` for another shape, or images too small."""
        check_images(sample)
        channels, side = sample.shape[1], min(sample.shape[2:])
        require(
            side >= (64 if self.net is Trunk.alexnet else 32),
            "net",
            self.net.name,
            "one for images this small: ConvNet",
        )
        if self.net is Trunk.alexnet:
            body = torchvision.models.alexnet(weights=None)
            if channels != 3:
                body.features[0] = nn.Conv2d(channels, 64, kernel_size=11, stride=4, padding=2)
            net = nn.Sequential(Pixels(sample), body.features)
        else:
            resnet = torchvision.models.resnet18(weights=None, norm_layer=self.norm.layer)
            if channels != 3:
                resnet.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
            net = nn.Sequential(Pixels(sample), *list(resnet.children())[:-2])
        freeze_statistics(net, sample[:1024].float())
        return to_channels_last(MapTokens(net, sample.float(), size, pooled=self.pooled))


def check_images(sample: Tensor) -> None:
    """Raise ``ValueError`` unless ``sample`` is of images."""
    require(sample.ndim == 4, "shape", tuple(sample.shape), "(rows, channels, H, W) for a backbone of images")
