"""The data block of a sweep's dashboard: everything the page shows, as builtins that JSON can hold."""

from __future__ import annotations

import csv
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmcl.records.files import read_csv
from mmcl.records.manifest import code_states
from mmcl.records.sweep import State, Sweep, SweepRun
from mmcl.records.times import about, duration
from mmcl.reports import curves, swept
from mmcl.reports.configs import load_config, parse_overrides, train_command
from mmcl.reports.summary import LABELS, PROBE_METRICS, Line, ProbeLine, summarise_probes, summarise_rows

PROBED = "balanced_accuracy"
"""Which of the probes' metrics the page shows: the one that shares a scale with R² and accuracy."""
SCORES = ("linear", "nonlinear", "chance", "ceiling")


@dataclass
class _Read:
    """A run and what its files hold; ``notes`` says which of them could not be read."""

    run: SweepRun
    config: Mapping[str, Any] | None = None
    lines: list[Line] = field(default_factory=list)
    probes: list[ProbeLine] = field(default_factory=list)
    last_step: int = 0
    notes: list[str] = field(default_factory=list)

    def attempt(self, name: str, read: Callable[[Path], Any], otherwise: Any) -> Any:
        """Read the file ``name``. One that is missing or damaged must not cost the page the other runs."""
        try:
            return read(self.run.run_dir / name)
        except FileNotFoundError:
            return otherwise
        except KeyError as error:
            self.notes.append(f"{name}: cannot be read (no {error})")
        except (OSError, ValueError, TypeError, csv.Error) as error:
            self.notes.append(f"{name}: cannot be read ({str(error).partition(chr(10))[0]})")
        return otherwise


def gather(sweep: Sweep, now: float | None = None) -> dict[str, Any]:
    """The data block of ``sweep``.

    Keys:
        sweep: name, moment of writing, commits with the number of runs at each, points of a curve at most.
        states: the number of runs in each state, in the order in which they are shown.
        keys: what differs between the runs: the config key and a short label.
        roles: the kinds of factors that any run has a score of, with the name of the score; then each factor and
            representation that probes were fitted to.
        probes: names of the probes, each a key of the scores of the latter.
        runs: for each run its state, seed, values of ``keys``, scores, progress, command and error.
        groups: the values of ``keys`` that runs with the same values, seed apart, have in common.
        curves: metric -> for each group the steps, and for each run (its place in ``runs``) the values.

    Args:
        sweep: what :func:`mmcl.records.sweep.read_sweep` found.
        now: seconds since 1970; ``None``: this moment.
    """
    now = time.time() if now is None else now
    read = [_read(run) for run in sweep.runs]
    differing = swept.compare([swept.RunConfig(r.run.overrides or [], r.config) for r in read])
    groups = _groups(differing.values)
    curve_data = _curves(
        read, groups
    )  # before the runs: it finds the steps that unfinished ones have reached
    launched = any(run.expected for run in sweep.runs)
    group_of = {i: g for g, members in enumerate(groups) for i in members}
    return {
        "sweep": {
            "name": sweep.path.resolve().name,
            "written": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "commits": _commits(sweep),
            "points": curves.POINTS,
        },
        "states": {state.value: sweep.count(state) for state in State},
        "keys": [
            {"key": key, "label": label} for key, label in zip(differing.keys, differing.labels, strict=True)
        ],
        "roles": [*_roles(read), *_probed(read)],
        "probes": list(dict.fromkeys(name for r in read for p in r.probes for name in p.values)),
        "runs": [
            {**_run(r, now, launched), "values": list(values), "group": group_of[i]}
            for i, (r, values) in enumerate(zip(read, differing.values, strict=True))
        ],
        "groups": [list(differing.values[members[0]]) for members in groups],
        "curves": curve_data,
    }


def _read(run: SweepRun) -> _Read:
    read = _Read(run)
    read.config = read.attempt("config.yaml", _config, None)
    read.lines, read.probes = read.attempt("results.csv", _lines, ([], []))
    return read


def _config(path: Path) -> Mapping[str, Any] | None:
    values = load_config(path)
    if not isinstance(values.get("trainer") or {}, dict):
        raise ValueError(f"trainer={values['trainer']!r} has no keys")
    return values


def _lines(path: Path) -> tuple[list[Line], list[ProbeLine]]:
    rows = read_csv(path)
    probes = [p for p in summarise_probes(rows) if p.metric == PROBED and not p.intervened]
    return summarise_rows(rows), probes


def _groups(values: list[tuple[swept.Value, ...]]) -> list[list[int]]:
    """The places of the runs of each group; groups are sorted by their values, numbers by size."""
    found: dict[tuple[str, ...], list[int]] = {}
    for i, row in enumerate(values):
        found.setdefault(tuple(map(swept.same, row)), []).append(i)
    return sorted(found.values(), key=lambda members: [_rank(v) for v in values[members[0]]])


