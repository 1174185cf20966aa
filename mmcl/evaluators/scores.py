"""Scores of predictions."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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


def mean_squared_error(y: Tensor, prediction: Tensor) -> float:
    """The mean of ``(y - prediction)^2`` over all elements of ``(N, k)``, float64, in the square of the factor's units.

    >>> mean_squared_error(torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 1.0]]))
    0.5
    """
    return float((y.double() - prediction.double()).square().mean())


def balanced_accuracy(y: Tensor, prediction: Tensor) -> float:
    """The mean of the classes' recalls, over the classes that ``y`` has; ``y``, ``prediction``: ``(N,)`` labels.

    scikit-learn's ``balanced_accuracy_score``. Any constant has 1 / classes, or 0 if it is a class that ``y`` lacks.

    >>> balanced_accuracy(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1]))
    0.8333333333333333
    """
    right = y == prediction
    _, y, counts = torch.unique(y, return_inverse=True, return_counts=True)
    hits = torch.bincount(y, weights=right.double(), minlength=len(counts))
    return float((hits / counts).mean())


def f1_scores(y: Tensor, prediction: Tensor) -> tuple[float, float]:
    """Macro and weighted F1 of several labels that are 1 or 0, ``(N, C)``: in [0, 1].

    Of each label 2 TP / (2 TP + FP + FN), 0 where that is 0 / 0; their mean, and by the number of samples that have
    the label, 0 where none has any. scikit-learn's ``f1_score`` of multilabel indicators, ``zero_division=0``.

    >>> f1_scores(torch.tensor([[1, 1], [1, 0], [1, 0]]), torch.tensor([[1, 0], [1, 0], [1, 0]]))
    (0.5, 0.75)
    """
    y, prediction = y.bool(), prediction.bool()
    support = y.sum(dim=0).double()
    found = support + prediction.sum(dim=0)
    each = 2 * (y & prediction).sum(dim=0) / found.clamp(min=1)
    weighted = (support * each).sum() / support.sum().clamp(min=1)
    return float(each.mean()), float(weighted)


def auroc(y: Tensor, scores: Tensor) -> float:
    """The area under the ROC curve, of several classes the mean over one-against-the-rest, ``(N,)`` and ``(N, K)``.

    ``y``: places of the classes, from 0 to K - 1; ``scores[:, c]`` grows with the belief in class c. Of each class the
    probability that one of its samples has a larger score than one of the others, a tie counting half; classes that
    ``y`` lacks do not count, and where it has a single one there is no pair to order: 0.5. Range [0, 1], of a constant
    0.5. As scikit-learn's ``roc_auc_score(..., multi_class="ovr")``.

    >>> auroc(torch.tensor([0, 0, 1, 1]), torch.tensor([[4.0, 1.0], [3.0, 2.0], [2.0, 3.0], [3.0, 2.0]]))
    0.875
    """
    areas = []
    for c in torch.unique(y).tolist():
        own = y == c
        n, others = int(own.sum()), int((~own).sum())
        if not others:
            return 0.5
        # Ranks from 1, those of equal scores their mean (Mann and Whitney's U).
        _, place, counts = torch.unique(scores[:, c], return_inverse=True, return_counts=True)
        ranks = counts.cumsum(0).double() - (counts.double() - 1) / 2
        areas.append((float(ranks[place[own]].sum()) - n * (n + 1) / 2) / (n * others))
    return sum(areas) / len(areas)


def information_bits(y: Tensor, log_probabilities: Tensor) -> float:
    """``H(Y) - cross-entropy``, in bits: the entropy of the labels ``y: (N,)`` themselves, less what is left of it.

    ``log_probabilities``: ``(N, K)``, natural, finite at the labels. With samples that the probabilities were not
    fitted on it is in expectation at most I(Z; Y), whatever the probabilities are: the cross-entropy of any q(y | z) is
    at least H(Y | Z), and the entropy of a sample is at most H(Y) on average. It can be negative.

    >>> round(information_bits(torch.tensor([0, 1]), torch.tensor([[0.75, 0.25], [0.25, 0.75]]).log()), 4)
    0.585
    """
    counts = torch.bincount(y).double()
    entropy = torch.special.entr(counts / len(y)).sum()
    lost = -log_probabilities.double().gather(1, y[:, None]).mean()
    return float(entropy - lost) / math.log(2)
