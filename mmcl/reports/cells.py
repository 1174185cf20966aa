"""A report's cells: which scores belong to each, whether they are all there, and what they come to."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mmcl.errors import UserError
from mmcl.reports.configs import plain, sort_key
from mmcl.reports.ranks import rank_correlation, rank_interval
from mmcl.reports.scores import Inputs, decisive, joined, lines, may_be
from mmcl.reports.spec import Axis, Entry, PaperValue, Spec, label_of, near

SLACK = 1e-9
"""What rounding may add to a difference of two decimals: 0.99 - 0.94 is within a tolerance of 0.05."""


@dataclass(frozen=True)
class Score:
    """One seed of a cell. ``value``: what its column shows; NaN: not a number was written."""

    seed: str
    run_key: str
    value: float
    ceiling: float
    chance: float


@dataclass(frozen=True)
class Cell:
    """A cell: its scores by seed, how many are ``expected``, and the paper's value if it has one.

    Expected are as many as the spec says, or more if the sweep holds more: a seed that failed must be seen.
    """

    row: Entry
    column: Entry
    scores: tuple[Score, ...]
    expected: int
    paper: PaperValue | None

    @property
    def values(self) -> list[float]:
        """The scores that are numbers, a seed each."""
        return [s.value for s in self.scores if math.isfinite(s.value)]

    def centre(self, statistic: str) -> float:
        """The one number that ``statistic`` makes of :attr:`values` (one or more), held against the paper's."""
        if statistic == "rank_correlation":
            return rank_correlation(*self._beside_ceilings())
        return centre(self.values, statistic)

    def spread(self, statistic: str) -> tuple[float, float]:
        """From where to where ``statistic`` says that it may be: see :func:`spread`, :func:`rank_interval`."""
        if statistic == "rank_correlation":
            return rank_interval(*self._beside_ceilings())
        return spread(self.values, statistic)

    def _beside_ceilings(self) -> tuple[list[float], list[float]]:
        # Ceilings are sums in the order of a world's own levels: those that are equal must tie.
        found = [s for s in self.scores if math.isfinite(s.value) and math.isfinite(s.ceiling)]
        return [s.value for s in found], [round(s.ceiling, 9) for s in found]

    def mean_of(self, name: str) -> float:
        """The mean ``ceiling`` or ``chance`` over the seeds of :attr:`values`; NaN where one of them has none."""
        found = [getattr(s, name) for s in self.scores if math.isfinite(s.value)]
        return statistics.fmean(found) if found else math.nan

    def lacking(self, name: str) -> list[Score]:
        """The scores without a ``ceiling`` or ``chance``, if others have one."""
        without = [s for s in self.scores if not math.isfinite(getattr(s, name))]
        return without if len(without) < len(self.scores) else []

    def within(self, statistic: str) -> bool | None:
        """Whether ours is within the tolerance of the paper's mean; ``None``: one of them is not there."""
        if self.paper is None or not self.values:
            return None
        return abs(self.centre(statistic) - self.paper.mean) <= self.paper.tolerance + SLACK


@dataclass(frozen=True)
class Grid:
    """The table's rows, columns and cells; ``cells[i, j]`` is that of row i and column j."""

    rows: tuple[Entry, ...]
    columns: tuple[Entry, ...]
    cells: Mapping[tuple[int, int], Cell]

    @property
    def run_keys(self) -> list[str]:
        return sorted({s.run_key for cell in self.cells.values() for s in cell.scores})


def std(values: Sequence[float]) -> float:
    """The sample standard deviation (ddof = 1); NaN for fewer than two values.

    >>> round(std([1.0, 2.0, 4.0]), 6)
    1.527525
    """
    return statistics.stdev(values) if len(values) > 1 else math.nan


