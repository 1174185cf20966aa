"""The slow twin: the family by plain loops over rows and candidates, straight from the formula."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmcl.losses import Negatives, Normaliser, Reduction, Similarity


def similarity_of(a: Tensor, b: Tensor, kind: Similarity, p: float) -> Tensor:
    if kind is Similarity.negative_squared_euclidean:
        return -sum((a[d] - b[d]) ** 2 for d in range(len(a)))  # type: ignore[return-value]
    if kind is Similarity.negative_lp:
        return -sum((a[d] - b[d]).abs() ** p for d in range(len(a)))  # type: ignore[return-value]
    inner = sum(a[d] * b[d] for d in range(len(a)))
    if kind is Similarity.cosine:
        return inner / (a.dot(a).sqrt() * b.dot(b).sqrt())
    return inner  # type: ignore[return-value]


def one_direction(
    h1, h2, fresh1, kind, p, tau, negatives, positive_in, reduction, candidate_reduction, normaliser, weight
) -> Tensor:
    positives, sums, counts = [], [], []
    for i in range(len(h1)):
        candidates = [h2[i]] if positive_in else []
        for j in range(len(h1)):
            if j != i and negatives in (Negatives.cross, Negatives.both):
                candidates.append(h2[j])
            if j != i and negatives in (Negatives.within, Negatives.both):
                candidates.append(h1[j])
        if negatives is Negatives.within_fresh:
            candidates += list(fresh1)
        total = sum(torch.exp(similarity_of(h1[i], c, kind, p) / tau) for c in candidates)
        positives.append(similarity_of(h1[i], h2[i], kind, p) / tau)
        sums.append(total)
        counts.append(len(candidates))
    if normaliser is Normaliser.joint:
        sums, counts = [sum(sums)] * len(h1), [sum(counts)] * len(h1)
    if candidate_reduction is Reduction.mean:
        sums = [total / count for total, count in zip(sums, counts, strict=True)]
    summed = sum(
        torch.log(total) - weight * positive for total, positive in zip(sums, positives, strict=True)
    )
    return summed / len(h1) if reduction is Reduction.mean else summed  # type: ignore[return-value]


def naive_pair(
    h1, h2, fresh1, fresh2, *, similarity, lp_exponent, temperature, negatives, positive_in_denominator,
    weight_second_given_first, weight_first_given_second, reduction, candidate_reduction, normaliser,
    alignment_weight,
) -> Tensor:  # fmt: skip
    rest = (
        similarity, lp_exponent, temperature, negatives, positive_in_denominator, reduction, candidate_reduction,
        normaliser, alignment_weight,
    )  # fmt: skip
    forward = weight_second_given_first * one_direction(h1, h2, fresh1, *rest)
    backward = weight_first_given_second * one_direction(h2, h1, fresh2, *rest)
    return (forward + backward) / 2


def naive_kernel_entropy(h: Tensor, bandwidth: float) -> Tensor:
    rows, width = h.shape
    logs = []
    for i in range(rows):
        density = 0.0
        for j in range(rows):
            if j != i:
                square = ((h[i] - h[j]) ** 2).sum()
                constant = (2 * math.pi * bandwidth**2) ** (-width / 2)
                density = density + constant * torch.exp(-square / (2 * bandwidth**2)) / (rows - 1)
        logs.append(torch.log(density))
    return -sum(logs) / rows  # type: ignore[return-value]
