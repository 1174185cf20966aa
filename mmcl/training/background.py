"""Calls made one after another in a thread of their own, for which nobody waits."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any


class Background:
    """A daemon thread that makes calls in the order in which they were asked for.

    Args:
        name: of the thread.
        limit: droppable calls that may wait, >= 1; a further one is dropped and counted.
        fault: is given, in the thread, the first exception of a call; no further call is made then.
    """

    def __init__(self, name: str, limit: int, fault: Callable[[BaseException], None]) -> None:
        self.dropped = 0
        self._limit = limit
        self._fault = fault
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., None], *arguments: Any, droppable: bool = False) -> None:
        """Ask for a call; this returns at once."""
        with self._changed:
            if self._stopped:
                return
            if droppable and len(self._calls) >= self._limit:
                self.dropped += 1
                return
            self._calls.append((function, arguments))
            self._changed.notify()

    def stop(self) -> None:
        """Make no further call; one that is being made goes on."""
        with self._changed:
            self._stopped = True
            self._calls.clear()
            self._changed.notify()

    def close(self, seconds: float) -> bool:
        """Wait for the calls asked for so far, at most ``seconds``; returns whether the thread has ended.

        After a stop, also one that comes meanwhile, there is nothing to wait for but a call that is just ending.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        end = time.monotonic() + seconds
        while self._thread.is_alive() and not self._stopped and time.monotonic() < end:
            self._thread.join(min(0.05, seconds))
        if self._stopped:
            self._thread.join(0.1)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._calls or self._closing or self._stopped)
                if self._stopped or not self._calls:
                    return
                function, arguments = self._calls.popleft()
            try:
                function(*arguments)
            except BaseException as error:  # SystemExit too: no library ends a run from here
                self._fault(error)
                self.stop()
                return
