"""Which directions of content and style an encoding holds, and how much there is of each to hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mmcl.evaluators.base import Objective, Representations, Row
from mmcl.evaluators.ridge import KernelRidge

RANK_TOLERANCE = 1e-6
"""Singular values below this share of the largest are rounding, not directions."""


@dataclass(frozen=True)
class Directions:
    """Directions of a block of factors, the strongest first.

    ``strength``: ``(r,)``, the variance along each, or its correlation with the other modalities. ``maps``: ``(k, r)``;
    ``(y - mean) @ maps`` are the coordinates, each of unit variance on the samples that the directions came from.
    """

    mean: Tensor
    maps: Tensor
    strength: Tensor

    def coordinates(self, y: Tensor) -> dict[int, Tensor]:
        """Number of a direction, from 1 -> its coordinate, ``(N, 1)``."""
        found = (y.double() - self.mean) @ self.maps
        return {i + 1: found[:, i : i + 1] for i in range(found.shape[1])}


def principal_directions(y: Tensor) -> Directions:
    """The principal components of ``y: (N, k)``: eigenvectors of its covariance (divided by N), by variance.

    >>> y = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> [round(v, 6) for v in principal_directions(y).strength.tolist()]
    [2.0, 0.5]
    """
    mean, _, values, axes = _whiten(y)
    scale = values / len(y) ** 0.5
    return Directions(mean, axes / scale, scale.square())


def canonical_directions(a: Tensor, b: Tensor) -> tuple[Directions, Directions]:
    """The directions of ``a: (N, k)`` and ``b: (N, l)`` by their canonical correlation (Hotelling, 1936), in pairs.

    There are as many as the smaller of the two has: the others have no correlation with the other side at all.

    >>> a = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
    >>> [round(r, 6) for r in canonical_directions(a, a.roll(1, dims=1))[0].strength.tolist()]
    [1.0, 1.0]
    """
    # Both from one decomposition: directions of equal correlation are in pairs only so.
    sides = [_whiten(a), _whiten(b)]
    left, correlations, right = torch.linalg.svd(sides[0][1].mT @ sides[1][1], full_matrices=False)
    first, second = (
        Directions(mean, (axes / (values / len(a) ** 0.5)) @ turn, correlations.clamp(max=1.0))
        for (mean, _, values, axes), turn in zip(sides, (left, right.mT), strict=True)
    )
    return first, second


def _whiten(y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean ``(1, k)``, and the singular value decomposition of the rest: ``(N, r)``, ``(r,)`` and axes ``(k, r)``."""
    y = y.double()
    mean = y.mean(dim=0, keepdim=True)
    left, values, axes = torch.linalg.svd(y - mean, full_matrices=False)
    kept = values > RANK_TOLERANCE * values[0]
    return mean, left[:, kept], values[kept], axes[kept].mT


@dataclass(frozen=True)
class DirectionRidge(KernelRidge):
    """R^2 of single directions of content and style by the kernel ridge, and how strong each direction is.

    Content: its principal components. Target ``content_pc1`` is the coordinate along the direction of largest variance;
    metric ``r2`` for each encoding, and ``variance`` (representation ``all``).

    Style, where several modalities have one: for each modality the canonical directions of its style with the styles
    of all others. Target ``style_cc1.x1`` is the coordinate that x1 shares most; metric ``r2`` for each encoding, and
    ``canonical_correlation`` (representation the modality's).

    Directions are those of the fit split. Discrete factors have none. Fields and errors are those of
    :class:`~mmcl.evaluators.ridge.KernelRidge`. Not in the papers: it shows what Daunhawer et al. (2023), 5.1, explain
    the style in their rows with statistical dependence by, a smaller effective dimensionality of content.
    """

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: tuple[str, ...] = (),
        objective: Objective | None = None,
    ) -> list[Row]:
        """A row for each representation and direction, and one for each direction's strength."""
        rows: list[Row] = []
        targets: dict[str, Tensor] = {}
        scored: dict[str, Tensor] = {}
        for name, factor, metric, representation, found in _blocks(fit.continuous()):
            for (i, y), y_test in zip(
                found.coordinates(fit.factors[factor]).items(),
                found.coordinates(test.factors[factor]).values(),
                strict=True,
            ):
                target = name.format(i)
                targets[target], scored[target] = y, y_test
                strength = float(found.strength[i - 1])
                rows.append(
                    Row(
                        "test", representation, target, metric, strength, None, None, n_fit=len(fit), n_test=0
                    )
                )
        if not targets:
            return []
        return [*self.predict(_with(fit, targets), _with(test, scored), targets, reference), *rows]


def _with(samples: Representations, factors: Mapping[str, Tensor]) -> Representations:
    return Representations(samples.z, {**samples.factors, **factors})


def _blocks(factors: Mapping[str, Tensor]) -> Iterator[tuple[str, str, str, str, Directions]]:
    """Pattern of the targets' names, factor, metric of the strength, whose it is, directions."""
    if "content" in factors:
        yield "content_pc{}", "content", "variance", "all", principal_directions(factors["content"])
    styles = {name.partition(".")[2]: y for name, y in factors.items() if name.startswith("style.")}
    if len(styles) < 2:
        return
    for view, y in styles.items():
        others = torch.cat([other for name, other in styles.items() if name != view], dim=1)
        found, _ = canonical_directions(y, others)
        yield f"style_cc{{}}.{view}", f"style.{view}", "canonical_correlation", view, found
