"""Crossmodal classification: against scikit-learn's nearest centroids, a modality that is the label, and chance."""

import doctest
import math

import pytest
import torch
from sklearn import metrics
from sklearn.neighbors import NearestCentroid

from mmcl.evaluators import Representations, ZeroShot, zero_shot
from mmcl.evaluators.retrieval import SIMILARITIES


def generator(seed):
    return torch.Generator().manual_seed(seed)


def samples(seed, n=300):
    """Two encodings that lean to places of three classes, and a factor of two components."""
    g = generator(seed)
    y = torch.randint(3, (n, 2), generator=g)
    places = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    z = {name: places[y[:, 0]] + 0.8 * torch.randn(n, 2, generator=g) for name in ("a", "b")}
    return Representations(z, {"y": y, "continuous": torch.randn(n, 1, generator=g)})


def test_doctest():
    assert doctest.testmod(zero_shot, extraglobs={"torch": torch}).failed == 0


def test_by_the_squared_distance_it_is_scikit_learns_nearest_centroid_of_the_other_modality():
    fit, test = samples(0), samples(1)
    found = ZeroShot(300, 300, "negative_squared_euclidean").evaluate(fit, test)
    assert {(row.representation, row.target) for row in found} == {("a>b", "y"), ("b>a", "y")}
    for row in found:
        query, other = row.representation.split(">")
        scores = []
        for i in range(2):
            model = NearestCentroid().fit(fit.z[other].double().numpy(), fit.factors["y"][:, i].numpy())
            predicted = model.predict(test.z[query].double().numpy())
            scores.append(metrics.balanced_accuracy_score(test.factors["y"][:, i].numpy(), predicted))
        assert row.value == pytest.approx(sum(scores) / 2, abs=1e-12)
        assert row.chance == pytest.approx(1 / 3)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_a_modality_that_is_the_label_is_an_argmax(similarity):
    """One-hot labels as encodings: the class is the largest component, whatever the similarity."""
    g = generator(2)
    y = torch.randint(10, (500, 1), generator=g) + 5  # classes need not begin at 0
    one_hot = torch.nn.functional.one_hot(y[:, 0] - 5, 10).float()
    image = 0.7 * one_hot + 0.3 * torch.randn(500, 10, generator=g)
    both = Representations({"image": image, "label": one_hot}, {"digit": y})
    found = {row.representation: row for row in ZeroShot(500, 500, similarity).evaluate(both, both)}
    expected = metrics.balanced_accuracy_score(y[:, 0].numpy(), (image.argmax(dim=1) + 5).numpy())
    assert found["image>label"].value == pytest.approx(expected, abs=1e-12)


def test_encodings_that_say_nothing_are_at_chance():
    """Within four standard errors of a mean of three recalls of about 333 samples each."""
    g = generator(3)
    y = torch.randint(3, (1000, 1), generator=g)
    both = [
        Representations({name: torch.randn(1000, 4, generator=g) for name in ("a", "b")}, {"y": y})
        for _ in range(2)
    ]
    for row in ZeroShot(1000, 1000).evaluate(*both):
        assert row.value == pytest.approx(1 / 3, abs=4 * math.sqrt(2 / 9 / 1000))


def test_sizes_must_agree_and_fused_encodings_are_left_out():
    z = {"a": torch.randn(9, 2), "b": torch.randn(9, 3)}
    y = {"y": torch.arange(9)[:, None] % 3}
    odd = Representations(z, y)
    with pytest.raises(ValueError, match="a and b have 2 and 3 dimensions"):
        ZeroShot(9, 9).evaluate(odd, odd)
    fused = Representations({"a": z["a"], "b": z["a"], "a+b": z["b"]}, y)
    assert len(ZeroShot(9, 9).evaluate(fused, fused)) == 2
    with pytest.raises(ValueError, match="similarity"):
        ZeroShot(similarity="l2")
    with pytest.raises(ValueError, match="n_fit"):
        ZeroShot(n_fit=1)


def test_label_sets_that_do_not_match_are_refused():
    z = {"a": torch.randn(9, 2), "b": torch.randn(9, 2)}
    fit, test = (Representations(z, {"y": torch.arange(9)[:, None] % k}) for k in (3, 5))
    with pytest.raises(
        ValueError,
        match=r"factor 'y': test samples have classes \[3, 4\] that none of the 9 samples that fit",
    ):
        ZeroShot(9, 9).evaluate(fit, test)
    assert len(ZeroShot(9, 9).evaluate(test, fit)) == 2
