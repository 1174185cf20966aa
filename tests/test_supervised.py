"""A network that is told the factors finds those that are in the images, and no others."""

import json

import pandas as pd
import pytest
import torch

from mmcl.archives.generate import Recipe, generate
from mmcl.data import Archive
from mmcl.supervised import supervise

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("archive") / "m3di"
    assert generate(
        root, Recipe(pairs={"train": 400, "val": 10, "test": 100}, size=32, samples=1), processes=1
    )
    return root


def test_what_is_in_the_images_is_found(folder):
    world = Archive(str(folder)).draw(torch.Generator())
    losses = []
    scores = supervise(
        world, "image", steps=40, batch_size=32, progress=lambda step, loss: losses.append(loss)
    )
    found = {(score.factor, score.metric): score for score in scores}
    assert len(losses) == 40
    assert losses[-1] < losses[0]
    # Of 100 pairs that tell nothing, more than 56 are right less often than once in 10,000 times.
    assert found["object_xpos", "accuracy"].value > 0.56
    assert 1 / 3 <= found["object_xpos", "accuracy"].chance < 0.6
    assert {score.factor for score in scores if score.metric == "r2_circle"} == {"object_color.image"}
    assert not {score.factor for score in scores if score.factor.endswith(".text")}
    again = supervise(world, "image", steps=40, batch_size=32)
    assert again == scores


def test_a_text_is_no_image(folder):
    with pytest.raises(ValueError, match="view='text': must be one of images"):
        supervise(Archive(str(folder)).draw(torch.Generator()), "text", steps=1)


def test_a_rate_that_is_too_high_is_said(folder):
    world = Archive(str(folder)).draw(torch.Generator())
    with pytest.raises(ValueError, match="try a lower learning rate"):
        supervise(world, "image", steps=40, batch_size=32, learning_rate=1e30)


def test_the_command_writes_what_it_prints(folder, tmp_path, cli):
    done = cli("mmcl", "data", "supervise", str(folder), "--epochs", "0.1", "-o", str(tmp_path / "out"))
    assert done.code == 0, done.err
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert "spotlight_pos.image" in set(scores.factor)
    lines = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert lines[0] == "| view | factor | metric | value | chance |"
    for line, (_, score) in zip(lines[2:], scores.iterrows(), strict=True):
        assert line.startswith(f"| {score.view} | {score.factor} | {score.metric} | {score.value:.3f} |")
    assert json.loads((tmp_path / "out" / "about.json").read_text())["epochs"] == 0.1
    bad = cli("mmcl", "data", "supervise", str(folder), "--precision", "fp8")
    assert bad.code == 1
    assert "--precision=fp8: must be fp32 or bf16" in bad.err
