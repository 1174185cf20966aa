"""Conditional moments by weighted samples: loops, and encoders of which the exact answer is known."""

import math

import pytest
import torch

from mmcl.evaluators import ConditionalMoments, GaussianModel, Representations, conditional_moments
from mmcl.theory import GaussianPair, Tilting, conditional_optimum

COVARIANCE = torch.tensor(
    [[1.5, 0.2, 0.9], [0.2, 1.0, 0.1], [0.9, 0.1, 1.2]],
    dtype=torch.float64,
)


def samples(n, encode, seed=0):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = x @ torch.linalg.cholesky(COVARIANCE).mT
    u, v = x[:, :2], x[:, 2:]
    return Representations(encode(u, v), {"u": u, "v": v}, covariance=COVARIANCE)


def rows_of(evaluator, given):
    return {(row.representation, row.metric): row for row in evaluator.evaluate(given, given)}


def test_by_loops():
    n, tau = 7, 0.8
    given = samples(n, lambda u, v: {"u": u.sin(), "v": torch.cat([v, v**2], dim=1)})
    found = rows_of(ConditionalMoments(n, "inner_product", tau), given)
    pair = GaussianPair(COVARIANCE, 2)
    slope, covariance = pair.u_given_v()
    mean_error = covariance_error = size = 0.0
    for k in range(n):
        raw = [math.exp(float(given.z["v"][k] @ given.z["u"][j]) / tau) if j != k else 0.0 for j in range(n)]
        w = [x / sum(raw) for x in raw]
        u = given.factors["u"]
        mean = sum(x * u[j] for j, x in enumerate(w))
        spread = sum(x * torch.outer(u[j] - mean, u[j] - mean) for j, x in enumerate(w))
        mean_error += float((mean - slope @ given.factors["v"][k]).square().sum()) / n
        covariance_error += float((spread - covariance).norm() / covariance.norm()) / n
        size += 1 / sum(x * x for x in w) / n
    assert found["v>u", "mean_error"].value == pytest.approx(mean_error, rel=1e-9)
    assert found["v>u", "covariance_error"].value == pytest.approx(covariance_error, rel=1e-9)
    assert found["v>u", "effective_sample_size"].value == pytest.approx(size, rel=1e-9)
    assert found["u>v", "effective_sample_size"].chance == pytest.approx(n - 1)


@pytest.mark.parametrize(
    ("tilting", "weights"),
    [(Tilting.squared_distance, (2.0, 0.0)), (Tilting.inner_product, (1.0, 1.0))],
)
def test_of_linear_encoders_it_is_the_exact_evaluators_within_the_samples_error(tilting, weights):
    """Hundreds of 4,000 atoms count, and fewer of queries far out: a squared error of the means of a hundredth of the
    variance, and of the covariances of a tenth, are the samples'.
    """
    tilt = conditional_optimum(GaussianPair(COVARIANCE, 2), 2, tilting, *weights).tilt
    if tilting is Tilting.inner_product:
        given = samples(4000, lambda u, v: {"u": u, "v": v @ tilt.a.mT})
        name, tau = "inner_product", 1.0
    else:
        # Rank one: G = g' with B = g g', and h of the sign of A = g h'.
        values, vectors = torch.linalg.eigh(tilt.b)
        g = (vectors[:, -1] * values[-1].sqrt())[None]
        h = torch.linalg.lstsq(g.mT, tilt.a).solution
        given = samples(4000, lambda u, v: {"u": u @ g.mT, "v": v @ h.mT})
        name, tau = "negative_squared_euclidean", 2.0
    ours = rows_of(ConditionalMoments(4000, name, tau), given)
    exact = rows_of(
        GaussianModel(4000, name, tau, weight_u_given_v=weights[0], weight_v_given_u=weights[1]), given
    )
    assert ours["v>u", "effective_sample_size"].value > 300
    assert ours["v>u", "mean_error"].value == pytest.approx(
        exact["v>u", "mean_error"].value, abs=0.01 * float(COVARIANCE[:2, :2].trace())
    )
    assert ours["v>u", "covariance_error"].value == pytest.approx(
        exact["v>u", "covariance_error"].value, abs=0.1
    )
    assert ours["v>u", "mean_error"].chance > 0.1 * float(COVARIANCE[:2, :2].trace())


def test_a_power_of_two_is_the_squared_distance():
    given = samples(50, lambda u, v: {"u": u, "v": v.expand(-1, 2)})
    squared = rows_of(ConditionalMoments(50, "negative_squared_euclidean"), given)
    for key, row in rows_of(ConditionalMoments(50, "negative_lp", lp_exponent=2.0), given).items():
        assert row.value == pytest.approx(squared[key].value, rel=1e-9)
    other = rows_of(ConditionalMoments(50, "negative_lp", lp_exponent=1.0), given)
    assert other["v>u", "mean_error"].value != pytest.approx(squared["v>u", "mean_error"].value, rel=1e-3)


def test_it_does_not_depend_on_how_many_queries_are_taken_at_a_time(monkeypatch):
    given = samples(50, lambda u, v: {"u": u, "v": v.expand(-1, 2)})
    whole = rows_of(ConditionalMoments(50), given)
    monkeypatch.setattr(conditional_moments, "CHUNK", 7)
    for key, row in rows_of(ConditionalMoments(50), given).items():
        assert row.value == pytest.approx(whole[key].value, rel=1e-12)


def test_a_world_of_unknown_law_and_values_out_of_range_are_refused():
    given = samples(10, lambda u, v: {"u": u, "v": v.expand(-1, 2)})
    with pytest.raises(ValueError, match="the world's covariance is not known"):
        ConditionalMoments(10).evaluate(given, Representations(given.z, given.factors))
    with pytest.raises(ValueError, match="temperature"):
        ConditionalMoments(temperature=0.0)
    with pytest.raises(ValueError, match="similarity"):
        ConditionalMoments(similarity="l2")