def _rank(value: swept.Value) -> tuple[int, float, str]:
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def _curves(read: list[_Read], groups: list[list[int]]) -> dict[str, list[dict[str, Any]]]:
    """Group by group, so that the long ``metrics.csv`` of only a few runs are held at a time."""
    found: dict[str, list[dict[str, Any]]] = {}
    for group, members in enumerate(groups):
        logged = {i: read[i].attempt("metrics.csv", curves.read_metrics, {}) for i in members}
        for i, metrics in logged.items():
            read[i].last_step = max((max(values) for values in metrics.values()), default=0)
        for name, curve in curves.thin_group(logged).items():
            found.setdefault(name, []).append({"group": group, "steps": curve.steps, "runs": curve.values})
    return {name: found[name] for name in sorted(found)}


def _commits(sweep: Sweep) -> list[dict[str, Any]]:
    """The commits of the code that trained and evaluated the runs, the most frequent first."""
    found: Counter[tuple[str, bool]] = Counter()
    for run in sweep.runs:
        states = [git for git in code_states(run.manifest) if git.get("commit")]
        found.update({(str(git["commit"])[:10], bool(git.get("dirty"))) for git in states})
    return [
        {"commit": commit, "dirty": dirty, "runs": count} for (commit, dirty), count in found.most_common()
    ]


def _last_attempt(run: SweepRun) -> Mapping[str, Any]:
    attempts = run.manifest.get("attempts") or [{}]
    return attempts[-1]


def _roles(read: list[_Read]) -> list[dict[str, Any]]:
    metrics: dict[tuple[bool, str], set[str]] = {}
    for r in read:
        for line in r.lines:
            metrics.setdefault((line.intervened, line.role), set()).add(line.metric)
    known = [*LABELS, *sorted({role for _, role in metrics} - LABELS.keys())]
    order = sorted(metrics, key=lambda place: (place[0], known.index(place[1])))
    names = {"r2": "R²", "accuracy": "accuracy"}
    return [
        {
            "id": _role_id(role, intervened),
            "label": LABELS.get(role, role),
            "intervened": intervened,
            "metric": " / ".join(sorted(names[m] for m in metrics[intervened, role])),
        }
        for intervened, role in order
    ]


def _probed(read: list[_Read]) -> list[dict[str, Any]]:
    places = dict.fromkeys((p.target, p.representation) for r in read for p in r.probes)
    return [
        {
            "id": f"{target} from {representation}",
            "label": f"{target} from {representation}",
            "intervened": False,
            "metric": PROBE_METRICS[PROBED],
        }
        for target, representation in places
    ]


def _role_id(role: str, intervened: bool) -> str:
    return f"{role}, intervened" if intervened else role


def _run(read: _Read, now: float, launched: bool) -> dict[str, Any]:
    """``launched``: the folder is a sweep's, and so the run's command begins with ``-m``."""
    run = read.run
    overrides = parse_overrides(run.overrides or [])
    seed = (read.config or {}).get("seed", run.manifest.get("seed", overrides.get("seed")))
    return {
        "key": run.run_key,
        "state": run.state.value,
        "seed": swept.shown(seed),
        "command": train_command(run.overrides, multirun=launched),
        "expected": run.expected,
        "error": "; ".join(filter(None, [run.why, *read.notes])),
        "scores": {
            _role_id(line.role, line.intervened): {name: _short(getattr(line, name)) for name in SCORES}
            for line in read.lines
        }
        | {
            f"{p.target} from {p.representation}": {
                **{name: _short(value) for name, value in p.values.items()},
                "chance": _short(p.chance),
                "ceiling": None,  # each probe has its own
            }
            for p in read.probes
        },
        **_progress(read),
        **_wall(run, now),
    }


def _short(value: float | None) -> float | None:
    return round(value, 6) if value is not None and math.isfinite(value) else None


def _progress(read: _Read) -> dict[str, Any]:
    """How far a run is: the part of its training that is done, from 0 to 1 if known, and in words."""
    run, beat = read.run, read.run.beat
    total = ((read.config or {}).get("trainer") or {}).get("max_steps")
    trained = bool(run.manifest.get("trained"))
    done = max(run.manifest.get("steps_done", 0), read.last_step)
    if run.state is State.running and beat is not None:
        if beat.doing == "train":
            done, total = max(done, beat.done), beat.total or total
        text = f"{beat.done:,} of {beat.total:,}" if beat.total else "starting"
        if beat.doing == "evaluate" and beat.total:
            text = f"evaluated {text}"
        if beat.seconds_left is not None:
            text += f", {about(beat.seconds_left)} left"
    elif run.state is State.done:
        text = f"{done:,} steps"
    elif run.state is State.missing:
        text = "not begun"
    else:
        text = f"{done:,} of {total:,} steps" if isinstance(total, int) else f"{done:,} steps"
    finished = trained or run.state is State.done
    part = 1.0 if finished else min(1.0, done / total) if isinstance(total, int) and total > 0 else None
    return {"progress": None if part is None else round(part, 4), "doing": text}


def _wall(run: SweepRun, now: float) -> dict[str, Any]:
    """Wall time of the last attempt: as recorded at its end, or so far; unknown if it ended otherwise."""
    attempt = _last_attempt(run)
    seconds = attempt.get("wall_s")
    if seconds is None and run.state is State.running and attempt.get("started"):
        seconds = now - datetime.fromisoformat(attempt["started"]).timestamp()
    return {
        "wall": None if seconds is None else round(seconds, 1),
        "wallText": "" if seconds is None else duration(seconds),
        "attempts": len(run.manifest.get("attempts") or []),
    }
