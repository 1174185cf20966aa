"""The decomposition of discrete laws: closed forms, a search of all binary laws, a convex-programming library."""

import doctest
import math
import warnings

import pytest
import torch
from torch.nn.functional import one_hot

from mmcl.theory import (
    ConvergenceError,
    broja,
    decompose,
    entropy,
    informations,
    mutual_information,
    optimum,
    pid,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # on import: which of its optional solvers there are
    import cvxpy

LEVELS = [2, 3, 4, 5, 10]
RHOS = [0.0, 0.25, 0.5, 0.9, 1.0]


def generator(seed):
    return torch.Generator().manual_seed(seed)


def atoms(p):
    found = decompose(p)
    return [found.redundancy, found.unique1, found.unique2, found.synergy]


def binary_entropy(p):
    return entropy(torch.tensor([p, 1 - p], dtype=torch.float64))


def law_of(p, label):
    """P(x1, x2, y) of weights ``p`` of x1 and x2 and a target that is a function of both, ``label``: both (n1, n2)."""
    return (p.double() / p.double().sum())[..., None] * one_hot(label)


def trifeature(levels, task, rho=0.0):
    """Pairs of one shape, as (shape, texture1) and (shape, colour2), of which a share ``rho`` is forced to match."""
    one = torch.eye(levels, dtype=torch.float64) / levels
    p = torch.einsum("st,ab->satb", one, (1 - rho) / levels**2 + rho * one)
    shape, texture1, _, colour2 = torch.meshgrid(*[torch.arange(levels)] * 4, indexing="ij")
    label = {"share": shape, "texture1": texture1, "synergy": (texture1 == colour2).long()}[task]
    return (p[..., None] * one_hot(label)).reshape(levels**2, levels**2, -1)


def test_doctests():
    for module in (pid, broja):
        assert doctest.testmod(module, extraglobs={"torch": torch}).failed == 0


class TestInformation:
    def test_entropy(self):
        assert entropy(torch.ones(2, 4) / 8) == pytest.approx(3)
        assert entropy(torch.tensor([1.0, 0.0])) == 0

    def test_mutual_information(self):
        """A binary symmetric channel of uniform input; independent variables."""
        channel = torch.tensor([[0.45, 0.05], [0.05, 0.45]], dtype=torch.float64)
        assert mutual_information(channel) == pytest.approx(1 - binary_entropy(0.1))
        a, b = (torch.tensor(p, dtype=torch.float64) for p in ([0.2, 0.8, 0.0], [0.5, 0.1, 0.4]))
        assert 0 <= mutual_information(torch.outer(a, b)) < 1e-12

    def test_informations_of_each_source_and_of_both(self):
        """Y of X1 alone, and of X2 alone; two sources that tell the same."""
        own = torch.eye(2, dtype=torch.float64)[:, None, :].expand(2, 3, 2) / 6
        assert informations(own) == pytest.approx((1, 0, 1))
        assert informations(own.transpose(0, 1)) == pytest.approx((0, 1, 1))
        law = torch.tensor([[[0.5, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.5]]])
        assert informations(law) == pytest.approx((1, 1, 1))
        with pytest.raises(ValueError, match="n1, n2, ny"):
            informations(torch.ones(2, 2) / 4)


class TestClosedForms:
    """The table of section 6 of our notes on CoMM, from formulas."""

    bits = torch.tensor([0, 1])

    @pytest.mark.parametrize(
        ("p", "label", "expected"),
        [
            (torch.eye(2), bits[:, None].expand(2, 2), [1, 0, 0, 0]),
            (torch.ones(2, 2), bits[:, None].expand(2, 2), [0, 1, 0, 0]),
            (torch.ones(2, 2), bits[:, None] ^ bits, [0, 0, 0, 1]),
            (torch.ones(2, 2), bits[:, None] & bits, [0.75 * math.log2(4 / 3), 0, 0, 0.5]),
        ],
        ids=["copy", "unique", "xor", "and"],
    )
    def test_two_bits(self, p, label, expected):
        assert atoms(law_of(p, label)) == pytest.approx(expected, abs=1e-7)

    @pytest.mark.parametrize("levels", LEVELS)
    def test_trifeature(self, levels):
        one = math.log2(levels)
        assert atoms(trifeature(levels, "share")) == pytest.approx([one, 0, 0, 0], abs=1e-7)
        assert atoms(trifeature(levels, "texture1")) == pytest.approx([0, one, 0, 0], abs=1e-7)
        synergy = binary_entropy(1 / levels)
        assert atoms(trifeature(levels, "synergy")) == pytest.approx([0, 0, 0, synergy], abs=1e-7)

    @pytest.mark.parametrize("levels", [3, 10])
    @pytest.mark.parametrize("rho", RHOS)
    def test_forced_pairs(self, levels, rho):
        """Whether they match stays synergy; of texture1, what colour2 tells becomes redundant."""
        match = rho + (1 - rho) / levels
        synergy = atoms(trifeature(levels, "synergy", rho))
        assert synergy == pytest.approx([0, 0, 0, binary_entropy(match)], abs=1e-7)
        others = [(1 - rho) / levels] * (levels - 1)
        shared = math.log2(levels) - entropy(torch.tensor([match, *others], dtype=torch.float64))
        texture = atoms(trifeature(levels, "texture1", rho))
        assert texture == pytest.approx([shared, math.log2(levels) - shared, 0, 0], abs=1e-7)

    def test_forced_pairs_as_noted(self):
        synergies = [decompose(trifeature(3, "synergy", rho)).synergy for rho in RHOS]
        assert synergies == pytest.approx([0.918, 1.0, 0.918, 0.353, 0], abs=6e-4)
        texture = [atoms(trifeature(3, "texture1", rho))[:2] for rho in (0.0, 0.5, 1.0)]
        assert torch.tensor(texture) == pytest.approx(
            torch.tensor([[0, 1.585], [0.333, 1.252], [1.585, 0]]), abs=6e-4
        )

    @pytest.mark.parametrize("levels", [3, 7])
    def test_a_sum_modulo_its_levels_is_synergy(self, levels):
        a = torch.arange(levels)
        p = law_of(torch.ones(levels, levels), (a[:, None] + a) % levels)
        assert atoms(p) == pytest.approx([0, 0, 0, math.log2(levels)], abs=1e-7)

    def test_sums_of_atoms(self):
        p = random_law(generator(0), "dense")
        found = decompose(p)
        assert found.total == pytest.approx(mutual_information(p.flatten(0, 1)), abs=1e-12)
        assert found.information1 == pytest.approx(mutual_information(p.sum(dim=1)), abs=1e-12)
        assert found.information2 == pytest.approx(mutual_information(p.sum(dim=0)), abs=1e-12)
        given_y = mutual_information(p.sum(dim=2)) - sum(
            float(q.sum()) * mutual_information(q / q.sum()) for q in p.unbind(dim=2)
        )
        assert found.co_information == pytest.approx(given_y, abs=1e-12)


# How a law of random size is drawn: with full support; over orders of magnitude; with many zeros; with a target that is
# a function of the sources, at random probabilities or equal ones; with symbols that have no mass; of few counts.
KINDS = ["dense", "powers", "sparse", "function", "equal", "unused", "counts"]


def random_law(rng, kind, largest=6):
    shape = torch.randint(2, largest + 1, (3,), generator=rng).tolist()
    p = torch.rand(shape, generator=rng, dtype=torch.float64)
    label = one_hot(torch.randint(shape[2], shape[:2], generator=rng), shape[2])
    if kind == "powers":
        p = 10 ** (-6 * p)
    elif kind == "sparse":
        p = p * (torch.rand(shape, generator=rng) < 0.25)
        p[0, 0, 0] += 0.1
    elif kind == "function":
        p = p[..., :1] * label
    elif kind == "equal":
        p = label.double()
    elif kind == "unused":
        p[-1], p[:, 0], p[..., int(torch.randint(shape[2], (), generator=rng))] = 0, 0, 0
    elif kind == "counts":
        cells = torch.randint(p.numel(), (20,), generator=rng)
        p = torch.bincount(cells, minlength=p.numel()).reshape(shape).double()
    return p / p.sum()


def least_information_by_cvxpy(p):
    """I(X1, X2; Y), in bits, of the law with p's marginals that has least: an exponential-cone programme."""
    first, second = p.sum(dim=1), p.sum(dim=0)
    cells = [(i, j, y) for i, j, y in torch.cartesian_prod(*[torch.arange(n) for n in p.shape]).tolist()
             if first[i, y] > 0 and second[j, y] > 0]  # fmt: skip
    q = cvxpy.Variable(len(cells), nonneg=True)

    def incidence(keys):
        names = sorted(set(keys))
        rows = torch.tensor([[float(key == name) for key in keys] for name in names])
        return names, rows.numpy()

    pairs, of_pair = incidence([(i, j) for i, j, _ in cells])
    totals = of_pair.T[:, [pairs.index(pair) for pair in pairs]] @ (of_pair @ q)
    constraints = []
    for marginal, keys in (
        (first, [(i, y) for i, _, y in cells]),
        (second, [(j, y) for _, j, y in cells]),
    ):
        names, rows = incidence(keys)
        constraints.append(rows @ q == [float(marginal[name]) for name in names])
    problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum(cvxpy.rel_entr(q, totals))), constraints)
    problem.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    return problem.value / math.log(2) + entropy(p.sum(dim=(0, 1)))


