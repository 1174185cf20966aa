"""The input of a report: ``results.csv`` and ``runs.csv`` of one folder, as one frame of scores."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mmcl.errors import UserError
from mmcl.records.keys import decides, owner
from mmcl.reports.collect import CURVE_COLUMNS, FACTS
from mmcl.reports.configs import canonical_of, train_command
from mmcl.reports.content_size import content_size_scores
from mmcl.reports.decomposition import decomposition_scores
from mmcl.reports.roles import role_of
from mmcl.reports.spec import Spec, near

NUMBERS = ("value", "chance", "ceiling")
SIZES = ("n_fit", "n_test")


@dataclass(frozen=True)
class Inputs:
    """What was collected, all of it as text.

    ``results``: a row for each score; ``runs``: a line for each run; ``sha256`` of each file by name; ``curves``: the
    points of learning curves, if they were asked for.
    """

    folder: Path
    results: pd.DataFrame
    runs: pd.DataFrame
    sha256: Mapping[str, str]
    curves: pd.DataFrame | None = None

    @property
    def config_columns(self) -> list[str]:
        """The columns of ``runs`` that are config values, without the seed."""
        return [c for c in self.runs.columns if c not in ("run_key", "state", "seed", *FACTS)]

    @property
    def commits(self) -> Mapping[str, list[str]]:
        """``run_key -> commits`` of the code that trained and evaluated the run."""
        texts = self.runs.commit if "commit" in self.runs else [""] * len(self.runs)
        return {key: text.split() for key, text in zip(self.runs.run_key, texts, strict=True)}

    def command(self, run_key: str, *, multirun: bool = False) -> str | None:
        """The command that makes the run; with ``multirun`` in its sweep's folder. ``None``: nothing says it.

        Raises:
            UserError: the run's overrides are not as ``mmcl collect`` writes them.
        """
        if "overrides" not in self.runs:
            return None
        text = self.runs.overrides[self.runs.run_key.eq(run_key)].iloc[0]
        try:
            overrides = json.loads(text) if text else None
            return train_command(overrides, multirun=multirun) or None
        except (ValueError, TypeError):
            raise UserError(
                f"{self.folder / 'runs.csv'}: overrides={text!r} of run {run_key} is not a list; collect again"
            ) from None


def read_inputs(folder: Path, curves: Sequence[str] = ()) -> Inputs:
    """What ``mmcl collect`` wrote into ``folder``; with ``curves`` the learning curves of these names too.

    Raises:
        UserError: a file is missing or damaged, or the two tables are not of one collection.
    """
    contents = {}
    for name in ("results.csv", "runs.csv", *(["curves.csv"] if curves else [])):
        path = folder / name
        try:
            contents[name] = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            more = "".join(f" --curve {curve}" for curve in curves) if name == "curves.csv" else ""
            raise UserError(f"{path}: no such file; make it first: mmcl collect {folder}{more}") from None
    tables = {name: _table(folder / name, content) for name, content in contents.items()}
    results, runs = tables["results.csv"], tables["runs.csv"]
    for name, needed in (("results.csv", ("target", "representation", *NUMBERS)), ("runs.csv", ("state",))):
        for column in ("run_key", "seed", *needed):
            if column not in tables[name].columns:
                raise UserError(f"{folder / name}: no column {column}; collect again: mmcl collect {folder}")
    strangers = sorted(set(results.run_key) - set(runs.run_key))
    if strangers or runs.run_key.duplicated().any():
        raise UserError(
            f"{folder}: results.csv and runs.csv are not of one collection"
            + (f" (run {strangers[0]} is in the first alone)" if strangers else "")
            + "; collect again, or copy both files"
        )
    return Inputs(
        folder,
        results,
        runs,
        {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        _curves(folder / "curves.csv", tables["curves.csv"], curves) if curves else None,
    )


def _curves(path: Path, table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The points of the curves ``names``, their ``step`` and ``value`` as numbers."""
    if list(table.columns) != list(CURVE_COLUMNS):
        raise UserError(f"{path}: its columns are not {', '.join(CURVE_COLUMNS)}; collect again")
    there = sorted(set(table.name))
    for name in names:
        if name not in there:
            raise UserError(f"{path}: no curve {name}; {near(name, there, 'there are')}")
    part = table[table.name.isin(names)]
    try:
        return part.assign(step=part.step.astype(int), value=part.value.astype(float))
    except ValueError as error:
        raise UserError(f"{path}: {error}; collect again") from None


def _table(path: Path, content: bytes) -> pd.DataFrame:
    try:
        return pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False, na_filter=False)
    except (
        ValueError,
        pd.errors.ParserError,
    ) as error:  # UnicodeDecodeError and EmptyDataError are ValueErrors
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a table ({reason}); collect again, or copy it anew") from None


