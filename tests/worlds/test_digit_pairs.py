"""Pairs of digits: their law, exact and sampled, and which pictures a part has."""

import math

import pytest
import torch
from sklearn.datasets import load_digits

from mmcl.worlds import DigitPairs, Shared, SplitWorld
from tests.worlds.information import beyond, frequencies, h, informations

SETTINGS = [
    (share, bias) for share in Shared for bias in (0.0, 0.5, 1.0) if share is not Shared.digit or not bias
]


def generator(seed):
    return torch.Generator().manual_seed(seed)


def world(share=Shared.none, bias=0.0, seed=0):
    return DigitPairs(share, bias).draw(generator(seed))


def rows(x):
    return {row.tobytes() for row in x.numpy()}


def digits(w, batch):
    """a and b of a batch."""
    if w.model.share is Shared.digit:
        return batch.factors["digit"], batch.factors["digit"]
    return batch.factors["digit.x1"], batch.factors["digit.x2"]


def test_roles():
    assert isinstance(world(), SplitWorld)
    roles = {share: {k: (r.role, r.classes) for k, r in world(share).roles.items()} for share in Shared}
    own = {"digit.x1": ("modality_specific", 10), "digit.x2": ("modality_specific", 10)}
    both = {"sum": ("synergy", 10), "match": ("synergy", 2)}
    assert roles[Shared.none] == {**own, **both}
    assert roles[Shared.parity] == {"parity": ("content", 2), **own, **both}
    assert roles[Shared.digit] == {"digit": ("content", 10)}


@pytest.mark.parametrize(("share", "bias"), SETTINGS)
def test_samples_follow_the_exact_laws_of_their_bias(share, bias):
    """Some 2,500 cells in all, with 100 or more expected: one fails with probability below 1e-3; see ``beyond``."""
    w = world(share, bias)
    batch = w.sample(20000, generator(1))
    a, b = digits(w, batch)
    laws = w.laws(bias)
    assert laws.keys() == batch.factors.keys() == w.roles.keys()
    for name, law in laws.items():
        assert law.shape == (10, 10, w.roles[name].classes)
        assert float(law.sum()) == pytest.approx(1, abs=1e-12)
        assert beyond(frequencies(a, b, batch.factors[name], sizes=law.shape), law) < 5.5


@pytest.mark.parametrize("share", list(Shared))
def test_parts_are_unbiased(share):
    """P(match) of 20,000 within 4.5 standard deviations: failing has probability 1e-5 each."""
    w = world(share, 0.0 if share is Shared.digit else 1.0)
    for name in ("validation", "test"):
        batch = w.part(name).sample(20000, generator(2))
        a, b = digits(w, batch)
        share_of_match = {Shared.none: 0.1, Shared.parity: 0.2, Shared.digit: 1.0}[share]
        found = float((b == w.mapping[a]).double().mean())
        assert abs(found - share_of_match) <= 4.5 * math.sqrt(share_of_match * (1 - share_of_match) / 20000)
    if share is not Shared.digit:
        assert bool((w.sample(100, generator(2)).factors["match"] == 1).all())


def test_informations_without_bias():
    none, parity, digit = (world(share).laws() for share in Shared)
    zero, log10 = pytest.approx(0, abs=1e-9), pytest.approx(math.log2(10), abs=1e-9)
    assert informations(none["digit.x1"]) == (log10, zero, log10)
    assert informations(none["sum"]) == (zero, zero, log10)
    assert informations(none["match"]) == (zero, zero, pytest.approx(h(0.1), abs=1e-9))
    one = pytest.approx(1, abs=1e-9)
    assert informations(parity["parity"]) == (one, one, one)
    assert informations(parity["digit.x1"]) == (log10, one, log10)
    assert informations(parity["sum"]) == (zero, zero, pytest.approx(math.log2(5), abs=1e-9))
    assert informations(parity["match"]) == (zero, zero, pytest.approx(h(0.2), abs=1e-9))
    assert informations(digit["digit"]) == (log10, log10, log10)


