"""Predicting a class by the encodings that another modality has of it, after these have learned from some samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor
from torch.nn import functional

from mmcl.checks import require, require_choice
from mmcl.evaluators.base import (
    Objective,
    Representations,
    Row,
    WithoutInterventions,
    check_spec,
    check_temperature,
    temperature_of,
)
from mmcl.evaluators.probes import hold_out
from mmcl.evaluators.retrieval import SIMILARITIES, check_comparable
from mmcl.evaluators.scores import balanced_accuracy
from mmcl.evaluators.zero_shot import check_known_classes, prototypes

PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Of the squared change of the logits; what is chosen between, beside not to learn at all."""


@dataclass(frozen=True)
class Labels:
    """``logits = z W + b``: what stands for the classes. ``weight``: ``(D, C)``; ``bias``: ``(C,)``."""

    weight: Tensor
    bias: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        return z @ self.weight + self.bias


def label_encodings(centres: Tensor, similarity: str, temperature: float) -> Labels:
    """The similarity to each class's encoding over the temperature, as a linear map: ``(C, D)``.

    Up to what is equal for all classes; of unit rows for the cosine. The bias is that of the squared distance, else 0.
    """
    if similarity == "cosine":
        centres = functional.normalize(centres, dim=1)
    bias = centres.new_zeros(len(centres))
    if similarity == "negative_squared_euclidean":
        centres, bias = 2 * centres, -centres.square().sum(dim=1)
    return Labels(centres.T / temperature, bias / temperature)


def fine_tune(z: Tensor, target: Tensor, start: Labels, penalty: float) -> Labels:
    """The minimiser of the cross-entropy of ``start``'s classes from ``start`` on, by L-BFGS in float64.

    ``z``: ``(N, D)``; ``target``: ``(N,)``, places of the classes. With p the classes' shares of the samples::

        - mean_i log softmax(z_i W + b + log p)[target_i] + penalty / 2 (m |W - W_0|^2 + |b - b_0|^2)

    and m the mean of |z_i|^2, so that the penalty is of logits, whatever the size of encodings. It is convex.
    """
    counts = target.bincount(minlength=len(start.bias)).to(z.dtype)
    prior = (counts / counts.sum()).clamp(min=torch.finfo(z.dtype).tiny).log()
    size = z.square().sum(dim=1).mean().clamp(min=torch.finfo(z.dtype).tiny)
    # In units in which the penalty is that of both alike: L-BFGS knows no others.
    scaled = z / size.sqrt()
    change = [z.new_zeros(x.shape).requires_grad_() for x in (start.weight, start.bias)]
    base = start(z) + prior
    solver = torch.optim.LBFGS(
        change, max_iter=500, tolerance_grad=1e-7, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        solver.zero_grad()
        loss = functional.cross_entropy(base + scaled @ change[0] + change[1], target)
        loss = loss + penalty / 2 * (change[0].square().sum() + change[1].square().sum())
        loss.backward()
        return loss

    with torch.enable_grad():
        solver.step(closure)
    weight, bias = (x.detach() for x in change)
    return Labels(start.weight + weight / size.sqrt(), start.bias + bias)


@dataclass(frozen=True)
class FineTuned(WithoutInterventions):
    """Crossmodal classification after fine-tuning: a matrix of label encodings and their prior logits learn.

    They begin as the zero-shot classifier (:class:`~mmcl.evaluators.ZeroShot`): a class's encoding is the mean over the
    FIT split's samples of the class in the other modality, and the prior logits are 0. The encoder stays as it is;
    the label given the sample is fitted on the FIT split (:func:`fine_tune`), and the class of the largest logit is
    predicted, without the fit split's frequencies. Rows as zero-shot's: ``query>other``, ``balanced_accuracy`` on the
    TEST split; chance 1 / classes.

    Args:
        n_fit: samples that fit, >= 2; ``None``: all.
        n_test: samples that are classified, >= 2; ``None``: all.
        similarity: ``negative_squared_euclidean``, ``cosine`` (of unit rows) or ``inner_product``.
        temperature: tau > 0, which logits are divided by; ``None``: what the trained loss has, learned or not.
        held_out: share of the fit split, of each class, that chooses the penalty, or not to learn, in (0, 1).
        seed: of that choice.

    Raises ``ValueError`` naming a bad field. Source: Baptista et al. (2025), Equations (33) to (35). Departures: (35)
    is taken as the argmax, with the temperature of (33). They minimise without a penalty, which of few samples, or of
    classes that can be told apart, has no minimum; ours is of the distance from where it begins.
    """

    n_fit: int | None = 20480
    n_test: int | None = 2000
    similarity: str = "cosine"
    temperature: float | None = None
    held_out: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        check_spec(self.n_fit, self.n_test, self.interventions)
        require_choice("similarity", self.similarity, SIMILARITIES)
        check_temperature(self.temperature)
        require(0 < self.held_out < 1, "held_out", self.held_out, "in (0, 1)")

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: tuple[str, ...] = (),
        objective: Objective | None = None,
    ) -> list[Row]:
        """Rows of every ordered pair of single modalities; ``reference`` is not used, of ``objective`` the temperature.

        Raises ``ValueError`` for encodings of different sizes, and for a class of test samples that no fit sample has.
        """
        single = [name for name in test.z if "+" not in name]
        tau = temperature_of(self.temperature, objective)
        return [
            row
            for query, other in permutations(single, 2)
            for row in self._rows(fit, test, query, other, tau)
        ]

    def _rows(
        self, fit: Representations, test: Representations, query: str, other: str, temperature: float
    ) -> Iterator[Row]:
        check_comparable(query, fit.z[query], other, fit.z[other])
        z, z_test = (self._prepared(split.z[query]) for split in (fit, test))
        for name, factor in fit.discrete().items():
            check_known_classes(name, fit, test)
            values, chances = [], []
            for labels, true in zip(factor.unbind(1), test.factors[name].unbind(1), strict=True):
                labels = labels.to(z.device)
                classes, centres = prototypes(fit.z[other], labels)
                start = label_encodings(centres, self.similarity, temperature)
                learned = self._chosen(z, torch.searchsorted(classes, labels), start)
                found = classes[learned(z_test).argmax(dim=1)]
                values.append(balanced_accuracy(true.to(found.device), found))
                chances.append(1 / len(classes))
            value, chance = (sum(x) / len(x) for x in (values, chances))
            yield Row(
                "test",
                f"{query}>{other}",
                name,
                "balanced_accuracy",
                value,
                chance,
                None,
                len(fit),
                len(test),
            )

    def _prepared(self, z: Tensor) -> Tensor:
        z = z.double()
        return functional.normalize(z, dim=1) if self.similarity == "cosine" else z

    def _chosen(self, z: Tensor, target: Tensor, start: Labels) -> Labels:
        held = hold_out(target, self.held_out, self.seed)
        if not bool(held.any()):
            raise ValueError(
                f"held_out={self.held_out}: is less than one sample of every class of the {len(target)} that fit; "
                "raise held_out or n_fit"
            )

        def score(labels: Labels) -> float:
            return float(functional.cross_entropy(labels(z[held]), target[held]))

        tried = {penalty: score(fine_tune(z[~held], target[~held], start, penalty)) for penalty in PENALTIES}
        best = min(tried, key=tried.__getitem__)
        return fine_tune(z, target, start, best) if tried[best] < score(start) else start
