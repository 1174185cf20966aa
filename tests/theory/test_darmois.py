"""The theory's minimiser: uniform and independent, zero in SymAlignMaxEnt, and below whatever is near it or trained."""

import doctest
import math

import pytest
import torch

from mmcl.config.compose import compose_one
from mmcl.config.schema import validate_train
from mmcl.experiment import make_module, train
from mmcl.losses.align_max_ent import Entropy, align_max_ent
from mmcl.records import tensors
from mmcl.theory import darmois, gaussian_darmois
from mmcl.worlds import LatentVariableModel

N = 4000
MODEL = LatentVariableModel(
    content_size=3, style_size=2, modality_specific_sizes=[1, 2], style_change_prob=0.75, statistical=True,
    causal=True, condition_ratio=0.05, condition_draws=2000,
)  # fmt: skip


def generator(seed):
    return torch.Generator().manual_seed(seed)


def oracle(world, views):
    """What the theory's encoders make of the views alone: the exact inverse mixing, then the content's Darmois map."""
    size, covariance = world.model.content_size, world.covariances["content"]
    return {
        name: gaussian_darmois(world.mixings[name].inverse(x.double())[:, :size], covariance)
        for name, x in views.items()
    }


def objective(z):
    return align_max_ent(z, entropy=Entropy.nearest_neighbour).item()


def test_doctest():
    assert doctest.testmod(darmois, extraglobs={"torch": torch}).failed == 0


@pytest.fixture(scope="module")
def world():
    return MODEL.draw(generator(0))


def test_it_is_uniform_with_independent_components(world):
    """Kolmogorov-Smirnov at the level of 1e-4 (2.23 / sqrt(N)) for each component; correlations within 4 / sqrt(N)."""
    u = gaussian_darmois(
        world.sample(N, generator(1)).factors["content"].double(), world.covariances["content"]
    )
    assert u.min() > 0
    assert u.max() < 1
    grid = torch.arange(1, N + 1, dtype=torch.float64)[:, None] / N
    assert float((u.sort(dim=0).values - grid).abs().max()) < 2.23 / math.sqrt(N)
    for moment in (u, (u - 0.5).square()):
        correlation = torch.corrcoef(moment.mT) - torch.eye(3)
        assert float(correlation.abs().max()) < 4 / math.sqrt(N)


def test_it_is_the_conditional_distribution_function():
    """c_2 given c_1 has mean rho c_1 and variance 1 - rho^2."""
    rho, c = 0.6, torch.randn(50, 2, generator=generator(2), dtype=torch.float64)
    u = gaussian_darmois(c, torch.tensor([[1.0, rho], [rho, 1.0]]))
    phi = torch.distributions.Normal(0.0, 1.0).cdf
    expected = torch.stack([phi(c[:, 0]), phi((c[:, 1] - rho * c[:, 0]) / math.sqrt(1 - rho**2))], dim=1)
    assert torch.allclose(u, expected, atol=1e-7)


@pytest.mark.parametrize(
    ("content", "covariance", "message"),
    [
        (torch.zeros(3), torch.eye(3), "content.shape"),
        (torch.zeros(2, 3), torch.eye(2), "covariance.shape"),
        (torch.zeros(2, 2), torch.tensor([[1.0, 2.0], [2.0, 1.0]]), "positive definite"),
    ],
)
def test_what_it_cannot_do_is_refused(content, covariance, message):
    with pytest.raises(ValueError, match=message):
        gaussian_darmois(content, covariance)


def test_the_oracle_attains_zero_and_what_is_near_it_is_worse(world):
    """Over 20 draws of N samples the estimator has mean -0.06 (the cube's faces bias it), standard deviation 0.03."""
    batch = world.sample(N, generator(3))
    z = oracle(world, batch.views)
    assert float((z["x1"] - z["x2"]).abs().max()) < 1e-3  # float32 observations, inverted
    best = objective(z)
    assert best == pytest.approx(-0.06, abs=4 * 0.03)
    # A loss of entropy: values drawn together. An error of alignment: a little of style. A dimension that is left out.
    squeezed = {name: 0.5 + 0.8 * (u - 0.5) for name, u in z.items()}
    assert objective(squeezed) == pytest.approx(best - 3 * math.log(0.8), abs=1e-3)
    leaked = {name: (u + 0.05 * batch.factors[f"style.{name}"][:, :1].double()) % 1 for name, u in z.items()}
    assert objective(leaked) > best + 0.05
    twice = {name: u[:, [0, 1, 1]] + 1e-3 * u[:, [2, 2, 2]] for name, u in z.items()}
    assert objective(twice) > best + 1


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["align_max_ent", "sym_info_nce"])
def test_no_trained_encoder_is_below_the_oracle(tmp_path, loss):
    """Encoders into a cube of side 1, trained for a minute, on fresh samples: nearer than untrained ones, and above."""
    config = validate_train(
        compose_one(
            "train",
            [
                "experiment=numerical/quick", "data.content_size=3", "data.style_size=2",
                "data.modality_specific_sizes=[1,1]", "data/dependence=independent_p75", f"loss={loss}",
                "encoder.encoding_size=3", "encoder.bound=0.5", "trainer.max_steps=1500", "trainer.threads=1",
                "evaluator=[linear]", "evaluation.n_fit=512", "evaluation.n_test=512", "callbacks=[none]",
                "loss.bandwidth=0.1" if loss == "align_max_ent" else "loss.temperature=0.02",
            ],
        )
    )  # fmt: skip
    train(config, tmp_path, [])
    world = config.data.restore(tensors.load(tmp_path / "world.pt"))
    module = make_module(config, world)

    def value(views):
        with torch.no_grad():
            z = {name: h.double() + 0.5 for name, h in module.encoders(views).items()}
        assert all(float(h.min()) >= 0 and float(h.max()) <= 1 for h in z.values())
        return objective(z)

    untrained = value(world.sample(N, generator(0)).views)
    module.encoders.load_state_dict(tensors.load(tmp_path / "encoders.pt")["encoders"])
    differences = []
    for seed in range(10):
        views = world.sample(N, generator(seed)).views
        differences.append(value(views) - objective(oracle(world, views)))
    mean = sum(differences) / 10
    spread = math.sqrt(sum((d - mean) ** 2 for d in differences) / 9 / 10)
    assert mean - 4 * spread > 0
    assert mean < untrained / 2
