"""Which files of finished runs nobody needs any more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mmcl.records.sweep import State, SweepRun


@dataclass(frozen=True)
class Spare:
    """A file that may go, and why."""

    path: Path
    size: int
    why: str


def spare_files(runs: Iterable[SweepRun], *, encoders: bool = False) -> list[Spare]:
    """What the retention policy lets go: checkpoints of finished runs, whose weights are in ``encoders.pt``.

    Runs that are not finished keep everything: the next launch goes on from it.

    Args:
        runs: of a sweep.
        encoders: also the final encoders and worlds, without which a run cannot be evaluated again.
    """
    found = []
    for run in runs:
        if run.state is not State.done:
            continue
        found += [(p, "the run is finished") for p in sorted((run.run_dir / "checkpoints").glob("*"))]
        if encoders:
            found += [(run.run_dir / name, "asked for") for name in ("encoders.pt", "world.pt")]
    return [Spare(path, path.stat().st_size, why) for path, why in found if path.is_file()]
