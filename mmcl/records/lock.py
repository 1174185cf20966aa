"""One process at a time in a run directory, or at a file."""

from __future__ import annotations

import contextlib
import errno
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
    with (run_dir / ".lock").open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"{run_dir}: another process is working on this run; wait for it, or end it first"
            ) from None
        yield


@contextlib.contextmanager
def waiting(path: Path) -> Iterator[None]:
    """Hold the file ``path``, made for nothing else, while the block runs; wait for whoever holds it.

    It stays when it is let go: were it deleted, two processes could hold two files of one name. On a file system
    without locks nobody is waited for.
    """
    with path.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK):
                raise
        yield
