"""Predicting continuous factors: ordinary least squares, and kernel ridge regression with a grid search."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from mmcl.checks import require
from mmcl.evaluators.base import Objective, Predictor, Representations, Row, predictor_rows

log = logging.getLogger(__name__)

# Directions whose singular value is below this share of the largest are left out: scikit-learn's default, and
# what separates a dimension from the rounding noise of float32 encodings that were made dependent.
RANK_TOLERANCE = 1e-6

# A narrow kernel is full of values that vanish beside its diagonal of ones (float64 resolves 1e-16), and
# whose products underflow: processors take many times longer over such numbers (17 times for one Cholesky
# at gamma = 100). As zeros they change no score.
SMALLEST_KERNEL_VALUE = 1e-20


def r2_score(y: Tensor, prediction: Tensor) -> float:
    """Coefficient of determination, uniform average over columns of ``1 - SSE / SST``.

    ``y``, ``prediction``: ``(N, k)``; computed in float64. SST is about the mean of ``y`` itself (the split
    that is scored). A constant column scores 1 if predicted exactly and 0 otherwise: scikit-learn's rule.
    Departure: it holds for every constant (scikit-learn's r2 of 0.1, whose mean is rounded, is about -1e32).
    Range ``(-inf, 1]``. Raises ``ValueError`` when shapes differ or ``N < 2``.

    >>> r2_score(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [1.0]]))
    0.5
    """
    if y.shape != prediction.shape or y.ndim != 2 or len(y) < 2:
        raise ValueError(f"shapes {tuple(y.shape)} and {tuple(prediction.shape)}: must be equal, (N >= 2, k)")
    y, prediction = y.double(), prediction.double()
    sse = (y - prediction).square().sum(dim=0)
    sst = (y - y.mean(dim=0)).square().sum(dim=0)
    # A constant column's computed mean may be off by rounding, which would make a tiny SST out of none.
    constant = (y == y[0]).all(dim=0) | (sst == 0)
    scores = torch.where(constant, (sse == 0).double(), 1 - sse / sst.masked_fill(constant, 1.0))
    return float(scores.mean())


def _mean(y: Tensor) -> Tensor:
    return y.double().mean(dim=0, keepdim=True)


def predict_least_squares(x_fit: Tensor, x_test: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """Ordinary least squares with intercept, float64: ``x: (N, D)``, targets name -> ``(N, k)``.

    Rank-deficient ``x`` gives the solution of least norm (as scikit-learn's ``LinearRegression``).
    """
    predictions = {}
    mean = x_fit.mean(dim=0)
    for name, y in targets.items():
        offset = _mean(y)
        # gelsd (by singular values, CPU only) is the driver that knows about rank.
        solution = torch.linalg.lstsq(
            (x_fit - mean).cpu(), (y.double() - offset).cpu(), rcond=RANK_TOLERANCE, driver="gelsd"
        ).solution
        predictions[name] = (x_test - mean) @ solution.to(x_test.device) + offset
    return predictions


@dataclass(frozen=True)
class LinearRegression(Predictor):
    """R^2 of continuous factors by least squares with intercept from standardised encodings (metric ``r2``).

    ``n_fit``, ``n_test``: fresh samples that fit and that score, each >= 2 (defaults: the release's). The
    score does not change under invertible affine maps of an encoding. Raises ``ValueError`` naming a bad
    field. Source: the release of Daunhawer et al. (2023); the paper reports the kernel ridge only.
    """

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: str | None = None,
        objective: Objective | None = None,
    ) -> list[Row]:
        """One row per representation and continuous factor; ``objective`` is not used."""
        return predictor_rows(
            fit, test, fit.continuous(), reference, "r2", predict_least_squares, _mean, r2_score
        )


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """``||x_i - y_j||^2`` for ``x: (N, D)``, ``y: (M, D)`` as ``(N, M)``; rounding clamped at 0."""
    distances = x @ y.T
    distances.mul_(-2).add_(x.square().sum(dim=1)[:, None]).add_(y.square().sum(dim=1)[None, :])
    return distances.clamp_(min=0)


def _exp_(exponent: Tensor) -> Tensor:
    """``exp`` in place, with 0 for what is below ``SMALLEST_KERNEL_VALUE``."""
    return torch.threshold_(exponent, math.log(SMALLEST_KERNEL_VALUE), -math.inf).exp_()


def fold_bounds(n: int, folds: int) -> list[tuple[int, int]]:
    """The contiguous validation folds ``[start, stop)`` of scikit-learn's unshuffled ``KFold``.

    >>> fold_bounds(8, 3)
    [(0, 3), (3, 6), (6, 8)]
    """
    sizes = [n // folds + (i < n % folds) for i in range(folds)]
    stops = [sum(sizes[: i + 1]) for i in range(folds)]
    return [(stop - size, stop) for size, stop in zip(sizes, stops, strict=True)]


def _solve(kernel: Tensor, alpha: float, y: Tensor) -> Tensor | None:
    """``(K + alpha I)^-1 y`` by Cholesky, ``None`` where that fails. Writes ``1 + alpha`` on the diagonal."""
    # An RBF kernel has ones on its diagonal, so the next alpha needs no fresh copy of the matrix.
    kernel.diagonal().fill_(1 + alpha)
    factor, info = torch.linalg.cholesky_ex(kernel)
    if int(info) != 0:
        return None
    # Two triangular solves, because cholesky_solve would copy the factor, another n x n.
    half = torch.linalg.solve_triangular(factor, y, upper=False)
    return torch.linalg.solve_triangular(factor.mT, half, upper=True)


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
    serves all targets. Memory: three matrices of float64 with ``((folds - 1) / folds * N)^2`` entries.

    Departure: a setting whose matrix is not positive definite numerically is logged and scored -inf, where
    scikit-learn falls back on least squares. Raises ``ValueError`` when no setting is left.
    """
    y_all = torch.cat([y.double() for y in targets.values()], dim=1)
    widths = [y.shape[1] for y in targets.values()]
    totals = torch.zeros(len(targets), len(alphas), len(gammas), dtype=torch.float64)
    for start, stop in fold_bounds(len(x), folds):
        x_train, y_train = torch.cat([x[:start], x[stop:]]), torch.cat([y_all[:start], y_all[stop:]])
        distances = squared_distances(x_train, x_train)
        kernel = torch.empty_like(distances)
        duals = []
        for g, gamma in enumerate(gammas):
            _exp_(torch.mul(distances, -gamma, out=kernel))
            solutions = []
            for a, alpha in enumerate(alphas):
                dual = _solve(kernel, alpha, y_train)
                if dual is None:
                    log.warning("kernel ridge: no Cholesky for alpha=%g, gamma=%g: left out", alpha, gamma)
                    totals[:, a, g] = -torch.inf
                    dual = torch.zeros_like(y_train)
                solutions.append(dual)
            duals.append((gamma, torch.cat(solutions, dim=1)))
        del distances, kernel
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
    chunk: int = 2048,
) -> dict[str, Tensor]:
    """Predictions for ``x_test`` by RBF kernel ridge without intercept, hyperparameters from ``grid_search``.

    ``f(x) = sum_i w_i exp(-gamma ||x - x_i||^2)`` with ``w = (K + alpha I)^-1 y``, refitted on all of
    ``x_fit``. Targets with the same choice share the factorisation. ``x: (N, D)`` float64, targets name ->
    ``(N, k)``. Memory: two matrices of float64 with ``N^2`` entries. Raises ``ValueError`` where the refit
    has no Cholesky.
    """
    choices = grid_search(x_fit, targets, alphas, gammas, folds, chunk)
    groups: dict[tuple[float, float], list[str]] = {}
    for name, choice in choices.items():
        log.debug("kernel ridge: %s: %s", name, choice)
        groups.setdefault((choice.alpha, choice.gamma), []).append(name)
    predictions: dict[str, Tensor] = {}
    for (alpha, gamma), names in groups.items():
        y = torch.cat([targets[name].double() for name in names], dim=1)
        dual = _solve(_exp_(squared_distances(x_fit, x_fit).mul_(-gamma)), alpha, y)
        if dual is None:
            raise ValueError(
                f"alpha={alpha!r}: must be larger, K + alpha I is not positive definite at the refit"
            )
        (prediction,) = _predict(x_test, x_fit, [(gamma, dual)], chunk)
        widths = [targets[name].shape[1] for name in names]
        predictions.update(zip(names, prediction.split(widths, dim=1), strict=True))
    return predictions


@dataclass(frozen=True)
class KernelRidge(Predictor):
    """R^2 of continuous factors by RBF kernel ridge from standardised encodings (metric ``r2``).

    The hyperparameters are chosen for each factor by ``folds``-fold cross-validation on the fit split;
    results equal those of scikit-learn's ``GridSearchCV(KernelRidge(kernel="rbf"))`` on ``StandardScaler``
    outputs. There is no intercept, as there: a factor far from zero mean is shrunk towards 0, not towards
    its mean.

    ``n_fit``: >= 2 folds. ``n_test``: >= 2. ``alphas``, ``gammas``: > 0, not empty. ``folds``: >= 2.
    ``chunk``: rows predicted at a time (memory only). Cost: ``len(alphas) * len(gammas) * folds`` Cholesky
    factorisations of ``(1 - 1/folds) n_fit`` points for each representation, and as many again for the
    ceiling; independent of the number of factors. At 20,480 samples and three folds up to 6.7 GB of memory
    (two ``n_fit^2`` float64 matrices at the refit).

    Raises ``ValueError`` naming a bad field. Source: Daunhawer et al. (2023), 5.1; grid, folds and sample
    sizes from their release. Departure: float64 throughout, where the release's encodings stay float32.
    """

    alphas: list[float] = field(default_factory=lambda: [1.0, 0.1, 0.01, 0.001])
    gammas: list[float] = field(default_factory=lambda: [0.01, 0.21544346900318834, 4.641588833612778, 100.0])
    folds: int = 3
    chunk: int = 2048

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("alphas", "gammas"):
            values = list(getattr(self, name))
            finite = all(0 < value < float("inf") for value in values)
            require(bool(values) and finite, name, values, "a non-empty list of finite numbers > 0")
        require(self.folds >= 2, "folds", self.folds, ">= 2")
        require(self.n_fit >= 2 * self.folds, "n_fit", self.n_fit, f">= 2 * folds = {2 * self.folds}")
        require(self.chunk >= 1, "chunk", self.chunk, ">= 1")

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: str | None = None,
        objective: Objective | None = None,
    ) -> list[Row]:
        """One row per representation and continuous factor; ``objective`` is not used."""
        if len(fit) < 2 * self.folds:
            raise ValueError(f"{len(fit)} fit samples: must be >= 2 * folds = {2 * self.folds}")
        predict = partial(
            predict_kernel_ridge,
            alphas=list(self.alphas),
            gammas=list(self.gammas),
            folds=self.folds,
            chunk=self.chunk,
        )
        return predictor_rows(fit, test, fit.continuous(), reference, "r2", predict, _mean, r2_score)