def joined(inputs: Inputs, spec: Spec) -> pd.DataFrame:
    """The scores that ``spec`` filters, with the config of their runs, and averaged over own encodings if it says so.

    ``value``, ``chance``, ``ceiling`` and ``excess`` = value - ceiling are numbers (NaN: none was written); all other
    columns are text, canonical where the spec refers to them.

    Raises:
        UserError: a column of the spec is not there, or a score is not a number.
    """
    # runs.csv has every config value, results.csv those that vary.
    frame = inputs.results[[c for c in inputs.results.columns if c not in inputs.config_columns]].copy()
    for column in NUMBERS:
        frame[column] = [_number(inputs.folder, column, t) for t in frame[column]]
    if spec.derive == "content_size":
        derived = content_size_scores(frame, inputs.runs, inputs.config_columns)
        frame = pd.concat([frame, derived], ignore_index=True)
    if spec.derive == "decomposition":
        frame = pd.concat([frame, decomposition_scores(frame)], ignore_index=True)
    if spec.aggregate == "role":
        frame = _average_by_role(frame)
    scored = [c for c in frame.columns if c not in (*NUMBERS, *SIZES)]
    _check_columns(spec, [*scored, *inputs.config_columns])
    named = {*spec.filter, *spec.rows.by, *spec.columns.by}
    config = [c for c in inputs.config_columns if c in named or inputs.runs[c].nunique() > 1]
    frame = frame.merge(inputs.runs[["run_key", *config]], on="run_key", how="left", validate="many_to_one")
    for column in sorted({*named, *config, "seed"}):
        frame[column] = _canonical(frame[column])
    unfinished = inputs.runs[inputs.runs.state.ne("done")]
    to_come = {c: set(_canonical(unfinished[c])) for c in spec.filter if c in inputs.config_columns}
    return filtered(frame.assign(excess=frame.value - frame.ceiling), spec.filter, to_come)


def lines(inputs: Inputs, spec: Spec) -> pd.DataFrame:
    """The runs, finished or not, that the config part of the filter leaves; its columns are canonical text."""
    runs = inputs.runs.copy()
    for column in [*inputs.config_columns, "seed"]:
        runs[column] = _canonical(runs[column])
    for column, values in spec.filter.items():
        if column in runs.columns:
            runs = runs[may_be(runs, column, values)]
    return runs


def may_be(runs: pd.DataFrame, column: str, values: Sequence[str]) -> pd.Series:
    """Which runs have one of ``values``, or will when they are done as far as anyone knows."""
    return runs[column].isin(list(values)) | (runs[column].eq("") & runs.state.ne("done"))


def filtered(
    frame: pd.DataFrame, wanted: Mapping[str, Sequence[str]], to_come: Mapping[str, Collection[str]]
) -> pd.DataFrame:
    """The rows whose columns have one of the wanted values.

    Args:
        frame: scores.
        wanted: values by column.
        to_come: values by column of the runs that are not done yet.

    Raises:
        UserError: one of the values is neither in a row that the columns before leave nor to come.
    """
    for column, values in wanted.items():
        there = sorted({*frame[column], *to_come.get(column, ())} - {""})
        for value in values:
            if value not in there and not (value == "" and frame[column].eq("").any()):
                raise UserError(f"filter.{column}: {value} is not there; {near(value, there, 'there are')}")
        frame = frame[frame[column].isin(list(values))]
    return frame.reset_index(drop=True)


def _canonical(column: pd.Series) -> pd.Series:
    return column.map({value: canonical_of(str(column.name), value) for value in column.unique()})


def _number(folder: Path, column: str, text: str) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise UserError(
            f"{folder / 'results.csv'}: {column}={text!r} is not a number; collect again"
        ) from None


def _average_by_role(frame: pd.DataFrame) -> pd.DataFrame:
    roles = [role_of(t, z) for t, z in zip(frame.target, frame.representation, strict=True)]
    frame = frame.assign(role=roles)[[role is not None for role in roles]]
    counted = frame.drop(columns=["target", "representation", *SIZES], errors="ignore")
    groups = counted.groupby([c for c in counted.columns if c not in NUMBERS], sort=False)[list(NUMBERS)]
    # A mean over a NaN is NaN: what is missing must be seen.
    whole = groups.count().eq(groups.size(), axis=0)
    return groups.mean().where(whole).reset_index()


def _check_columns(spec: Spec, known: Sequence[str]) -> None:
    for where, columns in (
        ("filter", spec.filter),
        ("rows.by", spec.rows.by),
        ("columns.by", spec.columns.by),
        ("pool", spec.pool),
    ):
        for column in columns:
            if column not in known:
                hint = ""
                if column == "role":
                    hint = "roles need aggregate: role; "
                elif column in ("target", "representation"):
                    hint = "aggregate: role averages over it; "
                raise UserError(
                    f"{where}: {column}: no such column; {hint}{near(column, known, 'there are')}"
                )


def decisive(inputs: Inputs) -> list[str]:
    """Those config columns that decide the weights of any run (:func:`mmcl.records.keys.decides`)."""

    def deciding(column: str) -> bool:
        target = f"{owner(column)}._target_"
        # A run without that node, or of which no config is known yet, does not speak for the others.
        targets = set(inputs.runs[target]) - {""} if target in inputs.runs else set()
        return any(decides(column, target) for target in targets or {""})

    return [column for column in inputs.config_columns if deciding(column)]
