"""Weighted atoms: loops, Gaussian laws whose answers are known, and encodings that say nothing or everything."""

import doctest
import math

import pytest
import torch

from mmcl.evaluators import Generation, Representations, generation
from mmcl.evaluators.generation import coverage
from mmcl.evaluators.retrieval import SIMILARITIES
from mmcl.theory import GaussianPair, Tilting, conditional_optimum


def generator(seed):
    return torch.Generator().manual_seed(seed)


def rows_of(evaluator, samples):
    found = evaluator.evaluate(samples, samples)
    keyed = {(r.representation, r.target, r.metric): r for r in found}
    assert len(keyed) == len(found)
    return keyed


def test_doctest():
    assert doctest.testmod(generation, extraglobs={"torch": torch}).failed == 0


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_by_loops(similarity):
    n, tau, draws = 9, 0.7, 4
    g = generator(0)
    z = {name: torch.randn(n, 3, generator=g, dtype=torch.float64) for name in ("a", "b")}
    y = torch.randn(n, 2, generator=g, dtype=torch.float64)
    classes = torch.randint(3, (n, 1), generator=g)
    found = rows_of(
        Generation(n, draws, 0.5, similarity, tau, lp_exponent=0.7),
        Representations(z, {"y": y, "class": classes}),
    )

    def sim(q, a):
        if similarity == "cosine":
            return float(q @ a / q.norm() / a.norm())
        if similarity == "negative_lp":
            return -float((q - a).abs().pow(0.7).sum())
        return float(q @ a) if similarity == "inner_product" else -float((q - a) @ (q - a))

    size = distinct = purity = error = inside = count = 0.0
    for k in range(n):
        raw = [math.exp(sim(z["a"][k], z["b"][j]) / tau) for j in range(n)]
        w = [x / sum(raw) for x in raw]
        size += 1 / sum(x * x for x in w) / n
        distinct += sum(1 - (1 - x) ** draws for x in w) / n
        rest = [0.0 if j == k else x / (1 - w[k]) for j, x in enumerate(w)]
        purity += sum(x for x, c in zip(rest, classes[:, 0], strict=True) if c == classes[k, 0]) / n
        for i in range(2):
            mean = sum(x * float(y[j, i]) for j, x in enumerate(rest))
            error += (mean - float(y[k, i])) ** 2 / float(y[:, i].var(correction=0))
            below = sum(x for j, x in enumerate(w) if y[j, i] < y[k, i])
            inside += max(0, min(0.75, below + w[k]) - max(0.25, below)) / w[k] / 2 / n
        shares = [sum(x for x, c in zip(rest, classes[:, 0], strict=True) if c == k) for k in range(3)]
        count += 1 / sum(p * p for p in shares) / n
    assert found["a>b", "b", "effective_sample_size"].value == pytest.approx(size, rel=1e-9)
    assert found["a>b", "b", "distinct_of_4"].value == pytest.approx(distinct, rel=1e-9)
    assert found["a>b", "class", "purity"].value == pytest.approx(purity, rel=1e-9)
    assert found["a>b", "y", "r2"].value == pytest.approx(1 - error / 2 / n, rel=1e-9)
    assert found["a>b", "y", "coverage_50"].value == pytest.approx(inside, abs=1e-12)
    assert found["a>b", "class", "effective_classes"].value == pytest.approx(count, rel=1e-9)
    # A class of m samples has m - 1 of n - 1 others for its own, and its share of all others.
    m = [int((classes == k).sum()) for k in range(3)]
    alike = sum(x / n * (x - 1) / (n - 1) for x in m)
    assert found["b>a", "class", "purity"].chance == pytest.approx(alike, rel=1e-6)
    counts = [1 / sum(((x - (c == k)) / (n - 1)) ** 2 for k, x in enumerate(m)) for c in range(3)]
    assert found["b>a", "class", "effective_classes"].chance == pytest.approx(
        sum(x / n * count for x, count in zip(m, counts, strict=True)), rel=1e-6
    )
    assert found["b>a", "y", "r2"].chance == pytest.approx(1 - (n / (n - 1)) ** 2, rel=1e-9)
    assert found["b>a", "a", "effective_sample_size"].chance == n


