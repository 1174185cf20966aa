"""What the pictures show, read from their axes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmcl.pictures import draw_classes, draw_draws, draw_maps, draw_neighbours, draw_predictions
from mmcl.pictures.maps import CLASSES, plane
from mmcl.visuals import draw_pictures, predicted_factors
from mmcl.worlds import Batch, FactorRole

IMAGES = np.random.default_rng(0).integers(0, 255, (6, 3, 8, 8), dtype=np.uint8)
LINES = [f"line {i}" for i in range(6)]


def titles(figure):
    return [axis.get_title() for axis in figure.axes]


def test_neighbours_are_in_order_and_the_partner_has_its_rank():
    s = np.array([[0.2, 0.9, 0.1, 0.5, 0.0, 0.3]] + [[0.0] * 6] * 5)
    s[1] = [0, 6, 1, 2, 3, 4]
    figure = draw_neighbours({"image": IMAGES, "text": LINES}, {("image", "text"): s}, queries=2, k=3)
    assert titles(figure) == [
        "query: image", "1", "2", "3", "partner, rank 4",
        "query: image", "1", "2", "3", "partner, rank 1",
    ]  # fmt: skip
    texts = [axis.texts[0].get_text() if axis.texts else None for axis in figure.axes]
    assert texts == [
        None,
        "line 1",
        "line 3",
        "line 5",
        "line 0",
        None,
        "line 1",
        "line 5",
        "line 4",
        "line 1",
    ]
    framed = [axis.spines["top"].get_linewidth() > 1 for axis in figure.axes]
    assert framed == [False, False, False, False, True, False, True, False, False, True]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), IMAGES[0].transpose(1, 2, 0))


def test_fewer_samples_than_neighbours_leave_places_empty():
    figure = draw_neighbours({"a": LINES[:2], "b": LINES[:2]}, {("a", "b"): np.eye(2)}, queries=1, k=5)
    assert titles(figure) == ["query: a", "1", "2", "", "", "", "partner, rank 1"]


def test_draws_follow_the_weights_and_the_partner_is_framed():
    law = np.zeros((6, 6))
    law[0, 3] = law[0, 0] = 0.5
    law[1, 4] = 1.0
    figure = draw_draws({"image": IMAGES, "text": LINES}, {("image", "text"): law}, queries=2, draws=8)
    texts = [axis.texts[0].get_text() if axis.texts else None for axis in figure.axes]
    assert texts[:2] == [None, "line 0"]
    assert set(texts[2:10]) == {"line 0", "line 3"}
    assert texts[10:] == [None, "line 1", *["line 4"] * 8]
    framed = [axis.spines["top"].get_linewidth() > 1 for axis in figure.axes]
    assert framed == [text == f"line {i // 10}" for i, text in enumerate(texts)]


def test_classes_have_the_weights_of_their_samples_and_the_querys_own_is_coloured():
    law = np.full((6, 6), 1 / 6)
    law[1] = [0.5, 0.0, 0.25, 0.0, 0.25, 0.0]
    classes = {"digit": np.array([7, 3, 3, 3, 9, 9]), "odd": np.array([1, 1, 1, 1, 0, 0])}
    figure = draw_classes({"image": IMAGES, "text": LINES}, {("image", "text"): law}, classes, queries=2)
    bars = [axis for axis in figure.axes if axis.patches]
    heights = [[bar.get_height() for bar in axis.patches] for axis in bars]
    assert heights == [
        pytest.approx(x) for x in ([1 / 2, 1 / 6, 1 / 3], [1 / 3, 2 / 3], [0.25, 0.5, 0.25], [0.25, 0.75])
    ]
    assert [[label.get_text() for label in axis.get_xticklabels()] for axis in bars[:2]] == [
        ["3", "7", "9"],
        ["0", "1"],
    ]
    own = [
        [bar.get_facecolor() != axis.patches[-1].get_facecolor() for bar in axis.patches]
        for axis in bars[2:3]
    ]
    assert own == [[True, False, False]]
    with pytest.raises(ValueError, match="factors"):
        draw_classes({"image": IMAGES}, {("image", "image"): law}, {})


def test_what_is_missed_is_said():
    factors = {
        "object_shape": (np.array([1, 2, 3]), np.array([1, 5, 3])),
        "hue.image": (np.array([0.5, 0.25, 0.0]), np.array([0.5, 0.5, 0.5])),
    }
    figure = draw_predictions({"image": IMAGES}, {"image": factors}, columns=3, rows=1)
    lines = [[text.get_text() for text in axis.texts] for axis in figure.axes if axis.texts]
    assert lines == [
        ["shape 1", "hue 0.50 (is 0.50)"],
        ["shape 5 (is 2)", "hue 0.50 (is 0.25)"],
        ["shape 3", "hue 0.50 (is 0.00)"],
    ]
    colours = [axis.texts[0].get_color() for axis in figure.axes if axis.texts]
    assert colours[0] == colours[2] != colours[1]


def test_a_map_has_a_point_for_each_sample_in_the_colour_of_its_class():
    z = np.random.default_rng(1).normal(size=(6, 2))
    classes = np.array([0, 0, 1, 1, 1, 2])
    figure = draw_maps({"image": z}, {"shape": classes, "hue": np.linspace(0, 1, 6)})
    groups = figure.axes[0].collections
    assert [len(group.get_offsets()) for group in groups] == [2, 3, 1]
    np.testing.assert_allclose(np.concatenate([group.get_offsets() for group in groups]), z)
    assert len({tuple(group.get_facecolor()[0]) for group in groups}) == 3
    assert len(CLASSES) == len(set(CLASSES))


def test_without_factors_a_map_is_in_one_colour():
    figure = draw_maps({"a": np.random.default_rng(1).normal(size=(6, 2))}, {})
    assert [len(group.get_offsets()) for group in figure.axes[0].collections] == [6]


def test_the_plane_keeps_groups_together():
    centres = np.repeat(np.eye(4) * 20, 10, axis=0)
    at = plane(centres + np.random.default_rng(2).normal(size=centres.shape))
    for group in range(4):
        own, other = (
            at[10 * group : 10 * group + 10],
            np.delete(at, slice(10 * group, 10 * group + 10), axis=0),
        )
        within = np.linalg.norm(own - own.mean(axis=0), axis=1).max()
        assert np.linalg.norm(other - own.mean(axis=0), axis=1).min() > within
    line = plane(np.arange(3.0)[:, None])
    np.testing.assert_array_equal(line, [[0, 0], [1, 0], [2, 0]])


@pytest.mark.parametrize("shown", [True, False])
def test_a_run_draws_what_can_be_shown(tmp_path, shown):
    g = torch.Generator().manual_seed(0)

    def batch() -> Batch:
        views = {"a": torch.randn(40, 3, generator=g), "b": torch.randn(40, 3, generator=g)}
        if shown:
            views = {
                "image": torch.randint(255, (40, 3, 8, 8), generator=g, dtype=torch.uint8),
                "text": torch.tensor([[3, 4, 1, 0]] * 40),
            }
        return Batch(
            views,
            {"shape": torch.randint(3, (40, 1), generator=g), "hue.image": torch.rand(40, 1, generator=g)},
        )

    roles = {"shape": FactorRole("content", classes=3), "hue.image": FactorRole("style", "image")}
    paths = draw_pictures(
        tmp_path / "pictures",
        batch(),
        batch(),
        roles,
        lambda views: {name: x.flatten(1)[:, :3].float() for name, x in views.items()},
        ("{pad}", "{eos}", "{unk}", "a", "cow"),
        "cosine",
        2.0,
        0.5,
        lambda view, x: None,
    )
    every = {"maps", "neighbours", "draws", "classes", "predictions"}
    assert {path.stem for path in paths} == (every if shown else {"maps"})
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_a_relation_of_two_views_is_predicted_from_neither():
    g = torch.Generator().manual_seed(0)
    factors = {
        name: torch.randint(2, (40, 1), generator=g)
        for name in ("shape", "texture.x1", "texture.x2", "match")
    }
    roles = {
        "shape": FactorRole("content", None, 2),
        "texture.x1": FactorRole("modality_specific", "x1", 2),
        "texture.x2": FactorRole("modality_specific", "x2", 2),
        "match": FactorRole("synergy", None, 2),
    }
    batch = Batch({"x1": torch.randn(40, 2, generator=g)}, factors)
    z = torch.randn(40, 2, generator=g)
    assert set(predicted_factors("x1", z, z, batch, batch, roles)) == {"shape", "texture.x1"}
