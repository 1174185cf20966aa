"""A grid of cells as a figure: a panel for each column of the table, with the paper's values beside ours."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import product
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from mmcl.errors import UserError
from mmcl.reports.cells import Cell, Grid
from mmcl.reports.configs import plain, sort_key
from mmcl.reports.spec import Spec, label_of

OURS, PAPER = "#2171b5", "#d94801"
MARKERS = ("o", "s", "^", "D", "v", "P")
STYLES = ("-", "--", ":")
COLOURS = ("#2171b5", "#d94801", "#238b45", "#6a51a3", "#737373", "#a63603", "#08519c", "#006d2c")


def draw(grid: Grid, spec: Spec, points: pd.DataFrame | None = None) -> Figure:
    """The figure of ``spec.figure.kind``.

    Of the columns that show scores; but ``curves`` is of ``points``, the points of learning curves, and ``scatter`` of
    ``points``, the scores themselves.
    """
    if spec.figure.kind == "curves":
        return _curves(grid, spec, points)
    if spec.figure.kind == "scatter":
        return _scatter(grid, spec, points)
    shown = [j for j, column in enumerate(grid.columns) if column.run is None and column.score == "value"]
    shown = shown or list(range(len(grid.columns)))
    if spec.figure.kind == "lines":
        return _lines(grid, spec, shown)
    if spec.figure.kind == "profiles":
        return _profiles(grid, spec, shown)
    return _by_row(grid, spec, shown)


def _by_row(grid: Grid, spec: Spec, shown: Sequence[int]) -> Figure:
    """Rows from top to bottom; every seed as a point, or a bar; the paper's value below ours."""
    n = len(grid.rows)
    figure = Figure(figsize=(2.2 + 2.6 * len(shown), 1.7 + 0.55 * n), layout="constrained")
    axes = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for axis, j in zip(axes, shown, strict=True):
        for i in range(n):
            cell = grid.cells[i, j]
            values = cell.values
            if spec.figure.kind == "bars" and values:
                middle = cell.centre(spec.statistic)
                axis.barh(i - 0.1, middle, 0.34, color="#9ecae1", label=_ours(spec))
                low, high = cell.spread(spec.statistic)
                axis.plot([low, high], [i - 0.1] * 2, color=OURS, linewidth=1.5)
            elif values:
                places = [i - 0.1 + 0.24 * ((k + 0.5) / len(values) - 0.5) for k in range(len(values))]
                axis.plot(
                    values, places, "o", color=OURS, markersize=4, alpha=0.6, label="ours, a point a seed"
                )
            _references(axis, cell, spec, i)
        axis.axvline(0, color="#bdbdbd", linewidth=0.8, zorder=0)
        axis.set_title(grid.columns[j].label, fontsize=10)
        axis.set_xlabel(spec.figure.label)
        if spec.figure.limits:
            axis.set_xlim(*spec.figure.limits)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(n), [row.label for row in grid.rows])
    axes[0].set_ylim(n - 0.5, -0.5)
    _finish(figure, axes, spec)
    return figure


def _ours(spec: Spec) -> str:
    return {
        "mean_std": "ours, mean ± std",
        "mean_interval": "ours, mean and its 95 % interval",
        "median_range": "ours, median and range",
        "rank_correlation": "ours, rank correlation and its 95 % interval",
    }.get(spec.statistic, f"ours, {spec.statistic}")


def _references(axis: Any, cell: Cell, spec: Spec, place: float) -> None:
    for name, asked, marker in (("ceiling", spec.ceiling, "|"), ("chance", spec.chance, ":")):
        value = cell.mean_of(name)
        if asked and value == value:  # not NaN
            style = {"linestyle": ":"} if marker == ":" else {}
            axis.plot(
                [value] * 2, [place - 0.26, place + 0.06], color="black", label=f"{name}, mean", **style
            )
    if cell.paper:
        axis.errorbar(
            cell.paper.mean, place + 0.2, xerr=cell.paper.std, fmt="D", color=PAPER, markersize=4, capsize=3,
            label="paper" if cell.paper.std is None else "paper, mean ± std",
        )  # fmt: skip


