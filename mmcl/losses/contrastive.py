"""One family of contrastive losses: InfoNCE and its relatives as points on named axes.

For anchors ``h1`` and their partners ``h2`` (row i of both from sample i), one direction is

    l_i = - sim(h1_i, h2_i) / tau + log sum_{c in C_i} exp( sim(h1_i, c) / tau )  [ - log |C_i| ]

where the candidates C_i depend on ``negatives`` (below) and hold the positive h2_i or not, and the bracket
is the log-mean of ``normaliser``. Eq. 2 of Daunhawer et al. (2023, "Identifiability results for multimodal
contrastive learning") is ``cross`` with the positive, log-sum, summed over the batch, one direction; Eq. 4
is the mean of both.

Departure: by default the mean over the batch and the log-*mean* over candidates, so that values compare
across batch sizes. Exactly: ``printed = K * (ours + log K)`` for ``cross``, and the printed gradient is K
times ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from typing import Any, Self

import torch
from torch import Tensor, nn

from mmcl.checks import require
from mmcl.losses.distributed import gather_named_rows
from mmcl.losses.inputs import (
    check_encodings,
    check_matrix,
    check_same_width,
    full_precision,
    unordered_pairs,
)
from mmcl.losses.options import as_member, require_positive
from mmcl.losses.pairs import logsumexps
from mmcl.losses.similarity import Similarity, paired_similarity


class Negatives(Enum):
    """Where the negatives of the anchor h1_i come from; K rows a batch, M rows in the fresh batch.

    * ``cross``: h2_j, j != i, the other modality of the same batch (Eq. 2 and 4); K - 1 of them
    * ``within``: h1_j, j != i, the anchor's own modality; K - 1
    * ``within_fresh``: h1'_j, all j, the own modality of an independent batch (the authors' release); M
    * ``both``: h2_j and h1_j, j != i (NT-Xent, Chen et al., 2020); 2K - 2
    """

    cross = "cross"
    within = "within"
    within_fresh = "within_fresh"
    both = "both"


class Reduction(Enum):
    """Over the batch: ``mean``, or ``sum`` as Eq. 2 prints."""

    mean = "mean"
    sum = "sum"


class Normaliser(Enum):
    """Over the candidates: ``log_mean`` subtracts the log of their number, ``log_sum`` (printed) does not."""

    log_mean = "log_mean"
    log_sum = "log_sum"


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
    symmetric: bool = True,
    reduction: Reduction = Reduction.mean,
    normaliser: Normaliser = Normaliser.log_mean,
    tile: int | None = None,
) -> Tensor:
    """The loss of one pair of modalities (formula at the head of this module).

    Args:
        h1: ``(K, D)`` encodings of the first modality, the anchors of the first direction.
        h2: ``(K, D)`` encodings of the second; row i belongs to row i of ``h1``.
        fresh1: ``(M, D)`` encodings of the first modality from an independent batch; ``within_fresh`` alone.
        fresh2: the same of the second modality; needed only when ``symmetric``.
        similarity: sim; ``lp_exponent`` is its p > 0 for ``negative_lp``.
        temperature: tau > 0, a number or a 0-dim tensor (which then gets a gradient).
        negatives: see :class:`Negatives`.
        positive_in_denominator: whether h2_i stands among the candidates C_i.
        symmetric: mean of the directions 1 -> 2 and 2 -> 1 (Eq. 4), or 1 -> 2 alone (Eq. 2).
        reduction: over the batch.
        normaliser: over the candidates; |C_i| is K - 1 (``cross``, ``within``), M (``within_fresh``) or 2K -
            2 (``both``), plus 1 with the positive.
        tile: rows and columns of pairs held in memory at a time, >= 1 (see :mod:`mmcl.losses.pairs`); ``None``
            chooses. It decides memory and time, not the value.

    Returns:
        Scalar, in float32 (float64 if an input is), also under autocast. With ``cross``, the positive in the
        denominator, ``mean`` and ``log_mean`` it is at least -log K.

    Raises:
        ValueError: for other than two ``(K, D)`` matrices of one shape; K = 1 where negatives come from the
            same batch; a missing or misshapen fresh batch for ``within_fresh``; a temperature or exponent
            that is not positive and finite.

    A fresh batch that is not needed is ignored.

    >>> h = torch.tensor([[0.0], [10.0]])
    >>> round(contrastive_pair(h, h).item(), 4)  # perfectly separated: -log 2
    -0.6931
    """
    check_encodings({"h1": h1, "h2": h2})
    require_positive("lp_exponent", lp_exponent)
    if not isinstance(temperature, Tensor):
        require_positive("temperature", temperature)
    if negatives is not Negatives.within_fresh and h1.shape[0] < 2:
        raise ValueError(
            f"a batch of 1 row leaves no negatives with negatives={negatives.name}: "
            "use a batch size of at least 2"
        )
    anchors = ("h1", "h2") if symmetric else ("h1",)
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
            for name, part in zip(anchors, sums(h1, h2, skip_diagonal=True, both=symmetric), strict=False):
                parts[name].append(part)
        if negatives in (Negatives.within, Negatives.both):
            for name in anchors:
                parts[name].append(sums(rows[name], rows[name], skip_diagonal=True)[0])
        if negatives is Negatives.within_fresh:
            for name in anchors:
                parts[name].append(sums(rows[name], pools[name], skip_diagonal=False)[0])

        losses = []
        for name in anchors:
            row_losses = reduce(torch.logaddexp, parts[name]) - positive
            if normaliser is Normaliser.log_mean:
                fresh_rows = pools[name].shape[0] if name in pools else 0
                count = candidate_count(h1.shape[0], negatives, positive_in_denominator, fresh_rows)
                row_losses = row_losses - math.log(count)
            losses.append(row_losses.mean() if reduction is Reduction.mean else row_losses.sum())
        return torch.stack(losses).mean()


def candidate_count(
    rows: int, negatives: Negatives, positive_in_denominator: bool, fresh_rows: int = 0
) -> int:
    """|C_i|, the number of candidates of one anchor: what ``log_mean`` divides by.

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
    symmetric: bool = True,
    reduction: Reduction = Reduction.mean,
    normaliser: Normaliser = Normaliser.log_mean,
    tile: int | None = None,
) -> Tensor:
    """:func:`contrastive_pair`, averaged over all unordered pairs of two or more modalities.

    Args:
        z: name -> ``(K, D)``, two or more. A pair's first modality is the one inserted first; that order
            matters only when not ``symmetric``.
        fresh: name -> ``(M, D)`` from an independent batch, for ``within_fresh``; otherwise ignored.

    The other arguments, the result's range and the errors are those of :func:`contrastive_pair`; fewer than
    two modalities raise ``ValueError`` too. The mean over pairs for more than two modalities is ours (the
    paper has two); Tian et al. (2020, contrastive multiview coding) sum over them.
    """
    check_encodings(z)
    pool = fresh if fresh is not None else {}
    losses = [
        contrastive_pair(
            z[first],
            z[second],
            pool.get(first),
            pool.get(second),
            similarity=similarity,
            lp_exponent=lp_exponent,
            temperature=temperature,
            negatives=negatives,
            positive_in_denominator=positive_in_denominator,
            symmetric=symmetric,
            reduction=reduction,
            normaliser=normaliser,
            tile=tile,
        )
        for first, second in unordered_pairs(z)
    ]
    return torch.stack(losses).mean()


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
    * ``norm_penalty``: lambda >= 0, adds lambda times the :func:`mean_squared_norm` of the encodings (times K
      under ``Reduction.sum``). Not in the papers; see :func:`mean_squared_norm` for what it does.
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
    symmetric: bool = True
    reduction: Reduction = Reduction.mean
    normaliser: Normaliser = Normaliser.log_mean
    norm_penalty: float = 0.0
    tile: int | None = None

    def __post_init__(self) -> None:
        require(self.tile is None or self.tile >= 1, "tile", self.tile, "null (chosen) or >= 1")
        penalty = self.norm_penalty
        require(0 <= penalty < math.inf, "norm_penalty", penalty, "a finite number >= 0")
        for name, members in (
            ("similarity", Similarity),
            ("negatives", Negatives),
            ("reduction", Reduction),
            ("normaliser", Normaliser),
        ):
            object.__setattr__(self, name, as_member(members, name, getattr(self, name)))
        for name in ("lp_exponent", "temperature", "temperature_min", "temperature_max"):
            require_positive(name, getattr(self, name))
        low, high = self.temperature_min, self.temperature_max
        require(low <= high, "temperature_max", high, f"at least temperature_min={low}")
        if self.learned_temperature:
            allowed = f"in [temperature_min={low}, temperature_max={high}] when it is learned"
            require(low <= self.temperature <= high, "temperature", self.temperature, allowed)

    @property
    def needs_fresh_batch(self) -> bool:
        """Whether ``forward`` must be given encodings of an independent batch."""
        return self.negatives is Negatives.within_fresh

    def build(self) -> ContrastiveLoss:
        """The loss as a module."""
        return ContrastiveLoss(self)


