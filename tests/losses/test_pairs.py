"""Log-sum-exps in tiles: whatever the tile, the same numbers, and never a matrix of all pairs."""

import itertools
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmcl.losses import Contrastive, Negatives, Similarity, contrastive_pair, pairwise_similarity
from mmcl.losses.pairs import logsumexps
from mmcl.records.keys import run_key


def rows_of(seed, n, width=3, dtype=torch.float64, scale=1.0):
    g = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, width, generator=g, dtype=dtype)


def plain(a, b, similarity, *, temperature, lp_exponent, skip_diagonal):
    s = pairwise_similarity(a, b, similarity, lp_exponent=lp_exponent) / temperature
    if skip_diagonal:
        s = s.masked_fill(torch.eye(len(a), dtype=torch.bool), -math.inf)
    return s.logsumexp(dim=1), s.logsumexp(dim=0)


@pytest.mark.parametrize("similarity", Similarity)
@pytest.mark.parametrize("tile", [1, 2, 3, 7, 50, None])
@pytest.mark.parametrize("one_exponential", [True, False])
@pytest.mark.parametrize(
    ("n", "m", "skip_diagonal"), [(7, 7, True), (7, 7, False), (7, 4, False), (3, 10, False)]
)
def test_values_and_gradients_are_those_of_the_whole_matrix(
    similarity, tile, one_exponential, n, m, skip_diagonal
):
    for both, p in itertools.product((True, False), (0.5, 1.0, 3.0)):
        if p != 3.0 and similarity is not Similarity.negative_lp:
            continue
        a, b = rows_of(0, n).requires_grad_(), rows_of(1, m).requires_grad_()
        tau = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
        options = {"temperature": tau, "lp_exponent": p, "skip_diagonal": skip_diagonal}
        found = logsumexps(a, b, similarity, both=both, tile=tile, one_exponential=one_exponential, **options)
        expected = plain(a, b, similarity, **options)
        if not both:
            assert torch.equal(found[1], torch.zeros(m, dtype=torch.float64))
            found, expected = found[:1], expected[:1]
        weights = [rows_of(2 + i, len(e), 1).flatten() for i, e in enumerate(expected)]
        for f, e in zip(found, expected, strict=True):
            torch.testing.assert_close(f, e, rtol=1e-10, atol=1e-10)
        got, want = (
            torch.autograd.grad(sum((w * x).sum() for w, x in zip(weights, values, strict=True)), [a, b, tau])
            for values in (found, expected)
        )
        for g, w in zip(got, want, strict=True):
            torch.testing.assert_close(g, w, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("same", [False, True])
def test_one_matrix_may_stand_on_both_sides(same):
    a = rows_of(0, 6).requires_grad_()
    b = a if same else a.detach().clone().requires_grad_()
    options = {"temperature": 1.0, "lp_exponent": 2.0, "skip_diagonal": True}
    found = logsumexps(a, b, Similarity.negative_squared_euclidean, both=False, tile=4, **options)[0]
    expected = plain(a, b, Similarity.negative_squared_euclidean, **options)[0]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found.square().sum(), a, retain_graph=True),
        torch.autograd.grad(expected.square().sum(), a, retain_graph=True),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0, 1e3])
@pytest.mark.parametrize("outlier", [0.0, 1e4])
@pytest.mark.parametrize("tile", [2, 3, 4, None])
@pytest.mark.parametrize("one_exponential", [True, False])
def test_columns_far_below_their_rows_are_not_lost(dtype, scale, outlier, tile, one_exponential):
    a, b = rows_of(0, 9, dtype=dtype, scale=scale), rows_of(1, 9, dtype=dtype, scale=scale)
    b[4] += outlier
    a, b = a.requires_grad_(), b.requires_grad_()
    truth = [x.detach().double().requires_grad_() for x in (a, b)]
    options = {"temperature": 1.0, "lp_exponent": 2.0, "skip_diagonal": True}
    kind = Similarity.negative_squared_euclidean
    found = logsumexps(a, b, kind, both=True, tile=tile, one_exponential=one_exponential, **options)
    expected = plain(*truth, kind, **options)
    # A logit of float32 is as wrong as its last bit: the tolerance is that of the squared distances.
    largest = max(float(e.detach().abs().max()) for e in expected)
    size = 1e-10 if dtype == torch.float64 else 1e-6
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f.double(), e, rtol=size, atol=size * largest)
    if dtype == torch.float64:
        for g, w in zip(
            torch.autograd.grad(sum(f.sum() for f in found), [a, b]),
            torch.autograd.grad(sum(e.sum() for e in expected), truth),
            strict=True,
        ):
            torch.testing.assert_close(g, w, rtol=1e-7, atol=1e-9 * scale)


