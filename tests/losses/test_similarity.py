from __future__ import annotations

import pytest
import torch

from mmcl.losses import Similarity, paired_similarity, pairwise_similarity
from tests.losses.naive import similarity_of

KINDS = [(kind, p) for kind in Similarity for p in ((0.5, 1.0, 2.0, 3.0) if "lp" in kind.name else (2.0,))]


@pytest.mark.parametrize(("kind", "p"), KINDS)
def test_all_pairs_and_paired_rows_equal_plain_loops_and_pass_gradcheck(kind, p):
    g = torch.Generator().manual_seed(0)
    a = torch.randn(4, 3, generator=g, dtype=torch.float64, requires_grad=True)
    b = torch.randn(4, 3, generator=g, dtype=torch.float64, requires_grad=True)
    pairs = pairwise_similarity(a[:3], b, kind, lp_exponent=p)
    expected = torch.stack([torch.stack([similarity_of(r, c, kind, p) for c in b]) for r in a[:3]])
    torch.testing.assert_close(pairs, expected)
    rows = paired_similarity(a, b, kind, lp_exponent=p)
    torch.testing.assert_close(
        rows, torch.stack([similarity_of(r, c, kind, p) for r, c in zip(a, b, strict=True)])
    )
    assert torch.autograd.gradcheck(lambda x, y: pairwise_similarity(x, y, kind, lp_exponent=p), (a, b))
    assert torch.autograd.gradcheck(lambda x, y: paired_similarity(x, y, kind, lp_exponent=p), (a, b))


def test_an_odd_power_is_a_distance_in_both_directions():
    a, b = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, -1.0]])
    for x, y in ((a, b), (b, a)):
        assert pairwise_similarity(x, y, Similarity.negative_lp, lp_exponent=3.0).item() == -9.0
        assert paired_similarity(x, y, Similarity.negative_lp, lp_exponent=3.0).item() == -9.0


def test_squared_distances_survive_a_large_offset():
    # Without removing the mean, ||a||^2 is 5e8 here and its float32 rounding is 32: all of the answer.
    g = torch.Generator().manual_seed(1)
    a, b = (1e4 + torch.randn(50, 5, generator=g) for _ in range(2))
    truth = -torch.cdist(a.double(), b.double()).square()
    found = pairwise_similarity(a, b, Similarity.negative_squared_euclidean)
    torch.testing.assert_close(found.double(), truth, rtol=1e-5, atol=1e-5)
    assert found.max() <= 0


def test_squared_distances_are_never_positive():
    rows = torch.randn(64, 5, generator=torch.Generator().manual_seed(2))
    assert pairwise_similarity(rows, rows, Similarity.negative_squared_euclidean).max() <= 0


@pytest.mark.parametrize(("kind", "p"), KINDS)
def test_zero_and_identical_rows_have_finite_gradients(kind, p):
    a = torch.zeros(3, 2, requires_grad=True)
    b = torch.tensor([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    total = (
        pairwise_similarity(a, b, kind, lp_exponent=p).sum()
        + paired_similarity(a, b, kind, lp_exponent=p).sum()
    )
    total.backward()
    assert torch.isfinite(total)
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()
