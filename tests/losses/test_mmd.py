"""The squared discrepancy: loops, what minimises it, and a batch on several processes."""

import doctest

import pytest
import torch

from mmcl.losses import MMD, Normaliser, Similarity, gaussian_kernel, mmd, mmd_loss
from mmcl.losses.similarity import pairwise_similarity


def generator(seed):
    return torch.Generator().manual_seed(seed)


def kernels(n, seed=0):
    g = generator(seed)
    return [gaussian_kernel(torch.randn(n, d, generator=g, dtype=torch.float64), 1.3) for d in (2, 3)]


def test_doctest():
    assert doctest.testmod(mmd, extraglobs={"torch": torch}).failed == 0


def conditional_by_loops(s, ku, kv, wv, wu):
    n = len(s)
    total = 0.0
    for j in range(n):
        p = torch.softmax(s[:, j], dim=0)
        q = torch.softmax(s[j], dim=0)
        for shares, k, w in ((p, ku, wu), (q, kv, wv)):
            within = sum(shares[a] * shares[b] * k[a, b] for a in range(n) for b in range(n))
            across = sum(shares[a] * k[a, j] for a in range(n))
            total = total + w * (0.5 * within - across) / n
    return total


def joint_by_loops(s, ku, kv):
    n = len(s)
    z = s.exp().sum()
    cells = [(i, j, s[i, j].exp() / z) for i in range(n) for j in range(n)]
    within = sum(r * q * ku[i, k] * kv[j, m] for i, j, r in cells for k, m, q in cells)
    across = sum(r * ku[i, k] * kv[j, k] / n for i, j, r in cells for k in range(n))
    return within - 2 * across


@pytest.mark.parametrize("weights", [(1.0, 1.0), (2.0, 0.0), (0.0, 2.0), (0.5, 1.2)])
def test_the_conditional_loss_and_its_gradient_by_loops(weights):
    s = torch.randn(6, 6, generator=generator(1), dtype=torch.float64).requires_grad_()
    ku, kv = kernels(6)
    ours = mmd_loss(s, ku, kv, weight_second_given_first=weights[0], weight_first_given_second=weights[1])
    theirs = conditional_by_loops(s, ku, kv, *weights)
    assert torch.allclose(ours, theirs, atol=1e-12)
    assert torch.allclose(*(torch.autograd.grad(x, s)[0] for x in (ours, theirs)), atol=1e-12)


def test_the_joint_loss_and_its_gradient_by_loops():
    s = torch.randn(4, 4, generator=generator(1), dtype=torch.float64).requires_grad_()
    ku, kv = kernels(4)
    ours, theirs = mmd_loss(s, ku, kv, normaliser=Normaliser.joint), joint_by_loops(s, ku, kv)
    assert torch.allclose(ours, theirs, atol=1e-12)
    assert torch.allclose(*(torch.autograd.grad(x, s)[0] for x in (ours, theirs)), atol=1e-12)


@pytest.mark.parametrize("normaliser", list(Normaliser))
def test_the_datas_law_minimises_it(normaliser):
    """A batch that holds each pair of a discrete law as often as it is likely: any other model's loss is larger.

    The law is on 2 x 3 values with all 12 pairs as its counts; a model that is a function of the values has one number
    for each cell. At ``log p(u, v) / (p(u) p(v))`` the gradient is 0, and 200 other models are worse: this is the sign.
    """
    counts = torch.tensor([[4, 1, 1], [1, 2, 3]])
    u, v = (
        x.repeat_interleave(counts.flatten())
        for x in (torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 2] * 2))
    )
    p = counts.double() / 12
    truth = (p / p.sum(1, keepdim=True) / p.sum(0)).log()
    ku = gaussian_kernel(torch.eye(2, dtype=torch.float64)[u], 1.0)
    kv = gaussian_kernel(torch.eye(3, dtype=torch.float64)[v], 1.0)

    def loss(cells):
        return mmd_loss(cells[u][:, v], ku, kv, normaliser=normaliser)

    at = truth.clone().requires_grad_()
    least = loss(at)
    assert float(torch.autograd.grad(least, at)[0].abs().max()) < 1e-12
    g = generator(2)
    for _ in range(200):
        other = truth + torch.randn(2, 3, generator=g, dtype=torch.float64)
        assert float(loss(other)) >= float(least.detach()) - 1e-12


def test_the_module_is_the_function():
    g = generator(3)
    z = {"u": torch.randn(8, 3, generator=g), "v": torch.randn(8, 3, generator=g)}
    views = {
        "u": torch.randn(8, 5, generator=g),
        "v": torch.randint(0, 256, (8, 1, 2, 2), generator=g).to(torch.uint8),
    }
    found = MMD(similarity="cosine", temperature=0.5, bandwidths={"u": 2.0}).build()(z, views)
    s = pairwise_similarity(z["u"], z["v"], Similarity.cosine) / 0.5
    assert torch.equal(found, mmd_loss(s, gaussian_kernel(views["u"], 2.0), gaussian_kernel(views["v"])))


def test_equal_rows_are_not_apart_by_rounding():
    """Of 256 rows three quarters are one vector: the median is that of real distances, and equal rows have kernel 1."""
    vectors = torch.randn(8, 64, generator=generator(4))
    which = torch.cat([torch.zeros(192), torch.arange(64) % 8]).long()
    k = gaussian_kernel(vectors[which])
    alike = which[:, None] == which
    assert torch.equal(k[alike], torch.ones(int(alike.sum())))
    assert 0.2 < float(k[~alike].median()) < 0.8


def test_the_median_decides_the_bandwidth():
    x = torch.tensor([[0.0], [1.0], [3.0]])  # squared distances 1, 4, 9
    assert torch.allclose(gaussian_kernel(x), gaussian_kernel(x, 2.0**0.5))
    assert torch.equal(gaussian_kernel(torch.ones(3, 2)), torch.ones(3, 3))


def test_what_does_not_fit_is_refused():
    z = {name: torch.randn(4, 2) for name in ("a", "b", "c")}
    with pytest.raises(ValueError, match=r"encodings=\['a', 'b', 'c'\]: must be two"):
        MMD().build()(z, z)
    z.pop("c")
    with pytest.raises(ValueError, match=r"loss\.bandwidths='x': must be views of the data: a, b"):
        MMD(bandwidths={"x": 1.0}).build()(z, z)
    with pytest.raises(ValueError, match=r"bandwidths\.a=0\.0"):
        MMD(bandwidths={"a": 0.0})
    with pytest.raises(ValueError, match="temperature"):
        MMD(temperature=0.0)
