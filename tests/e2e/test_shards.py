"""Training on shards through the command line: killed and resumed, and in two processes."""

import json
import signal
import time

import pandas as pd
import pytest

from mmcl.records import tensors
from tests.conftest import ROOT, process
from tests.data.own import record, write_shards, write_tar

pytestmark = pytest.mark.slow

RUN = (
    str(ROOT / "train.py"),
    "experiment=pairs/quick",
    "data=shards",
    "data.train='data/shards/train-{000..005}.tar'",
    "data.size=32",
    "data.mixed=2",
    "encoder.image_width=4",
    "batch_size=16",
    "trainer.threads=1",
    "trainer.log_every_n_steps=5",
    "evaluation.n_fit=20",
    "evaluation.n_test=20",
)


def train(cwd, *more):
    cwd.mkdir(exist_ok=True)
    child = process(*RUN, *more, cwd=cwd, OMP_NUM_THREADS="1")
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, out + err


def run_dir(cwd):
    (found,) = cwd.glob("runs/pairs/quick/*")
    return found


def test_killed_and_resumed_as_if_it_had_not_been(tmp_path):
    more = ("trainer.max_steps=120", "trainer.checkpoint_every_n_steps=7")
    for name in ("whole", "killed"):
        write_shards(tmp_path / name / "data/shards", {"train": [30] * 6, "validation": [20], "test": [20]})
    train(tmp_path / "whole", *more)
    cwd = tmp_path / "killed"
    child = process(*RUN, *more, "data.workers=1", cwd=cwd, OMP_NUM_THREADS="1")
    deadline = time.monotonic() + 200
    while not list(cwd.glob("runs/pairs/quick/*/checkpoints/last.ckpt")):
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not list(cwd.glob("runs/pairs/quick/*/encoders.pt"))
    train(cwd, *more, "data.workers=3")
    whole, resumed = run_dir(tmp_path / "whole"), run_dir(cwd)
    assert whole.name == resumed.name  # threads are no part of what a run is
    for name in ("metrics.csv", "results.csv"):
        assert (whole / name).read_text() == (resumed / name).read_text()
    shas = [json.loads((d / "manifest.json").read_text())["encoders_sha256"] for d in (whole, resumed)]
    assert shas[0] == shas[1]
    rows = pd.read_csv(whole / "results.csv")
    assert set(rows.evaluator) == {"retrieval", "heldout_loss"}


def test_two_processes_end_with_the_weights_of_one(tmp_path):
    """Two texts of a pair, for an encoder without batch statistics, which each process would have its own of."""
    more = (
        "data.images=[]", "data.texts=[left,right]", "trainer.max_steps=30", "trainer.precision=fp64",
        "loss.learned_temperature=true",
    )  # fmt: skip
    ends = []
    for devices in (1, 2):
        cwd = tmp_path / str(devices)
        for part, (shards, first) in {"train": (6, 0), "validation": (1, 90), "test": (1, 110)}.items():
            for shard in range(shards):
                n = 20 if part != "train" else 15
                files = {}
                for i in range(first + n * shard, first + n * (shard + 1)):
                    files[f"{i}.left.txt"] = record(i)["caption"].encode()
                    files[f"{i}.right.txt"] = f"Number {i} is a {record(i)['shape']}".encode()
                write_tar(cwd / "data/shards" / f"{part}-{shard:03d}.tar", files)
        train(cwd, *more, f"trainer.devices={devices}")
        state = tensors.load(run_dir(cwd) / "encoders.pt")
        ends.append({**state["encoders"], **state["objective"]})
    one, two = ends
    assert one.keys() == two.keys()
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-8
