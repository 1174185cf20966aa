"""Gaussian closed forms: against numerical optimisation, divergences of the laws, sampled losses, a table."""

import math
from functools import partial

import pytest
import torch
from scipy import optimize

from mmcl.losses import Normaliser, Similarity, contrastive_loss
from mmcl.theory import (
    GaussianPair,
    Tilt,
    Tilting,
    conditional_loss,
    conditional_optimum,
    joint_loss,
    joint_optimum,
)

TILTS = {
    Tilting.inner_product: Tilt.inner_product,
    Tilting.squared_distance: Tilt.squared_distance,
}
LOSSES = {
    "two-sided": (conditional_loss, conditional_optimum),
    "u given v": (
        partial(conditional_loss, weight_u_given_v=2.0, weight_v_given_u=0.0),
        partial(conditional_optimum, weight_u_given_v=2.0, weight_v_given_u=0.0),
    ),
    "v given u": (
        partial(conditional_loss, weight_u_given_v=0.0, weight_v_given_u=0.5),
        partial(conditional_optimum, weight_u_given_v=0.0, weight_v_given_u=0.5),
    ),
    "joint": (joint_loss, joint_optimum),
}
CASES = [(tilting, loss) for tilting in Tilting for loss in LOSSES]
IDS = [f"{tilting.value}, {loss}" for tilting, loss in CASES]


def generator(seed):
    return torch.Generator().manual_seed(seed)


def problem(seed):
    """A law of random sizes from 2 to 6, of which the canonical correlations are at most 0.9."""
    g = generator(seed)
    n_u, n_v = (int(torch.randint(2, 7, (), generator=g)) for _ in range(2))
    k = min(n_u, n_v)
    correlations = 0.9 * torch.rand(k, generator=g, dtype=torch.float64).sort(descending=True).values
    roots = [
        torch.eye(n, dtype=torch.float64) + 0.3 * torch.randn(n, n, generator=g, dtype=torch.float64)
        for n in (n_u, n_v)
    ]
    bases = [
        torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64))[0][:, :k] for n in (n_u, n_v)
    ]
    cross = roots[0] @ (bases[0] * correlations) @ bases[1].mT @ roots[1].mT
    covariance = torch.cat(
        [
            torch.cat([roots[0] @ roots[0].mT, cross], dim=1),
            torch.cat([cross.mT, roots[1] @ roots[1].mT], dim=1),
        ]
    )
    return GaussianPair(covariance, n_u), correlations


