"""Eq. 4 with its gradient: ours in tiles against the plain PyTorch form, which holds matrices of all pairs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from measure import Row, peak_memory, ratio, report, times
from torch import Tensor
from torch.nn import functional

from mmcl.losses import contrastive_loss

LARGE, WIDE = 32768, 64
LARGEST_PLAIN = 16384
"""Rows at which the plain form still runs in 12 GB; twice as many take four times that."""


def plain(h1: Tensor, h2: Tensor) -> Tensor:
    s = 2 * h1 @ h2.T - h1.square().sum(dim=1)[:, None] - h2.square().sum(dim=1)
    labels = torch.arange(len(s))
    return 0.5 * (functional.cross_entropy(s, labels) + functional.cross_entropy(s.T, labels))


def ours(h1: Tensor, h2: Tensor) -> Tensor:
    return contrastive_loss({"x1": h1, "x2": h2})


def inputs(rows: int, width: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    h1, h2 = (torch.randn(rows, width, generator=g).requires_grad_() for _ in range(2))
    return h1, h2


def both_passes(loss: Callable[[Tensor, Tensor], Tensor], rows: int, width: int) -> Callable[[], object]:
    h1, h2 = inputs(rows, width)
    return lambda: loss(h1, h2).backward()


def main() -> None:
    for rows, width, repeats in ((512, 5, 51), (6144, 5, 7), (6144, WIDE, 7), (LARGEST_PLAIN, WIDE, 5)):
        warmup = 0 if rows == LARGEST_PLAIN else 1  # half a minute
        taken = times(
            both_passes(ours, rows, width), both_passes(plain, rows, width), repeats=repeats, warmup=warmup
        )
        report(
            ratio(
                f"SymInfoNCE, forward and backward, K = {rows}, D = {width}",
                taken[0],
                "plain PyTorch",
                taken[1],
            )
        )
    large = times(both_passes(ours, LARGE, WIDE), repeats=1, warmup=0)[0]
    report(
        Row(f"SymInfoNCE, forward and backward, K = {LARGE}, D = {WIDE}", "ms", large[0], ""),
        *(
            Row(
                f"its peak memory, K = {rows}, D = {WIDE}",
                "MB",
                peak_memory(partial(both_passes, ours, rows, WIDE)),
                "over the inputs",
            )
            for rows in (LARGEST_PLAIN, LARGE)
        ),
        Row(
            f"the plain form's peak memory, K = {LARGEST_PLAIN}, D = {WIDE}",
            "MB",
            peak_memory(partial(both_passes, plain, LARGEST_PLAIN, WIDE)),
            "over the inputs",
        ),
    )


if __name__ == "__main__":
    main()
