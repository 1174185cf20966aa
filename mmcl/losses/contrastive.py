"""One family of contrastive losses: InfoNCE and its relatives as points on named axes.

For anchors ``h1`` and their partners ``h2`` (row i of both from sample i), one direction is

    l_i = - w sim(h1_i, h2_i) / tau + log sum_{c in C_i} exp( sim(h1_i, c) / tau )  [ - log |C_i| ]

where the candidates C_i depend on ``negatives`` (below) and hold the positive h2_i or not, and the bracket makes the
sum a mean (``candidate_reduction``). The weight w of the alignment is 1 in the papers. With the ``joint`` normaliser
the second term is that of all anchors together, log sum_i sum_{c in C_i} [ - log sum_i |C_i| ]: it normalises a
density of pairs, where ``conditional`` normalises the density of h2 given h1.

Eq. 2 of Daunhawer et al. (2023, "Identifiability results for multimodal contrastive learning") is ``cross``
with the positive, sums over the batch and the candidates, one direction; Eq. 4 is the mean of both. Of
Baptista et al. (2025, "A mathematical perspective on contrastive learning", sections 2 and 3), with means over
both: the conditional loss with lambda_v and lambda_u as the directions' weights, and the joint loss, each of
them estimated by all pairs of a batch; conditional <= joint for any encodings (their Theorem 3.10). Their L2
tilting, -|g_u - g_v|^2 / (2 tau), is ``negative_squared_euclidean`` at the temperature 2 tau.

Departure: by default the mean over the batch and the log-*mean* over candidates, so that values compare
across batch sizes. Exactly: ``printed = K * (ours + log K)`` for ``cross``, and the printed gradient is K
times ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import reduce
from typing import Any, Self

import torch
from torch import Tensor, nn

from mmcl.checks import require, require_share
from mmcl.losses.inputs import (
    check_encodings,
    check_matrix,
    check_same_width,
    full_precision,
)
from mmcl.losses.options import Negatives, as_member, require_positive
from mmcl.losses.pairs import logsumexps
from mmcl.losses.similarity import Similarity, paired_similarity
from mmcl.losses.terms import Term, contrasts, draws, is_single


class Reduction(Enum):
    """Over the batch, or over the candidates: ``mean``, or ``sum`` as Eq. 2 prints both."""

    mean = "mean"
    sum = "sum"


class Normaliser(Enum):
    """What the exponentials are summed over: each anchor's candidates (``conditional``), or all of them (``joint``)."""

    conditional = "conditional"
    joint = "joint"


