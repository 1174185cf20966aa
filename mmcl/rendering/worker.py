"""A process that answers messages, seen from its parent."""

from __future__ import annotations

import subprocess
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO, cast

from mmcl.errors import UserError
from mmcl.rendering.messages import Message, receive, send

TAIL = 5
"""Lines of a dead worker's standard error that its parent tells."""

PATIENCE = 10.0
"""Seconds that a worker has to end by itself."""


class Worker:
    """A process that answers each message on its standard input by one on its standard output.

    It ends with :meth:`close`, when nobody holds this object any more, or when its input ends with this process.

    Args:
        name: what runs there, for people.
        command: what to start.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self._name = name
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stderr is not None
        self._said: deque[bytes] = deque(maxlen=TAIL)
        # Read all the time, for a full pipe would stop the worker.
        self._reader = threading.Thread(target=self._said.extend, args=(self._process.stderr,), daemon=True)
        self._reader.start()
        self._end = weakref.finalize(self, _end, self._process, self._reader)

    @property
    def returncode(self) -> int | None:
        """How it ended: an exit code, or a signal's number, negative; ``None`` while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def ask(self, message: Message) -> Message:
        """The answer to a message. Raises ``UserError`` if the worker dies before it."""
        try:
            send(cast(BinaryIO, self._process.stdin), message)
        except BrokenPipeError:
            raise UserError(self._obituary()) from None
        try:
            answer = receive(cast(BinaryIO, self._process.stdout))
        except ValueError:  # it died within an answer
            answer = None
        if answer is None:
            raise UserError(self._obituary())
        return answer

    def close(self) -> None:
        """End the process: by the end of its input, or after ``PATIENCE`` by a signal."""
        self._end()

    def _obituary(self) -> str:
        self.close()
        code = self._process.returncode
        how = f"signal {-code}; out of memory?" if code < 0 else f"exit code {code}"
        said = " | ".join(text for line in self._said if (text := line.decode(errors="replace").strip()))
        return f"the process that runs {self._name} has died ({how}); its last words: {said or 'none'}"


def _end(process: subprocess.Popen[bytes], reader: threading.Thread) -> None:
    """(No method: a finaliser that knew its object would keep it alive.)"""
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        with suppress(BrokenPipeError):  # something was left to write
            stream.close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    reader.join(PATIENCE)
    assert process.stderr is not None
    process.stderr.close()