def test_constant_encodings_are_chance_and_copies_at_low_temperature_the_sample_itself():
    n = 200
    classes = torch.arange(n)[:, None] % 4
    y = torch.linspace(-1, 1, n)[:, None]
    constant = {name: torch.ones(n, 2) for name in ("a", "b")}
    for row in Generation(n).evaluate(
        Representations(constant, {"y": y, "class": classes}),
        Representations(constant, {"y": y, "class": classes}),
    ):
        assert row.value == pytest.approx(row.chance, abs=1e-9)
    copies = {name: torch.arange(n)[:, None].float() for name in ("a", "b")}
    evaluator = Generation(n, similarity="negative_squared_euclidean", temperature=1e-3)
    found = rows_of(evaluator, Representations(copies, {"y": y, "class": classes}))
    assert found["a>b", "b", "effective_sample_size"].value == pytest.approx(1)
    assert found["a>b", "b", "distinct_of_16"].value == pytest.approx(1)
    # The query's own value is left out: its neighbours, of other classes, are a 200th of the range away.
    assert found["a>b", "class", "purity"].value == pytest.approx(0)
    assert found["a>b", "class", "effective_classes"].value == pytest.approx(2, abs=0.02)
    assert 1 - 1e-3 < found["a>b", "y", "r2"].value < 1
    assert found["a>b", "y", "coverage_90"].value == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("tilting", "weights", "covered"),
    [(Tilting.squared_distance, (2.0, 0.0), 0.9), (Tilting.inner_product, (1.0, 1.0), 0.9727)],
)
def test_gaussian_optima_have_the_true_mean_and_the_spread_that_the_theory_says(tilting, weights, covered):
    """u given v in two dimensions of correlation 2/3: R2 is 4/9.

    One-sided with the squared distance nu's conditional is mu's: 90 % are covered. With the inner product its variance
    is u's, 1.5 instead of 5/6: 2 Phi(1.645 sqrt(1.8)) - 1 = 97.27 %.

    4,000 queries and atoms: standard errors 0.012 and at most 0.005, four of which are allowed.
    """
    pair = GaussianPair(torch.tensor([[1.5, 1.0], [1.0, 1.5]]), 1)
    tilt = conditional_optimum(pair, 1, tilting, *weights).tilt
    x = (
        torch.randn(4000, 2, generator=generator(2), dtype=torch.float64)
        @ torch.linalg.cholesky(pair.covariance).mT
    )
    u, v = x.split(1, dim=1)
    if tilting is Tilting.inner_product:
        z = {"u": u, "v": tilt.a * v}
        evaluator = Generation(4000, similarity="inner_product")
    else:
        z = {"u": tilt.b.sqrt() * u, "v": tilt.c.sqrt() * v}
        evaluator = Generation(4000, similarity="negative_squared_euclidean", temperature=2.0)
    found = rows_of(evaluator, Representations(z, {"u": u}))
    assert found["v>u", "u", "r2"].value == pytest.approx(4 / 9, abs=0.048)
    assert found["v>u", "u", "coverage_90"].value == pytest.approx(covered, abs=0.02)


def test_coverage_is_the_share_of_what_is_on_the_truth_that_lies_in_the_interval():
    weights = torch.tensor([[0.2, 0.3, 0.5]])
    values = torch.tensor([[1.0], [2.0], [2.0]])
    for truth, start, end in (
        (0.5, 0.0, 0.0),
        (1.0, 0.0, 0.2),
        (1.5, 0.2, 0.2),
        (2.0, 0.2, 1.0),
        (3.0, 1.0, 1.0),
    ):
        for level in (0.1, 0.3, 0.5, 0.7, 0.9):
            low, high = (1 - level) / 2, (1 + level) / 2
            expected = float(low <= start <= high)
            if end > start:
                expected = max(0.0, min(end, high) - max(start, low)) / (end - start)
            found = float(coverage(weights, values, torch.tensor([[truth]]), level))
            assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("size", "correlation"), [(1, 2 / 3), (10, 0.9)])