def losses_found(pair, size, tilting, loss, starts):
    """What LBFGS finds from ``starts`` small random encoders; of the best, improved in a trust region, also the tilt.

    The unknowns are G C_uu^1/2 and H C_vv^1/2, whose scales are alike.
    """
    n_u, n_v = pair.c_uv.shape
    whiten = pair.canonical.whiten_u, pair.canonical.whiten_v

    def tilt(x):
        g, h = x[: size * n_u].view(size, n_u), x[size * n_u :].view(size, n_v)
        return TILTS[tilting](g @ whiten[0], h @ whiten[1])

    def value(x):
        found = loss(pair, tilt(x))
        return (
            found if torch.isfinite(found) else 10 + 10 * x.square().sum()
        )  # leads back to where there is a law

    found = []
    for seed in range(starts):
        start = torch.randn(size * (n_u + n_v), generator=generator(seed), dtype=torch.float64)
        x = (0.3 * start).requires_grad_()
        optimizer = torch.optim.LBFGS([x], max_iter=200, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

        def closure(x=x, optimizer=optimizer):
            optimizer.zero_grad()
            found = value(x)
            found.backward()
            return found

        optimizer.step(closure)
        found.append((float(value(x.detach())), x.detach()))
    derivatives = [torch.autograd.functional.jacobian, torch.autograd.functional.hessian]
    best = optimize.minimize(
        lambda x: float(value(torch.from_numpy(x))),
        min(found, key=lambda pair: pair[0])[1].numpy(),
        method="trust-exact",
        jac=lambda x: derivatives[0](value, torch.from_numpy(x)).numpy(),
        hess=lambda x: derivatives[1](value, torch.from_numpy(x)).numpy(),
        options={"gtol": 1e-11, "maxiter": 50},
    )
    return [*(value for value, _ in found), best.fun], tilt(torch.from_numpy(best.x))


def check(seed, tilting, name, starts):
    pair, correlations = problem(seed)
    torch.testing.assert_close(pair.canonical.correlations, correlations, rtol=1e-9, atol=1e-9)
    loss, optimum = LOSSES[name]
    largest = len(correlations)
    for size in {1, (largest + 1) // 2, largest}:
        best = optimum(pair, size, tilting)
        assert float(loss(pair, best.tilt)) == pytest.approx(best.loss, rel=1e-9)
        found, tilt = losses_found(pair, size, tilting, loss, starts)
        assert min(found) >= best.loss - 1e-8 * abs(best.loss)
        assert min(found) == pytest.approx(best.loss, rel=1e-8)  # it is reached
        gap = correlations[size - 1] - correlations[size] if size < largest else correlations[size - 1]
        if gap > 0.05:  # else the loss is too flat for the fifth digit
            for ours, theirs in zip(
                (best.tilt.a, best.tilt.b, best.tilt.c), (tilt.a, tilt.b, tilt.c), strict=True
            ):
                assert float((ours - theirs).norm()) <= 1e-5 * max(float(ours.norm()), 1.0)


@pytest.mark.parametrize(("tilting", "name"), CASES, ids=IDS)
def test_no_encoders_are_below_the_optimum(tilting, name):
    check(100, tilting, name, starts=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("tilting", Tilting)
def test_no_encoders_are_below_the_optimum_in_twenty_problems(tilting, name, seed):
    check(seed, tilting, name, starts=5)


def divergence(covariance_p, covariance_q):
    """KL(N(0, P) || N(0, Q))."""
    ratio = torch.linalg.solve(covariance_q, covariance_p)
    return 0.5 * float(ratio.trace() - len(ratio) - torch.logdet(ratio))


def expected_divergence(pair, ours, true, other):
    """E KL(mu_{u|v} || nu_{u|v}) of two conditional laws (slope, covariance), over v of covariance ``other``."""
    (slope, covariance), (true_slope, true_covariance) = ours, true
    ratio = torch.linalg.solve(covariance, true_covariance)
    difference = slope - true_slope
    mean = torch.linalg.solve(covariance, difference @ other @ difference.mT).trace()
    return 0.5 * float(ratio.trace() - len(ratio) - torch.logdet(ratio) + mean)


@pytest.mark.parametrize("tilting", Tilting)
@pytest.mark.parametrize("seed", range(3))
def test_losses_are_divergences_less_the_mutual_information(tilting, seed):
    """At any encoders small enough for a joint law."""
    pair, _ = problem(seed)
    g = generator(seed)
    n_u, n_v = pair.c_uv.shape
    tilt = TILTS[tilting](*(0.1 * torch.randn(2, n, generator=g, dtype=torch.float64) for n in (n_u, n_v)))
    nu = tilt.covariance(pair)
    joint = divergence(pair.covariance, nu)
    assert float(joint_loss(pair, tilt)) + pair.information == pytest.approx(joint, abs=1e-9)
    parts = (
        expected_divergence(pair, tilt.u_given_v(pair), pair.u_given_v(), pair.c_vv),
        expected_divergence(pair, tilt.v_given_u(pair), pair.v_given_u(), pair.c_uu),
    )
    for w_u, w_v in ((1.0, 1.0), (2.0, 0.0), (0.3, 1.1)):
        found = float(conditional_loss(pair, tilt, w_u, w_v)) + (w_u + w_v) / 2 * pair.information
        assert found == pytest.approx(w_u / 2 * parts[0] + w_v / 2 * parts[1], abs=1e-9)
    assert float(conditional_loss(pair, tilt)) <= float(joint_loss(pair, tilt))
    # nu's conditionals are those of its own covariance.
    slope = torch.linalg.solve(nu[n_u:, n_u:], nu[:n_u, n_u:], left=False)
    torch.testing.assert_close(tilt.u_given_v(pair)[0], slope)
    torch.testing.assert_close(tilt.u_given_v(pair)[1], nu[:n_u, :n_u] - slope @ nu[n_u:, :n_u])


@pytest.mark.parametrize("tilting", Tilting)
@pytest.mark.parametrize("normaliser", Normaliser)
def test_the_frameworks_loss_of_many_samples_is_the_exact_one(tilting, normaliser):
    """K = 8,192 in float64, within four standard errors over ten batches and the bias of log-mean-exp, O(1/K)."""
    pair, _ = problem(3)
    g = generator(0)
    n_u, n_v = pair.c_uv.shape
    encoders = [0.15 * torch.randn(3, n, generator=g, dtype=torch.float64) for n in (n_u, n_v)]
    tilt = TILTS[tilting](*encoders)
    exact = float((joint_loss if normaliser is Normaliser.joint else conditional_loss)(pair, tilt))
    root = torch.linalg.cholesky(pair.covariance)
    similarity, temperature = {
        Tilting.inner_product: (Similarity.inner_product, 1.0),
        Tilting.squared_distance: (Similarity.negative_squared_euclidean, 2.0),
    }[tilting]
    values = []
    for _ in range(10):
        x = torch.randn(8192, n_u + n_v, generator=g, dtype=torch.float64) @ root.mT
        z = {"u": x[:, :n_u] @ encoders[0].mT, "v": x[:, n_u:] @ encoders[1].mT}
        options = {"similarity": similarity, "temperature": temperature, "normaliser": normaliser}
        values.append(float(contrastive_loss(z, **options)))
    found = torch.tensor(values)
    assert float(found.mean()) == pytest.approx(exact, abs=4 * float(found.std()) / math.sqrt(10) + 2e-3)


def test_the_table_in_two_dimensions():
    """C = [[1.5, 1], [1, 1.5]] of the paper's Section 5.4; values of our notes, 3.6, to five digits."""
    pair = GaussianPair(torch.tensor([[1.5, 1.0], [1.0, 1.5]]), 1)
    inner, distance = Tilting.inner_product, Tilting.squared_distance
    rows = {
        (0.44444, 0, 0): (conditional_optimum(pair, 1, inner), (0.66667, 1.5), (0.66667, 1.5), (2.7, 1.8, 2.7)),
        (0.8, 0.53333, 1.2): (
            conditional_optimum(pair, 1, distance, 2, 0), (0.66667, 0.83333), (0.42857, 0.53571), (1.16667, 0.5, 0.75)
        ),
        (0.33333, 0, 0): (joint_optimum(pair, 1, inner), (0.5, 1.5), (0.5, 1.5), (2, 1, 2)),
        (0.79076, 0.79076, 0.79076): (
            conditional_optimum(pair, 1, distance), (0.54257, 0.68614), (0.54257, 0.68614), (0.9724, 0.5276, 0.9724)
        ),
        (0.66667, 0.66667, 0.66667): (joint_optimum(pair, 1, distance), (0.5, 0.75), (0.5, 0.75), (1, 0.5, 1)),
    }  # fmt: skip
    for numbers, (best, u_given_v, v_given_u, (var_u, cov, var_v)) in rows.items():
        tilt = best.tilt
        assert [float(x) for x in (tilt.a, tilt.b, tilt.c)] == pytest.approx(numbers, abs=6e-6)
        assert [float(x) for x in tilt.u_given_v(pair)] == pytest.approx(u_given_v, abs=6e-6)
        assert [float(x) for x in tilt.v_given_u(pair)] == pytest.approx(v_given_u, abs=6e-6)
        expected = [var_u, cov, cov, var_v]
        assert tilt.covariance(pair).flatten().tolist() == pytest.approx(expected, abs=6e-5)


def test_what_each_optimum_matches():
    """Joint: the cross-covariance; conditional: both means; one-sided with the squared distance: one conditional."""
    pair, correlations = problem(7)
    full = len(correlations)
    n_u = pair.size_u
    joint = joint_optimum(pair, full, Tilting.inner_product).tilt.covariance(pair)
    torch.testing.assert_close(joint[:n_u, n_u:], pair.c_uv)
    conditional = conditional_optimum(pair, full, Tilting.inner_product, 0.2, 3.0).tilt
    for ours, true, prior in (
        (conditional.u_given_v(pair), pair.u_given_v(), pair.c_uu),
        (conditional.v_given_u(pair), pair.v_given_u(), pair.c_vv),
    ):
        torch.testing.assert_close(ours[0], true[0])
        torch.testing.assert_close(ours[1], prior)
    one_sided = conditional_optimum(pair, full, Tilting.squared_distance, 1.0, 0.0)
    for ours, true in zip(one_sided.tilt.u_given_v(pair), pair.u_given_v(), strict=True):
        torch.testing.assert_close(ours, true)
    assert one_sided.loss == pytest.approx(-pair.information / 2)
    other = conditional_optimum(pair, full, Tilting.squared_distance, 0.0, 1.0)
    for ours, true in zip(other.tilt.v_given_u(pair), pair.v_given_u(), strict=True):
        torch.testing.assert_close(ours, true)


def test_independent_vectors_have_nothing_to_tilt():
    pair = GaussianPair(torch.diag(torch.tensor([1.0, 2.0, 3.0])), 2)
    assert pair.information == 0
    for best in (
        *(conditional_optimum(pair, 1, tilting) for tilting in Tilting),
        *(joint_optimum(pair, 1, tilting) for tilting in Tilting),
    ):
        assert best.loss == 0
        assert float(best.tilt.a.abs().max()) == 0


@pytest.mark.parametrize(
    ("covariance", "size", "message"),
    [
        ([[1.0, 1.0], [1.0, 1.0]], 1, "canonical correlations below 1"),
        ([[1.0, 0.0], [0.0, 0.0]], 1, "positive definite"),
        ([[1.0, 2.0], [2.0, 1.0]], 1, "positive definite"),
        ([[1.0, 0.5], [0.4, 1.0]], 1, "finite and symmetric"),
        ([[1.0, math.nan], [math.nan, 1.0]], 1, "finite and symmetric"),
        ([[1.0, 0.0]], 1, r"covariance\.shape=\(1, 2\): must be square"),
        ([[1.0, 0.0], [0.0, 1.0]], 2, r"size_u=2: must be from 1 to 1"),
    ],
)
def test_what_is_no_law_is_refused(covariance, size, message):
    with pytest.raises(ValueError, match=message):
        GaussianPair(torch.tensor(covariance), size)


def test_small_units_are_no_singular_law():
    pair = GaussianPair(torch.tensor([[1e-20, 6e-11], [6e-11, 1.0]], dtype=torch.float64), 1)
    assert float(pair.canonical.correlations) == pytest.approx(0.6)


def test_what_has_no_optimum_is_refused():
    pair, _ = problem(0)
    with pytest.raises(ValueError, match=r"weights=\(1\.0, 2\.0\): must be equal, or one of them 0"):
        conditional_optimum(pair, 1, Tilting.squared_distance, 1.0, 2.0)
    with pytest.raises(ValueError, match=r"weights=\(0\.0, 0\.0\)"):
        conditional_optimum(pair, 1, Tilting.inner_product, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"size=0: must be >= 1"):
        joint_optimum(pair, 0, Tilting.inner_product)
    big = Tilt.inner_product(torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    unit = GaussianPair(torch.eye(4), 2)
    assert float(joint_loss(unit, big)) == math.inf
    with pytest.raises(ValueError, match="there is no such law"):
        big.covariance(unit)
