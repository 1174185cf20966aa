"""Vectors with a shape, textures and colours: their law, exact and sampled, and what a clean view tells."""

import math

import pytest
import torch

from mmcl.worlds import SplitWorld, VectorTrifeature
from mmcl.worlds.laws import biased, labelled
from tests.worlds.information import beyond, entropy, frequencies, h, information, informations


def generator(seed):
    return torch.Generator().manual_seed(seed)


def world(seed=0, **values):
    return VectorTrifeature(**{"levels": 5, "size": 20, **values}).draw(generator(seed))


SOURCES = {
    "shape": ("shape", "shape"),
    "texture.x1": ("texture.x1", "colour.x2"),
    "colour.x1": ("colour.x1", None),
    "texture.x2": (None, "texture.x2"),
    "colour.x2": ("texture.x1", "colour.x2"),
    "match": ("texture.x1", "colour.x2"),
}
"""Factor -> what its law says that the views know of it."""


def test_roles_and_factors():
    w = world(levels=4)
    assert isinstance(w, SplitWorld)
    assert {name: (r.role, r.modality, r.classes) for name, r in w.roles.items()} == {
        "shape": ("content", None, 4),
        "texture.x1": ("modality_specific", "x1", 4),
        "colour.x1": ("modality_specific", "x1", 4),
        "texture.x2": ("modality_specific", "x2", 4),
        "colour.x2": ("modality_specific", "x2", 4),
        "match": ("synergy", None, 2),
    }
    batch = w.sample(7, generator(1))
    assert batch.factors.keys() == w.roles.keys()
    assert {(x.shape, x.dtype) for x in batch.views.values()} == {((7, 20), torch.float32)}
    assert {(y.shape, y.dtype) for y in batch.factors.values()} == {((7, 1), torch.int64)}


@pytest.mark.parametrize("bias", [0.0, 0.5, 1.0])
def test_samples_follow_the_exact_laws_of_their_bias(bias):
    """18 laws of 25 cells at most, 400 or more expected in each: one fails with probability below 5e-4 in all."""
    w = world(bias=bias)
    factors = w.sample(20000, generator(2)).factors
    nothing = torch.zeros(20000, 1, dtype=torch.int64)
    laws = w.laws(bias)
    assert laws.keys() == w.roles.keys()
    for name, law in laws.items():
        assert law.dtype == torch.float64
        assert float(law.sum()) == pytest.approx(1, abs=1e-12)
        x1, x2 = (nothing if source is None else factors[source] for source in SOURCES[name])
        counts = frequencies(x1, x2, factors[name], sizes=law.shape)
        assert beyond(counts, law) < 5.5


@pytest.mark.parametrize("bias", [0.0, 0.5, 1.0])
def test_all_five_features_are_independent_but_for_the_bias(bias):
    """243 cells with 41 or more expected, the law by a loop: failing has probability below 3e-4."""
    w = world(levels=3, bias=bias)
    factors = w.sample(20000, generator(3)).factors
    names = ("shape", "texture.x1", "colour.x1", "texture.x2", "colour.x2")
    law = torch.zeros(3, 3, 3, 3, 3, dtype=torch.float64)
    for s, t1, c1, t2, c2 in torch.cartesian_prod(*[torch.arange(3)] * 5).tolist():
        forced = bias * (c2 == int(w.mapping[t1]))
        law[s, t1, c1, t2, c2] = (forced + (1 - bias) / 3) / 81
    counts = frequencies(*(factors[name] for name in names), sizes=law.shape)
    assert beyond(counts, law) < 5.5


def test_the_measure_of_deviations_fails_for_another_bias():
    w = world(bias=0.5)
    factors = w.sample(20000, generator(2)).factors
    counts = frequencies(factors["texture.x1"], factors["colour.x2"], factors["match"], sizes=(5, 5, 2))
    assert beyond(counts, w.laws(0.4)["match"]) > 5.5
    assert beyond(counts, w.laws(1.0)["match"]) == math.inf


def test_a_part_may_be_given_a_bias_of_its_own():
    """P(match) = 0.5 + 0.5 / 5 of 20,000, within 4.5 standard deviations: failing has probability 1e-5."""
    w = VectorTrifeature(5, bias=0.0, evaluation_bias=0.5).draw(generator(0))
    for part, share in ((w, 0.2), (w.part("validation"), 0.6), (w.part("test"), 0.6)):
        match = part.sample(20000, generator(4)).factors["match"].double().mean()
        assert abs(float(match) - share) < 4.5 * math.sqrt(share * (1 - share) / 20000)
        assert float(part.laws()["match"][:, :, 1].sum()) == pytest.approx(share)
    with pytest.raises(ValueError, match=r"evaluation_bias=2\.0"):
        VectorTrifeature(evaluation_bias=2.0)


