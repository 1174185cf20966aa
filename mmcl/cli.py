"""Entry points: ``train.py``, ``evaluate.py`` and ``mmcl``. Heavy imports wait until a command needs them."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mmcl.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

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


def fail(message: str, code: int = 1) -> NoReturn:
    """End with one line on standard error."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(code)


def train() -> None:
    """``python train.py [-m] [overrides]``: check every job, then train, evaluate and report each."""
    _hydra_main("train", _train_job)
    if _failed:
        fail(f"{len(_failed)} job(s) failed: " + "; ".join(_failed))


def evaluate() -> None:
    """``python evaluate.py run_dir=... [evaluator=...]``."""
    _hydra_main("evaluate", _evaluate_job)


def main() -> None:
    """``mmcl check [-m] OVERRIDES``, ``mmcl collect RUN_DIRS -o FOLDER`` and ``mmcl dashboard SWEEP [-o FILE]``."""
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
    dashboard_parser = commands.add_parser("dashboard", help="a sweep as one HTML file, also while it runs")
    dashboard_parser.add_argument("sweep", type=Path, help="a sweep's folder, such as multirun/quick")
    dashboard_parser.add_argument(
        "--output", "-o", type=Path, help="file to write (default: dashboard.html in the sweep's folder)"
    )
    arguments, more = parser.parse_known_args()
    if arguments.command == "check" and not any(a.startswith("-") for a in more):
        arguments.overrides += more  # overrides after -m
    elif more:
        parser.error(f"unknown arguments: {' '.join(more)}")
    if arguments.command == "collect":
        _collect(arguments.run_dirs, arguments.output)
        return
    if arguments.command == "dashboard":
        _dashboard(arguments.sweep, arguments.output)
        return
    try:
        jobs = check(arguments.overrides, multirun=arguments.multirun)
    except UserError as error:
        fail(str(error), 2)
    for config, overrides in jobs:
        print(f"{config.run.name}/{config.run_key}  {' '.join(overrides)}")
    print(f"ok: {len(jobs)} job(s), {len({c.run_key for c, _ in jobs})} distinct run(s)")


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
        fail(_describe(error))
    print(f"{len(runs)} run(s) in {output}: results.csv, runs.csv, table.md, seeds.png")


def _dashboard(sweep: Path, output: Path | None) -> None:
    from mmcl.reports.dashboard import dashboard

    try:
        path, runs = dashboard(sweep, output)
    except UserError as error:
        fail(str(error), 2)
    print(f"{runs} run(s) in {path}: open it in a browser")


def check(overrides: list[str], *, multirun: bool) -> list[tuple[Train, list[str]]]:
    """Compose and validate every job of a command.

    Raises:
        UserError: for the first job with a fault, before any has run.
    """
    from mmcl.config.compose import compose_one, expand
    from mmcl.config.schema import validate_train

    jobs = expand(overrides)
    if not multirun and len(jobs) > 1:
        raise UserError("overrides with several values, such as seed=1,2, need -m (a sweep)")
    return [(validate_train(compose_one("train", job)), job) for job in jobs]


_failed: list[str] = []


def _hydra_main(name: str, job: Callable[[DictConfig], None]) -> None:
    """Run ``job`` under Hydra, after a check of all jobs; end with one line whatever goes wrong."""
    arguments = sys.argv[1:]
    asks = any(a in HYDRA_QUESTIONS or a.startswith(("--cfg=", "--info=")) for a in arguments)
    try:
        _register_resolvers()
        if not asks:
            _preflight(name, arguments)
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing tracebacks
        import hydra

        from mmcl.config.compose import CONF

        hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(job)()
    except SystemExit:
        raise
    except UserError as error:
        fail(str(error), 2)
    except KeyboardInterrupt as stopped:
        code = 128 + (signal.SIGTERM if isinstance(stopped, Terminated) else signal.SIGINT)
        fail("stopped; the same command goes on from there", code)
    except Exception as error:
        fail(_describe(error))