def spread(values: Sequence[float], statistic: str) -> tuple[float, float]:
    """What ``statistic`` says of how far ``values`` (one or more) lie apart: from where to where.

    ``mean_std``: mean -+ sample standard deviation. ``mean_interval``: the 95 % percentile interval of the mean under
    9,999 resamplings of the seeds (Efron, 1979); the same values give the same interval. It is too narrow for few
    seeds: of 3, a resampling is one value alone in one case of nine. Others: lowest and highest.

    >>> spread([1.0, 3.0], "median_range"), spread([2.0, 2.0, 2.0], "mean_interval")
    ((1.0, 3.0), (2.0, 2.0))
    """
    if statistic == "mean_std":
        middle, width = statistics.fmean(values), std(values) if len(values) > 1 else 0.0
        return middle - width, middle + width
    if statistic == "mean_interval" and min(values) < max(values):
        draws = np.random.default_rng(0).choice(sorted(values), (9999, len(values)))
        low, high = np.quantile(draws.mean(axis=1), [0.025, 0.975])
        return float(low), float(high)
    return min(values), max(values)


def centre(values: Sequence[float], statistic: str) -> float:
    """The one number of ``values`` (one or more)."""
    if statistic in ("median", "median_range"):
        return statistics.median(values)
    return {"min": min, "max": max}.get(statistic, statistics.fmean)(values)


def make_grid(inputs: Inputs, spec: Spec, *, allow_missing: bool, allow_nan: bool) -> Grid:
    """All cells of ``spec``, checked.

    Raises:
        UserError: a column or value of the spec is not there; two rows for one seed of a cell; runs in one cell that
            differ in more than the seed; fewer seeds than expected or a NaN, unless allowed.
    """
    frame, runs = joined(inputs, spec), lines(inputs, spec)
    rows = _entries(spec.rows, frame, runs, spec)
    columns = _entries(spec.columns, frame, runs, spec)
    _check_paper(spec, rows, columns)
    varying = _varying(runs, decisive(inputs))
    by = [*spec.rows.by, *spec.columns.by]
    places = frame.groupby(by, sort=False).indices if len(frame) else {}
    places = {key if isinstance(key, tuple) else (key,): found for key, found in places.items()}
    cells = {}
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            if column.run is not None:
                part = _of_runs(runs, spec, row, column.run)
                scores = _scores(part, "value")
            else:
                part = frame.iloc[places.get((*row.at, *column.at), [])]
                scores = _scores(part, score_of(row, column))
            where = f"row {row.label}, column {column.label}"
            _check_alike(part, where, [*varying, "evaluation_key"], spec)
            paper = spec.paper.values.get((row.at, column.at)) if _comparable(row, column) else None
            pairs = _places(spec, row, column)
            expected = max(spec.seeds, len(scores) + len(_unfinished(pairs, spec, runs)))
            cells[i, j] = Cell(row, column, scores, expected, paper)
    grid = Grid(rows, columns, cells)
    if not allow_nan:
        _check_nan(grid, spec)
    if not allow_missing:
        _check_seeds(grid, spec, inputs, runs)
    return _ranked(grid) if spec.statistic == "rank_correlation" else grid


def _ranked(grid: Grid) -> Grid:
    """What cannot be ranked, for it has no ceiling, is not a number."""
    cells = {
        place: replace(
            cell,
            scores=tuple(s if math.isfinite(s.ceiling) else replace(s, value=math.nan) for s in cell.scores),
        )
        for place, cell in grid.cells.items()
    }
    return replace(grid, cells=cells)


def score_of(row: Entry, column: Entry) -> str:
    """Which of a result's numbers their cell shows: the row's, such as a last row of chance levels, or the column's."""
    return row.score if row.score != "value" else column.score


def _comparable(row: Entry, column: Entry) -> bool:
    return column.run is None and score_of(row, column) == "value"


def _entries(axis: Axis, frame: pd.DataFrame, runs: pd.DataFrame, spec: Spec) -> tuple[Entry, ...]:
    """The axis's own entries, or all that the scores have and all that unfinished runs will have."""
    if axis.entries is not None:
        return axis.entries
    found = _combinations(frame, axis.by)
    of_config = [c for c in axis.by if c in runs.columns]
    of_rows = [c for c in axis.by if c not in runs.columns]
    for place in _combinations(runs, of_config) if of_config else ():
        for rest in _combinations(frame, of_rows) if of_rows else {()}:
            values = {**dict(zip(of_config, place, strict=True)), **dict(zip(of_rows, rest, strict=True))}
            if "" not in place:
                found.add(tuple(values[c] for c in axis.by))
    return tuple(
        Entry(at, label_of([plain(v) for v in at]), decimals=spec.decimals)
        for at in sorted(found, key=lambda at: (sort_key(at), at))  # two hashes may be one number
    )


