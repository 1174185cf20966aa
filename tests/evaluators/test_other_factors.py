"""What one modality's factors tell of another's, where that is known."""

from __future__ import annotations

import pytest
import torch

from mmcl.evaluators import OtherFactors, Representations


def samples(n, seed):
    g = torch.Generator().manual_seed(seed)
    place = torch.randint(3, (n, 1), generator=g)
    hue = (place + torch.rand(n, 1, generator=g)) / 3
    factors = {
        "place": place,
        "hue.image": hue,
        "spot.image": torch.rand(n, 1, generator=g),
        "name.text": (hue * 12).long(),
        "phrase.text": torch.randint(5, (n, 1), generator=g),
    }
    return Representations({"image": torch.zeros(n, 1), "text": torch.zeros(n, 1)}, factors)


def test_what_is_shared_is_found_and_what_is_not_is_at_chance():
    found = OtherFactors(trees=30).evaluate(samples(1500, 0), samples(1500, 1))
    rows = {(r.representation, r.target): r for r in found}
    assert set(rows) == {
        ("factors.text", "hue.image"), ("factors.text", "spot.image"),
        ("factors.image", "name.text"), ("factors.image", "phrase.text"),
    }  # fmt: skip
    # A name says which twelfth: what is left of the variance is (1/12)^2.
    assert rows["factors.text", "hue.image"].value == pytest.approx(1 - 1 / 144, abs=0.01)
    assert rows["factors.image", "name.text"].value > 0.98
    assert rows["factors.text", "spot.image"].value == pytest.approx(0, abs=0.04)
    phrase = rows["factors.image", "phrase.text"]
    assert phrase.metric == "accuracy"
    assert phrase.value == pytest.approx(0.2, abs=5 * (0.16 / 1500) ** 0.5)
    assert phrase.chance == pytest.approx(0.2, abs=0.05)


def test_many_names_of_several_palettes_tell_what_they_tell():
    """As Multimodal3DIdent's: a hue's name in one of three palettes of 33 each, in no order. Exact: 1/3, 1 - 1/33^2."""

    def named(n, seed):
        g = torch.Generator().manual_seed(seed)
        hue = torch.rand(n, 1, generator=g)
        names = torch.randperm(99, generator=torch.Generator().manual_seed(0)).reshape(3, 33)
        palette = torch.randint(3, (n,), generator=g)
        name = names[palette, (hue[:, 0] * 33).long()][:, None]
        other = torch.rand(n, 3, generator=g)
        return Representations({"a": other}, {"hue.image": hue, "other.image": other, "name.text": name})

    rows = {r.target: r.value for r in OtherFactors().evaluate(named(2000, 0), named(2000, 1))}
    assert rows["hue.image"] == pytest.approx(1 - 1 / 33**2, abs=0.02)
    # Binomial error 0.011; a forest of 2,000 samples misplaces some borders between names.
    assert 1 / 3 - 0.06 < rows["name.text"] < 1 / 3 + 4 * 0.011
    assert rows["other.image"] == pytest.approx(0, abs=0.04)


def test_where_no_factor_is_a_modalitys_there_is_no_row():
    both = Representations({"a": torch.zeros(9, 1)}, {"content": torch.randn(9, 2)})
    assert OtherFactors().evaluate(both, both) == []


def test_one_class_and_very_many_classes():
    n = 600
    count = torch.arange(n)[:, None]
    factors = {
        "many": count,
        "u.a": count / n,
        "y.b": count / n,
        "same.b": torch.zeros(n, 1, dtype=torch.int64),
    }
    both = Representations({"a": torch.zeros(n, 1)}, factors)
    rows = {r.target: r for r in OtherFactors(trees=3).evaluate(both, both)}
    assert rows["same.b"].value == 1.0
    assert rows["y.b"].value > 0.9
