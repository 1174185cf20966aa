"""A fixed affine map that whitens observations, set once from a sample before training."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Whiten(nn.Module):
    """``x -> (x - mean) W`` with ``W = U diag(lambda^-1/2) U^T``, the symmetric (ZCA) whitening of a sample.

    The usual first step of independent component analysis. The mixing's condition number makes some directions of
    x far shorter than others, and an encoder then needs most of its training to find them. Buffers, not parameters:
    they are saved with the weights and do not train. Computed in the dtype of x, under autocast too.

    Args:
        sample: ``(n, d)``, n >= 2 observations. Directions that do not vary in it are mapped to zero.
    """

    def __init__(self, sample: Tensor) -> None:
        super().__init__()
        x = sample.double()
        values, vectors = torch.linalg.eigh(torch.cov(x.T).reshape(x.shape[1], x.shape[1]))
        # Below this share of the largest variance there is only rounding, which must not be blown up to a signal.
        scale = torch.where(values > 1e-10 * values.max(), values.rsqrt(), 0.0)
        self.register_buffer("mean", x.mean(dim=0).float())
        self.register_buffer("matrix", (vectors * scale @ vectors.T).float())

    def forward(self, x: Tensor) -> Tensor:
        # Not in half precision: the short directions, which this map stretches, would be of rounding errors alone.
        with torch.autocast(x.device.type, enabled=False):
            return (x - self.mean) @ self.matrix

    def extra_repr(self) -> str:
        return f"size={len(self.mean)}"
