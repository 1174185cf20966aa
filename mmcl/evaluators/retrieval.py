"""Finding a sample's partner among the encodings of another modality."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations

import torch
from torch import Tensor

from mmcl.checks import require, require_choice
from mmcl.evaluators.base import NothingFitted, Objective, Representations, Row, check_spec

SIMILARITIES = ("negative_squared_euclidean", "negative_lp", "cosine", "inner_product")
"""Those of the losses, :class:`mmcl.losses.Similarity`."""

TOLERANCE = 1e-9
"""Similarities closer than this share of their size are equal: a matrix product rounds those of equal encodings."""

CHUNK = 2048
"""Queries at a time: memory only."""


def check_similarity(similarity: str, lp_exponent: float) -> None:
    """Raise ``ValueError`` for one that is none of ``SIMILARITIES``, and for an exponent that is not positive."""
    require_choice("similarity", similarity, SIMILARITIES)
    require(0 < lp_exponent < math.inf, "lp_exponent", lp_exponent, "> 0 and finite")


def similarities(queries: Tensor, items: Tensor, similarity: str, lp_exponent: float = 2.0) -> Tensor:
    """``(n, D)`` and ``(N, D)`` to ``(n, N)``, float64. ``similarity`` is one of ``SIMILARITIES``."""
    queries, items = queries.double(), items.double()
    if similarity == "negative_lp":
        mode = "donot_use_mm_for_euclid_dist"  # whose differences of large numbers are no ties where rows are equal
        return -torch.cdist(queries, items, p=lp_exponent, compute_mode=mode).pow(lp_exponent)
    if similarity == "cosine":
        queries, items = (torch.nn.functional.normalize(z, dim=1) for z in (queries, items))
    product = queries @ items.T
    if similarity != "negative_squared_euclidean":
        return product
    return 2 * product - queries.square().sum(dim=1)[:, None] - items.square().sum(dim=1)


def ordered_pairs(samples: Representations, projected: bool) -> list[tuple[str, str]]:
    """All ordered pairs of single modalities; none where there is one.

    Raises ``ValueError`` where they are ``projected``, and what the objective compares is not of two modalities.
    """
    found = list(permutations(samples.modalities(), 2))
    if projected and not found:
        raise ValueError(
            f"projected=True: the objective compares no two modalities, but only {', '.join(samples.z)}; "
            "give projected=false to this evaluator, or leave it out of evaluator=[...]"
        )
    return found


def check_comparable(query: str, z: Tensor, other: str, others: Tensor) -> None:
    """Raise ``ValueError`` that names both for encodings of different sizes."""
    if z.shape[1] != others.shape[1]:
        raise ValueError(f"encodings {query} and {other} have {z.shape[1]} and {others.shape[1]} dimensions")


def chance_of_a_hit(at: int, items: Tensor, relevant: Tensor) -> Tensor:
    """The probability that one of ``relevant`` items is among ``at`` that are drawn from ``items`` without replacement.

    ``1 - C(items - relevant, at) / C(items, at)``, elementwise; ``at`` beyond ``items`` takes all.

    >>> chance_of_a_hit(2, torch.tensor(4), torch.tensor(1)).item()
    0.5
    """
    missed = torch.ones_like(items, dtype=torch.float64)
    for drawn in range(at):
        others = (items - relevant - drawn).clamp(min=0)
        missed = missed * others / (items - drawn).clamp(min=1)
    return 1 - missed


def recalls(s: Tensor, relevant: Tensor, ks: list[int]) -> Tensor:
    """The probability that one of each query's relevant items is among the first k: ``(n, len(ks))``, float64.

    ``s``: ``(n, N)`` similarities; ``relevant``: ``(n, N)``, of each query one or more. Equal similarities are in
    random order: encodings that are all the same find nothing but by chance.
    """
    before, tied = _places(s, s.masked_fill(~relevant, -torch.inf).amax(dim=1, keepdim=True))
    n_tied, n_relevant = tied.sum(dim=1), (tied & relevant).sum(dim=1)
    found = torch.zeros(len(s), len(ks), dtype=torch.float64, device=s.device)
    for column, k in enumerate(ks):
        places = (k - before).clamp(min=0)  # for those that tie
        for at in places.unique().tolist():
            rows = places == at
            found[rows, column] = chance_of_a_hit(at, n_tied[rows], n_relevant[rows])
    return found


def ranks(s: Tensor, partner: Tensor) -> Tensor:
    """The place of each query's partner among all items, from 1; of items as similar as it, the middle one's.

    ``s``: ``(n, N)`` similarities; ``partner``: ``(n,)``, int64. Returns ``(n,)``, float64.

    >>> ranks(torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0]]), torch.tensor([2, 0])).tolist()
    [2.0, 2.0]
    """
    before, tied = _places(s, s.gather(1, partner[:, None]))
    return before + (tied.sum(dim=1) + 1).double() / 2


def _places(s: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Of a similarity for each query, ``(n, 1)``: how many items are more similar, and which are equally similar."""
    margin = TOLERANCE * own.abs().clamp(min=1.0)
    return (s > own + margin).sum(dim=1), (s - own).abs() <= margin


