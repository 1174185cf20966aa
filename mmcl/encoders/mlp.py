"""Multilayer perceptrons: the encoders of the numerical simulation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

from mmcl.checks import require, require_share
from mmcl.encoders.base import Encoders, build_encoders
from mmcl.encoders.whiten import Whiten


class Bound(nn.Module):
    """Keeps encodings in the box (-b, b)^D: ``b tanh(h / b)``, near the identity for ``|h| << b``.

    Theorem 1 of Daunhawer et al. (2023) assumes encoders with a bounded range, (0, 1)^{n_c}; this is such a
    range up to a fixed affine map.
    """

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, h: Tensor) -> Tensor:
        return self.bound * torch.tanh(h / self.bound)

    def extra_repr(self) -> str:
        return f"bound={self.bound}"


def mlp(sizes: Sequence[int], *, slope: float, bound: float | None) -> nn.Sequential:
    """A fully connected network of layer ``sizes`` (input first) with LeakyReLU between its layers."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes[:-1]):
        # In place: its gradient needs only the sign, which its output has too, and so nothing is kept twice.
        layers += [nn.Linear(n_in, n_out), nn.LeakyReLU(slope, inplace=True)]
    layers.append(nn.Linear(sizes[-2], sizes[-1]))
    if bound is not None:
        layers.append(Bound(bound))
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class MLP:
    """Config of an MLP encoder for each modality.

    Args:
        encoding_size: D, the number of output dimensions (>= 1); the number of content dimensions for
            block-identifiability (Theorem 1).
        widths: hidden layer widths; with ``widths_times_input``, in units of the observation size.
        widths_times_input: the paper's encoders scale with the observation size d: [10, 50, 50, 50, 50, 10] x d.
        slope: LeakyReLU's negative slope, in [0, 1].
        whiten: whiten the observations first, by a fixed map set from a sample (see :class:`Whiten`).
        bound: range of the encodings, (-bound, bound)^D; ``None`` leaves them unbounded, as released.
        shared: one encoder for all modalities (the paper's original setting), or one for each.

    Raises:
        ValueError: a value outside its range.
    """

    encoding_size: int = 5
    widths: list[int] = field(default_factory=lambda: [128, 128, 128, 128])
    widths_times_input: bool = False
    slope: float = 0.01
    whiten: bool = False
    bound: float | None = None
    shared: bool = False

    def __post_init__(self) -> None:
        require(self.encoding_size >= 1, "encoding_size", self.encoding_size, ">= 1")
        require(
            len(self.widths) >= 1 and all(w >= 1 for w in self.widths),
            "widths",
            list(self.widths),
            "a non-empty list of widths >= 1",
        )
        require_share("slope", self.slope)
        require(
            self.bound is None or 0 < self.bound < math.inf, "bound", self.bound, "> 0 and finite, or null"
        )

    def build(self, views: Mapping[str, Tensor], generator: torch.Generator) -> Encoders:
        """Encoders for views of which a sample is given (name -> ``(n, d)``)."""

        def make(sample: Tensor) -> nn.Module:
            size = sample.shape[1]
            unit = size if self.widths_times_input else 1
            network = mlp(
                [size, *(unit * w for w in self.widths), self.encoding_size],
                slope=self.slope,
                bound=self.bound,
            )
            return nn.Sequential(Whiten(sample), *network) if self.whiten else network

        return build_encoders(views, make, shared=self.shared, generator=generator)
