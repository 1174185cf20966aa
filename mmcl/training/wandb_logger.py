"""W&B as a guest of a run: whatever happens to it, the training neither ends nor waits."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass

from mmcl.checks import require
from mmcl.records.outcome import Outcome
from mmcl.training.background import Background
from mmcl.training.loggers import LoggedRun, RunLogger
from mmcl.training.wandb_session import Session, abandon_service

_said: set[str] = set()


def say(line: str) -> None:
    """One line on standard error."""
    print(line, file=sys.stderr, flush=True)


class WandbLogger(RunLogger):
    """Hands everything to a thread in which alone W&B is called.

    A call of W&B that raises, a start that takes longer than ``start_timeout_s``, or an end that takes longer than
    ``finish_timeout_s`` switches W&B off for this run, with one line that says so.

    Args:
        session: the W&B run.
        start_timeout_s, finish_timeout_s: in seconds.
        queue_size: points of the curve that may wait; further ones are left out, and counted.
    """

    def __init__(
        self, session: Session, start_timeout_s: float, finish_timeout_s: float, queue_size: int
    ) -> None:
        super().__init__()
        self._session = session
        self._start_timeout_s = start_timeout_s
        self._finish_timeout_s = finish_timeout_s
        self._queue_size = queue_size
        self._background: Background | None = None
        self._watch: threading.Timer | None = None
        self._lock = threading.Lock()
        self._opened = False
        self._off = False

    @property
    def name(self) -> str:
        return "wandb"

    def start(self, step: int | None) -> None:
        # Set here: the environment belongs to the main thread. W&B's reports of its own errors are one more network.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._background = Background("wandb", self._queue_size, self._fault)
        self._background.call(self._open)
        self._watch = threading.Timer(self._start_timeout_s, self._check_start)
        self._watch.daemon = True
        self._watch.start()

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Lightning counts steps from 0; W&B is told the steps that are done, as ``metrics.csv`` is."""
        assert step is not None
        values = {name: value for name, value in metrics.items() if name != "epoch"}
        if self._background is not None and values:
            self._background.call(self._session.log, values, step + 1, droppable=True)

    def log_outcome(self, outcome: Outcome) -> None:
        if self._background is not None:
            self._background.call(self._session.log_outcome, outcome)

    def close(self, failed: bool) -> None:
        if self._background is None:
            return
        if self._off:
            return
        self._background.call(self._session.finish, int(failed))
        if not self._background.close(self._finish_timeout_s):
            self._switch_off(
                f"it was not done {self._finish_timeout_s:g} s after the end of the run "
                "(logger.wandb.finish_timeout_s)"
            )
        assert self._watch is not None
        self._watch.cancel()
        if self._background.dropped and not self._off:
            say(
                f"warning: W&B was slower than the training: {self._background.dropped} points of its curve are "
                "left out; raise logger.wandb.queue_size"
            )

    def _open(self) -> None:
        reason = self._session.open()
        with self._lock:
            self._opened = True
            late = self._off
        if late:
            abandon_service()  # what has started after all would keep the process from ending
        elif reason is not None:
            line = f"W&B: {reason}; runs are logged offline, and uploaded later with wandb sync"
            if line not in _said:  # once for all jobs of a sweep
                _said.add(line)
                say(f"{line}: {self._session.folder}")

    def _check_start(self) -> None:
        if not self._opened:
            self._switch_off(
                f"it has not started in {self._start_timeout_s:g} s (logger.wandb.start_timeout_s)"
            )

    def _fault(self, error: BaseException) -> None:
        text = " ".join(str(error).split())
        self._switch_off(f"{type(error).__name__}: {text}" if text else type(error).__name__)

    def _switch_off(self, reason: str) -> None:
        with self._lock:
            if self._off:
                return
            self._off = True
        assert self._background is not None
        self._background.stop()
        say(f"warning: W&B is off for this run: {reason}; the run's own files have everything")
        abandon_service()


@dataclass(frozen=True)
class WandbConf:
    """Config of :class:`WandbLogger`.

    Args:
        project: W&B project.
        entity: W&B team or user, or ``None`` for W&B's default.
        offline: ask no server; ``wandb sync`` uploads later.
        start_timeout_s: seconds in which W&B must start, > 0.
        finish_timeout_s: seconds that the end of a run waits for W&B, > 0.
        queue_size: points of the curve that may wait for W&B, >= 1.
    """

    project: str = "mmcl"
    entity: str | None = None
    offline: bool = False
    start_timeout_s: float = 30.0
    finish_timeout_s: float = 30.0
    queue_size: int = 10_000

    def __post_init__(self) -> None:
        require(bool(self.project.strip()), "project", self.project, "a W&B project's name")
        for name in ("start_timeout_s", "finish_timeout_s"):
            value = getattr(self, name)
            require(0 < value < float("inf"), name, value, "> 0 and finite")
        require(self.queue_size >= 1, "queue_size", self.queue_size, ">= 1")

    def build(self, run: LoggedRun) -> WandbLogger:
        session = Session(
            run,
            project=self.project,
            entity=self.entity,
            offline=self.offline,
            timeout_s=self.start_timeout_s,
        )
        return WandbLogger(session, self.start_timeout_s, self.finish_timeout_s, self.queue_size)