def _lines(grid: Grid, spec: Spec, shown: Sequence[int]) -> Figure:
    """Scores over the swept value; a line for each combination of the other row columns, with a band over seeds."""
    series, ticks = _swept(grid, spec)
    heads = [_common([grid.rows[i].label for _, i in points]) for points in series.values()]
    # Else the values themselves, and the legend says of what.
    said = len(series) > 1 and all(heads) and len(set(heads)) == len(heads)
    figure = Figure(figsize=(1.2 + 3.4 * len(shown), 3.9), layout="constrained")
    axes = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for axis, j in zip(axes, shown, strict=True):
        for number, (others, points) in enumerate(series.items()):
            colour = COLOURS[number % len(COLOURS)]
            name = heads[number] if said else label_of([plain(v) for v in others]) or _ours(spec)
            found = [(x, grid.cells[i, j]) for x, i in points if grid.cells[i, j].values]
            _line(axis, found, spec, "o-", color=colour, label=name)
            xs = [x for x, _ in found]
            also = "" if name == _ours(spec) else f"{name}, "
            for reference, asked, style in (("ceiling", spec.ceiling, "--"), ("chance", spec.chance, ":")):
                if asked:
                    axis.plot(
                        xs, [cell.mean_of(reference) for _, cell in found], style, color=colour, linewidth=1,
                        label=f"{also}{reference}",
                    )  # fmt: skip
            for x, cell in found:
                if cell.paper:
                    axis.errorbar(
                        x, cell.paper.mean, yerr=cell.paper.std, fmt="D", color=colour, markerfacecolor="white",
                        capsize=3, label=f"{also}paper",
                    )  # fmt: skip
        axis.set_title(grid.columns[j].label, fontsize=10)
        _swept_axis(axis, spec, ticks)
    axes[0].set_ylabel(spec.figure.label)
    _finish(figure, axes, spec, "" if said else ", ".join(c for c in spec.rows.by if c != spec.figure.x))
    return figure


