"""What a report shows: the schema of ``conf/report/*.yaml``. ``docs/results.md`` explains the keys."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mmcl.errors import UserError
from mmcl.records.keys import DIGITS
from mmcl.reports.configs import HASHES, canonical_of, load, text

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "report"

AGGREGATES = ("none", "role")
DERIVED = ("none", "content_size", "decomposition")
STATISTICS = (
    "mean_std", "mean_interval", "mean", "median", "median_range", "min", "max", "rank_correlation",
)  # fmt: skip
SCORES = ("value", "chance", "ceiling", "excess")
WORST = ("min", "max", "abs", "none")
LAYOUTS = ("cells", "seeds")
LOGS = ("none", "x", "y", "xy")
FIGURES = ("points", "bars", "lines", "profiles", "curves", "scatter", "none")


@dataclass(frozen=True)
class Entry:
    """A row or column of the table.

    ``at``: the canonical value of each of the axis's ``by``. ``score``: which of a result's numbers it shows;
    ``excess`` is value - ceiling; a row's counts before a column's. ``run``: a column of ``runs.csv`` that it shows
    instead, such as ``wall_s``.
    ``worst``: which seed is the worst, in the layout ``seeds``. ``decimals`` of its numbers, and their ``unit``.
    """

    at: tuple[str, ...]
    label: str
    score: str = "value"
    run: str | None = None
    worst: str = "none"
    decimals: int = 3
    unit: str = ""


@dataclass(frozen=True)
class Axis:
    """What indexes the rows, or the columns: the columns ``by`` of the data. ``entries`` ``None``: all values there."""

    label: str
    by: tuple[str, ...]
    entries: tuple[Entry, ...] | None


@dataclass(frozen=True)
class PaperValue:
    """A printed ``mean`` and ``std`` (``None``: not printed), and how far ours may lie from the mean for a ✓."""

    mean: float
    std: float | None
    tolerance: float


@dataclass(frozen=True)
class Paper:
    """Where the values are printed, the ``decimals`` that they have there, and the values by (row, column)."""

    source: str
    decimals: int
    values: Mapping[tuple[tuple[str, ...], tuple[str, ...]], PaperValue]


@dataclass(frozen=True)
class Panel:
    """A panel of ``scatter``: a point at the metrics ``x``, ``y`` of each role that begins with ``roles`` in each run.

    ``log``: a logarithmic scale of x.
    """

    roles: str
    x: str
    y: str
    x_label: str
    title: str
    log: bool


@dataclass(frozen=True)
class FigureSpec:
    """What is drawn.

    ``x``: the swept column of ``lines`` and ``profiles``, printed as ``x_label``. ``curve``: the logged values of
    ``curves``, over steps. ``panels``: those of ``scatter``. The other axis has ``label`` and ``limits``.
    ``log``: which axes of ``lines`` and ``profiles`` are logarithmic.
    """

    kind: str
    x: str | None
    curve: tuple[str, ...]
    x_label: str
    label: str
    limits: tuple[float, float] | None
    panels: tuple[Panel, ...] = ()
    log: str = "none"


@dataclass(frozen=True)
class Spec:
    """A report, as ``docs/results.md`` describes its keys."""

    name: str
    title: str
    note: str
    filter: Mapping[str, tuple[str, ...]]
    derive: str
    aggregate: str
    rows: Axis
    columns: Axis
    statistic: str
    seeds: int
    pool: tuple[str, ...]
    paper: Paper
    ceiling: bool
    chance: bool
    decimals: int
    layout: str
    figure: FigureSpec


MOST = 40
"""Names that a message lists at most: a config has more than anyone reads."""


def near(name: str, known: Collection[str], word: str) -> str:
    """``did you mean A? WORD: A, B``: what a message says after a name that is not there."""
    found = difflib.get_close_matches(name, sorted(known), n=1)
    shown = list(known)[:MOST]
    more = f" and {len(known) - MOST} more" if len(known) > MOST else ""
    return (f"did you mean {found[0]}? " if found else "") + f"{word}: {', '.join(shown) or 'none'}{more}"


def find_spec(name: str) -> Path:
    """The file that ``name`` means: a path, or a name in ``conf/report``.

    Raises:
        UserError: there is none.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"{path}: no such report spec; see docs/results.md for how to write one")
        return path
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        names = sorted(p.stem for p in FOLDER.glob("*.yaml"))
        raise UserError(f"{name}: no such report; {near(name, names, 'there are')}; or name a .yaml file")
    return path


