"""Whole runs in worlds with redundant, unique and synergistic classes."""

from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("overrides", "factors"),
    [
        (
            ("experiment=smoke", "data=trifeature", "data.bias=0.5"),
            {"shape", "texture.x1", "colour.x1", "texture.x2", "colour.x2", "match"},
        ),
        (
            ("experiment=smoke", "data=digit_pairs", "data.share=parity"),
            {"parity", "digit.x1", "digit.x2", "sum", "match"},
        ),
        (("experiment=smoke", "data=digit_pairs", "data.share=digit"), {"digit"}),
        (
            (
                "data=trifeature_images",
                "data.levels=3",
                "data.held_out=0.34",
                "data.size=32",
                "data.held_out_renders=4",
                "encoder=image_text_small",
                "batch_size=16",
            ),
            {"shape", "texture.x1", "colour.x1", "texture.x2", "colour.x2", "match"},
        ),
    ],
)
def test_a_run_trains_and_every_factor_is_scored_from_every_encoding(cli, overrides, factors):
    run = ("trainer.max_steps=4", "evaluator=[logistic]", "evaluation.n_fit=128", "evaluation.n_test=128")
    result = cli("train.py", *overrides, *run, "evaluation.pictures=32", "name=known")
    assert result.code == 0, result.err
    (path,) = Path.cwd().glob("runs/known/*/results.csv")
    rows = pd.read_csv(path)
    assert {tuple(row) for row in rows[["representation", "target"]].to_numpy()} == {
        (view, factor) for view in ("x1", "x2") for factor in factors
    }
    assert rows.value.between(0, 1).all()
    again = cli("train.py", *overrides, *run, "evaluation.pictures=32", "name=known")
    assert again.code == 0, again.err


def test_more_test_pairs_than_there_are_is_said_before_training(cli):
    small = ("data=trifeature_images", "data.levels=3", "data.held_out=0.34", "data.size=32")
    result = cli("train.py", *small, "encoder=image_text_small", "batch_size=16", "evaluator=[logistic]")
    assert result.code == 1
    assert "n=20480: must be <= " in result.err
    assert "set evaluation.n_fit, n_test and pictures" in result.err
