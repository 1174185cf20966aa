"""Entry points: ``train.py``, ``evaluate.py`` and ``mmcl``. Heavy imports wait until a command needs them."""

from __future__ import annotations

import os
import signal
import sys
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


def main() -> None:
    """``mmcl check | status | evaluate | prune | collect``; ``mmcl COMMAND --help`` says more."""
    import argparse

    parser = argparse.ArgumentParser(prog="mmcl", description="Tools around train.py and evaluate.py.")
    commands = parser.add_subparsers(dest="command", required=True)
    check_parser = commands.add_parser("check", help="compose and validate a train.py command; run nothing")
    check_parser.add_argument("-m", "--multirun", action="store_true", help="the overrides are a sweep")
    check_parser.add_argument(
        "overrides", nargs="*", help="as for train.py, such as seed=1,2 or loss=nt_xent"
    )
    collect_parser = commands.add_parser("collect", help="finished runs as one table and figure")
    collect_parser.add_argument(
        "run_dirs", nargs="+", type=Path, help="run directories, such as runs/quick/*"
    )
    collect_parser.add_argument("--output", "-o", type=Path, required=True, help="folder to write into")
    status_parser = commands.add_parser("status", help="how the runs of a sweep stand")
    status_parser.add_argument("sweep_dir", type=Path, help="a sweep's folder, such as multirun/NAME")
    status_parser.add_argument(
        "--watch", "-w", type=float, nargs="?", const=5.0, metavar="SECONDS", help="again every so often"
    )
    evaluate_parser = commands.add_parser(
        "evaluate", help="evaluate every trained run of a sweep again, without training"
    )
    evaluate_parser.add_argument("sweep_dir", type=Path, help="a sweep's folder, such as multirun/NAME")
    evaluate_parser.add_argument(
        "overrides", nargs="*", help="as for evaluate.py, such as evaluator=[linear]; none: each run's own"
    )
    prune_parser = commands.add_parser("prune", help="say which files of finished runs may go")
    prune_parser.add_argument("sweep_dir", type=Path, help="a sweep's folder, such as multirun/NAME")
    prune_parser.add_argument("--encoders", action="store_true", help="final encoders and worlds too")
    prune_parser.add_argument("--delete", action="store_true", help="delete them")
    arguments, more = parser.parse_known_args()
    if arguments.command == "check" and not any(a.startswith("-") for a in more):
        arguments.overrides += more  # overrides after -m
    elif more:
        parser.error(f"unknown arguments: {' '.join(more)}")
    if arguments.command == "collect":
        _collect(arguments.run_dirs, arguments.output)
        return
    try:
        if arguments.command == "status":
            _status(arguments.sweep_dir, arguments.watch)
            return
        if arguments.command == "evaluate":
            _evaluate_sweep(arguments.sweep_dir, arguments.overrides)
            return
        if arguments.command == "prune":
            _prune(arguments.sweep_dir, encoders=arguments.encoders, delete=arguments.delete)
            return
        jobs = check(arguments.overrides, multirun=arguments.multirun)
    except UserError as error:
        fail(str(error), 2)
    for config, overrides in jobs:
        print(f"{config.run.name}/{config.run_key}  {' '.join(overrides)}")
    print(f"ok: {len(jobs)} job(s), {len({c.run_key for c, _ in jobs})} distinct run(s)")


def _status(sweep_dir: Path, every_s: float | None) -> None:
    """Print the table. The exit code is 1 where a run has failed or died."""
    from mmcl.records.sweep import State
    from mmcl.reports.status import show

    try:
        sweep = show(sweep_dir, every_s)
    except KeyboardInterrupt:
        return
    if any(run.state in (State.failed, State.stale) for run in sweep.runs):
        raise SystemExit(1)


def _evaluate_sweep(sweep_dir: Path, overrides: list[str]) -> None:
    """Evaluate each trained run; one that cannot be evaluated hides no other."""
    from mmcl.records.sweep import read_sweep

    runs = [run for run in read_sweep(sweep_dir).runs if run.manifest.get("trained")]
    if not runs:
        raise UserError(f"{sweep_dir}: no trained run in it; mmcl status says how its runs stand")
    from mmcl import experiment
    from mmcl.config.compose import compose_one
    from mmcl.config.schema import validate_evaluate

    _, evaluator = validate_evaluate(compose_one("evaluate", [f"run_dir={sweep_dir}", *overrides]))
    faults = []
    for n, run in enumerate(runs, 1):
        print(f"{n}/{len(runs)} {run.run_dir}", flush=True)
        try:
            experiment.evaluate(run.run_dir, evaluator)
        except Exception as error:
            faults.append(f"{run.run_dir}: {describe(error)}")
            print(f"error: {faults[-1]}", file=sys.stderr)
    if faults:
        fail(f"{len(faults)} of {len(runs)} run(s) could not be evaluated: " + "; ".join(faults))
    print(f"{len(runs)} run(s) evaluated; figures are drawn again by mmcl report and mmcl dashboard")


def _prune(sweep_dir: Path, *, encoders: bool, delete: bool) -> None:
    from mmcl.records.prune import spare_files
    from mmcl.records.sweep import read_sweep

    spare = spare_files(read_sweep(sweep_dir).runs, encoders=encoders)
    for file in spare:
        if delete:
            file.path.unlink(missing_ok=True)
        print(f"{file.size / 2**20:8.1f} MiB  {file.path}  ({file.why})")
    total = sum(file.size for file in spare) / 2**20
    done = "deleted" if delete else "may go; nothing is deleted without --delete"
    print(f"{len(spare)} file(s), {total:.1f} MiB: {done}")


def _collect(run_dirs: list[Path], output: Path) -> None:
    from mmcl.reports.collect import collect

    for run_dir in run_dirs:
        if not (run_dir / "results.csv").exists():
            fail(
                f"{run_dir}: no finished run there (no results.csv); name run directories, such as runs/quick/*",
                2,
            )
    try:
        runs = collect(run_dirs, output)
    except (ValueError, OSError) as error:
        fail(describe(error))
    print(f"{len(runs)} run(s) in {output}: results.csv, runs.csv, table.md, seeds.png")


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
    _writable(_root(config, multirun=False))
    wanted = config.trainer.processes
    if wanted > 1:
        from mmcl.training.processes import check_started, launch, started

        if started() is None:
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
    first = join().rank == 0
    left = [job for job in jobs if job.left]
    if first:
        for folder in {job.sweep_dir for job in jobs}:
            _writable(folder)
        if hydra.submits and left:
            sweeps.run_from_snapshot(CONF.parent, left[0].sweep_dir)
        sweeps.record(jobs)
        print(f"{len(jobs)} run(s), {len(jobs) - len(left)} of them finished", flush=True)
    lost = None
    if left:
        sweeps.LAUNCH.jobs = [job.overrides for job in left]
        sweeps.LAUNCH.at_once = sweeps.share_cores(hydra, len(left))
        try:
            _hydra("train")
        except Exception as error:
            # A job that died without a word. The folders tell of it, and of the others.
            lost = describe(error)
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


def _root(config: Train, multirun: bool) -> Path:
    return Path("multirun" if multirun else config.run.output) / config.run.name


def _writable(folder: Path) -> None:
    """Raise ``UserError`` unless files can be made in ``folder``, which is made if it is not there."""
    from mmcl.records.files import write_bytes

    probe = folder / ".probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(probe, b"0")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"output={folder}: cannot be written ({error.strerror}); choose another with output=FOLDER"
        ) from None