def check_against_cvxpy(seed):
    p = random_law(generator(seed), KINDS[seed % len(KINDS)])
    q = optimum(p)
    assert torch.all(q >= 0)
    assert float((q.sum(dim=1) - p.sum(dim=1)).abs().max()) < 1e-12
    assert float((q.sum(dim=0) - p.sum(dim=0)).abs().max()) < 1e-12
    least = mutual_information(q.flatten(0, 1))
    assert least == pytest.approx(least_information_by_cvxpy(p), abs=1e-5)
    found = decompose(p)
    one, two = mutual_information(p.sum(dim=1)), mutual_information(p.sum(dim=0))
    by_definition = [
        one + two - least, least - two, least - one, mutual_information(p.flatten(0, 1)) - least
    ]  # fmt: skip
    assert atoms(p) == pytest.approx(by_definition, abs=1e-7)
    assert min(atoms(p)) >= 0
    assert 0 <= found.gap <= broja.GAP


@pytest.mark.parametrize("seed", range(14))
def test_it_is_the_librarys_optimum(seed):
    check_against_cvxpy(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(14, 214))
def test_it_is_the_librarys_optimum_on_200_laws(seed):
    check_against_cvxpy(seed)


@pytest.mark.parametrize("seed", range(5))
def test_no_binary_law_has_less(seed):
    """With all variables binary, Q is given by q(0, 0, 0) and q(0, 0, 1): all of them on a grid, which is narrowed."""
    p = torch.rand(2, 2, 2, generator=generator(seed), dtype=torch.float64) ** 3
    p = p / p.sum()
    a, b = p.sum(dim=1)[0], p.sum(dim=0)[0]  # of x1 = 0 and of x2 = 0, for each y
    total = p.sum(dim=(0, 1))
    low, high = (a + b - total).clamp(min=0), torch.minimum(a, b)
    outer_low, outer_high = low, high
    for _ in range(8):
        grid = [torch.linspace(float(low[y]), float(high[y]), 101, dtype=torch.float64) for y in (0, 1)]
        corner = torch.stack(torch.meshgrid(*grid, indexing="ij"), dim=-1)
        q = torch.stack([corner, a - corner, b - corner, total - a - b + corner], dim=-2).clamp(min=0)
        values = (torch.special.entr(q.sum(dim=-1)) - torch.special.entr(q).sum(dim=-1)).sum(dim=-1)
        best = corner.flatten(0, 1)[values.argmin()]
        width = (high - low) / 20
        low, high = torch.maximum(best - width, outer_low), torch.minimum(best + width, outer_high)
    least = float(values.min()) / math.log(2) + entropy(total)
    assert mutual_information(optimum(p).flatten(0, 1)) == pytest.approx(least, abs=2e-8)