def read_spec(path: Path) -> Spec:
    """The validated spec in the file ``path``.

    Raises:
        UserError: for the first fault: the file, the key, its value, and what is allowed.
    """
    try:
        values = load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    try:
        return _spec(path.stem, values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


KEYS = (
    "title",
    "note",
    "filter",
    "derive",
    "aggregate",
    "rows",
    "columns",
    "statistic",
    "seeds",
    "pool",
    "paper",
    "ceiling",
    "chance",
    "decimals",
    "layout",
    "figure",
)


def _spec(name: str, values: Any) -> Spec:
    node = _mapping(values, "", KEYS)
    for key in ("title", "rows", "seeds"):
        if key not in node:
            raise UserError(f"{key}: missing; every report has one")
    decimals = _integer(node.get("decimals", 3), "decimals", 0)
    rows = _axis(node["rows"], "rows", decimals)
    columns = _axis(node.get("columns", {}), "columns", decimals)
    for entry in rows.entries or ():
        if entry.run is not None:
            raise UserError(f"rows.entries: {entry.label}: run stands in columns.entries; move it there")
    places = [(entry.at, entry.score) for entry in rows.entries or ()]
    for entry in rows.entries or ():
        if places.count((entry.at, entry.score)) > 1:
            raise UserError(
                f"rows.entries: {entry.label}: at={label_of(entry.at)} stands there twice; leave one out"
            )
    statistic = _choice(node.get("statistic", "mean_std"), "statistic", STATISTICS)
    figure = _figure(node.get("figure", {}), rows)
    if statistic == "rank_correlation" and figure.kind not in ("bars", "lines", "profiles", "none"):
        raise UserError(
            f"figure.kind={figure.kind}: shows single scores, which statistic=rank_correlation does not speak of; "
            "choose bars, lines, profiles or none"
        )
    if twice := set(rows.by) & set(columns.by):
        raise UserError(f"columns.by: {min(twice)}: stands in rows.by already; name it in one of them")
    return Spec(
        name=name,
        title=_string(node["title"], "title"),
        note=_string(node.get("note", ""), "note"),
        filter={
            str(key): _values(value, str(key))
            for key, value in _mapping(node.get("filter", {}), "filter").items()
        },
        derive=_choice(node.get("derive", "none"), "derive", DERIVED),
        aggregate=_choice(node.get("aggregate", "none"), "aggregate", AGGREGATES),
        rows=rows,
        columns=columns,
        statistic=statistic,
        seeds=_integer(node["seeds"], "seeds", 1),
        pool=_strings(node.get("pool", []), "pool"),
        paper=_paper(node.get("paper"), rows, columns),
        ceiling=_boolean(node.get("ceiling", False), "ceiling"),
        chance=_boolean(node.get("chance", False), "chance"),
        decimals=decimals,
        layout=_choice(node.get("layout", "cells"), "layout", LAYOUTS),
        figure=figure,
    )


def _axis(value: Any, where: str, decimals: int) -> Axis:
    node = _mapping(value, where, ("label", "by", "entries"))
    by = _strings(node.get("by", []), f"{where}.by")
    if where == "rows" and not by:
        raise UserError("rows.by: missing; name the columns that index the rows, such as [data.causal]")
    entries = None
    if "entries" in node:
        if not isinstance(node["entries"], list) or not node["entries"]:
            raise UserError(f"{where}.entries={node['entries']!r}: must be a list of one entry or more")
        entries = tuple(
            _entry(v, f"{where}.entries[{i}]", by, decimals) for i, v in enumerate(node["entries"])
        )
        labels = [entry.label for entry in entries]
        if len(set(labels)) < len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            raise UserError(f"{where}.entries: label={twice!r} stands there twice; give each its own")
    elif not by:
        entries = (Entry((), "value", decimals=decimals),)
    return Axis(_string(node.get("label", ", ".join(by)), f"{where}.label"), by, entries)


ENTRY = ("at", "label", "score", "run", "worst", "decimals", "unit")


def _entry(value: Any, where: str, by: tuple[str, ...], decimals: int) -> Entry:
    node = _mapping(value, where, ENTRY)
    run = _string(node["run"], f"{where}.run") if "run" in node else None
    if run is not None and ("at" in node or "score" in node):
        raise UserError(f"{where}: run={run} stands for the whole run; leave out at and score")
    at = _at(node.get("at", []), f"{where}.at", by) if run is None else ()
    score = _choice(node.get("score", "value"), f"{where}.score", SCORES)
    name = label_of(_raw(node["at"])) if "at" in node else run or score
    return Entry(
        at=at,
        label=_string(node.get("label", name), f"{where}.label"),
        score=score,
        run=run,
        worst=_choice(node.get("worst", "none"), f"{where}.worst", WORST),
        decimals=_integer(node.get("decimals", decimals), f"{where}.decimals", 0),
        unit=_string(node.get("unit", ""), f"{where}.unit"),
    )


def label_of(values: Collection[str]) -> str:
    """How a row or column is called whose entry has no label."""
    return ", ".join(values)


def _raw(value: Any) -> list[str]:
    return [text(v) for v in (value if isinstance(value, list) else [value])]


def _at(value: Any, where: str, by: tuple[str, ...]) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if len(values) != len(by):
        raise UserError(f"{where}={value!r}: must have {len(by)} value(s), one for each of {', '.join(by)}")
    return tuple(_of_column(v, column, where) for v, column in zip(values, by, strict=True))


def _paper(value: Any, rows: Axis, columns: Axis) -> Paper:
    if value is None:
        return Paper("", 2, {})
    node = _mapping(value, "paper", ("source", "tolerance", "decimals", "values"))
    for key in ("source", "tolerance", "values"):
        if key not in node:
            raise UserError(f"paper.{key}: missing; a paper's values need {key}")
    usual = _number(node["tolerance"], "paper.tolerance", 0.0)
    if not isinstance(node["values"], list):
        raise UserError(f"paper.values={node['values']!r}: must be a list")
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], PaperValue] = {}
    for i, item in enumerate(node["values"]):
        where = f"paper.values[{i}]"
        printed = _mapping(item, where, ("row", "column", "mean", "std", "tolerance"))
        for key in ("row", "mean"):
            if key not in printed:
                raise UserError(f"{where}.{key}: missing")
        at = (
            _at(printed["row"], f"{where}.row", rows.by),
            _at(printed.get("column", []), f"{where}.column", columns.by),
        )
        for axis, place, key in ((rows, at[0], "row"), (columns, at[1], "column")):
            if axis.entries is not None and place not in [e.at for e in axis.entries if e.run is None]:
                known = "; ".join(label_of(e.at) for e in axis.entries if e.run is None)
                raise UserError(
                    f"{where}.{key}={label_of(place)}: the table has no such {key}; there are: {known}"
                )
        if at in found:
            raise UserError(f"{where}: the cell of row {label_of(at[0])} has a value already; leave one out")
        std = printed.get("std")
        found[at] = PaperValue(
            _number(printed["mean"], f"{where}.mean"),
            None if std is None else _number(std, f"{where}.std", 0.0),
            _number(printed.get("tolerance", usual), f"{where}.tolerance", 0.0),
        )
    decimals = _integer(node.get("decimals", 2), "paper.decimals", 0)
    return Paper(_string(node["source"], "paper.source"), decimals, found)


