"""Pairs of handwritten digits that share nothing, their parity or the digit: real pictures, factors of known law."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from mmcl.checks import require, require_share
from mmcl.worlds.base import Batch, FactorRole
from mmcl.worlds.checks import (
    require_cpu,
    require_pairs,
    require_part,
    require_permutations,
    require_sample,
    require_state,
)
from mmcl.worlds.handwritten import handwritten_digits
from mmcl.worlds.laws import biased, labelled

DIGITS = 10
PIXELS = 64
SPLITS = ("train", "validation", "test")
SHARES = (0.6, 0.2)
"""Of each digit's pictures, those of training and of validation; the others are those of test."""


class Shared(Enum):
    """What the digits a and b of a pair have in common: nothing, their parity, or b = a."""

    none = "none"
    parity = "parity"
    digit = "digit"


@dataclass(frozen=True)
class DigitPairs:
    """The law of pairs (a, b) of digits, and of a picture of each.

    a is uniform; b is uniform over the digits that have what is shared (``none``: all ten, ``parity``: the five of a's
    parity, ``digit``: a alone); with probability ``bias`` it is M(a) instead, M a bijection that is drawn with the
    world and keeps what is shared. Then each view is a picture of its digit, uniform over those of its part of the set,
    and independent of the other (of one digit, it may be the same picture). So the factors' law is exact, though the
    set has a few more pictures of some digits than of others.

    The set is scikit-learn's: 1,797 pictures of 8 x 8 pixels. Of every digit's, 0.6 are for training, 0.2 for
    ``validation`` and 0.2 for ``test``, split at random with the world. Training pairs follow ``bias``; the parts have
    none.

    Fields:
        share: none, parity or digit.
        bias: in [0, 1]; 0 where the digit is shared, as b = a then at any bias.

    Raises ``ValueError``, naming the field, for a value out of range.

    Source of the pictures: E. Alpaydin and C. Kaynak (1998), "Optical Recognition of Handwritten Digits", UCI (the test
    set); of the factors: pairs of digits as in AV-MNIST, with relations for labels.
    """

    share: Shared = Shared.none
    bias: float = 0.0

    def __post_init__(self) -> None:
        require(isinstance(self.share, Shared), "share", self.share, "one of none, parity, digit")
        require_share("bias", self.bias)
        if self.share is Shared.digit:
            require(self.bias == 0, "bias", self.bias, "0 with share=digit, where b = a at any bias")

    def draw(self, generator: torch.Generator) -> DigitPairsWorld:
        """Draw one world: its mapping and its split, which ``bias`` does not change.

        Raises ``ValueError`` for a generator that is not on the CPU: a world must not depend on a device.
        """
        require_cpu(generator)
        kinds = DIGITS if self.share is Shared.digit else 2 if self.share is Shared.parity else 1
        mapping = torch.arange(DIGITS)
        for kind in range(kinds):
            alike = torch.arange(kind, DIGITS, kinds)
            mapping[alike] = alike[torch.randperm(len(alike), generator=generator)]
        _, digits = handwritten_digits()
        split = torch.empty_like(digits)
        for digit in range(DIGITS):
            rows = (digits == digit).nonzero()[:, 0]
            rows = rows[torch.randperm(len(rows), generator=generator)]
            ends = [round(SHARES[0] * len(rows)), round(sum(SHARES) * len(rows))]
            for number, part in enumerate(rows.tensor_split(ends)):
                split[part] = number
        return self.restore({"mapping": mapping, "split": split})

    def restore(self, state: Mapping[str, Tensor]) -> DigitPairsWorld:
        """The world with this state, as ``state_dict`` gave it. It samples bitwise what the original did.

        Raises ``ValueError``, naming the tensors, if one is missing, not expected, of another shape or dtype, or if the
        mapping is none that keeps what is shared.
        """
        count = len(handwritten_digits()[1])
        require_state(state, {"mapping": ((DIGITS,), torch.int64), "split": ((count,), torch.int64)})
        require_permutations(state, ("mapping",))
        mapping = state["mapping"]
        if not bool((_free(self.share)[torch.arange(DIGITS), mapping] > 0).all()):
            raise ValueError(
                f"the world file does not fit the config: its mapping does not keep share={self.share.value}"
            )
        return DigitPairsWorld(self, state, "train")


def _free(share: Shared) -> Tensor:
    """p(a, b) without bias: (10, 10), float64."""
    digit = torch.arange(DIGITS)
    if share is Shared.digit:
        alike = digit[:, None] == digit
    elif share is Shared.parity:
        alike = digit[:, None] % 2 == digit % 2
    else:
        alike = torch.ones(DIGITS, DIGITS, dtype=torch.bool)
    return alike.double() / alike.sum()