def concatenated(p, q):
    """The law of independent pairs of p's and q's variables."""
    return torch.einsum("ijy,klz->ikjlyz", p, q).reshape(
        [n * m for n, m in zip(p.shape, q.shape, strict=True)]
    )


@pytest.mark.parametrize("kind", KINDS)
class TestInvariances:
    def test_sources_change_places(self, kind):
        p = random_law(generator(1), kind)
        redundancy, unique1, unique2, synergy = atoms(p)
        assert atoms(p.transpose(0, 1)) == pytest.approx([redundancy, unique2, unique1, synergy], abs=3e-8)

    def test_symbols_have_no_names(self, kind):
        rng = generator(2)
        p = random_law(rng, kind)
        q = p[torch.randperm(p.shape[0], generator=rng)][:, torch.randperm(p.shape[1], generator=rng)]
        q = q[..., torch.randperm(p.shape[2], generator=rng)]
        assert atoms(q) == pytest.approx(atoms(p), abs=3e-8)

    def test_independent_problems_add_up(self, kind):
        rng = generator(3)
        p, q = random_law(rng, kind, largest=3), random_law(rng, "dense", largest=3)
        expected = [a + b for a, b in zip(atoms(p), atoms(q), strict=True)]
        assert atoms(concatenated(p, q)) == pytest.approx(expected, abs=3e-8)

    def test_what_a_source_has_beside_the_target_is_nothing(self, kind):
        """A symbol that a coin splits in two: the two are merged again, and the optimum has them in that proportion."""
        p = random_law(generator(4), kind)
        split = torch.cat([0.3 * p[:1], p[1:], 0.7 * p[:1]])
        assert atoms(split) == pytest.approx(atoms(p), abs=3e-8)
        assert float((optimum(split).sum(dim=1) - split.sum(dim=1)).abs().max()) < 1e-12

    def test_symbols_that_nearly_tell_the_same_are_no_trouble(self, kind):
        """The coin tells something, down to where symbols are merged; information is continuous."""
        p = random_law(generator(5), kind)
        for difference in (1e-6, 1e-9, 1e-11, 1e-12):
            tilt = 1 + difference * torch.arange(p.shape[2])
            split = torch.cat([0.3 * p[:1] * tilt, p[1:], 0.7 * p[:1]])
            assert atoms(split / split.sum()) == pytest.approx(atoms(p), abs=1e-4)


