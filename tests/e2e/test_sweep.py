"""Whole sweeps through ``train.py -m``: killed, launched again, added to, on the launchers of one machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmcl.records.sweep import State, read_sweep

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SWEEP = ("-m", "sweep=smoke", "evaluator=[linear]", "callbacks=none")
"""2 p(chg.) x 2 dependency flags x 3 seeds."""


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), *arguments]


def mmcl(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = [sys.executable, "-m", "mmcl", *arguments]
    return subprocess.run(
        done, cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=120
    )


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def launch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )


def attempts(folder: Path) -> dict[str, int]:
    return {
        p.parent.name: len(json.loads(p.read_text())["attempts"])
        for p in folder.glob("multirun/smoke_sweep/*/manifest.json")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A sweep that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    done = launch(folder, *SWEEP)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_sweep_killed_in_the_middle_and_launched_twice_is_the_sweep_that_was_not(whole, tmp_path):
    folder = tmp_path / "killed"
    folder.mkdir()
    process = subprocess.Popen(
        command(*SWEEP), cwd=folder, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True
    )
    sweep = folder / "multirun" / "smoke_sweep"
    end = time.monotonic() + 240
    # In the middle of a run's training: its checkpoint is there and its weights are not.
    while not (
        len(list(sweep.glob("*/encoders.pt"))) >= 4 and len(list(sweep.glob("*/checkpoints/last.ckpt"))) >= 6
    ):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = attempts(folder)
    done_before = {run.run_key for run in read_sweep(sweep).runs if run.state is State.done}
    assert 4 <= len(done_before) < 12
    states = {run.state for run in read_sweep(sweep, now=time.time() + 3600).runs}
    assert states == {State.done, State.stale, State.missing}

    first = launch(folder, *SWEEP)
    assert first.returncode == 0, first.stderr
    second = launch(folder, *SWEEP)
    assert second.returncode == 0
    assert "12 run(s), 12 of them finished" in second.stdout

    after = attempts(folder)
    assert len(after) == 12
    assert {key: n for key, n in after.items() if key in done_before} == dict.fromkeys(done_before, 1)
    assert sum(after.values()) == 12 + sum(key not in done_before for key in before)
    for one in (whole, folder):
        collected = mmcl(one, "collect", "multirun/smoke_sweep")
        assert collected.returncode == 0, collected.stderr
    results = [(one / "multirun/smoke_sweep/results.csv").read_bytes() for one in (whole, folder)]
    assert results[0] == results[1]


def test_more_seeds_add_only_the_new_runs(whole):
    before = attempts(whole)
    more = launch(whole, *SWEEP[1:], "seed=2,3", "-m", "data.causal=false")  # -m may stand anywhere
    assert more.returncode == 0, more.stderr
    assert "4 run(s), 2 of them finished" in more.stdout
    after = attempts(whole)
    assert len(after) == 14
    assert {key: after[key] for key in before} == before
    status = mmcl(whole, "status", "multirun/smoke_sweep")
    assert status.returncode == 0
    assert "14 run(s): 14 done" in status.stdout


@pytest.mark.parametrize("launcher", ["joblib", "local"])
def test_launchers_of_this_machine_end_with_the_same_weights(whole, tmp_path, launcher):
    done = launch(tmp_path, *SWEEP, f"hydra/launcher={launcher}", "seed=0,1", "data.causal=false")
    assert done.returncode == 0, done.stderr
    assert "4 run(s): 4 done" in done.stdout
    for path in tmp_path.glob("multirun/smoke_sweep/*/encoders.pt"):
        manifest = json.loads((path.parent / "manifest.json").read_text())
        assert manifest["attempts"][0]["threads"] == 1
        assert path.read_bytes() == (whole / path.relative_to(tmp_path)).read_bytes()


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_failed_run_is_named_and_stops_no_other(tmp_path, launcher):
    grid = ("seed=0", "data.causal=false", "optimizer.adam_lr=0.003,1e30", "trainer.log_every_n_steps=1")
    done = launch(tmp_path, *SWEEP, f"hydra/launcher={launcher}", *grid)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: 2 run(s) of 4 are not done")
    assert "training diverged" in last
    assert "Traceback" not in done.stderr
    status = mmcl(tmp_path, "status", "multirun/smoke_sweep")
    assert status.returncode == 1
    assert "2 done, 2 failed" in status.stdout


@pytest.mark.parametrize("launcher", ["joblib", "local"])
def test_a_job_that_is_killed_costs_no_run_that_has_not_begun(tmp_path, launcher):
    longer = ("trainer.max_steps=2000", "trainer.steps_per_execution=10", "seed=0,1,2,3,4", "name=mortal")
    process = subprocess.Popen(
        command(
            "-m",
            "experiment=smoke",
            "evaluator=[linear]",
            "callbacks=none",
            *longer,
            f"hydra/launcher={launcher}",
        ),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    sweep = tmp_path / "multirun" / "mortal"
    end = time.monotonic() + 240
    # By the run's own files and not by what its beats say: a run may train for less than the time between two of them.
    victims: list = []
    while not victims:
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
        runs = read_sweep(sweep).runs if (sweep / "sweep.json").exists() else []
        victims = [
            run.beat
            for run in runs
            if run.beat is not None
            and (run.run_dir / "metrics.csv").exists()
            and not (run.run_dir / "encoders.pt").exists()
        ]
    os.kill(victims[0].pid, signal.SIGKILL)
    said = process.communicate(timeout=400)[1]
    assert process.returncode == 1
    assert "died without a word" in said
    states = [run.state for run in read_sweep(sweep).runs]
    # joblib's workers go together: two runs may be lost, and none that had not begun.
    assert set(states) == {State.done, State.stale}
    assert states.count(State.stale) <= 2
    again = launch(tmp_path, "-m", "experiment=smoke", "evaluator=[linear]", "callbacks=none", *longer)
    assert again.returncode == 0, again.stderr
    assert "5 run(s): 5 done" in again.stdout


def test_a_sweep_is_evaluated_again_without_training_and_its_checkpoints_may_go(whole):
    sweep = whole / "multirun" / "smoke_sweep"
    before = {path: path.read_bytes() for path in sweep.glob("*/results.csv")}
    trained = {path: path.stat().st_mtime_ns for path in sweep.glob("*/encoders.pt")}
    said = mmcl(whole, "prune", "multirun/smoke_sweep")
    assert "nothing is deleted" in said.stdout
    assert len(list(sweep.glob("*/checkpoints/last.ckpt"))) == len(trained)
    assert mmcl(whole, "prune", "multirun/smoke_sweep", "--delete").returncode == 0
    assert not list(sweep.glob("*/checkpoints/last.ckpt"))
    figures = {path: path.read_bytes() for path in sweep.glob("*/figure.png")}
    assert len(figures) == len(trained)
    for path in figures:
        path.unlink()
    again = mmcl(whole, "evaluate", "multirun/smoke_sweep")
    assert again.returncode == 0, again.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert {path: path.read_bytes() for path in figures} == figures
    assert {path: path.stat().st_mtime_ns for path in trained} == trained


def test_a_sweep_without_m_and_several_devices_with_m_are_refused(tmp_path):
    without = launch(tmp_path, "sweep=smoke")
    assert without.returncode == 2
    assert "-m" in without.stderr
    several = launch(tmp_path, *SWEEP, "trainer.devices=2")
    assert several.returncode == 2
    assert "trainer.devices=2 with -m" in several.stderr
    assert "hydra/launcher=slurm_gpus" in several.stderr
    assert not list(tmp_path.rglob("manifest.json"))
