"""Kernel ridge regression with an RBF kernel: a grid search, and systems solved in float32 that come out in float64.

``(K + alpha I) w = y`` by a Cholesky factor L L' of float32, which costs half of one of float64, and conjugate
gradients in float64 that it preconditions: a few iterations take off what rounding left, and say so when they do not.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmcl.evaluators.scores import r2_score

log = logging.getLogger(__name__)

# A narrow kernel is full of values that vanish beside its diagonal of ones (float64 resolves 1e-16), and
# whose products underflow: processors take many times longer over such numbers (17 times for one Cholesky
# at gamma = 100). As zeros they change no score.
SMALLEST_KERNEL_VALUE = 1e-20

LARGEST_DENSE = 2**14
"""Up to so many points the float64 kernel is held (2 GiB); of more its rows are made when they are needed."""

TOLERANCE = 1e-9
"""Norm of the residual over that of the target at which a solution is taken."""

ITERATIONS = 30
"""Iterations after which a factor is called too far from the matrix."""

SINGLE_SCALE = 2.0**100
"""A float32 matrix is multiplied by this before it is factorised: far from a diagonal of ones its factor holds values
near 1e-38, the denormal numbers with which processors take ten times longer."""

SMALLEST_SINGLE_VALUE = 1e-9
"""What float32 does not resolve beside a diagonal of ones."""

SHIFT = 1e-6
"""Where rounding leaves no float32 Cholesky, this times n, a bound of K's eigenvalues, is added to its diagonal."""


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """``||x_i - y_j||^2`` for ``x: (N, D)``, ``y: (M, D)`` as ``(N, M)``; rounding clamped at 0."""
    distances = x @ y.T
    distances.mul_(-2).add_(x.square().sum(dim=1)[:, None]).add_(y.square().sum(dim=1)[None, :])
    return distances.clamp_(min=0)


def _exp_(exponent: Tensor) -> Tensor:
    """``exp`` in place, with 0 for what is below ``SMALLEST_KERNEL_VALUE``."""
    return torch.threshold_(exponent, math.log(SMALLEST_KERNEL_VALUE), -math.inf).exp_()


def rbf(x: Tensor, y: Tensor, gamma: float) -> Tensor:
    """``exp(-gamma ||x_i - y_j||^2)``: ``(N, D) x (M, D) -> (N, M)``."""
    return _exp_(squared_distances(x, y).mul_(-gamma))


def smallest_alpha(n: int) -> float:
    """What does not vanish beside the rounding of K's largest eigenvalue, which n bounds."""
    return torch.finfo(torch.float64).eps * n


class Kernel:
    """The kernel matrix K of points ``x: (N, D)``, float64, and systems ``(K + alpha I) w = y``.

    Args:
        x: the points.
        gamma: > 0.
        chunk: rows made at a time where K is not held.
    """

    def __init__(self, x: Tensor, gamma: float, chunk: int) -> None:
        self.x, self.gamma, self.chunk = x, gamma, chunk
        self.dense = rbf(x, x, gamma) if len(x) <= LARGEST_DENSE else None

    def solve(self, alpha: float, y: Tensor) -> Tensor | None:
        """``(K + alpha I)^-1 y`` for ``y: (N, k)``; ``None`` where that matrix is not positive definite numerically."""
        if alpha < smallest_alpha(len(self.x)):
            return None
        for shift in (0.0, SHIFT * len(self.x)):
            factor = self._factor(alpha + shift, torch.float32, SINGLE_SCALE)
            if factor is None:
                continue
            w = conjugate_gradients(
                lambda v: self._times(v) + alpha * v,
                lambda r, factor=factor: _solve_by(factor, r.float(), SINGLE_SCALE).to(r.dtype),  # type: ignore[misc]
                y,
            )
            if w is not None:
                return w
            del factor
        factor = self._factor(alpha, torch.float64, 1.0)
        return None if factor is None else _solve_by(factor, y, 1.0)

    def _times(self, v: Tensor) -> Tensor:
        if self.dense is not None:
            return self.dense @ v
        return torch.cat([rbf(rows, self.x, self.gamma) @ v for rows in self.x.split(self.chunk)])

    def _factor(self, diagonal: float, dtype: torch.dtype, scale: float) -> Tensor | None:
        """The lower Cholesky factor of ``scale (K + diagonal I)``."""
        n = len(self.x)
        # In columns, as LAPACK has it, so that the factor takes the matrix's own place. (K is symmetric.)
        columns = self.x.new_empty((n, n), dtype=dtype)
        matrix = columns.mT
        for i, part in enumerate(columns.split(self.chunk)):
            rows = slice(i * self.chunk, (i + 1) * self.chunk)
            part.copy_(rbf(self.x[rows], self.x, self.gamma) if self.dense is None else self.dense[rows])
        if dtype == torch.float32:
            torch.threshold_(columns, SMALLEST_SINGLE_VALUE, 0.0)
        matrix.diagonal().fill_(1 + diagonal)
        columns *= scale
        info = torch.empty((), dtype=torch.int32, device=matrix.device)
        torch.linalg.cholesky_ex(matrix, out=(matrix, info))
        return None if int(info) else matrix