def _figure(value: Any, rows: Axis) -> FigureSpec:
    node = _mapping(value, "figure", ("kind", "x", "x_label", "curve", "panels", "label", "limits", "log"))
    kind = _choice(node.get("kind", "points"), "figure.kind", FIGURES)
    x = node.get("x")
    if kind in ("lines", "profiles"):
        if x not in rows.by:
            raise UserError(f"figure.x={x}: must be one of rows.by: {', '.join(rows.by)}")
    elif x is not None:
        raise UserError(f"figure.x={x}: only figures of kind lines and profiles have one; leave it out")
    curve = _strings(node.get("curve", []), "figure.curve")
    if (kind == "curves") != bool(curve):
        raise UserError(
            f"figure.curve={list(curve)!r}: figures of kind curves name a logged value, such as loss; others none"
        )
    x_label = _string(node.get("x_label", x or ""), "figure.x_label")
    limits = node.get("limits")
    if limits is not None:
        if not isinstance(limits, list) or len(limits) != 2:
            raise UserError(f"figure.limits={limits!r}: must be [lowest, highest]")
        low, high = (_number(v, "figure.limits") for v in limits)
        if low >= high:
            raise UserError(f"figure.limits={limits!r}: the first must be less than the second")
        limits = (low, high)
    panels = _panels(node.get("panels", []))
    if (kind == "scatter") != bool(panels):
        raise UserError("figure.panels: figures of kind scatter have one or more; others none")
    label = _string(node.get("label", "value"), "figure.label")
    log = _choice(node.get("log", "none"), "figure.log", LOGS)
    if log != "none" and kind not in ("lines", "profiles"):
        raise UserError(f"figure.log={log}: only figures of kind lines and profiles have it; leave it out")
    return FigureSpec(kind, x, curve, x_label, label, limits, panels, log)


