"""An encoder of its own kind for each view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mmcl.checks import require
from mmcl.encoders.base import Encoders, seeded
from mmcl.encoders.images import Pixels, to_channels_last


@dataclass(frozen=True)
class ByView:
    """Config of encoders, each view's named: such as a net for images and labels as they are.

    Args:
        encoding_size: D >= 1.
        views: name of a view -> a node with the ``_target_`` of :class:`Fixed`, :class:`LeNet` or
            :class:`~mmcl.encoders.trajectories.Trajectories`.

    Raises:
        ValueError: a value out of range.
    """

    encoding_size: int = 10
    views: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.encoding_size >= 1, "encoding_size", self.encoding_size, ">= 1")
        for name, one in self.views.items():
            require(
                hasattr(one, "build"),
                f"views.{name}",
                one,
                "an encoder: a node with the _target_ of one of mmcl.encoders",
            )

    def build(self, views: Mapping[str, Tensor], generator: torch.Generator) -> Encoders:
        """Encoders for views of which a sample is given (name -> ``(n, ...)``).

        Raises ``ValueError`` for views that are not those of the config, or an encoder that is not for its view.
        """
        require(
            set(views) == set(self.views),
            "encoder.views",
            sorted(self.views),
            f"those of the data: {', '.join(views)}",
        )
        made = {}
        with seeded(generator):
            for name, sample in views.items():
                try:
                    made[name] = self.views[name].build(sample, self.encoding_size)
                except ValueError as error:
                    raise ValueError(f"view {name!r}: {error}") from None
        return Encoders(made, shared=False)


@dataclass(frozen=True)
class Fixed:
    """The view itself as its encoding: one-hot labels, coefficients. Nothing is learned."""

    def build(self, sample: Tensor, size: int) -> nn.Module:
        """For a sample ``(n, size)``. Raises ``ValueError`` for another shape."""
        good = sample.ndim == 2 and sample.shape[1] == size
        require(
            good, "shape", tuple(sample.shape), f"(rows, encoder.encoding_size={size}) to be its own encoding"
        )
        return nn.Identity()


@dataclass(frozen=True)
class LeNet:
    """Images of 8 pixels or more through LeNet-5's layers: ``(B, C, H, W)`` -> ``(B, D)``.

    Two convolutions of 5 x 5 (to 6 and 16 channels; the first, and on maps of less than 10 pixels the second, padded to
    keep the size), each with ReLU and 2 x 2 max pooling; linear layers to 120, 84 (ReLU) and D. Of 28 x 28 pixels: the
    first is padded by 2, as LeCun et al. (1998), "Gradient-based learning applied to document recognition", pad images
    to 32 x 32. Departures, which are those of most since: ReLU, max pooling, all channels connected. Baptista et al.
    (2025), Section 6.2, say no more than that theirs has convolutional and linear layers with ReLU.
    """

    def build(self, sample: Tensor, size: int) -> nn.Module:
        """For a sample ``(n, C, H, W)``. Raises ``ValueError`` for another shape, or smaller images."""
        good = sample.ndim == 4 and min(sample.shape[2:]) >= 8
        require(good, "shape", tuple(sample.shape), "(rows, channels, 8 or more, 8 or more) for LeNet")
        channels, sides = sample.shape[1], [n // 2 for n in sample.shape[2:]]
        pad = 0 if min(sides) >= 10 else 2
        flat = 16 * ((sides[0] + 2 * pad - 4) // 2) * ((sides[1] + 2 * pad - 4) // 2)
        return to_channels_last(
            nn.Sequential(
                Pixels(sample),
                nn.Conv2d(channels, 6, kernel_size=5, padding=2),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
                nn.Conv2d(6, 16, kernel_size=5, padding=pad),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(flat, 120),
                nn.ReLU(inplace=True),
                nn.Linear(120, 84),
                nn.ReLU(inplace=True),
                nn.Linear(84, size),
            )
        )
