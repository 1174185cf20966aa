"""What lies nearest to a query among the encodings of another modality."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import numpy as np
from matplotlib.figure import Figure

from mmcl.checks import require
from mmcl.pictures.cells import Shown, draw_cell


def nearest(similarity: np.ndarray, query: int, k: int) -> list[int]:
    """The ``k`` items most similar to ``query`` by its row of ``similarity: (n, N)``, the first of equal ones first.

    >>> nearest(np.array([[0.1, 0.9, 0.9]]), 0, 2)
    [1, 2]
    """
    return np.argsort(-similarity[query], kind="stable")[:k].tolist()


def draw_neighbours(
    shown: Mapping[str, Shown],
    similarities: Mapping[tuple[str, str], np.ndarray],
    queries: int = 4,
    k: int = 5,
) -> Figure:
    """A row for each query and ordered pair of views: the query, its ``k`` nearest of the other view, and its partner.

    Args:
        shown: view -> its samples.
        similarities: (query's view, other view) -> ``(n, n)``; row i, column i are partners.
        queries: the first so many samples, >= 1.
        k: >= 1.

    A partner among the nearest is framed; the last column has the partner and its rank, 1 for the nearest.
    """
    require(queries >= 1, "queries", queries, ">= 1")
    require(k >= 1, "k", k, ">= 1")
    pairs = [pair for pair in permutations(shown, 2) if pair in similarities]
    figure = Figure(figsize=(1.45 * (k + 2), 1.65 * queries * len(pairs)), layout="constrained")
    axes = figure.subplots(queries * len(pairs), k + 2, squeeze=False)
    for p, (view, other) in enumerate(pairs):
        s = similarities[view, other]
        for query in range(queries):
            row = axes[p * queries + query]
            draw_cell(row[0], shown[view], query, title=f"query: {view}")
            found = nearest(s, query, k)
            for rank, (axis, item) in enumerate(zip(row[1:-1], found, strict=False), 1):
                draw_cell(axis, shown[other], item, title=f"{rank}", own=item == query)
            for axis in row[1 + len(found) : -1]:  # fewer samples than k
                axis.set_axis_off()
            rank = 1 + int((s[query] > s[query, query]).sum())
            draw_cell(row[-1], shown[other], query, title=f"partner, rank {rank}", own=True)
    return figure
