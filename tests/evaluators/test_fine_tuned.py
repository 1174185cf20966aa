"""Fine-tuned crossmodal classification: its minimum against SciPy's, where it begins, and what it learns."""

import pytest
import torch
from scipy import optimize
from torch.nn.functional import normalize, one_hot

from mmcl.evaluators import FineTuned, Representations, ZeroShot
from mmcl.evaluators.fine_tuned import Labels, fine_tune, label_encodings
from mmcl.evaluators.probes import hold_out
from mmcl.evaluators.retrieval import similarities


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("penalty", [1.0, 1e-2])
@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_the_minimum_is_that_of_the_formula_by_another_library(penalty, scale):
    g = generator(0)
    n, size, classes = 60, 3, 4
    z = scale * torch.randn(n, size, generator=g, dtype=torch.float64)
    target = torch.randint(classes, (n,), generator=g)
    start = Labels(
        *(
            torch.randn(shape, generator=g, dtype=torch.float64) / scale
            for shape in ((size, classes), (classes,))
        )
    )

    def loss(flat):
        w = torch.as_tensor(flat[: size * classes]).view(size, classes)
        b = torch.as_tensor(flat[size * classes :])
        shares = target.bincount(minlength=classes) / n
        total = 0.0
        for row, y in zip(z, target.tolist(), strict=True):
            logits = row @ w + b + shares.log()
            total -= float(logits[y] - logits.logsumexp(dim=0)) / n
        size_of_z = float(sum(row @ row for row in z)) / n
        away = size_of_z * float((w - start.weight).square().sum()) + float((b - start.bias).square().sum())
        return total + penalty / 2 * away

    found = fine_tune(z, target, start, penalty)
    begin = torch.cat([start.weight.flatten(), start.bias]).numpy()
    best = optimize.minimize(loss, begin, method="BFGS", options={"gtol": 1e-7, "maxiter": 2000})
    ours = loss(torch.cat([found.weight.flatten(), found.bias]).numpy())
    assert ours == pytest.approx(best.fun, abs=1e-9)
    assert ours < loss(begin)


@pytest.mark.parametrize("similarity", ["cosine", "inner_product", "negative_squared_euclidean"])
def test_it_begins_as_similarities_over_the_temperature(similarity):
    g = generator(1)
    z, centres = (torch.randn(7, 5, generator=g, dtype=torch.float64) for _ in range(2))
    start = label_encodings(centres, similarity, 0.3)
    logits = start(normalize(z, dim=1) if similarity == "cosine" else z).softmax(dim=1)
    assert logits == pytest.approx((similarities(z, centres, similarity) / 0.3).softmax(dim=1), abs=1e-10)


def samples(seed, n, *, turned):
    """Images that lean to places of three classes, and labels; ``turned``: labels that a model has placed wrongly."""
    g = generator(seed)
    y = torch.arange(n)[:, None] % 3
    places = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    image = places[y[:, 0]] + 0.15 * torch.randn(n, 3, generator=g)
    label = one_hot((y[:, 0] + turned) % 3, 3).float()
    return Representations({"image": image, "label": label}, {"digit": y + 4})


@pytest.mark.parametrize("similarity", ["cosine", "inner_product", "negative_squared_euclidean"])
def test_labels_that_stand_for_each_others_classes_are_learned(similarity):
    fit, test = (samples(seed, 300, turned=True) for seed in (2, 3))
    before, after = (
        {row.representation: row for row in evaluator.evaluate(fit, test)}["image>label"]
        for evaluator in (ZeroShot(300, 300, similarity), FineTuned(300, 300, similarity, 0.1))
    )
    assert before.value == pytest.approx(0.0, abs=0.02)
    assert after.value > 0.99
    assert (after.chance, after.metric, after.n_fit, after.n_test) == (1 / 3, "balanced_accuracy", 300, 300)


def test_where_nothing_is_to_be_learned_it_is_zero_shot():
    """Logits of thousands, all of the samples that fit right: no penalty makes the loss, 0, smaller."""
    fit, test = samples(4, 300, turned=False), samples(5, 300, turned=False)
    z = {"image": fit.z["label"], "label": fit.z["label"]}
    noisy = {"image": test.z["image"] + torch.randn(300, 3, generator=generator(6)), "label": test.z["label"]}
    fit, test = Representations(z, fit.factors), Representations(noisy, test.factors)
    before, after = (
        {row.representation: row.value for row in evaluator.evaluate(fit, test)}
        for evaluator in (ZeroShot(300, 300, "inner_product"), FineTuned(300, 300, "inner_product", 1e-4))
    )
    assert after == before
    assert before["image>label"] < 0.9


def test_the_fit_splits_frequencies_are_no_prior_of_what_is_predicted():
    """A class that is nine in ten of the samples that fit takes nothing from one that looks otherwise."""
    g = generator(7)
    y = (torch.arange(400)[:, None] % 10 == 0).long()
    z = 2.0 * y + torch.randn(400, 1, generator=g)
    fit = Representations({"a": z, "b": 2.0 * y - 1}, {"rare": y})
    even = torch.arange(400)[:, None] % 2
    test = Representations(
        {"a": 2.0 * even + torch.randn(400, 1, generator=g), "b": 2.0 * even - 1}, {"rare": even}
    )
    found = {row.representation: row for row in FineTuned(400, 400, "inner_product", 1.0).evaluate(fit, test)}
    # The best there is: Phi(1) = 0.841, standard error 0.018.
    assert found["a>b"].value == pytest.approx(0.841, abs=0.08)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("held_out", 0.0),
        ("held_out", 1.0),
        ("similarity", "l2"),
        ("similarity", "negative_lp"),
        ("temperature", -1.0),
        ("n_fit", 1),
    ],
)
def test_values_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        FineTuned(**{field: value})


def test_samples_that_choose_are_no_part_of_where_it_begins():
    """In a class's encoding they would make zero-shot look right about themselves."""
    z, y = torch.randn(40, 3, generator=generator(10), dtype=torch.float64), torch.arange(40) % 4
    begun = []

    def start(rows):
        begun.append(rows)
        return Labels(z[rows][:4].T, z.new_zeros(4))

    evaluator = FineTuned(held_out=0.3, seed=5)
    evaluator._chosen(z, y, start)
    whole, seen = begun
    assert whole.all()
    assert torch.equal(~seen, hold_out(y, 0.3, 5))
    assert y[~seen].bincount().tolist() == [3, 3, 3, 3]


def test_of_few_samples_some_choose_and_of_one_per_class_nothing_is_learned():
    fit, test = samples(8, 9, turned=True), samples(9, 300, turned=True)
    learned = {row.representation: row.value for row in FineTuned(9, 300, held_out=0.01).evaluate(fit, test)}
    assert learned["image>label"] > 0.9
    fit = samples(8, 3, turned=True)
    before, after = (
        [row.value for row in evaluator(3, 300).evaluate(fit, test)] for evaluator in (ZeroShot, FineTuned)
    )
    assert after == before


def test_classes_that_nothing_was_fitted_on_are_told():
    fit, test = samples(8, 9, turned=False), samples(9, 9, turned=False)
    unknown = Representations(test.z, {"digit": test.factors["digit"] + 1})
    with pytest.raises(ValueError, match=r"classes \[7\] that none of the 9 samples that fit has"):
        FineTuned(9, 9).evaluate(fit, unknown)
