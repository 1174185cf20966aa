"""Kernel systems: float32 factors that give float64 solutions, and hyperparameters from a part of the samples."""

import math

import pytest
import torch
from sklearn import kernel_ridge

from mmcl.evaluators import KernelRidge, Representations
from mmcl.evaluators import kernel as module
from mmcl.evaluators.base import standardise
from mmcl.evaluators.kernel import Kernel, conjugate_gradients, grid_search, rbf


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("gamma", [0.01, 0.2, 5.0, 20.0, 100.0])
@pytest.mark.parametrize("alpha", [1.0, 1e-3])
def test_solutions_are_those_of_float64(monkeypatch, held, gamma, alpha):
    monkeypatch.setattr(module, "LARGEST_DENSE", 10**6 if held else 0)
    x, y = normal(700, 4), normal(700, 3, seed=1)
    w = Kernel(x, gamma, chunk=97).solve(alpha, y)
    exact = torch.linalg.solve(rbf(x, x, gamma) + alpha * torch.eye(700, dtype=torch.float64), y)
    assert w.dtype == torch.float64
    # The residual is 1e-9 of y, and the smallest eigenvalue alpha at least.
    assert (w - exact).norm() <= 1e-9 * math.sqrt(3) * y.norm() / alpha
    new = rbf(normal(50, 4, seed=2), x, gamma)
    torch.testing.assert_close(new @ w, new @ exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("held", [True, False])
def test_where_float32_is_not_positive_definite_the_shifted_factor_serves(monkeypatch, held):
    monkeypatch.setattr(module, "LARGEST_DENSE", 10**6 if held else 0)
    dtypes, factor = [], Kernel._factor

    def seen(self, diagonal, dtype, scale):
        found = factor(self, diagonal, dtype, scale)
        dtypes.append((dtype, found is not None))
        return found

    monkeypatch.setattr(Kernel, "_factor", seen)
    x, y = 1e-3 * normal(600, 3), normal(600, 2, seed=1)  # a kernel of nearly all ones
    alpha = 1e-5
    w = Kernel(x, 0.01, chunk=100).solve(alpha, y)
    assert dtypes[0] == (torch.float32, False), "the case must arise"
    assert dtypes[1] == (torch.float32, True)
    matrix = rbf(x, x, 0.01) + alpha * torch.eye(600, dtype=torch.float64)
    assert (matrix @ w - y).norm() <= 1e-6 * y.norm()


def test_conjugate_gradients_end_with_a_solution_or_say_that_they_have_none():
    a = normal(40, 40)
    matrix = a @ a.T + torch.eye(40, dtype=torch.float64)
    y = torch.cat([normal(40, 2, seed=1), torch.zeros(40, 1, dtype=torch.float64)], dim=1)
    exact = torch.linalg.solve(matrix, y)
    rough = torch.linalg.inv(matrix + 0.3 * torch.diag(normal(40, seed=2).abs()))
    found = conjugate_gradients(lambda v: matrix @ v, lambda r: rough @ r, y)
    torch.testing.assert_close(found, exact, rtol=1e-7, atol=1e-7)
    assert torch.equal(found[:, 2], torch.zeros(40, dtype=torch.float64))
    assert (
        conjugate_gradients(lambda v: matrix @ v, lambda r: r, y) is None
    )  # as bad as a preconditioner can be


def content_and_its_mixtures(n, g=0):
    content, other = normal(n, 5, seed=g), normal(n, 5, seed=g + 1)
    z = torch.tanh(content @ normal(5, 5, seed=g + 2) / 2) + 0.05 * normal(n, 5, seed=g + 3)
    return z, {
        "content": content,
        "style": content @ normal(5, 5, seed=g + 4) + other,
        "noise": normal(n, 5, seed=g + 5),
    }


def test_the_first_samples_choose_and_all_of_them_fit():
    z, factors = content_and_its_mixtures(900)
    fit = Representations({"h": z[:600]}, {k: y[:600] for k, y in factors.items()})
    test = Representations({"h": z[600:]}, {k: y[600:] for k, y in factors.items()})
    rows = {
        row.target: row.value for row in KernelRidge(n_fit=600, n_test=300, n_select=200).evaluate(fit, test)
    }
    x, x_test = standardise(fit.z["h"], test.z["h"])
    spec = KernelRidge()
    choices = grid_search(x[:200], {k: y[:200] for k, y in fit.factors.items()}, spec.alphas, spec.gammas)
    for name, choice in choices.items():
        model = kernel_ridge.KernelRidge(kernel="rbf", alpha=choice.alpha, gamma=choice.gamma)
        model.fit(x.numpy(), fit.factors[name].numpy())
        expected = model.score(x_test.numpy(), test.factors[name].numpy())
        assert rows[name] == pytest.approx(expected, abs=1e-6)
