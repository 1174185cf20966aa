"""Invertible mixing functions: well-conditioned linear maps with a LeakyReLU between them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mmcl.checks import require

_CHUNK = 1024  # matrices drawn at a time; part of what a seed means, so changing it changes every world
_MAX_DRAWS = 1_000_000


@dataclass(frozen=True, eq=False)
class InvertibleMLP:
    """x = W_L phi(W_{L-1} ... phi(W_1 z)), phi = LeakyReLU(slope), without biases.

    ``weights``: (L, d, d), each W_l invertible; ``slope``: in (0, 1]. Called with z (n, d) it returns x (n,
    d) in the dtype of z. Source: paper, section 5.1 and B.1. The slope is not stated there; its code release
    uses 0.2.

    Raises ``ValueError`` if the weights are not L >= 1 square matrices or the slope is out of range.
    """

    weights: Tensor
    slope: float = 0.2

    def __post_init__(self) -> None:
        shape = tuple(self.weights.shape)
        good = len(shape) == 3 and shape[0] >= 1 and shape[1] == shape[2] >= 1
        require(good, "weights.shape", shape, "(layers, dim, dim) with layers >= 1 and dim >= 1")
        require(0 < self.slope <= 1, "slope", self.slope, "in (0, 1]")

    def __call__(self, z: Tensor) -> Tensor:
        first, *rest = self.weights.to(z.dtype)
        x = z @ first.mT
        for weight in rest:
            x = functional.leaky_relu(x, self.slope) @ weight.mT
        return x

    def inverse(self, x: Tensor) -> Tensor:
        """The z (n, d) with ``self(z) = x`` (n, d), solved layer by layer in float64; in the dtype of x.

        Exact up to rounding, which grows with the product of the condition numbers and slope^-(L-1).
        """
        *rest, last = self.weights.double()
        z = torch.linalg.solve(last, x.double().mT).mT
        for weight in reversed(rest):
            z = torch.linalg.solve(weight, torch.where(z < 0, z / self.slope, z).mT).mT
        return z.to(x.dtype)

    def condition_numbers(self) -> Tensor:
        """Largest over smallest singular value of each layer: (L,) float64, >= 1."""
        return _condition_numbers(self.weights.double())


def condition_threshold(
    dim: int, generator: torch.Generator, condition_ratio: float = 1e-3, condition_draws: int = 25_000
) -> float:
    """The ``condition_ratio`` quantile of the condition numbers of ``condition_draws`` random matrices.

    The matrices are those of ``draw_mixing``: (dim, dim), entries U[-1, 1], columns scaled to unit length.
    The quantile is interpolated linearly, so a ratio below 1 / condition_draws gives about the smallest
    number seen.

    Source: paper, B.1 and Table 2 ("Cond. threshold ratio" 1e-3); the number of draws is its code release's.
    Raises ``ValueError`` unless dim >= 1, condition_ratio is in (0, 1] and condition_draws >= 1.
    """
    require(dim >= 1, "dim", dim, ">= 1")
    require(0 < condition_ratio <= 1, "condition_ratio", condition_ratio, "in (0, 1]")
    require(condition_draws >= 1, "condition_draws", condition_draws, ">= 1")
    numbers = [
        _condition_numbers(_draw_matrices(min(_CHUNK, condition_draws - start), dim, generator))
        for start in range(0, condition_draws, _CHUNK)
    ]
    return float(torch.quantile(torch.cat(numbers), condition_ratio))


def draw_mixing(
    dim: int,
    generator: torch.Generator,
    layers: int = 3,
    slope: float = 0.2,
    condition_ratio: float = 1e-3,
    condition_draws: int = 25_000,
    threshold: float | None = None,
    max_draws: int = _MAX_DRAWS,
) -> InvertibleMLP:
    """Draw an invertible MLP (float64) whose layers' condition numbers are all at most ``threshold``.

    Each layer is the first of a sequence of random matrices (entries U[-1, 1], then each column scaled to
    unit length) that meets the threshold. ``threshold=None`` takes ``condition_threshold(dim, generator,
    condition_ratio, condition_draws)``; pass one in to spare that work for a second mixing of the same
    ``dim``.

    Source: paper, B.1. Departure: B.1 resamples "until their condition number surpasses a threshold value";
    like the paper's code release we resample until it is *at most* the threshold, for only that keeps the
    inverse well behaved.

    Raises ``ValueError`` for an argument out of range (layers >= 1, slope in (0, 1], ratio in (0, 1], draws
    >= 1), and if ``max_draws`` matrices did not hold enough that meet the threshold.
    """
    require(dim >= 1, "dim", dim, ">= 1")
    require(layers >= 1, "layers", layers, ">= 1")
    require(0 < slope <= 1, "slope", slope, "in (0, 1]")
    if threshold is None:
        threshold = condition_threshold(dim, generator, condition_ratio, condition_draws)
    accepted = torch.empty(0, dim, dim, dtype=torch.float64)
    drawn = 0
    while len(accepted) < layers:
        if drawn >= max_draws:
            raise ValueError(
                f"threshold={threshold!r}: only {len(accepted)} of {layers} layers met it in {drawn} random"
                f" matrices of size {dim}; must be larger (a larger condition_ratio, or more condition_draws)"
            )
        matrices = _draw_matrices(_CHUNK, dim, generator)
        drawn += _CHUNK
        accepted = torch.cat([accepted, matrices[_condition_numbers(matrices) <= threshold]])
    return InvertibleMLP(accepted[:layers].clone(), slope)


def _draw_matrices(count: int, dim: int, generator: torch.Generator) -> Tensor:
    """(count, dim, dim) float64, entries U[-1, 1], columns then scaled to unit length."""
    matrices = 2 * torch.rand(count, dim, dim, dtype=torch.float64, generator=generator) - 1
    return matrices / torch.linalg.vector_norm(matrices, dim=-2, keepdim=True)


def _condition_numbers(matrices: Tensor) -> Tensor:
    singular_values = torch.linalg.svdvals(matrices)
    return singular_values[..., 0] / singular_values[..., -1]
