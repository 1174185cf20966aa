"""Objectives that are told a label of each sample: for fine-tuning, and as upper bounds of what an encoder can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcl.checks import require
from mmcl.losses.inputs import check_matrix, full_precision
from mmcl.losses.options import as_member, require_positive
from mmcl.losses.terms import is_single


def whole(names: Sequence[str]) -> str:
    """The encoding of all modalities together, or of the only one.

    >>> whole(["x1", "x2", "x1+x2"])
    'x1+x2'

    Raises ``ValueError`` where there is none.
    """
    found = "+".join(filter(is_single, names))
    require(
        found in names, "encodings", list(names), "one of all modalities together: choose encoder=multimodal"
    )
    return found


def supervised_contrast(z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The supervised contrastive loss of Khosla et al. (2020), Eq. 2 (the mean outside of the logarithm)::

        - mean_a  1/|P(a)|  sum_{p in P(a)}  log( exp(z_a . z_p / tau) / sum_{b != a} exp(z_a . z_b / tau) )

    P(a) are the other rows with the label of row a; rows that have none are left out of the mean over a.

    Args:
        z: ``(N, D)``; rows are brought to length 1.
        labels: ``(N,)``, int64.
        temperature: tau > 0. Departure: the factor tau / tau_base of the authors' code is 1.

    Returns:
        Scalar >= 0, in float32 (float64 if ``z`` is). 0, with a gradient, where no two rows share a label.

    >>> supervised_contrast(torch.eye(2).repeat(2, 1), torch.tensor([0, 1, 0, 1]), 0.01).item()
    0.0
    """
    (z,) = full_precision(z)
    z = F.normalize(z, dim=1)
    similarity = z @ z.T / temperature
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    similarity = similarity.masked_fill(itself, -torch.inf)
    log_shares = similarity - similarity.logsumexp(dim=1, keepdim=True)
    alike = (labels[:, None] == labels[None]) & ~itself
    counts = alike.sum(dim=1)
    per_row = log_shares.masked_fill(~alike, 0.0).sum(dim=1) / counts.clamp(min=1)
    return -per_row.sum() / (counts > 0).sum().clamp(min=1)


@dataclass(frozen=True)
class SupCon:
    """Config of the supervised contrastive loss (:func:`supervised_contrast`) of two augmented draws of all modalities
    together.

    Args:
        label: a factor of one component of classes.
        temperature: tau > 0.

    Raises:
        ValueError: a value out of range.
    """

    label: str = "label"
    temperature: float = 0.07

    def __post_init__(self) -> None:
        require_positive("temperature", self.temperature)

    @property
    def draws(self) -> tuple[int, ...]:
        """Two augmented draws."""
        return 1, 2

    def check(self, components: int, classes: int | None) -> None:
        """Raise ``ValueError`` for a label that is not one component of classes."""
        good = components == 1 and classes is not None
        require(good, "loss.label", self.label, "a label of one component of classes for this loss")

    def build(self) -> SupConLoss:
        """The loss as a module."""
        return SupConLoss(self)


class SupConLoss(nn.Module):
    """See :class:`SupCon`: ``forward(z, labels)`` takes the two draws' encodings, ``(K, D)`` each, and ``(K, 1)``."""

    def __init__(self, spec: SupCon) -> None:
        super().__init__()
        self.spec = spec
        self.label = spec.label

    def wanted(self, names: Sequence[str]) -> dict[int, tuple[str, ...]]:
        """All modalities together, of both draws."""
        return {draw: (whole(names),) for draw in self.spec.draws}

    def forward(self, z: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """The scalar loss."""
        for name, rows in z.items():
            check_matrix(name, rows)
        with torch.autocast(labels.device.type, enabled=False):
            return supervised_contrast(
                torch.cat(list(z.values())), labels[:, 0].repeat(len(z)), self.spec.temperature
            )

    def extra_repr(self) -> str:
        return repr(self.spec)


class Kind(Enum):
    """What a label is: one of ``classes`` (cross-entropy); ``binary``, each component there or not (binary
    cross-entropy, mean over components); ``numbers`` (mean squared error)."""

    classes = "classes"
    binary = "binary"
    numbers = "numbers"


@dataclass(frozen=True)
class Supervised:
    """Config of supervised learning: a linear layer from all modalities' encoding to a label.

    Args:
        label: a factor.
        kind: see :class:`Kind`.
        outputs: classes, or components, >= 1.
        encoding_size: the encoders', D.
        augmented: whether it is told of an augmented draw of the samples instead of the samples as they are.

    Raises:
        ValueError: a value out of range.
    """

    label: str = "label"
    kind: Kind = Kind.classes
    outputs: int = 2
    encoding_size: int = 64
    augmented: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", as_member(Kind, "kind", self.kind))
        for name in ("outputs", "encoding_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        require(self.kind is not Kind.classes or self.outputs >= 2, "outputs", self.outputs, ">= 2 classes")

    @property
    def draws(self) -> tuple[int, ...]:
        """One augmented draw, or the samples as they are."""
        return (int(self.augmented),)

    def check(self, components: int, classes: int | None) -> None:
        """Raise ``ValueError`` for a label of another kind or size."""
        if self.kind is Kind.classes:
            good = components == 1 and classes is not None and classes <= self.outputs
        elif self.kind is Kind.binary:
            good = components == self.outputs and classes == 2
        else:
            good = components == self.outputs and classes is None
        allowed = {
            Kind.classes: f"one component of at most loss.outputs={self.outputs} classes",
            Kind.binary: f"loss.outputs={self.outputs} components of two classes",
            Kind.numbers: f"loss.outputs={self.outputs} components of continuous values",
        }[self.kind]
        has = "continuous" if classes is None else f"of {classes} classes"
        require(good, "loss.label", self.label, f"{allowed}; it has {components} component(s), {has}")

    def build(self) -> SupervisedLoss:
        """The loss as a module."""
        return SupervisedLoss(self)


class SupervisedLoss(nn.Module):
    """See :class:`Supervised`: ``forward(z, labels)`` takes one encoding, ``(K, D)``, and its labels, ``(K, k)``."""

    def __init__(self, spec: Supervised) -> None:
        super().__init__()
        self.spec = spec
        self.label = spec.label
        self.predict = nn.Linear(spec.encoding_size, spec.outputs)

    def wanted(self, names: Sequence[str]) -> dict[int, tuple[str, ...]]:
        """All modalities together."""
        return {self.spec.draws[0]: (whole(names),)}

    def forward(self, z: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """The scalar loss. Raises ``ValueError`` for an encoding of another width than ``encoding_size``."""
        ((name, rows),) = z.items()
        check_matrix(name, rows)
        size = self.spec.encoding_size
        require(rows.shape[1] == size, "loss.encoding_size", size, f"the encoders', {rows.shape[1]}")
        with torch.autocast(labels.device.type, enabled=False):
            (rows,) = full_precision(rows)
            found = self.predict(rows)
            if self.spec.kind is Kind.classes:
                return F.cross_entropy(found, labels[:, 0])
            if self.spec.kind is Kind.binary:
                return F.binary_cross_entropy_with_logits(found, labels.to(found.dtype))
            return F.mse_loss(found, labels.to(found.dtype))

    def extra_repr(self) -> str:
        return repr(self.spec)
