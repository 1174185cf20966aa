"""Which files of finished runs nobody needs any more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from mmcl.records.lock import LockedError, locked
from mmcl.records.sweep import State, SweepRun, finished


@dataclass(frozen=True)
class Spare:
    """A file of a run that may go, and why."""

    run_dir: Path
    path: Path
    size: int
    why: str


def spare_files(runs: Iterable[SweepRun], *, encoders: bool = False) -> list[Spare]:
    """What the retention policy lets go: checkpoints of finished runs, whose weights are in ``encoders.pt``.

    Runs that are not finished keep everything: the next launch goes on from it. So does one without ``encoders.pt``:
    its checkpoint is all that is left of it. Only files that mmcl writes are named.

    Args:
        runs: of a sweep.
        encoders: also the final encoders and worlds, without which a run cannot be evaluated again.
    """
    found = []
    for run in runs:
        weights = run.run_dir / "encoders.pt"
        if run.state is not State.done or not weights.is_file():
            continue
        # The second is what a process that was killed while it wrote the first has left.
        checkpoints = [run.run_dir / "checkpoints" / name for name in ("last.ckpt", "last.tmp")]
        found += [(run.run_dir, path, "the run is finished") for path in checkpoints]
        if encoders:
            found += [(run.run_dir, p, "asked for") for p in (weights, run.run_dir / "world.pt")]
    return [Spare(folder, path, path.stat().st_size, why) for folder, path, why in found if path.is_file()]


def delete(files: Iterable[Spare]) -> tuple[list[Spare], list[Path]]:
    """Delete ``files``, run by run, each held as a process that works on it holds it.

    Returns:
        What is deleted, and the runs that were left as they are: another process works on them, or has begun them anew.
    """
    deleted: list[Spare] = []
    left: list[Path] = []
    for run_dir, of_run in groupby(files, key=lambda file: file.run_dir):
        try:
            with locked(run_dir):
                if not finished(run_dir, {}):
                    left.append(run_dir)
                    continue
                for file in of_run:
                    file.path.unlink(missing_ok=True)
                    deleted.append(file)
        except LockedError:
            left.append(run_dir)
    return deleted, left
