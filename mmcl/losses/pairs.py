"""Log-sum-exps of the logits of all pairs of rows, exact, in memory that grows with K and not with K^2.

With s_ij the logits of row i of ``a`` and row j of ``b``:

    rows_i = log sum_j exp(s_ij)        columns_j = log sum_i exp(s_ij)

are summed up tile by tile, and the backward pass makes each tile again instead of keeping it. A tile that stays in the
processor's cache is made, exponentiated and summed there, where a K x K matrix would travel to memory and back at each
of these steps: tiles are the faster way too, as soon as the matrix outgrows the cache. (That an exact contrastive loss
needs no K x K matrix is the observation of Cheng et al., 2024, "Breaking the memory barrier".)

Every similarity but ``negative_lp`` is an inner product of rows that are prepared in O(K D) by :func:`prepared`, so
that a tile is one matrix product.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmcl.checks import require
from mmcl.losses.similarity import Similarity, centred, unit_rows

TILE = 1024
"""Rows and columns of a tile on the CPU: 4 MiB of float32, which two cores' caches hold."""

TILE_ACCELERATOR, ONE_TILE_ACCELERATOR = 4096, 8192
"""The same on an accelerator, where the cost of starting a kernel asks for larger ones: 64 MiB; and the rows up to
which a single tile holds them all."""

LP_ELEMENTS = 2**21
"""Differences of a tile of ``negative_lp``, which has a third dimension: rows x columns x D."""