def _solve_by(factor: Tensor, y: Tensor, scale: float) -> Tensor:
    """``A^-1 y`` by the Cholesky factor of ``scale A``."""
    # Two triangular solves, because cholesky_solve would copy the factor, another n x n.
    half = torch.linalg.solve_triangular(factor, y, upper=False).mul_(scale**0.5)
    return torch.linalg.solve_triangular(factor.mT, half, upper=True).mul_(scale**0.5)


def conjugate_gradients(
    times: Callable[[Tensor], Tensor], precondition: Callable[[Tensor], Tensor], y: Tensor
) -> Tensor | None:
    """``A^-1 y`` for each column of ``y: (N, k)``, of a positive definite A given by its product.

    Args:
        times: ``v -> A v``.
        precondition: ``r -> M^-1 r`` with M near A.

    Returns:
        A solution whose residuals, as the iterations carry them along, are at most ``TOLERANCE`` of their columns, or
        ``None`` after ``ITERATIONS``.
    """
    w = precondition(y)
    residual = y - times(w)
    goal = TOLERANCE * y.norm(dim=0)
    direction, previous = torch.zeros_like(y), y.new_ones(y.shape[1])
    for iteration in range(ITERATIONS + 1):
        if bool((residual.norm(dim=0) <= goal).all()):
            return w
        if iteration == ITERATIONS:
            break
        z = precondition(residual)
        agreement = (residual * z).sum(dim=0)
        # A column that is solved stays as it is, whatever 0 / 0 says.
        direction = z + torch.nan_to_num(agreement / previous, 0.0, 0.0, 0.0) * direction
        moved = times(direction)
        step = torch.nan_to_num(agreement / (direction * moved).sum(dim=0), 0.0, 0.0, 0.0)
        w = w + step * direction
        residual = residual - step * moved
        previous = agreement
    return None


