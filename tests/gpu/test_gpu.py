"""What only a GPU can show: CUDA against the CPU, float16, and two processes over NCCL. Skipped where there is none."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch

from mmcl.data import BatchStream
from mmcl.losses import Negatives, Similarity, contrastive_loss
from mmcl.random import Stream, generator
from mmcl.records import tensors
from mmcl.worlds import LatentVariableModel

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
ROOT = Path(__file__).resolve().parents[2]
RUN = ("experiment=smoke", "evaluator=[linear]", "trainer.accelerator=gpu")


def run(folder: Path, *overrides: str) -> dict:
    """The final weights of a run in ``folder``."""
    command = [sys.executable, str(ROOT / "train.py"), *RUN, *overrides]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("runs/smoke/*/encoders.pt")
    return tensors.load(path)["encoders"]


def distance(a: dict, b: dict) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize("similarity", Similarity)
@pytest.mark.parametrize("negatives", [Negatives.cross, Negatives.within, Negatives.both])
def test_the_loss_and_its_gradient_are_the_cpus(similarity, negatives):
    g = torch.Generator().manual_seed(0)
    z = [torch.randn(300, 8, generator=g, dtype=torch.float64) for _ in range(2)]
    found = []
    for device in ("cpu", "cuda"):
        leaves = [x.detach().to(device).requires_grad_() for x in z]
        loss = contrastive_loss(
            dict(zip(("a", "b"), leaves, strict=True)), similarity=similarity, negatives=negatives
        )
        loss.backward()
        found.append([loss.detach().cpu(), *(x.grad.cpu() for x in leaves)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_a_stream_for_a_gpu_lies_in_page_locked_memory():
    world = LatentVariableModel(condition_ratio=0.2, condition_draws=50).draw(generator(0, Stream.WORLD))
    for (batch, second), *_ in islice(BatchStream(world, seed=0, batch_size=8, fresh=True, for_gpu=True), 2):
        assert all(view.is_pinned() for part in (batch, second) for view in part.views.values())


def test_a_run_in_float64_ends_with_the_cpus_weights(tmp_path):
    weights = []
    for name, accelerator in (("gpu", "gpu"), ("cpu", "cpu")):
        (tmp_path / name).mkdir()
        weights.append(run(tmp_path / name, "trainer.precision=fp64", f"trainer.accelerator={accelerator}"))
    assert distance(*weights) < 1e-8


@pytest.mark.parametrize("precision", ["fp16_mixed", "bf16_mixed"])
@pytest.mark.parametrize("clip", ["null", "1.0"])
def test_reduced_precision_stays_near_float32(tmp_path, precision, clip):
    """Adam: Muon's orthogonalisation has steps of one size, however small the gradient's difference."""
    weights = []
    for name in ("fp32", precision):
        (tmp_path / name).mkdir()
        overrides = (f"trainer.precision={name}", f"trainer.gradient_clip_val={clip}", "optimizer=adam")
        weights.append(run(tmp_path / name, *overrides))
    assert 0 < distance(*weights) < 0.05


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_two_devices_end_with_the_weights_of_one(tmp_path):
    weights = []
    for name, devices in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        weights.append(run(tmp_path / name, "trainer.precision=fp64", f"trainer.devices={devices}"))
    assert distance(*weights) < 1e-8