def test_parts_are_unbiased_whatever_the_bias_of_training():
    """P(match) of 20,000 within 4.5 standard deviations of 1/5: failing has probability 1e-5."""
    w = world(bias=1.0)
    assert bool((w.sample(200, generator(4)).factors["match"] == 1).all())
    for name in ("validation", "test"):
        part = w.part(name)
        match = part.sample(20000, generator(4)).factors["match"].double().mean()
        assert abs(float(match) - 0.2) < 4.5 * math.sqrt(0.2 * 0.8 / 20000)
        again = world(bias=0.0).part(name)
        a, b = (p.sample(9, generator(5)) for p in (part, again))
        assert all(torch.equal(a.views[v], b.views[v]) for v in a.views)
        part.check_size(name, 10**9)
    with pytest.raises(ValueError, match="part='train': must be one of validation, test"):
        w.part("train")


@pytest.mark.parametrize("levels", [2, 3, 10])
def test_informations_without_bias(levels):
    laws = world(levels=levels, size=3 * levels).laws()
    log = pytest.approx(math.log2(levels), abs=1e-12)
    zero = pytest.approx(0, abs=1e-12)
    assert informations(laws["shape"]) == (log, log, log)
    for name in ("texture.x1", "colour.x1"):
        assert informations(laws[name]) == (log, zero, log)
    for name in ("texture.x2", "colour.x2"):
        assert informations(laws[name]) == (zero, log, log)
    assert informations(laws["match"]) == (zero, zero, pytest.approx(h(1 / levels), abs=1e-12))
    assert information(laws["match"].sum(dim=2)) == zero


@pytest.mark.parametrize("bias", [0.25, 0.5, 1.0])
def test_bias_moves_information_of_the_texture_to_the_other_view_and_keeps_match_a_synergy(bias):
    levels = 4
    laws = world(levels=levels).laws(bias)
    share = bias + (1 - bias) / levels
    conditional = [share] + [(1 - bias) / levels] * (levels - 1)
    told = math.log2(levels) - entropy(torch.tensor(conditional, dtype=torch.float64))
    full = pytest.approx(math.log2(levels), abs=1e-12)
    assert informations(laws["texture.x1"]) == (full, pytest.approx(told, abs=1e-12), full)
    assert informations(laws["colour.x2"]) == (pytest.approx(told, abs=1e-12), full, full)
    zero = pytest.approx(0, abs=1e-12)
    assert informations(laws["match"]) == (zero, zero, pytest.approx(h(share), abs=1e-12))
    assert float(laws["match"][:, :, 1].sum()) == pytest.approx(share)


def test_a_labelled_law_by_a_loop():
    pairs = biased(
        torch.rand(3, 4, dtype=torch.float64, generator=generator(0)), torch.tensor([3, 0, 3]), 0.3
    )
    labels = torch.randint(5, (3, 4), generator=generator(1))
    law = labelled(pairs, labels, 5)
    for a in range(3):
        for b in range(4):
            for y in range(5):
                assert law[a, b, y] == (pairs[a, b] if y == labels[a, b] else 0)


@pytest.mark.parametrize(("levels", "size"), [(10, 48), (5, 48), (10, 30)])
def test_least_squares_and_the_nearest_neighbour_tell_the_factors_of_clean_views(levels, size):
    w = VectorTrifeature(levels=levels, size=size).draw(generator(levels))
    fit, test = w.sample(3000, generator(6)), w.sample(500, generator(7))
    for view in w.views:
        away, nearest = torch.cdist(test.views[view].double(), fit.views[view].double()).min(dim=1)
        met = away < 1e-3
        x, x_test = (torch.cat([b.views[view], torch.ones(len(b), 1)], dim=1).double() for b in (fit, test))
        for name in ("shape", f"texture.{view}", f"colour.{view}"):
            wanted = test.factors[name][:, 0]
            onehot = torch.nn.functional.one_hot(fit.factors[name][:, 0], levels).double()
            guess = (x_test @ torch.linalg.lstsq(x, onehot).solution).argmax(dim=1)
            assert float((guess == wanted).double().mean()) > 0.99
            # Of combinations that the 3,000 hold (95 % of the thousand), the nearest is the same.
            assert torch.equal(fit.factors[name][nearest, 0][met], wanted[met])
        assert float(met.double().mean()) > 0.9