def test_the_dual_is_a_lower_bound():
    """Weak duality of any multipliers and any law of the given marginals: what the certificate rests on."""
    rng = generator(6)
    for _ in range(200):
        p = random_law(rng, "sparse")
        p = p[p.sum(dim=(1, 2)) > 0][:, p.sum(dim=(0, 2)) > 0][..., p.sum(dim=(0, 1)) > 0]
        first, second = p.sum(dim=1), p.sum(dim=0)
        u, v = (4 * torch.randn(m.shape, generator=rng, dtype=torch.float64) for m in (first, second))
        bound = broja._dual_value(u, v, first, second, (first[:, None] > 0) & (second > 0))
        assert bound <= float((p * broja._log_conditional(p)).sum()) + 1e-12


def test_a_law_is_repaired_to_its_marginals():
    p, q = torch.rand(2, 4, 3, 5, generator=generator(7), dtype=torch.float64)
    p, q = p / p.sum(), q / q.sum()
    q = q * (p.sum(dim=(0, 1)) / q.sum(dim=(0, 1)))
    repaired = broja._repair(q, p.sum(dim=1), p.sum(dim=0))
    assert torch.allclose(repaired.sum(dim=1), p.sum(dim=1), atol=1e-15)
    assert torch.allclose(repaired.sum(dim=0), p.sum(dim=0), atol=1e-15)
    assert torch.allclose(broja._repair(p, p.sum(dim=1), p.sum(dim=0)), p, atol=1e-15)


