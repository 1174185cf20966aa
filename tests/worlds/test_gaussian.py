"""Two Gaussian vectors: their law, what is given and what is drawn, and what is refused."""

import math

import pytest
import torch

from mmcl.theory import GaussianPair
from mmcl.worlds import Gaussian, World

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
