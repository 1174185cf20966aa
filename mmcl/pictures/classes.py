"""The classes that a model gives one modality, given another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from mmcl.checks import require
from mmcl.pictures.cells import OWN, Shown, draw_cell

NUMBERED = 12
"""Classes that there is room to number."""


def draw_classes(
    shown: Mapping[str, Shown],
    weights: Mapping[tuple[str, str], np.ndarray],
    factors: Mapping[str, np.ndarray],
    queries: int = 4,
) -> Figure:
    """A row for each query and ordered pair of views: the query, and of each factor the weights of its classes.

    Args:
        shown: view -> its samples.
        weights: (query's view, other view) -> ``(n, n)``, each row a law on the samples; partners have one number.
        factors: name -> ``(n,)``, of each sample the class; one or more.
        queries: the first so many samples, >= 1.

    The query's own class is coloured. Figure 11 of Baptista et al. (2025) has such bars for each of three losses.
    """
    require(queries >= 1, "queries", queries, ">= 1")
    require(len(factors) >= 1, "factors", list(factors), "one or more")
    rows, columns = queries * len(weights), 1 + len(factors)
    figure = Figure(figsize=(1.4 + 2.2 * len(factors), 1.1 * rows), layout="constrained")
    classed = {name: np.unique(values, return_inverse=True) for name, values in factors.items()}
    axes = figure.subplots(rows, columns, squeeze=False, width_ratios=[1.4] + [2.2] * len(factors))
    for p, ((view, other), law) in enumerate(weights.items()):
        for query in range(queries):
            first, *bars = axes[p * queries + query]
            draw_cell(first, shown[view], query, title=f"query: {view}")
            for axis, (name, (classes, places)) in zip(bars, classed.items(), strict=True):
                shares = np.bincount(places, weights=law[query], minlength=len(classes))
                drawn = axis.bar(range(len(classes)), shares, color="#bbbbbb")
                drawn[places[query]].set_color(OWN)
                axis.set_ylim(0, 1)
                axis.set_yticks([0, 1])
                numbered = len(classes) <= NUMBERED
                axis.set_xticks(range(len(classes)) if numbered else [], classes if numbered else [])
                axis.tick_params(labelsize=6)
                axis.set_title(f"{name}, by {other}", fontsize=7, pad=2)
                axis.spines[["top", "right"]].set_visible(False)
    return figure
