"""Rows of all ranks in one batch, with gradients.

Training gathers the encodings before it calls the objective, whichever that is. So an objective is a function of the
global batch, and knows nothing of ranks; outside training nothing is gathered.

The factor, precisely. Let W ranks hold the rows z_1, .., z_W, made with the same parameters theta, and let
each rank compute the *same* loss L on the gathered (z_1, .., z_W). The backward pass of :func:`gather_rows`
on rank r sums the gradients that all ranks have for z_r, which are equal, and so hands back W * dL/dz_r. The
rank's parameter gradient is W * (dL/dz_r)(dz_r/dtheta), and DistributedDataParallel *averages* over ranks:

    1/W sum_r W (dL/dz_r)(dz_r/dtheta) = dL/dtheta,

the gradient that one process would have on the global batch. No further factor is needed anywhere. A
parameter of the loss itself (the log-temperature) has dL/dtheta on every rank, and the average leaves it as
it is. Whoever sums gradients over ranks instead of averaging them has to divide by W.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from mmcl.losses.inputs import full_precision


def gather_rows(z: Tensor) -> Tensor:
    """All ranks' rows, in rank order: ``(K, D) -> (W K, D)``; ``z`` itself outside a process group.

    Every rank must call it, with the same number of rows and columns: ``ValueError`` on every rank otherwise
    (raised before the rows travel, because some backends would hang or return garbage). The gradient's
    factor is documented at the head of this module.
    """
    if not _several():
        return z
    _check_same_shape(z)
    gathered: Tensor = _GatherRows.apply(z)
    return gathered


def gather_encodings(z: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """:func:`gather_rows` of every entry, by one collective: the modalities travel side by side, as columns.

    ``z`` maps names to ``(K, ...)`` of equal K, in the same order on every rank. Encodings of half precision travel in
    float32, for their gradients are summed on the way back. Outside a process group ``z`` comes back as it is.
    """
    if not _several():
        return dict(z)
    rows = full_precision(*z.values())
    flat = [r.reshape(len(r), -1) for r in rows]
    columns = gather_rows(torch.cat(flat, dim=1)).split([r.shape[1] for r in flat], dim=1)
    return {name: part.reshape(-1, *r.shape[1:]) for name, part, r in zip(z, columns, rows, strict=True)}


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _check_same_shape(z: Tensor) -> None:
    mine = torch.tensor(z.shape, device=z.device)
    shapes = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(shapes, mine)
    found = [tuple(shape.tolist()) for shape in shapes]
    if len(set(found)) > 1:
        raise ValueError(
            f"ranks hold different shapes {found}: give every rank equally many rows (drop_last)"
        )


class _GatherRows(torch.autograd.Function):
    # Written out, with only all_gather and all_reduce: every backend has both, and torch's own differentiable
    # collectives are being renamed between the releases that this project supports.

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.rows = z.shape[0]
        parts = [
            torch.empty_like(z, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())
        ]
        dist.all_gather(parts, z.contiguous())
        return torch.cat(parts)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        start = dist.get_rank() * ctx.rows
        return total[start : start + ctx.rows]
