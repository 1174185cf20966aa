"""What a model draws of one modality, given another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from mmcl.checks import require
from mmcl.pictures.cells import Shown, draw_cell


def draw_draws(
    shown: Mapping[str, Shown],
    weights: Mapping[tuple[str, str], np.ndarray],
    queries: int = 4,
    draws: int = 16,
    seed: int = 0,
) -> Figure:
    """A row for each query and ordered pair of views: the query, its partner, and ``draws`` weighted draws.

    Args:
        shown: view -> its samples.
        weights: (query's view, other view) -> ``(n, n)``, each row a law on the samples; partners have one number.
        queries: the first so many samples, >= 1.
        draws: with replacement, >= 1.
        seed: of the draws.

    A draw that is the partner is framed. Figure 12 of Baptista et al. (2025) has such a row for each of three losses.
    """
    require(queries >= 1, "queries", queries, ">= 1")
    require(draws >= 1, "draws", draws, ">= 1")
    random = np.random.default_rng(seed)
    figure = Figure(figsize=(0.85 * (draws + 2), 1.1 * queries * len(weights)), layout="constrained")
    axes = figure.subplots(queries * len(weights), draws + 2, squeeze=False)
    for p, ((view, other), law) in enumerate(weights.items()):
        for query in range(queries):
            row = axes[p * queries + query]
            draw_cell(row[0], shown[view], query, title=f"query: {view}")
            draw_cell(row[1], shown[other], query, title="partner", own=True)
            for axis, item in zip(row[2:], random.choice(len(law), draws, p=law[query]), strict=True):
                draw_cell(axis, shown[other], int(item), own=item == query)
    return figure
