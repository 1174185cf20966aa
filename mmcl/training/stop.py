"""A wish to stop training, or to save what there is, that comes as a signal."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

SAVE = 1
"""A wish to save a checkpoint and go on. No signal that stops a run has this number."""


def requeue_handler() -> signal.Handlers | None:
    """submitit's handler of SIGUSR2, which puts a job back into SLURM's queue; ``None`` where submitit runs no job."""
    found = signal.getsignal(signal.SIGUSR2)
    owner = type(getattr(found, "__self__", None)).__module__
    return found if owner.startswith("submitit.") else None  # type: ignore[return-value]


def requeue(number: int) -> None:
    """After a stop by SIGUSR2: let submitit, the one owner of requeueing, put the job back. Process 0 ends here."""
    handler = requeue_handler()
    if number == signal.SIGUSR2 and callable(handler):
        handler(number, None)


class Stop:
    """Turns signals into wishes that training honours when Lightning's loop comes round.

    SIGINT and SIGTERM stop a run, and a second one ends the process at once, as signals do. In a job of submitit,
    SIGUSR2 stops the run, to go on in another slot; SIGTERM only saves a checkpoint, for SLURM sends it ahead of
    SIGKILL when it takes a job off its node, be it to start it again.

    Attributes:
        signal: the number of the signal that stops the run, or ``None``.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._asked = self._heeded = (
            0  # wishes to save: counted, so that one that comes meanwhile is not lost
        )

    def heed(self) -> int:
        """What is wished for since the last call: 0, :data:`SAVE`, or the number of the signal that stops the run."""
        asked = self._asked
        saving, self._heeded = asked > self._heeded, asked
        return self.signal or (SAVE if saving else 0)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen while the block runs; what handled the signals before handles them after."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
        before = {number: signal.getsignal(number) for number in numbers}
        self._queued = requeue_handler() is not None
        self.listen()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def listen(self) -> None:
        """Take the signals over from whatever handles them."""
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGTERM, self._save if self._queued else self._stop)
        if self._queued:
            signal.signal(signal.SIGUSR2, self._requeue)

    def _stop(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, signal.SIG_DFL)

    def _requeue(self, number: int, _: FrameType | None) -> None:
        self.signal = number

    def _save(self, _: int, __: FrameType | None) -> None:
        self._asked += 1
