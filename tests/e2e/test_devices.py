"""Runs of two processes, one for each device, through ``train.py`` and through torchrun."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmcl.records import tensors

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RUN = (
    "experiment=smoke",
    "evaluator=[linear,heldout_loss]",
    "evaluation.n_fit=64",
    "evaluation.n_test=64",
    "trainer.precision=fp64",
    "trainer.max_steps=50",
)


OWN_LOSS = """
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Own:
    weight: float = 2.0

    def build(self):
        return OwnLoss(self.weight)


class OwnLoss(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, z, fresh=None):
        a, b = z.values()
        alike = a @ b.T
        return -alike.diagonal().mean() + self.weight * alike.square().mean()
"""


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


@pytest.mark.parametrize(
    "method", [("method=comm",), ("method=factor_cl",), ("method=sup_con", "loss.label=texture.x1")]
)
def test_two_processes_augment_and_compare_what_one_would(tmp_path, method):
    """Draws, fusions, critics and labels: without BatchNorm, which a CPU has not across processes."""
    overrides = (
        "experiment=comm/trifeature", *method, "data.levels=3", "data.bias=0.5", "batch_size=16",
        "name=smoke", "encoder.head.batch_norm=false", "evaluator=[logistic]", "evaluation.n_fit=64",
        "evaluation.n_test=64", "trainer.precision=fp64", "trainer.max_steps=20", "trainer.steps_per_execution=5",
    )  # fmt: skip
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, str(ROOT / "train.py"), *overrides, f"trainer.devices={processes}"],
            cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert distance(weights(tmp_path / "1"), weights(tmp_path / "2")) < 1e-8


def test_the_same_command_again_finds_the_run_and_a_new_evaluator_needs_one_process(tmp_path):
    assert train(tmp_path, "trainer.devices=2").returncode == 0
    before = weights(tmp_path)
    again = train(tmp_path, "trainer.devices=2")
    assert again.returncode == 0, again.stderr
    more = train(tmp_path, "trainer.devices=2", "evaluator=[linear,heldout_loss,kernel_ridge]")
    assert more.returncode == 0, more.stderr
    assert set(manifest(tmp_path)["evaluations"]) == {"linear", "heldout_loss", "kernel_ridge"}
    assert len(manifest(tmp_path)["attempts"]) == 1
    assert distance(before, weights(tmp_path)) == 0


def test_a_loss_that_knows_nothing_of_processes_sees_the_whole_batch(tmp_path):
    """A user's own, as docs/extending.md has it: one file, with no word of gathering."""
    project = tmp_path / "project"
    for part in ("mmcl", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / part, project / part)
    shutil.copy2(ROOT / "train.py", project)
    (project / "mmcl/losses/own.py").write_text(OWN_LOSS)
    (project / "conf/loss/own.yaml").write_text("_target_: mmcl.losses.own.Own\nweight: 2.0\n")
    ends = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        folder.mkdir()
        command = [sys.executable, str(project / "train.py"), *RUN, "loss=own", f"trainer.devices={devices}"]
        there = {**environment(), "PYTHONPATH": str(project)}
        done = subprocess.run(command, cwd=folder, env=there, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        ends.append(weights(folder))
    assert distance(*ends) < 1e-8


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


def test_a_batch_that_cannot_be_shared_out_is_refused_before_anything_runs(tmp_path):
    done = train(tmp_path, "trainer.devices=2", "batch_size=33")
    assert done.returncode == 2
    assert "batch_size=33: must be divisible by the number of devices, 2" in done.stderr
    assert not list(tmp_path.rglob("manifest.json"))


def test_several_nodes_need_somebody_to_start_them(tmp_path):
    done = train(tmp_path, "trainer.devices=2", "trainer.num_nodes=2")
    assert done.returncode == 2
    assert "srun --ntasks-per-node" in done.stderr
