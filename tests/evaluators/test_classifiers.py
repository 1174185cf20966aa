"""Classifiers on data whose accuracy is known."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from sklearn import linear_model, neural_network
from torch import Tensor

from mmcl.evaluators import LogisticRegression, MLPClassifier, Representations
from mmcl.evaluators.base import standardise
from mmcl.evaluators.classifiers import majority
from mmcl.evaluators.networks import PENALTY, _initial, _losses

BOTH = [LogisticRegression(), MLPClassifier()]
Classifier = LogisticRegression | MLPClassifier


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels(n: int, k: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randint(0, k, (n, columns), generator=torch.Generator().manual_seed(seed))


def split(z: Tensor, factors: dict[str, Tensor], n: int) -> tuple[Representations, Representations]:
    return (
        Representations({"h": z[:n]}, {name: y[:n] for name, y in factors.items()}),
        Representations({"h": z[n:]}, {name: y[n:] for name, y in factors.items()}),
    )


@pytest.mark.parametrize("evaluator", BOTH)
def test_separable_is_near_one_and_independent_near_one_over_k(evaluator: Classifier) -> None:
    k, n_test = 4, 600
    y, other = labels(400 + n_test, k, 2), labels(400 + n_test, k, 2, seed=1)
    z = torch.nn.functional.one_hot(y, k).flatten(1) + 0.05 * normal(400 + n_test, 2 * k)
    rows = evaluator.evaluate(*split(z, {"y": y, "other": other, "real": z[:, :1]}, 400), ("y",), None)
    assert [r.target for r in rows] == ["y", "other"]
    assert rows[0].value > 0.99
    bound = 4 * math.sqrt(1 / k * (1 - 1 / k) / (2 * n_test))  # four binomial standard errors, 2 components
    for score in (rows[1].value, rows[1].ceiling, rows[1].chance):
        assert score == pytest.approx(1 / k, abs=bound)
    assert rows[0].ceiling == 1.0
    assert (rows[0].metric, rows[0].n_fit, rows[0].n_test) == ("accuracy", 400, n_test)


def test_chance_is_the_fit_majority_on_test() -> None:
    fit = torch.tensor([[0]] * 30 + [[3]] * 70)
    test = torch.tensor([[0]] * 45 + [[3]] * 55)
    (row,) = LogisticRegression().evaluate(*split(normal(200, 2), {"y": torch.cat([fit, test])}, 100))
    assert row.chance == pytest.approx(0.55)
    assert majority(torch.tensor([[2, 1], [0, 1], [2, 4], [0, 1]])).tolist() == [[0, 1]]


def test_logistic_is_scikit_learns() -> None:
    z, y = normal(300, 3), labels(300, 3, 1)
    y = ((z.sum(dim=1, keepdim=True) + normal(300, 1, seed=1)) > 0).long() + y // 2
    fit, test = split(z, {"y": y}, 200)
    (row,) = LogisticRegression().evaluate(fit, test)
    x, x_test = (part.numpy() for part in standardise(z[:200], z[200:]))
    model = linear_model.LogisticRegression(max_iter=1000).fit(x, y[:200, 0].numpy())
    assert row.value == pytest.approx(model.score(x_test, y[200:, 0].numpy()), abs=1e-12)


@pytest.mark.parametrize("evaluator", BOTH)
def test_classes_absent_from_the_fit_split_count_as_mistakes(evaluator: Classifier) -> None:
    y = torch.cat([labels(100, 2, 2), torch.full((50, 2), 9)])
    y[:100, 1] = 5  # a single class: no classifier can be fitted
    z = torch.where(y[:, :1] == 0, -5.0, 5.0) + 0.1 * normal(150, 2)
    (row,) = evaluator.evaluate(*split(z, {"y": y}, 100))
    assert row.value == 0.0
    assert row.chance == 0.0


def test_running_into_max_iter_is_logged_not_raised(caplog: pytest.LogCaptureFixture) -> None:
    z, y = normal(100, 2), labels(100, 3, 1)
    with caplog.at_level(logging.WARNING):
        LogisticRegression(max_iter=1).evaluate(*split(z, {"y": y}, 50))
    assert "LogisticRegression of y[0] stopped at max_iter=1" in caplog.text


def test_mlp_is_a_function_of_its_seed() -> None:
    samples = split(normal(200, 3), {"y": labels(200, 3, 1)}, 100)
    values = [MLPClassifier(epochs=5, probe_seed=s).evaluate(*samples)[0].value for s in (0, 0, 1, 2)]
    assert values[0] == values[1]
    assert len(set(values)) > 1


def test_networks_trained_together_are_those_trained_alone() -> None:
    """Classifiers do not see each other: the sum of their losses has each one's own gradient."""
    x, y = normal(40, 3), [labels(40, k, 1, seed=k)[:, 0] for k in (2, 4, 3)]
    g = torch.Generator().manual_seed(0)
    parameters = _initial(3, 3, 5, 4, g, torch.device("cpu"))
    unknown = torch.arange(4) >= torch.tensor([[2], [4], [3]])
    losses = _losses(parameters, x, torch.stack(y), unknown)
    losses.sum().backward()
    for i, target in enumerate(y):
        alone = [p[i].detach().clone().requires_grad_() for p in parameters]
        w1, b1, w2, b2 = alone
        logits = (torch.relu(x @ w1 + b1) @ w2 + b2)[:, : int(target.max()) + 1]
        penalty = PENALTY / 2 * (w1.square().sum() + w2.square().sum())
        loss = torch.nn.functional.cross_entropy(logits, target) + penalty
        loss.backward()
        torch.testing.assert_close(losses[i], loss)
        for together, apart in zip(parameters, alone, strict=True):
            torch.testing.assert_close(together.grad[i], apart.grad)


@pytest.mark.slow
def test_mlp_scores_as_scikit_learns() -> None:
    n = 4096
    latents = normal(2 * n, 5)
    z = torch.tanh(latents @ normal(5, 5, seed=1))
    y = torch.stack(
        [
            (torch.sin(2 * latents) @ normal(5, 4, seed=2) + 0.5 * normal(2 * n, 4, seed=3)).argmax(dim=1),
            (latents @ normal(5, 2, seed=4) + normal(2 * n, 2, seed=5)).argmax(dim=1),
        ],
        dim=1,
    )
    (row,) = MLPClassifier().evaluate(*split(z, {"y": y}, n))
    x, x_test = (part.numpy() for part in standardise(z[:n], z[n:]))
    theirs = [
        neural_network.MLPClassifier(max_iter=1000, random_state=0)
        .fit(x, c[:n].numpy())
        .score(x_test, c[n:].numpy())
        for c in y.unbind(dim=1)
    ]
    assert row.value == pytest.approx(sum(theirs) / 2, abs=0.005)


@pytest.mark.parametrize("evaluator", BOTH)
def test_no_discrete_factor_no_rows(evaluator: Classifier) -> None:
    assert evaluator.evaluate(*split(normal(20, 2), {"c": normal(20, 2)}, 10), ("c",), None) == []