def test_the_maps_are_well_conditioned():
    w = world(levels=5, size=20)
    for view in w.views:
        state = w.state_dict()
        assert float(torch.linalg.cond(state[f"first.{view}"])) == pytest.approx(1)
        assert float(torch.linalg.cond(state[f"second.{view}"])) == pytest.approx(1)
        x = w.sample(4000, generator(8)).views[view]
        assert 0.5 < float(x.std()) < 0.8
        spread = torch.linalg.svdvals((x - x.mean(dim=0)).double())
        assert float(spread[0] / spread[3 * (5 - 1) - 1]) < 10


def test_a_view_is_its_map_of_its_own_factors_alone():
    w = world()
    batch = w.sample(40, generator(9))
    state = w.state_dict()
    for view, x in batch.views.items():
        for row in range(40):
            code = torch.zeros(15, dtype=torch.float64)
            for k, name in enumerate(("shape", f"texture.{view}", f"colour.{view}")):
                code[5 * k + int(batch.factors[name][row])] = 1
            wanted = (state[f"second.{view}"] @ (state[f"first.{view}"] @ code).tanh()).tanh()
            assert torch.allclose(x[row].double(), wanted, atol=1e-5)


def test_noise_is_added_and_moves_nothing_else():
    """The standard deviation of 40,000 normals within 5 of its own (1 / sqrt(2 n)): failing has probability 1e-6."""
    clean, noisy = (world(noise=noise).sample(1000, generator(10)) for noise in (0.0, 0.3))
    assert all(torch.equal(clean.factors[k], noisy.factors[k]) for k in clean.factors)
    noise = torch.stack([noisy.views[v] - clean.views[v] for v in clean.views])
    assert float(noise.std()) == pytest.approx(0.3, rel=5 / math.sqrt(2 * noise.numel()))
    assert abs(float(torch.corrcoef(noise.flatten(1))[0, 1])) < 5 / math.sqrt(20000)


def test_a_larger_bias_changes_the_second_colour_of_more_samples_and_nothing_else():
    batches = [world(bias=bias).sample(500, generator(11)) for bias in (0.0, 0.4, 0.8)]
    for name in ("shape", "texture.x1", "colour.x1", "texture.x2"):
        assert all(torch.equal(batches[0].factors[name], b.factors[name]) for b in batches)
    free, some, more = (b.factors["colour.x2"] for b in batches)
    assert bool(((some == free) | (more == some)).all())
    assert 0 < int((some != free).sum()) < int((more != free).sum())


def test_a_restored_world_samples_bitwise_and_a_foreign_state_is_refused():
    w = world(noise=0.1, bias=0.3)
    state = w.state_dict()
    again = w.model.restore(state)
    for first, second in ((w, again), (w.part("test"), again.part("test"))):
        a, b = (x.sample(10, generator(12)) for x in (first, second))
        assert all(torch.equal(a.views[k], b.views[k]) for k in a.views)
        assert all(torch.equal(a.factors[k], b.factors[k]) for k in a.factors)
    assert not torch.equal(world(seed=1).state_dict()["first.x1"], state["first.x1"])
    with pytest.raises(ValueError, match=r"'first.x1' is .* instead of"):
        VectorTrifeature(levels=5, size=21).restore(state)
    with pytest.raises(ValueError, match="'mapping' has a level twice"):
        w.model.restore({**state, "mapping": torch.zeros(5, dtype=torch.int64)})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"levels": 1}, "levels=1: must be a whole number from 2 to 10"),
        ({"levels": 11}, "levels=11"),
        ({"bias": 1.5}, r"bias=1.5: must be in \[0, 1\]"),
        ({"bias": -0.1}, "bias=-0.1"),
        ({"size": 0}, "size=0"),
        ({"noise": -1.0}, "noise=-1.0: must be >= 0"),
        ({"noise": math.nan}, "noise=nan"),
    ],
)
def test_bad_values_are_refused_by_field(values, message):
    with pytest.raises(ValueError, match=message):
        VectorTrifeature(**values)


def test_bad_requests_are_refused_by_name():
    w = world()
    with pytest.raises(ValueError, match="intervention='permute_content': must be none"):
        w.sample(5, generator(0), "permute_content")
    with pytest.raises(ValueError, match="n=0"):
        w.sample(0, generator(0))
    with pytest.raises(ValueError, match="bias=2"):
        w.laws(2)