class DigitPairsWorld:
    """One world of a :class:`DigitPairs`, which makes it: the pairs of training, of ``validation`` or of ``test``.

    Views are ``x1`` and ``x2``. Factors, all of one column: ``digit.x1`` = a and ``digit.x2`` = b, modality-specific
    (with ``share=parity`` both hold the shared parity too); ``sum`` = (a + b) mod 10 and ``match`` = [b = M(a)],
    synergy; with ``share=parity`` also ``parity``, content. With ``share=digit`` there is ``digit`` alone, content: all
    others are functions of it.

    ``mapping``: ``(10,)``, int64: M. ``bias``: that of :meth:`sample`.
    """

    calibration = 4096

    def __init__(self, model: DigitPairs, state: Mapping[str, Tensor], part: str) -> None:
        self.model = model
        self.bias = model.bias if part == "train" else 0.0
        self._state = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        self.mapping = self._state["mapping"]
        pixels, digits = handwritten_digits()
        mine = (self._state["split"] == SPLITS.index(part)).nonzero()[:, 0]
        mine = mine[digits[mine].argsort(stable=True)]
        self._part = part
        self._pixels = pixels[mine]
        self._counts = torch.bincount(digits[mine], minlength=DIGITS)
        self._starts = self._counts.cumsum(dim=0) - self._counts

    @property
    def views(self) -> dict[str, int]:
        """Name of each view -> its observation size."""
        return dict.fromkeys(("x1", "x2"), PIXELS)

    @property
    def roles(self) -> dict[str, FactorRole]:
        """Name of each factor -> its role."""
        if self.model.share is Shared.digit:
            return {"digit": FactorRole("content", None, DIGITS)}
        roles = {"parity": FactorRole("content", None, 2)} if self.model.share is Shared.parity else {}
        return {
            **roles,
            "digit.x1": FactorRole("modality_specific", "x1", DIGITS),
            "digit.x2": FactorRole("modality_specific", "x2", DIGITS),
            "sum": FactorRole("synergy", None, DIGITS),
            "match": FactorRole("synergy", None, 2),
        }

    def laws(self, bias: float | None = None) -> dict[str, Tensor]:
        """Factor -> exact ``p(a, b, y)`` at this bias, or its own: (10, 10, classes), float64.

        Each view knows its digit (of which the parity alone would do for ``parity``).

        Raises ``ValueError`` for a bias out of range.
        """
        bias = self.bias if bias is None else bias
        require_share("bias", bias)
        pairs = biased(_free(self.model.share), self.mapping, bias)
        digit = torch.arange(DIGITS)
        labels = self._labels(digit[:, None], digit[None, :])
        return {name: labelled(pairs, y, self.roles[name].classes or DIGITS) for name, y in labels.items()}

    def _labels(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """All factors of digits ``a`` and ``b``."""
        if self.model.share is Shared.digit:
            return {"digit": a}
        labels = {"parity": a % 2} if self.model.share is Shared.parity else {}
        return {
            **labels,
            "digit.x1": a,
            "digit.x2": b,
            "sum": (a + b) % DIGITS,
            "match": (b == self.mapping[a]).long(),
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the tensors that make this world.

        ``mapping``: (10,); ``split``: (1797,), of each picture 0 (training), 1 (validation) or 2 (test); int64.
        """
        return {name: tensor.clone() for name, tensor in self._state.items()}

    def __len__(self) -> int:
        """How many different pairs of pictures there are."""
        counts = self._counts.double()
        return int(counts @ (_free(self.model.share) > 0).double() @ counts)

    def part(self, name: str) -> DigitPairsWorld:
        """Pairs without bias, of the pictures of ``validation`` or ``test``.

        Unlike given pairs they are drawn independently, for their law shall be exact: a pair may come twice.
        """
        require_part(name)
        return DigitPairsWorld(self.model, self._state, name)

    def check_size(self, part: str, n: int) -> None:
        """Raise ``ValueError`` if the part has fewer than ``n`` different pairs: more would tell nothing new."""
        require_pairs(part, n, len(self.part(part)))

    def sample(self, n: int, generator: torch.Generator, intervention: str | None = None) -> Batch:
        """``n`` >= 1 pairs: views (n, 64), float32 in [0, 1], an 8 x 8 picture row by row; factors (n, 1), int64.

        For one generator state, a larger bias changes the second view of more of the same samples, and nothing else.

        Raises ``ValueError`` for n < 1, an intervention, or a generator that is not on the CPU.
        """
        require_sample(n, generator, intervention)
        a, free = torch.randint(DIGITS, (2, n), generator=generator)
        if self.model.share is Shared.parity:
            free = free - free % 2 + a % 2
        elif self.model.share is Shared.digit:
            free = a
        # Drawn at every bias, so that the bias moves no other draw.
        forced = torch.rand(n, generator=generator) < self.bias
        b = torch.where(forced, self.mapping[a], free)
        chosen = torch.rand(2, n, dtype=torch.float64, generator=generator)
        views = {
            view: self._pixels[self._starts[digit] + (u * self._counts[digit]).long()]
            for view, digit, u in (("x1", a, chosen[0]), ("x2", b, chosen[1]))
        }
        return Batch(views, self._labels(a[:, None], b[:, None]))
