"""A backbone of texts: a token for each word."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmcl.checks import require
from mmcl.encoders.backbones.series import SeriesTransformer, SeriesTransformerNet
from mmcl.encoders.texts import PAD


@dataclass(frozen=True)
class Words(SeriesTransformer):
    """An embedding of each word of a text ``(B, L)``, its place, and transformer blocks over them.

    Behind the end of a text there is nothing: padding changes no token.

    Args:
        vocabulary_size: >= 3; the data's.
        blocks, heads, width, positions: see :class:`SeriesTransformer`.
    """

    blocks: int = 1
    heads: int = 4
    width: int = 128
    positions: bool = True
    vocabulary_size: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.vocabulary_size >= 3, "vocabulary_size", self.vocabulary_size, ">= 3")

    def build(self, sample: Tensor, size: int) -> nn.Module:
        """For a sample ``(n, L)``, int64. Raises ``ValueError`` for another shape or type, a word's number that is not
        below ``vocabulary_size``, or a size that does not fit heads or positions."""
        texts = sample.ndim == 2 and sample.dtype == torch.int64
        require(
            texts,
            "shape",
            f"{tuple(sample.shape)}, {sample.dtype}",
            "(rows, words), int64, for a backbone of words",
        )
        known = int(sample.max()) < self.vocabulary_size
        require(known, "vocabulary_size", self.vocabulary_size, f"> {int(sample.max())}, a word's number")
        self.check_size(size)
        return WordsNet(nn.Embedding(self.vocabulary_size, size), size, self)


class WordsNet(SeriesTransformerNet):
    """``(B, L)``, numbers of words, to ``Tokens (B, L, size)``."""

    def steps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x != PAD
