"""Terms, and the objectives that are made of them, against plain loops over the published formulas."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from mmcl.checks import require_view_names
from mmcl.losses import Contrastive, Negatives, Similarity, Term
from mmcl.losses.terms import contrasts, draws, parts

CONF = Path(__file__).parents[2] / "conf" / "loss"


def preset(name):
    node = OmegaConf.load(CONF / f"{name}.yaml")
    node.pop("_target_")
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Contrastive), node)).build()


def encodings(modalities, size=5, rows=6, seed=0):
    """Clean and two augmented draws of every modality and of all together, float64."""
    random = torch.Generator().manual_seed(seed)
    names = [*modalities] + (["+".join(modalities)] if len(modalities) > 1 else [])
    return {
        f"{name}{draw}": torch.randn(rows, size, dtype=torch.float64, generator=random, requires_grad=True)
        for draw in ("", "@1", "@2")
        for name in names
    }


def nt_xent(u, v, tau):
    """Every anchor of the 2 N against the 2 N - 1 others (Chen et al., 2020), by loops."""
    rows = [x / x.norm() for x in torch.cat([u, v])]
    n, total = len(u), 0.0
    for a in range(2 * n):
        positive = (a + n) % (2 * n)
        others = sum(torch.exp(rows[a].dot(rows[b]) / tau) for b in range(2 * n) if b != a)
        total = total + torch.log(others) - rows[a].dot(rows[positive]) / tau
    return total / (2 * n)


def clip(u, v, tau):
    u, v = [x / x.norm() for x in u], [x / x.norm() for x in v]
    total = 0.0
    for first, second in ((u, v), (v, u)):
        for a in range(len(u)):
            others = sum(torch.exp(first[a].dot(x) / tau) for x in second)
            total = total + torch.log(others) - first[a].dot(second[a]) / tau
    return total / (2 * len(u))


def comm(z, modalities):
    """1/(n + 1) sum over S of (NCE(S', M'') + NCE(S'', M')) / 2."""
    full = "+".join(modalities)
    sets = [*modalities, full] if len(modalities) > 1 else [full, full]
    value = sum(
        0.5 * (nt_xent(z[f"{s}@1"], z[f"{full}@2"], 0.1) + nt_xent(z[f"{s}@2"], z[f"{full}@1"], 0.1))
        for s in sets
    )
    return value / len(sets)


def comm_paper(z, modalities):
    full = "+".join(modalities)
    value = nt_xent(z[f"{full}@1"], z[f"{full}@2"], 0.1)
    for m in modalities:
        value = value + 0.5 * (nt_xent(z[m], z[f"{full}@1"], 0.1) + nt_xent(z[m], z[f"{full}@2"], 0.1))
    return value / (len(modalities) + 1)


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def selves(z, modalities):
    return mean(nt_xent(z[f"{m}@1"], z[f"{m}@2"], 0.1) for m in modalities)


def crossed(z, modalities, loss=nt_xent, tau=0.1):
    return mean(loss(z[a], z[b], tau) for a, b in combinations(modalities, 2))


TWINS = {
    "comm": comm,
    "comm_paper": comm_paper,
    "comm_full": lambda z, ms: nt_xent(z[f"{'+'.join(ms)}@1"], z[f"{'+'.join(ms)}@2"], 0.1),
    "comm_masked": lambda z, ms: mean(
        nt_xent(z[f"{m}@{a}"], z[f"{'+'.join(ms)}@{b}"], 0.1) for m in ms for a, b in ((1, 2), (2, 1))
    ),
    "simclr": selves,
    "cmc": crossed,
    "cross": lambda z, ms: crossed(z, ms, clip, 0.07),
}


@pytest.mark.parametrize("modalities", [("x1", "x2"), ("vision", "text", "audio")], ids=["two", "three"])
@pytest.mark.parametrize("name", TWINS)
def test_a_preset_is_its_loop_twin_in_value_and_gradient(name, modalities):
    z = encodings(modalities)
    ours, twin = preset(name)(z), TWINS[name](z, modalities)
    assert ours.item() == pytest.approx(twin.item(), abs=1e-12, rel=1e-6)  # log tau of cross is float32
    mine = torch.autograd.grad(ours, list(z.values()), allow_unused=True)
    theirs = torch.autograd.grad(twin, list(z.values()), allow_unused=True)
    for a, b in zip(mine, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("modalities", [("x1", "x2"), ("image", "text")])
def test_cross_self_and_slip_are_half_of_theirs_for_two_modalities(modalities):
    z = encodings(modalities)
    twice = crossed(z, modalities) + selves(z, modalities)
    assert 2 * preset("cross_self")(z).item() == pytest.approx(twice.item())
    a, b = modalities
    twice = clip(z[a], z[b], 0.07) + nt_xent(z[f"{a}@1"], z[f"{a}@2"], 0.1)
    assert 2 * preset("slip")(z).item() == pytest.approx(twice.item(), rel=1e-6)


def test_comm_of_one_modality_is_simclr():
    z = encodings(("x1",))
    assert preset("comm")(z).item() == pytest.approx(nt_xent(z["x1@1"], z["x1@2"], 0.1).item(), abs=1e-12)
    assert preset("comm")(z).item() == pytest.approx(preset("simclr")(z).item(), abs=1e-12)


@pytest.mark.parametrize("name", ["comm", "comm_full"])
def test_equal_encodings_give_log_of_the_candidates_and_distinct_ones_nothing(name):
    """log(2 N - 1) where all similarities are equal; about 0 where views agree and samples are far apart."""
    same = {name: torch.ones(8, 3) for name in encodings(("x1", "x2"))}
    assert preset(name)(same).item() == pytest.approx(math.log(15), abs=1e-5)
    apart = {name: torch.eye(8) for name in same}
    # the 14 others have similarity 0, the partner 1: log(1 + 14 exp(-1 / 0.1))
    assert preset(name)(apart).item() == pytest.approx(math.log1p(14 * math.exp(-10)), abs=1e-6)


def test_the_order_of_samples_and_of_draws_does_not_matter():
    z = {name: x.detach() for name, x in encodings(("a", "b", "c")).items()}
    value = preset("comm")(z).item()
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    assert preset("comm")({n: x[order] for n, x in z.items()}).item() == pytest.approx(value, rel=1e-12)
    swapped = {n.translate({ord("1"): "2", ord("2"): "1"}): x for n, x in z.items()}
    assert preset("comm")(swapped).item() == pytest.approx(value, rel=1e-12)


def test_what_terms_stand_for():
    names = tuple(f"{m}@{d}" for d in (1, 2) for m in ("a", "b", "c", "a+b+c"))

    def pairs(*terms):
        return [(c.first, c.second) for c in contrasts(terms, names)]

    assert pairs(Term("each@1", "other@1")) == [("a@1", "b@1"), ("a@1", "c@1"), ("b@1", "c@1")]
    assert len(pairs(Term("each@1", "other@2"))) == 6
    assert pairs(Term("each@1", "each@2")) == [("a@1", "a@2"), ("b@1", "b@2"), ("c@1", "c@2")]
    assert pairs(Term("all@2", "each@1"), Term("b@1", "c@2")) == [
        ("a+b+c@2", "a@1"), ("a+b+c@2", "b@1"), ("a+b+c@2", "c@1"), ("b@1", "c@2"),
    ]  # fmt: skip
    assert [(c.first, c.second) for c in contrasts((), ("a", "b", "c"))] == [
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    ]
    assert draws([]) == (0,)
    assert draws([Term("each", "all@3"), Term("a@2", "b")]) == (0, 2, 3)
    assert parts("a+b@1") == ("a", "b")


def test_the_order_of_modalities_is_the_encoders_whichever_encodings_are_there():
    terms = [Term("x2@1", "all@2"), Term("x2", "all@1")]
    loss = Contrastive(similarity=Similarity.cosine, terms=terms).build()
    wanted = loss.wanted(("x1", "x2", "x1+x2"))
    assert wanted == {0: ("x2",), 1: ("x2", "x1+x2"), 2: ("x1+x2",)}
    z = encodings(("x1", "x2"))
    names = [f"{name}@{draw}" if draw else name for draw, part in wanted.items() for name in part]
    assert torch.isfinite(loss({name: z[name] for name in names}))


def test_weights_and_options_of_a_term():
    z = encodings(("x1", "x2"))
    terms = [
        Term("x1", "x2", weight=3.0),
        Term("x1@1", "x1@2", weight=1.0, negatives=Negatives.both, temperature=0.5),
    ]
    loss = Contrastive(similarity=Similarity.cosine, temperature=0.2, candidate_reduction="sum", terms=terms)
    expected = (3 * clip(z["x1"], z["x2"], 0.2) + nt_xent(z["x1@1"], z["x1@2"], 0.5)) / 4
    assert loss.build()(z).item() == pytest.approx(expected.item(), rel=1e-12)


def test_encodings_of_other_widths_are_allowed_where_no_term_contrasts_them():
    z = encodings(("x1", "x2"))
    z["x1+x2"] = torch.cat([z["x1"], z["x2"]], dim=1)
    assert torch.isfinite(preset("cmc")(z))
    with pytest.raises(ValueError, match="widths differ: 'h1' has 5 dimensions and 'h2' has 10"):
        Contrastive(terms=[Term("x1", "all")]).build()(z)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"first": "", "second": "x1"}, "first=''"),
        ({"first": "x1@0", "second": "x1@1"}, "first='x1@0': must be a name, and @1, @2"),
        ({"first": "x1", "second": "x1@a"}, "second='x1@a'"),
        ({"first": "other", "second": "x1"}, "first='other'"),
        ({"first": "all", "second": "other"}, "'other' only after each"),
        ({"first": "each@1", "second": "each@1"}, "none has a contrast with itself"),
        ({"first": "a", "second": "b", "weight": 0.0}, "weight=0.0"),
        ({"first": "a", "second": "b", "temperature": float("nan")}, "temperature=nan"),
        ({"first": "a", "second": "b", "negatives": "all"}, "negatives='all'"),
    ],
)
def test_a_term_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        Term(**fields)


def test_the_first_modality_is_the_encoders_also_where_only_its_draws_are_compared():
    loss = Contrastive(terms=[Term("first@1", "first@2"), Term("x2", "x3")]).build()
    z = encodings(("x1", "x2", "x3"))
    wanted = loss.wanted(("x1", "x2", "x3", "x1+x2+x3"))
    assert wanted == {0: ("x2", "x3"), 1: ("x1",), 2: ("x1",)}
    there = {name: z[name] for name in ("x2", "x3", "x1@1", "x1@2")}
    named = Contrastive(terms=[Term("x1@1", "x1@2"), Term("x2", "x3")]).build()
    assert loss(there).item() == named(there).item()


def test_a_view_has_no_selectors_name():
    for name in ("each", "other", "all", "first"):
        with pytest.raises(
            ValueError, match=f"view='{name}': must be a name .* not each, other, all or first"
        ):
            require_view_names(["x", name])


def test_terms_that_do_not_fit():
    z = encodings(("x1",))
    with pytest.raises(ValueError, match="term each, first: 'x1' has no contrast with itself"):
        Contrastive(terms=[Term("each", "first")]).build()(encodings(("x1", "x2")))
    with pytest.raises(ValueError, match=r"term each, other: \['x1'\] has no other modality"):
        preset("cmc")(z)
    separate = {name: x for name, x in encodings(("x1", "x2")).items() if "+" not in name}
    with pytest.raises(ValueError, match=r"there is no encoding 'x1\+x2@2'.*one with a fusion"):
        preset("comm")(separate)
    with pytest.raises(ValueError, match="none with negatives=within_fresh"):
        Contrastive(negatives=Negatives.within_fresh, terms=[Term("a", "b")])
