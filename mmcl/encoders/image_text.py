"""Encoders of images and texts, each view by what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmcl.checks import require
from mmcl.encoders.base import Encoders, build_encoders
from mmcl.encoders.images import ImageNet, image_encoder, to_channels_last
from mmcl.encoders.norms import Norm, freeze_statistics
from mmcl.encoders.texts import TextNet, text_encoder

FROZEN_FROM = 256
"""Samples that frozen statistics come from."""


@dataclass(frozen=True)
class ImageTextEncoders:
    """Config of an encoder for each view: of images, ``(n, C, H, W)``, or of texts, ``(n, L)`` numbers of words.

    Args:
        encoding_size: D >= 1.
        image: see :class:`ImageNet`.
        image_width: channels of ``small``'s first convolution, >= 1.
        text: see :class:`TextNet`.
        text_width: of ``pooled``, >= 1.
        vocabulary_size: numbers of words are below it, >= 3.
        norm: see :class:`Norm`; of ``pooled`` texts there is none.
        shared: one encoder for all views, which must then be of one kind and size.

    Raises:
        ValueError: a value outside its range.
    """

    encoding_size: int = 4
    image: ImageNet = ImageNet.small
    image_width: int = 64
    text: TextNet = TextNet.pooled
    text_width: int = 128
    vocabulary_size: int = 1024
    norm: Norm = Norm.batch
    shared: bool = False

    def __post_init__(self) -> None:
        for name, least in (
            ("encoding_size", 1), ("image_width", 1), ("text_width", 1), ("vocabulary_size", 3),
        ):  # fmt: skip
            require(getattr(self, name) >= least, name, getattr(self, name), f">= {least}")

    def build(self, views: Mapping[str, Tensor], generator: torch.Generator) -> Encoders:
        """Encoders for views of which a sample is given.

        Raises:
            ValueError: a view that is neither images nor texts; a word's number that is not below ``vocabulary_size``.
        """
        for name, x in views.items():
            images, texts = x.ndim == 4, x.ndim == 2 and x.dtype == torch.int64
            require(
                images or texts,
                f"view {name}",
                f"{tuple(x.shape)}, {x.dtype}",
                "images (n, C, H, W) or words (n, L)",
            )
            if texts:
                known = int(x.max()) < self.vocabulary_size
                require(known, "vocabulary_size", self.vocabulary_size, f"> {int(x.max())}, a word's number")

        def make(sample: Tensor) -> nn.Module:
            if sample.ndim == 4:
                made: nn.Module = to_channels_last(
                    image_encoder(sample, self.encoding_size, self.image, self.image_width, self.norm)
                )
            else:
                made = text_encoder(
                    self.vocabulary_size, self.encoding_size, self.text, self.text_width, self.norm
                )
            freeze_statistics(made, sample[:FROZEN_FROM])
            return made

        return build_encoders(views, make, shared=self.shared, generator=generator)
