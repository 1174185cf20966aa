"""A sweep's launch: which jobs it has, which of them are left to do, and how to start them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmcl.config.compose import HydraNode
from mmcl.config.schema import Train
from mmcl.cores import usable_cores
from mmcl.errors import UserError
from mmcl.records.keys import evaluation_keys
from mmcl.records.manifest import git_state
from mmcl.records.snapshot import snapshot
from mmcl.records.sweep import State, SweepRun, expect, finished, read_run, read_sweep

ROOT = Path("multirun")
SNAPSHOT = "MMCL_SNAPSHOT"
SLURM, LOCAL_SUBMITIT, JOBLIB = "SlurmLauncher", "LocalLauncher", "JoblibLauncher"


@dataclass
class Launch:
    """What Hydra's sweeper is to launch: the overrides of each job, ``at_once`` of them at a time (``None``: all)."""

    jobs: list[list[str]] = field(default_factory=list)
    at_once: int | None = None


LAUNCH = Launch()


@dataclass(frozen=True)
class Job:
    """One job of a sweep: its checked config and the overrides that make it."""

    config: Train
    overrides: list[str]

    @property
    def sweep_dir(self) -> Path:
        return ROOT / self.config.run.name

    @property
    def run_dir(self) -> Path:
        return self.sweep_dir / self.config.run_key

    @property
    def running(self) -> bool:
        """Whether a process is at work on it."""
        return read_run(self.run_dir).state is State.running

    @property
    def missing(self) -> bool:
        """Whether it has not begun."""
        return read_run(self.run_dir).state is State.missing

    @property
    def left(self) -> bool:
        """Whether there is anything to do: a finished run is launched again only by force, or for new evaluators."""
        keys = evaluation_keys(self.config.resolved)
        return self.config.run.force or not finished(self.run_dir, keys) or not reported(self.run_dir)


def distinct(jobs: Iterable[Job]) -> list[Job]:
    """The jobs without those that are the same run as an earlier one."""
    return list({job.run_dir: job for job in reversed(list(jobs))}.values())[::-1]


def record(jobs: Sequence[Job]) -> None:
    """Write down in each sweep's folder which runs it shall hold."""
    for folder in {job.sweep_dir for job in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
        expect(folder, {job.config.run_key: job.overrides for job in jobs if job.sweep_dir == folder})


def check_devices(jobs: Sequence[Job], hydra: HydraNode, started: int | None) -> None:
    """Raise ``UserError`` if a job wants more processes than its launcher starts."""
    for job in jobs:
        trainer = job.config.trainer
        wanted = trainer.processes
        launched = hydra.tasks if hydra.launcher == SLURM else (started or 1)
        if wanted == launched:
            continue
        if hydra.launcher == SLURM:
            raise UserError(
                f"trainer.devices={trainer.devices} and trainer.num_nodes={trainer.num_nodes}, but hydra.launcher "
                f"starts {launched} task(s) a job: set hydra.launcher.tasks_per_node={trainer.devices} and "
                f"hydra.launcher.nodes={trainer.num_nodes}, or take hydra/launcher=slurm_gpus"
            )
        raise UserError(
            f"trainer.devices={trainer.devices} with -m: the launchers of this machine start one process a job. Give "
            "each run a command of its own without -m (for seed in 0 1 2; do python train.py ... seed=$seed; done), "
            "keep trainer.devices=1, or submit to SLURM with hydra/launcher=slurm_gpus"
        )


def share_cores(hydra: HydraNode, jobs: int) -> int | None:
    """Give each of the jobs that this machine runs side by side its share of the cores, by ``OMP_NUM_THREADS``.

    Returns:
        How many jobs to launch at a time, or ``None`` for all.
    """
    cores = usable_cores()
    if hydra.launcher == JOBLIB:
        n_jobs = hydra.n_jobs if hydra.n_jobs > 0 else max(1, cores + 1 + hydra.n_jobs)
        side_by_side = min(n_jobs, jobs)
    elif hydra.launcher == LOCAL_SUBMITIT:
        side_by_side = min(cores, jobs)  # submitit starts all that it is given at once
    else:
        return None
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // side_by_side)))
    return side_by_side if hydra.launcher == LOCAL_SUBMITIT else None


def run_from_snapshot(source: Path, sweep_dir: Path) -> None:
    """Go on in a copy of the code, so that jobs in the queue run what was submitted. Returns only in such a copy."""
    if SNAPSHOT in os.environ:
        return
    copy = snapshot(source, sweep_dir / ".code", git_state(source / "mmcl")).resolve()
    path = os.pathsep.join(p for p in (str(copy), os.environ.get("PYTHONPATH", "")) if p)
    script = copy / Path(sys.argv[0]).name
    sys.stdout.flush()
    os.execve(
        sys.executable,
        [sys.executable, str(script), *sys.argv[1:]],
        {**os.environ, "PYTHONPATH": path, SNAPSHOT: str(copy)},
    )


def outcome(jobs: Sequence[Job]) -> list[SweepRun]:
    """How the runs of these jobs stand, from their folders."""
    keys = {(job.sweep_dir, job.config.run_key) for job in jobs}
    return [
        run
        for folder in dict.fromkeys(job.sweep_dir for job in jobs)
        for run in read_sweep(folder).runs
        if (folder, run.run_key) in keys
    ]


def reported(run_dir: Path) -> bool:
    """Whether a finished run's figure was drawn, the last thing that its job does."""
    return (run_dir / "figure.png").exists()


def not_done(runs: Iterable[SweepRun]) -> list[SweepRun]:
    """The runs that are not finished, and those whose figure could not be drawn."""
    return [
        run if run.state is not State.done else replace(run, error="no figure; its job said why")
        for run in runs
        if run.state is not State.done or not reported(run.run_dir)
    ]
