"""The process that runs Blender: ``python -m mmcl.rendering.blender_worker``, started by :class:`BlenderRenderer`.

It reads messages (:mod:`mmcl.rendering.messages`) from standard input: first all but the scene, then scenes, each of
which it answers with its picture on what was standard output. It ends with its input, so also with its parent.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

from mmcl.rendering.blender import PICTURE, scene_from, setup_from
from mmcl.rendering.messages import Message, receive, send


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, whose end ends this
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and takes the folder along
    answers = take_standard_output()
    try:
        with tempfile.TemporaryDirectory(prefix="mmcl-blender-") as folder:
            serve(sys.stdin.buffer, answers, Path(folder))
    except BrokenPipeError:  # nobody waits for the answer any more
        os._exit(1)


def take_standard_output() -> BinaryIO:
    """What was standard output, for answers alone; whatever else is printed from now on goes to standard error.

    By descriptors: Blender prints from C as well.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def serve(requests: BinaryIO, answers: BinaryIO, folder: Path) -> None:
    """Answer all messages. ``folder`` is for pictures on their way."""
    first = receive(requests)
    if first is None:
        return
    # Here, when the parent listens: what cannot be imported is then its worker's last words.
    from mmcl.rendering.blender_studio import Studio

    studio = Studio(*setup_from(first), folder)
    send(answers, Message())
    while (request := receive(requests)) is not None:
        send(answers, Message(arrays={PICTURE: studio.render(scene_from(request))}))


if __name__ == "__main__":
    main()
