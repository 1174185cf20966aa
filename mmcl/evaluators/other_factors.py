"""What the true factors of one modality tell of the factors of another."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmcl.checks import require
from mmcl.evaluators.base import Objective, Predictor, Representations, Row
from mmcl.evaluators.classifiers import accuracy, majority
from mmcl.evaluators.scores import r2_score

LEAVES = (2, 8, 32, 128)
"""Samples that a leaf must have: the choices."""

FOLDS = 5
"""In which categories are replaced by their targets' means."""


def _inputs(samples: Representations, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """``(N, k)`` float64, one column for each component, and ``(k,)``: which columns are classes."""
    columns = [column for name in names for column in samples.factors[name].cpu().unbind(dim=1)]
    classes = np.array([not y.is_floating_point() for y in columns], dtype=bool)
    return torch.stack([y.double() for y in columns], dim=1).numpy(), classes


@dataclass(frozen=True)
class OtherFactors(Predictor):
    """How well each modality's factors are predicted from the true factors of another: what an encoding could share.

    For each modality (the part of a factor's name behind the dot) the inputs are the factors of no modality, which all
    share, and its own; targets are those of the other modalities. Representation ``factors.MODALITY``, metrics ``r2``
    (continuous) and ``accuracy`` (discrete), averaged over components. An encoding of a modality that scores above this
    for another one's factor would know what its views do not hold.

    Predictor: scikit-learn's random forest of ``trees`` >= 1 (one for each component), as factors are of both kinds;
    the least number of samples in a leaf is chosen of :data:`LEAVES` by the samples that each tree has not seen, so
    that a factor of which nothing is told scores as the constant does, but for some hundredths. For a continuous
    target a class is replaced by the mean of its targets in other folds; for a class it is taken as a number. It is an
    estimate from ``n_fit`` samples, as a rule a little below what there is to know. ``n_fit``, ``n_test``: >= 2. Raises
    ``ValueError`` naming a bad field. Not in the papers.
    """

    trees: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.trees >= 1, "trees", self.trees, ">= 1")

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: tuple[str, ...] = (),
        objective: Objective | None = None,
    ) -> list[Row]:
        """A row for each modality and each factor of another; ``reference`` and ``objective`` are not used."""
        owner = {name: name.partition(".")[2] for name in fit.factors}
        rows = []
        for modality in dict.fromkeys(o for o in owner.values() if o):
            inputs = [name for name, o in owner.items() if o in ("", modality)]
            (x_fit, classes), (x_test, _) = (_inputs(side, inputs) for side in (fit, test))
            for name, o in owner.items():
                if o in ("", modality):
                    continue
                y, y_test = fit.factors[name].cpu(), test.factors[name].cpu()
                predicted = torch.stack(
                    [self._predict(x_fit, column, x_test, classes) for column in y.unbind(dim=1)], dim=1
                )
                if y.is_floating_point():
                    metric, score, constant = "r2", r2_score, y.double().mean(dim=0, keepdim=True)
                else:
                    metric, score, constant = "accuracy", accuracy, majority(y)
                rows.append(
                    Row(
                        split="test",
                        representation=f"factors.{modality}",
                        target=name,
                        metric=metric,
                        value=score(y_test, predicted),
                        chance=score(y_test, constant.expand_as(y_test)),
                        ceiling=None,
                        n_fit=len(fit),
                        n_test=len(test),
                    )
                )
        return rows

    def _predict(self, x_fit: np.ndarray, y: Tensor, x_test: np.ndarray, classes: np.ndarray) -> Tensor:
        if bool((y == y[0]).all()):
            return y[0].expand(len(x_test))
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        target = y.numpy()
        if y.is_floating_point():
            x_fit, x_test = _means_for_classes(x_fit, target, x_test, classes)
        best, predicted = -math.inf, y[:1].expand(len(x_test))
        for leaf in LEAVES:
            about = {"min_samples_leaf": leaf, "oob_score": True, "random_state": 0}
            if y.is_floating_point():
                forest = RandomForestRegressor(self.trees, **about)
            else:
                forest = RandomForestClassifier(self.trees, **about)
            with warnings.catch_warnings():
                # Of few trees, one sample or another is in all.
                warnings.filterwarnings("ignore", message="Some inputs do not have OOB scores")
                forest.fit(x_fit, target)
            # One at a time: of many classes a forest takes much memory.
            if forest.oob_score_ > best:
                best, predicted = forest.oob_score_, torch.as_tensor(forest.predict(x_test)).to(y)
        return predicted


def _means_for_classes(
    x_fit: np.ndarray, y: np.ndarray, x_test: np.ndarray, classes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both, with each class replaced by the mean of its targets: a sample's own target is not among them."""
    from sklearn.model_selection import KFold
    from sklearn.preprocessing import TargetEncoder

    if not classes.any():
        return x_fit, x_test

    def encoded(x: np.ndarray, rows: slice | np.ndarray) -> np.ndarray:
        encoder = TargetEncoder(target_type="continuous").fit(x_fit[rows][:, classes], y[rows])
        found = x.copy()
        found[:, classes] = encoder.transform(x[:, classes])
        return found

    crossed = np.empty_like(x_fit)
    for others, fold in KFold(min(FOLDS, len(y))).split(x_fit):
        crossed[fold] = encoded(x_fit[fold], others)
    return crossed, encoded(x_test, slice(None))
