"""Eq. 4 with its gradient: ours against the plain form, cdist and two cross-entropies."""

from __future__ import annotations

import torch
from ratio import compare
from torch.nn import functional

from mmcl.losses import contrastive_loss


def plain(h1: torch.Tensor, h2: torch.Tensor) -> torch.Tensor:
    s = -torch.cdist(h1, h2).square()
    labels = torch.arange(len(s))
    return 0.5 * (functional.cross_entropy(s, labels) + functional.cross_entropy(s.T, labels))


for rows in (512, 1024, 2048):
    h1, h2 = (torch.randn(rows, 5, requires_grad=True) for _ in range(2))
    compare(
        f"SymInfoNCE forward + backward, K = {rows}",
        lambda h1=h1, h2=h2: contrastive_loss({"x1": h1, "x2": h2}).backward(),
        lambda h1=h1, h2=h2: plain(h1, h2).backward(),
        "cdist",
    )