def contrastive_pair(
    h1: Tensor,
    h2: Tensor,
    fresh1: Tensor | None = None,
    fresh2: Tensor | None = None,
    *,
    similarity: Similarity = Similarity.negative_squared_euclidean,
    lp_exponent: float = 2.0,
    temperature: float | Tensor = 1.0,
    negatives: Negatives = Negatives.cross,
    positive_in_denominator: bool = True,
    weight_second_given_first: float = 1.0,
    weight_first_given_second: float = 1.0,
    reduction: Reduction = Reduction.mean,
    candidate_reduction: Reduction = Reduction.mean,
    normaliser: Normaliser = Normaliser.conditional,
    alignment_weight: float = 1.0,
    tile: int | None = None,
) -> Tensor:
    """The loss of one pair of modalities (formula at the head of this module).

    Args:
        h1: ``(K, D)`` encodings of the first modality, the anchors of the first direction.
        h2: ``(K, D)`` encodings of the second; row i belongs to row i of ``h1``.
        fresh1: ``(M, D)`` encodings of the first modality from an independent batch; ``within_fresh`` alone.
        fresh2: the same of the second modality. Each is needed only where its direction has a weight.
        similarity: sim; ``lp_exponent`` is its p > 0 for ``negative_lp``.
        temperature: tau > 0, a number or a 0-dim tensor (which then gets a gradient).
        negatives: see :class:`Negatives`.
        positive_in_denominator: whether h2_i stands among the candidates C_i.
        weight_second_given_first: >= 0, of the direction with anchors h1; the loss is half the weighted sum of the
            directions. 1 and 1 is Eq. 4; 2 and 0 is Eq. 2.
        weight_first_given_second: >= 0, of the direction with anchors h2; not both 0.
        reduction: over the batch.
        candidate_reduction: over the candidates; |C_i| is K - 1 (``cross``, ``within``), M (``within_fresh``) or
            2K - 2 (``both``), plus 1 with the positive.
        normaliser: see :class:`Normaliser`.
        alignment_weight: w > 0 of the positive's term, but not where the positive stands among the candidates.
        tile: rows and columns of pairs held in memory at a time, >= 1 (see :mod:`mmcl.losses.pairs`); ``None``
            chooses. It decides memory and time, not the value.

    Returns:
        Scalar, in float32 (float64 if an input is), also under autocast. With ``cross``, the positive in the
        denominator, means, weights that sum to 2 and w = 1 it is at least -log K.

    Raises:
        ValueError: for other than two ``(K, D)`` matrices of one shape; K = 1 where negatives come from the
            same batch; a missing or misshapen fresh batch for ``within_fresh``; a temperature, exponent or
            weight of the alignment that is not positive and finite; a direction's negative weight, or none.

    A fresh batch that is not needed is ignored.

    >>> h = torch.tensor([[0.0], [10.0]])
    >>> round(contrastive_pair(h, h).item(), 4)  # perfectly separated: -log 2
    -0.6931
    """
    check_encodings({"h1": h1, "h2": h2})
    require_positive("lp_exponent", lp_exponent)
    require_positive("alignment_weight", alignment_weight)
    if not isinstance(temperature, Tensor):
        require_positive("temperature", temperature)
    if negatives is not Negatives.within_fresh and h1.shape[0] < 2:
        raise ValueError(
            f"a batch of 1 row leaves no negatives with negatives={negatives.name}: "
            "use a batch size of at least 2"
        )
    require_weights(weight_second_given_first, weight_first_given_second)
    weights = {"h1": weight_second_given_first, "h2": weight_first_given_second}
    if normaliser is Normaliser.joint and negatives is Negatives.cross:
        # All pairs are the same pairs from either side.
        weights = {"h1": weight_second_given_first + weight_first_given_second}
    weights = {name: weight for name, weight in weights.items() if weight > 0}
    anchors = tuple(weights)
    fresh = {"h1": fresh1, "h2": fresh2}
    # Encoders may run under autocast; similarities and log-sum-exp never do.
    with torch.autocast(device_type=h1.device.type, enabled=False):
        if negatives is Negatives.within_fresh:
            given = {name: _checked_fresh(name, fresh[name], h1) for name in anchors}
            h1, h2, *rest = full_precision(h1, h2, *given.values())
            pools = dict(zip(anchors, rest, strict=True))
        else:
            h1, h2 = full_precision(h1, h2)
            pools = {}
        rows = {"h1": h1, "h2": h2}

        def sums(a: Tensor, b: Tensor, *, skip_diagonal: bool, both: bool = False) -> tuple[Tensor, Tensor]:
            return logsumexps(
                a,
                b,
                similarity,
                temperature=temperature,
                lp_exponent=lp_exponent,
                skip_diagonal=skip_diagonal,
                both=both,
                tile=tile,
            )

        positive = paired_similarity(h1, h2, similarity, lp_exponent=lp_exponent) / temperature
        # The log-sum-exp over the candidates is put together from parts, each (K,). The positives are one of them,
        # computed exactly, and left out of the matrix product.
        parts: dict[str, list[Tensor]] = {name: [] for name in anchors}
        if positive_in_denominator:
            for name in anchors:
                parts[name].append(positive)
        if negatives in (Negatives.cross, Negatives.both):
            first, second = (h1, h2) if anchors[0] == "h1" else (h2, h1)
            found = sums(first, second, skip_diagonal=True, both=len(anchors) == 2)
            for name, part in zip(anchors, found, strict=False):
                parts[name].append(part)
        if negatives in (Negatives.within, Negatives.both):
            for name in anchors:
                parts[name].append(sums(rows[name], rows[name], skip_diagonal=True)[0])
        if negatives is Negatives.within_fresh:
            for name in anchors:
                parts[name].append(sums(rows[name], pools[name], skip_diagonal=False)[0])

        losses = []
        for name, weight in weights.items():
            log_sums = reduce(torch.logaddexp, parts[name])
            fresh_rows = pools[name].shape[0] if name in pools else 0
            count = candidate_count(h1.shape[0], negatives, positive_in_denominator, fresh_rows)
            if normaliser is Normaliser.joint:
                log_sums, count = log_sums.logsumexp(dim=0), count * h1.shape[0]
            row_losses = log_sums - alignment_weight * positive
            if candidate_reduction is Reduction.mean:
                row_losses = row_losses - math.log(count)
            total = row_losses.mean() if reduction is Reduction.mean else row_losses.sum()
            losses.append(weight / 2 * total)
        return torch.stack(losses).sum()


