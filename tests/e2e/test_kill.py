"""Killed and resumed: the weights are bitwise those of an uninterrupted run, and no step is doubled or missing."""

import json
import random
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.conftest import ROOT, process

pytestmark = pytest.mark.slow

STEPS = 600
RUN = (
    str(ROOT / "train.py"),
    "experiment=smoke",
    f"trainer.max_steps={STEPS}",
    "trainer.threads=1",
    "loss.alignment_weight=3",
    "loss.alignment_ramp=0.6",
    "trainer.log_every_n_steps=3",
    "trainer.checkpoint_every_n_steps=7",
    "callbacks=[online_r2]",
    "callbacks.online_r2.every_n_steps=10",
    "evaluator=[linear]",
)


def run_dir(cwd: Path) -> Path:
    (found,) = cwd.glob("runs/smoke/*")
    return found


def last_step(cwd: Path) -> int:
    files = list(cwd.glob("runs/smoke/*/metrics.csv"))
    lines = files[0].read_text().splitlines() if files else []
    whole = [line for line in lines[1:] if line.count(",") == 2]
    return int(whole[-1].split(",")[0]) if whole else 0


def stop_beyond(step: int, cwd: Path, how: signal.Signals, *more: str) -> tuple[int, str]:
    """Start the run, send it a signal once it has logged a step beyond ``step``, and wait for its end."""
    child = process(*RUN, *more, cwd=cwd)
    deadline = time.monotonic() + 120
    while last_step(cwd) <= step:
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.002)
    child.send_signal(how)
    return child.wait(60), child.communicate()[1]


def finish(cwd: Path, *more: str) -> None:
    child = process(*RUN, *more, cwd=cwd)
    out, err = child.communicate(timeout=240)
    assert child.returncode == 0, out + err


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("whole")
    finish(cwd)
    return run_dir(cwd)


def same_run(a: Path, b: Path) -> None:
    whole, resumed = (torch.load(d / "encoders.pt", weights_only=True) for d in (a, b))
    assert whole["encoders"].keys() == resumed["encoders"].keys()
    for name, value in whole["encoders"].items():
        assert torch.equal(value, resumed["encoders"][name]), name
    assert (a / "metrics.csv").read_text() == (b / "metrics.csv").read_text()
    assert (a / "results.csv").read_text() == (b / "results.csv").read_text()
    steps = pd.read_csv(b / "metrics.csv")
    assert list(steps[steps.name == "loss"].step) == list(range(3, STEPS + 1, 3))
    assert list(steps[steps.name == "content_r2"].step) == list(range(10, STEPS + 1, 10))


def test_killed_three_times_at_random_steps(uninterrupted, tmp_path):
    chance = random.Random(time.time_ns())
    at = sorted(chance.sample(range(10, STEPS - 100), 3))
    print("killed beyond steps", at)
    for step in at:
        code, _ = stop_beyond(step, tmp_path, signal.SIGKILL)
        assert code == -signal.SIGKILL
        assert json.loads((run_dir(tmp_path) / "manifest.json").read_text())["status"] == "RUNNING"
    finish(tmp_path)
    same_run(uninterrupted, run_dir(tmp_path))
    assert len(json.loads((run_dir(tmp_path) / "manifest.json").read_text())["attempts"]) == 4


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_hand_or_by_a_scheduler(uninterrupted, tmp_path, how):
    code, err = stop_beyond(100, tmp_path, how)
    assert code == 128 + how
    assert "Traceback" not in err
    assert "the same command goes on from there" in err.strip().splitlines()[-1]
    manifest = json.loads((run_dir(tmp_path) / "manifest.json").read_text())
    assert manifest["status"] == "INTERRUPTED"
    checkpoint = torch.load(run_dir(tmp_path) / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == manifest["steps_done"] > 100, "nothing is lost"
    finish(tmp_path)
    same_run(uninterrupted, run_dir(tmp_path))


def test_stopped_among_steps_taken_together(uninterrupted, tmp_path):
    code, _ = stop_beyond(60, tmp_path, signal.SIGKILL, "trainer.steps_per_execution=5")
    assert code == -signal.SIGKILL
    code, _ = stop_beyond(120, tmp_path, signal.SIGTERM, "trainer.steps_per_execution=4")
    assert code == 128 + signal.SIGTERM
    finish(tmp_path, "trainer.steps_per_execution=25")
    whole, resumed = (
        json.loads((d / "manifest.json").read_text()) for d in (uninterrupted, run_dir(tmp_path))
    )
    assert resumed["encoders_sha256"] == whole["encoders_sha256"]
    steps = pd.read_csv(run_dir(tmp_path) / "metrics.csv")
    assert steps[steps.name == "loss"].step.is_monotonic_increasing
    assert not steps.duplicated(["step", "name"]).any()


def test_stopped_before_training_begins(uninterrupted, tmp_path):
    child = process(*RUN, cwd=tmp_path)
    time.sleep(1.0)
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) != 0
    assert "Traceback" not in child.communicate()[1]
    finish(tmp_path)
    same_run(uninterrupted, run_dir(tmp_path))


def test_stopped_while_it_evaluates(tmp_path):
    slow = (*RUN[:-1], "trainer.max_steps=14", "evaluator=[linear,kernel_ridge]", "evaluation.n_fit=6000")
    child = process(*slow, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list(
        tmp_path.glob("runs/smoke/*/results.csv")
    ):  # the linear rows are there, kernel ridge is at work
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 128 + signal.SIGTERM
    assert (
        child.communicate()[1].strip().splitlines()[-1].startswith("error: stopped; the same command goes on")
    )
    manifest = json.loads((run_dir(tmp_path) / "manifest.json").read_text())
    assert manifest["status"] == "INTERRUPTED"
    assert manifest["trained"]
    assert set(pd.read_csv(run_dir(tmp_path) / "results.csv").evaluator) == {"linear"}