@pytest.mark.parametrize("orders", [20, 300])
def test_orders_of_magnitude(orders):
    """What is far below rounding makes no difference, and is no trouble."""
    for seed in range(5):
        p = 10 ** (-orders * torch.rand(4, 5, 3, generator=generator(seed), dtype=torch.float64))
        p = p / p.sum()
        found = decompose(p)
        assert found.gap <= broja.GAP
        cut = torch.where(p > 1e-12, p, 0.0)
        assert atoms(cut / cut.sum()) == pytest.approx(atoms(p), abs=1e-7)


@pytest.mark.parametrize(
    ("levels", "noise"),
    [(2, 1.0), *(pytest.param(*row, marks=pytest.mark.slow) for row in [(2, 1e-3), (10, 1e-3), (10, 1.0)])],
)
def test_large_laws(levels, noise):
    """No two symbols tell the same, so nothing is merged."""
    rng = generator(8)
    label = torch.randint(levels, (100, 100), generator=rng)
    p = law_of(torch.rand(100, 100, generator=rng), label)
    p = p + noise * torch.rand(p.shape, generator=rng, dtype=torch.float64) ** 3
    p = p / p.sum()
    found = decompose(p)
    assert found.gap <= broja.GAP
    q = optimum(p)
    assert float((q.sum(dim=1) - p.sum(dim=1)).abs().max()) < 1e-12
    assert float((q.sum(dim=0) - p.sum(dim=0)).abs().max()) < 1e-12
    least = mutual_information(q.flatten(0, 1))
    assert found.unique1 == pytest.approx(least - mutual_information(p.sum(dim=0)), abs=2e-8)
    assert found.total == pytest.approx(mutual_information(p.flatten(0, 1)), abs=1e-10)


class TestErrors:
    @pytest.mark.parametrize(
        ("p", "message"),
        [
            (torch.ones(2, 2) / 4, r"p\.shape=\(2, 2\): must be \(n1, n2, ny\)"),
            (torch.ones(2, 2, 2), r"p\.sum\(\)=8\.0: must be 1 up to 1e-09; in float64, p / p\.sum\(\) is"),
            (torch.ones(2, 2, 2) / 8 + 1e-8, r"p\.sum\(\)"),
            (torch.tensor([[[1.5, -0.5]]]), r"p=\[-0\.5\]: must be >= 0 everywhere"),
            (torch.tensor([[[1.0, math.nan]]]), r"p=\[nan\]: must be finite everywhere"),
            (torch.tensor([[[math.inf, 0.0]]]), r"p=\[inf\]: must be finite"),
            (torch.zeros(2, 0, 2), r"p\.sum\(\)=0\.0"),
        ],
    )
    def test_what_is_no_law_is_refused(self, p, message):
        for function in (decompose, optimum):
            with pytest.raises(ValueError, match=message):
                function(p)

    def test_marginals_too(self):
        with pytest.raises(ValueError, match=r"p\.shape=\(2,\): must be \(na, nb\)"):
            mutual_information(torch.ones(2) / 2)
        with pytest.raises(ValueError, match=r"p\.sum\(\)=2\.0"):
            entropy(torch.ones(2))

    def test_no_law_is_returned_without_its_certificate(self, monkeypatch):
        p = random_law(generator(9), "dense")
        monkeypatch.setattr(broja, "STEPS", 3)
        with pytest.raises(
            ConvergenceError, match=r"marginals of 5 x 2 symbols.*after 3 steps; must be at most 1e-08"
        ):
            decompose(p)