def _combinations(frame: pd.DataFrame, columns: Iterable[str]) -> set[tuple[str, ...]]:
    return set(zip(*(frame[c] for c in columns), strict=True))


def _check_paper(spec: Spec, rows: Sequence[Entry], columns: Sequence[Entry]) -> None:
    """A paper's value for a cell that the table has not is a slip of the spec."""
    there = {(row.at, column.at) for row in rows for column in columns if column.run is None}
    for row, column in spec.paper.values:
        if (row, column) not in there:
            raise UserError(
                f"paper.values: row {label_of(row)}, column {label_of(column)}: no such cell; rows: "
                + "; ".join(label_of(e.at) for e in rows)
            )


def _varying(runs: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    done = runs[runs.state.eq("done")]
    return [c for c in columns if done[c].nunique() > 1]


def _of_runs(runs: pd.DataFrame, spec: Spec, row: Entry, name: str) -> pd.DataFrame:
    """The finished runs of ``row`` with the number ``name`` of each as ``value``."""
    if name not in runs.columns:
        raise UserError(f"columns.entries: run={name}: {near(name, list(runs.columns), 'there are')}")
    part = runs[runs.state.eq("done")]
    for column, value in zip(spec.rows.by, row.at, strict=True):
        if column not in runs.columns:
            raise UserError(f"columns.entries: run={name}: rows.by names {column}, which is not a run's")
        part = part[part[column].eq(value)]
    try:
        numbers = [float(t) if t else math.nan for t in part[name]]
    except ValueError:
        raise UserError(
            f"columns.entries: run={name}: not a number; name one such as wall_s or steps"
        ) from None
    return part.assign(value=numbers, ceiling=math.nan, chance=math.nan)


def _scores(part: pd.DataFrame, name: str) -> tuple[Score, ...]:
    found = [
        Score(plain(seed), key, value, ceiling, chance)
        for seed, key, value, ceiling, chance in zip(
            part.seed, part.run_key, part[name], part.ceiling, part.chance, strict=True
        )
    ]
    return tuple(sorted(found, key=lambda s: (sort_key([s.seed]), s.run_key)))


def _check_alike(part: pd.DataFrame, where: str, columns: Sequence[str], spec: Spec) -> None:
    """Within a cell there is one row for each seed, and runs differ in the seed, and in what is pooled, alone."""
    pooled = [column for column in spec.pool if column in part.columns]
    twice = part[part.duplicated(["seed", *pooled], keep=False)]
    if len(twice):
        same = twice[twice[["seed", *pooled]].eq(twice[["seed", *pooled]].iloc[0]).all(axis=1)]
        pair = same.iloc[:2]
        differ = [c for c in pair.columns if c not in NUMERIC and pair[c].nunique() > 1]
        hint = f"they differ in {', '.join(differ)}" if differ else "they are the same row"
        keys = " and ".join(dict.fromkeys(pair.run_key))
        raise UserError(
            f"{where}: {len(same)} rows for seed {plain(pair.seed.iloc[0])} "
            f"(run {keys}); {hint}; name one with filter, rows or columns, or average with aggregate: role"
        )
    for column in columns:
        if column in part.columns and column not in spec.pool and part[column].nunique() > 1:
            values = ", ".join(plain(v) for v in sorted(set(part[column]), key=lambda v: (sort_key([v]), v)))
            raise UserError(
                f"{where}: its runs differ in more than the seed: {column} is {values}; name it in filter, rows or "
                "columns, or in pool if that is meant"
            )


NUMERIC = ("value", "chance", "ceiling", "excess", "n_fit", "n_test")


def _check_nan(grid: Grid, spec: Spec) -> None:
    ranked = spec.statistic == "rank_correlation"
    asks = (("ceiling", spec.ceiling or ranked), ("chance", spec.chance))
    references = [name for name, asked in asks if asked]
    bad = []
    for cell in grid.cells.values():
        if ranked and cell.values and math.isnan(cell.mean_of("ceiling")) and not cell.lacking("ceiling"):
            raise UserError(
                f"row {cell.row.label}, column {cell.column.label}: statistic=rank_correlation: its scores have no "
                "ceiling; choose another statistic, or scores that have one"
            )
        bad += [(cell, s, _said(s.value)) for s in cell.scores if not math.isfinite(s.value)]
        for name in references if _comparable(cell.row, cell.column) else ():
            bad += [(cell, s, f"{_said(getattr(s, name))} as {name}") for s in cell.lacking(name)]
    if bad:
        cell, score, what = bad[0]
        raise UserError(
            f"row {cell.row.label}, column {cell.column.label}: {what} for seed {score.seed} "
            f"(run {score.run_key}){_more(len(bad) - 1)}; look at that run, or add --allow-nan"
        )


def _said(value: float) -> str:
    return "NaN" if math.isnan(value) else str(value)


def _more(n: int) -> str:
    return f", and {n} more" if n else ""


def _check_seeds(grid: Grid, spec: Spec, inputs: Inputs, runs: pd.DataFrame) -> None:
    short = [cell for cell in grid.cells.values() if len(cell.scores) < cell.expected]
    if not short:
        return
    first = short[0]
    shown = _varying_at_all(runs, inputs.config_columns)
    said = {}
    for cell in short:
        for _, run in _absent(cell, spec, runs).iterrows():
            said[run.run_key] = _describe(run, shown, inputs)
    told = list(said.values())
    few = "; ".join(told[:3]) + (f"; and {len(told) - 3} more run(s)" if len(told) > 3 else "")
    raise UserError(
        f"row {first.row.label}, column {first.column.label}: {len(first.scores)} of {first.expected} seeds"
        + (f", and {len(short) - 1} more cell(s) with too few" if len(short) > 1 else "")
        + "; "
        + (
            f"missing: {few}; make what is missing and collect again, or add --allow-missing"
            if told
            else "the sweep holds no other run of it: launch more seeds, set seeds lower, or add --allow-missing"
        )
    )


def _varying_at_all(runs: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """The keys of which two values are known; of a run that has not begun some are not."""
    return [c for c in columns if runs[c][runs[c] != ""].nunique() > 1]


def _absent(cell: Cell, spec: Spec, runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that belong to ``cell`` by what is known of their config, but have no score in it."""
    part = runs[~runs.run_key.isin([s.run_key for s in cell.scores])]
    for column, value in _places(spec, cell.row, cell.column):
        if column in runs.columns:
            part = part[may_be(part, column, [value])]
    return part


def _unfinished(pairs: Sequence[tuple[str, str]], spec: Spec, runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that are not done and certainly have these values, and those of the filter."""
    part = runs[runs.state.ne("done")]
    wanted = [*spec.filter.items(), *((column, (value,)) for column, value in pairs)]
    for column, values in wanted:
        if column in runs.columns:
            part = part[part[column].isin(list(values))]
    return part


def _places(spec: Spec, row: Entry, column: Entry) -> list[tuple[str, str]]:
    """Which values of which columns make the cell of ``row`` and ``column``."""
    by = spec.columns.by if column.run is None else ()
    return [*zip(spec.rows.by, row.at, strict=True), *zip(by, column.at, strict=True)]


def _describe(run: pd.Series, shown: Sequence[str], inputs: Inputs) -> str:
    """``KEY (data.causal=true, seed=3, missing): python train.py -m ...``"""
    values = [f"{c}={plain(run[c])}" for c in [*shown, "seed"] if run[c]]
    state = run.state if run.state != "done" else "done, but without such a row"
    if run.get("error"):
        state += f": {run.error}"
    # -m: so that the run lands in its sweep's folder.
    if run.state == "done":
        remedy = shlex.join(["mmcl", "evaluate", str(inputs.folder), "evaluator=[...]"])
    else:
        remedy = inputs.command(run.run_key, multirun=True) or "runs.csv does not say its command"
    return f"{run.run_key} ({', '.join([*values, state])}): {remedy}"
