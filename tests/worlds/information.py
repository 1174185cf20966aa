"""Entropies and informations of joint laws, in bits, by their definitions."""

import math

import torch


def entropy(p):
    p = p.double().flatten()
    return float(-(p[p > 0] * p[p > 0].log2()).sum())


def information(joint):
    """I(A; B) of ``(A, B)``."""
    return entropy(joint.sum(dim=1)) + entropy(joint.sum(dim=0)) - entropy(joint)


def informations(law):
    """I(x1; y), I(x2; y) and I(x1, x2; y) of p(x1, x2, y)."""
    return information(law.sum(dim=1)), information(law.sum(dim=0)), information(law.flatten(0, 1))


def h(p):
    """The binary entropy."""
    return sum(-q * math.log2(q) for q in (p, 1 - p) if q > 0)


def beyond(counts, law):
    """The largest deviation of a cell's count from its mean, in standard deviations; inf where the law has none.

    A cell with 40 or more expected is beyond 5.5 with probability below 1e-6 (of a Poisson count of mean 40).
    """
    n = counts.sum()
    law = law.double()
    if bool((counts[law == 0] > 0).any()):
        return math.inf
    mean, spread = n * law, (n * law * (1 - law)).sqrt()
    varies = spread > 1e-6
    if not torch.allclose(counts[~varies].double(), mean[~varies]):
        return math.inf
    return float(((counts - mean).abs()[varies] / spread[varies]).max())


def frequencies(*columns, sizes):
    """Counts of the combinations of ``(n, 1)`` columns: a tensor of shape ``sizes``."""
    place = torch.zeros_like(columns[0])
    for column, size in zip(columns, sizes, strict=True):
        place = place * size + column
    return torch.bincount(place[:, 0], minlength=math.prod(sizes)).reshape(*sizes)
