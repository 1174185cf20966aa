"""Two Gaussian vectors: their law, what is given and what is drawn, and what is refused."""

import math

import pytest
import torch

from mmcl.theory import GaussianPair, Tilting, conditional_optimum
from mmcl.worlds import Gaussian, RandomField, World

TWO = [[1.5, 1.0], [1.0, 1.5]]


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("sizes", [[1, 1], [4, 3], [2, 5]])
def test_samples_have_the_covariance(sizes):
    """Of 50,000: an entry's standard error is sqrt((C_ii C_jj + C_ij^2) / n); 49 of them within 4.5 fail with 3e-4."""
    w = Gaussian(sizes).draw(generator(0))
    assert isinstance(w, World)
    assert w.views == dict(zip("uv", sizes, strict=True))
    batch = w.sample(50_000, generator(1))
    x = torch.cat([batch.views["u"], batch.views["v"]], dim=1).double()
    assert batch.views["u"].dtype == torch.float32
    c, variances = w.covariance, w.covariance.diagonal()
    error = ((torch.outer(variances, variances) + c**2) / len(x)).sqrt()
    assert float(((x.mT @ x / len(x) - c) / error).abs().max()) < 4.5
    assert float((x.mean(dim=0) / (variances / len(x)).sqrt()).abs().max()) < 4.5
    assert all(torch.equal(batch.factors[name], view) for name, view in batch.views.items())


@pytest.mark.parametrize("seed", range(5))
def test_a_drawn_law_has_no_larger_correlation_than_it_may(seed):
    for largest in (0.0, 0.3, 0.95):
        w = Gaussian([5, 3], max_correlation=largest).draw(generator(seed))
        found = GaussianPair(w.covariance, 5).canonical.correlations
        assert float(found.max()) <= largest + 1e-9
        assert largest == 0 or float(found.max()) > 0.05 * largest  # all below has probability 1e-4


def test_a_given_law_is_that_and_restores():
    model = Gaussian([1, 1], TWO)
    w = model.draw(generator(0))
    assert w.covariance.tolist() == TWO
    again = model.restore(w.state_dict())
    assert torch.equal(again.sample(9, generator(3)).views["v"], w.sample(9, generator(3)).views["v"])
    w.state_dict()["covariance"].zero_()
    assert w.covariance.tolist() == TWO


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sizes": [2]}, r"sizes=\[2\]: must be two whole numbers >= 1"),
        ({"sizes": [2, 0]}, "two whole numbers"),
        ({"max_correlation": 1.0}, r"max_correlation=1\.0: must be in \[0, 1\)"),
        ({"covariance": [[1.0, 0.0]]}, r"2 rows of 2 numbers, as sizes=\[1, 1\]"),
        ({"covariance": [[1.0, 0.5], [0.2, 1.0]]}, "finite and symmetric"),
        ({"covariance": [[1.0, 0.500001], [0.5, 1.0]]}, "finite and symmetric"),
        ({"covariance": [[1.0, 1 - 1e-13], [1 - 1e-13, 1.0]]}, "canonical correlations below 1"),
        ({"covariance": [[1.0, 0.0], [0.0, 0.0]]}, "positive definite"),
        ({"covariance": [[1.0, math.nan], [math.nan, 1.0]]}, "finite and symmetric"),
        ({"covariance": [[1.0, 1.0], [1.0, 1.0]]}, "canonical correlations below 1"),
        ({"covariance": [[1.0, 2.0], [2.0, 1.0]]}, "positive definite"),
    ],
)
def test_what_is_no_law_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Gaussian(**values)


def test_a_state_of_another_size_is_refused():
    state = Gaussian([2, 2]).draw(generator(0)).state_dict()
    with pytest.raises(ValueError, match="covariance"):
        Gaussian([2, 3]).restore(state)
    with pytest.raises(ValueError, match=r"intervention"):
        Gaussian().draw(generator(0)).sample(3, generator(0), "permute_content")


def test_the_random_field_is_that_of_the_paper():
    """Canonical correlations and errors of the optimum of rank r: our notes on Section 6.1, to all their digits."""
    w = RandomField().draw(generator(0))
    assert w.views == {"u": 12, "v": 5}
    pair = GaussianPair(w.covariance, 12)
    assert pair.canonical.correlations.tolist() == pytest.approx(
        [0.9674, 0.8299, 0.5889, 0.3920, 0.2656], abs=6e-5
    )
    expected = [(0.00752, 1.260), (0.00197, 0.571), (0.00064, 0.224), (0.00019, 0.0706), (0.0, 0.0)]
    for rank, errors in enumerate(expected, 1):
        tilt = conditional_optimum(pair, rank, Tilting.inner_product).tilt
        for found, noted, digits in zip(tilt.mean_errors(pair), errors, (6e-6, 6e-4), strict=True):
            assert float(found) == pytest.approx(noted, abs=digits)


def test_the_random_field_is_its_sum_of_modes():
    """Simulated mode by mode. A covariance is within 4.5 standard errors: 25 of them fail with probability 2e-4."""
    model = RandomField(points=3, coefficients=2, modes=6, noise=0.2)
    n, g = 40_000, generator(5)
    xi = torch.randn(n, 6, generator=g, dtype=torch.float64)
    u = 0.2 * torch.randn(n, 3, generator=g, dtype=torch.float64)
    for i, x in enumerate((0.0, 0.5, 1.0)):
        for j in range(1, 7):
            scale = ((j * math.pi) ** 2 + 9) ** -1.0
            u[:, i] += scale * math.sqrt(2) * math.cos(j * math.pi * x) * xi[:, j - 1]
    both = torch.cat([u, xi[:, :2]], dim=1)
    c = model.draw(generator(0)).covariance
    error = ((torch.outer(c.diagonal(), c.diagonal()) + c**2) / n).sqrt()
    assert float(((both.mT @ both / n - c) / error).abs().max()) < 4.5


@pytest.mark.parametrize(
    "values",
    [{"points": 1}, {"coefficients": 0}, {"modes": 4}, {"noise": 0.0}, {"tau": -1.0}, {"alpha": math.inf}],
)
def test_what_is_no_field_is_refused(values):
    (name,) = values
    with pytest.raises(ValueError, match="coefficients=5" if name == "modes" else rf"{name}="):
        RandomField(**values)
