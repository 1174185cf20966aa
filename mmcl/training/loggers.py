"""The loggers of a job: built when the run does something, told its results, closed whatever happens."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from lightning.pytorch.loggers.logger import Logger

from mmcl.records.outcome import Outcome


@dataclass(frozen=True)
class LoggedRun:
    """The run that a logger writes about.

    Args:
        run_dir: its directory.
        key: its run key.
        config: its resolved config.
        sweep: it is a job of a sweep, whose name is the config's ``name``.
    """

    run_dir: Path
    key: str
    config: Mapping[str, Any]
    sweep: bool = False


class RunLogger(Logger):
    """A Lightning logger that also knows where a run starts, what it came to, and when its job ends."""

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the resolved config is known from the start."""

    def start(self, step: int | None) -> None:
        """The job begins; training goes on after ``step`` optimizer steps, or has ended (``None``)."""

    def log_outcome(self, outcome: Outcome) -> None:
        """The run has been trained and evaluated."""

    def close(self, failed: bool) -> None:
        """The job ends, by an error or a signal if ``failed``. Nothing is logged after this."""


class Loggers:
    """All loggers of one job, as a context: leaving it closes them.

    Args:
        specs: name -> config with a ``build`` method.
        run: what they write about.
    """

    def __init__(self, specs: Mapping[str, Any], run: LoggedRun) -> None:
        self._specs = specs
        self._run = run
        self._loggers: list[Logger] | None = None

    def start(self, step: int | None) -> list[Logger]:
        """The loggers, built and started at the first call; see :meth:`RunLogger.start`."""
        if self._loggers is None:
            self._loggers = []
            for spec in self._specs.values():
                self._loggers.append(spec.build(self._run))
                if isinstance(self._loggers[-1], RunLogger):
                    self._loggers[-1].start(step)
        return self._loggers

    def log_outcome(self, read: Callable[[], Outcome]) -> None:
        """Tell the loggers what the run came to; without any that were started, ``read`` is not called."""
        ours = self._ours()
        if ours:
            outcome = read()
            for logger in ours:
                logger.log_outcome(outcome)

    def _ours(self) -> list[RunLogger]:
        return [logger for logger in self._loggers or [] if isinstance(logger, RunLogger)]

    def __enter__(self) -> Loggers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        faults = []
        for logger in self._ours():
            try:
                logger.close(failed=kind is not None)
            except Exception as fault:  # the others are closed all the same
                faults.append(fault)
                print(f"error: {logger.name}: cannot be closed: {fault}", file=sys.stderr)
        if faults and kind is None:
            raise faults[0]
