"""Pairs of one's own through the command line: trained on, evaluated, held to what they were."""

import json
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from tests.conftest import ROOT
from tests.data.own import picture, record, write_pairs, write_table
from tests.wandb_reader import read_all

pytestmark = pytest.mark.slow

QUICK = (
    "experiment=pairs/quick",
    "data.train=own/pairs.csv",
    "data.images=[photo]",
    "data.texts=[caption]",
    "data.size=32",
    "batch_size=16",
    "trainer.max_steps=60",
    "trainer.threads=1",
    "trainer.log_every_n_steps=1",
    "evaluation.n_fit=20",
    "evaluation.n_test=20",
)


def call(folder, script, *words):
    command = [sys.executable, str(ROOT / script), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)


def test_two_hundred_pairs_without_factors(tmp_path):
    write_pairs(tmp_path / "own", 200)
    done = call(tmp_path, "train.py", *QUICK)
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.glob("runs/pairs/quick/*")
    rows = pd.read_csv(run / "results.csv")
    recall = rows[rows.evaluator == "retrieval"].set_index(["representation", "metric"])
    metrics = ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank")
    assert set(recall.index) == {(v, metric) for v in ("photo", "caption") for metric in metrics}
    assert recall.chance["photo", "recall_at_5"] == pytest.approx(5 / 20)
    # A caption says which of four shapes, and so does the picture: its partner is one of about five.
    # Of 20 that are found with chance 1/4, more than 13 are found once in 80,000 times.
    assert recall.value["photo", "recall_at_5"] > 13 / 20
    losses = rows[rows.evaluator == "heldout_loss"]
    assert sorted(losses.split) == ["test", "validation"]
    assert set(losses.n_test) == {16}
    curve = pd.read_csv(run / "metrics.csv")
    losses = curve[curve.name == "loss"].value
    assert losses[-10:].mean() < losses.iloc[0] - 0.5  # it begins near 0, that of encodings that tell nothing
    again = call(tmp_path, "train.py", *QUICK)
    assert again.returncode == 0, again.stderr
    assert len(json.loads((run / "manifest.json").read_text())["attempts"]) == 1
    write_table(tmp_path / "own/pairs.csv", [record(i) for i in range(199)])
    other = call(tmp_path, "evaluate.py", f"run_dir={run}")
    assert other.returncode == 1
    assert "own/pairs.csv: its split" in other.stderr
    assert "is not the one that this run was trained with" in other.stderr
    assert "Traceback" not in other.stderr


@pytest.mark.parametrize("method", ["comm", "slip"])
def test_comm_of_images_and_texts(tmp_path, method):
    write_pairs(tmp_path / "own", 200)
    table = tmp_path / "own/pairs.csv"
    table.write_text(table.read_text().replace("photo,caption", "image,text", 1))
    here = (
        "experiment=pairs/comm", f"method={method}", "data.images=[image]", "data.texts=[text]", "data.content=[shape]",
        "evaluator=[retrieval_projected,probe_linear]",
    )  # fmt: skip
    done = call(tmp_path, "train.py", *QUICK, *here)
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.glob("runs/pairs/comm/*")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["augmentation"]["views"]["text"]["probability"] == 0.15
    rows = pd.read_csv(run / "results.csv")
    recall = rows[rows.evaluator == "retrieval_projected"].set_index(["representation", "metric"])
    assert set(recall.index.get_level_values(0)) == {"image", "text"}
    if method == "slip":  # CoMM compares no modality with another
        assert recall.value["image", "recall_at_5"] > 5 / 20
    probed = rows[rows.evaluator == "probe_linear"]
    assert set(probed.representation) == {"image", "text", "image+text"}
    losses = pd.read_csv(run / "metrics.csv").query("name == 'loss'").value
    assert losses[-10:].mean() < losses.iloc[:3].mean()


def test_a_folder_of_two_images_whose_pictures_reach_wandb(tmp_path):
    for view in ("left", "right"):
        (tmp_path / "own" / view).mkdir(parents=True)
        for i in range(200):
            picture(i).save(tmp_path / "own" / view / f"{i}.png")
    here = (
        "data.train=own", "data.images=[left,right]", "data.texts=[]", "data.held_out=0.2", "evaluation.n_test=32",
        "evaluation.pictures=32", "logger=[csv,wandb]", "logger.wandb.offline=true",
    )  # fmt: skip
    done = call(tmp_path, "train.py", *QUICK, *here)
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.glob("runs/pairs/quick/*")
    rows = pd.read_csv(run / "results.csv").set_index(["evaluator", "representation", "metric"])
    # The same image in both. Of 32 that are found with chance 5/32, more than half are found once in 900,000 times.
    assert rows.value["retrieval", "left", "recall_at_5"] > 1 / 2
    (read,) = read_all(run / "wandb")
    (files,) = run.glob("wandb/offline-run-*/files")
    drawn = sorted((run / "pictures").iterdir())
    assert {path.stem for path in drawn} >= {"neighbours", "draws", "maps"}
    for path in drawn:
        assert (files / read.summary[f"pictures/{path.stem}/path"]).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("evaluation.n_test=41",),
            "n=41: must be <= 20, the pairs of test: set evaluation.n_fit, n_test and pictures to that",
        ),
        (("encoder.vocabulary_size=20",), "encoder.vocabulary_size=20: must be > "),
        (("data.texts=[words]",), "own/pairs.csv: no column words; it has photo, caption, shape, count, hue"),
        (("data.train=nowhere.csv",), "nowhere.csv: no such file or folder; name one with data.train"),
    ],
)
def test_what_does_not_fit_is_a_line_before_training(tmp_path, words, said):
    write_pairs(tmp_path / "own", 200)
    done = call(tmp_path, "train.py", *QUICK, *words)
    assert done.returncode == 1, done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("last.ckpt"))


def test_a_backbone_that_knows_too_few_words_is_a_line_before_training(tmp_path):
    write_pairs(tmp_path / "own", 200)
    done = call(
        tmp_path, "train.py", "experiment=pairs/comm", "data.train=own/pairs.csv", "data.images=[]",
        "data.texts=[caption,photo]", "evaluation.n_test=10", "encoder/backbone=words",
        "encoder.backbone.vocabulary_size=20",
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert "encoder.backbone.vocabulary_size=20: must be > " in done.stderr
