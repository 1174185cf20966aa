"""Recall at k against sorting, ties against all orders, chance against its closed form."""

from __future__ import annotations

from itertools import permutations
from math import comb

import pytest
import torch

from mmcl.evaluators import Representations, Retrieval
from mmcl.evaluators.retrieval import SIMILARITIES, chance_of_a_hit, recalls, similarities
from mmcl.losses.similarity import Similarity, pairwise_similarity


def normals(n, k, seed):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SCORES = {
    "negative_squared_euclidean": lambda a, b: -float((a - b).square().sum()),
    "cosine": lambda a, b: float(a @ b / a.norm() / b.norm()),
    "inner_product": lambda a, b: float(a @ b),
    "negative_lp": lambda a, b: -float((a - b).abs().pow(0.7).sum()),
}


def test_similarities_are_those_of_the_losses():
    assert set(SIMILARITIES) == {kind.value for kind in Similarity}
    a, b = normals(5, 3, 0), normals(7, 3, 1)
    for kind in Similarity:
        for p in (0.7, 2.0, 3.0):
            torch.testing.assert_close(
                similarities(a, b, kind.value, p), pairwise_similarity(a, b, kind, lp_exponent=p)
            )


@pytest.mark.parametrize("similarity", SCORES)
def test_recall_is_what_sorting_gives(similarity):
    image = normals(60, 3, 0)
    text = image + normals(60, 3, 1)
    shape = torch.arange(60)[:, None] % 4
    samples = Representations({"image": image, "text": text}, {"shape": shape})
    evaluator = Retrieval(60, [1, 7], ["shape"], similarity, lp_exponent=0.7)
    rows = {(r.representation, r.target, r.metric): r for r in evaluator.evaluate(samples, samples)}
    assert len(rows) == 2 * (2 * 2 + 1)
    score = SCORES[similarity]
    for name, other, queries, items in (("image", "text", image, text), ("text", "image", text, image)):
        for k in (1, 7):
            own = same = 0
            for i in range(60):
                first = sorted(range(60), key=lambda j: -score(queries[i], items[j]))[:k]
                own += i in first
                same += any(int(shape[j]) == int(shape[i]) for j in first)
            assert rows[name, other, f"recall_at_{k}"].value == pytest.approx(own / 60)
            assert rows[name, other, f"class_recall_at_{k}"].value == pytest.approx(same / 60)
            assert rows[name, other, f"recall_at_{k}"].chance == pytest.approx(k / 60)
            missed = comb(45, k) / comb(60, k)  # 15 of 60 have the query's shape
            assert rows[name, other, f"class_recall_at_{k}"].chance == pytest.approx(1 - missed)
        places = sorted(
            1 + sorted(range(60), key=lambda j: -score(queries[i], items[j])).index(i) for i in range(60)
        )
        median = rows[name, other, "median_rank"]
        assert (median.value, median.chance) == ((places[29] + places[30]) / 2, 30.5)


def test_ties_are_the_mean_over_all_orders():
    s = torch.tensor([[3.0, 2.0, 2.0, 2.0, 1.0]])
    relevant = torch.tensor([[False, True, False, True, True]])
    expected = []
    for k in (1, 2, 3, 4, 5):
        hits = [any(relevant[0, j] for j in [0, *order, 4][:k]) for order in permutations([1, 2, 3])]
        expected.append(sum(hits) / len(hits))
    torch.testing.assert_close(
        recalls(s, relevant, [1, 2, 3, 4, 5])[0], torch.tensor(expected, dtype=torch.float64)
    )


def test_collapsed_encodings_are_at_chance():
    z = normals(1, 4, 0).expand(50, 4).float()
    samples = Representations({"a": z, "b": z.clone()}, {"y": torch.arange(50)[:, None] % 3})
    for row in Retrieval(n_test=50, ks=[1, 10], classes=["y"]).evaluate(samples, samples):
        assert row.value == pytest.approx(row.chance)


@pytest.mark.parametrize("similarity", ["negative_squared_euclidean", "negative_lp"])
def test_encodings_that_are_equal_find_each_other(similarity):
    z = 100 + normals(4100, 2, 0).float()  # more than one chunk of queries
    both = Representations({"a": z, "b": z.clone()}, {})
    rows = Retrieval(n_test=4100, ks=[1], similarity=similarity).evaluate(both, both)
    assert {row.value for row in rows} == {1.0}


def test_chance_of_a_hit():
    for items, relevant, k in ((10, 1, 3), (10, 10, 1), (5, 2, 4), (5, 2, 9)):
        drawn = min(k, items)
        expected = 1 - comb(items - relevant, drawn) / comb(items, drawn)
        found = chance_of_a_hit(k, torch.tensor(items), torch.tensor(relevant)).item()
        assert found == pytest.approx(expected)
    assert chance_of_a_hit(0, torch.tensor(5), torch.tensor(2)).item() == 0


def test_encodings_of_several_modalities_are_not_searched():
    z = {"image": normals(12, 3, 0), "text": normals(12, 3, 1), "image+text": normals(12, 6, 2)}
    samples = Representations(z, {})
    rows = Retrieval(12, [1]).evaluate(samples, samples)
    assert {(row.representation, row.target) for row in rows} == {("image", "text"), ("text", "image")}


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"ks=\[1, 30\]: must be from 1 to n_test = 20"):
        Retrieval(n_test=20, ks=[1, 30])
    with pytest.raises(ValueError, match="similarity='dot'"):
        Retrieval(similarity="dot")
    with pytest.raises(ValueError, match=r"lp_exponent=0.0: must be > 0"):
        Retrieval(similarity="negative_lp", lp_exponent=0.0)
    samples = Representations({"a": normals(5, 2, 0), "b": normals(5, 3, 1)}, {"hue": normals(5, 1, 2)})
    with pytest.raises(ValueError, match="classes='hue'"):
        Retrieval(n_test=5, ks=[1], classes=["hue"]).evaluate(samples, samples)
    with pytest.raises(ValueError, match="a and b have 2 and 3 dimensions"):
        Retrieval(n_test=5, ks=[1]).evaluate(samples, samples)
