"""Kernel systems: conjugate gradients that give what a direct solver gives, and settings ruled out on few samples."""

import math

import pytest
import torch
from sklearn import kernel_ridge, model_selection

from mmcl.evaluators import KernelRidge
from mmcl.evaluators import kernel_ridge as ridge
from mmcl.evaluators import kernel_systems as module
from mmcl.evaluators.base import standardise
from mmcl.evaluators.kernel_ridge import Grid, cv_scores, grid_search, predict_kernel_ridge, promising
from mmcl.evaluators.kernel_systems import Kernel, Nystrom, conjugate_gradients, rbf
from mmcl.evaluators.scores import r2_score

ALPHAS = [1.0, 1e-1, 1e-3]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact(x, gamma, alpha, y):
    return torch.linalg.solve(rbf(x, x, gamma) + alpha * torch.eye(len(x), dtype=torch.float64), y)


@pytest.mark.parametrize("gamma", [0.01, 0.2, 5.0, 20.0, 100.0])
def test_solutions_are_those_of_a_direct_solver(gamma):
    x = normal(700, 4)
    # Each alpha has targets of its own, one of them none.
    targets = [normal(700, 3, seed=1), normal(700, 0, seed=2), normal(700, 2, seed=3)]
    found = Kernel(x, gamma, chunk=97).solve(ALPHAS, targets)
    new = rbf(normal(50, 4, seed=4), x, gamma)
    for alpha, y, w in zip(ALPHAS, targets, found, strict=True):
        assert w.dtype == torch.float64
        assert w.shape == y.shape
        expected = exact(x, gamma, alpha, y)
        # The residual is TOLERANCE of y, and the smallest eigenvalue alpha at least.
        assert (w - expected).norm() <= 1.01 * module.TOLERANCE * y.norm() / alpha
        torch.testing.assert_close(new @ w, new @ expected, rtol=0, atol=30 * module.TOLERANCE)


@pytest.mark.parametrize("gamma", [0.01, 5.0])
def test_without_iterations_factors_solve(monkeypatch, gamma):
    monkeypatch.setattr(Kernel, "_solve_together", lambda self, alphas, y, tolerance: [None for _ in y])
    x, y = normal(400, 4), normal(400, 3, seed=1)
    (w,) = Kernel(x, gamma, chunk=97).solve([1e-3], [y])
    assert (w - exact(x, gamma, 1e-3, y)).norm() <= 1.01 * module.TOLERANCE * y.norm() / 1e-3
    monkeypatch.setattr(module, "FACTOR_ITERATIONS", 0)  # float32 is called too rough: float64 solves
    (w,) = Kernel(x, gamma, chunk=97).solve([1e-3], [y])
    torch.testing.assert_close(w, exact(x, gamma, 1e-3, y))


def test_where_float32_is_not_positive_definite_the_shifted_factor_serves(monkeypatch):
    monkeypatch.setattr(Kernel, "_solve_together", lambda self, alphas, y, tolerance: [None for _ in y])
    dtypes, factor = [], Kernel._factor

    def seen(self, diagonal, dtype, scale):
        # Whether this kernel's first float32 factor exists is up to the processor's rounding; here it does not.
        found = factor(self, diagonal, dtype, scale) if dtypes else None
        dtypes.append((dtype, found is not None))
        return found

    monkeypatch.setattr(Kernel, "_factor", seen)
    x, y = 1e-3 * normal(600, 3), normal(600, 2, seed=1)  # a kernel of nearly all ones
    alpha = 1e-5
    (w,) = Kernel(x, 0.01, chunk=100).solve([alpha], [y])
    assert dtypes[:2] == [(torch.float32, False), (torch.float32, True)]
    matrix = rbf(x, x, 0.01) + alpha * torch.eye(600, dtype=torch.float64)
    assert (matrix @ w - y).norm() <= 2 * module.TOLERANCE * y.norm()


@pytest.mark.parametrize("chunk", [1, 97, 300, 1000])
def test_the_triangle_multiplies_as_the_whole_kernel(chunk):
    x, v = normal(300, 4), normal(300, 7, seed=1)
    torch.testing.assert_close(Kernel(x, 0.3, chunk).times(v.T.contiguous()).T, rbf(x, x, 0.3) @ v)


