"""A sweep's folder: ``sweep.json``, which runs it shall hold, and how each of them stands."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from mmcl.errors import UserError
from mmcl.records.files import write_json
from mmcl.records.heartbeat import STALE_S, Beat, read_beat
from mmcl.records.lock import waiting
from mmcl.records.manifest import COMPLETED, FAILED, INTERRUPTED, Manifest
from mmcl.records.times import about

NAME = "sweep.json"
LOCK = ".sweep.lock"
SCHEMA_VERSION = 1


class State(Enum):
    """How a run of a sweep stands.

    done: trained and evaluated; running: a process works on it; failed: it ended with an error; interrupted: it ended
    on a signal, and goes on when the sweep is launched again; stale: it was running, but its heart has stopped;
    missing: it has not begun.
    """

    done = "done"
    running = "running"
    failed = "failed"
    interrupted = "interrupted"
    stale = "stale"
    missing = "missing"


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    ``overrides``: what the sweep's launch gave it, or what its manifest says where the sweep does not know it; ``None``
    where neither does.
    ``expected``: the sweep's ``sweep.json`` names it. ``manifest``: empty where the run is missing.
    """

    run_key: str
    run_dir: Path
    state: State
    overrides: list[str] | None
    expected: bool
    error: str | None
    beat: Beat | None
    manifest: Mapping[str, Any]

    @property
    def why(self) -> str:
        """The first line of ``error``; empty where there is none."""
        return next(iter((self.error or "").strip().splitlines()), "")


@dataclass(frozen=True)
class Sweep:
    """``multirun/NAME``: its runs in the order of their launch, then those that no launch named."""

    path: Path
    runs: list[SweepRun]

    def count(self, state: State) -> int:
        return sum(run.state is state for run in self.runs)


def expect(sweep_dir: Path, jobs: Mapping[str, Sequence[str]]) -> None:
    """Add ``run_key -> overrides`` to what the sweep shall hold; what stands there stays.

    Launches that do so at the same time wait for each other.
    """
    with waiting(sweep_dir / LOCK):
        known = read_expected(sweep_dir)
        runs = {**known, **{key: list(overrides) for key, overrides in jobs.items()}}
        if runs != known:
            write_json(sweep_dir / NAME, {"schema_version": SCHEMA_VERSION, "runs": runs})


def read_expected(sweep_dir: Path) -> dict[str, list[str]]:
    """``run_key -> overrides`` of the runs that the sweep shall hold; empty where there is no ``sweep.json``.

    Raises:
        UserError: a damaged ``sweep.json``.
    """
    path = sweep_dir / NAME
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["schema_version"] != SCHEMA_VERSION:
            raise UserError(
                f"{path}: schema_version={values['schema_version']!r}: must be {SCHEMA_VERSION}; "
                "it was written by another version of mmcl"
            )
        return {str(key): [str(o) for o in overrides] for key, overrides in values["runs"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not the record of a sweep ({error}); delete it and launch the sweep again"
        ) from None


def read_sweep(sweep_dir: Path, now: float | None = None) -> Sweep:
    """The sweep in ``sweep_dir``, from plain files alone.

    Args:
        sweep_dir: a folder of run directories, with or without a ``sweep.json``.
        now: seconds since 1970 to measure heartbeats against; ``None``: this moment.

    Raises:
        UserError: no such folder, no run and no sweep in it, or a damaged ``sweep.json``.
    """
    if not sweep_dir.is_dir():
        raise UserError(f"{sweep_dir}: no such folder; name a sweep's, such as multirun/NAME")
    now = time.time() if now is None else now
    expected = read_expected(sweep_dir)
    found = {p.parent.name for p in sweep_dir.glob("*/manifest.json")}
    if not expected and not found:
        raise UserError(f"{sweep_dir}: no runs there; name a sweep's folder, such as multirun/NAME")
    order = [*expected, *sorted(found - expected.keys())]
    return Sweep(sweep_dir, [_run(sweep_dir / key, expected.get(key), now) for key in order])


def finished(run_dir: Path, evaluation_keys: Mapping[str, str]) -> bool:
    """Whether nothing is left to do for a run: trained, and evaluated by all of these, ``name -> evaluation key``."""
    try:
        manifest = Manifest.read(run_dir)
    except ValueError:
        return False
    if manifest is None or manifest.status != COMPLETED:
        return False
    done = manifest.values["evaluations"]
    return all(done.get(name, {}).get("key") == key for name, key in evaluation_keys.items())


def read_run(run_dir: Path) -> SweepRun:
    """How one run stands now."""
    return _run(run_dir, None, time.time())


def _run(run_dir: Path, overrides: list[str] | None, now: float) -> SweepRun:
    error: str | None = None
    beat: Beat | None = None
    values: Mapping[str, Any] = {}
    try:
        manifest = Manifest.read(run_dir)
    except ValueError as damaged:
        manifest, state, error = None, State.failed, str(damaged)
    else:
        state = State.missing
    if manifest is not None:
        values = manifest.values
        error = values.get("error")
        silence = "no sign of life"
        try:
            beat = read_beat(run_dir)
        except ValueError as damaged:
            silence = str(damaged)
        state = _state(manifest.status, beat, now)
        if state is State.stale:
            error = _silence(beat, now) if beat else silence
    attempts = values.get("attempts") or [{}]
    last = attempts[-1].get("overrides")
    return SweepRun(
        run_key=run_dir.name,
        run_dir=run_dir,
        state=state,
        overrides=overrides if overrides is not None else last,
        expected=overrides is not None,
        error=error,
        beat=beat,
        manifest=values,
    )


def _state(status: str, beat: Beat | None, now: float) -> State:
    if status == COMPLETED:
        return State.done
    if status == FAILED:
        return State.failed
    if status == INTERRUPTED:
        return State.interrupted
    # Clocks that differ by less than this do no harm; a beat from further ahead would otherwise live for ever.
    alive = beat is not None and abs(now - beat.time) < STALE_S and not beat.ended
    return State.running if alive else State.stale


def _silence(beat: Beat, now: float) -> str:
    if beat.ended:
        return f"its process {beat.pid} died without a word"
    if beat.time > now:
        return (
            f"its last sign of life is {about(beat.time - now)} ahead of this machine's clock; "
            f"set the clocks of {beat.host} and of this machine alike"
        )
    return f"no sign of life since {about(now - beat.time)} ago"
