"""Augmentation of images, a batch at a time: crop, flip, colour, greyscale, blur."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as vision

from mmcl.augmentations.base import Numbers
from mmcl.checks import require, require_share


@dataclass(frozen=True)
class ImageAugmentation:
    """The augmentations of SimCLR (Chen et al., 2020) for pixels from 0 to 255, each of which may be left out.

    Args:
        area: the least and greatest share of the image that a crop has, 0 < least <= greatest <= 1; its sides are in a
            ratio of 3/4 to 4/3, log-uniform; it is brought to the image's size (bilinear). [1, 1]: no crop.
        flip: probability of a left-right flip.
        jitter: probability of the four below.
        brightness, contrast, saturation: b, a factor uniform in [max(0, 1 - b), 1 + b].
        hue: h in [0, 0.5], a shift uniform in [-h, h] of the circle of hues.
        grayscale: probability.
        blur: probability of a Gaussian blur.
        blur_sigma: least and greatest standard deviation of it, in pixels of a side of 224; other sizes in proportion.

    What leaves a label unchanged is for the user to know: ``hue`` and ``grayscale`` change a colour, and a crop of a
    twelfth of the image leaves out its shape.

    Departures from torchvision's: jitter's order is always brightness, contrast, saturation, hue; a crop with sides
    longer than the image's is made smaller, not drawn again; where an image is not square the ratio is of shares of
    its sides.
    """

    area: list[float] = field(default_factory=lambda: [0.08, 1.0])
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    grayscale: float = 0.2
    blur: float = 0.5
    blur_sigma: list[float] = field(default_factory=lambda: [0.1, 2.0])

    def __post_init__(self) -> None:
        for name in ("area", "blur_sigma"):
            object.__setattr__(self, name, list(getattr(self, name)))
            ends = getattr(self, name)
            require(
                len(ends) == 2 and 0 < ends[0] <= ends[1] < math.inf, name, ends, "[least, greatest], > 0"
            )
        require(self.area[1] <= 1, "area", self.area, "at most 1")
        for name in ("flip", "jitter", "grayscale", "blur"):
            require_share(name, getattr(self, name))
        for name in ("brightness", "contrast", "saturation"):
            require(0 <= getattr(self, name) < math.inf, name, getattr(self, name), ">= 0 and finite")
        require(0 <= self.hue <= 0.5, "hue", self.hue, "in [0, 0.5]")

    def __call__(self, x: Tensor, numbers: Numbers) -> Tensor:
        """``(n, 3, H, W)`` floating, or one channel, of which the colours are left alone."""
        require(
            x.ndim == 4 and x.is_floating_point(), "shape", tuple(x.shape), "(rows, channels, H, W), floating"
        )
        x = self._colours(self._crop(x, numbers), numbers) if x.shape[1] == 3 else self._crop(x, numbers)
        return self._blurred(x, numbers)

    def _crop(self, x: Tensor, numbers: Numbers) -> Tensor:
        """Crop and flip, as one affine map of each image."""
        share = numbers.uniform(low=self.area[0], high=self.area[1])
        ratio = numbers.uniform(low=math.log(3 / 4), high=math.log(4 / 3)).exp()
        uncropped = self.area[0] == 1
        width = torch.ones_like(share) if uncropped else (share * ratio).sqrt().clamp(max=1.0)
        height = torch.ones_like(share) if uncropped else (share / ratio).sqrt().clamp(max=1.0)
        # In units of half a side: a crop of width w may be (1 - w) away from the middle, to either side.
        across = (2 * numbers.uniform() - 1) * (1 - width)
        down = (2 * numbers.uniform() - 1) * (1 - height)
        sign = 1 - 2 * numbers.chance(self.flip).float()
        if uncropped and self.flip == 0:
            return x
        zero = torch.zeros_like(share)
        rows = [torch.stack([width * sign, zero, across], dim=1), torch.stack([zero, height, down], dim=1)]
        grid = functional.affine_grid(
            torch.stack(rows, dim=1).to(x.dtype), list(x.shape), align_corners=False
        )
        return functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def _colours(self, x: Tensor, numbers: Numbers) -> Tensor:
        jittered = numbers.chance(self.jitter)

        def factor(strength: float) -> Tensor:
            drawn = numbers.uniform(low=max(0.0, 1 - strength), high=1 + strength)
            return torch.where(jittered, drawn, 1.0)[:, None, None, None].to(x.dtype)

        def towards(other: Tensor, share: Tensor) -> Tensor:
            return (share * x + (1 - share) * other).clamp(0, 255)

        x = towards(torch.zeros((), dtype=x.dtype, device=x.device), factor(self.brightness))
        x = towards(_grey(x).mean(dim=(1, 2, 3), keepdim=True), factor(self.contrast))
        x = towards(_grey(x), factor(self.saturation))
        shift = torch.where(jittered, numbers.uniform(low=-self.hue, high=self.hue), 0.0)
        if self.hue > 0:
            # (torchvision turns the hue of an image, or of a batch, by one number)
            x = torch.stack(
                [
                    vision.adjust_hue(a / 255, h) * 255 if h else a
                    for a, h in zip(x, shift.tolist(), strict=True)
                ]
            )
        grey = numbers.chance(self.grayscale)[:, None, None, None]
        return torch.where(grey, _grey(x), x)

    def _blurred(self, x: Tensor, numbers: Numbers) -> Tensor:
        blurred = numbers.chance(self.blur)
        scale = max(x.shape[-2:]) / 224
        sigma = scale * numbers.uniform(low=self.blur_sigma[0], high=self.blur_sigma[1])
        if self.blur == 0:
            return x
        # A window of three standard deviations to either side, of the widest blur there is.
        window = 2 * math.ceil(3 * scale * self.blur_sigma[1]) + 1
        return torch.stack(
            [
                vision.gaussian_blur(a, [window, window], [s, s]) if is_blurred else a
                for a, s, is_blurred in zip(x, sigma.tolist(), blurred.tolist(), strict=True)
            ]
        )


def _grey(x: Tensor) -> Tensor:
    """The luma of each pixel, ``(n, 1, H, W)``."""
    return vision.rgb_to_grayscale(x, num_output_channels=1)
