"""Predicting a class by the encodings that another modality has of it, after these have learned from some samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mmcl.checks import require, require_choice
from mmcl.evaluators.base import check_temperature, temperature_of
from mmcl.evaluators.probes import choosing
from mmcl.evaluators.retrieval import SIMILARITIES
from mmcl.evaluators.zero_shot import CrossmodalClassifier, Task, prototypes

PENALTIES = tuple(10.0**-k for k in range(8))
"""Of the squared change of the logits, which are of some hundreds at low temperatures: what is chosen between, beside
not to learn at all."""

LINEAR = tuple(name for name in SIMILARITIES if name != "negative_lp")
"""Similarities that are linear maps of the encodings, of unit rows for the cosine."""


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


def log_shares(target: Tensor, classes: int) -> Tensor:
    """The logarithm of each class's share of ``target``, ``(C,)``, float64; the smallest number for one without any."""
    counts = target.bincount(minlength=classes).double()
    return (counts / counts.sum()).clamp(min=torch.finfo(counts.dtype).tiny).log()


def fine_tune(z: Tensor, target: Tensor, start: Labels, penalty: float) -> Labels:
    """The minimiser of the cross-entropy of ``start``'s classes from ``start`` on, by L-BFGS in float64.

    ``z``: ``(N, D)``; ``target``: ``(N,)``, places of the classes. With p the classes' shares of the samples::

        - mean_i log softmax(z_i W + b + log p)[target_i] + penalty / 2 (m |W - W_0|^2 + |b - b_0|^2)

    and m the mean of |z_i|^2, so that the penalty is of logits, whatever the size of encodings. It is convex.
    """
    size = z.square().sum(dim=1).mean().clamp(min=torch.finfo(z.dtype).tiny)
    # In units in which the penalty is that of both alike: L-BFGS knows no others.
    scaled = z / size.sqrt()
    change = [z.new_zeros(x.shape).requires_grad_() for x in (start.weight, start.bias)]
    base = start(z) + log_shares(target, len(start.bias))
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
class FineTuned(CrossmodalClassifier):
    """Crossmodal classification after fine-tuning: a matrix of label encodings and their prior logits learn.

    They begin as the zero-shot classifier (:class:`~mmcl.evaluators.ZeroShot`): a class's encoding is the mean over the
    FIT split's samples of the class in the other modality, and the prior logits are 0. The encoder stays as it is;
    the label given the sample is fitted on the FIT split (:func:`fine_tune`), and the class of the largest logit is
    predicted, without the fit split's frequencies. Rows as zero-shot's: ``query>other``, ``balanced_accuracy`` on the
    TEST split; chance 1 / classes.

    Args:
        n_fit: samples that fit, >= 2; ``None``: all.
        n_test: samples that are classified, >= 2; ``None``: all.
        similarity: one of ``LINEAR``.
        temperature: tau > 0, which logits are divided by; ``None``: what the trained loss has, learned or not.
        held_out: where no split chooses, the share of the fit split, of each class, that chooses the penalty, or not to
            learn, in (0, 1); of a class of two or more samples one or more. Where no class has two, nothing is learned.
        seed: of that choice.
        projected: as of :class:`~mmcl.evaluators.ZeroShot`.

    Raises ``ValueError`` naming a bad field. Source: Baptista et al. (2025), Equations (33) to (35). Departures: (35)
    is taken as the argmax, with the temperature of (33). They minimise without a penalty, which of few samples, or of
    classes that can be told apart, has no minimum; ours is of the distance from where it begins.
    """

    temperature: float | None = None
    held_out: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("similarity", self.similarity, LINEAR)
        check_temperature(self.temperature)
        require(0 < self.held_out < 1, "held_out", self.held_out, "in (0, 1)")

    def _classify(self, task: Task) -> Tensor:
        temperature = temperature_of(self.temperature, task.objective)

        def start(rows: Tensor) -> Labels:
            centres = prototypes(task.other[rows], task.target[rows])
            return label_encodings(centres, self.similarity, temperature)

        learned = self._chosen(self._prepared(task.z), task.target, start, task.chooses)
        return learned(self._prepared(task.z_test)).argmax(dim=1)

    def _prepared(self, z: Tensor) -> Tensor:
        z = z.double()
        return functional.normalize(z, dim=1) if self.similarity == "cosine" else z

    def _chosen(
        self, z: Tensor, target: Tensor, start: Callable[[Tensor], Labels], chooses: Tensor | None = None
    ) -> Labels:
        """``start(rows)``: where it begins by these samples alone, of every class one or more."""
        whole = start(torch.ones_like(target, dtype=torch.bool))
        held = choosing(target, self.held_out, self.seed, chooses, at_least=1)
        if not bool(held.any()):
            return whole
        # What chooses is neither learned from nor a part of where it begins: zero-shot would know it beforehand.
        seen, prior = start(~held), log_shares(target, len(whole.bias))

        def score(labels: Labels) -> float:
            return float(functional.cross_entropy(labels(z[held]) + prior, target[held]))

        tried = {penalty: score(fine_tune(z[~held], target[~held], seen, penalty)) for penalty in PENALTIES}
        best = min(tried, key=tried.__getitem__)
        return fine_tune(z, target, whole, best) if tried[best] < score(seen) else whole
