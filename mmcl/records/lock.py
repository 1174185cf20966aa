"""One process at a time in a run directory."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


class LockedError(RuntimeError):
    """Another process holds the directory."""


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Hold ``run_dir`` while the block runs. The lock goes with the process, however it ends.

    Raises:
        LockedError: another process holds it.
    """
    with (run_dir / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"{run_dir}: another process is working on this run; wait for it, or end it first"
            ) from None
        yield
