"""What a model says of one modality given another: the samples of a set, weighted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mmcl.checks import require
from mmcl.evaluators.base import (
    NothingFitted,
    Objective,
    Representations,
    Row,
    check_spec,
    check_temperature,
    temperature_of,
)
from mmcl.evaluators.retrieval import CHUNK, check_comparable, check_similarity, ordered_pairs, similarities


def coverage(weights: Tensor, values: Tensor, truth: Tensor, level: float) -> Tensor:
    """The probability that ``truth`` is in the central interval of ``level`` of the weighted ``values``: ``(n, k)``.

    ``weights``: ``(n, N)``; ``values``: ``(N, k)``; ``truth``: ``(n, k)``. The central interval is what of the weight,
    in the order of the values, lies between ``(1 - level) / 2`` and ``(1 + level) / 2``. Where several weights, or the
    truth's own, take a share of the weight up, the truth stands at random in it (a randomised probability integral
    transform): a truth that was drawn by the weights is in the interval with probability ``level``, however few count.
    """
    low, high = (1 - level) / 2, (1 + level) / 2
    inside = []
    for column, true in zip(values.unbind(1), truth.unbind(1), strict=True):
        order = column.argsort()
        sorted_values, below = column[order].contiguous(), weights[:, order].cumsum(dim=1)
        below = torch.nn.functional.pad(below, (1, 0))
        first = torch.searchsorted(sorted_values, true.contiguous())
        last = torch.searchsorted(sorted_values, true.contiguous(), right=True)
        start, end = (below.gather(1, place[:, None])[:, 0] for place in (first, last))
        width = end - start
        common = (end.clamp(max=high) - start.clamp(min=low)).clamp(min=0)
        on_none = ((start >= low) & (start <= high)).double()
        inside.append(
            torch.where(width > 0, common / width.clamp(min=torch.finfo(width.dtype).tiny), on_none)
        )
    return torch.stack(inside, dim=1)


def weights_of_others(logits: Tensor, first: int) -> Tensor:
    """The softmax of ``logits: (n, N)`` without each query's own atom: row i's is the column ``first + i``.

    >>> weights_of_others(torch.zeros(1, 3), 1).tolist()
    [[0.5, 0.0, 0.5]]
    """
    own = torch.arange(len(logits), device=logits.device)[:, None] + first
    return logits.scatter(1, own, -torch.inf).softmax(dim=1)


def effective_number(weights: Tensor) -> Tensor:
    """``1 / sum_j w_j^2`` of each row: ``(n, N)``, rows of sum 1, to ``(n,)``, in [1, N].

    >>> effective_number(torch.tensor([[0.5, 0.0, 0.5]])).tolist()
    [2.0]
    """
    return 1 / weights.square().sum(dim=1)


def _effective_classes(weights: Tensor, labels: Tensor) -> Tensor:
    """``1 / sum_c p_c^2`` of each row of ``weights: (n, N)``, the mean over the columns of ``labels: (N, k)``."""
    counts = []
    for column in labels.unbind(1):
        classes, places = column.unique(return_inverse=True)
        shares = weights.new_zeros(len(weights), len(classes)).index_add_(1, places, weights)
        counts.append(effective_number(shares))
    return torch.stack(counts).mean(dim=0)


@dataclass(frozen=True)
class Generation(NothingFitted):
    """Crossmodal generation by weighted sampling: how diverse the atoms are that a query draws, and how alike it.

    Each test sample's encoding of one modality is a query; the atoms are all test samples, the query's own among them,
    weighted by their encodings of another modality: ``w_kj = exp(sim(q_k, a_j) / tau) / sum_j' exp(sim(q_k, a_j') /
    tau)``, the model's conditional law on the atoms. Rows for each ordered pair of encodings, of
    which the representation is ``query>atoms``. With the atoms' modality as target, means over the queries:

    * ``effective_sample_size``: ``1 / sum_j w_j^2``, in [1, N]. Chance: N, equal weights.
    * ``distinct_of_M``: the expected number of different atoms among ``draws`` with replacement,
      ``sum_j 1 - (1 - w_j)^M``. Chance: of equal weights.

    With a factor as target, means over queries and over its components; the first three by the weights of all atoms
    but the query's own, whose value is the query's for sure:

    * ``purity`` (discrete): the weight of the atoms of the query's class. Chance: of equal weights.
    * ``effective_classes`` (discrete): ``1 / sum_c p_c^2`` of the classes' weights p, 1 where one has all. Chance: of
      equal weights.
    * ``r2`` (continuous): of the weighted mean, as a prediction of the query's value; 1 of what is the same for all.
      Chance: of equal weights, -2/N.
    * ``coverage_P`` (continuous): how often the query's value is in the central interval of P % (:func:`coverage`).
      Calibrated: P %, with few atoms that count as with many. Chance: of equal weights.

    Args:
        n_test: samples that are queries and atoms, >= 2, from the test split; ``None``: all of it.
        draws: M >= 1.
        level: of the interval, in (0, 1).
        similarity: one of ``retrieval.SIMILARITIES``; ``lp_exponent`` is the p > 0 of ``negative_lp``.
        temperature: tau > 0; ``None``: what the trained loss has, learned or not.
        projected: of what the objective compared, behind the projection heads, instead of the encodings.

    Raises ``ValueError`` naming a bad field. Source: Baptista et al. (2025), Section 4, Theorem 4.2 and Figure 12; they
    draw from the model's law and show pictures. Effective sample size: Kish (1965).
    """

    n_test: int | None = 2000
    draws: int = 16
    level: float = 0.9
    similarity: str = "cosine"
    temperature: float | None = None
    projected: bool = False
    lp_exponent: float = 2.0

    def __post_init__(self) -> None:
        check_spec(self.n_fit, self.n_test, self.interventions)
        require(self.draws >= 1, "draws", self.draws, ">= 1")
        require(0 < self.level < 1, "level", self.level, "in (0, 1)")
        check_similarity(self.similarity, self.lp_exponent)
        check_temperature(self.temperature)

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: tuple[str, ...] = (),
        objective: Objective | None = None,
    ) -> list[Row]:
        """Rows of every ordered pair of single modalities; ``fit`` and ``reference`` are not used, of ``objective`` the
        temperature.

        Raises ``ValueError`` for encodings of different sizes.
        """
        tau = temperature_of(self.temperature, objective)
        return [
            row
            for query, atoms in ordered_pairs(test, self.projected)
            for row in self._rows(test, query, atoms, tau)
        ]

    def _rows(self, test: Representations, query: str, atoms: str, temperature: float) -> Iterator[Row]:
        z, others = test.z[query], test.z[atoms]
        check_comparable(query, z, atoms, others)
        n = len(test)
        found: dict[tuple[str, str], Tensor] = {}
        for first in range(0, n, CHUNK):
            rows = slice(first, first + CHUNK)
            logits = similarities(z[rows], others, self.similarity, self.lp_exponent) / temperature
            for key, value in self._sums(logits, test, rows, atoms).items():
                found[key] = found.get(key, torch.zeros(2, dtype=torch.float64)) + value
        for (target, metric), sums in found.items():
            value, chance = (sums / n).tolist()
            yield Row("test", f"{query}>{atoms}", target, metric, value, chance, None, 0, n)

    def _sums(
        self, logits: Tensor, test: Representations, rows: slice, atoms: str
    ) -> dict[tuple[str, str], Tensor]:
        """(target, metric) -> the sums over the queries ``rows``: of the logits' weights, and of equal ones."""
        n = logits.shape[1]
        laws = [logits.softmax(dim=1), torch.full_like(logits, 1 / n)]
        weights, _ = laws
        others = [weights_of_others(x, rows.start) for x in (logits, torch.zeros_like(logits))]
        found = {}

        def add(target: str, metric: str, ours: Tensor, chance: Tensor) -> None:
            found[target, metric] = torch.stack([ours.double().sum(), chance.double().sum()]).cpu()

        add(
            atoms,
            "effective_sample_size",
            effective_number(weights),
            torch.full((len(weights),), float(n)),
        )
        distinct = [(1 - (1 - w) ** self.draws).sum(dim=1) for w in laws]
        add(atoms, f"distinct_of_{self.draws}", *distinct)
        for name, factor in test.factors.items():
            y = factor.to(weights.device)
            own = y[rows]
            if not y.is_floating_point():
                alike = [(own[:, i, None] == y[None, :, i]).double() for i in range(y.shape[1])]
                share = torch.stack(alike).mean(dim=0)
                add(name, "purity", *((w * share).sum(dim=1) for w in others))
                add(name, "effective_classes", *(_effective_classes(w, y) for w in others))
                continue
            y, own = y.double(), own.double()
            spread = (y - y.mean(dim=0)).square().mean(dim=0)
            # What is the same for all is also the mean of any weights.
            spread = spread.masked_fill((y == y[0]).all(dim=0), torch.inf)
            # Of each query its share of R^2: their mean is 1 - sum of squares / variance, the mean over components.
            errors = [(w @ y - own).square() / spread for w in others]
            add(name, "r2", *(1 - error.mean(dim=1) for error in errors))
            covered = [coverage(w, y, own, self.level).mean(dim=1) for w in laws]
            add(name, f"coverage_{100 * self.level:g}", *covered)
        return found
