"""Entry points: ``train.py`` and ``evaluate.py``. Heavy imports wait until a command needs them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mmcl.errors import UserError, describe, fail, relative

if TYPE_CHECKING:
    from mmcl.config.schema import Train

HYDRA_QUESTIONS = (
    "--help",
    "-h",
    "--hydra-help",
    "--version",
    "--cfg",
    "-c",
    "--info",
    "-i",
    "--shell-completion",
)
"""Flags that ask Hydra something and run no job."""


def train() -> None:
    """``python train.py [-m] [overrides]``: check every job, then train, evaluate and report each."""
    _hydra_main("train")


def evaluate() -> None:
    """``python evaluate.py run_dir=... [evaluator=...]``."""
    _hydra_main("evaluate")


def check(overrides: list[str], *, multirun: bool) -> list[tuple[Train, list[str]]]:
    """Compose and validate every job of a command.

    Raises:
        UserError: for the first job with a fault, before any has run.
    """
    from mmcl.config.compose import compose_hydra, compose_one, expand
    from mmcl.config.schema import validate_train

    grid = compose_hydra("train", overrides).params
    if grid and not multirun:
        raise UserError("the overrides name a sweep (several runs), which needs -m")
    jobs = expand([*grid, *overrides])
    if not multirun and len(jobs) > 1:
        raise UserError("overrides with several values, such as seed=1,2, need -m (a sweep)")
    return [(validate_train(compose_one("train", job)), job) for job in jobs]


def _hydra_main(name: str) -> None:
    """Run the jobs of ``name`` under Hydra, after a check of all jobs; end with one line whatever goes wrong."""
    arguments = sys.argv[1:]
    asks = any(a in HYDRA_QUESTIONS or a.startswith(("--cfg=", "--info=")) for a in arguments)
    try:
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing tracebacks
        if asks:
            _hydra(name)
            return
        multirun = any(a in ("-m", "--multirun") for a in arguments)
        overrides = [a for a in arguments if not a.startswith("-")]
        if name == "evaluate":
            _check_evaluate(overrides)
            _hydra(name)
        elif multirun:
            # Hydra's parser takes no override after a -m that has some before it.
            sys.argv[1:] = ["-m", *(a for a in arguments if a not in ("-m", "--multirun"))]
            _sweep(overrides)
        else:
            _single(overrides)
    except SystemExit:
        raise
    except UserError as error:
        fail(str(error), 2)
    except KeyboardInterrupt as stopped:
        number = signal.SIGTERM if type(stopped) is not KeyboardInterrupt else signal.SIGINT
        fail("stopped; the same command goes on from there", 128 + number)
    except Exception as error:
        fail(describe(error))


def _hydra(name: str) -> None:
    import hydra

    from mmcl import jobs
    from mmcl.config.compose import CONF

    job = {"train": jobs.train_job, "evaluate": jobs.evaluate_job}[name]
    hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(job)()


def _check_evaluate(overrides: list[str]) -> None:
    from mmcl.config.compose import compose_one
    from mmcl.config.schema import validate_evaluate

    validate_evaluate(compose_one("evaluate", overrides))


def _single(overrides: list[str]) -> None:
    """One run, in this process or, with several devices, in one for each that is started here."""
    ((config, _),) = check(overrides, multirun=False)
    _writable(Path(config.run.output) / config.run.name)
    from mmcl.training.processes import check_started, launch, started

    wanted = config.trainer.processes
    if wanted > 1 and started() is None:
        if config.trainer.num_nodes > 1:
            raise UserError(
                f"trainer.num_nodes={config.trainer.num_nodes}: start a process for each device on every node, "
                "with srun --ntasks-per-node, torchrun --nnodes, or -m hydra/launcher=slurm_gpus"
            )
        raise SystemExit(launch(wanted, [sys.executable, *sys.argv]))
    check_started(wanted)
    _hydra("train")


def _sweep(overrides: list[str]) -> None:
    """Launch what is left of a sweep, and say at the end how every run of it stands."""
    from mmcl import sweeps
    from mmcl.config.compose import CONF, compose_hydra
    from mmcl.reports.status import print_summary
    from mmcl.training.processes import join, started

    jobs = sweeps.distinct(sweeps.Job(config, job) for config, job in check(overrides, multirun=True))
    hydra = compose_hydra("train", overrides)
    sweeps.check_devices(jobs, hydra, started())
    first = join(jobs[0].config.trainer.accelerator).rank == 0
    idle = [job for job in jobs if not job.running]
    left = [job for job in idle if job.left]
    if first:
        for folder in {job.sweep_dir for job in jobs}:
            _writable(folder)
        if hydra.submits and left:
            sweeps.run_from_snapshot(CONF.parent, left[0].sweep_dir)
        sweeps.record(jobs)
        running = f", {len(jobs) - len(idle)} running" if len(idle) < len(jobs) else ""
        print(f"{len(jobs)} run(s), {len(idle) - len(left)} of them finished{running}", flush=True)
    lost = None
    while left:
        sweeps.LAUNCH.jobs = [job.overrides for job in left]
        sweeps.LAUNCH.at_once = sweeps.share_cores(hydra, len(left))
        began = len(left)
        try:
            with _arguments_for_hydra():
                _hydra("train")
            left = []
        except KeyboardInterrupt:
            if not hydra.submits:
                raise
            fail(
                "stopped waiting; what was submitted stays in the queue (squeue, scancel), and mmcl status tells of it",
                128 + signal.SIGINT,
            )
        except Exception as error:
            # A job that died without a word: the folders tell of it. A launcher of this machine takes those that have
            # not begun with it.
            lost = describe(error)
            left = [] if hydra.submits else [job for job in left if job.missing]
            left = left if len(left) < began else []
    if not first:
        return
    runs = sweeps.outcome(jobs)
    failed = sweeps.not_done(runs)
    print_summary(runs)
    if failed:
        fail(
            f"{len(failed)} run(s) of {len(runs)} are not done: "
            + "; ".join(f"{relative(run.run_dir)}: {run.error or run.state.value}" for run in failed[:20])
            + (f"; the launcher said: {lost}" if lost else "")
        )
    if lost:
        print(f"the launcher said: {lost}", file=sys.stderr)


@contextlib.contextmanager
def _arguments_for_hydra() -> Iterator[None]:
    """Hide what only jobs need: Hydra launches those that were checked (:data:`mmcl.sweeps.LAUNCH`)."""
    from mmcl.config.compose import of_jobs

    given = list(sys.argv)
    sys.argv[1:] = [argument for argument in given[1:] if not of_jobs(argument)]
    try:
        yield
    finally:
        sys.argv[:] = given


def _writable(folder: Path) -> None:
    """Raise ``UserError`` unless files can be made in ``folder``, which is made if it is not there."""
    from mmcl.records.files import write_bytes

    probe = folder / f".probe-{os.getpid()}"  # several processes of one run may look at once
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(probe, b"0")
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"output={folder}: cannot be written ({error.strerror}); choose another with output=FOLDER"
        ) from None
