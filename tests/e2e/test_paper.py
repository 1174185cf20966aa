"""``numerical/paper`` to the letter: its first steps, against a plain float64 computation of Eq. 4, and its sweeps'."""

import math

import pandas as pd
import pytest
import torch

from mmcl.archives.generate import Recipe, generate
from mmcl.config.compose import CONF, compose_hydra, compose_one, expand
from mmcl.config.schema import validate_train
from mmcl.experiment import train
from mmcl.losses import ContrastiveLoss, Reduction, contrastive_loss
from tests.data.test_digits import write_mnist

pytestmark = pytest.mark.slow


def printed_eq_4(h1, h2):
    """Eq. 2 in both directions and their mean, as printed: sums over the batch and over the candidates; float64."""
    h1, h2 = h1.double(), h2.double()
    s = -torch.cdist(h1, h2, compute_mode="donot_use_mm_for_euclid_dist").square()
    return 0.5 * sum(-(x.diagonal() - torch.logsumexp(x, dim=1)).sum() for x in (s, s.T)).item()


def test_the_first_twenty_losses(tmp_path, monkeypatch):
    seen = []
    forward = ContrastiveLoss.forward

    def recording(self, z, fresh=None):
        loss = forward(self, z, fresh)
        seen.append(({name: h.detach().clone() for name, h in z.items()}, loss.item()))
        return loss

    monkeypatch.setattr(ContrastiveLoss, "forward", recording)
    config = validate_train(
        compose_one(
            "train",
            [
                "experiment=numerical/paper",
                "trainer.max_steps=20",
                "trainer.log_every_n_steps=1",
                "callbacks=[none]",
                "evaluator=[linear]",
                "evaluation.n_fit=64",
                "evaluation.n_test=64",
            ],
        )
    )
    train(config, tmp_path, [])
    assert len(seen) == 20
    logged = pd.read_csv(tmp_path / "metrics.csv")
    assert list(logged[logged.name == "loss"].step) == list(range(1, 21))
    k = config.run.batch_size
    assert k == 6144
    for (z, loss), row in zip(seen, logged[logged.name == "loss"].value, strict=True):
        assert loss == pytest.approx(row)
        printed = printed_eq_4(z["x1"], z["x2"])
        # Our convention: the mean over the batch and the log-mean over the candidates.
        assert loss == pytest.approx(printed / k - math.log(k), abs=2e-5)
        # And the exact relation the other way round.
        summed = contrastive_loss(z, reduction=Reduction.sum, candidate_reduction=Reduction.sum)
        assert summed.item() == pytest.approx(printed, rel=2e-6)
        assert k * (loss + math.log(k)) == pytest.approx(printed, rel=2e-5)


def last_job(sweep):
    name = f"sweep=paper/{sweep}"
    return expand([*compose_hydra("train", [name]).params, name])[-1]


IMAGES = ("figure3", "figure10a", "figure10b", "figure11")


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """A few pairs of each kind, as large as the published ones."""
    found = {}
    for kind in ("image_text", "image_pairs"):
        found[kind] = tmp_path_factory.mktemp(kind) / "archive"
        recipe = Recipe(kind=kind, pairs={"train": 24, "val": 8, "test": 8}, size=224, samples=1)
        assert generate(found[kind], recipe, processes=1)
    return found


@pytest.mark.parametrize("sweep", IMAGES)
def test_the_last_run_of_each_sweep_of_images_takes_its_first_steps(tmp_path, archives, sweep):
    """On batches of 16: 256 images of that size take minutes, and more memory than a laptop has."""
    folder = archives["image_pairs" if "10" in sweep else "image_text"]
    short = ["trainer.max_steps=2", "trainer.log_every_n_steps=1", "evaluator=[linear]", "batch_size=16"]
    short += [f"data.folder={folder}", "evaluation.n_fit=8", "evaluation.n_test=8", "evaluation.pictures=0"]
    config = validate_train(compose_one("train", [*last_job(sweep), *short]))
    train(config, tmp_path, [])
    logged = pd.read_csv(tmp_path / "metrics.csv")
    losses = logged[logged.name == "loss"]
    assert list(losses.step) == [1, 2]
    # Of 31 candidates with cosines in [-1, 1] at temperature 1.
    assert losses.value.between(math.log(31) - 2, math.log(31) + 2).all()
    found = pd.read_csv(tmp_path / "results.csv")
    assert set(found.representation) == ({"image1", "image2"} if "10" in sweep else {"image", "text"})


COMM = ("comm_trifeature", "comm_trifeature_supervised")


