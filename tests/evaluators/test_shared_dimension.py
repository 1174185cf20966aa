"""The shared dimension against populations in which it is known."""

from __future__ import annotations

import math

import pytest
import torch

from mmcl.evaluators import Representations, SharedDimension
from mmcl.evaluators.shared_dimension import held_out_correlations, two_nearest_neighbours


def normals(n, k, seed):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_a_gaussian_in_a_larger_space_has_its_own_dimension(dim):
    """The estimate's relative standard error is 1/sqrt(N); curvature of the density adds to it: 10 % at N = 2,000."""
    z = normals(2000, dim, 0) @ normals(dim, 6, 1)
    assert two_nearest_neighbours(z) == pytest.approx(dim, rel=0.1)
    # Distances and so the estimate do not change when the space is turned, moved and scaled.
    turned = 3 * z @ torch.linalg.qr(normals(6, 6, 2)).Q + 5
    assert two_nearest_neighbours(turned) == pytest.approx(two_nearest_neighbours(z), rel=1e-6)


def test_the_nearest_neighbours_are_those_of_a_loop():
    z = normals(40, 2, 3)
    logs = []
    for i in range(40):
        near = sorted(math.dist(z[i].tolist(), z[j].tolist()) for j in range(40) if j != i)
        logs.append(math.log(near[1] / near[0]))
    assert two_nearest_neighbours(z) == pytest.approx(40 / sum(logs))
    assert two_nearest_neighbours(torch.cat([z, z[:5]])) == pytest.approx(40 / sum(logs))


def test_too_few_samples_that_differ_are_refused():
    with pytest.raises(ValueError, match="2 different encoding"):
        two_nearest_neighbours(torch.tensor([[0.0], [1.0], [1.0]]))


def test_held_out_correlations_are_the_populations():
    """b = a + noise of variance 1/4 and 4 in two directions: 0.894 and 0.447; independent columns: 0."""
    a, noise = normals(20000, 3, 4), normals(20000, 3, 5)
    b = torch.cat([a[:, :1] + 0.5 * noise[:, :1], a[:, 1:2] + 2 * noise[:, 1:2], noise[:, 2:]], 1)
    mix = normals(3, 3, 6)
    found = held_out_correlations((a[:10000] @ mix, b[:10000]), (a[10000:] @ mix, b[10000:]))
    # Four standard errors of a correlation of 10,000 samples are 0.04 at most.
    assert found == pytest.approx([1 / 1.25**0.5, 1 / 5**0.5, 0.0], abs=0.04)


def test_independent_sides_have_no_held_out_correlation_where_the_fitted_one_is_large():
    a, b = normals(40, 5, 7), normals(40, 5, 8)
    c, d = normals(4000, 5, 9), normals(4000, 5, 10)
    assert held_out_correlations((a, b), (a, b))[0] > 0.5
    assert max(held_out_correlations((a, b), (c, d))) < 4 / 4000**0.5


def test_rows_of_three_modalities_and_of_one():
    shared = normals(3000, 2, 11)
    z = {
        name: torch.cat([shared @ normals(2, 2, i), 0.01 * normals(3000, 1, 20 + i)], 1)
        for i, name in enumerate(("x1", "x2", "x3"))
    }
    fit, test = (
        Representations({k: v[part] for k, v in z.items()}, {}) for part in (slice(1500), slice(1500, None))
    )
    rows = SharedDimension(n_fit=1500, n_test=1500).evaluate(fit, test)
    found = {(r.representation, r.target): r for r in rows}
    for name in z:
        assert [found[name, f"shared_cc{i}"].value > 0.9 for i in (1, 2, 3)] == [True, True, False]
        assert found[name, "shared_cc1"].metric == "canonical_correlation"
        assert 1.5 < found[name, "encoding"].value < 3.2
    alone = Representations({"x1": z["x1"][:100]}, {})
    assert [r.metric for r in SharedDimension().evaluate(alone, alone)] == ["intrinsic_dimension"]
