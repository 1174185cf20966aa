"""The law of the covariances, and the numbers that stand for classes."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from mmcl.worlds import ClassValues, class_table, wishart_cholesky


def test_bartlett_factor_has_the_wishart_law() -> None:
    # Five moments and one distribution at seeded draws; each bound fails by chance with probability < 1e-6.
    size, count = 4, 4000
    generator = torch.Generator().manual_seed(0)
    factors = torch.stack([wishart_cholesky(size, generator) for _ in range(count)])
    assert torch.equal(factors, factors.tril())
    assert bool((factors.diagonal(dim1=1, dim2=2) > 0).all())
    draws = factors @ factors.mT
    variance = size * (torch.ones(size, size) + torch.eye(size))  # of W_ij, df = size and scale I
    errors = (draws.mean(0) - size * torch.eye(size)) / (variance / count).sqrt()
    assert errors.abs().max() < 5.5
    for i in range(size):
        assert stats.kstest(draws[:, i, i].numpy(), stats.chi2(size).cdf).pvalue > 1e-6
    reference = stats.wishart(df=size, scale=torch.eye(size).numpy()).rvs(count, random_state=1)
    logdets = torch.linalg.slogdet(torch.from_numpy(reference)).logabsdet
    assert stats.ks_2samp(2 * factors.diagonal(dim1=1, dim2=2).log().sum(1), logdets).pvalue > 1e-6


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_scaled_classes_are_evenly_spaced_with_zero_mean_and_unit_variance(classes: int) -> None:
    values = class_table(classes, ClassValues.scaled).flatten().double()
    assert values.mean().abs() < 1e-6
    assert abs(float(values.var(unbiased=False)) - 1) < 1e-6
    assert torch.allclose(values.diff(), values.diff()[:1], atol=1e-6)
    assert float(values.diff()[0]) > 0


def test_index_and_one_hot_classes() -> None:
    assert class_table(3, ClassValues.index).tolist() == [[0.0], [1.0], [2.0]]
    assert class_table(3, ClassValues.one_hot).tolist() == torch.eye(3).tolist()
    with pytest.raises(ValueError, match="classes=1"):
        class_table(1, ClassValues.scaled)
