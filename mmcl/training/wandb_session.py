"""One W&B run. Everything here is called in the one thread that owns it, and may raise or hang.

wandb is imported when a session opens, and not before.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcl.records.outcome import Outcome
from mmcl.training.loggers import LoggedRun

TAG_LENGTH = 64
"""Characters that W&B allows in a tag."""


def class_name(node: Mapping[str, Any]) -> str:
    """The last part of a config node's ``_target_``."""
    return str(node.get("_target_", "")).rpartition(".")[2]


def shown_config(value: Any) -> Any:
    """A resolved config as W&B shows it: ``_target_`` becomes ``class``, a class's name without its module.

    Groups stay mappings: W&B makes columns such as ``data.style_change_prob`` of them, and has no use for keys that
    hold dots themselves.
    """
    if isinstance(value, Mapping):
        named = {"class": class_name(value)} if "_target_" in value else {}
        return {**named, **{str(k): shown_config(v) for k, v in value.items() if k != "_target_"}}
    return value


def tags(run: LoggedRun) -> list[str]:
    """Experiment, classes of loss, encoder and data, and whether it is a job of a sweep."""
    parts = [class_name(run.config[group]) for group in ("loss", "encoder", "data")]
    found = [str(run.config["name"]), *parts, "sweep" if run.sweep else "single"]
    return [tag[:TAG_LENGTH] for tag in dict.fromkeys(found) if tag]


class Session:
    """A W&B run with the run's key as its id.

    Args:
        run: the run to write about.
        project, entity: where it belongs in W&B.
        offline: ask no server.
        timeout_s: for the answers of W&B's own service and server.
    """

    def __init__(
        self, run: LoggedRun, *, project: str, entity: str | None, offline: bool, timeout_s: float
    ) -> None:
        self._about = run
        self._project = project
        self._entity = entity
        self._offline = offline
        self._timeout_s = timeout_s
        self._run: Any = None

    @property
    def folder(self) -> Path:
        """Where W&B keeps the run's files, of which ``wandb sync`` uploads what has not been."""
        return self._about.run_dir / "wandb"

    def open(self) -> str | None:
        """Start the run; returns why it is offline, if it is that for want of a login or a server.

        Raises:
            Exception: whatever wandb raises.
        """
        # wandb would go elsewhere than into a folder that it cannot write to, and tell nobody.
        self.folder.mkdir(exist_ok=True)
        if not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(f"{self.folder}: cannot be written")

        import wandb

        # A debug log of W&B's that cannot be written, on a full disk say, is no news for standard error.
        logging.raiseExceptions = False
        log = logging.getLogger("wandb")
        log.addHandler(logging.NullHandler())
        log.propagate = False
        settings = wandb.Settings(
            silent=True,
            console="off",
            init_timeout=self._timeout_s,
            x_service_wait=self._timeout_s,
            save_code=False,
            x_save_requirements=False,  # the manifest has the versions
        )
        mode = wandb.setup(settings=settings).settings.mode
        reason = None
        if self._offline or mode not in ("online", "shared"):
            mode = "offline" if self._offline else mode
        else:
            reason = _login(wandb)
            mode = mode if reason is None else "offline"
        config, run = self._about.config, self._about
        self._run = wandb.init(
            project=self._project,
            entity=self._entity,
            id=run.key,
            resume="allow",
            group=str(config["name"]) if run.sweep else None,
            job_type="train",
            name=f"{config['name']}/{run.key}",
            tags=tags(run),
            config=shown_config(config),
            dir=str(run.run_dir),
            mode=mode,
            reinit="create_new",  # never go on with the run of the job before
            settings=settings,
        )
        return reason

    def log(self, metrics: dict[str, float], step: int) -> None:
        """A point of the learning curve, after ``step`` optimizer steps."""
        self._run.log(metrics, step=step)

    def log_outcome(self, outcome: Outcome) -> None:
        """The table, the figure, the pictures and the scores by factor."""
        import wandb

        table = wandb.Table(columns=outcome.columns, data=outcome.rows)
        images = {name: wandb.Image(str(path)) for name, path in outcome.images.items()}
        self._run.log({"results": table, **images}, step=outcome.step)
        self._run.summary.update(outcome.summary)

    def finish(self, exit_code: int) -> None:
        """Wait until everything is uploaded, or offline, written.

        Raises:
            OSError: the run's file was not written.
        """
        path = self._run.settings.sync_file
        self._run.finish(exit_code=exit_code)
        if not self._run.disabled and not os.path.getsize(path):
            raise OSError(f"{path}: empty; is the disk full?")


def _login(wandb: Any) -> str | None:
    """Why there is no login, or ``None`` where there is one. Never asks the person at the terminal."""
    try:
        if wandb.login(prompt=False, verify=True):
            return None
    except wandb.errors.AuthenticationError as error:
        return f"the login failed ({' '.join(str(error).split())})"
    return "there is no login (wandb login)"


def abandon_service() -> None:
    """End W&B's service process of this process, if it has one, and forget all that W&B knows of it.

    A service that does not answer would keep Python's exit waiting, and the next job of a sweep from having W&B. It
    holds nothing that is not in the run's folder. wandb has no public way to end it without waiting.
    """
    setup = sys.modules.get("wandb.sdk.wandb_setup")
    singleton = getattr(setup, "_singleton", None)
    if setup is None or singleton is None:
        return
    setup._singleton = None  # type: ignore[attr-defined]
    log = logging.getLogger("wandb")
    for handler in log.handlers[:]:  # the run's debug log
        if isinstance(handler, logging.FileHandler):
            log.removeHandler(handler)
            with contextlib.suppress(OSError):
                handler.close()
    connection = singleton._connection
    process = connection and connection._proc and connection._proc._process
    if not process:
        return
    with contextlib.suppress(Exception):
        connection._cleanup()  # its atexit hook
    with contextlib.suppress(Exception):
        from wandb.sdk.lib.service import service_token

        service_token.clear_service_in_env()
    with contextlib.suppress(Exception):
        process.kill()
        process.wait(5)