def _preflight(name: str, arguments: list[str]) -> None:
    multirun = any(a in ("-m", "--multirun") for a in arguments)
    overrides = [a for a in arguments if not a.startswith("-")]
    if name == "train":
        for config, _ in check(overrides, multirun=multirun):
            _writable(_root(config, multirun))
        return
    from mmcl.config.compose import compose_one
    from mmcl.config.schema import validate_evaluate

    validate_evaluate(compose_one(name, overrides))


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


def _register_resolvers() -> None:
    from omegaconf import OmegaConf

    def run_key(*, _root_: DictConfig) -> str:
        from mmcl.config.schema import validate_train

        keys = [str(k) for k in _root_ if k != "hydra"]
        return validate_train(OmegaConf.masked_copy(_root_, keys)).run_key

    OmegaConf.register_new_resolver("run_key", run_key, replace=True)


class Terminated(KeyboardInterrupt):
    """SIGTERM outside training, which ends a run as Ctrl-C does."""


def _train_job(composed: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from mmcl import experiment
    from mmcl.config.schema import validate_train
    from mmcl.records.lock import LockedError
    from mmcl.reports.run import report

    hydra = HydraConfig.get()
    multirun = str(hydra.mode).endswith("MULTIRUN")
    run_dir = Path(hydra.runtime.output_dir)
    shown = _relative(run_dir)
    _quiet()  # after Lightning's import, which sets its own levels
    signal.signal(signal.SIGTERM, _terminate)  # training listens itself
    try:
        experiment.train(validate_train(composed), run_dir, list(hydra.overrides.task))
        report(run_dir, shown)
        return
    except experiment.InterruptedRun as stopped:
        fail(f"{shown}: {stopped}; the same command goes on from there", 128 + stopped.signal)
    except Exception as error:
        message = _describe(error)
        if not isinstance(error, UserError | ValueError | OSError | LockedError):
            _save_traceback(run_dir)
        if not multirun:
            fail(f"{shown}: {message}" if str(shown) not in message else message)
        # The other jobs of a sweep go on; the exit code says at the end that one failed.
        print(f"error: {shown}: {message}", file=sys.stderr)
        _failed.append(f"{shown}: {message}")


def _terminate(number: int, _: Any) -> NoReturn:
    raise Terminated


def _evaluate_job(composed: DictConfig) -> None:
    from mmcl import experiment
    from mmcl.config.schema import validate_evaluate
    from mmcl.reports.run import report

    run_dir, evaluator = validate_evaluate(composed)
    before = Path(run_dir) / "results.csv"
    old = before.read_bytes() if before.exists() else None
    experiment.evaluate(Path(run_dir), evaluator)
    report(Path(run_dir), _relative(Path(run_dir)))
    if old is not None:
        same = old == before.read_bytes()
        print(f"{before}: {'reproduced exactly' if same else 'changed'}")


def _save_traceback(run_dir: Path) -> None:
    try:
        (run_dir / "error.log").write_text(traceback.format_exc())
        print(f"the traceback is in {_relative(run_dir / 'error.log')}", file=sys.stderr)
    except OSError:
        traceback.print_exc()


def _describe(error: BaseException) -> str:
    """One line: what went wrong, and what to do about it."""
    import errno

    text = " ".join(str(error).split()) or type(error).__name__
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left" in text or "file write failed" in text:
        return f"no space left on the disk ({text}); free some, and the same command goes on from its last checkpoint"
    if isinstance(error, UserError | ValueError | OSError) or type(error).__module__.startswith("mmcl"):
        return text
    return f"{type(error).__name__}: {text}"


def _relative(path: Path) -> Path:
    path = path.resolve()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _quiet() -> None:
    """Silence what libraries print for developers; a run's own words should be readable."""
    import logging

    warnings.filterwarnings("ignore", category=UserWarning, module=r"lightning")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
