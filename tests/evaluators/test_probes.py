"""Probes against scikit-learn, closed forms, and what a split may know."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from sklearn import linear_model, metrics
from torch import Tensor
from torch.nn import functional

from mmcl.evaluators import Probe, Representations, Row
from mmcl.evaluators.probes import Labels, component_scores, features, hold_out, sample_weights
from mmcl.evaluators.scores import auroc, balanced_accuracy, f1_scores, information_bits
from mmcl.evaluators.softmax_regression import Problems, solve

FEW = [1.0, 0.01, 0.0001]
KINDS = [
    Probe(penalties=FEW),
    Probe(class_weighted=True, penalties=FEW),
    Probe(kind="mlp", penalties=[0.001], epochs=100, hidden_size=32),
    Probe(kind="bilinear", penalties=FEW),
]
IDS = ["linear", "weighted", "mlp", "bilinear"]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(n: int, k: int, seed: int = 0) -> Tensor:
    return torch.randint(0, k, (n,), generator=torch.Generator().manual_seed(seed))


def split(z: dict[str, Tensor], y: dict[str, Tensor], n: int) -> tuple[Representations, Representations]:
    y = {name: v if v.ndim == 2 else v[:, None] for name, v in y.items()}
    sides = (slice(None, n), slice(n, None))
    fit, test = (
        Representations({a: v[s] for a, v in z.items()}, {b: v[s] for b, v in y.items()}) for s in sides
    )
    return fit, test


def table(rows: list[Row]) -> dict[tuple[str, str, str], float]:
    return {(r.representation, r.target, r.metric): r.value for r in rows}


def entropy_bits(*p: float) -> float:
    return -sum(q * math.log2(q) for q in p)


# ---------- scores


@pytest.mark.parametrize("k", [2, 3, 5])
def test_scores_are_scikit_learns(k: int) -> None:
    y, guess = labels(200, k), labels(200, k, seed=1)
    assert balanced_accuracy(y, guess) == pytest.approx(metrics.balanced_accuracy_score(y, guess), abs=1e-12)
    p = normal(200, k).round(decimals=1).softmax(dim=1)
    if k == 2:  # exact, so that both columns have the same ties
        q = (p[:, 1] * 64).round().clamp(1, 63) / 64
        p = torch.stack([1 - q, q], dim=1)
    area = auroc(y, p)
    theirs = metrics.roc_auc_score(y, p[:, 1] if k == 2 else p, multi_class="ovr")
    assert area == pytest.approx(theirs, abs=1e-12)
    shares = torch.bincount(y) / 200
    bits = entropy_bits(*shares.tolist()) - metrics.log_loss(y, p) / math.log(2)
    assert information_bits(y, p.log()) == pytest.approx(bits, abs=1e-6)


def test_scores_of_labels_that_lack_a_class() -> None:
    y, scores = torch.tensor([0, 0, 2, 2]), torch.tensor([[2.0, 9, 1], [1, 9, 0], [0, 9, 2], [0, 9, 3]])
    assert auroc(y, scores) == 1.0
    assert auroc(torch.zeros(4, dtype=torch.int64), scores) == 0.5  # no pair to order
    assert balanced_accuracy(y, torch.tensor([0, 1, 1, 1])) == 0.25


# ---------- the optimum


def problem(k: int, n: int = 400, d: int = 6) -> tuple[Tensor, Tensor]:
    x = normal(n, d) @ torch.diag(torch.logspace(0, -2, d).double()) + 0.3
    return x, (x @ normal(d, k, seed=1) + normal(n, k, seed=2)).argmax(dim=1)


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_optimum_is_scikit_learns(k: int, balanced: bool) -> None:
    x, y = problem(k)
    penalties = torch.tensor([1.0, 1e-2, 1e-4]).double()
    weight = sample_weights(y, torch.ones_like(y, dtype=torch.bool), balanced)
    found = solve(
        x,
        Problems(y[:, None].expand(-1, 3), weight[:, None].expand(-1, 3), torch.full((3,), k), penalties),
        tolerance=1e-9,
    )
    assert found.solved.all()
    for i, penalty in enumerate(penalties.tolist()):
        model = linear_model.LogisticRegression(
            C=(2 if k == 2 else 1) / (len(x) * penalty),
            class_weight="balanced" if balanced else None,
            tol=1e-10,
            max_iter=10000,
        ).fit(x.numpy(), y.numpy())
        theirs, w = torch.as_tensor(model.coef_).T, found.coefficients[:, :, i]
        ours = (w[:, 1:] - w[:, :1]) if k == 2 else w
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
        p = torch.as_tensor(model.predict_proba(x.numpy()))
        torch.testing.assert_close(found.logits(x)[:, :, i].softmax(dim=1), p, atol=1e-5, rtol=0)


def test_problems_solved_together_are_those_solved_alone() -> None:
    """Other numbers of classes, weights and penalties beside it change nothing but rounding."""
    x, y4 = problem(4)
    y2 = (y4 > 1).long()
    target = torch.stack([y4, y2, y4], dim=1)
    weight = torch.full((400, 3), 1 / 400).double()
    weight[200:, 2], weight[:200, 2] = 0, 1 / 200
    classes, penalty = torch.tensor([4, 2, 4]), torch.tensor([0.1, 0.01, 0.001]).double()
    together = solve(x, Problems(target, weight, classes, penalty), tolerance=1e-9)
    for i in range(3):
        one = slice(i, i + 1)
        alone = solve(x, Problems(target[:, one], weight[:, one], classes[one], penalty[one]), tolerance=1e-9)
        k = int(classes[i])
        torch.testing.assert_close(
            together.coefficients[:, :k, i], alone.coefficients[:, :, 0], atol=1e-6, rtol=0
        )
        assert (together.coefficients[:, k:, i] == 0).all()
    # A row of no weight is a row that is not there.
    third = solve(x[:200], Problems(y4[:200, None], weight[:200, 2:], classes[:1], penalty[2:]), 1e-9)
    torch.testing.assert_close(together.coefficients[..., 2], third.coefficients[..., 0], atol=1e-6, rtol=0)


def test_no_solution_within_the_iterations_is_said() -> None:
    x, y = problem(4)
    few = solve(
        x,
        Problems(
            y[:, None],
            torch.full((400, 1), 1 / 400).double(),
            torch.tensor([4]),
            torch.tensor([1e-4]).double(),
        ),
        max_iter=2,
    )
    assert few.solved.tolist() == [False]


def test_the_linear_probe_is_scikit_learns_at_one_penalty() -> None:
    x, y = problem(3, n=700)
    (fit, test), n = split({"h": x}, {"y": y}, 500), 500
    found = table(Probe(penalties=[0.01]).evaluate(fit, test))
    mean, std = x[:n].mean(dim=0), x[:n].std(dim=0, correction=0)
    scaled = ((x - mean) / std).numpy()
    model = linear_model.LogisticRegression(C=1 / (n * 0.01), tol=1e-10, max_iter=10000)
    model.fit(scaled[:n], y[:n].numpy())
    p = model.predict_proba(scaled[n:])
    assert found["h", "y", "balanced_accuracy"] == pytest.approx(
        metrics.balanced_accuracy_score(y[n:], p.argmax(axis=1)), abs=1e-12
    )
    assert found["h", "y", "auroc"] == pytest.approx(
        metrics.roc_auc_score(y[n:], p, multi_class="ovr"), abs=1e-4
    )
    shares = (torch.bincount(y[n:]) / 200).tolist()
    expected = entropy_bits(*shares) - metrics.log_loss(y[n:], p) / math.log(2)
    assert found["h", "y", "bits"] == pytest.approx(expected, abs=1e-5)


# ---------- bits


@pytest.mark.parametrize("probe", KINDS[:3], ids=IDS[:3])
def test_bits_of_a_copy_and_of_nothing(probe: Probe) -> None:
    """A copy gives H(Y) less a little penalty; nothing gives 0 less what fitting 5 x 3 weights on 1,500 samples costs:
    (weights) / (2 n ln 2) = 0.007 bits expected, here ten times that."""
    y = labels(3000, 4)
    z = {"copy": functional.one_hot(y, 4).double(), "none": normal(3000, 5)}
    found = table(probe.evaluate(*split(z, {"y": y}, 1500)))
    assert found["copy", "y", "bits"] == pytest.approx(2.0, abs=0.06)
    assert found["copy", "y", "balanced_accuracy"] == found["copy", "y", "auroc"] == 1.0
    assert -0.07 < found["none", "y", "bits"] < 0.02
    # Four standard errors: of a mean of 4 recalls of 375 samples, and of an area (Mann and Whitney).
    assert found["none", "y", "balanced_accuracy"] == pytest.approx(0.25, abs=4 * math.sqrt(0.1875 / 1500))
    assert found["none", "y", "auroc"] == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / 281))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_bits_of_two_gaussians_are_their_information(weighted: bool, share: float) -> None:
    """x | y ~ N(2 y, 1): the posterior is logistic, so the bound is tight but for 2 fitted numbers and the sample.

    The information is an integral of log2 p(y | x) / p(y), here a sum over a grid. Four standard errors of the mean of
    20,000 such terms, whose standard deviation is less than 1.2 bits, are 0.034."""
    n = 40000
    y = (torch.rand(n, generator=torch.Generator().manual_seed(3)) < share).long()
    x = normal(n, 1, seed=4) + 2 * y[:, None]
    found = table(
        Probe(penalties=[1e-4], class_weighted=weighted).evaluate(*split({"h": x}, {"y": y}, n // 2))
    )
    grid = torch.linspace(-8, 10, 20001).double()
    density = torch.stack([torch.exp(-((grid - m) ** 2) / 2) / math.sqrt(2 * math.pi) for m in (0, 2)])
    joint = density * torch.tensor([[1 - share], [share]])
    posterior = joint / joint.sum(dim=0)
    left = (torch.special.entr(posterior).sum(dim=0) * joint.sum(dim=0)).sum() * 18 / 20000 / math.log(2)
    information = entropy_bits(share, 1 - share) - float(left)
    assert found["h", "y", "bits"] == pytest.approx(information, abs=0.034)
    # Of the area P(x_1 > x_0) = Phi(2 / sqrt 2).
    assert found["h", "y", "auroc"] == pytest.approx(0.5 * (1 + math.erf(1.0)), abs=0.02)
    if weighted:  # the threshold is in the middle: both recalls are Phi(1)
        expected = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
        assert found["h", "y", "balanced_accuracy"] == pytest.approx(expected, abs=0.02)


# ---------- what a concatenation cannot show


def codes(n: int, seed: int, k: int = 5) -> tuple[Representations, Representations]:
    """Two modalities of two independent factors each, one-hot; y says whether t2 is the partner of t1."""
    t1, c1, t2, c2 = (labels(2 * n, k, seed=10 * seed + i) for i in range(4))
    partner = torch.randperm(k, generator=torch.Generator().manual_seed(seed))
    x1, x2 = (
        torch.cat([functional.one_hot(f, k) for f in pair], dim=1).double() for pair in ((t1, c1), (t2, c2))
    )
    z = {"x1": x1, "x2": x2, "x1+x2": torch.cat([x1, x2], dim=1)}
    return split(z, {"synergy": (partner[t1] == t2).long(), "unique": t1}, n)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("k", [5, 10])
def test_a_linear_probe_of_a_concatenation_finds_no_relation(seed: int, k: int) -> None:
    found = table(Probe(penalties=FEW).evaluate(*codes(3000, seed, k)))
    assert found["x1+x2", "synergy", "balanced_accuracy"] == pytest.approx(0.5, abs=0.02)
    # Four standard errors of the area (Mann and Whitney), and a bound that is no more than noise.
    assert found["x1+x2", "synergy", "auroc"] == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / (3000 / k)))
    assert found["x1+x2", "synergy", "bits"] == pytest.approx(0.0, abs=0.02)
    assert found["x1+x2", "unique", "balanced_accuracy"] == 1.0


def test_products_and_a_hidden_layer_find_it() -> None:
    samples = codes(3000, 1)
    bits = entropy_bits(0.2, 0.8)
    bilinear = table(Probe(kind="bilinear", penalties=FEW).evaluate(*samples))
    assert {name for name, _, _ in bilinear} == {"x1*x2"}
    assert bilinear["x1*x2", "synergy", "balanced_accuracy"] == 1.0
    assert bilinear["x1*x2", "synergy", "bits"] == pytest.approx(bits, abs=0.05)
    probe = Probe(kind="mlp", penalties=[1e-4], targets=["synergy"])
    mlp = table(probe.evaluate(*(only(side, "x1+x2") for side in samples)))
    assert mlp["x1+x2", "synergy", "balanced_accuracy"] > 0.97
    assert mlp["x1+x2", "synergy", "bits"] == pytest.approx(bits, abs=0.1)


def only(side: Representations, name: str) -> Representations:
    return Representations({name: side.z[name]}, side.factors)


def test_weighting_makes_rare_classes_count() -> None:
    """10 % positives whose mean lies one deviation off: the unweighted posterior rarely passes 1/2."""
    n = 8000
    y = (torch.rand(n, generator=torch.Generator().manual_seed(5)) < 0.1).long()
    z = normal(n, 3, seed=6) + y[:, None] / math.sqrt(3)
    plain, weighted = (
        table(Probe(class_weighted=w, penalties=FEW).evaluate(*split({"h": z}, {"y": y}, n // 2)))
        for w in (False, True)
    )
    assert plain["h", "y", "balanced_accuracy"] < 0.53
    # Phi(1/2) = 0.691; 400 positives have a standard error of 0.023, half of which stands in the mean.
    assert weighted["h", "y", "balanced_accuracy"] == pytest.approx(0.691, abs=0.05)
    # What it knows is the same.
    assert weighted["h", "y", "auroc"] == pytest.approx(plain["h", "y", "auroc"], abs=0.005)
    assert weighted["h", "y", "bits"] == pytest.approx(plain["h", "y", "bits"], abs=0.005)


# ---------- roles


@pytest.mark.parametrize("probe", KINDS, ids=IDS)
def test_the_test_split_has_no_say_in_the_fit(probe: Probe) -> None:
    """What is fitted without it predicts its rows one by one, and has the very scores of the evaluator."""
    y = labels(900, 3)
    z = {"x1": normal(900, 3) + y[:, None], "x2": normal(900, 4, seed=1)}
    fit, test = split(z, {"y": y}, 300)
    columns, names = [y[:300]], ("x1", "x2") if probe.kind == "bilinear" else ("x1",)
    logits = probe.fit([fit.z[name] for name in names], columns)
    inputs = tuple(test.z[name] for name in names)
    before = logits(inputs)[0]
    # What stands beside a row is of no account.
    half = logits(tuple(x[:100] for x in inputs))[0]
    torch.testing.assert_close(half, before[:100], atol=1e-6, rtol=1e-6)
    expected = component_scores(y[:300], y[300:], before, probe.class_weighted)
    found = table(probe.evaluate(fit, test))
    name = "*".join(names)
    for metric, value in expected.items():
        assert found[name, "y", metric] == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("probe", KINDS, ids=IDS)
def test_labels_of_the_fit_split_that_mean_nothing_give_chance(probe: Probe) -> None:
    y = labels(2000, 2)
    z = {"x1": normal(2000, 3) + 3 * y[:, None], "x2": normal(2000, 3, seed=1)}
    shuffled = torch.cat([labels(1000, 2, seed=9), y[1000:]])
    found = table(probe.evaluate(*split(z, {"y": shuffled}, 1000)))
    name = "x1*x2" if probe.kind == "bilinear" else "x1"
    true = table(probe.evaluate(*split(z, {"y": y}, 1000)))
    assert true[name, "y", "balanced_accuracy"] > 0.95
    assert true[name, "y", "bits"] > 0.7
    # x1 has two clusters; of 500 labels in one the share of either class is 1/2 +- 0.022 (four of these: 0.09), which
    # the test split, where a cluster has one class, may reward by log2(2 (1/2 + 0.09)).
    assert abs(found[name, "y", "bits"]) < 0.24


def test_the_penalty_is_the_one_that_the_held_out_part_would_choose() -> None:
    """By hand: scikit-learn on the rest, its cross-entropy on the held-out part, the best again on all."""
    x, y = problem(2, n=160, d=30)
    penalties, held = [1.0, 0.1, 0.01, 0.001], hold_out(y, 0.25, seed=3)
    scaled = ((x - x.mean(dim=0)) / x.std(dim=0, correction=0)).numpy()

    def model(penalty: float, rows: Tensor) -> linear_model.LogisticRegression:
        c = 2 / (int(rows.sum()) * penalty)
        made = linear_model.LogisticRegression(C=c, tol=1e-9, max_iter=10000)
        return made.fit(scaled[rows.numpy()], y[rows].numpy())

    losses = [
        metrics.log_loss(y[held], model(penalty, ~held).predict_proba(scaled[held.numpy()]))
        for penalty in penalties
    ]
    best = penalties[losses.index(min(losses))]
    assert best not in (penalties[0], penalties[-1]), "the example must have a penalty in the middle"
    expected = model(best, torch.ones_like(held)).predict_log_proba(scaled)
    probe = Probe(penalties=penalties[::-1], held_out=0.25, probe_seed=3)
    found = probe.fit([x], [y])((x,))[0].log_softmax(dim=1)
    torch.testing.assert_close(found, torch.as_tensor(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize("probe", KINDS[:3], ids=IDS[:3])
def test_the_split_that_chooses_is_no_other_part(probe: Probe) -> None:
    """Training samples that their encoding gives away, as one that was told their labels: they would choose weakness.

    On the validation split, and the test split, the encoding is noise: the strongest penalty is the best.
    """
    n, penalties = 300, [10.0, 1e-4]
    y = labels(3 * n, 2)
    h = normal(3 * n, 20)
    h[:n, 0] = 3 * (2.0 * y[:n] - 1) + 0.1 * h[:n, 0]
    fit, test = split({"h": h}, {"y": y}, 2 * n)
    probe = replace(probe, penalties=penalties)
    blind, told = (
        table(probe.evaluate(side, test)) for side in (fit, replace(fit, chooses=torch.arange(2 * n) >= n))
    )
    assert told["h", "y", "bits"] > blind["h", "y", "bits"] + 0.05
    assert told["h", "y", "bits"] == pytest.approx(0, abs=0.05)
    strong = table(replace(probe, penalties=penalties[:1]).evaluate(fit, test))
    if probe.kind == "linear":
        assert told["h", "y", "bits"] == pytest.approx(strong["h", "y", "bits"], abs=1e-6)


def test_a_class_of_the_choosing_split_alone_chooses_nothing() -> None:
    y = torch.tensor([0, 0, 1, 1, 0, 1, 2])
    held = Labels.of([y], 0.5, 0, torch.arange(7) >= 4).held[:, 0]
    assert held.tolist() == [False] * 4 + [True, True, False]
    everything = Labels.of([y], 0.5, 0, torch.ones(7, dtype=torch.bool)).held
    assert torch.equal(everything, Labels.of([y], 0.5, 0).held)


def test_the_held_out_part_has_its_share_of_each_class_but_never_all() -> None:
    y = torch.tensor([0] * 50 + [1] * 10 + [2])
    held = hold_out(y, 0.2, seed=0)
    assert torch.bincount(y[held], minlength=3).tolist() == [10, 2, 0]
    assert torch.equal(held, hold_out(y, 0.2, seed=0))
    assert not torch.equal(held, hold_out(y, 0.2, seed=1))
    weight = sample_weights(y, held, balanced=True)
    assert [float(weight[y == c].sum()) for c in range(3)] == pytest.approx([0.5, 0.5, 0.0])


def test_components_are_probed_apart_and_averaged() -> None:
    a, b = labels(800, 2), labels(800, 5, seed=1)
    z = {"h": torch.cat([functional.one_hot(a, 2), functional.one_hot(b, 5)], 1) + 0.7 * normal(800, 7)}
    rows = Probe(penalties=FEW).evaluate(*split(z, {"y": torch.stack([a, b], dim=1), "a": a, "b": b}, 400))
    found = table(rows)
    for metric in ("balanced_accuracy", "auroc", "bits"):
        mean = (found["h", "a", metric] + found["h", "b", metric]) / 2
        assert found["h", "y", metric] == pytest.approx(mean, abs=1e-5)
    chance = {r.metric: r.chance for r in rows if r.target == "y"}
    assert chance == {"balanced_accuracy": pytest.approx(0.35), "auroc": 0.5, "bits": 0.0}


def test_f1_of_several_labels_is_scikit_learns() -> None:
    """Of one label that no sample has, and one that is predicted of none, among them."""
    shares = torch.tensor([0.5, 0.1, 0.9, 0.0, 0.3])
    y, guess = (torch.rand(200, 5, generator=torch.Generator().manual_seed(s)) < shares for s in (0, 1))
    guess[:, 4] = False
    for ours, average in zip(f1_scores(y.long(), guess.long()), ("macro", "weighted"), strict=True):
        theirs = metrics.f1_score(y.numpy(), guess.numpy(), average=average, zero_division=0)
        assert ours == pytest.approx(theirs, abs=1e-12)
    assert f1_scores(y[:, 3:4], guess[:, 3:4]) == (0.0, 0.0)


def test_labels_of_which_a_sample_has_any_number_have_f1_too() -> None:
    y = torch.stack([labels(800, k, seed=k) == 0 for k in (2, 3, 9)], dim=1).long()
    one, three = y[:, :1], torch.stack([labels(800, 3, seed=7), labels(800, 3, seed=8)], dim=1)
    z = {"h": y + 0.5 * normal(800, 3)}
    rows = Probe(penalties=[1e-5]).evaluate(*split(z, {"genres": y, "one": one, "three": three}, 400))
    found = {(r.target, r.metric): r for r in rows}
    assert {target for target, metric in found if metric.startswith("f1")} == {"genres"}
    alone = Probe(penalties=[1e-5]).fit([z["h"][:400]], list(y[:400].unbind(1)))
    predicted = torch.stack([x.argmax(dim=1) for x in alone((z["h"][400:],))], dim=1)
    shares = y[400:].double().mean(dim=0)
    for average in ("macro", "weighted"):
        row = found["genres", f"f1_{average}"]
        theirs = metrics.f1_score(y[400:].numpy(), predicted.numpy(), average=average)
        assert row.value == pytest.approx(theirs)
        # All labels for all: 2 p / (1 + p) each.
        weight = shares / shares.sum() if average == "weighted" else torch.full((3,), 1 / 3)
        assert row.chance == pytest.approx(float((weight * 2 * shares / (1 + shares)).sum()))
        assert row.value > row.chance


# ---------- rows, ceilings, and unusual samples


@pytest.mark.parametrize("probe", KINDS, ids=IDS)
def test_the_ceiling_is_the_probe_of_the_true_content(probe: Probe) -> None:
    """Content says nothing of ``other``, and all of itself."""
    content, other = labels(1200, 3), labels(1200, 2, seed=1)
    z = {"x1": normal(1200, 2), "x2": normal(1200, 2, seed=1)}
    rows = probe.evaluate(*split(z, {"content": content, "other": other}, 600), ("content",))
    ceiling = {(r.target, r.metric): r.ceiling for r in rows}
    assert ceiling["content", "balanced_accuracy"] == 1.0
    assert ceiling["other", "balanced_accuracy"] == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 600))
    assert {(r.split, r.n_fit, r.n_test) for r in rows} == {("test", 600, 600)}


@pytest.mark.parametrize("probe", KINDS, ids=IDS)
def test_the_ceiling_of_bits_is_what_the_views_tell_where_that_is_known(probe: Probe) -> None:
    content, other = labels(1200, 3), labels(1200, 2, seed=1)
    z = {"x1": normal(1200, 2), "x2": normal(1200, 2, seed=1), "x1+x2": normal(1200, 2, seed=2)}
    fit, test = split(z, {"content": content, "other": other}, 600)
    told = {"x1": {"other": 0.25}, "x1+x2": {"other": 0.75}}
    rows = probe.evaluate(fit, replace(test, information=told), ("content",))
    plain = probe.evaluate(fit, test, ("content",))
    for row, without in zip(rows, plain, strict=True):
        known = row.metric == "bits" and row.target == "other" and row.representation != "x2"
        expected = {"x1": 0.25}.get(row.representation, 0.75) if known else without.ceiling
        assert row == replace(without, ceiling=expected)


@pytest.mark.parametrize("probe", KINDS, ids=IDS)
def test_unusual_labels_have_defined_scores(probe: Probe) -> None:
    """400 fit samples: ``new`` has a class that only the test split has, ``one`` a single class in the fit split."""
    y = labels(600, 2)
    new, one, alone, rare = y.clone(), torch.zeros_like(y), y.clone(), y.clone()
    new[400:500] = 7
    one[500:] = 1
    alone[400:] = 1
    rare[0] = 2  # of one sample: nothing of it is held out
    z = {"x1": normal(600, 2) + 5 * y[:, None], "x2": normal(600, 2, seed=1)}
    factors = {"new": new, "one": one, "alone": alone, "rare": rare}
    rows = probe.evaluate(*split(z, factors, 400))
    found = {(r.target, r.metric): r for r in rows if r.representation in ("x1", "x1*x2")}
    assert all(math.isfinite(r.value) for r in rows)
    recall = found["new", "balanced_accuracy"]
    assert recall.value == pytest.approx(2 / 3, abs=0.05)
    assert recall.chance == pytest.approx(1 / 3)
    # Half of the test split has the probability 1 / 401.
    assert found["new", "bits"].value == pytest.approx(
        entropy_bits(0.5, 0.25, 0.25) - 0.5 * math.log2(401), abs=0.3
    )
    assert found["one", "balanced_accuracy"].value == 0.5
    assert found["one", "auroc"].value == 0.5
    cost = -0.5 * math.log2(400 / 401) + 0.5 * math.log2(401)
    assert found["one", "bits"].value == pytest.approx(1 - cost, abs=1e-6)
    assert found["alone", "auroc"].value == 0.5
    assert found["alone", "balanced_accuracy"].chance == 1.0
    assert found["alone", "bits"].value <= 0
    assert found["rare", "balanced_accuracy"].value > 0.95


@pytest.mark.parametrize("probe", KINDS, ids=IDS)
def test_a_constant_encoding_predicts_the_frequencies(probe: Probe) -> None:
    y = (torch.arange(800) % 4 == 0).long()
    z = {"x1": torch.full((800, 3), 0.1), "x2": torch.full((800, 2), -3.0)}
    found = table(probe.evaluate(*split(z, {"y": y}, 400)))
    name = "x1*x2" if probe.kind == "bilinear" else "x1"
    assert found[name, "y", "balanced_accuracy"] == 0.5
    assert found[name, "y", "auroc"] == 0.5
    assert found[name, "y", "bits"] == pytest.approx(0.0, abs=1e-3)


def test_two_samples_of_two_classes_take_the_strongest_penalty() -> None:
    x, y = torch.tensor([[-1.0], [1.0]]).double(), torch.tensor([0, 1])
    (one,), (several,) = (Probe(penalties=p).fit([x], [y])((x,)) for p in ([1.0], [0.001, 1.0]))
    torch.testing.assert_close(one, several)


def test_targets_and_modalities_that_are_not_there_are_named() -> None:
    fit, test = split(
        {"x1": normal(40, 2), "x1+x2": normal(40, 2)}, {"y": labels(40, 2), "c": normal(40, 1)}, 20
    )
    with pytest.raises(ValueError, match="targets='c': must be one of y"):
        Probe(targets=["c"]).evaluate(fit, test)
    with pytest.raises(
        ValueError, match=r"needs the representations of two modalities, there are x1, x1\+x2"
    ):
        Probe(kind="bilinear").evaluate(fit, test)
    with pytest.raises(ValueError, match="reference='content'"):
        Probe().evaluate(fit, test, ("content",))
    assert {r.target for r in Probe(penalties=FEW, targets=["y"]).evaluate(fit, test)} == {"y"}
    assert Probe().evaluate(*split({"h": normal(40, 2)}, {"c": normal(40, 1)}, 20)) == []


def test_three_modalities_have_three_pairs() -> None:
    z = {name: normal(60, 2, seed=i) for i, name in enumerate(("a", "b", "c", "a+b"))}
    rows = Probe(kind="bilinear", penalties=[0.1]).evaluate(*split(z, {"y": labels(60, 2)}, 40))
    assert list(dict.fromkeys(r.representation for r in rows)) == ["a*b", "a*c", "b*c"]


def test_products_are_of_leading_components_where_there_are_too_many(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Columns of which two carry nearly everything: those are what is left, and it is logged."""
    common = normal(300, 2)
    a, b = (common @ normal(2, d, seed=d) + 1e-3 * normal(300, d, seed=d + 1) for d in (6, 3))
    with caplog.at_level(logging.WARNING):
        mapped = features((a, b), 4, "a*b")
    assert mapped((a, b)).shape == (300, 2 + 2 + 4)
    assert "a*b: 6 x 3 products are more than max_features=4: 2 and 2 leading" in caplog.text
    assert features((a, b), 9, "a*b")((a, b)).shape == (300, 3 + 3 + 9)  # the smaller half stays whole
    assert features((a, b), 18, "a*b")((a, b)).shape == (300, 6 + 3 + 18)


def test_turning_a_representation_changes_no_linear_score() -> None:
    """The penalty sees no rotation of standardised columns of unit covariance."""
    z, y = normal(600, 4), labels(600, 3)
    z = torch.linalg.qr(z - z.mean(dim=0)).Q * math.sqrt(600) + 0.5 * functional.one_hot(y, 4)
    turned = z @ torch.linalg.qr(normal(4, 4, seed=3)).Q
    scores = [
        component_scores(y, y, Probe(penalties=[1e-5]).fit([x], [y])((x,))[0], False) for x in (z, turned)
    ]
    for first, second in pairwise(scores):
        assert first == pytest.approx(second, abs=1e-3)


def test_a_probe_is_a_function_of_its_seed() -> None:
    y = labels(400, 2)
    samples = split({"h": normal(400, 3) + y[:, None]}, {"y": y}, 200)
    probes = [Probe(kind="mlp", penalties=[0.001], epochs=3, probe_seed=s) for s in (0, 0, 1)]
    first, again, other = (table(p.evaluate(*samples))["h", "y", "bits"] for p in probes)
    assert first == again != other
