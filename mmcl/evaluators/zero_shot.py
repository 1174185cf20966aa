"""Predicting a class by the encodings that another modality has of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmcl.evaluators.base import Objective, Representations, Row, WithoutInterventions, check_spec
from mmcl.evaluators.retrieval import check_comparable, check_similarity, ordered_pairs, similarities
from mmcl.evaluators.scores import balanced_accuracy


def prototypes(z: Tensor, places: Tensor) -> Tensor:
    """The mean encoding of each class, ``(C, D)``, float64: of ``(N, D)`` and the classes' places ``(N,)``, 0 to C - 1.

    >>> prototypes(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1])).tolist()
    [[2.0], [5.0]]
    """
    counts = places.bincount()
    sums = z.new_zeros(len(counts), z.shape[1], dtype=torch.float64).index_add(0, places, z.double())
    return sums / counts[:, None]


def _check_known_classes(name: str, fit: Representations, test: Representations) -> None:
    """Raise ``ValueError`` for a class of the factor ``name`` that test samples have and no fit sample has."""
    for known, true in zip(fit.factors[name].unbind(1), test.factors[name].unbind(1), strict=True):
        unknown = sorted(set(true.tolist()) - set(known.tolist()))
        if unknown:
            raise ValueError(
                f"factor {name!r}: test samples have classes {unknown[:5]} that none of the {len(fit)} samples that "
                "fit has; give validation more samples (n_fit of the evaluator, held_out of the data), or leave this "
                "evaluator out of evaluator=[...]"
            )


@dataclass(frozen=True)
class Task:
    """Samples of known classes, and samples whose classes are asked for.

    Fields:
        z, other: ``(N, D)``, encodings of the modality that is classified, and of that which has the classes'.
        target: ``(N,)``, places of the classes, 0 to C - 1.
        z_test: ``(n, D)``, what is classified.
        objective: the trained one, which may know a temperature.
        chooses: ``(N,)``, bool: which samples choose between what the others teach; ``None``: not given.
    """

    z: Tensor
    other: Tensor
    target: Tensor
    z_test: Tensor
    objective: Objective | None
    chooses: Tensor | None


@dataclass(frozen=True)
class CrossmodalClassifier(WithoutInterventions):
    """A classifier of one modality by another's encodings of the classes, and its rows; see :class:`ZeroShot`."""

    n_fit: int | None = 20480
    n_test: int | None = 2000
    similarity: str = "cosine"
    projected: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_spec(self.n_fit, self.n_test, self.interventions)

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: tuple[str, ...] = (),
        objective: Objective | None = None,
    ) -> list[Row]:
        """Rows of every ordered pair of single modalities; ``reference`` is not used.

        Raises ``ValueError`` for encodings of different sizes, and for a class of test samples that no fit sample has.
        """
        return [
            row
            for query, other in ordered_pairs(test, self.projected)
            for row in self._rows(fit, test, query, other, objective)
        ]

    def _rows(
        self, fit: Representations, test: Representations, query: str, other: str, objective: Objective | None
    ) -> Iterator[Row]:
        check_comparable(query, fit.z[query], other, fit.z[other])
        for name, factor in fit.discrete().items():
            _check_known_classes(name, fit, test)
            values, chances = [], []
            for known, true in zip(factor.unbind(1), test.factors[name].unbind(1), strict=True):
                labels = known.to(fit.z[other].device).contiguous()
                classes, places = labels.unique(return_inverse=True)
                task = Task(fit.z[query], fit.z[other], places, test.z[query], objective, fit.chooses)
                found = classes[self._classify(task)]
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

    def _classify(self, task: Task) -> Tensor:
        """The place of the class of each row of ``task.z_test``."""
        raise NotImplementedError


@dataclass(frozen=True)
class ZeroShot(CrossmodalClassifier):
    """Crossmodal classification: the class whose encoding in another modality is the most similar.

    A class's encoding is the mean over the FIT split's samples of the class; where the other modality is the label
    itself, all of these are equal. Rows for each ordered pair of encodings and discrete factor, mean over components:
    representation is ``query>other``, metric ``balanced_accuracy`` on the TEST split. Chance: 1 / classes.

    Args:
        n_fit: samples that give the classes' encodings, >= 2; ``None``: all.
        n_test: samples that are classified, >= 2; ``None``: all.
        similarity: one of ``retrieval.SIMILARITIES`` (no temperature matters); ``lp_exponent`` is the p > 0 of
            ``negative_lp``.
        projected: of what the objective compared, behind the projection heads, instead of the encodings.

    Raises ``ValueError`` naming a bad field. Source: zero-shot classification of Radford et al. (2021); Algorithm 2 of
    Baptista et al. (2025).
    """

    lp_exponent: float = field(default=2.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_similarity(self.similarity, self.lp_exponent)

    def _classify(self, task: Task) -> Tensor:
        centres = prototypes(task.other, task.target)
        return similarities(task.z_test, centres, self.similarity, self.lp_exponent).argmax(dim=1)
