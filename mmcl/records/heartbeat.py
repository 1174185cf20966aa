"""A run's sign of life: ``heartbeat.json``, written every few seconds by a thread of the process that works on it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = "heartbeat.json"
EVERY_S = 10.0
STALE_S = 6 * EVERY_S
"""A run whose last beat is older than this has died without a word (SIGKILL, a lost node)."""


@dataclass
class Beat:
    """What a beat says: when, where, and how far the run is.

    ``doing``: what the steps are of, ``train`` or ``evaluate``; ``done`` of ``total`` of them, ``first`` of which were
    done when the process began at ``since``. ``time``, ``since``: seconds since 1970, by the clock of ``host``.
    """

    time: float
    host: str
    pid: int
    since: float
    doing: str = "start"
    first: int = 0
    done: int = 0
    total: int = 0

    @property
    def ended(self) -> bool:
        """Whether the process is known to be gone, which this machine knows of its own ones at once."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # somebody else's
            return False
        return False

    @property
    def seconds_left(self) -> float | None:
        """Time to ``total`` at the process's pace so far; ``None`` where nothing is known of it."""
        taken = self.done - self.first
        return (self.time - self.since) * (self.total - self.done) / taken if taken > 0 else None


class Heartbeat:
    """Tells of progress; :func:`beating` writes it."""

    def __init__(self) -> None:
        now = time.time()
        self._beat = Beat(now, socket.gethostname(), os.getpid(), now)

    def begin(self, doing: str, done: int, total: int) -> None:
        """A new stretch of work: ``done`` of ``total`` steps are behind it already."""
        now = time.time()
        self._beat = Beat(now, self._beat.host, self._beat.pid, now, doing, done, done, total)

    @property
    def done(self) -> int:
        """Steps that are behind the present stretch of work."""
        return self._beat.done

    def step(self, done: int) -> None:
        """Cheap: the thread writes it when it next wakes."""
        self._beat.done = done

    def write(self, run_dir: Path) -> None:
        self._beat.time = time.time()
        temporary = run_dir / f".{NAME}.{self._beat.pid}"
        try:
            temporary.write_text(json.dumps(asdict(self._beat)), encoding="utf-8")
            os.replace(
                temporary, run_dir / NAME
            )  # whole or not at all; nothing is lost if it misses the disk
        except OSError:
            # A full disk must not end a run for want of a sign of life. Training says so when it next saves.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def beating(run_dir: Path, every_s: float = EVERY_S) -> Iterator[Heartbeat]:
    """Beat in ``run_dir`` while the block runs; the file goes with it."""
    heart, ended = Heartbeat(), threading.Event()

    def beat() -> None:
        while True:
            heart.write(run_dir)
            if ended.wait(every_s):
                return

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield heart
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):
            (run_dir / NAME).unlink(missing_ok=True)


KINDS: dict[str, type | tuple[type, ...]] = {
    "time": (int, float),
    "since": (int, float),
    "host": str,
    "doing": str,
}
"""What the fields of a beat are; the others are whole numbers."""


def read_beat(run_dir: Path) -> Beat | None:
    """The last beat of a run, or ``None`` where there is none.

    Raises:
        ValueError: the file is not a beat.
    """
    path = run_dir / NAME
    try:
        beat = Beat(**json.loads(path.read_text(encoding="utf-8")))
    except OSError:
        return None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: not a heartbeat ({error})") from None
    for name, value in asdict(beat).items():
        if isinstance(value, bool) or not isinstance(value, KINDS.get(name, int)):
            raise ValueError(f"{path}: not a heartbeat ({name}={value!r})")
    return beat