def fold_bounds(n: int, folds: int) -> list[tuple[int, int]]:
    """The contiguous validation folds ``[start, stop)`` of scikit-learn's unshuffled ``KFold``.

    >>> fold_bounds(8, 3)
    [(0, 3), (3, 6), (6, 8)]
    """
    sizes = [n // folds + (i < n % folds) for i in range(folds)]
    stops = [sum(sizes[: i + 1]) for i in range(folds)]
    return [(stop - size, stop) for size, stop in zip(sizes, stops, strict=True)]


def _predict(x: Tensor, x_fit: Tensor, duals: Sequence[tuple[float, Tensor]], chunk: int) -> list[Tensor]:
    """``exp(-gamma d^2(x, x_fit)) @ dual`` for each ``(gamma, dual)``, ``chunk`` rows of ``x`` at a time."""
    parts: list[list[Tensor]] = [[] for _ in duals]
    for rows in x.split(chunk):
        distances = squared_distances(rows, x_fit)
        for part, (gamma, dual) in zip(parts, duals, strict=True):
            part.append(_exp_(torch.mul(distances, -gamma)) @ dual)
    return [torch.cat(part) for part in parts]


@dataclass(frozen=True)
class Choice:
    """Hyperparameters chosen for one target block, and their mean R^2 over the folds."""

    alpha: float
    gamma: float
    cv_score: float


def grid_search(
    x: Tensor,
    targets: dict[str, Tensor],
    alphas: Sequence[float],
    gammas: Sequence[float],
    folds: int = 3,
    chunk: int = 2048,
) -> dict[str, Choice]:
    """Choose ``(alpha, gamma)`` per target block as ``GridSearchCV(KernelRidge(kernel="rbf"), cv=folds)``.

    ``x: (N, D)`` float64, targets name -> ``(N, k)``. Unshuffled contiguous folds; the score is the mean
    over the folds of the uniformly averaged R^2; ties go to the first in the order of alphas, then of gammas
    (scikit-learn's ``ParameterGrid``).

    ``K + alpha I`` does not depend on the target, so one Cholesky factorisation for each (fold, gamma, alpha)
    serves all targets.

    Departure: a setting whose matrix is not positive definite numerically is logged and scored -inf, where
    scikit-learn falls back on least squares. Raises ``ValueError`` when no setting is left.
    """
    y_all = torch.cat([y.double() for y in targets.values()], dim=1)
    widths = [y.shape[1] for y in targets.values()]
    totals = torch.zeros(len(targets), len(alphas), len(gammas), dtype=torch.float64)
    for start, stop in fold_bounds(len(x), folds):
        x_train, y_train = torch.cat([x[:start], x[stop:]]), torch.cat([y_all[:start], y_all[stop:]])
        duals = []
        for g, gamma in enumerate(gammas):
            kernel = Kernel(x_train, gamma, chunk)
            solutions = []
            for a, alpha in enumerate(alphas):
                dual = kernel.solve(alpha, y_train)
                if dual is None:
                    log.warning("kernel ridge: no Cholesky for alpha=%g, gamma=%g: left out", alpha, gamma)
                    totals[:, a, g] = -torch.inf
                    dual = torch.zeros_like(y_train)
                solutions.append(dual)
            duals.append((gamma, torch.cat(solutions, dim=1)))
        for g, prediction in enumerate(_predict(x[start:stop], x_train, duals, chunk)):
            for a, of_alpha in enumerate(prediction.split(y_all.shape[1], dim=1)):
                pairs = zip(
                    y_all[start:stop].split(widths, dim=1), of_alpha.split(widths, dim=1), strict=True
                )
                for t, (y, y_hat) in enumerate(pairs):
                    totals[t, a, g] += r2_score(y, y_hat)
    choices = {}
    for name, of_target in zip(targets, totals / folds, strict=True):
        best = int(of_target.flatten().argmax())
        alpha, gamma = alphas[best // len(gammas)], gammas[best % len(gammas)]
        choices[name] = Choice(alpha, gamma, float(of_target.flatten()[best]))
        if not torch.isfinite(of_target.flatten()[best]):
            raise ValueError(f"alphas={list(alphas)!r}: too small, K + alpha I is never positive definite")
    return choices


def predict_kernel_ridge(
    x_fit: Tensor,
    x_test: Tensor,
    targets: dict[str, Tensor],
    alphas: Sequence[float],
    gammas: Sequence[float],
    folds: int = 3,
    n_select: int | None = None,
    chunk: int = 2048,
) -> dict[str, Tensor]:
    """Predictions for ``x_test`` by RBF kernel ridge without intercept, hyperparameters from ``grid_search``.

    ``f(x) = sum_i w_i exp(-gamma ||x - x_i||^2)`` with ``w = (K + alpha I)^-1 y``, fitted on all of ``x_fit``;
    its rows, or the first ``n_select`` of them, choose alpha and gamma. Targets with the same choice share the
    factorisation. ``x: (N, D)`` float64, targets name -> ``(N, k)``. Raises ``ValueError`` where the fit has no
    Cholesky.
    """
    first = {name: y[:n_select] for name, y in targets.items()}
    usable = [alpha for alpha in alphas if alpha >= smallest_alpha(len(x_fit))]
    choices = grid_search(x_fit[:n_select], first, usable or alphas, gammas, folds, chunk)
    groups: dict[tuple[float, float], list[str]] = {}
    for name, choice in choices.items():
        log.debug("kernel ridge: %s: %s", name, choice)
        groups.setdefault((choice.alpha, choice.gamma), []).append(name)
    predictions: dict[str, Tensor] = {}
    for (alpha, gamma), names in groups.items():
        y = torch.cat([targets[name].double() for name in names], dim=1)
        dual = Kernel(x_fit, gamma, chunk).solve(alpha, y)
        if dual is None:
            raise ValueError(
                f"alpha={alpha!r}: must be larger, K + alpha I is not positive definite for all {len(x_fit)} samples"
            )
        (prediction,) = _predict(x_test, x_fit, [(gamma, dual)], chunk)
        widths = [targets[name].shape[1] for name in names]
        predictions.update(zip(names, prediction.split(widths, dim=1), strict=True))
    return predictions
