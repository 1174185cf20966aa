"""How a sweep's folder is read: odd files cost their own run only, and launches at one time lose nothing."""

import json
import multiprocessing
import socket
import subprocess
import sys
import threading
from dataclasses import asdict

import pytest

from mmcl.records.heartbeat import STALE_S, Beat, read_beat
from mmcl.records.lock import waiting
from mmcl.records.manifest import Manifest, code_states
from mmcl.records.sweep import LOCK, State, expect, read_expected, read_sweep
from tests.reports.dashboard_jobs import NOW
from tests.reports.sweeps import key_of, write_run


def state_of(sweep, now=NOW):
    (run,) = read_sweep(sweep, now).runs
    return run


def write_beat(run_dir, moment, **changes):
    beat = {**asdict(Beat(moment, "node7", 4242, moment - 10, "train", 0, 3, 9)), **changes}
    (run_dir / "heartbeat.json").write_text(json.dumps(beat))


@pytest.mark.parametrize(
    ("age", "state"),
    [
        (0, State.running),
        (STALE_S - 1, State.running),
        (STALE_S, State.stale),
        (1 - STALE_S, State.running),  # a clock a little ahead
        (-STALE_S, State.stale),
        (-1e6, State.stale),
    ],
)
def test_a_beat_lives_for_a_while_on_either_side_of_now(tmp_path, age, state):
    write_beat(write_run(tmp_path, False, 0, status="RUNNING"), NOW - age)
    assert state_of(tmp_path).state is state


def test_a_beat_from_the_future_names_the_clocks(tmp_path):
    write_beat(write_run(tmp_path, False, 0, status="RUNNING"), NOW + 7200)
    assert "2 h ahead of this machine's clock; set the clocks of node7" in state_of(tmp_path).why


@pytest.mark.parametrize(
    "changes", [{"time": None}, {"done": "3"}, {"host": 4}, {"total": True}, {"other": 1}, {"time": "now"}]
)
def test_a_damaged_beat_is_named(tmp_path, changes):
    folder = write_run(tmp_path, False, 0, status="RUNNING")
    write_beat(folder, NOW, **changes)
    with pytest.raises(ValueError, match=r"heartbeat\.json: not a heartbeat"):
        read_beat(folder)
    run = state_of(tmp_path)
    assert (run.state, run.beat) == (State.stale, None)
    assert "heartbeat.json: not a heartbeat" in run.why


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": None}, "status=None: must be text"),
        ({"attempts": {}}, "attempts={}: must be a list of attempts"),
        ({"attempts": [3]}, r"attempts=\[3\]: must be a list of attempts"),
        ({"attempts": [{"started": "yesterday"}]}, r"attempts\[0\].started='yesterday': must be a moment"),
        ({"attempts": [{"overrides": "seed=1"}]}, r"attempts\[0\].overrides='seed=1': must be a list"),
        ({"attempts": [{"git": "abc"}]}, r"attempts\[0\].git='abc'"),
        ({"evaluations": []}, r"evaluations=\[\]"),
        ({"evaluations": {"ridge": {"key": "k"}}}, "evaluations.ridge.seconds: missing"),
        ({"attempts": [{"git": {"commit": 3}}]}, r"attempts\[0\].git=.*: must be the state of a repository"),
        (
            {"evaluations": {"ridge": {"key": "k", "seconds": "1"}}},
            "evaluations.ridge.seconds='1': must be a number",
        ),
        ({"steps_done": "7"}, "steps_done='7': must be a whole number"),
        ({"trained": 1}, "trained=1: must be true or false"),
    ],
)
def test_a_manifest_with_an_odd_field_is_named_and_other_runs_are_read(tmp_path, changes, message):
    folder = write_run(tmp_path, False, 0)
    write_run(tmp_path, False, 1)
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ValueError, match=f"manifest.json: {message}"):
        Manifest.read(folder)
    runs = {run.run_key: run for run in read_sweep(tmp_path, NOW).runs}
    assert [runs[key_of(False, seed)].state for seed in (0, 1)] == [State.failed, State.done]
    assert str(path) in runs[key_of(False, 0)].why


@pytest.mark.parametrize("name", ["status", "run_key", "trained", "attempts", "evaluations", "train_s"])
def test_a_manifest_without_a_field_is_named(tmp_path, name):
    path = write_run(tmp_path, False, 0) / "manifest.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != name}))
    with pytest.raises(ValueError, match=f"{name}: missing; copy it"):
        Manifest.read(path.parent)


def test_the_states_of_the_code_are_those_of_attempts_and_evaluations():
    manifest = {
        "attempts": [{"git": {"commit": "a"}}, {}, {"git": {"commit": "b"}}],
        "evaluations": {"old": {"key": "k"}, "new": {"key": "k", "git": {"commit": "c"}}},
    }
    assert code_states(manifest) == [{"commit": "a"}, {}, {"commit": "b"}, {"commit": "c"}]
    assert code_states({}) == []


def add(sweep, n):
    for i in range(10):
        expect(sweep, {f"run{n}-{i}": [f"seed={i}"]})


def test_launches_at_one_time_lose_no_run(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=add, args=(tmp_path, n)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(read_expected(tmp_path)) == 40


def test_a_launch_waits_for_the_one_before(tmp_path):
    thread = threading.Thread(target=expect, args=(tmp_path, {"a": []}))
    with waiting(tmp_path / LOCK):
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join(10)
    assert read_expected(tmp_path) == {"a": []}


def test_no_overrides_and_unknown_overrides_are_two_things(tmp_path):
    folder = write_run(tmp_path, False, 0)
    expect(tmp_path, {key_of(False, 0): []})
    assert state_of(tmp_path).overrides == []
    (tmp_path / "sweep.json").unlink()
    assert state_of(tmp_path).overrides
    (folder / "manifest.json").write_text("{")
    assert state_of(tmp_path).overrides is None


@pytest.mark.parametrize("gone", [True, False])
def test_a_run_whose_process_this_machine_knows_to_be_gone_is_stale_at_once(tmp_path, gone):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    if gone:
        process.communicate(b"\n")
    folder = write_run(tmp_path, False, 0, status="RUNNING")
    write_beat(folder, NOW, host=socket.gethostname(), pid=process.pid)
    run = state_of(tmp_path)
    assert run.state is (State.stale if gone else State.running)
    assert run.why == (f"its process {process.pid} died without a word" if gone else "")
    if not gone:
        process.communicate(b"\n")