def _panels(value: Any) -> tuple[Panel, ...]:
    if not isinstance(value, list):
        raise UserError(f"figure.panels={value!r}: must be a list")
    found = []
    for i, item in enumerate(value):
        where = f"figure.panels[{i}]"
        node = _mapping(item, where, ("roles", "x", "y", "x_label", "title", "log"))
        for key in ("roles", "x", "y"):
            if key not in node:
                raise UserError(f"{where}.{key}: missing; a panel needs {key}")
        roles, x, y = (_string(node[key], f"{where}.{key}") for key in ("roles", "x", "y"))
        found.append(
            Panel(
                roles,
                x,
                y,
                _string(node.get("x_label", x), f"{where}.x_label"),
                _string(node.get("title", roles), f"{where}.title"),
                _boolean(node.get("log", False), f"{where}.log"),
            )
        )
    return tuple(found)


def _mapping(value: Any, where: str, allowed: Collection[str] | None = None) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{where or 'spec'}={value!r}: must be keys with values")
    for key in value:
        if allowed is not None and key not in allowed:
            place = f"{where}.{key}" if where else str(key)
            raise UserError(f"{place}: unknown key; {near(str(key), allowed, 'allowed')}")
    return value


def _values(value: Any, column: str) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise UserError(f"filter.{column}=[]: must name one value or more")
    return tuple(_of_column(v, column, f"filter.{column}") for v in values)


def _of_column(value: Any, column: str, where: str) -> str:
    """A value as the column ``column`` has it. YAML reads some hashes as numbers, 0123456701 as another one."""
    if column in HASHES and not isinstance(value, str) and len(text(value)) != DIGITS:
        raise UserError(f"{where}={text(value)}: a {column} has {DIGITS} characters; write it in quotes")
    return canonical_of(column, value)


def _string(value: Any, where: str) -> str:
    if isinstance(value, Mapping | list) or value is None:
        raise UserError(f"{where}={value!r}: must be text")
    return " ".join(text(value).split())


def _strings(value: Any, where: str) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    for v in values:
        if not isinstance(v, str):
            raise UserError(f"{where}={value!r}: must be a list of columns")
    if len(set(values)) < len(values):
        raise UserError(f"{where}={value!r}: names a column twice")
    return tuple(values)


def _choice(value: Any, where: str, choices: Collection[str]) -> str:
    if value not in choices:
        raise UserError(f"{where}={text(value)}: unknown; {near(text(value), choices, 'allowed')}")
    return str(value)


def _boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"{where}={value!r}: must be true or false")
    return value


def _integer(value: Any, where: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{where}={value!r}: must be a whole number >= {least}")
    return value


def _number(value: Any, where: str, least: float = -math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{where}={value!r}: must be a number")
    if value < least:
        raise UserError(f"{where}={value!r}: must be >= {least:g}")
    return float(value)
