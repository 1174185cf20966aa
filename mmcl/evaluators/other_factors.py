"""What the true factors of one modality tell of the factors of another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmcl.checks import require
from mmcl.evaluators.base import Objective, Predictor, Representations, Row
from mmcl.evaluators.classifiers import accuracy, majority
from mmcl.evaluators.scores import r2_score

MAX_CATEGORIES = 255
"""More classes than that are taken as numbers, since a histogram has no more bins."""


def _inputs(samples: Representations, names: list[str]) -> tuple[np.ndarray, list[bool]]:
    """``(N, k)`` float64, one column for each component, and which columns are categories."""
    columns = [column for name in names for column in samples.factors[name].cpu().unbind(dim=1)]
    categories = [not y.is_floating_point() and len(y.unique()) <= MAX_CATEGORIES for y in columns]
    return torch.stack([y.double() for y in columns], dim=1).numpy(), categories


@dataclass(frozen=True)
class OtherFactors(Predictor):
    """How well each modality's factors are predicted from the true factors of another: what an encoding could share.

    For each modality (the part of a factor's name behind the dot) the inputs are the factors of no modality, which all
    share, and its own; targets are those of the other modalities. Representation ``factors.MODALITY``, metrics ``r2``
    (continuous) and ``accuracy`` (discrete), averaged over components. An encoding of a modality that scores above this
    for another one's factor would know what its views do not hold.

    Predictor: scikit-learn's gradient boosting on histograms (one model for each component, ``max_iter`` >= 1 trees,
    classes as categories), as factors are of both kinds. ``n_fit``, ``n_test``: >= 2. Raises ``ValueError`` naming a
    bad field. Not in the papers.
    """

    max_iter: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.max_iter >= 1, "max_iter", self.max_iter, ">= 1")

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

    def _predict(self, x_fit: np.ndarray, y: Tensor, x_test: np.ndarray, classes: list[bool]) -> Tensor:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        if bool((y == y[0]).all()):  # scikit-learn refuses a single class
            return y[0].expand(len(x_test))
        of = HistGradientBoostingRegressor if y.is_floating_point() else HistGradientBoostingClassifier
        model = of(max_iter=self.max_iter, categorical_features=classes, early_stopping=False)
        return torch.as_tensor(model.fit(x_fit, y.numpy()).predict(x_test)).to(y)
