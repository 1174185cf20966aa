"""Samples beside the factors that are predicted from their encodings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from mmcl.checks import require
from mmcl.pictures.cells import Shown, draw_cell

Factors = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Factor -> its true and its predicted values, ``(n,)`` each; whole numbers are classes."""

MISSED = "#d55e00"

LINE = 0.15
"""Inches that a factor's line takes."""


def draw_predictions(
    shown: Mapping[str, Shown], factors: Mapping[str, Factors], columns: int = 6, rows: int = 2
) -> Figure:
    """The first ``rows x columns`` samples of each view, over the factors that are predicted from their encodings.

    ``factors``: view -> those predicted from its encodings. A class that is missed is written in another colour and
    with its true value; of a continuous factor both values are written.
    """
    require(columns >= 1, "columns", columns, ">= 1")
    require(rows >= 1, "rows", rows, ">= 1")
    # A row of samples over a row of lines, for each row of each view.
    heights = [part for found in factors.values() for part in (1.75, LINE * len(found) + 0.1) * rows]
    figure = Figure(figsize=(1.75 * columns, sum(heights)))
    grid = figure.add_gridspec(
        len(heights), columns, height_ratios=heights,
        left=0.01, right=0.99, bottom=0.01, top=0.99, hspace=0.05, wspace=0.05,
    )  # fmt: skip
    for v, (view, found) in enumerate(factors.items()):
        for k in range(min(rows * columns, len(shown[view]))):
            down, across = divmod(k, columns)
            place = 2 * (v * rows + down)
            draw_cell(figure.add_subplot(grid[place, across]), shown[view], k)
            below = figure.add_subplot(grid[place + 1, across])
            below.set_axis_off()
            for line, (name, (true, predicted)) in enumerate(found.items()):
                text, right = _compared(true[k], predicted[k])
                below.text(
                    0.02, 1 - LINE * line / heights[place + 1], f"{_short(name)} {text}", fontsize=7, va="top",
                    transform=below.transAxes, color="black" if right else MISSED,
                )  # fmt: skip
    return figure


def _short(name: str) -> str:
    """A factor's name without what all have in common."""
    return name.partition(".")[0].removeprefix("object_")


def _compared(true: np.generic, predicted: np.generic) -> tuple[str, bool]:
    if isinstance(true, np.integer):
        right = bool(true == predicted)
        return (f"{true}", True) if right else (f"{predicted} (is {true})", right)
    return f"{predicted:.2f} (is {true:.2f})", True
