"""Laws of two numbers side by side: joint densities, conditionals, marginals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure


@dataclass(frozen=True)
class PlaneLaw:
    """A law of (u, v) on a grid.

    Fields:
        name: what it is called.
        density: ``(n, n)``, of u (columns) and v (rows).
        u_given_v, v_given_u: ``(n,)``, the densities of u given v = 1, and of v given u = 1.
        u, v: ``(n,)``, the marginal densities.
    """

    name: str
    density: np.ndarray
    u_given_v: np.ndarray
    v_given_u: np.ndarray
    u: np.ndarray
    v: np.ndarray


COLUMNS = ("joint density", "u given v = 1", "v given u = 1", "marginal of u", "marginal of v")


def draw_plane(grid: np.ndarray, truth: PlaneLaw, models: Sequence[PlaneLaw]) -> Figure:
    """A row for the truth and for each model: the joint density, conditionals and marginals, beside the truth's.

    ``grid``: ``(n,)``, the points of both axes.
    """
    laws = [truth, *models]
    figure = Figure(figsize=(12.8, 2.3 * len(laws)), layout="constrained")
    axes = figure.subplots(len(laws), len(COLUMNS), squeeze=False)
    for row, law in zip(axes, laws, strict=True):
        levels = truth.density.max() * np.array([0.02, 0.1, 0.3, 0.5, 0.7, 0.9])
        if law is not truth:
            row[0].contour(grid, grid, truth.density, levels=levels[[1, 3]], colors="#9e9e9e", linewidths=0.8)
        row[0].contour(grid, grid, law.density, levels=levels, cmap="viridis", linewidths=1.1)
        row[0].set_ylabel(law.name, fontsize=9)
        row[0].set_aspect("equal")
        for axis, name in zip(row[1:], ("u_given_v", "v_given_u", "u", "v"), strict=True):
            axis.plot(grid, getattr(truth, name), color="#9e9e9e", linewidth=2.4, label="truth")
            if law is not truth:
                axis.plot(grid, getattr(law, name), color="#2171b5", linewidth=1.2, label="model")
            axis.set_ylim(0, 1.25 * max(truth.u_given_v.max(), getattr(law, name).max()))
            axis.set_yticks([])
        for axis in row:
            axis.tick_params(labelsize=7)
            axis.spines[["top", "right"]].set_visible(False)
    for axis, title in zip(axes[0], COLUMNS, strict=True):
        axis.set_title(title, fontsize=10)
    axes[-1][1].legend(fontsize=8)
    return figure


def draw_sampled(losses: Mapping[str, Mapping[int, np.ndarray]]) -> Figure:
    """How far the loss of a batch is from the exact one, by batch size: root mean squares over batches.

    ``losses``: name -> batch size -> the differences. A grey line falls as one over the root of the batch size.
    """
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axis = figure.subplots()
    for (name, of), marker in zip(losses.items(), "osD^v", strict=False):
        axis.plot(
            list(of), [np.sqrt((x**2).mean()) for x in of.values()], f"{marker}-", markersize=4, label=name
        )
    sizes = np.array(list(next(iter(losses.values()))))
    axis.plot(sizes, 1 / np.sqrt(sizes), color="#9e9e9e", linewidth=2.4, zorder=0, label="1 / √batch size")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axis.set_xticks([], minor=True)
    axis.set_xlabel("batch size")
    axis.set_ylabel("loss of a batch less the exact one, nats")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, frameon=False)
    return figure