def test_a_nystrom_approximation_from_all_points_is_the_kernel(monkeypatch):
    x, r = normal(300, 4), normal(300, 2, seed=1)
    monkeypatch.setattr(module, "FEWEST_LANDMARKS", 300)
    alphas = torch.tensor([0.1, 0.01], dtype=torch.float64)
    found = Nystrom(x, 0.3, 0.01).solve(alphas, r.T).T
    expected = torch.cat(
        [exact(x, 0.3, a, c) for a, c in zip(alphas.tolist(), r.split(1, dim=1), strict=True)], dim=1
    )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_points_that_coincide_are_no_trouble():
    x = normal(40, 3).repeat(20, 1)
    y = normal(800, 2, seed=1)
    (w,) = Kernel(x, 0.3, chunk=300).solve([1e-3], [y])
    assert (w - exact(x, 0.3, 1e-3, y)).norm() <= 1.01 * module.TOLERANCE * y.norm() / 1e-3


def test_conjugate_gradients_solve_rows_of_different_matrices_and_tell_which_they_did_not():
    a = normal(40, 40)
    matrix = a @ a.T + torch.eye(40, dtype=torch.float64)
    shifts = torch.tensor([0.0, 1.0, 5.0, 0.0], dtype=torch.float64)
    y = torch.cat([normal(3, 40, seed=1), torch.zeros(1, 40, dtype=torch.float64)])
    rough = torch.linalg.inv(matrix + 0.3 * torch.diag(normal(40, seed=2).abs()))

    def times(v, rows):
        return v @ matrix + shifts[rows, None] * v

    found, solved = conjugate_gradients(
        times, lambda r, _: r @ rough, y, module.TOLERANCE * y.norm(dim=1), limit=30
    )
    assert solved.tolist() == [True] * 4
    for j, shift in enumerate(shifts.tolist()):
        shifted = matrix + shift * torch.eye(40, dtype=torch.float64)
        assert (shifted @ found[j] - y[j]).norm() <= 1.01 * module.TOLERANCE * y[j].norm()
    assert torch.equal(found[3], torch.zeros(40, dtype=torch.float64))
    # As bad as a preconditioner can be, and few iterations.
    found, solved = conjugate_gradients(times, lambda r, _: r, y, module.TOLERANCE * y.norm(dim=1), limit=5)
    assert solved.tolist() == [False, False, False, True]
    assert not found.any()
    # What breaks down is not called solved, also beside what is.
    broken = y.clone()
    broken[0] = math.nan
    _, solved = conjugate_gradients(
        times, lambda r, _: r @ rough, broken, module.TOLERANCE * y.norm(dim=1), limit=30
    )
    assert solved.tolist() == [False, True, True, True]


def content_and_its_mixtures(n, g=0):
    content, other = normal(n, 5, seed=g), normal(n, 5, seed=g + 1)
    z = torch.tanh(content @ normal(5, 5, seed=g + 2) / 2) + 0.05 * normal(n, 5, seed=g + 3)
    return z, {
        "content": content,
        "style": content @ normal(5, 5, seed=g + 4) + other,
        "noise": normal(n, 5, seed=g + 5),
    }


