"""Predicting continuous factors: ordinary least squares, and kernel ridge regression with a grid search."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from mmcl.checks import require
from mmcl.evaluators.base import Objective, Predictor, Representations, Row, predictor_rows
from mmcl.evaluators.kernel import predict_kernel_ridge
from mmcl.evaluators.scores import r2_score

# Directions whose singular value is below this share of the largest are left out: scikit-learn's default, and
# what separates a dimension from the rounding noise of float32 encodings that were made dependent.
RANK_TOLERANCE = 1e-6


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


@dataclass(frozen=True)
class KernelRidge(Predictor):
    """R^2 of continuous factors by RBF kernel ridge from standardised encodings (metric ``r2``).

    The hyperparameters are chosen for each factor by ``folds``-fold cross-validation, on the fit split or, with
    ``n_select``, on its first samples; the predictor is then fitted on all of it. Without ``n_select`` results equal
    those of scikit-learn's ``GridSearchCV(KernelRidge(kernel="rbf"))`` on ``StandardScaler`` outputs. There is no
    intercept, as there: a factor far from zero mean is shrunk towards 0, not towards its mean.

    ``n_fit``, ``n_select`` (``None``: all): >= 2 folds. ``n_test``: >= 2. ``alphas``, ``gammas``: > 0, not empty.
    ``folds``: >= 2. ``chunk``: rows of a kernel made at a time (memory only).

    Cost: ``len(alphas) * len(gammas) * folds`` Cholesky factorisations of ``(1 - 1/folds) n_select`` points for each
    representation and for the ceiling, and one of ``n_fit`` points for each setting that a factor has chosen. A
    factorisation is of float32 and its solution refined to float64 (see :mod:`mmcl.evaluators.kernel`). Memory: a
    float32 matrix of ``n_fit^2`` entries, 1.7 GB at 20,480 samples, or that of a fold with its float64 kernel, and some
    strips of ``chunk`` rows; a float64 matrix where float32 does not do.

    Raises ``ValueError`` naming a bad field. Source: Daunhawer et al. (2023), 5.1; grid, folds and sample sizes from
    their release. Departure: float64, where the release's encodings stay float32.
    """

    alphas: list[float] = field(default_factory=lambda: [1.0, 0.1, 0.01, 0.001])
    gammas: list[float] = field(default_factory=lambda: [0.01, 0.21544346900318834, 4.641588833612778, 100.0])
    folds: int = 3
    n_select: int | None = None
    chunk: int = 2048

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("alphas", "gammas"):
            values = list(getattr(self, name))
            finite = all(0 < value < float("inf") for value in values)
            require(bool(values) and finite, name, values, "a non-empty list of finite numbers > 0")
        require(self.folds >= 2, "folds", self.folds, ">= 2")
        for name in ("n_fit", "n_select"):
            value = getattr(self, name)
            require(value is None or value >= 2 * self.folds, name, value, f">= 2 * folds = {2 * self.folds}")
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
            n_select=self.n_select,
            chunk=self.chunk,
        )
        return predictor_rows(fit, test, fit.continuous(), reference, "r2", predict, _mean, r2_score)
