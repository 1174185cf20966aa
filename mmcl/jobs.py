"""The jobs that Hydra runs: one run trained, one run evaluated again.

Hydra's launchers start them in processes of their own, which know of this module alone: so it registers what the config
needs to be resolved.
"""

from __future__ import annotations

import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import DictConfig, OmegaConf

from mmcl.errors import UserError, describe, fail, relative


def _run_key(*, _root_: DictConfig) -> str:
    """Hydra's interpolation for a run's folder."""
    from mmcl.config.schema import validate_train

    keys = [str(k) for k in _root_ if k != "hydra"]
    return validate_train(OmegaConf.masked_copy(_root_, keys)).run_key


OmegaConf.register_new_resolver("run_key", _run_key, replace=True)


class Terminated(KeyboardInterrupt):
    """SIGTERM outside training, which ends a run as Ctrl-C does."""


def train_job(composed: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from mmcl import experiment
    from mmcl.config.schema import validate_train
    from mmcl.records.lock import LockedError
    from mmcl.training.processes import abandon, join
    from mmcl.training.stop import requeue, requeue_handler

    hydra = HydraConfig.get()
    multirun = str(hydra.mode).endswith("MULTIRUN")
    run_dir = Path(hydra.runtime.output_dir)
    shown = relative(run_dir)
    _quiet()  # after Lightning's import, which sets its own levels
    if requeue_handler() is None:
        signal.signal(signal.SIGTERM, _terminate)  # training listens itself
    processes = join(str(OmegaConf.select(composed, "trainer.accelerator", default="auto")))
    try:
        config, overrides = validate_train(composed), list(hydra.overrides.task)
        if processes.rank:
            experiment.train(config, run_dir, overrides, processes)
            return
        from mmcl.reports.outcome import read_outcome
        from mmcl.reports.run import report

        with experiment.open_loggers(config, run_dir, sweep=multirun) as loggers:
            experiment.train(config, run_dir, overrides, processes, loggers)
            report(run_dir, shown)
            loggers.log_outcome(lambda: read_outcome(run_dir))
        return
    except experiment.InterruptedRun as stopped:
        requeue(stopped.signal)
        # Process 0 says it for all. An exit code of another one would end it before it has closed its records.
        if processes.rank == 0:
            fail(f"{shown}: {stopped}; the same command goes on from there", 128 + stopped.signal)
    except KeyboardInterrupt:
        abandon()
        raise
    except Exception as error:
        abandon()
        message = describe(error)
        if processes.rank:
            message = f"process {processes.rank}: {message}"
        elif not isinstance(error, UserError | ValueError | OSError | LockedError):
            _save_traceback(run_dir)
        message = message if str(shown) in message else f"{shown}: {message}"
        if not multirun or processes.ranks > 1:
            fail(message)
        # The other jobs of a sweep go on; the sweep says at its end which are not done.
        print(f"error: {message}", file=sys.stderr)


def _terminate(number: int, _: Any) -> NoReturn:
    raise Terminated


def evaluate_job(composed: DictConfig) -> None:
    from mmcl import experiment
    from mmcl.config.schema import validate_evaluate
    from mmcl.reports.run import report

    run_dir, evaluator = validate_evaluate(composed)
    before = Path(run_dir) / "results.csv"
    old = before.read_bytes() if before.exists() else None
    experiment.evaluate(Path(run_dir), evaluator)
    report(Path(run_dir), relative(Path(run_dir)))
    if old is not None:
        same = old == before.read_bytes()
        print(f"{before}: {'reproduced exactly' if same else 'changed'}")


def _save_traceback(run_dir: Path) -> None:
    try:
        (run_dir / "error.log").write_text(traceback.format_exc())
        print(f"the traceback is in {relative(run_dir / 'error.log')}", file=sys.stderr)
    except OSError:
        traceback.print_exc()


def _quiet() -> None:
    """Silence what libraries print for developers; a run's own words should be readable."""
    import logging

    warnings.filterwarnings("ignore", category=UserWarning, module=r"lightning")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
