"""Many runs as two tidy tables, ``results.csv`` and ``runs.csv``, and an audit of what is not in them.

Learning curves are a third table, ``curves.csv``, of those that are asked for: they are long.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcl.errors import UserError
from mmcl.records import sweep as sweeps
from mmcl.records.files import read_csv, write_csv
from mmcl.records.manifest import code_states
from mmcl.records.sweep import State, SweepRun, read_sweep
from mmcl.reports.configs import REMOVED, canonical, parse_overrides, read_config, sort_key, text
from mmcl.reports.curves import read_metrics, thin
from mmcl.reports.spec import near

FACTS = (
    "wall_s",
    "train_s",
    "evaluate_s",
    "peak_memory_gib",
    "steps",
    "attempts",
    "threads",
    "device",
    "commit",
    "dirty",
    "error",
    "overrides",
)
"""The columns of ``runs.csv`` that are neither ``run_key``, ``state`` and ``seed`` nor config values."""


CURVE_COLUMNS = ("run_key", "name", "step", "value")


@dataclass(frozen=True)
class Collection:
    """What was collected, before it is written.

    ``results``: all rows of all finished runs; ``runs``: a line for each run, finished or not; ``columns`` of the two;
    ``curves``: points of the finished runs' learning curves; ``audit``: lines for people; ``mixed``: why the runs
    should not be one table, or ``None``.
    """

    results: list[dict[str, str]]
    result_columns: list[str]
    runs: list[dict[str, Any]]
    run_columns: list[str]
    curves: list[dict[str, Any]]
    audit: list[str]
    mixed: str | None

    def write(self, output: Path) -> None:
        """Write ``results.csv`` and ``runs.csv`` into ``output``, and ``curves.csv`` if there are any.

        Raises:
            OSError: it cannot be written; each file is whole or as it was.
        """
        output.mkdir(parents=True, exist_ok=True)
        write_csv(output / "results.csv", self.result_columns, self.results)
        write_csv(output / "runs.csv", self.run_columns, self.runs)
        if self.curves:
            write_csv(output / "curves.csv", CURVE_COLUMNS, self.curves)
        else:
            (output / "curves.csv").unlink(missing_ok=True)  # of an earlier collection, perhaps of other runs


def collect(sources: Sequence[Path], curves: Sequence[str] = ()) -> Collection:
    """Read a sweep's folder, or finished run directories named one by one; ``curves``: names of logged values to keep.

    Raises:
        UserError: no run there, a named run that is not finished, a curve that no run logged, or a damaged file.
    """
    if len(sources) == 1 and not (sources[0] / "manifest.json").exists():
        runs = read_sweep(sources[0]).runs
        known = any(run.expected for run in runs)
    else:
        runs = _named(sources)
        known = False
    keys = Counter(_key(run) for run in runs)
    for key, count in keys.items():
        if count > 1:
            raise UserError(f"run {key} is there {count} times; name each run once")
    configs, guessed = _configs(runs)
    # Sorted: where configs differ in their keys, their own order would be that of the launch.
    columns = sorted({name for values in configs.values() for name in values} - {"seed"})
    varying = [name for name in columns if _varies(name, configs, guessed)]
    constant = [name for name in columns if name not in set(varying)]
    # The order is that of the values, not of the launch or the file system: the same runs are the same bytes.
    runs = sorted(
        runs,
        key=lambda run: (
            sort_key([configs[_key(run)].get(name, "") for name in [*varying, "seed"]]),
            _key(run),
        ),
    )
    lines = [
        {
            "run_key": _key(run),
            "state": run.state.value,
            "seed": configs[_key(run)].get("seed", ""),
            **_facts(run),
            **configs[_key(run)],
        }
        for run in runs
    ]
    done = [run for run in runs if run.state is State.done]
    rows, row_columns = _results(done)
    for row in rows:
        row.update({name: configs[row["run_key"]].get(name, "") for name in varying})
    return Collection(
        results=rows,
        result_columns=[*row_columns, *varying],
        runs=lines,
        run_columns=["run_key", "state", "seed", *varying, *FACTS, *constant],
        curves=_curves(done, curves),
        audit=_audit(runs, known, {_key(run): _values(configs[_key(run)], varying) for run in runs}),
        mixed=_mixed_commits(runs),
    )


def _named(run_dirs: Sequence[Path]) -> list[SweepRun]:
    """The runs in ``run_dirs``; the reader of sweeps says how they stand."""
    folders: dict[Path, dict[str, SweepRun]] = {}
    found = []
    for run_dir in run_dirs:
        if not (run_dir / "manifest.json").exists():
            raise UserError(
                f"{run_dir}: no run there (no manifest.json); name run directories, such as runs/quick/*, "
                "or one sweep's folder, such as multirun/NAME"
            )
        place = run_dir.resolve()
        if place.parent not in folders:
            folders[place.parent] = {run.run_dir.name: run for run in read_sweep(place.parent).runs}
        run = folders[place.parent][place.name]
        if run.state is not State.done:
            why = f" ({run.why})" if run.why else ""
            raise UserError(
                f"{run_dir}: {run.state.value}{why}; run its command again to finish it, or leave it out"
            )
        found.append(run)
    return found


def _key(run: SweepRun) -> str:
    return str(run.manifest.get("run_key", run.run_key))


def _configs(runs: Sequence[SweepRun]) -> tuple[dict[str, dict[str, str]], set[str]]:
    """The flat config of each run by key, and the keys of those that have not written one: what their overrides tell.

    Overrides that differ in the seed alone mean configs that differ in the seed alone, so a run of the same overrides
    tells all; without one, only the values that stand in the overrides themselves are known.
    """
    found = {
        _key(run): read_config(run.run_dir / "config.yaml")
        for run in runs
        if run.state is State.done or (run.run_dir / "config.yaml").exists()
    }
    of_setting = {_setting(run): found[_key(run)] for run in runs if _key(run) in found}
    columns = {name for config in found.values() for name in config}
    guessed = {_key(run) for run in runs} - found.keys()
    for run in runs:
        if _key(run) in guessed:
            said = parse_overrides(run.overrides or [])
            # Where nothing is known of the configs, overrides that choose from a group cannot be told apart.
            said = {k: text(v) for k, v in said.items() if v is not REMOVED and (k in columns or not columns)}
            found[_key(run)] = {**of_setting.get(_setting(run), {}), "seed": "", **said}
    return found, guessed


def _setting(run: SweepRun) -> frozenset[str]:
    return frozenset(o for o in run.overrides or [] if not o.startswith("seed="))


def _varies(name: str, configs: Mapping[str, Mapping[str, str]], guessed: set[str]) -> bool:
    values = {c.get(name, "") for key, c in configs.items() if key not in guessed or name in c}
    return len(values) > 1 and len({canonical(value) for value in values}) > 1


def _values(config: Mapping[str, str], varying: Sequence[str]) -> str:
    return ", ".join(f"{name}={config[name]}" for name in [*varying, "seed"] if config.get(name))


def _facts(run: SweepRun) -> dict[str, Any]:
    manifest = run.manifest
    attempts = manifest.get("attempts") or []
    last = attempts[-1] if attempts else {}
    evaluations = manifest.get("evaluations") or {}
    peak = manifest.get("peak_memory_bytes")
    states = code_states(manifest)
    dirty = [state["dirty"] for state in states if "dirty" in state]
    return {
        "wall_s": last.get("wall_s", ""),
        "train_s": manifest.get("train_s", ""),
        "evaluate_s": round(sum(e["seconds"] for e in evaluations.values()), 1) if evaluations else "",
        "peak_memory_gib": "" if peak is None else round(peak / 2**30, 2),
        "steps": manifest.get("steps_done", ""),
        "attempts": len(attempts),
        "threads": last.get("threads", ""),
        "device": last.get("device", ""),
        "commit": " ".join(dict.fromkeys(state["commit"] for state in states if "commit" in state)),
        "dirty": str(any(dirty)).lower() if dirty else "",
        "error": run.why,
        # Text in which no overrides at all and overrides that nothing tells are two things.
        "overrides": "" if run.overrides is None else json.dumps(run.overrides, ensure_ascii=False),
    }


def _results(runs: Sequence[SweepRun]) -> tuple[list[dict[str, str]], list[str]]:
    """All rows of ``runs``, as the text that stands there, and their columns."""
    everything: list[dict[str, str]] = []
    columns: dict[str, None] = {"run_key": None, "seed": None}
    for run in runs:
        path = run.run_dir / "results.csv"
        remedy = "copy the file of the original run, or evaluate it again: python evaluate.py run_dir=..."
        try:
            rows = read_csv(path)
        except FileNotFoundError:
            raise UserError(f"{path}: missing, though the run is done; {remedy}") from None
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{path}: not a CSV file ({error}); {remedy}") from None
        for number, row in enumerate(rows, start=2):
            if None in row or None in row.values() or row.get("run_key") != _key(run):
                raise UserError(f"{path}: line {number} is damaged or of another run; {remedy}")
        if rows:
            columns.update(dict.fromkeys(rows[0]))
        everything += rows
    return everything, list(columns)


def _curves(runs: Sequence[SweepRun], names: Sequence[str]) -> list[dict[str, Any]]:
    """The points of the curves ``names``, at most :data:`mmcl.reports.curves.POINTS` of each run, evenly spaced."""
    rows = []
    for run in runs if names else ():
        try:
            logged = read_metrics(run.run_dir / "metrics.csv")
        except ValueError as error:
            raise UserError(f"{run.run_dir}: {error}; copy the file of the original run") from None
        for name in names:
            values = logged.get(name, {})
            rows += [
                {"run_key": _key(run), "name": name, "step": step, "value": values[step]}
                for step in thin(sorted(values))
            ]
        if absent := [name for name in names if name not in logged]:
            raise UserError(
                f"{run.run_dir}: logged no curve {absent[0]}; {near(absent[0], sorted(logged), 'there are')}"
            )
    return rows


def _audit(runs: Sequence[SweepRun], known: bool, values: Mapping[str, str]) -> list[str]:
    """What is there and what is not, first as counts, then a line for each thing to look at."""
    of_state = {state: [run for run in runs if run.state is state] for state in State}
    unexpected = [run for run in runs if known and not run.expected]
    expected = str(len(runs) - len(unexpected)) if known else f"not known (no {sweeps.NAME})"
    counts = [f"expected {expected}", *(f"{s.value} {len(of_state[s])}" for s in State)]
    lines = [", ".join([*counts, f"unexpected {len(unexpected)}"])]
    for state in State:
        if state not in (State.done, State.running):
            lines += [
                f"{state.value}: {_key(run)} ({values[_key(run)]}){f': {run.why}' if run.why else ''}"
                for run in of_state[state]
            ]
    lines += [f"unexpected: {_key(run)} ({values[_key(run)]})" for run in unexpected]
    done = of_state[State.done]
    if mixed := _mixed_commits(done):
        lines.append(mixed)
    dirty = [run for run in done if any(s.get("dirty") for s in code_states(run.manifest))]
    if dirty:
        lines.append(
            f"dirty code: {len(dirty)} run(s) with changes that no commit holds: {_some(map(_key, dirty))}"
        )
    return lines + _mixed_versions(done)


def _attempts(run: SweepRun) -> list[Mapping[str, Any]]:
    return list(run.manifest.get("attempts") or [])


def _some(names: Any, most: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _mixed_commits(runs: Sequence[SweepRun]) -> str | None:
    """The commits of the code that trained and evaluated the finished runs, if they are more than one."""
    done = [run for run in runs if run.state is State.done]
    commits = Counter(
        commit
        for run in done
        for commit in sorted({s.get("commit", "unknown") for s in code_states(run.manifest)})
    )
    if len(commits) < 2:
        return None
    counted = ", ".join(f"{commit[:10]} ({n} runs)" for commit, n in sorted(commits.items()))
    return f"mixed commits: {counted}"


def _mixed_versions(runs: Sequence[SweepRun]) -> list[str]:
    versions: dict[str, Counter[str]] = {}
    for run in runs:
        pairs = {(name, v) for a in _attempts(run) for name, v in (a.get("versions") or {}).items()}
        for name, version in pairs:
            versions.setdefault(name, Counter())[version] += 1
    return [
        f"mixed versions of {name}: " + ", ".join(f"{v} ({n} runs)" for v, n in sorted(found.items()))
        for name, found in sorted(versions.items())
        if len(found) > 1
    ]