def candidate_count(
    rows: int, negatives: Negatives, positive_in_denominator: bool, fresh_rows: int = 0
) -> int:
    """|C_i|, the number of candidates of one anchor: what a mean over them divides by.

    >>> candidate_count(8, Negatives.both, True)
    15
    """
    count = {
        Negatives.cross: rows - 1,
        Negatives.within: rows - 1,
        Negatives.within_fresh: fresh_rows,
        Negatives.both: 2 * rows - 2,
    }[negatives]
    return count + int(positive_in_denominator)


def contrastive_loss(
    z: Mapping[str, Tensor],
    fresh: Mapping[str, Tensor] | None = None,
    *,
    similarity: Similarity = Similarity.negative_squared_euclidean,
    lp_exponent: float = 2.0,
    temperature: float | Tensor = 1.0,
    negatives: Negatives = Negatives.cross,
    positive_in_denominator: bool = True,
    weight_second_given_first: float = 1.0,
    weight_first_given_second: float = 1.0,
    reduction: Reduction = Reduction.mean,
    candidate_reduction: Reduction = Reduction.mean,
    normaliser: Normaliser = Normaliser.conditional,
    alignment_weight: float = 1.0,
    terms: Sequence[Term] = (),
    tile: int | None = None,
) -> Tensor:
    """:func:`contrastive_pair`, averaged over all unordered pairs of modalities, or over those of ``terms``.

    Args:
        z: name -> ``(K, D)``, two or more. A pair's first modality is the one inserted first; that order
            matters only where the directions' weights differ.
        fresh: name -> ``(M, D)`` from an independent batch, for ``within_fresh``; otherwise ignored.
        terms: which pairs (:func:`~mmcl.losses.terms.contrasts`); the mean over them is weighted by theirs.

    The other arguments, the result's range and the errors are those of :func:`contrastive_pair`; fewer than
    two encodings, or terms that fit none, raise ``ValueError`` too. The mean over pairs for more than two modalities
    is ours (the paper has two); Tian et al. (2020, contrastive multiview coding) sum over them.
    """
    if terms:
        check_encodings(z, one_width=False)
    else:
        check_encodings({name: rows for name, rows in z.items() if is_single(name)})
    pool = fresh if fresh is not None else {}
    pairs = contrasts(tuple(terms), tuple(z))
    losses = [
        pair.weight
        * contrastive_pair(
            z[pair.first],
            z[pair.second],
            pool.get(pair.first),
            pool.get(pair.second),
            similarity=similarity,
            lp_exponent=lp_exponent,
            temperature=temperature if pair.term.temperature is None else pair.term.temperature,
            negatives=pair.term.negatives or negatives,
            positive_in_denominator=positive_in_denominator,
            weight_second_given_first=weight_second_given_first,
            weight_first_given_second=weight_first_given_second,
            reduction=reduction,
            candidate_reduction=candidate_reduction,
            normaliser=normaliser,
            alignment_weight=alignment_weight,
            tile=tile,
        )
        for pair in pairs
    ]
    return torch.stack(losses).sum() / math.fsum(pair.weight for pair in pairs)


def mean_squared_norm(z: Mapping[str, Tensor]) -> Tensor:
    """The mean over rows and modalities of ``||z||^2``: name -> ``(K, D)`` gives a scalar.

    With weight lambda beside a Euclidean contrastive loss it bounds the encodings softly. As the denominator
    estimates an entropy (Eq. 5 of Daunhawer et al., 2023), ``lambda E||h||^2 - H(h)`` is, up to a constant,
    KL(p_h || N(0, I / (2 lambda))): the encodings are drawn to a Gaussian of variance 1 / (2 lambda), as a
    hard box draws them to its uniform distribution. Without either the entropy has no maximum, and encodings
    grow until the finite batch is told apart, whatever they have left out.

    >>> mean_squared_norm({"x1": torch.ones(4, 3), "x2": torch.zeros(4, 3)}).item()
    1.5
    """
    with torch.autocast(device_type=next(iter(z.values())).device.type, enabled=False):
        rows = full_precision(*z.values())
        return torch.stack([h.square().sum(dim=1).mean() for h in rows]).mean()


