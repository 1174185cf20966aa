"""How the runs of a sweep stand, as a table in the terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mmcl.records.sweep import State, Sweep, SweepRun, read_sweep
from mmcl.records.times import about

COLOURS = {
    State.done: "green",
    State.running: "cyan",
    State.failed: "red",
    State.interrupted: "yellow",
    State.stale: "magenta",
    State.missing: "dim",
}


def varying(runs: Sequence[SweepRun]) -> list[list[str]]:
    """Each run's overrides without those that all runs have in common: one list a run."""
    known = [run.overrides or [] for run in runs]
    common = set.intersection(*map(set, known)) if len(runs) > 1 else set()
    return [[o for o in overrides if o not in common] for overrides in known]


def status_table(sweep: Sweep) -> Group:
    """A line for each run and a sum below."""
    table = Table(
        "run key", "what", "state", "progress", "left", "why", title_justify="left",
        title=Text(str(sweep.path), "table.title"),
    )  # fmt: skip
    # Text throughout: what stands in brackets in an override is not markup.
    for run, overrides in zip(sweep.runs, varying(sweep.runs), strict=True):
        table.add_row(
            Text(run.run_key),
            Text(" ".join(overrides)),
            Text(run.state.value, COLOURS[run.state]),
            Text(_progress(run)),
            Text(_left(run)),
            Text(run.why if run.state is not State.done else "", overflow="fold"),
        )
    return Group(table, summary(sweep.runs))


def summary(runs: Sequence[SweepRun]) -> Text:
    """``12 runs: 9 done, 2 running, 1 failed; 1 not asked for``."""
    counts = [(state, sum(run.state is state for run in runs)) for state in State]
    text = Text(f"{len(runs)} run(s): ")
    text.append(Text(", ").join(Text(f"{n} {state.value}", COLOURS[state]) for state, n in counts if n))
    others = sum(not run.expected for run in runs)
    if others:
        text.append(f"; {others} of them in no launch's list")
    return text


def print_summary(runs: Sequence[SweepRun]) -> None:
    Console().print(summary(runs))


def show(sweep_dir: Path, every_s: float | None = None) -> Sweep:
    """Print the table; with ``every_s``, again and again in place until every run is done or Ctrl-C."""
    console = Console()
    sweep = read_sweep(sweep_dir)
    if every_s is None:
        console.print(status_table(sweep))
        return sweep
    with Live(status_table(sweep), console=console, auto_refresh=False, vertical_overflow="visible") as live:
        while any(run.state is not State.done for run in sweep.runs):
            time.sleep(every_s)
            sweep = read_sweep(sweep_dir)
            live.update(status_table(sweep), refresh=True)
    return sweep


def _progress(run: SweepRun) -> str:
    if run.state in (State.done, State.missing):
        return ""
    if run.beat is not None and run.beat.total:
        return f"{run.beat.doing} {run.beat.done}/{run.beat.total}"
    steps = run.manifest.get("steps_done")
    return f"train {steps}" if steps else ""


def _left(run: SweepRun) -> str:
    seconds = run.beat.seconds_left if run.state is State.running and run.beat is not None else None
    return "" if seconds is None else about(seconds)
