"""Rank correlations against SciPy's, and their intervals against the normal ones."""

import math

import numpy as np
import pytest
from scipy import stats

from mmcl.reports.ranks import rank_correlation, rank_interval


@pytest.mark.parametrize("seed", range(5))
def test_it_is_scipys_with_ties_too(seed):
    x, y = np.random.default_rng(seed).integers(0, 6, (2, 15))
    assert rank_correlation(list(x), list(y)) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_only_ranks_matter():
    x, y = np.random.default_rng(0).normal(size=(2, 12))
    whole, interval = rank_correlation(x, y), rank_interval(x, y)
    assert rank_correlation(np.exp(x), y**3) == whole
    assert rank_correlation(x, x) == 1
    assert rank_correlation(x, -x) == -1
    assert rank_interval(x, x) == (1, 1)
    order = np.random.default_rng(1).permutation(12)
    assert rank_interval(x[order], y[order]) == interval


def test_the_interval_is_the_normal_one_for_many_pairs():
    """Fisher's z of Spearman's rho has a standard error near 1.03 / sqrt(n - 3) for normal pairs (Fieller, 1957)."""
    g = np.random.default_rng(2)
    x = g.normal(size=400)
    y = 0.5 * x + g.normal(size=400)
    middle, width = math.atanh(rank_correlation(x, y)), 1.96 * 1.03 / math.sqrt(397)
    low, high = rank_interval(x, y)
    assert math.atanh(low) == pytest.approx(middle - width, abs=0.2 * width)
    assert math.atanh(high) == pytest.approx(middle + width, abs=0.2 * width)


def test_what_has_no_ranks_is_not_a_number():
    assert math.isnan(rank_correlation([], []))
    assert math.isnan(rank_correlation([1.0], [2.0]))
    assert math.isnan(rank_correlation([1.0, 1.0], [2.0, 3.0]))
    for pairs in (([], []), ([1.0], [2.0]), ([1.0, 1.0], [2.0, 3.0])):
        assert all(map(math.isnan, rank_interval(*pairs)))
    # Resamplings without a correlation are left out.
    assert rank_interval([1.0, 2.0], [3.0, 4.0]) == (1, 1)
