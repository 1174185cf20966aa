"""Predicting continuous factors: ordinary least squares, and kernel ridge regression with a grid search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from mmcl.checks import require, require_choice
from mmcl.evaluators.base import Objective, Predictor, Representations, Row, predictor_rows
from mmcl.evaluators.kernel_ridge import Grid, predict_kernel_ridge
from mmcl.evaluators.scores import mean_squared_error, r2_score

# Directions whose singular value is below this share of the largest are left out: scikit-learn's default, and
# what separates a dimension from the rounding noise of float32 encodings that were made dependent.
RANK_TOLERANCE = 1e-6

SCORES = {"r2": r2_score, "mean_squared_error": mean_squared_error}


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

    ``n_fit``, ``n_test``: fresh samples that fit and that score, each >= 2 (defaults: the release's). ``metric``: also
    ``mean_squared_error``, where less is better and which is in the factor's own units. The score does not change under
    invertible affine maps of an encoding. Raises ``ValueError`` naming a bad field. Source: the release of Daunhawer et
    al. (2023); the paper reports the kernel ridge only.
    """

    metric: str = "r2"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("metric", self.metric, SCORES)

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: tuple[str, ...] = (),
        objective: Objective | None = None,
    ) -> list[Row]:
        """One row per representation and continuous factor; ``objective`` is not used."""
        return predictor_rows(
            fit,
            test,
            fit.continuous(),
            reference,
            self.metric,
            predict_least_squares,
            _mean,
            SCORES[self.metric],
        )


@dataclass(frozen=True)
class KernelRidge(Predictor):
    """R^2 of continuous factors by RBF kernel ridge from standardised encodings (metric ``r2``).

    The hyperparameters are chosen for each factor by ``folds``-fold cross-validation, and the predictor is fitted on
    all of the fit split. With ``screen_fraction`` = 1 results equal those of scikit-learn's
    ``GridSearchCV(KernelRidge(kernel="rbf"))`` on ``StandardScaler`` outputs up to 1e-4. Below 1, that first share of
    the samples (512 at least) rules out settings that are far behind a factor's best there and do not catch up fast
    (:func:`~mmcl.evaluators.kernel_ridge.promising`); the others are compared on all samples. There is no intercept,
    as in scikit-learn: a factor far from zero mean is shrunk towards 0, not towards its mean.

    ``n_fit``: >= 2 folds. ``n_test``: >= 2. ``alphas``, ``gammas``: > 0, not empty. ``folds``: >= 2.
    ``screen_fraction``: in (0, 1]. ``chunk``: rows of a kernel made at a time (memory only).

    Cost: for each representation and for the ceiling, ``len(gammas) * folds`` systems of ``(1 - 1/folds) n_fit`` points
    and one of ``n_fit`` points for each gamma that a factor has chosen, each for all alphas and factors at once by
    conjugate gradients in float64; a narrow kernel takes a Cholesky factor of float32 for each alpha (see
    :mod:`mmcl.evaluators.kernel_systems`). Memory: ``4 n_fit^2`` bytes, 1.7 GB at 20,480 samples, twice that where a
    factor is needed, and some strips of ``chunk`` rows; a float64 matrix more where float32 does not do.

    Raises ``ValueError`` naming a bad field. Source: Daunhawer et al. (2023), 5.1; grid, folds and sample sizes from
    their release. Departures: float64, where the release's encodings stay float32; the screening.
    """

    alphas: list[float] = field(default_factory=lambda: [1.0, 0.1, 0.01, 0.001])
    gammas: list[float] = field(default_factory=lambda: [0.01, 0.21544346900318834, 4.641588833612778, 100.0])
    folds: int = 3
    screen_fraction: float = 0.2
    chunk: int = 2048

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("alphas", "gammas"):
            values = list(getattr(self, name))
            finite = all(0 < value < float("inf") for value in values)
            require(bool(values) and finite, name, values, "a non-empty list of finite numbers > 0")
        require(self.folds >= 2, "folds", self.folds, ">= 2")
        least = 2 * self.folds
        require(self.n_fit is None or self.n_fit >= least, "n_fit", self.n_fit, f">= 2 * folds = {least}")
        require(0 < self.screen_fraction <= 1, "screen_fraction", self.screen_fraction, "in (0, 1]")
        require(self.chunk >= 1, "chunk", self.chunk, ">= 1")

    @property
    def grid(self) -> Grid:
        """What is searched, and how."""
        return Grid(
            alphas=list(self.alphas),
            gammas=list(self.gammas),
            folds=self.folds,
            screen_fraction=self.screen_fraction,
            chunk=self.chunk,
        )

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: tuple[str, ...] = (),
        objective: Objective | None = None,
    ) -> list[Row]:
        """One row per representation and continuous factor; ``objective`` is not used."""
        return self.predict(fit, test, fit.continuous(), reference)

    def predict(
        self,
        fit: Representations,
        test: Representations,
        targets: Mapping[str, Tensor],
        reference: tuple[str, ...],
    ) -> list[Row]:
        """One row per representation and target: ``targets`` of the fit split, of the same name in ``test.factors``."""
        if len(fit) < 2 * self.folds:
            raise ValueError(f"{len(fit)} fit samples: must be >= 2 * folds = {2 * self.folds}")
        predict = partial(predict_kernel_ridge, grid=self.grid)
        return predictor_rows(fit, test, targets, reference, "r2", predict, _mean, r2_score)


@dataclass(frozen=True)
class KernelRidgeOfDirection(KernelRidge):
    """:class:`KernelRidge` from encodings divided by their length: what an objective with cosine similarity sees.

    That objective does not know the length of an encoding, which may tell of the sample all the same. D dimensions are
    D - 1 then.
    """

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: tuple[str, ...] = (),
        objective: Objective | None = None,
    ) -> list[Row]:
        """One row per representation and continuous factor; ``objective`` is not used."""
        fit, test = (
            Representations(
                {name: functional.normalize(z, dim=1) for name, z in split.z.items()}, split.factors
            )
            for split in (fit, test)
        )
        return super().evaluate(fit, test, reference, objective)