@dataclass(frozen=True)
class Logits:
    """How the logits of two prepared matrices are made.

    Args:
        exponent: p of ``negative_lp``; ``None`` for the inner product.
        at_most_zero: the logits are negated distances: what rounding makes positive is brought back to 0. The
            derivative of the formula is right there too, so the gradient is not cut.
        skip_diagonal: leave the pairs (i, i) out.
        tile: rows and columns at a time.
        one_exponential: see :class:`_LogSumExps`.
    """

    exponent: float | None
    at_most_zero: bool
    skip_diagonal: bool
    tile: int
    one_exponential: bool

    def tiles(self, a: Tensor, b: Tensor) -> Iterator[tuple[slice, slice]]:
        """The tiles, one strip of rows after the other."""
        for i in range(0, len(a), self.tile):
            for j in range(0, len(b), self.tile):
                yield slice(i, i + self.tile), slice(j, j + self.tile)

    def make(self, a: Tensor, b: Tensor, scale: Tensor, diagonal: bool, buffer: Tensor) -> Tensor:
        """The logits of a tile, written into ``buffer``; ``diagonal``: it holds the pairs (i, i).

        ``scale`` is 1 / temperature of ``negative_lp``; inner products are prepared with it.
        """
        tile = buffer[: len(a) * len(b)].view(len(a), len(b))
        if self.exponent is None:
            torch.mm(a, b.T, out=tile)
        else:
            power = (a.unsqueeze(1) - b.unsqueeze(0)).abs_().pow_(self.exponent)
            torch.sum(power, dim=2, out=tile).mul_(-scale)
        if self.at_most_zero:
            tile.clamp_(max=0.0)
        if diagonal and self.skip_diagonal:
            tile.fill_diagonal_(-torch.inf)
        return tile

    def pull_back(
        self, gradient: Tensor, a: Tensor, b: Tensor, scale: Tensor, into: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        """Add to ``into`` the gradients of ``a``, ``b`` and ``scale``, given that of a tile's logits."""
        into_a, into_b, into_scale = into
        if self.exponent is None:
            into_a.addmm_(gradient, b)
            into_b.addmm_(gradient.T, a)
            return
        difference = a.unsqueeze(1) - b.unsqueeze(0)
        size = difference.abs()
        into_scale -= (size.pow(self.exponent).sum(dim=2) * gradient).sum()
        # Below p = 1 the derivative at 0 is infinite; 0 is a subgradient's stand-in.
        slope = size.pow_(self.exponent - 1).mul_(difference.sign_()).masked_fill_(difference == 0, 0.0)
        slope.mul_((-self.exponent * scale * gradient).unsqueeze(2))
        into_a += slope.sum(dim=1)
        into_b -= slope.sum(dim=0)


def prepared(
    a: Tensor, b: Tensor, similarity: Similarity, temperature: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Matrices whose inner products are sim(a_i, b_j) / temperature, by differentiable maps of O(K D).

    * ``inner_product``: <a_i / tau, b_j>
    * ``cosine``: the same of unit rows
    * ``negative_squared_euclidean``: <(2 a_i, -||a_i||^2, 1) / tau, (b_j, 1, -||b_j||^2)>
    * ``negative_lp`` is no inner product: its rows are returned as they are.
    """
    if similarity is Similarity.negative_lp:
        return a, b
    if similarity is Similarity.cosine:
        a, b = unit_rows(a), unit_rows(b)
    if similarity is Similarity.negative_squared_euclidean:
        a, b = centred(a, b)
        one_a, one_b = a.new_ones(len(a), 1), b.new_ones(len(b), 1)
        a = torch.cat([2 * a, -a.square().sum(dim=1, keepdim=True), one_a], dim=1)
        b = torch.cat([b, one_b, -b.square().sum(dim=1, keepdim=True)], dim=1)
    return a / temperature, b


def logsumexps(
    a: Tensor,
    b: Tensor,
    similarity: Similarity,
    *,
    temperature: float | Tensor = 1.0,
    lp_exponent: float = 2.0,
    skip_diagonal: bool,
    both: bool,
    tile: int | None = None,
    one_exponential: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """``rows`` and ``columns`` of the head of this module, for s = sim(a_i, b_j) / temperature.

    Args:
        a: ``(Ka, D)``, float32 or float64.
        b: ``(Kb, D)``, of the same dtype.
        similarity: see :class:`Similarity`; ``lp_exponent`` is its p.
        temperature: tau > 0, a number or a 0-dim tensor, which then gets a gradient.
        skip_diagonal: leave the pairs (i, i) out of every sum.
        both: compute ``columns`` too; otherwise they are zeros.
        tile: rows and columns of pairs held at a time, >= 1; ``None`` chooses.
        one_exponential: see :class:`_LogSumExps`; ``None`` chooses.

    Returns:
        ``(Ka,)`` and ``(Kb,)``. Differentiable once in ``a``, ``b`` and ``temperature``.

    Raises:
        ValueError: a tile without rows.

    Memory: a few tiles and O(K D); for ``negative_lp`` a tile has D entries for each pair.
    """
    require(tile is None or tile >= 1, "tile", tile, ">= 1, or None to choose")
    first, second = prepared(a, b, similarity, temperature)
    lp = similarity is Similarity.negative_lp
    scale = 1.0 / torch.as_tensor(temperature, dtype=a.dtype, device=a.device) if lp else a.new_ones(())
    logits = Logits(
        exponent=lp_exponent if lp else None,
        at_most_zero=similarity is Similarity.negative_squared_euclidean,
        skip_diagonal=skip_diagonal,
        tile=_chosen_tile(first, second, lp) if tile is None else tile,
        one_exponential=a.device.type == "cpu" if one_exponential is None else one_exponential,
    )
    rows, columns = _LogSumExps.apply(first, second, scale, logits, both)
    return rows, columns


def _chosen_tile(a: Tensor, b: Tensor, lp: bool) -> int:
    if lp:
        return max(16, int((LP_ELEMENTS / a.shape[1]) ** 0.5))
    if a.device.type == "cpu":
        return TILE
    return ONE_TILE_ACCELERATOR if max(len(a), len(b)) <= ONE_TILE_ACCELERATOR else TILE_ACCELERATOR


@contextlib.contextmanager
def _full_products() -> Iterator[None]:
    """float32 products of float32, whatever the process allows elsewhere: logits are differences of large numbers."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class _LogSumExps(torch.autograd.Function):
    """On the CPU one exponential of each tile serves rows and columns, in both passes.

    Forward, with m_i the largest logit of row i so far, M = max_i m_i, E_ij = exp(s_ij - m_i), w_i = exp(m_i - M):

        sum_j exp(s_ij) = e^{m_i} sum_j E_ij,      sum_i exp(s_ij) = e^M sum_i w_i E_ij.

    Backward, with P_ij = exp(s_ij - rows_i) and the gradients g of rows and h of columns:

        dL/ds_ij = P_ij (g_i + e^{rows_i - R} h_j e^{R - columns_j}).

    The second sum loses a column whose logits all lie far below their rows' largest, and the second formula needs rows
    and columns of like size. Where these do not hold, and on accelerators, where asking would wait for the device, rows
    and columns get an exponential each.
    """

    @staticmethod
    @_full_products()
    def forward(
        ctx: Any, a: Tensor, b: Tensor, scale: Tensor, logits: Logits, both: bool
    ) -> tuple[Tensor, Tensor]:
        lowest = torch.finfo(a.dtype).min
        rows, columns = a.new_zeros(len(a)), a.new_full((len(b),) if both else (0,), -torch.inf)
        peaks = a.new_full((len(a),), -torch.inf)
        buffer = _buffer(a, b, logits)
        for i, j in logits.tiles(a, b):
            tile = logits.make(a[i], b[j], scale, i == j, buffer)
            # (a tile may hold nothing but a left out pair: then lowest stands in for minus infinity)
            peak = torch.maximum(peaks[i], tile.amax(dim=1)).clamp_(min=lowest)
            if both and not logits.one_exponential:
                columns[j] = torch.logaddexp(columns[j], tile.logsumexp(dim=0))
            kernel = tile.sub_(peak.unsqueeze(1)).clamp_(min=_floor(a)).exp_()
            rows[i] = rows[i] * (peaks[i] - peak).exp() + kernel.sum(dim=1)
            peaks[i] = peak
            if both and logits.one_exponential:
                top = peak.max()
                part = (peak - top).exp() @ kernel
                if bool(part.min() > 1e-15):
                    part = part.log_().add_(top)
                else:
                    part = logits.make(a[i], b[j], scale, i == j, buffer).logsumexp(dim=0)
                columns[j] = torch.logaddexp(columns[j], part)
        rows = rows.log_().add_(peaks)
        ctx.save_for_backward(a, b, scale, rows, columns)
        ctx.logits, ctx.both = logits, both
        return rows, columns if both else a.new_zeros(len(b))

    @staticmethod
    @torch.autograd.function.once_differentiable
    @_full_products()
    def backward(
        ctx: Any, from_rows: Tensor, from_columns: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        a, b, scale, rows, columns = ctx.saved_tensors
        logits: Logits = ctx.logits
        into_a, into_b, into_scale = torch.zeros_like(a), torch.zeros_like(b), torch.zeros_like(scale)
        buffer = _buffer(a, b, logits)
        floor = _floor(a)
        for i, j in logits.tiles(a, b):
            diagonal = i == j
            tile = logits.make(a[i], b[j], scale, diagonal, buffer)
            gradient = _tile_gradient(
                tile,
                rows[i],
                from_rows[i],
                columns[j] if ctx.both else None,
                from_columns[j],
                floor,
                logits.one_exponential,
            )
            if diagonal and logits.skip_diagonal:
                gradient.fill_diagonal_(0.0)
            logits.pull_back(gradient, a[i], b[j], scale, (into_a[i], into_b[j], into_scale))
        return into_a, into_b, into_scale, None, None


def _tile_gradient(
    tile: Tensor,
    rows: Tensor,
    from_rows: Tensor,
    columns: Tensor | None,
    from_columns: Tensor,
    floor: float,
    one_exponential: bool,
) -> Tensor:
    """The gradient of a tile's logits (backward formula of :class:`_LogSumExps`), which it overwrites."""
    if columns is None:
        return tile.sub_(rows.unsqueeze(1)).clamp_(min=floor).exp_().mul_(from_rows.unsqueeze(1))
    top = rows.max()
    if one_exponential and bool(top - columns.min() < -floor / 2):
        weight = torch.addcmul(
            from_rows.unsqueeze(1),
            (rows - top).exp().unsqueeze(1),
            (from_columns * (top - columns).exp()).unsqueeze(0),
        )
        return tile.sub_(rows.unsqueeze(1)).clamp_(min=floor).exp_().mul_(weight)
    of_columns = (tile - columns.unsqueeze(0)).clamp_(min=floor).exp_().mul_(from_columns.unsqueeze(0))
    return tile.sub_(rows.unsqueeze(1)).clamp_(min=floor).exp_().mul_(from_rows.unsqueeze(1)).add_(of_columns)


def _floor(a: Tensor) -> float:
    """Exponents below this add nothing to a sum that holds a 1.

    Left as they are, their exponentials and the products of these would be denormal numbers, with which processors
    calculate many times slower.
    """
    return -60.0 if a.dtype == torch.float32 else -600.0


def _buffer(a: Tensor, b: Tensor, logits: Logits) -> Tensor:
    return a.new_empty(min(len(a), logits.tile) * min(len(b), logits.tile))
