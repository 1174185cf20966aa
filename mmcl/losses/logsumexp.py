"""Log-sum-exp of a square matrix of logits whose diagonal is given apart, along one dimension or both."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def row_logsumexp(logits: Tensor, diagonal: Tensor | None) -> Tensor:
    """``log sum_j exp(l_ij)`` with l_ii replaced by ``diagonal``, or left out for None: (K, K) -> (K,)."""
    return logits.diagonal_scatter(_or_excluded(logits, diagonal)).logsumexp(dim=1)


def both_logsumexps(logits: Tensor, diagonal: Tensor | None) -> tuple[Tensor, Tensor]:
    """:func:`row_logsumexp` of the matrix and of its transpose: one matrix for both directions of a loss.

    Differentiable once. The gradient is written out because the passes over K x K are memory-bound and are
    nearly all that a loss costs: autograd's own makes some ten of them, each into new memory.
    """
    rows, columns = _BothLogSumExps.apply(logits, _or_excluded(logits, diagonal))
    return rows, columns


def _or_excluded(logits: Tensor, diagonal: Tensor | None) -> Tensor:
    return logits.new_full((logits.shape[0],), -math.inf) if diagonal is None else diagonal


class _BothLogSumExps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, diagonal: Tensor) -> tuple[Tensor, Tensor]:
        scattered = logits.diagonal_scatter(diagonal)
        rows, columns = scattered.logsumexp(dim=1), scattered.logsumexp(dim=0)
        ctx.save_for_backward(scattered, rows, columns)
        return rows, columns

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, from_rows: Tensor, from_columns: Tensor) -> tuple[Tensor, Tensor]:
        scattered, rows, columns = ctx.saved_tensors
        total = (scattered - rows.unsqueeze(1)).exp_().mul_(from_rows.unsqueeze(1))
        total += (scattered - columns).exp_().mul_(from_columns)
        diagonal = total.diagonal().clone()
        return total.fill_diagonal_(0.0), diagonal