def test_promising_settings_are_near_the_best_or_catch_up_or_follow_a_best_that_grows():
    half = torch.tensor([[[0.58, 0.10, 0.55, 0.18, 0.4, -math.inf]]])
    first = torch.tensor([[[0.60, 0.10, 0.58, 0.45, 0.3, -math.inf]]])
    # Lacks of 0, 0.5 (was 0.48), 0.02, 0.15 (was 0.4), 0.3 (was 0.18); 0.04 is near on 2,500 samples.
    found = promising(half, first, n=2500, growth=4.0)
    # The fourth is to lack 0.15 (0.15 / 0.4)^(2 * 2) = 0.003.
    assert found.flatten().tolist() == [True, False, True, True, False, False]
    # Twice as many samples are too few for it: 0.15 (0.15 / 0.4)^2 = 0.02.
    assert promising(half, first, n=2500, growth=2.0).flatten().tolist() == [
        True,
        False,
        True,
        False,
        False,
        False,
    ]
    assert promising(half, half, n=2500, growth=4.0)[0, 0, 0], "a best that stays has lacked nothing: 0 / 0"
    grown = promising(half - 0.05, first, n=2500, growth=2.0)
    assert grown.flatten().tolist() == [True, True, True, True, True, False]
    by_alpha = promising(half.reshape(1, 2, 3), first.reshape(1, 2, 3), n=2500, growth=2.0)
    assert by_alpha.tolist() == [[[True, False, True], [True, False, False]]], (
        "a gamma is looked at with all its alphas"
    )


def test_what_the_first_samples_rule_out_is_not_looked_at_again(monkeypatch):
    monkeypatch.setattr(ridge, "FEWEST_SCREENED", 100)
    z, targets = content_and_its_mixtures(600)
    x, _ = standardise(z, z)
    spec = KernelRidge()
    every = torch.ones(3, 4, 4, dtype=torch.bool)
    grid = Grid(spec.alphas, spec.gammas, screen_fraction=0.25)
    half, first = (cv_scores(x[:m], [y[:m] for y in targets.values()], grid, every) for m in (75, 150))
    left = promising(half, first, 150, 4.0)
    assert 0 < left.sum() < left.numel(), "the case must arise"
    seen = []
    scores = cv_scores(x, list(targets.values()), grid, every)
    monkeypatch.setattr(ridge, "cv_scores", lambda *args: seen.append(args) or cv_scores(*args))
    choices = grid_search(x, targets, grid)
    assert [len(args[0]) for args in seen] == [75, 150, 600]
    assert torch.equal(seen[-1][-1], left)
    for name, of_target, of_left in zip(targets, scores, left, strict=True):
        best = of_target.masked_fill(~of_left, -math.inf).flatten().argmax()
        assert choices[name].cv_score == pytest.approx(float(of_target.flatten()[best]), abs=1e-4)
        assert (choices[name].alpha, choices[name].gamma) == (spec.alphas[best // 4], spec.gammas[best % 4])


def test_few_samples_rule_nothing_out(monkeypatch):
    z, targets = content_and_its_mixtures(300)
    seen = []
    monkeypatch.setattr(ridge, "cv_scores", lambda *args: seen.append(len(args[0])) or cv_scores(*args))
    grid_search(z, targets, Grid([1.0], [0.2], screen_fraction=0.25))
    assert seen == [300]


@pytest.mark.slow
@pytest.mark.parametrize("g", [0, 100])
def test_screened_search_keeps_within_the_bounds_of_scikit_learns(g):
    n = 2560
    z, factors = content_and_its_mixtures(2 * n, g)
    factors["wiggly"] = torch.sin(5 * z[:, :1]) + 0.3 * normal(2 * n, 1, seed=g + 9)
    x, x_test = standardise(z[:n], z[n:])
    fit = {name: y[:n] for name, y in factors.items()}
    spec = KernelRidge()
    grid = Grid(spec.alphas, spec.gammas, screen_fraction=spec.screen_fraction)
    choices = grid_search(x, fit, grid)
    predictions = predict_kernel_ridge(x, x_test, fit, grid)
    for name, y in fit.items():
        theirs = model_selection.GridSearchCV(
            kernel_ridge.KernelRidge(kernel="rbf"), {"alpha": spec.alphas, "gamma": spec.gammas}, cv=3
        ).fit(x.numpy(), y.numpy())
        # Their score of our choice, to their best.
        ours = theirs.cv_results_["params"].index(
            {"alpha": choices[name].alpha, "gamma": choices[name].gamma}
        )
        assert theirs.cv_results_["mean_test_score"][ours] >= theirs.best_score_ - 1e-3
        expected = theirs.score(x_test.numpy(), factors[name][n:].numpy())
        assert r2_score(factors[name][n:], predictions[name]) == pytest.approx(expected, abs=2e-3)
