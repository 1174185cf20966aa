"""Messages, and a process that answers them: the part of the Blender backend that needs no Blender."""

import io
import subprocess
import sys
import time

import numpy as np
import pytest

from mmcl.errors import UserError
from mmcl.rendering import worker as module
from mmcl.rendering.messages import Message, receive, send
from mmcl.rendering.worker import Worker

# It prints, from Python and past it, before and between its answers, as Blender does.
ECHO = """
import os, sys
from mmcl.rendering.blender_worker import take_standard_output
from mmcl.rendering.messages import receive, send
answers = take_standard_output()
print("noise", flush=True)
while (message := receive(sys.stdin.buffer)) is not None:
    os.write(1, b"noise" * 1000)
    send(answers, message)
"""


def written(*messages):
    stream = io.BytesIO()
    for message in messages:
        send(stream, message)
    return stream.getvalue()


def python(program):
    return Worker("a program", [sys.executable, "-c", program])


def test_messages_come_back_as_they_were_sent():
    arrays = {
        "a": np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
        "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "none": np.zeros((0, 3), np.int32),
    }
    values = {"x": 0.1 + 0.2, "name": "Hase", "list": [1, [2.5, None]]}
    stream = io.BytesIO(written(Message(values, arrays), Message()))
    found = receive(stream)
    assert found.values == values
    assert list(found.arrays) == list(arrays)
    for name, array in arrays.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)
    assert receive(stream) == Message()
    assert receive(stream) is None


@pytest.mark.parametrize("cut", [1, 8, 20, 100])
def test_a_message_that_is_cut_is_none(cut):
    whole = written(Message({"x": 1}, {"a": np.zeros(50, np.uint8)}))
    with pytest.raises(ValueError, match="ends within a message"):
        receive(io.BytesIO(whole[:cut]))


def test_what_is_no_message_or_cannot_be_one_is_refused():
    with pytest.raises(ValueError, match="no message begins with"):
        receive(io.BytesIO(b"Fra:1 Mem:20M"))
    with pytest.raises(ValueError, match="dtype object"):
        written(Message(arrays={"a": np.array([None])}))
    with pytest.raises(ValueError, match="JSON"):
        written(Message({"x": float("nan")}))


def test_a_workers_printing_does_not_reach_its_answers():
    worker = python(ECHO)
    for i in range(50):  # 250 kB of noise, more than a pipe holds
        assert worker.ask(Message({"i": i})).values == {"i": i}
    worker.close()
    assert worker.returncode == 0


def test_a_dead_worker_is_a_line_with_its_last_words():
    dies = "import sys; sys.stdin.read(1); sys.exit('libXi.so.6: cannot open')"
    with pytest.raises(
        UserError, match=r"runs a program has died \(exit code 1\).*libXi\.so\.6: cannot open"
    ):
        python(dies).ask(Message())
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(UserError, match=r"\(signal 9; out of memory\?\); its last words: none"):
        python(killed).ask(Message())
    within = "import sys; sys.stdin.read(1); sys.stdout.write('mmcl')"
    with pytest.raises(UserError, match="exit code 0"):
        python(within).ask(Message())


def test_a_worker_ends_with_its_object_and_one_that_will_not_end_is_killed(monkeypatch):
    worker = python(ECHO)
    worker.ask(Message())
    process = worker._process
    del worker
    assert process.returncode == 0
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    deaf = python("import time; time.sleep(60)")
    deaf.close()
    assert deaf.returncode == -9


def test_a_worker_ends_when_its_parent_is_killed(tmp_path):
    program = (
        "import sys, time\nfrom mmcl.rendering.messages import Message\nfrom mmcl.rendering.worker import Worker\n"
        f"worker = Worker('echo', [sys.executable, '-c', {ECHO!r}])\nworker.ask(Message())\n"
        "print('ready', flush=True)\ntime.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    assert parent.stdout.readline() == b"ready\n"
    group = ["pgrep", "-g", str(parent.pid)]
    assert len(subprocess.run(group, capture_output=True, check=True).stdout.split()) == 2
    parent.kill()
    parent.communicate()
    until = time.monotonic() + 20
    while (
        subprocess.run(group, capture_output=True, check=False).returncode == 0 and time.monotonic() < until
    ):
        time.sleep(0.05)
    assert subprocess.run(group, capture_output=True, check=False).returncode == 1
