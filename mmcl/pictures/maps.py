"""Encodings in the plane, coloured by what made them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

CLASSES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000")
"""Okabe and Ito's eight, told apart by all eyes; more classes than that are drawn as numbers."""


def plane(z: np.ndarray) -> np.ndarray:
    """``(n, D) -> (n, 2)``: itself for D <= 2 (a line gets a second coordinate of 0), else by t-SNE from a fixed start.

    t-SNE (van der Maaten and Hinton, 2008; scikit-learn's, perplexity 30) keeps neighbours together; distances between
    groups mean nothing.
    """
    if z.shape[1] <= 2 or (z == z[0]).all():  # (collapsed encodings have no neighbours to keep)
        z = z[:, :2]
        return np.pad(z, ((0, 0), (0, 2 - z.shape[1])))
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(z) - 1) / 3)
    return np.asarray(TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(z))


def draw_maps(z: Mapping[str, np.ndarray], factors: Mapping[str, np.ndarray]) -> Figure:
    """A row for each encoding and a column for each factor: the encodings in the plane, coloured by the factor.

    ``z``: name -> ``(n, D)``; ``factors``: name -> ``(n,)``, whole numbers for classes; none: one column in one colour.
    """
    factors = factors or {"": np.zeros(len(next(iter(z.values()))), dtype=np.int64)}
    figure = Figure(figsize=(2.1 * len(factors) + 0.4, 2.2 * len(z)), layout="constrained")
    axes = figure.subplots(len(z), len(factors), squeeze=False)
    for k, (row, (name, encodings)) in enumerate(zip(axes, z.items(), strict=True)):
        at = plane(encodings)
        for axis, (factor, values) in zip(row, factors.items(), strict=True):
            axis.set_xticks([])
            axis.set_yticks([])
            few = np.issubdtype(values.dtype, np.integer) and values.max(initial=0) < len(CLASSES)
            if few:
                for label in np.unique(values):
                    axis.scatter(
                        *at[values == label].T, s=3, linewidths=0, c=CLASSES[label], label=f"{label}"
                    )
                if k == len(z) - 1:
                    axis.legend(
                        ncols=4, fontsize=6, markerscale=2.5, handletextpad=0.1, columnspacing=0.6, frameon=False,
                        loc="upper center", bbox_to_anchor=(0.5, 0.0),
                    )  # fmt: skip
            else:
                drawn = axis.scatter(*at.T, s=3, linewidths=0, c=values, cmap="viridis")
                if k == len(z) - 1:
                    figure.colorbar(drawn, ax=axis, location="bottom", shrink=0.8).ax.tick_params(labelsize=6)
            if k == 0:
                axis.set_title(factor, fontsize=8)
        row[0].set_ylabel(name, fontsize=9)
    return figure
