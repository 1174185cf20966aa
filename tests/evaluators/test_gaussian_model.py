"""A model's exact law against a Gaussian world's, for encoders whose errors are known."""

import pytest
import torch

from mmcl.evaluators import GaussianModel, Representations
from mmcl.theory import GaussianPair, Tilting, conditional_optimum, joint_optimum

C = torch.tensor([[1.5, 1.0], [1.0, 1.5]], dtype=torch.float64)


def samples(g, h, covariance=C, n=50, sampled=None):
    """Encodings G u, H v of samples of the law."""
    size = g.shape[1]
    x = torch.randn(n, len(covariance), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x @ torch.linalg.cholesky(covariance).mT
    u, v = x[:, :size], x[:, size:]
    z = {"u": (u @ g.mT).float(), "v": (v @ h.mT).float()}
    return Representations(z, {"u": u.float(), "v": v.float()}, {}, covariance, sampled)


def rows_of(evaluator, test):
    return {(r.representation, r.metric): r for r in evaluator.evaluate(test, test)}


def scalars(a):
    return torch.tensor([[a]], dtype=torch.float64)


def test_the_two_dimensional_example():
    """Conditional means of slope 2/3 and variance 5/6; models of A = 4/9 (exact means, variance 3/2) and A = 1/3."""
    found = rows_of(GaussianModel(50), samples(scalars(2 / 3), scalars(2 / 3)))
    assert found["v>u", "mean_error"].value == pytest.approx(0, abs=1e-9)
    assert found["u>v", "covariance_error"].value == pytest.approx(1.5 / (5 / 6) - 1, rel=1e-5)
    assert found["v>u", "mean_error"].chance == pytest.approx(1.5 * (2 / 3) ** 2)
    assert found["u+v", "matrix_error"].value == pytest.approx(0, abs=1e-5)
    shrunk = rows_of(GaussianModel(50), samples(scalars(1.0), scalars(1 / 3)))
    assert shrunk["v>u", "mean_error"].value == pytest.approx(1.5 * (2 / 3 - 1 / 2) ** 2, rel=1e-4)
    assert shrunk["u+v", "matrix_error"].value == pytest.approx(1 / 4, rel=1e-4)
    assert shrunk["u+v", "excess_loss"].value == pytest.approx(0.5 * (1.5 / 9) ** 2, rel=1e-4)
    joint = rows_of(GaussianModel(50, normaliser="joint"), samples(scalars(1.0), scalars(1 / 3)))
    assert joint["u+v", "matrix_error"].value == pytest.approx(0, abs=1e-5)
    assert joint["v>u", "mean_error"].ceiling == pytest.approx(1.5 * (2 / 3 - 1 / 2) ** 2)


def test_the_one_sided_squared_distance_has_the_exact_conditional():
    """G = C_v|u^-1/2 C_vu C_uu^-1, H = C_v|u^-1/2; at other temperatures they are scaled."""
    slope, rest = GaussianPair(C, 1).v_given_u()
    g, h = slope / rest.sqrt(), 1 / rest.sqrt()
    for temperature in (2.0, 0.5):
        scale = (temperature / 2) ** 0.5
        evaluator = GaussianModel(50, "negative_squared_euclidean", temperature, "conditional", 2.0, 0.0)
        found = rows_of(evaluator, samples(g * scale, h * scale))
        assert found["v>u", "mean_error"].value == pytest.approx(0, abs=1e-9)
        assert found["v>u", "covariance_error"].value == pytest.approx(0, abs=1e-5)
        assert found["u+v", "excess_loss"].value == pytest.approx(0, abs=1e-8)
        assert found["u>v", "mean_error"].value > 0.05


@pytest.mark.parametrize("joint", [False, True])
def test_of_fewer_dimensions_the_ceiling_is_the_optimums(joint):
    root = torch.randn(5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    c = root @ root.mT + torch.eye(5, dtype=torch.float64)
    pair = GaussianPair(c, 3)
    best = (joint_optimum if joint else conditional_optimum)(pair, 1, Tilting.inner_product)
    u, s, vh = torch.linalg.svd(best.tilt.a)
    g, h = s[:1, None].sqrt() * u[:, :1].mT, s[:1, None].sqrt() * vh[:1]
    test = samples(g, h, c, sampled=c)
    found = rows_of(GaussianModel(50, normaliser="joint" if joint else "conditional"), test)
    errors = best.tilt.mean_errors(pair)
    for name, error in (("v>u", errors[0]), ("u>v", errors[1])):
        row = found[name, "mean_error"]
        assert row.value == pytest.approx(float(error), rel=1e-4)
        assert row.ceiling == pytest.approx(float(error), rel=1e-9)
        assert found[name, "mean_error_of_sampled"].value == pytest.approx(float(error), rel=1e-9)


def test_of_independent_vectors_the_optimum_is_nothing():
    found = rows_of(GaussianModel(50), samples(scalars(0.5), scalars(0.5), torch.eye(2, dtype=torch.float64)))
    assert ("u+v", "matrix_error") not in found
    assert found["u+v", "excess_loss"].value == pytest.approx(0.5 * 0.25**2, rel=1e-3)


def test_weights_without_a_closed_form_have_no_ceiling():
    evaluator = GaussianModel(50, "negative_squared_euclidean", 2.0, "conditional", 1.0, 0.5)
    found = rows_of(evaluator, samples(scalars(0.5), scalars(0.5)))
    assert ("u+v", "matrix_error") not in found
    assert found["v>u", "mean_error"].ceiling is None


def test_what_it_cannot_judge_is_refused():
    test = samples(scalars(0.5), scalars(0.5))
    unknown = Representations(test.z, test.factors)
    with pytest.raises(ValueError, match="the world's covariance is not known"):
        GaussianModel().evaluate(unknown, unknown)
    bent = Representations({**test.z, "u": test.z["u"] ** 3}, test.factors, {}, C)
    with pytest.raises(ValueError, match="encodings of u are no linear map of it: use encoder=linear"):
        GaussianModel().evaluate(bent, bent)
    with pytest.raises(ValueError, match="similarity='cosine'"):
        GaussianModel(similarity="cosine")
    with pytest.raises(ValueError, match=r"weights=\(0\.0, 0\.0\)"):
        GaussianModel(weight_u_given_v=0.0, weight_v_given_u=0.0)
