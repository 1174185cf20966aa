"""Linear maps: the encoders of the Gaussian theory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mmcl.checks import require
from mmcl.encoders.base import Encoders, build_encoders


@dataclass(frozen=True)
class Linear:
    """Config of a linear encoder for each modality, ``x -> G x``, without an intercept (of vectors with mean 0).

    Args:
        encoding_size: D >= 1, the rank of what is compared.

    Raises ``ValueError`` for a value out of range. Source: Baptista et al. (2025), Section 5.
    """

    linear: ClassVar[bool] = True
    """What evaluators of closed forms ask for."""

    encoding_size: int = 1

    def __post_init__(self) -> None:
        require(self.encoding_size >= 1, "encoding_size", self.encoding_size, ">= 1")

    def build(self, views: Mapping[str, Tensor], generator: torch.Generator) -> Encoders:
        """Encoders for views of which a sample is given (name -> ``(n, d)``)."""

        def make(sample: Tensor) -> nn.Module:
            return nn.Linear(sample.shape[1], self.encoding_size, bias=False)

        return build_encoders(views, make, shared=False, generator=generator)
