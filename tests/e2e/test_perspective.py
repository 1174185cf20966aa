"""Digits and drifters, from the command to the pictures."""

import math
import subprocess
import sys

import pandas as pd
import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def call(folder, *words):
    command = [sys.executable, str(ROOT / "train.py"), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)


def run(folder, *words):
    done = call(folder, *words)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("runs/*/*")
    return found, pd.read_csv(found / "results.csv"), done.stdout


@pytest.mark.parametrize("loss", ["conditional", "conditional_v_given_u", "mmd"])
def test_digits_are_learned_with_their_labels(tmp_path, loss):
    """A tenth of the recipe's steps: of 359 test images a net that tells nothing classifies 0.25 right once in 1e15."""
    folder, rows, out = run(
        tmp_path,
        "experiment=perspective/digits",
        f"loss={loss}",
        "trainer.max_steps=250",
        "evaluation.pictures=64",
    )
    scores = rows.set_index(["evaluator", "representation", "metric"]).value
    assert scores["zero_shot", "image>label", "balanced_accuracy"] > 0.5
    assert scores["generation", "label>image", "purity"] > 0.25
    assert 1 <= scores["generation", "label>image", "effective_sample_size"] <= 359
    assert scores["fine_tuned", "image>label", "balanced_accuracy"] > 0.5
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    assert {"draws.png", "classes.png", "neighbours.png"} <= pictures
    assert "effective_sample_size" in out


def test_drifters_find_their_flows(tmp_path):
    """Short paths in flows of few modes; recalls are logged of test and training samples. Chance of R@5 is 0.05; by
    chance above 0.15 once in 1e4."""
    _, rows, out = run(
        tmp_path, "experiment=perspective/drifters", "data.n=1000", "data.world.modes=4", "encoder.encoding_size=8",
        "data.world.steps=20", "data.world.positions=10", "trainer.max_steps=300", "evaluation.n_test=100",
        "evaluation.pictures=64", "callbacks.online_retrieval.n_samples=100",
        "callbacks.online_retrieval.every_n_steps=100",
    )  # fmt: skip
    recalls = rows[rows.metric == "recall_at_5"].set_index("representation").value
    assert recalls["path"] > 0.15
    assert recalls["flow"] > 0.15
    assert "Median rank (chance)" in out
    (folder,) = tmp_path.glob("runs/*/*")
    assert (folder / "pictures" / "draws.png").exists()
    logged = pd.read_csv(folder / "metrics.csv")
    assert sorted(logged[logged.name == "test_path_to_flow_recall_at_5"].step) == [100, 200, 300]
    assert logged[logged.name == "train_flow_to_path_recall_at_1"].value.between(0, 1).all()


def test_an_evaluator_of_gaussian_worlds_is_refused_before_anything_is_trained(tmp_path):
    words = ["experiment=perspective/digits", "evaluator=[conditional_moments]", "trainer.max_steps=1"]
    done = call(tmp_path, *words)
    assert done.returncode == 1
    assert "evaluator.conditional_moments: the world's covariance is not known" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("runs/*/*/checkpoints/*"))


@pytest.mark.parametrize(("n", "warned"), [(99, True), (100, False)])
def test_a_batch_of_more_samples_than_there_are_is_remarked(tmp_path, n, warned):
    words = ["experiment=perspective/random_field", f"data.n={n}", "batch_size=100", "trainer.max_steps=1"]
    done = call(tmp_path, *words)
    assert done.returncode == 0
    assert ("warning: batch_size=100: more than the 99 training samples" in done.stderr) == warned


def test_moments_of_encoders_that_are_not_linear(tmp_path):
    """An MLP of two correlated numbers, 300 steps: half of chance's squared error of the mean is gone."""
    _, rows, _ = run(
        tmp_path, "experiment=perspective/gaussian", "encoder=quick_mlp", "encoder.encoding_size=4",
        "evaluator=[conditional_moments]", "trainer.max_steps=300", "evaluation.n_test=1000",
    )  # fmt: skip
    errors = rows[rows.metric == "mean_error"]
    assert len(errors) == 2
    assert (errors.value < 0.5 * errors.chance).all()


def test_a_finite_random_field_is_learned_and_held_against_the_exact_law(tmp_path):
    """With a fifth of the steps the conditional means are better than none by far."""
    _, rows, _ = run(tmp_path, "experiment=perspective/random_field", "trainer.max_steps=600")
    found = rows.set_index(["representation", "metric"])
    for name in ("v>u", "u>v"):
        assert found.loc[(name, "mean_error"), "value"] < 0.2 * found.loc[(name, "mean_error"), "chance"]
        sampled = found.loc[(name, "mean_error_of_sampled"), "value"]
        assert 0 < sampled < 0.05 * found.loc[(name, "mean_error"), "chance"]
    assert math.isclose(found.loc[("v>u", "mean_error"), "chance"], 0.0441, abs_tol=5e-4)
    assert math.isclose(found.loc[("u>v", "mean_error"), "chance"], 2.196, abs_tol=5e-3)