def test_the_true_law_is_calibrated_with_many_atoms_that_count_and_with_two(size, correlation):
    """The exact weights of independent pairs: what has drawn a value covers it as often as it says, 90 %.

    Of 2,000 queries with some atoms in common a standard error of at most 0.01: four are allowed. Where two of the
    atoms count, R2 is not the truth's but that of one's neighbours: below it, and not above it.
    """
    g = generator(5)
    u = torch.randn(2000, size, generator=g, dtype=torch.float64)
    v = correlation * u + math.sqrt(1 - correlation**2) * torch.randn(
        u.shape, generator=g, dtype=torch.float64
    )
    # log p(v|u) is -|v - r u|^2 / 2(1 - r^2), up to what is the same for all u.
    z = {"u": correlation * u, "v": v}
    evaluator = Generation(
        2000, similarity="negative_squared_euclidean", temperature=2 * (1 - correlation**2)
    )
    found = rows_of(evaluator, Representations(z, {"u": u}))
    few = found["v>u", "u", "effective_sample_size"].value < 3
    assert few == (size == 10)
    assert found["v>u", "u", "coverage_90"].value == pytest.approx(0.9, abs=0.04 if size == 1 else 0.02)
    if few:
        assert found["v>u", "u", "r2"].value < correlation**2
    else:
        assert found["v>u", "u", "r2"].value == pytest.approx(correlation**2, abs=0.08)


def test_a_temperature_that_is_not_given_is_the_trained_losss():
    class Trained:
        temperature = 0.2

        def __call__(self, z, fresh=None):
            raise AssertionError

    z = {name: torch.randn(20, 3, generator=generator(i)) for i, name in enumerate("ab")}
    samples = Representations(z, {})
    asked = [row.value for row in Generation(20, temperature=0.2).evaluate(samples, samples)]
    assert [row.value for row in Generation(20).evaluate(samples, samples, (), Trained())] == asked
    assert [
        row.value for row in Generation(20, temperature=1.0).evaluate(samples, samples, (), Trained())
    ] != asked


def test_what_is_the_same_for_all_is_told_by_any_weights():
    z = {name: torch.randn(20, 3, generator=generator(i)) for i, name in enumerate("ab")}
    varied = torch.randn(20, 1, generator=generator(2))
    both = torch.cat([varied, torch.full((20, 1), 0.1)], dim=1)
    found = rows_of(Generation(20), Representations(z, {"varied": varied, "both": both}))
    alone, mean = (found["a>b", name, "r2"] for name in ("varied", "both"))
    assert mean.value == pytest.approx((alone.value + 1) / 2)
    assert mean.chance == pytest.approx((alone.chance + 1) / 2)


def test_fused_encodings_are_left_out_and_sizes_must_agree():
    z = {"a": torch.randn(8, 2), "b": torch.randn(8, 2), "a+b": torch.randn(8, 4)}
    found = Generation(8).evaluate(Representations(z, {}), Representations(z, {}))
    assert {row.representation for row in found} == {"a>b", "b>a"}
    odd = Representations({"a": torch.randn(8, 2), "b": torch.randn(8, 3)}, {})
    with pytest.raises(ValueError, match="a and b have 2 and 3 dimensions"):
        Generation(8).evaluate(odd, odd)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("draws", 0),
        ("level", 1.0),
        ("similarity", "l2"),
        ("temperature", 0.0),
        ("temperature", math.inf),
        ("n_test", 1),
    ],
)
def test_values_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        Generation(**{field: value})


def test_weights_do_not_depend_on_how_many_queries_are_taken_at_a_time(monkeypatch):
    z = {name: torch.randn(50, 3, generator=generator(i)) for i, name in enumerate("ab")}
    samples = Representations(z, {"y": torch.randn(50, 1, generator=generator(5))})
    whole = rows_of(Generation(50), samples)
    monkeypatch.setattr(generation, "CHUNK", 7)
    for key, row in rows_of(Generation(50), samples).items():
        assert row.value == pytest.approx(whole[key].value, rel=1e-12)
