"""Systems ``(K + alpha I) w = y`` of an RBF kernel matrix, for several alphas and many targets at once.

Conjugate gradients in float64 share the products with K among all alphas and targets. A wide kernel, whose values
change slowly, is nearly of low rank: its Nystrom approximation is a preconditioner with which a few iterations do. A
narrow one is not: what has not come out when the iterations have cost as much as a Cholesky factor would, a factor
of float32 preconditions, each alpha by itself; and where that is too rough, one of float64 solves.

Inside, a system is a row: vectors stand in ``(k, N)``. The products of a few long rows with a large matrix, and with
its transpose, are the ones that every BLAS is fast at; those of a matrix with a few columns can be five times slower.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

SMALLEST_KERNEL_VALUE = 1e-20
"""A narrow kernel is full of values that vanish beside its diagonal of ones (float64 resolves 1e-16), and whose
products underflow: processors take many times longer over such numbers (17 times for one Cholesky at gamma = 100).
They are raised to this, which changes no score."""

TOLERANCE = 1e-6
"""Norm of the residual over that of the target about its mean at which a solution is taken: predictions are off by
some 1e-5 of the target's standard deviation."""

GRAM_ROWS = 512
"""Rows of a symmetric product made at a time, up to the diagonal."""

LANDMARKS = (32, 8)
"""One in so many points is a landmark of the Nystrom approximation: the first that is good enough, or the last."""

GOOD_ENOUGH = 10.0
"""Condition number of the preconditioned systems, as bounded by what the approximation lacks, with which few iterations
do."""

FEWEST_LANDMARKS = 256

NARROW = 1.0
"""Mean off-diagonal row sum of K below which it is so near to I that conjugate gradients need no preconditioner."""

FACTOR_ITERATIONS = 60
"""Iterations after which a factor is called too far from the matrix."""

SINGLE_SCALE = 2.0**100
"""A float32 matrix is multiplied by this before it is factorised: far from a diagonal of ones its factor holds values
near 1e-38, the denormal numbers with which processors take ten times longer."""

SMALLEST_SINGLE_VALUE = 1e-9
"""What float32 does not resolve beside a diagonal of ones."""

SHIFT = 1e-6
"""Where rounding leaves no float32 Cholesky, this times n, a bound of K's eigenvalues, is added to its diagonal."""


def rbf(x: Tensor, y: Tensor, gamma: float, out: Tensor | None = None) -> Tensor:
    """``exp(-gamma ||x_i - y_j||^2)``: ``(N, D) x (M, D) -> (N, M)``; ``out`` to be filled instead of new memory.

    One product makes all exponents, ``2 gamma x y' - gamma |x|^2 - gamma |y|^2``: fewer passes over memory than
    distances would take.
    """
    left = torch.cat(
        [2 * gamma * x, -gamma * x.square().sum(dim=1, keepdim=True), torch.ones_like(x[:, :1])], dim=1
    )
    right = torch.cat([y, torch.ones_like(y[:, :1]), -gamma * y.square().sum(dim=1, keepdim=True)], dim=1)
    exponents = torch.mm(left, right.T, out=out)
    return exponents.clamp_(min=math.log(SMALLEST_KERNEL_VALUE), max=0.0).exp_()


def strip_bounds(n: int, chunk: int) -> list[tuple[int, int]]:
    """``[start, stop)`` of the strips of a triangle of n rows."""
    return [(start, min(start + chunk, n)) for start in range(0, n, chunk)]


def elements(n: int, chunk: int) -> int:
    """Numbers in the strips that hold a triangle of n rows.

    >>> elements(5, 2)
    17
    """
    return sum((stop - start) * stop for start, stop in strip_bounds(n, chunk))


def smallest_alpha(n: int) -> float:
    """What does not vanish beside the rounding of K's largest eigenvalue, which n bounds."""
    return torch.finfo(torch.float64).eps * n


