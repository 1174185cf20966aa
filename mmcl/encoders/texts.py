"""Encoders of text, given as numbers of words."""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor, nn

from mmcl.encoders.norms import Norm

PAD = 0
"""The number behind the end of a text."""


class TextNet(Enum):
    """``released``: the authors' ConvNet, for 24 to 31 words; ``pooled``: convolutions and a maximum, for any."""

    released = "released"
    pooled = "pooled"


class ReleasedText(nn.Module):
    """The ConvNet of Daunhawer et al. (2023), Table 2b: ``(B, L)`` numbers of words, 24 <= L <= 31, to ``(B, D)``.

    Words are embedded in 128 dimensions; the text is then an image of one channel, L x 128, that three convolutions
    (kernel 4, stride 2, padding 1, to 25, 50 and 100 channels, with BatchNorm and ReLU) and a linear layer read.

    Raises ``ValueError`` for another length.
    """

    def __init__(self, vocabulary_size: int, encoding_size: int, norm: Norm = Norm.batch) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, 128)
        layers: list[nn.Module] = []
        for n_in, n_out in ((1, 25), (25, 50), (50, 100)):
            layers += [
                nn.Conv2d(n_in, n_out, 4, stride=2, padding=1),
                norm.layer(n_out),
                nn.ReLU(inplace=True),
            ]
        self.convolutions = nn.Sequential(*layers)
        self.linear = nn.Linear(4800, encoding_size)

    def forward(self, x: Tensor) -> Tensor:
        if not 24 <= x.shape[1] <= 31:
            raise ValueError(
                f"encoder.text=released: texts have {x.shape[1]} words, must have 24 to 31; use encoder.text=pooled"
            )
        h = self.convolutions(self.embedding(x.long()).unsqueeze(1))
        z: Tensor = self.linear(h.flatten(1))
        return z


class PooledText(nn.Module):
    """Convolutions over words and the maximum over places: ``(B, L)`` numbers of words, L >= 1, to ``(B, D)``.

    Two convolutions of five words each, with LeakyReLU, see phrases of nine; behind the end of a text nothing counts,
    so that padding does not change an encoding.
    """

    def __init__(self, vocabulary_size: int, encoding_size: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, width, padding_idx=PAD)
        self.first = nn.Conv1d(width, width, 5, padding=2)
        self.second = nn.Conv1d(width, width, 5, padding=2)
        self.head = nn.Sequential(
            nn.Linear(width, width), nn.LeakyReLU(inplace=True), nn.Linear(width, encoding_size)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x.long()
        there = (x != PAD).unsqueeze(1)
        h = self.embedding(x).transpose(1, 2)
        h = nn.functional.leaky_relu(self.first(h)) * there
        h = nn.functional.leaky_relu(self.second(h))
        h = h.masked_fill(~there, -torch.inf).amax(dim=2)
        z: Tensor = self.head(h.masked_fill(h == -torch.inf, 0.0))  # (an empty text)
        return z


def text_encoder(
    vocabulary_size: int, encoding_size: int, net: TextNet, width: int, norm: Norm = Norm.batch
) -> nn.Module:
    """``(B, L)`` numbers of words below ``vocabulary_size`` -> ``(B, encoding_size)``.

    ``width`` is ``pooled``'s, ``norm`` is ``released``'s.
    """
    if net is TextNet.released:
        return ReleasedText(vocabulary_size, encoding_size, norm)
    return PooledText(vocabulary_size, encoding_size, width)
