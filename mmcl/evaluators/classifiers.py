"""Predicting discrete factors: logistic regression by scikit-learn, and classifiers with one hidden layer."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from mmcl.checks import require
from mmcl.evaluators.base import Objective, Predictor, Representations, Row, predictor_rows
from mmcl.evaluators.networks import predict_labels

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
        reference: tuple[str, ...] = (),
        objective: Objective | None = None,
    ) -> list[Row]:
        """One row per representation and discrete factor (none: no row, no cost); no use of ``objective``."""

        def predict(x_fit: Tensor, x_test: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
            x_fit, x_test = x_fit.cpu(), x_test.cpu()  # once for all components
            return {
                name: torch.stack(
                    [
                        self._predict(x_fit, x_test, labels, f"{name}[{i}]")
                        for i, labels in enumerate(y.unbind(dim=1))
                    ],
                    dim=1,
                )
                for name, y in targets.items()
            }

        return predictor_rows(fit, test, fit.discrete(), reference, "accuracy", predict, majority, accuracy)

    def _predict(self, x_fit: Tensor, x_test: Tensor, labels: Tensor, name: str) -> Tensor:
        """Labels of one component, fitted with scikit-learn on the CPU."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression as Classifier

        if bool((labels == labels[0]).all()):
            # scikit-learn refuses a single class; its best prediction is that class.
            return labels[0].expand(len(x_test))
        classifier = Classifier(max_iter=self.max_iter)
        with warnings.catch_warnings():
            # Running into max_iter is part of the protocol (the classifier is scored as it stands), and must not stop
            # an evaluation where warnings are errors; it is logged below instead.
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(x_fit.numpy(), labels.cpu().numpy())
        if int(max(torch.as_tensor(classifier.n_iter_).flatten())) >= self.max_iter:
            log.warning("LogisticRegression of %s stopped at max_iter=%d", name, self.max_iter)
        return torch.as_tensor(classifier.predict(x_test.numpy())).to(labels)


@dataclass(frozen=True)
class MLPClassifier(Predictor):
    """Accuracy of discrete factors by a classifier with one hidden layer from standardised encodings.

    One classifier of ``hidden_size`` >= 1 ReLU units per component, all of them trained together for ``epochs`` >= 1
    (see :mod:`mmcl.evaluators.networks`); accuracies averaged over components (metric ``accuracy``). ``probe_seed``
    in ``[0, 2^32)`` draws the initial weights and the order of the samples, so that a score is a function of the
    encodings and the discrete factors alone. ``n_fit``, ``n_test``: >= 2. Raises ``ValueError`` naming a bad field.

    Source: Daunhawer et al. (2023), 5.2 ("an MLP with a single hidden layer"); its size is the release's, which takes
    scikit-learn's ``MLPClassifier``. Departure: batches of 512 and a falling rate instead of batches of 200 until the
    loss stands, for accuracies as its own, within 0.5 % from 1,024 samples on, in a tenth of its time.
    """

    hidden_size: int = 100
    epochs: int = 50
    probe_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.hidden_size >= 1, "hidden_size", self.hidden_size, ">= 1")
        require(self.epochs >= 1, "epochs", self.epochs, ">= 1")
        require(0 <= self.probe_seed < 2**32, "probe_seed", self.probe_seed, "in [0, 2^32)")

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: tuple[str, ...] = (),
        objective: Objective | None = None,
    ) -> list[Row]:
        """One row per representation and discrete factor (none: no row, no cost); no use of ``objective``."""

        def predict(x_fit: Tensor, x_test: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
            components = [column for y in targets.values() for column in y.unbind(dim=1)]
            with torch.enable_grad():
                labels = predict_labels(
                    x_fit, x_test, components, self.hidden_size, self.epochs, self.probe_seed
                )
            widths = [y.shape[1] for y in targets.values()]
            return dict(zip(targets, torch.stack(labels, dim=1).split(widths, dim=1), strict=True))

        return predictor_rows(fit, test, fit.discrete(), reference, "accuracy", predict, majority, accuracy)