class LargestTensor(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation makes."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor):
                self.elements = max(self.elements, x.numel())
        return out


@pytest.mark.parametrize("negatives", Negatives)
@pytest.mark.parametrize("similarity", Similarity)
def test_no_tensor_grows_with_the_square_of_the_batch(similarity, negatives):
    tile, width = 16, 3
    largest = {}
    for n in (64, 256):
        inputs = [rows_of(i, n, width, torch.float32).requires_grad_() for i in range(4)]
        with LargestTensor() as seen:
            contrastive_pair(
                *inputs, similarity=similarity, negatives=negatives, tile=tile, temperature=0.5
            ).backward()
        largest[n] = seen.elements
    in_a_tile = tile * tile * (width if similarity is Similarity.negative_lp else 1)
    assert largest[256] <= max(in_a_tile, 2 * 256 * (width + 2))
    with LargestTensor() as seen:  # the instrument sees a matrix of all pairs where there is one
        contrastive_pair(*inputs, similarity=similarity, negatives=negatives, tile=256).backward()
    assert seen.elements >= 256**2


@pytest.mark.parametrize("negatives", Negatives)
@pytest.mark.parametrize("similarity", Similarity)
def test_a_loss_in_float32_does_not_depend_on_its_tile(similarity, negatives):
    inputs = [rows_of(i, 150, 5, torch.float32).requires_grad_() for i in range(4)]
    results = []
    for tile in (64, 150, None):
        loss = contrastive_pair(*inputs, similarity=similarity, negatives=negatives, tile=tile)
        used = inputs if negatives is Negatives.within_fresh else inputs[:2]
        results.append((loss, torch.autograd.grad(loss, used)))
    for loss, gradients in results[1:]:
        torch.testing.assert_close(loss, results[0][0], rtol=1e-5, atol=1e-5)
        for g, w in zip(gradients, results[0][1], strict=True):
            torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-6)


def test_a_tile_is_not_part_of_what_a_run_is():
    def config(tile):
        return {"seed": 1, "loss": {"_target_": "mmcl.losses.Contrastive", "tile": tile}}

    assert run_key(config(None)) == run_key(config(256))


@pytest.mark.parametrize("tile", [0, -3])
def test_a_tile_without_rows_is_refused(tile):
    with pytest.raises(ValueError, match=f"^tile={tile}: "):
        Contrastive(tile=tile)
    with pytest.raises(ValueError, match=f"^tile={tile}: "):
        contrastive_pair(rows_of(0, 4), rows_of(1, 4), tile=tile)


@pytest.mark.parametrize("tile", [4, None])
@pytest.mark.parametrize("one_exponential", [True, False])
def test_gradients_in_float32_where_logits_are_far_apart(tile, one_exponential):
    # Whole numbers, so that float32 holds every logit exactly and only the sums can be wrong.
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randint(-9, 10, (11, 2), generator=g).float() for _ in range(2))
    b[4] += 40
    truth = [x.double().requires_grad_() for x in (a, b)]
    a, b = a.requires_grad_(), b.requires_grad_()
    kind, options = Similarity.inner_product, {"temperature": 1.0, "lp_exponent": 2.0, "skip_diagonal": True}
    found = logsumexps(a, b, kind, both=True, tile=tile, one_exponential=one_exponential, **options)
    expected = plain(*truth, kind, **options)
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f.double(), e, rtol=1e-6, atol=1e-6)
    for got, want in zip(
        torch.autograd.grad(sum(f.sum() for f in found), [a, b]),
        torch.autograd.grad(sum(e.sum() for e in expected), truth),
        strict=True,
    ):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-4)


def test_small_exponents_and_temperatures_do_not_overflow():
    h1, h2 = rows_of(0, 6, dtype=torch.float32), rows_of(1, 6, dtype=torch.float32)
    options = {"similarity": Similarity.negative_lp, "lp_exponent": 0.05, "temperature": 0.01}
    exact = contrastive_pair(h1.double(), h2.double(), **options)
    torch.testing.assert_close(contrastive_pair(h1, h2, **options).double(), exact, rtol=1e-4, atol=1e-4)


def test_reduced_products_of_the_process_do_not_reach_the_logits():
    h1, h2 = (rows_of(i, 40, dtype=torch.float32, scale=5.0) for i in range(2))
    full = contrastive_pair(h1, h2)
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.equal(contrastive_pair(h1, h2), full)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