def _profiles(grid: Grid, spec: Spec, shown: Sequence[int]) -> Figure:
    """Scores over the swept value; a line for each column of the table, a panel for each of the other row columns."""
    series, ticks = _swept(grid, spec)
    figure = Figure(figsize=(1.2 + 4.2 * len(series), 4.6), layout="constrained")
    axes = figure.subplots(1, len(series), squeeze=False, sharey=True)[0]
    for axis, (others, points) in zip(axes, series.items(), strict=True):
        for number, j in enumerate(shown):
            found = [(x, grid.cells[i, j]) for x, i in points if grid.cells[i, j].values]
            style = MARKERS[number % len(MARKERS)] + STYLES[number // len(COLOURS) % len(STYLES)]
            _line(axis, found, spec, style, color=COLOURS[number % len(COLOURS)], label=grid.columns[j].label)
        rows = [grid.rows[i].label for _, i in points]
        if len(series) > 1:
            axis.set_title(_common(rows) or label_of([plain(v) for v in others]), fontsize=10)
        _swept_axis(axis, spec, ticks)
    axes[0].set_ylabel(spec.figure.label)
    _finish(figure, axes, spec)
    return figure


def _common(labels: Sequence[str]) -> str:
    """What labels begin with, up to a comma.

    >>> _common(["causal, 1", "causal, 2"])
    'causal'
    """
    heads = {label.rpartition(",")[0] for label in labels}
    return heads.pop() if len(heads) == 1 else ""


def _swept(grid: Grid, spec: Spec) -> tuple[dict[tuple[str, ...], list[tuple[float, int]]], dict[str, float]]:
    """For each combination of the other row columns the places along x with their rows; the place of each value."""
    at = spec.rows.by.index(str(spec.figure.x))
    ticks = sorted({row.at[at] for row in grid.rows}, key=lambda v: sort_key([v]))
    numeric = all(_is_number(v) for v in ticks)
    where = {v: float(v) if numeric else float(k) for k, v in enumerate(ticks)}
    series: dict[tuple[str, ...], list[tuple[float, int]]] = {}
    for i, row in enumerate(grid.rows):
        others = (*row.at[:at], *row.at[at + 1 :])
        series.setdefault(others, []).append((where[row.at[at]], i))
    return {others: sorted(points) for others, points in series.items()}, where


def _line(
    axis: Any, found: Sequence[tuple[float, Cell]], spec: Spec, style: str, *, color: str, label: str
) -> None:
    """A line through the middles, and a band of their spreads."""
    xs = [x for x, _ in found]
    axis.plot(
        xs, [cell.centre(spec.statistic) for _, cell in found], style, color=color, markersize=4, label=label
    )  # fmt: skip
    spreads = [cell.spread(spec.statistic) for _, cell in found]
    axis.fill_between(
        xs, [low for low, _ in spreads], [high for _, high in spreads], color=color, alpha=0.2, linewidth=0
    )  # fmt: skip


def _swept_axis(axis: Any, spec: Spec, ticks: dict[str, float]) -> None:
    axis.set_xlabel(spec.figure.x_label)
    if not all(_is_number(v) for v in ticks):
        axis.set_xticks(list(ticks.values()), list(ticks))
    elif all(float(v).is_integer() for v in ticks):  # sizes: there is nothing between them
        axis.xaxis.get_major_locator().set_params(integer=True)
    if spec.figure.log in ("x", "xy"):
        if not all(_is_number(v) and float(v) > 0 for v in ticks):
            raise UserError(
                f"figure.log={spec.figure.log}: {spec.figure.x} has values that are no numbers > 0 "
                f"({', '.join(list(ticks)[:3])}); leave x out of it"
            )
        axis.set_xscale("log")
        # The values themselves: they are few, and powers of ten may not be among them.
        axis.set_xticks([float(v) for v in ticks], [f"{float(v):,g}" for v in ticks])
        axis.set_xticks([], minor=True)
    if spec.figure.log in ("y", "xy"):
        axis.set_yscale("log")
    if spec.figure.limits:
        axis.set_ylim(*spec.figure.limits)
    axis.spines[["top", "right"]].set_visible(False)


def _curves(grid: Grid, spec: Spec, curves: pd.DataFrame) -> Figure:
    """Each learning curve of each row: the mean over its runs at each step, and a band of ± std."""
    figure = Figure(figsize=(6.0, 3.9), layout="constrained")
    axis = figure.subplots()
    names = spec.figure.curve
    for k, (row, name) in enumerate(product(range(len(grid.rows)), names)):
        keys = {score.run_key for j in range(len(grid.columns)) for score in grid.cells[row, j].scores}
        points = curves[curves.run_key.isin(keys) & curves.name.eq(name)].groupby("step").value
        middle, width = points.mean(), points.std(ddof=1).fillna(0.0)
        colour = COLOURS[k % len(COLOURS)]
        parts = [grid.rows[row].label] * (len(grid.rows) > 1) + [name.replace("_", " ")] * (len(names) > 1)
        label = ", ".join(parts) or grid.rows[row].label
        axis.plot(middle.index, middle, color=colour, linewidth=1.2, label=label)
        axis.fill_between(middle.index, middle - width, middle + width, color=colour, alpha=0.2, linewidth=0)
    axis.set_xlabel(spec.figure.x_label or "step")
    axis.set_ylabel(spec.figure.label)
    if spec.figure.limits:
        axis.set_ylim(*spec.figure.limits)
    axis.spines[["top", "right"]].set_visible(False)
    _finish(figure, [axis], spec, spec.rows.label if len(grid.rows) > 1 else "")
    return figure


def _scatter(grid: Grid, spec: Spec, scores: pd.DataFrame) -> Figure:
    """Two metrics of one role against each other, a point for each run; a colour and marker for each row."""
    panels = spec.figure.panels
    figure = Figure(figsize=(1.0 + 3.8 * len(panels), 4.1), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, panel in zip(axes, panels, strict=True):
        part = scores[scores.role.str.startswith(panel.roles) & scores.metric.isin([panel.x, panel.y])]
        for i, row in enumerate(grid.rows):
            of_row = part[part[list(spec.rows.by)].eq(list(row.at)).all(axis=1)]
            wide = of_row.pivot_table(index=["run_key", "role"], columns="metric", values="value")
            if {panel.x, panel.y} <= set(wide.columns):
                axis.plot(
                    wide[panel.x], wide[panel.y], MARKERS[i % len(MARKERS)], color=COLOURS[i % len(COLOURS)],
                    markersize=5, alpha=0.75, markeredgewidth=0, label=row.label,
                )  # fmt: skip
        if panel.log:
            axis.set_xscale("log")
        axis.set_title(panel.title, fontsize=10)
        axis.set_xlabel(panel.x_label)
        if spec.figure.limits:
            axis.set_ylim(*spec.figure.limits)
        axis.axhline(0, color="#bdbdbd", linewidth=0.8, zorder=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(spec.figure.label)
    _finish(figure, axes, spec, spec.rows.label)
    return figure


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _finish(figure: Figure, axes: Sequence[Any], spec: Spec, legend: str = "") -> None:
    """Title, and one legend for all panels below them."""
    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        # As many beside each other as fit: letters of this size are about a fifteenth of an inch wide.
        fitting = int(15 * figure.get_figwidth() / (max(map(len, handles)) + 6))
        columns = max(1, min(4, len(handles), fitting))
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=columns, fontsize=8, frameon=False,
            title=legend or None, title_fontsize=8,
        )  # fmt: skip
    # Letters of this size are about a twelfth of an inch wide.
    figure.suptitle(textwrap.fill(spec.title, int(12 * figure.get_figwidth())), fontsize=11)
