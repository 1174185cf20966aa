"""What an encoder of one modality gives a fusion: tokens, and which of them are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Tokens:
    """Tokens of a batch.

    Fields:
        values: ``(B, L, D)``.
        there: ``(B, L)``, bool: false for padding; ``None`` where nothing is padded. A row may have none.
    """

    values: Tensor
    there: Tensor | None = None

    def pooled(self) -> Tensor:
        """``(B, D)``: the mean over the tokens that are there."""
        if self.there is None:
            return self.values.mean(dim=1)
        share = self.there.to(self.values.dtype)
        return (self.values * share[..., None]).sum(dim=1) / share.sum(dim=1, keepdim=True).clamp(min=1)

    @staticmethod
    def joined(parts: Sequence[Tokens]) -> Tokens:
        """All tokens in one sequence."""
        values = torch.cat([part.values for part in parts], dim=1)
        if all(part.there is None for part in parts):
            return Tokens(values)
        there = [
            torch.ones(part.values.shape[:2], dtype=torch.bool, device=values.device)
            if part.there is None
            else part.there
            for part in parts
        ]
        return Tokens(values, torch.cat(there, dim=1))


class NumberTokens(nn.Module):
    """A token ``w_k x_k + b_k`` for each of so many numbers x_k: ``(B, numbers) -> Tokens (B, numbers, size)``."""

    def __init__(self, numbers: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(numbers, size) / size**0.5)
        self.bias = nn.Parameter(torch.zeros(numbers, size))

    def forward(self, x: Tensor) -> Tokens:
        return Tokens(x[..., None] * self.weight + self.bias)


def split_series(x: Tensor) -> tuple[Tensor, Tensor]:
    """A series ``(B, T, d + 1)``, whose last column says which steps are there, as its values and that: ``(B, T, d)``,
    and ``(B, T)``, bool.
    """
    return x[..., :-1], x[..., -1] > 0.5