class Kernel:
    """The kernel matrix K of points ``x: (N, D)``, float64, and systems ``(K + alpha I) w = y``.

    Its lower triangle is held, ``4 N^2`` bytes.

    Args:
        x: the points.
        gamma: > 0.
        chunk: rows in a strip of the triangle.
        memory: for the triangle, ``(elements(N, chunk),)`` or more; ``None``: new memory, which costs as much time as
            the values in it.
    """

    def __init__(self, x: Tensor, gamma: float, chunk: int, memory: Tensor | None = None) -> None:
        self.x, self.gamma = x, gamma
        self.bounds = strip_bounds(len(x), chunk)
        sizes = [(stop - start) * stop for start, stop in self.bounds]
        memory = x.new_empty(sum(sizes)) if memory is None else memory[: sum(sizes)]
        self.strips = [
            rbf(x[start:stop], x[:stop], gamma, out=part.view(stop - start, stop))
            for (start, stop), part in zip(self.bounds, memory.split(sizes), strict=True)
        ]

    def solve(
        self, alphas: Sequence[float], y: Sequence[Tensor], tolerance: float = TOLERANCE
    ) -> list[Tensor | None]:
        """``(K + alpha I)^-1 y`` for each alpha and its ``y: (N, k)``; k may be 0.

        ``tolerance``: of the residual's norm over that of its column of ``y`` about its mean. ``None`` where the
        matrix is not positive definite numerically.
        """
        n = len(self.x)
        usable = [i for i, alpha in enumerate(alphas) if alpha >= smallest_alpha(n)]
        solutions: list[Tensor | None] = [None] * len(alphas)
        if not usable:
            return solutions
        rows = [y[i].T.contiguous() for i in usable]
        first = self._solve_together([alphas[i] for i in usable], rows, tolerance)
        for i, of, w in zip(usable, rows, first, strict=True):
            found = w if w is not None else self._solve_by_factor(alphas[i], of, tolerance)
            solutions[i] = None if found is None else found.T
        return solutions

    def times(self, v: Tensor) -> Tensor:
        """``K v`` of each row of ``v: (k, N)``."""
        product = torch.zeros_like(v)
        for (start, stop), strip in zip(self.bounds, self.strips, strict=True):
            product[:, start:stop].addmm_(v[:, :stop], strip.T)
            product[:, :start].addmm_(v[:, start:stop], strip[:, :start])
        return product

    def _is_narrow(self) -> bool:
        whole = sum(
            2 * float(strip[:, :start].sum()) + float(strip[:, start:].sum())
            for (start, _), strip in zip(self.bounds, self.strips, strict=True)
        )
        return whole - len(self.x) < NARROW * len(self.x)

    def _solve_together(
        self, alphas: Sequence[float], y: Sequence[Tensor], tolerance: float
    ) -> list[Tensor | None]:
        counts = [len(part) for part in y]
        shifts = torch.tensor(alphas, dtype=torch.float64, device=self.x.device).repeat_interleave(
            torch.tensor(counts, device=self.x.device)
        )
        nystrom = None if self._is_narrow() else Nystrom(self.x, self.gamma, min(alphas))
        # A float32 factor takes n^3 / 3 operations at twice the rate, an iteration 2 n^2 for each row.
        limit = max(10, len(self.x) * len(counts) // (12 * max(1, sum(counts))))
        w, solved = conjugate_gradients(
            lambda v, rows: self.times(v) + shifts[rows, None] * v,
            lambda r, rows: r if nystrom is None else nystrom.solve(shifts[rows], r),
            torch.cat(list(y)),
            torch.cat([_goal(part, tolerance) for part in y]),
            limit,
        )
        return [
            part if bool(done.all()) else None
            for part, done in zip(w.split(counts), solved.split(counts), strict=True)
        ]

    def _solve_by_factor(self, alpha: float, y: Tensor, tolerance: float) -> Tensor | None:
        for shift in (0.0, SHIFT * len(self.x)):
            factor = self._factor(alpha + shift, torch.float32, SINGLE_SCALE)
            if factor is None:
                continue
            w, solved = conjugate_gradients(
                lambda v, _: self.times(v) + alpha * v,
                partial(_solve_by_single, factor),
                y,
                _goal(y, tolerance),
                FACTOR_ITERATIONS,
            )
            if bool(solved.all()):
                return w
            del factor
        factor = self._factor(alpha, torch.float64, 1.0)
        return None if factor is None else _solve_by(factor, y, 1.0)

    def _factor(self, diagonal: float, dtype: torch.dtype, scale: float) -> Tensor | None:
        """The lower Cholesky factor of ``scale (K + diagonal I)``."""
        n = len(self.x)
        # In columns, as LAPACK has it, so that the factor takes the matrix's own place.
        matrix = self.x.new_zeros((n, n), dtype=dtype).mT
        for (start, stop), strip in zip(self.bounds, self.strips, strict=True):
            part = matrix[start:stop, :stop]
            part.copy_(strip)
            if dtype == torch.float32:
                part[part < SMALLEST_SINGLE_VALUE] = 0.0
            part *= scale
        matrix.diagonal().fill_((1 + diagonal) * scale)
        info = torch.empty((), dtype=torch.int32, device=matrix.device)
        torch.linalg.cholesky_ex(matrix, out=(matrix, info))
        return None if int(info) else matrix


def _goal(y: Tensor, tolerance: float) -> Tensor:
    """The residual's norm at which a row of ``y`` is solved; a constant one has nothing about its mean."""
    norm, spread = y.norm(dim=1), (y - y.mean(dim=1, keepdim=True)).norm(dim=1)
    return tolerance * torch.where(spread > 1e-8 * norm, spread, norm)


def _solve_by(factor: Tensor, y: Tensor, scale: float) -> Tensor:
    """``A^-1 y`` of each row of ``y`` by the Cholesky factor of ``scale A``."""
    # Two triangular solves, because cholesky_solve would copy the factor, another n x n.
    half = torch.linalg.solve_triangular(factor, y.T, upper=False).mul_(scale**0.5)
    return torch.linalg.solve_triangular(factor.mT, half, upper=True).mul_(scale**0.5).T.contiguous()


def _solve_by_single(factor: Tensor, r: Tensor, _: Tensor) -> Tensor:
    return _solve_by(factor, r.float(), SINGLE_SCALE).to(r.dtype)


class Nystrom:
    """``Z Z' + alpha I`` with ``Z Z' = K_nm K_mm^-1 K_mn``, K as m of its n points see it, and its inverse.

    The landmarks are spread evenly over the points' order, which is that of independent samples. Wide kernels need
    fewer of them: K - Z Z' is positive semidefinite, so its trace, of which K's part is n, bounds its norm, and 1 plus
    its norm over alpha the condition number.

    Args:
        x: ``(n, D)``.
        gamma: > 0.
        alpha: > 0, the smallest that there will be.
    """

    def __init__(self, x: Tensor, gamma: float, alpha: float) -> None:
        n = len(x)
        for one_in in LANDMARKS:
            m = min(n, max(FEWEST_LANDMARKS, n // one_in))
            landmarks = x[torch.arange(m, device=x.device) * n // m]
            matrix = rbf(landmarks, landmarks, gamma)
            # More than what rounding can take from the smallest eigenvalue.
            matrix.diagonal().add_(4 * m * smallest_alpha(m))
            self._zt = torch.linalg.solve_triangular(_cholesky(matrix), rbf(landmarks, x, gamma), upper=False)
            if n - float(self._zt.norm() ** 2) <= GOOD_ENOUGH * alpha:
                break
        # The lower triangle: no more is read.
        self._gram = self._zt.new_zeros(m, m)
        for start in range(0, m, GRAM_ROWS):
            stop = min(start + GRAM_ROWS, m)
            torch.mm(self._zt[start:stop], self._zt[:stop].T, out=self._gram[start:stop, :stop])
        self._factors: dict[float, Tensor] = {}

    def solve(self, alphas: Tensor, r: Tensor) -> Tensor:
        """``(Z Z' + alpha I)^-1 r`` for each row of ``r: (k, n)`` and its entry of ``alphas: (k,)``, in order."""
        inner = r @ self._zt.T
        values, counts = torch.unique_consecutive(alphas, return_counts=True)
        for alpha, part in zip(values.tolist(), inner.split(counts.tolist()), strict=True):
            part.copy_(torch.cholesky_solve(part.T, self._factor(alpha)).T)
        return torch.addmm(r, inner, self._zt, alpha=-1).div_(alphas[:, None])

    def _factor(self, alpha: float) -> Tensor:
        if alpha not in self._factors:
            shifted = self._gram.clone()
            shifted.diagonal().add_(alpha)
            self._factors[alpha] = _cholesky(shifted)
        return self._factors[alpha]


def _cholesky(matrix: Tensor) -> Tensor:
    """The lower factor, or NaNs, which no iteration takes for a solution."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    return factor.fill_(torch.nan) if int(info) else factor


def conjugate_gradients(
    times: Callable[[Tensor, Tensor], Tensor],
    precondition: Callable[[Tensor, Tensor], Tensor],
    y: Tensor,
    goal: Tensor,
    limit: int,
) -> tuple[Tensor, Tensor]:
    """``A_j^-1 y_j`` for each row j of ``y: (k, N)``, of positive definite matrices given by their products.

    Args:
        times: ``(v, rows) -> A v``, the rows of ``v`` being those of ``y`` that ``rows`` numbers.
        precondition: ``(r, rows) -> M^-1 r`` with M near A.
        goal: the norm at which a row's residual is small enough, ``(k,)``.
        limit: number of iterations.

    Returns:
        ``(k, N)`` and which rows are solved, ``(k,)``: those whose residuals, as the iterations carry them along,
        have come to their goals. The others are 0. A solved row costs nothing more.
    """
    solution = torch.zeros_like(y)
    left = (~(y.norm(dim=1) <= goal)).nonzero()[:, 0]
    w, residual = torch.zeros_like(y[left]), y[left]
    direction, previous = torch.zeros_like(w), torch.ones_like(goal[left])
    for _ in range(limit):
        if not len(left):
            break
        z = precondition(residual, left)
        agreement = (residual * z).sum(dim=1)
        direction = torch.addcmul(z, (agreement / previous)[:, None], direction)
        moved = times(direction, left)
        step = (agreement / (direction * moved).sum(dim=1))[:, None]
        w, residual, previous = (
            w.addcmul_(step, direction),
            residual.addcmul_(step, moved, value=-1),
            agreement,
        )
        solved = residual.norm(dim=1) <= goal[left]
        if bool(solved.any()):
            solution[left[solved]] = w[solved]
            going = ~solved
            left, w, residual = left[going], w[going], residual[going]
            direction, previous = direction[going], previous[going]
    unsolved = torch.zeros_like(goal, dtype=torch.bool)
    unsolved[left] = True
    return solution, ~unsolved
