"""Similarities of encodings: all pairs ``(Ka, D) x (Kb, D) -> (Ka, Kb)`` and paired rows ``(K, D) -> (K,)``.

Every similarity is symmetric, sim(a, b) = sim(b, a), and grows as rows become more alike.
"""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor

NORM_FLOOR = 1e-8
"""Shorter rows are divided by this, not by their norm: bounds the gradient of cosine at a zero row."""


class Similarity(Enum):
    """sim(a, b) of Daunhawer et al. (2023), Eq. 2.

    * ``negative_squared_euclidean``: ``-||a - b||^2``, the paper's -(a - b)^2; in (-inf, 0]
    * ``negative_lp``: ``-sum_d |a_d - b_d|^p``, p > 0; in (-inf, 0]
    * ``cosine``: ``<a, b> / (||a|| ||b||)``; in [-1, 1]
    * ``inner_product``: ``<a, b>``
    """

    negative_squared_euclidean = "negative_squared_euclidean"
    negative_lp = "negative_lp"
    cosine = "cosine"
    inner_product = "inner_product"


def pairwise_similarity(a: Tensor, b: Tensor, similarity: Similarity, *, lp_exponent: float = 2.0) -> Tensor:
    """sim(a_i, b_j) of all pairs of rows.

    Args:
        a: ``(Ka, D)``, floating.
        b: ``(Kb, D)``, floating.
        similarity: which one, see :class:`Similarity`.
        lp_exponent: p > 0; read by ``negative_lp`` alone.

    Returns:
        ``(Ka, Kb)``.

    ``negative_squared_euclidean``, ``cosine`` and ``inner_product`` take one matrix product and O(Ka Kb)
    memory; ``negative_lp`` forms all differences, O(Ka Kb D).

    >>> a = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    >>> pairwise_similarity(a, a, Similarity.negative_lp, lp_exponent=1.0).tolist()
    [[-0.0, -7.0], [-7.0, -0.0]]
    """
    if similarity is Similarity.negative_squared_euclidean:
        return _all_negative_squared_distances(a, b)
    if similarity is Similarity.negative_lp:
        return -_absolute_power(a.unsqueeze(1) - b.unsqueeze(0), lp_exponent).sum(dim=-1)
    if similarity is Similarity.cosine:
        a, b = unit_rows(a), unit_rows(b)
    return a @ b.T


def paired_similarity(a: Tensor, b: Tensor, similarity: Similarity, *, lp_exponent: float = 2.0) -> Tensor:
    """sim(a_i, b_i) of rows of the same index: ``(K, D) x (K, D) -> (K,)``.

    Distances come from the differences themselves, so identical rows give exactly 0 at any offset, which the
    matrix product of :func:`pairwise_similarity` cannot promise. Arguments as there.

    >>> a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 2.0]])
    >>> paired_similarity(a, b, Similarity.negative_squared_euclidean).tolist()
    [-4.0]
    """
    if similarity is Similarity.negative_squared_euclidean:
        return -(a - b).square().sum(dim=-1)
    if similarity is Similarity.negative_lp:
        return -_absolute_power(a - b, lp_exponent).sum(dim=-1)
    if similarity is Similarity.cosine:
        a, b = unit_rows(a), unit_rows(b)
    return (a * b).sum(dim=-1)


def unit_rows(a: Tensor) -> Tensor:
    """``a_i / max(||a_i||, 1e-8)``: unit rows; a zero row stays zero, its gradient factor is 1e8, finite."""
    return a / torch.linalg.vector_norm(a, dim=-1, keepdim=True).clamp_min(NORM_FLOOR)


def centred(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both matrices minus their common mean row, for squared distances by ``||a_i||^2 + ||b_j||^2 - 2 <a_i, b_j>``.

    The three terms cancel badly when rows are far from the origin and close to each other. Distances do not change
    under translation, so the mean may go first; for the same reason it needs no gradient.
    """
    centre = torch.cat([a, b]).detach().mean(dim=0)
    return a - centre, b - centre


def _all_negative_squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """``-(||a_i||^2 + ||b_j||^2 - 2 <a_i, b_j>)``, in (-inf, 0]."""
    a, b = centred(a, b)
    negative = torch.addmm(-b.square().sum(dim=1).unsqueeze(0), a, b.T, alpha=2)
    # (adding the negated norms: subtracting would negate a whole Ka x Kb gradient on the way back)
    negative = negative.add_(-a.square().sum(dim=1).unsqueeze(1))
    # A positive entry is rounding. It is clamped outside autograd: the derivative 2 (b_j - a_i) of the
    # formula is right there too (a clamp with gradient would zero it), and no mask of Ka x Kb has to be
    # kept.
    with torch.no_grad():
        negative.clamp_(max=0.0)
    return negative


def _absolute_power(difference: Tensor, exponent: float) -> Tensor:
    """``|difference|^exponent`` elementwise, exponent > 0, with derivative 0 where the difference is 0.

    The absolute value matters: a signed odd power (a fault of an ancestor of the authors' release) is no
    distance, since it rewards differences of one sign.
    """
    if exponent >= 1.0:
        return difference.abs().pow(exponent)
    # Below 1 the derivative at 0 is infinite and autograd would return inf * 0 = nan; 0 is a subgradient's
    # stand-in.
    zero = difference == 0
    return difference.masked_fill(zero, 1.0).abs().pow(exponent).masked_fill(zero, 0.0)
