"""What two sources say about a target: redundant, unique and synergistic information of a discrete law, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mmcl.checks import require
from mmcl.theory.broja import ConvergenceError, least_information

SUM_TOLERANCE = 1e-9
"""How far from 1 a law may sum."""

NEGLIGIBLE = 1e-16
"""A cell of less mass has none: far below it, differences of the marginals are rounding errors."""

ROUNDING = 1e-7
"""In bits: how far outside its bounds the least information may come out before that is an error."""


@dataclass(frozen=True)
class Decomposition:
    """The four atoms of I(X1, X2; Y), each >= 0, in bits.

    ``gap``, in bits, is proven: ``unique1`` and ``unique2`` are too large by at most this, ``redundancy`` and
    ``synergy`` too small.
    """

    redundancy: float
    unique1: float
    unique2: float
    synergy: float
    gap: float = 0.0

    @property
    def total(self) -> float:
        """I(X1, X2; Y) = R + U1 + U2 + S."""
        return self.redundancy + self.unique1 + self.unique2 + self.synergy

    @property
    def information1(self) -> float:
        """I(X1; Y) = R + U1."""
        return self.redundancy + self.unique1

    @property
    def information2(self) -> float:
        """I(X2; Y) = R + U2."""
        return self.redundancy + self.unique2

    @property
    def co_information(self) -> float:
        """I(X1; X2; Y) = R - S."""
        return self.redundancy - self.synergy


def entropy(p: Tensor) -> float:
    """H = -sum p log2 p, in bits, of a law ``p`` of any shape.

    Raises ``ValueError`` unless p is finite, >= 0 and sums to 1 up to 1e-9.

    >>> entropy(torch.tensor([0.5, 0.25, 0.25]))
    1.5
    """
    return float(torch.special.entr(_law(p)).sum()) / math.log(2)


def mutual_information(p: Tensor) -> float:
    """I(A; B) = sum p(a, b) log2 p(a, b) / (p(a) p(b)), in bits, of a law ``p``: ``(na, nb)``; >= 0.

    Raises ``ValueError`` unless p is a finite matrix, >= 0, that sums to 1 up to 1e-9.

    >>> mutual_information(torch.eye(4) / 4)
    2.0
    """
    law = _law(p, "(na, nb)")
    ratio = law / (law.sum(dim=1, keepdim=True) * law.sum(dim=0))
    # Kullback and Leibler's divergence is not negative; -1e-17 is rounding.
    return max(float(torch.where(law > 0, law * ratio.log2(), 0.0).sum()), 0.0)


def informations(p: Tensor) -> tuple[float, float, float]:
    """I(X1; Y), I(X2; Y), I(X1, X2; Y), in bits, of a law P(x1, x2, y): ``(n1, n2, ny)``.

    Raises ``ValueError`` unless p is a finite array of three axes, >= 0, that sums to 1 up to 1e-9.

    >>> xor = torch.tensor([[[1, 0], [0, 1]], [[0, 1], [1, 0]]]) / 4
    >>> informations(xor)
    (0.0, 0.0, 1.0)
    """
    law = _law(p, "(n1, n2, ny)")
    both = mutual_information(law.flatten(0, 1))
    return mutual_information(law.sum(dim=1)), mutual_information(law.sum(dim=0)), both


def optimum(p: Tensor) -> Tensor:
    """Q* of least I_Q(X1, X2; Y) among the laws with P's marginals (x1, y) and (x2, y).

    Args:
        p: P(x1, x2, y), ``(n1, n2, ny)``; computed in float64 on the CPU.

    Returns:
        Q*, ``(n1, n2, ny)``; its two marginals are P's up to rounding, and its information is the least up to 1e-8
        bits, which is proven by a dual bound. Where several laws are optimal it is one of them.

    Raises:
        ValueError: p is no array of three axes, of finite numbers >= 0 that sum to 1 up to 1e-9.
        ConvergenceError: the bound is not reached. No law is known that brings this about.

    Source: Bertschinger et al. (2014), "Quantifying unique information". For the method see :mod:`mmcl.theory.broja`.
    """
    return _optimum(_law(p, "(n1, n2, ny)"))[0]


def decompose(p: Tensor) -> Decomposition:
    """Redundant, unique and synergistic information on Y of X1 and X2, for a law P(x1, x2, y).

    With Q* of :func:`optimum`, the law of least information among those in which either source alone tells of y what it
    does in P,

        S = I_P(X1, X2; Y) - I_Q*(X1, X2; Y),       U1 = I_Q*(X1, X2; Y) - I(X2; Y),
        R = I(X1; Y) + I(X2; Y) - I_Q*(X1, X2; Y),  U2 = I_Q*(X1, X2; Y) - I(X1; Y).

    The least information is in [max(I(X1; Y), I(X2; Y)), min(I_P(X1, X2; Y), I(X1; Y) + I(X2; Y))]. What is computed
    may be outside by the gap and by rounding, and is moved to the nearest bound; so no atom is negative. It is an error
    if that moves it by more than 1e-7 bits.

    Args:
        p: P(x1, x2, y), ``(n1, n2, ny)``; computed in float64 on the CPU.

    Raises:
        ValueError: p is no array of three axes, of finite numbers >= 0 that sum to 1 up to 1e-9.
        ConvergenceError: the optimum is not reached. No law is known that brings this about.

    Source: Bertschinger et al. (2014), "Quantifying unique information"; called BROJA after its authors.

    >>> exclusive_or = torch.tensor([[[1, 0], [0, 1]], [[0, 1], [1, 0]]]) / 4
    >>> round(decompose(exclusive_or).synergy, 6)
    1.0
    """
    law = _law(p, "(n1, n2, ny)")
    q, gap = _optimum(law)
    both = mutual_information(law.flatten(0, 1))
    one, two = mutual_information(law.sum(dim=1)), mutual_information(law.sum(dim=0))
    found = mutual_information(q.flatten(0, 1))
    least = min(max(found, one, two), both, one + two)
    if abs(least - found) > ROUNDING:
        raise ConvergenceError(f"the least information is {found} bits: must be {least} up to {ROUNDING}")
    return Decomposition(
        redundancy=max(one + two - least, 0.0),
        unique1=max(least - two, 0.0),
        unique2=max(least - one, 0.0),
        synergy=max(both - least, 0.0),
        gap=gap,
    )


def _law(p: Tensor, shape: str | None = None) -> Tensor:
    """``p`` in float64 with the sum 1, checked; ``shape`` names its axes."""
    law = torch.as_tensor(p).detach().to("cpu", torch.float64)
    if shape is not None:
        axes = shape.count(",") + 1
        require(law.ndim == axes, "p.shape", tuple(law.shape), f"{shape}, one axis for each variable")
    require(bool(law.isfinite().all()), "p", law[~law.isfinite()].tolist()[:3], "finite everywhere")
    require(bool((law >= 0).all()), "p", law[law < 0].tolist()[:3], ">= 0 everywhere")
    total = float(law.sum())
    allowed = f"1 up to {SUM_TOLERANCE}; in float64, p / p.sum() is"
    require(abs(total - 1) <= SUM_TOLERANCE, "p.sum()", total, allowed)
    return law / total


def _optimum(law: Tensor) -> tuple[Tensor, float]:
    """Q* and its gap; symbols without mass are left out of the search."""
    law = torch.where(law >= NEGLIGIBLE, law, 0.0)
    used = [law.sum(dim=[b for b in range(3) if b != a]).nonzero().flatten() for a in range(3)]
    some = law[used[0]][:, used[1]][:, :, used[2]]
    q, gap = least_information(some.sum(dim=1), some.sum(dim=0))
    whole = torch.zeros_like(law)
    whole[used[0][:, None, None], used[1][:, None], used[2]] = q
    return whole, gap