class ContrastiveLoss(nn.Module):
    """:func:`contrastive_loss` with its options kept, its learned temperature, and the rows of all ranks.

    ``forward(z, fresh=None)`` takes name -> ``(K, D)`` and gives a scalar. In a ``torch.distributed`` group
    the rows of all ranks are gathered first, so every rank returns the loss of the global batch; see
    :mod:`mmcl.losses.distributed` for the gradient's factor.
    """

    log_temperature: nn.Parameter | None

    def __init__(self, spec: Contrastive) -> None:
        super().__init__()
        self.spec = spec
        self.needs_fresh_batch = spec.needs_fresh_batch
        start = torch.tensor(math.log(spec.temperature), dtype=torch.float32)
        self.log_temperature = nn.Parameter(start) if spec.learned_temperature else None

    @property
    def temperature(self) -> float:
        """tau as used by the next forward pass."""
        if self.log_temperature is None:
            return self.spec.temperature
        tau = math.exp(self.log_temperature.item())
        return min(max(tau, self.spec.temperature_min), self.spec.temperature_max)

    def forward(self, z: Mapping[str, Tensor], fresh: Mapping[str, Tensor] | None = None) -> Tensor:
        """The scalar loss; errors as in :func:`contrastive_loss`."""
        spec = self.spec
        check_encodings(z)
        z = gathered(z)
        fresh = gathered(fresh) if fresh and self.needs_fresh_batch else None
        loss = contrastive_loss(
            z,
            fresh,
            similarity=spec.similarity,
            lp_exponent=spec.lp_exponent,
            temperature=self._tau(),
            negatives=spec.negatives,
            positive_in_denominator=spec.positive_in_denominator,
            symmetric=spec.symmetric,
            reduction=spec.reduction,
            normaliser=spec.normaliser,
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


def gathered(z: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The rows of all ranks, in full precision before they travel: gradients are summed on the way back."""
    for name, rows in z.items():
        check_matrix(name, rows)
    return gather_named_rows(dict(zip(z, full_precision(*z.values()), strict=True)))
