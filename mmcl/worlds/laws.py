"""Joint laws of two views' statistics and a label, exact: what an information decomposition is computed from."""

from __future__ import annotations

import torch
from torch import Tensor


def biased(free: Tensor, mapping: Tensor, bias: float) -> Tensor:
    """``(1 - bias) free(a, b) + bias p(a) [b = M(a)]``, with ``p(a)`` the marginal of ``free``: ``(A, B)``.

    Args:
        free: ``(A, B)``, float64, the law of ``(a, b)`` without bias.
        mapping: ``(A,)``, int64: M, with values below B.
        bias: the probability that b is set to M(a), in [0, 1].

    >>> biased(torch.full((2, 2), 0.25, dtype=torch.float64), torch.tensor([1, 0]), 1.0).tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    """
    forced = torch.zeros_like(free)
    forced[torch.arange(len(mapping)), mapping] = free.sum(dim=1)
    return (1 - bias) * free + bias * forced


def labelled(pairs: Tensor, labels: Tensor, classes: int) -> Tensor:
    """``p(a, b, y)`` of a label that is a function of ``(a, b)``: ``(A, B, classes)``.

    Args:
        pairs: ``(A, B)``, the law of ``(a, b)``.
        labels: what broadcasts to ``(A, B)``, int64: y of each pair.
        classes: of y.
    """
    joint = pairs.new_zeros((*pairs.shape, classes))
    joint.scatter_(2, labels.expand(pairs.shape)[:, :, None], pairs[:, :, None])
    return joint