@dataclass(frozen=True)
class Retrieval(NothingFitted):
    """Recall at k: how often a query's partner is among the k most similar encodings of another modality.

    Rows for each ordered pair of single modalities: representation is the query's, target the other's. Metric
    ``recall_at_K``: the query's own partner is found, chance k / N. Metric ``median_rank``: the median over queries of
    the partner's place (:func:`ranks`), from 1; chance (N + 1) / 2. Metric ``class_recall_at_K``, where ``classes``
    names factors: a sample of the same classes is found. Chance: items in random order, for the classes as they are.

    Args:
        n_test: samples that are queries and items, >= 2, taken from the test split; ``None``: all of it.
        ks: numbers of items looked at, each >= 1 and <= ``n_test``.
        classes: discrete factors that all must agree; none: no such rows.
        similarity: one of ``SIMILARITIES``; ``lp_exponent`` is the p > 0 of ``negative_lp``.
        projected: of what the objective compared, behind the projection heads, instead of the encodings.

    Raises ``ValueError`` naming a bad field. Source: the usual Recall@K of cross-modal retrieval.
    """

    n_test: int | None = 2000
    ks: list[int] = field(default_factory=lambda: [1, 5, 10])
    classes: list[str] = field(default_factory=list)
    similarity: str = "cosine"
    projected: bool = False
    lp_exponent: float = 2.0

    def __post_init__(self) -> None:
        check_spec(self.n_fit, self.n_test, self.interventions)
        require(len(self.ks) > 0, "ks", list(self.ks), "a non-empty list")
        for k in self.ks:
            good = k >= 1 and (self.n_test is None or k <= self.n_test)
            require(good, "ks", list(self.ks), f"from 1 to n_test = {self.n_test}")
        check_similarity(self.similarity, self.lp_exponent)

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: tuple[str, ...] = (),
        objective: Objective | None = None,
    ) -> list[Row]:
        """Rows of every ordered pair of single modalities; ``fit``, ``reference`` and ``objective`` are not used.

        Raises ``ValueError`` for a class that is no discrete factor, and for encodings of different sizes.
        """
        require(max(self.ks) <= len(test), "ks", list(self.ks), f"at most {len(test)}, the test samples")
        partner = torch.arange(len(test))[:, None]
        wanted = {"recall_at": partner}
        if self.classes:
            known = test.discrete()
            for name in self.classes:
                require_choice("classes", name, known)
            wanted["class_recall_at"] = torch.cat([known[name].cpu() for name in self.classes], dim=1)
        return [
            row
            for query, item in ordered_pairs(test, self.projected)
            for row in self._rows(test, query, item, wanted)
        ]

    def _rows(self, test: Representations, query: str, item: str, wanted: dict[str, Tensor]) -> Iterator[Row]:
        z, others = test.z[query], test.z[item]
        check_comparable(query, z, item, others)
        ks = list(self.ks)
        values = {metric: torch.zeros(len(ks), dtype=torch.float64) for metric in wanted}
        chances = {metric: torch.zeros(len(ks), dtype=torch.float64) for metric in wanted}
        n = torch.tensor(len(test))
        places = []
        for start in range(0, len(test), CHUNK):
            rows = slice(start, start + CHUNK)
            s = similarities(z[rows], others, self.similarity, self.lp_exponent).cpu()
            places.append(ranks(s, torch.arange(start, start + len(s))))
            for metric, labels in wanted.items():
                relevant = (labels[rows, None] == labels[None]).all(dim=2)
                values[metric] += recalls(s, relevant, ks).sum(dim=0)
                have = relevant.sum(dim=1)
                chances[metric] += torch.stack(
                    [chance_of_a_hit(k, n.expand(len(have)), have).sum() for k in ks]
                )
        found = [
            (f"{metric}_{k}", float(value / n), float(chance / n))
            for metric in wanted
            for k, value, chance in zip(ks, values[metric], chances[metric], strict=True)
        ]
        # (not torch.median, which takes the lower of two middle ones)
        found.append(("median_rank", float(torch.cat(places).quantile(0.5)), (len(test) + 1) / 2))
        for metric, value, chance in found:
            yield Row("test", query, item, metric, value, chance, None, 0, len(test))
