"""Predicting discrete factors: logistic regression and one-hidden-layer classifiers, by scikit-learn."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmcl.checks import require
from mmcl.evaluators.base import Objective, Predictor, Representations, Row, predictor_rows

log = logging.getLogger(__name__)


def accuracy(y: Tensor, prediction: Tensor) -> float:
    """Share of components predicted exactly, ``(N, k)`` labels: the mean over components of their accuracies.

    >>> accuracy(torch.tensor([[0, 1], [1, 1]]), torch.tensor([[0, 0], [1, 1]]))
    0.75
    """
    return float((y == prediction).double().mean())


def majority(y: Tensor) -> Tensor:
    """The most frequent label of each component, ``(1, k)``; of equally frequent ones the smallest."""
    labels = []
    for column in y.unbind(dim=1):
        classes, counts = torch.unique(column, return_counts=True)
        labels.append(classes[counts.argmax()])
    return torch.stack(labels)[None]


def _predict(
    make: Callable[[], Any], max_iter: int, x_fit: Tensor, x_test: Tensor, targets: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Labels of every target by one classifier per component, fitted with scikit-learn on the CPU."""
    from sklearn.exceptions import ConvergenceWarning

    inputs, inputs_test = x_fit.cpu().numpy(), x_test.cpu().numpy()
    predictions = {}
    for name, y in targets.items():
        columns = []
        for component, labels in enumerate(y.unbind(dim=1)):
            if bool((labels == labels[0]).all()):
                # scikit-learn refuses a single class; its best prediction is that class.
                columns.append(labels[0].expand(len(x_test)))
                continue
            classifier = make()
            with warnings.catch_warnings():
                # Running into max_iter is part of the protocol (the classifier is scored as it stands), and
                # must not stop an evaluation where warnings are errors; it is logged below instead.
                warnings.simplefilter("ignore", ConvergenceWarning)
                classifier.fit(inputs, labels.cpu().numpy())
            if int(max(torch.as_tensor(classifier.n_iter_).flatten())) >= max_iter:
                log.warning(
                    "%s of %s[%d] stopped at max_iter=%d",
                    type(classifier).__name__,
                    name,
                    component,
                    max_iter,
                )
            columns.append(torch.as_tensor(classifier.predict(inputs_test)).to(y))
        predictions[name] = torch.stack(columns, dim=1)
    return predictions


@dataclass(frozen=True)
class LogisticRegression(Predictor):
    """Accuracy of discrete factors by multinomial logistic regression from standardised encodings.

    One classifier per component, scikit-learn's defaults (L2 penalty, C = 1, lbfgs), at most ``max_iter`` >=
    1 iterations; accuracies averaged over components (metric ``accuracy``). ``n_fit``, ``n_test``: >= 2. A
    class absent from the fit split counts as mistaken. Raises ``ValueError`` naming a bad field. Source: the
    release of Daunhawer et al. (2023).
    """

    max_iter: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.max_iter >= 1, "max_iter", self.max_iter, ">= 1")

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: str | None = None,
        objective: Objective | None = None,
    ) -> list[Row]:
        """One row per representation and discrete factor (none: no row, no cost); no use of ``objective``."""

        def make() -> Any:
            from sklearn import linear_model

            return linear_model.LogisticRegression(max_iter=self.max_iter)

        def predict(x_fit: Tensor, x_test: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
            return _predict(make, self.max_iter, x_fit, x_test, targets)

        return predictor_rows(fit, test, fit.discrete(), reference, "accuracy", predict, majority, accuracy)


@dataclass(frozen=True)
class MLPClassifier(Predictor):
    """Accuracy of discrete factors by a classifier with one hidden layer from standardised encodings.

    One classifier per component, scikit-learn's defaults (ReLU, Adam 1e-3, batch 200) with ``hidden_size``
    >= 1 units and at most ``max_iter`` >= 1 epochs; accuracies averaged over components (metric
    ``accuracy``). ``probe_seed`` in ``[0, 2^32)`` draws the initial weights and the order of the samples, so
    that a score is a function of the encodings alone. ``n_fit``, ``n_test``: >= 2. Raises ``ValueError``
    naming a bad field. Source: Daunhawer et al. (2023), 5.2 ("an MLP with a single hidden layer"); size and
    epochs from the release.
    """

    hidden_size: int = 100
    max_iter: int = 1000
    probe_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.hidden_size >= 1, "hidden_size", self.hidden_size, ">= 1")
        require(self.max_iter >= 1, "max_iter", self.max_iter, ">= 1")
        require(0 <= self.probe_seed < 2**32, "probe_seed", self.probe_seed, "in [0, 2^32)")

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: str | None = None,
        objective: Objective | None = None,
    ) -> list[Row]:
        """One row per representation and discrete factor (none: no row, no cost); no use of ``objective``."""

        def make() -> Any:
            from sklearn import neural_network

            return neural_network.MLPClassifier(
                hidden_layer_sizes=(self.hidden_size,),
                max_iter=self.max_iter,
                random_state=self.probe_seed,
                # scikit-learn's own default, which it clips with a warning when there are fewer samples.
                batch_size=min(200, len(fit)),
            )

        def predict(x_fit: Tensor, x_test: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
            return _predict(make, self.max_iter, x_fit, x_test, targets)

        return predictor_rows(fit, test, fit.discrete(), reference, "accuracy", predict, majority, accuracy)
