"""Starting a process for each device, with processes that behave in every way."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from mmcl.errors import UserError
from mmcl.training import processes as module
from mmcl.training.processes import check_started, launch

RANK = "import os, signal, sys, time; rank = int(os.environ['LOCAL_RANK']); "


def python(code: str) -> list[str]:
    return [sys.executable, "-c", RANK + code]


def test_all_end_well():
    assert launch(2, python("assert os.environ['WORLD_SIZE'] == '2'")) == 0


@pytest.mark.parametrize("failing", [0, 1])
def test_one_that_fails_ends_the_others_whichever_it_is(failing):
    began = time.monotonic()
    assert launch(2, python(f"sys.exit(3) if rank == {failing} else time.sleep(60)")) == 3
    assert time.monotonic() - began < 30


def test_one_that_does_not_listen_is_killed_after_the_grace(monkeypatch):
    monkeypatch.setattr(module, "GRACE_S", 1)
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    assert launch(2, python(f"exec({deaf!r}) if rank == 0 else (time.sleep(1), sys.exit(4))")) == 4


def send(number: int, after: float) -> None:
    threading.Timer(after, os.kill, (os.getpid(), number)).start()


def test_signals_are_passed_on_and_those_that_ended_by_themselves_are_waited_for():
    before = signal.getsignal(signal.SIGTERM)
    save = "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), os._exit(0))); time.sleep(60)"
    send(signal.SIGTERM, 2.0)
    assert launch(2, python(save)) == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_ends_all_at_once():
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    send(signal.SIGTERM, 2.0)
    send(signal.SIGTERM, 3.0)
    assert launch(2, python(deaf)) == 128 + signal.SIGKILL


def test_another_number_of_processes_than_devices_is_refused(monkeypatch):
    monkeypatch.setenv(module.LAUNCHED, "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    check_started(3)
    with pytest.raises(UserError, match="= 2, but 3 processes were started"):
        check_started(2)


def test_the_group_is_left_before_python_ends():
    """Else one exit in thirteen or so aborts: a thread of gloo's meets an interpreter that is ending."""
    watch = "atexit.register(lambda: dist.is_initialized() and os._exit(7)); "
    code = "import atexit; from torch import distributed as dist; from mmcl.training.processes import join; "
    assert launch(2, python(code + watch + "assert join('cpu').tell(rank) == 0")) == 0
    unlike = "join('cpu'); from mmcl.training.processes import abandon; abandon()"
    assert launch(2, python(code + watch + unlike)) == 7


def test_one_that_has_failed_does_not_wait_for_what_the_others_never_join():
    code = (
        "import torch; from torch import distributed as dist; from mmcl.training.processes import abandon, join; "
        "join('cpu'); rank or dist.all_reduce(torch.ones(1), async_op=True); rank and time.sleep(60); abandon(); "
        "sys.exit(3)"
    )
    began = time.monotonic()
    assert launch(2, python(code)) == 3
    assert time.monotonic() - began < 50
