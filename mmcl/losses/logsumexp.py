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
    """On the CPU one exponential of the matrix serves both directions and the backward pass.

    With m_i = max_j l_ij, M = max_i m_i, E_ij = exp(l_ij - m_i) and w_i = exp(m_i - M):

        sum_j exp(l_ij) = e^{m_i} sum_j E_ij,      sum_i exp(l_ij) = e^M sum_i w_i E_ij.

    The second loses a column whose logits all lie far below their rows' largest; then, and on accelerators, where
    asking would wait for the device, each direction gets an exponential of its own.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, diagonal: Tensor) -> tuple[Tensor, Tensor]:
        scattered = logits.diagonal_scatter(diagonal)
        if scattered.device.type == "cpu":
            peak = scattered.amax(dim=1)
            # exp(-60) is nothing beside the row's 1, and keeps all that follows clear of denormal numbers, with
            # which processors calculate many times slower.
            kernel = (scattered - peak.unsqueeze(1)).clamp_(min=-60.0).exp_()
            top = peak.max()
            weight = (peak - top).exp()
            columns = weight @ kernel
            if bool(columns.min() > 1e-15):
                rows = kernel.sum(dim=1)
                ctx.save_for_backward(kernel, weight, rows, columns)
                ctx.shared = True
                return rows.log() + peak, columns.log() + top
        rows, columns = scattered.logsumexp(dim=1), scattered.logsumexp(dim=0)
        ctx.save_for_backward(scattered, rows, columns)
        ctx.shared = False
        return rows, columns

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, from_rows: Tensor, from_columns: Tensor) -> tuple[Tensor, Tensor]:
        if ctx.shared:
            kernel, weight, rows, columns = ctx.saved_tensors
            by_row, by_column = (from_rows / rows).unsqueeze(1), (from_columns / columns).unsqueeze(0)
            total = torch.addcmul(by_row, weight.unsqueeze(1), by_column).mul_(kernel)
        else:
            scattered, rows, columns = ctx.saved_tensors
            total = (scattered - rows.unsqueeze(1)).exp_().mul_(from_rows.unsqueeze(1))
            total += (scattered - columns).exp_().mul_(from_columns)
        diagonal = total.diagonal().clone()
        return total.fill_diagonal_(0.0), diagonal