def require_weights(second_given_first: float, first_given_second: float) -> None:
    """Raise ``ValueError`` that names the field unless both are finite and >= 0, and not both 0."""
    weights = {"second_given_first": second_given_first, "first_given_second": first_given_second}
    for name, weight in weights.items():
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        require(number and 0 <= weight < math.inf, f"weight_{name}", weight, "a finite number >= 0")
    allowed = "> 0 where weight_first_given_second is 0"
    require(any(weights.values()), "weight_second_given_first", second_given_first, allowed)


def _checked_fresh(name: str, fresh: Tensor | None, h1: Tensor) -> Tensor:
    if fresh is None:
        raise ValueError(
            f"negatives=within_fresh needs a fresh batch of the anchors' modality, and {name!r} has none: "
            "pass encodings of an independent batch"
        )
    check_matrix(f"fresh {name}", fresh)
    check_same_width(name, h1, f"fresh {name}", fresh)
    return fresh


@dataclass(frozen=True)
class Contrastive:
    """The typed config of the family; ``build()`` makes the module.

    Fields are the axes of :func:`contrastive_pair`, and

    * ``learned_temperature``: log tau becomes a parameter that starts at log ``temperature``,
    * ``temperature_min``, ``temperature_max``: 0 < min <= max, the range in which a learned tau is held; read
      only when it is learned,
    * ``alignment_ramp``: fraction of training, in [0, 1], over which the weight of the alignment grows from 1 to
      ``alignment_weight``, geometrically: ``alignment_weight ** min(1, t / alignment_ramp)`` at the fraction t,
    * ``norm_penalty``: lambda >= 0, adds lambda times the :func:`mean_squared_norm` of the encodings (times K
      under ``Reduction.sum``). Not in the papers; see :func:`mean_squared_norm` for what it does.
    * ``terms``: which pairs of encodings are contrasted, see :class:`Term`; none: all pairs of modalities. The loss is
      their weighted mean: ``sum w l / sum w`` over all pairs that they stand for.
    * ``tile`` is not part of what a run is: it does not change the run key.

    Raises ``ValueError`` that names the field for a value out of range (NaN and infinity included). Enum
    fields also take the name of a member.
    """

    similarity: Similarity = Similarity.negative_squared_euclidean
    lp_exponent: float = 2.0
    temperature: float = 1.0
    learned_temperature: bool = False
    temperature_min: float = 0.01
    temperature_max: float = 100.0
    negatives: Negatives = Negatives.cross
    positive_in_denominator: bool = True
    weight_second_given_first: float = 1.0
    weight_first_given_second: float = 1.0
    reduction: Reduction = Reduction.mean
    candidate_reduction: Reduction = Reduction.mean
    normaliser: Normaliser = Normaliser.conditional
    alignment_weight: float = 1.0
    alignment_ramp: float = 0.0
    norm_penalty: float = 0.0
    terms: list[Term] = field(default_factory=list)
    tile: int | None = None

    def __post_init__(self) -> None:
        require(self.tile is None or self.tile >= 1, "tile", self.tile, "null (chosen) or >= 1")
        penalty = self.norm_penalty
        require(0 <= penalty < math.inf, "norm_penalty", penalty, "a finite number >= 0")
        for name, members in (
            ("similarity", Similarity),
            ("negatives", Negatives),
            ("reduction", Reduction),
            ("candidate_reduction", Reduction),
            ("normaliser", Normaliser),
        ):
            object.__setattr__(self, name, as_member(members, name, getattr(self, name)))
        require_share("alignment_ramp", self.alignment_ramp)
        for name in ("lp_exponent", "temperature", "temperature_min", "temperature_max", "alignment_weight"):
            require_positive(name, getattr(self, name))
        require_weights(self.weight_second_given_first, self.weight_first_given_second)
        low, high = self.temperature_min, self.temperature_max
        require(low <= high, "temperature_max", high, f"at least temperature_min={low}")
        if self.learned_temperature:
            allowed = f"in [temperature_min={low}, temperature_max={high}] when it is learned"
            require(low <= self.temperature <= high, "temperature", self.temperature, allowed)

        fresh = [t for t in self.terms if (t.negatives or self.negatives) is Negatives.within_fresh]
        require(
            not fresh, "terms", [f"{t.first}, {t.second}" for t in fresh], "none with negatives=within_fresh"
        )

    @property
    def draws(self) -> tuple[int, ...]:
        """The draws of the samples that it compares; 0 is the samples as they are."""
        return draws(self.terms)

    @property
    def needs_fresh_batch(self) -> bool:
        """Whether ``forward`` must be given encodings of an independent batch."""
        return self.negatives is Negatives.within_fresh

    def build(self) -> ContrastiveLoss:
        """The loss as a module."""
        return ContrastiveLoss(self)