@pytest.mark.parametrize("sweep", COMM)
def test_the_last_run_of_comms_sweeps_takes_its_first_steps(tmp_path, sweep):
    """On 27 combinations and batches of 8."""
    short = [
        "trainer.max_steps=2",
        "trainer.steps_per_execution=1",
        "trainer.log_every_n_steps=1",
        "batch_size=8",
    ]
    short += ["data.levels=3", "data.renders=1", "trainer.precision=fp32", "evaluator=[probe_linear]"]
    short += ["evaluation.n_fit=16", "evaluation.n_test=9"]
    config = validate_train(compose_one("train", [*last_job(sweep), *short]))
    train(config, tmp_path, [])
    logged = pd.read_csv(tmp_path / "metrics.csv")
    losses = logged[logged.name == "loss"]
    if "untrained" not in " ".join(last_job(sweep)):
        assert list(losses.step) == [1, 2]
    # Of 15 candidates with cosines in [-1, 1] at temperature 0.1, of which the lone modalities' terms are half.
    assert losses.value.between(0, 2 * (math.log(15) + 20)).all()
    assert set(pd.read_csv(tmp_path / "results.csv").representation) == {"x1", "x2", "x1+x2"}


PERSPECTIVE = ("perspective_digits", "perspective_drifters")


def test_the_last_run_of_the_digits_takes_its_first_steps(tmp_path):
    """On files as MNIST's, of random pictures, in batches of the paper's size."""
    write_mnist(tmp_path / "files", 600, 100)
    short = [f"data.folder={tmp_path / 'files'}", "trainer.max_steps=2", "trainer.log_every_n_steps=1"]
    short += ["trainer.steps_per_execution=1"]
    config = validate_train(compose_one("train", [*last_job("perspective_digits"), *short]))
    train(config, tmp_path / "run", [])
    logged = pd.read_csv(tmp_path / "run" / "metrics.csv")
    # Of inner products with one-hot labels of small outputs: next to none.
    assert logged[logged.name == "loss"].value.between(-1, 1).all()
    assert config.run.batch_size == 512
    rows = pd.read_csv(tmp_path / "run" / "results.csv")
    assert {"zero_shot", "generation", "retrieval", "fine_tuned"} == set(rows.evaluator)


def test_the_last_run_of_the_drifters_takes_its_first_steps(tmp_path):
    """On 64 flows with a tenth of the steps of Runge-Kutta, a tenth of the positions, in batches of 4."""
    short = [
        "data.n=64",
        "data.world.steps=1000",
        "batch_size=4",
        "trainer.max_steps=2",
        "trainer.precision=fp32",
    ]
    short += [
        "trainer.log_every_n_steps=1",
        "evaluation.n_test=16",
        "evaluation.pictures=0",
        "callbacks=[none]",
    ]
    config = validate_train(compose_one("train", [*last_job("perspective_drifters"), *short]))
    train(config, tmp_path / "run", [])
    logged = pd.read_csv(tmp_path / "run" / "metrics.csv")
    losses = logged[logged.name == "loss"]
    assert list(losses.step) == [1, 2]
    # Of 4 candidates with cosines in [-1, 1] at temperature 0.1.
    assert losses.value.between(-math.log(4), 20).all()
    assert config.data.world.positions == 1000


@pytest.mark.parametrize(
    "sweep",
    sorted(
        path.stem
        for path in (CONF / "sweep" / "paper").glob("*.yaml")
        if path.stem not in (*IMAGES, *COMM, *PERSPECTIVE)
    ),
)
def test_the_last_run_of_each_sweep_takes_its_first_steps(tmp_path, sweep):
    job = last_job(sweep)
    short = ["trainer.max_steps=2", "trainer.log_every_n_steps=1", "callbacks=[none]", "evaluation.n_fit=64"]
    short += ["evaluation.n_test=64", "evaluation.n_intervention=64"]
    if "directions" in validate_train(compose_one("train", job)).evaluator:  # its sizes are the sweep's
        short += ["evaluator.directions.n_fit=64", "evaluator.directions.n_test=64"]
    else:
        short.append("evaluator=[linear]")
    config = validate_train(compose_one("train", [*job, *short]))
    train(config, tmp_path, [])
    logged = pd.read_csv(tmp_path / "metrics.csv")
    losses = logged[logged.name == "loss"]
    assert list(losses.step) == [1, 2]
    # Our loss is between -log K and, for encodings that tell nothing, about 0.
    assert losses.value.between(-math.log(config.run.batch_size), 0.5).all()
    assert {"linear"} <= set(pd.read_csv(tmp_path / "results.csv").evaluator)
