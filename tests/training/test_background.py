import threading
import time

import pytest

from mmcl.training.background import Background


def never(error):
    raise AssertionError(error)


def test_calls_are_made_in_order_and_waited_for_at_the_end():
    seen = []
    background = Background("test", 100, never)
    for i in range(50):
        background.call(seen.append, i, droppable=True)
    assert background.close(10)
    assert seen == list(range(50))
    assert background.dropped == 0


def test_nobody_waits_for_a_slow_call_and_what_does_not_fit_is_counted():
    gate, seen = threading.Event(), []
    background = Background("test", 3, never)
    background.call(gate.wait)
    time.sleep(0.1)  # the thread has taken it
    for i in range(10):
        background.call(seen.append, i, droppable=True)
    background.call(seen.append, "results")  # not droppable
    assert background.dropped == 7
    assert not background.close(0.05)
    gate.set()
    assert background.close(10)
    assert seen == [0, 1, 2, "results"]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_the_first_fault_is_told_once_and_ends_the_calls(error):
    faults, seen = [], []

    def fail():
        raise error

    background = Background("test", 10, faults.append)
    background.call(fail)
    background.call(seen.append, 1)
    assert background.close(10)
    background.call(seen.append, 2)
    assert faults == [error]
    assert seen == []


def test_stopping_forgets_what_waits():
    gate, seen = threading.Event(), []
    background = Background("test", 10, never)
    background.call(gate.wait)
    background.call(seen.append, 1)
    background.stop()
    gate.set()
    assert background.close(10)
    assert seen == []


def test_closing_does_not_outlast_a_stop():
    gate = threading.Event()
    background = Background("test", 10, never)
    background.call(gate.wait)
    threading.Timer(0.2, background.stop).start()
    assert not background.close(1000)  # a call hangs: it is left to itself
    gate.set()
