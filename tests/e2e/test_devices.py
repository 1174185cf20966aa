"""Runs of two processes, one for each device, through ``train.py`` and through torchrun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmcl.records import tensors

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RUN = ("experiment=smoke", "evaluator=[linear]", "trainer.precision=fp64", "trainer.max_steps=50")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def train(folder: Path, *overrides: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, *launcher, str(ROOT / "train.py"), *RUN, *overrides]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=300
    )


def weights(folder: Path) -> dict:
    (path,) = folder.glob("runs/smoke/*/encoders.pt")
    state = tensors.load(path)
    return {**state["encoders"], **{f"objective.{k}": v for k, v in state["objective"].items()}}


def distance(a: dict, b: dict) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def manifest(folder: Path) -> dict:
    (path,) = folder.glob("runs/smoke/*/manifest.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("loss=nt_xent", "loss.learned_temperature=true"),
        ("loss=release_numerical",),
        ("loss=align_max_ent",),
        ("trainer.steps_per_execution=7", "trainer.encode_rows=5", "trainer.gradient_clip_val=0.1"),
        ("encoder.shared=true", "data.shared_mixing=true"),
    ],
)
def test_two_processes_end_with_the_weights_of_one(tmp_path, overrides):
    one = train(tmp_path / "one", *overrides)
    assert one.returncode == 0, one.stderr
    two = train(tmp_path / "two", *overrides, "trainer.devices=2")
    assert two.returncode == 0, two.stderr
    assert manifest(tmp_path / "two")["attempts"][0]["processes"] == 2
    assert distance(weights(tmp_path / "one"), weights(tmp_path / "two")) < 1e-8
    # One process keeps the records: every step's row is there once.
    rows = [
        next(folder.glob("runs/smoke/*/metrics.csv")).read_text().splitlines()
        for folder in sorted(tmp_path.iterdir())
    ]
    assert [row.rpartition(",")[0] for row in rows[0]] == [row.rpartition(",")[0] for row in rows[1]]


def test_under_torchrun(tmp_path):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    assert train(tmp_path / "one").returncode == 0
    two = train(tmp_path / "two", "trainer.devices=2", launcher=torchrun)
    assert two.returncode == 0, two.stderr
    assert distance(weights(tmp_path / "one"), weights(tmp_path / "two")) < 1e-8
    wrong = train(tmp_path / "wrong", launcher=torchrun)
    assert wrong.returncode != 0
    assert "trainer.devices x trainer.num_nodes = 1, but 2 processes were started" in wrong.stderr


def test_all_processes_stop_at_one_step_and_go_on(tmp_path):
    longer = ("trainer.max_steps=300", "trainer.checkpoint_every_n_steps=20")
    folder = tmp_path / "stopped"
    folder.mkdir()
    command = [sys.executable, str(ROOT / "train.py"), *RUN, *longer, "trainer.devices=2"]
    process = subprocess.Popen(command, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not list(folder.glob("runs/smoke/*/checkpoints/last.ckpt")):
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 128 + signal.SIGTERM, said
    assert said.count("the same command goes on from there") == 1
    assert "Traceback" not in said
    assert manifest(folder)["status"] == "INTERRUPTED"
    assert train(folder, *longer, "trainer.devices=2").returncode == 0
    assert train(tmp_path / "one", *longer).returncode == 0
    assert distance(weights(tmp_path / "one"), weights(folder)) < 1e-8


def test_a_run_that_fails_ends_all_processes_with_one_line(tmp_path):
    done = train(tmp_path, "trainer.devices=2", "optimizer.adam_lr=1e30", "trainer.log_every_n_steps=1")
    assert done.returncode == 1
    assert "NaN" in done.stderr or "training diverged" in done.stderr
    assert "Traceback" not in done.stderr
    assert manifest(tmp_path)["status"] == "FAILED"


def test_several_nodes_need_somebody_to_start_them(tmp_path):
    done = train(tmp_path, "trainer.devices=2", "trainer.num_nodes=2")
    assert done.returncode == 2
    assert "srun --ntasks-per-node" in done.stderr