@pytest.mark.parametrize("share", list(Shared))
@pytest.mark.parametrize("seed", range(3))
def test_the_mapping_is_a_bijection_that_keeps_what_is_shared(share, seed):
    mapping = world(share, seed=seed).mapping
    assert sorted(mapping.tolist()) == list(range(10))
    if share is Shared.parity:
        assert bool((mapping % 2 == torch.arange(10) % 2).all())
    if share is Shared.digit:
        assert mapping.tolist() == list(range(10))


def test_every_part_has_pictures_of_its_own_in_all_digits():
    w = world()
    pixels, labels = load_digits(return_X_y=True)
    split = w.state_dict()["split"]
    for digit in range(10):
        count = torch.bincount(split[torch.from_numpy(labels) == digit], minlength=3).double()
        assert torch.allclose(
            count / count.sum(), torch.tensor([0.6, 0.2, 0.2], dtype=torch.float64), atol=0.01
        )
    seen = {}
    for number, part in enumerate((w, w.part("validation"), w.part("test"))):
        batch = part.sample(20000, generator(3))
        seen[number] = rows(batch.views["x1"]) | rows(batch.views["x2"])
        # Of some 180 to 1,080 pictures, each expected 37 times or more, one is missed with probability 1e-13.
        assert seen[number] == rows(torch.from_numpy(pixels[split.numpy() == number]).float() / 16)
    assert not seen[0] & seen[1]
    assert not (seen[0] | seen[1]) & seen[2]


def test_a_view_is_a_picture_of_its_digit():
    pixels, labels = load_digits(return_X_y=True)
    known = {tuple(row): int(y) for row, y in zip((pixels / 16).tolist(), labels, strict=True)}
    for share in Shared:
        w = world(share, 0.0 if share is Shared.digit else 0.5)
        batch = w.sample(300, generator(4))
        for view, digit in zip(("x1", "x2"), digits(w, batch), strict=True):
            x = batch.views[view]
            assert (x.shape, x.dtype) == ((300, 64), torch.float32)
            assert [known[tuple(row)] for row in x.tolist()] == digit[:, 0].tolist()


def test_a_larger_bias_changes_the_second_view_of_more_samples_and_nothing_else():
    batches = [world(bias=bias).sample(500, generator(5)) for bias in (0.0, 0.4, 0.8)]
    assert all(torch.equal(batches[0].views["x1"], b.views["x1"]) for b in batches)
    free, some, more = (b.factors["digit.x2"] for b in batches)
    assert bool(((some == free) | (more == some)).all())
    assert 0 < int((some != free).sum()) < int((more != free).sum())


def test_a_restored_world_samples_bitwise_and_a_foreign_state_is_refused():
    w = world(Shared.parity, 0.5)
    state = w.state_dict()
    again = w.model.restore(state)
    for first, second in ((w, again), (w.part("test"), again.part("test"))):
        a, b = (x.sample(10, generator(6)) for x in (first, second))
        assert all(torch.equal(a.views[k], b.views[k]) for k in a.views)
        assert all(torch.equal(a.factors[k], b.factors[k]) for k in a.factors)
    assert not torch.equal(world(seed=1).state_dict()["split"], state["split"])
    with pytest.raises(ValueError, match="'split' is None"):
        w.model.restore({"mapping": state["mapping"]})
    with pytest.raises(ValueError, match="its mapping does not keep share=parity"):
        w.model.restore({**state, "mapping": (torch.arange(10) + 1) % 10})


def test_bad_values_are_refused_by_name():
    with pytest.raises(ValueError, match=r"bias=1.5: must be in \[0, 1\]"):
        DigitPairs(bias=1.5)
    with pytest.raises(ValueError, match=r"bias=0\.5: must be 0 with share=digit"):
        DigitPairs(Shared.digit, 0.5)
    with pytest.raises(ValueError, match="share='all': must be one of none, parity, digit"):
        DigitPairs("all")
    w = world(Shared.digit)
    pairs = len(w.part("test"))
    w.check_size("test", pairs)
    with pytest.raises(ValueError, match=f"n={pairs + 1}: must be <= {pairs}, the pairs of test"):
        w.check_size("test", pairs + 1)
    with pytest.raises(ValueError, match="part='train'"):
        w.part("train")
    with pytest.raises(ValueError, match="intervention='permute_content'"):
        w.sample(5, generator(0), "permute_content")