class ContrastiveLoss(nn.Module):
    """:func:`contrastive_loss` with its options kept and its learned temperature.

    ``forward(z, fresh=None)`` takes name -> ``(K, D)`` and gives a scalar. ``progress``: the fraction of training that
    is done, which training sets; by default all of it.
    """

    log_temperature: nn.Parameter | None
    progress: float = 1.0

    def __init__(self, spec: Contrastive) -> None:
        super().__init__()
        self.spec = spec
        self.needs_fresh_batch = spec.needs_fresh_batch
        self._terms = tuple(spec.terms)
        start = torch.tensor(math.log(spec.temperature), dtype=torch.float32)
        self.log_temperature = nn.Parameter(start) if spec.learned_temperature else None

    def wanted(self, names: Sequence[str]) -> dict[int, tuple[str, ...]]:
        """Which of the encodings ``names`` it compares, of each draw of the samples.

        Draw 0 is the samples as they are, whose encodings have their plain names; those of draw k are ``name@k``.

        From here on terms are what they stand for among ``names``: later some of these are not there.

        Raises ``ValueError`` for terms that do not fit ``names``.
        """
        if not self.spec.terms:
            return {0: tuple(filter(is_single, names))}
        every = {
            draw: [f"{name}@{draw}" if draw else name for name in names] for draw in draws(self.spec.terms)
        }
        pairs = contrasts(tuple(self.spec.terms), tuple(name for part in every.values() for name in part))
        self._terms = tuple(replace(pair.term, first=pair.first, second=pair.second) for pair in pairs)
        compared = {name for pair in pairs for name in (pair.first, pair.second)}
        return {
            draw: tuple(name for name, full in zip(names, called, strict=True) if full in compared)
            for draw, called in every.items()
        }

    @property
    def temperature(self) -> float:
        """tau as used by the next forward pass."""
        if self.log_temperature is None:
            return self.spec.temperature
        tau = math.exp(self.log_temperature.item())
        return min(max(tau, self.spec.temperature_min), self.spec.temperature_max)

    @property
    def alignment_weight(self) -> float:
        """w as used by the next forward pass."""
        ramp = self.spec.alignment_ramp
        return float(self.spec.alignment_weight ** (min(1.0, self.progress / ramp) if ramp else 1.0))

    def forward(self, z: Mapping[str, Tensor], fresh: Mapping[str, Tensor] | None = None) -> Tensor:
        """The scalar loss; errors as in :func:`contrastive_loss`."""
        spec = self.spec
        loss = contrastive_loss(
            z,
            fresh,
            similarity=spec.similarity,
            lp_exponent=spec.lp_exponent,
            temperature=self._tau(),
            negatives=spec.negatives,
            positive_in_denominator=spec.positive_in_denominator,
            weight_second_given_first=spec.weight_second_given_first,
            weight_first_given_second=spec.weight_first_given_second,
            reduction=spec.reduction,
            candidate_reduction=spec.candidate_reduction,
            normaliser=spec.normaliser,
            alignment_weight=self.alignment_weight,
            terms=self._terms,
            tile=spec.tile,
        )
        if spec.norm_penalty == 0:
            return loss
        rows = len(next(iter(z.values()))) if spec.reduction is Reduction.sum else 1
        return loss + spec.norm_penalty * rows * mean_squared_norm(z)

    def extra_repr(self) -> str:
        return repr(self.spec)

    def _tau(self) -> float | Tensor:
        if self.log_temperature is None:
            return self.spec.temperature
        # The parameter itself is brought back into its range. A differentiable clamp would have gradient 0
        # beyond the bound, and a value that an optimiser step put there could never come back.
        with torch.no_grad():
            self.log_temperature.clamp_(
                math.log(self.spec.temperature_min), math.log(self.spec.temperature_max)
            )
        return self.log_temperature.exp()

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        # .half() and .bfloat16() are meant for encoders: a log-temperature of 8 bits would not move by small
        # steps.
        kept = None if self.log_temperature is None else self.log_temperature.detach().clone()
        super()._apply(fn, recurse)
        if kept is not None and self.log_temperature is not None and self.log_temperature.dtype != kept.dtype:
            self.log_temperature.data = kept.to(self.log_temperature.device)
        return self
