"""Ridge predictors against scikit-learn, closed forms and invariances."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch
from sklearn import kernel_ridge, linear_model, metrics, model_selection, preprocessing
from torch import Tensor

from mmcl.evaluators import (
    KernelRidge,
    KernelRidgeOfDirection,
    LinearRegression,
    Representations,
    Row,
    linear_r2,
    r2_score,
)
from mmcl.evaluators.base import standardise
from mmcl.evaluators.kernel_ridge import Grid, fold_bounds, grid_search
from mmcl.evaluators.kernel_systems import rbf

SMALL = {"n_fit": 12, "n_test": 12}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def split(z: Tensor, factors: dict[str, Tensor], n: int) -> tuple[Representations, Representations]:
    return (
        Representations({"h": z[:n]}, {name: y[:n] for name, y in factors.items()}),
        Representations({"h": z[n:]}, {name: y[n:] for name, y in factors.items()}),
    )


def by_target(rows: list[Row]) -> dict[str, Row]:
    assert len({row.target for row in rows}) == len(rows)
    return {row.target: row for row in rows}


def test_r2_score_is_scikit_learns() -> None:
    y, prediction = normal(40, 3).double(), normal(40, 3, seed=1).double()
    y[:, 1] = 0.5  # constant, missed
    y[:, 2] = prediction[:, 2] = 0.5  # constant, hit
    assert r2_score(y, prediction) == pytest.approx(
        metrics.r2_score(y.numpy(), prediction.numpy()), abs=1e-12
    )
    for k in range(3):
        ours = r2_score(y[:, k : k + 1], prediction[:, k : k + 1])
        assert ours == pytest.approx(metrics.r2_score(y[:, k].numpy(), prediction[:, k].numpy()), abs=1e-12)


def test_r2_score_of_a_constant_does_not_hang_on_rounding() -> None:
    y = torch.full((40, 1), 0.1).double()  # its computed mean is not 0.1: scikit-learn says -1e32
    assert r2_score(y, y) == 1.0
    assert r2_score(y, y + 1) == 0.0


def test_r2_score_refuses_shapes_that_would_broadcast() -> None:
    with pytest.raises(ValueError, match="must be equal"):
        r2_score(torch.zeros(4, 1), torch.zeros(4))


@pytest.mark.parametrize(("n", "folds"), [(6, 3), (7, 3), (8, 3), (11, 4)])
def test_folds_are_scikit_learns(n: int, folds: int) -> None:
    expected = [v.tolist() for _, v in model_selection.KFold(folds).split(np.zeros((n, 1)))]
    assert [list(range(a, b)) for a, b in fold_bounds(n, folds)] == expected


def hard_and_easy_targets(n: int) -> tuple[Tensor, dict[str, Tensor]]:
    z = normal(n, 3) * torch.tensor([1.0, 5.0, 0.1]) + torch.tensor([0.0, 3.0, -1.0])
    u = (z - z.mean(dim=0)) / z.std(dim=0)
    noise = normal(n, 6, seed=1)
    return z, {
        "smooth": u @ normal(3, 2, seed=2) + 0.01 * noise[:, :2],
        "wiggly": torch.sin(4 * u[:, :1]) + 0.05 * noise[:, 2:3],
        "noisy": u[:, 1:2] + 2 * noise[:, 3:4] + 4,
        "independent": noise[:, 4:],
    }


@pytest.mark.parametrize("n", [300, 451])
def test_kernel_ridge_is_scikit_learns_grid_search(n: int) -> None:
    spec = KernelRidge()
    z, factors = hard_and_easy_targets(n + 200)
    z, factors = z.double(), {name: y.double() for name, y in factors.items()}
    fit, test = split(z, factors, n)
    rows = by_target(KernelRidge(chunk=97).evaluate(fit, test))
    x, x_test = standardise(fit.z["h"], test.z["h"])
    choices = grid_search(x, fit.factors, Grid(spec.alphas, spec.gammas, chunk=97))
    for name in factors:
        theirs = model_selection.GridSearchCV(
            kernel_ridge.KernelRidge(kernel="rbf"), {"alpha": spec.alphas, "gamma": spec.gammas}, cv=3
        ).fit(x.numpy(), fit.factors[name].numpy())
        assert theirs.best_params_ == {"alpha": choices[name].alpha, "gamma": choices[name].gamma}
        assert choices[name].cv_score == pytest.approx(theirs.best_score_, abs=1e-5)
        theirs_test = theirs.score(x_test.numpy(), test.factors[name].numpy())
        assert rows[name].value == pytest.approx(theirs_test, abs=1e-5)
    assert len({(c.alpha, c.gamma) for c in choices.values()}) >= 3, (
        "the targets must ask for different settings"
    )


def test_kernels_are_those_of_distances_and_hold_no_values_too_small_to_matter() -> None:
    x, y = normal(200, 5).double(), normal(150, 5, seed=1).double()
    for gamma in (0.01, 0.3, 100.0):
        exact, ours = (-gamma * torch.cdist(x, y).square()).exp(), rbf(x, y, gamma)
        torch.testing.assert_close(ours, exact, rtol=0, atol=1e-12)
        assert ours.min() >= 0.99e-20
    assert ((exact > 0) & (exact < 1e-20)).any(), "the case must arise"
    assert torch.equal(rbf(x, x, 3.0).diagonal() <= 1.0, torch.ones(200, dtype=torch.bool))
    out = torch.full((200, 150), torch.nan, dtype=torch.float64)
    assert rbf(x, y, 0.3, out=out) is out
    assert torch.equal(out, rbf(x, y, 0.3))


def test_ties_go_to_the_first_setting_alphas_before_gammas() -> None:
    x = normal(12, 2).double()
    zeros = {"y": torch.zeros(12, 1)}  # predicted exactly by every setting
    choice = grid_search(x, zeros, Grid([0.1, 1.0], [2.0, 1.0]))["y"]
    assert (choice.alpha, choice.gamma, choice.cv_score) == (0.1, 2.0, 1.0)


def test_a_setting_without_cholesky_is_logged_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    x = torch.zeros(12, 1).double()  # K is all ones: K + 1e-20 I is singular in float64
    y = {"y": normal(12, 1)}
    with caplog.at_level(logging.WARNING):
        choice = grid_search(x, y, Grid([1e-20, 1.0], [1.0]))["y"]
    assert choice.alpha == 1.0
    assert math.isfinite(choice.cv_score)
    assert "no Cholesky for alpha=1e-20" in caplog.text
    with pytest.raises(ValueError, match="alphas="):
        grid_search(x, y, Grid([1e-20], [1.0]))


def test_linear_is_scikit_learns_also_when_rank_deficient() -> None:
    z = normal(300, 4)
    z = torch.cat([z, z[:, :1] + z[:, 1:2], torch.full((300, 1), 2.5)], dim=1)  # a sum, and a constant
    y = {"y": z[:, :4] @ normal(4, 3, seed=1) + normal(300, 3, seed=2) + 5}
    fit, test = split(z, y, 200)
    (row,) = LinearRegression().evaluate(fit, test)
    scaler = preprocessing.StandardScaler().fit(z[:200].double().numpy())
    x, x_test = (scaler.transform(part.double().numpy()) for part in (z[:200], z[200:]))
    model = linear_model.LinearRegression().fit(x, y["y"][:200].double().numpy())
    true = y["y"][200:].double().numpy()
    assert row.value == pytest.approx(model.score(x_test, true), abs=1e-9)
    (row,) = LinearRegression(metric="mean_squared_error").evaluate(fit, test)
    assert row.metric == "mean_squared_error"
    assert row.value == pytest.approx(metrics.mean_squared_error(true, model.predict(x_test)), rel=1e-9)
    constant = (true - y["y"][:200].double().numpy().mean(axis=0)) ** 2
    assert row.chance == pytest.approx(constant.mean(), rel=1e-9)
    with pytest.raises(ValueError, match="metric='mae': must be one of r2, mean_squared_error"):
        LinearRegression(metric="mae")


@pytest.mark.parametrize("evaluator", [LinearRegression(), KernelRidge()])
def test_identity_is_perfect_and_independence_is_chance(evaluator: LinearRegression | KernelRidge) -> None:
    c, noise = normal(1400, 3), normal(1400, 3, seed=1)
    rows = by_target(evaluator.evaluate(*split(c, {"content": c, "independent": noise}, 900)))
    assert 0.99 < rows["content"].value <= 1
    # The mean of 3 R^2 of 500 samples: least squares costs about D / n_fit, chance varies by 1 / sqrt(n).
    assert -0.1 < rows["independent"].value < 0.02


def test_chance_is_the_fit_mean_scored_on_test() -> None:
    y = normal(60, 2)
    fit, test = split(normal(60, 2, seed=1), {"y": y}, 40)
    for evaluator in (LinearRegression(), KernelRidge()):
        (row,) = evaluator.evaluate(fit, test)
        expected = metrics.r2_score(y[40:].numpy(), y[:40].mean(dim=0).expand(20, 2).numpy())
        assert row.chance == pytest.approx(expected, abs=1e-5)
        assert row.chance is not None
        assert row.chance <= 0
        assert row.ceiling is None
        assert (row.n_fit, row.n_test, row.split, row.metric) == (40, 20, "test", "r2")


def causal_world(n: int) -> tuple[Tensor, Tensor, Tensor, float]:
    """Content, the independent part of style, style, and the closed-form R^2 of style given content."""
    c, e = normal(n, 3), normal(n, 3, seed=1)
    b = normal(3, 3, seed=2)
    explained = b.square().sum(dim=1)  # diag(B B^T), for c ~ N(0, I)
    return c, e, c @ b.T + e, float((explained / (explained + 1)).mean())


def test_ceiling_is_the_closed_form_and_no_encoding_of_noise_reaches_it() -> None:
    n_fit, n_test = 4000, 8000
    c, _, style, known = causal_world(n_fit + n_test)
    factors = {"content": c, "style": style}
    fit, test = split(normal(n_fit + n_test, 3, seed=7), factors, n_fit)
    row = by_target(LinearRegression().evaluate(fit, test, ("content",), None))["style"]
    # The standard error of one R^2 is at most 2 sqrt(R^2) (1 - R^2) / sqrt(n) < 0.77 / sqrt(n).
    assert row.ceiling == pytest.approx(known, abs=4 * 0.77 / math.sqrt(n_test))
    assert row.value == pytest.approx(0, abs=0.005)

    small_fit, small_test = split(normal(1200, 3, seed=7), {k: v[:1200] for k, v in factors.items()}, 600)
    row = by_target(KernelRidge().evaluate(small_fit, small_test, ("content",), None))["style"]
    assert row.ceiling == pytest.approx(known, abs=4 * 0.77 / math.sqrt(600) + 0.02)
    assert row.value < 0.02


@pytest.mark.parametrize("evaluator", [LinearRegression(), KernelRidge()])
def test_leaked_style_exceeds_the_ceiling_and_pure_content_does_not(
    evaluator: LinearRegression | KernelRidge,
) -> None:
    c, e, style, known = causal_world(1200)
    factors = {"content": c, "style": style}
    pure = by_target(evaluator.evaluate(*split(c @ normal(3, 3, seed=5), factors, 600), ("content",), None))[
        "style"
    ]
    leaky = by_target(
        evaluator.evaluate(*split(torch.cat([c, e[:, :1]], dim=1), factors, 600), ("content",), None)
    )["style"]
    assert leaky.ceiling == pure.ceiling
    assert pure.ceiling is not None
    assert pure.value == pytest.approx(pure.ceiling, abs=0.02)
    # One of three noises is known: that style dimension goes to 1.
    assert leaky.value > pure.ceiling + 0.5 * (1 - known) / 3


def test_discrete_content_is_a_ceiling_too() -> None:
    g = torch.Generator().manual_seed(0)
    content = torch.randint(0, 3, (900, 2), generator=g)
    style = torch.tensor([0.0, 5.0, -1.0])[content] + 0.01 * normal(900, 2)  # not linear in the label
    fit, test = split(normal(900, 2, seed=3), {"content": content, "style": style}, 450)
    for evaluator in (LinearRegression(), KernelRidge()):
        (row,) = evaluator.evaluate(fit, test, ("content",), None)
        assert row.target == "style", "discrete factors have no R^2"
        assert row.ceiling is not None
        assert row.ceiling > 0.99


def test_linear_score_is_invariant_to_invertible_affine_maps() -> None:
    z, factors = hard_and_easy_targets(400)
    a = normal(3, 3, seed=9) + 3 * torch.eye(3)
    before = LinearRegression().evaluate(*split(z.double(), factors, 200))
    after = LinearRegression().evaluate(*split(z.double() @ a.double() + 7, factors, 200))
    assert [r.value for r in after] == pytest.approx([r.value for r in before], abs=1e-9)


def test_kernel_ridge_is_invariant_to_scale_and_shift_of_columns() -> None:
    z, factors = hard_and_easy_targets(240)
    z = z.double()
    before = KernelRidge().evaluate(*split(z, factors, 150))
    after = KernelRidge().evaluate(*split(z * torch.tensor([-100.0, 0.01, 3.0]) + 5, factors, 150))
    assert [r.value for r in after] == pytest.approx([r.value for r in before], abs=1e-8)


def test_every_representation_meets_every_continuous_factor() -> None:
    z = {"a": normal(12, 2), "b": normal(12, 3)}
    samples = Representations(z, {"c": normal(12, 1), "s": normal(12, 2), "k": torch.zeros(12, 1).long()})
    for evaluator in (LinearRegression(), KernelRidge()):
        rows = evaluator.evaluate(samples, samples)
        assert [(r.representation, r.target) for r in rows] == [(h, f) for h in "ab" for f in "cs"]


def test_collapsed_encodings_score_as_chance() -> None:
    z, y = torch.full((40, 3), 0.7), {"y": normal(40, 2)}
    (row,) = LinearRegression().evaluate(*split(z, y, 20))
    assert row.value == pytest.approx(row.chance, abs=1e-9)
    (row,) = KernelRidge().evaluate(*split(z, y, 20))
    assert row.chance is not None
    assert row.value == pytest.approx(row.chance, abs=0.1)


def test_kernel_ridge_needs_two_samples_in_each_fold() -> None:
    samples = Representations({"h": normal(5, 2)}, {"c": normal(5, 1)})
    with pytest.raises(ValueError, match="5 fit samples"):
        KernelRidge().evaluate(samples, samples)


def test_online_r2_is_least_squares_and_survives_anything() -> None:
    z = normal(200, 3)
    y = z @ normal(3, 2, seed=1) + normal(200, 2, seed=2)
    (row,) = LinearRegression().evaluate(*split(z, {"y": y}, 100))
    assert linear_r2(z, y) == pytest.approx(row.value, abs=1e-6)
    assert linear_r2(torch.cat([z, z, torch.ones(200, 1)], dim=1), y) == pytest.approx(row.value, abs=1e-6)
    assert linear_r2(torch.zeros(200, 3), y) == pytest.approx(row.chance, abs=1e-6)
    assert linear_r2(z.requires_grad_() * 1e-6, y) == pytest.approx(row.value, abs=1e-6)
    assert math.isnan(linear_r2(torch.full((200, 3), float("nan")), y))
    assert math.isnan(linear_r2(z[:3], y[:3]))
    with pytest.raises(ValueError, match="200 encodings and 100 targets"):
        linear_r2(z, y[:100])


def test_of_a_direction_the_length_tells_nothing() -> None:
    direction = torch.nn.functional.normalize(normal(600, 3), dim=1)
    length = (0.5 * normal(600, 1, seed=1)).exp()
    factors = {"direction": direction, "length": length.log()}
    rows = {}
    for evaluator in (KernelRidge(400, 200), KernelRidgeOfDirection(400, 200)):
        found = by_target(evaluator.evaluate(*split(length * direction, factors, 400)))
        rows[type(evaluator)] = {name: row.value for name, row in found.items()}
    assert rows[KernelRidge]["length"] > 0.9
    assert rows[KernelRidgeOfDirection]["length"] < 0.05
    assert rows[KernelRidgeOfDirection]["direction"] > 0.99
