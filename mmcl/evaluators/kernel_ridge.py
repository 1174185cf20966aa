"""Kernel ridge regression with an RBF kernel, its hyperparameters chosen by cross-validation on a grid."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmcl.evaluators.kernel_systems import Kernel, elements, rbf, smallest_alpha
from mmcl.evaluators.scores import r2_score

log = logging.getLogger(__name__)

FEWEST_SCREENED = 512
"""Below so many samples a score tells too little to rule a setting out by."""

NEAR = 2.0
"""Scores on n samples that differ by no more than this over sqrt(n) are as good as equal."""

OPTIMISM = 2.0
"""How many times faster (as a power of the sample size) than seen a setting may catch up before it is ruled out."""

SEARCH_TOLERANCE = 1e-3
"""Residual of the systems of the search, over the target's spread. The scores that settings are compared by are off by
its size times sqrt(1 - R^2) at most; measured on 24 targets, by 4e-5."""


@dataclass(frozen=True)
class Grid:
    """The settings to choose from, and how.

    Args:
        alphas, gammas: > 0.
        folds: of the cross-validation, unshuffled and contiguous.
        screen_fraction: in (0, 1]: the first so many of the samples rule settings out, see :func:`promising`; 1: none.
        chunk: rows of a kernel made at a time.
    """

    alphas: Sequence[float]
    gammas: Sequence[float]
    folds: int = 3
    screen_fraction: float = 1.0
    chunk: int = 2048


@dataclass(frozen=True)
class Choice:
    """Hyperparameters chosen for one target block, and their mean R^2 over the folds."""

    alpha: float
    gamma: float
    cv_score: float


def fold_bounds(n: int, folds: int) -> list[tuple[int, int]]:
    """The contiguous validation folds ``[start, stop)`` of scikit-learn's unshuffled ``KFold``.

    >>> fold_bounds(8, 3)
    [(0, 3), (3, 6), (6, 8)]
    """
    sizes = [n // folds + (i < n % folds) for i in range(folds)]
    stops = [sum(sizes[: i + 1]) for i in range(folds)]
    return [(stop - size, stop) for size, stop in zip(sizes, stops, strict=True)]


def _predict(x: Tensor, x_fit: Tensor, gamma: float, dual: Tensor, chunk: int) -> Tensor:
    """``exp(-gamma d^2(x, x_fit)) @ dual``, ``chunk`` rows of ``x`` at a time."""
    # Memory that is used again costs a third of memory that is new each time.
    kernel = x.new_empty(min(chunk, len(x)), len(x_fit))
    weights = dual.T.contiguous()  # (rows: see mmcl.evaluators.kernel_systems)
    parts = [weights @ rbf(rows, x_fit, gamma, out=kernel[: len(rows)]).T for rows in x.split(chunk)]
    return torch.cat(parts, dim=1).T.contiguous()


def cv_scores(x: Tensor, targets: Sequence[Tensor], grid: Grid, wanted: Tensor) -> Tensor:
    """Mean R^2 over the folds, ``(targets, alphas, gammas)``; -inf for settings not ``wanted`` or without Cholesky."""
    targets = [y.double() for y in targets]
    totals = torch.zeros(wanted.shape, dtype=torch.float64).masked_fill_(~wanted, -torch.inf)
    bounds = fold_bounds(len(x), grid.folds)
    memory = x.new_empty(elements(len(x) - min(stop - start for start, stop in bounds), grid.chunk))
    for start, stop in bounds:
        x_train = torch.cat([x[:start], x[stop:]])
        train = [torch.cat([y[:start], y[stop:]]) for y in targets]
        for g, gamma in enumerate(grid.gammas):
            # (setting, its targets), of what is wanted
            columns = [(a, wanted[:, a, g].nonzero()[:, 0].tolist()) for a in range(len(grid.alphas))]
            columns = [(a, of) for a, of in columns if of]
            if not columns:
                continue
            duals = Kernel(x_train, gamma, grid.chunk, memory).solve(
                [grid.alphas[a] for a, _ in columns],
                [torch.cat([train[t] for t in of], dim=1) for _, of in columns],
                SEARCH_TOLERANCE,
            )
            found = [(a, of, dual) for (a, of), dual in zip(columns, duals, strict=True) if dual is not None]
            for a in {a for a, _ in columns} - {a for a, *_ in found}:
                log.warning(
                    "kernel ridge: no Cholesky for alpha=%g, gamma=%g: left out", grid.alphas[a], gamma
                )
                totals[:, a, g] = -torch.inf
            if not found:
                continue
            prediction = _predict(
                x[start:stop], x_train, gamma, torch.cat([dual for *_, dual in found], dim=1), grid.chunk
            )
            cells = [(t, a) for a, of, _ in found for t in of]
            widths = [targets[t].shape[1] for t, _ in cells]
            for (t, a), y_hat in zip(cells, prediction.split(widths, dim=1), strict=True):
                totals[t, a, g] += r2_score(targets[t][start:stop], y_hat)
    return totals / grid.folds


def promising(half: Tensor, first: Tensor, n: int, growth: float) -> Tensor:
    """Which settings may turn out best on ``growth n`` samples.

    All of them for a target whose best score still grows. Otherwise every alpha of a gamma one of whose alphas is
    near the best on the first n samples, or will be: what a setting lacks shrinks as a power of the sample size, as
    learning curves do; the power is read off two sizes, the one half the other, and taken ``OPTIMISM`` times. (A
    gamma's best alpha changes with the sample size.)

    ``half``, ``first``: scores ``(targets, alphas, gammas)`` on half of the first samples and on all of them.
    """
    near = NEAR / math.sqrt(n)
    best, before = (scores.amax(dim=(1, 2), keepdim=True) for scores in (first, half))
    lacks = best - first
    shrinks = (lacks / (before - half)).nan_to_num(1.0, 1.0, 1.0).clamp(max=1.0)
    later = lacks * shrinks ** (OPTIMISM * math.log2(growth))
    gammas = ((lacks <= near) | (later <= near / 4)).any(dim=1, keepdim=True)
    return torch.isfinite(first) & ((best - before > near) | gammas)


def grid_search(x: Tensor, targets: dict[str, Tensor], grid: Grid) -> dict[str, Choice]:
    """Choose ``(alpha, gamma)`` per target block as ``GridSearchCV(KernelRidge(kernel="rbf"), cv=folds)``.

    ``x: (N, D)`` float64, targets name -> ``(N, k)``. Unshuffled contiguous folds; the score is the mean
    over the folds of the uniformly averaged R^2; ties go to the first in the order of alphas, then of gammas
    (scikit-learn's ``ParameterGrid``).

    Departures: scores are known to about 1e-4. With ``screen_fraction`` < 1, settings that the first samples rule out
    (:func:`promising`) are not looked at again. A setting whose matrix is not positive definite numerically is logged
    and scored -inf, where scikit-learn falls back on least squares. Raises ``ValueError`` when no setting is left.
    """
    blocks = list(targets.values())
    wanted = torch.ones(len(blocks), len(grid.alphas), len(grid.gammas), dtype=torch.bool)
    n = int(grid.screen_fraction * len(x))
    if max(FEWEST_SCREENED, 4 * grid.folds) <= n < len(x):
        half, first = (cv_scores(x[:m], [y[:m] for y in blocks], grid, wanted) for m in (n // 2, n))
        wanted = promising(half, first, n, len(x) / n)
        log.debug(
            "kernel ridge: %d of %d settings left for %d targets", wanted.sum(), wanted.numel(), len(blocks)
        )
    scores = cv_scores(x, blocks, grid, wanted)
    choices = {}
    for name, of_target in zip(targets, scores.flatten(start_dim=1), strict=True):
        best = int(of_target.argmax())
        if not torch.isfinite(of_target[best]):
            raise ValueError(
                f"alphas={list(grid.alphas)!r}: too small, K + alpha I is never positive definite"
            )
        a, g = divmod(best, len(grid.gammas))
        choices[name] = Choice(grid.alphas[a], grid.gammas[g], float(of_target[best]))
    return choices


def predict_kernel_ridge(
    x_fit: Tensor, x_test: Tensor, targets: dict[str, Tensor], grid: Grid
) -> dict[str, Tensor]:
    """Predictions for ``x_test`` by RBF kernel ridge without intercept, hyperparameters from ``grid_search``.

    ``f(x) = sum_i w_i exp(-gamma ||x - x_i||^2)`` with ``w = (K + alpha I)^-1 y``, fitted on all of ``x_fit``.
    Targets with the same gamma share the kernel. ``x: (N, D)`` float64, targets name -> ``(N, k)``. Raises
    ``ValueError`` where the fit has no Cholesky.
    """
    usable = [alpha for alpha in grid.alphas if alpha >= smallest_alpha(len(x_fit))]
    choices = grid_search(x_fit, targets, replace(grid, alphas=usable or grid.alphas))
    groups: dict[float, dict[float, list[str]]] = {}
    for name, choice in choices.items():
        log.debug("kernel ridge: %s: %s", name, choice)
        groups.setdefault(choice.gamma, {}).setdefault(choice.alpha, []).append(name)
    predictions: dict[str, Tensor] = {}
    for gamma, of_alpha in groups.items():
        y = [torch.cat([targets[name].double() for name in names], dim=1) for names in of_alpha.values()]
        duals = []
        for alpha, dual in zip(
            of_alpha, Kernel(x_fit, gamma, grid.chunk).solve(list(of_alpha), y), strict=True
        ):
            if dual is None:
                raise ValueError(
                    f"alpha={alpha!r}: must be larger, K + alpha I is not positive definite "
                    f"for all {len(x_fit)} samples"
                )
            duals.append(dual)
        names = [name for group in of_alpha.values() for name in group]
        widths = [targets[name].shape[1] for name in names]
        prediction = _predict(x_test, x_fit, gamma, torch.cat(duals, dim=1), grid.chunk)
        predictions.update(zip(names, prediction.split(widths, dim=1), strict=True))
    return predictions
