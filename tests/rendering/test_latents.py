import numpy as np
import pytest

from mmcl.rendering import (
    SPLITS,
    HueMode,
    ImagePairs,
    ImageText,
    light_rgb,
    named_colour,
    object_rgb,
    palettes,
)
from mmcl.rendering.colours import colour_names
from mmcl.rendering.latents import pair_generator

N = 3000


def draws(law, n=N, seed=0, split="train"):
    pairs = [law.draw(pair_generator(seed, split, i)) for i in range(n)]
    return {view: {k: np.array([p[view][k] for p in pairs]) for k in pairs[0][view]} for view in law.views}


def p_uniform(values):
    """The Kolmogorov-Smirnov distance from the uniform law, times the root of n: over 1.95 once in 1,000."""
    ordered, n = np.sort(values), len(values)
    steps = np.arange(n + 1) / n
    return np.sqrt(n) * max(np.abs(ordered - steps[1:]).max(), np.abs(ordered - steps[:-1]).max())


def test_a_pair_is_a_function_of_seed_split_and_index():
    law = ImageText()
    one = law.draw(pair_generator(3, "val", 17))
    assert law.draw(pair_generator(3, "val", 17)) == one
    others = [(4, "val", 17), (3, "train", 17), (3, "val", 18)]
    assert all(law.draw(pair_generator(*other)) != one for other in others)


@pytest.mark.parametrize("arguments", [(-1, "train", 0), (0, "train", -1), (0, "validation", 0)])
def test_a_value_out_of_range_is_named(arguments):
    with pytest.raises(ValueError, match=r"(seed|index|split)=.*must be"):
        pair_generator(*arguments)


@pytest.mark.parametrize("causal", [True, False])
def test_image_and_text_share_shape_and_position_and_follow_their_laws(causal):
    found = draws(ImageText(position_dependent_color=causal))
    image, text = found["image"], found["text"]
    for name in ("object_shape", "object_xpos", "object_ypos", "object_zpos"):
        assert (image[name] == text[name]).all()
    # Counts of a class of probability p lie within 4.5 standard deviations: all 18 fail to once in 8,000 seeds.
    for values, classes in (
        (image["object_shape"], 7),
        (image["object_xpos"], 3),
        (image["object_ypos"], 3),
        (text["text_phrasing"], 5),
    ):
        p = 1 / classes
        assert (np.abs(np.bincount(values, minlength=classes) - N * p) < 4.5 * np.sqrt(N * p * (1 - p))).all()
    for name in (
        "object_alpharot",
        "object_betarot",
        "object_gammarot",
        "object_color",
        "spotlight_pos",
        "spotlight_color",
        "background_color",
    ):
        assert p_uniform(image[name]) < 2.2  # (seven times: once in 1,800 seeds)
    same_third = (3 * image["object_color"]).astype(int) == image["object_xpos"]
    assert same_third.all() if causal else 0.25 < same_third.mean() < 0.42


def test_the_dependence_changes_the_hue_alone():
    a, b = (ImageText(position_dependent_color=c).draw(pair_generator(0, "test", 5)) for c in (True, False))
    changed = {k for view in a for k in a[view] if a[view][k] != b[view][k]}
    assert "object_color" in changed
    assert changed <= {"object_color", "object_color_name", "object_color_index"}


def test_the_text_names_a_near_colour_of_one_of_three_palettes():
    found = draws(ImageText())["text"]
    names = found["object_color_name"]
    assert (np.array(colour_names())[found["object_color_index"]] == names).all()
    palette = np.select([np.char.startswith(names, "tab:"), np.char.startswith(names, "xkcd:")], [0, 2], 1)
    assert (np.abs(np.bincount(palette) - N / 3) < 4 * np.sqrt(N * 2 / 9)).all()


def test_a_hundred_names_can_occur():
    assert [len(names) for names in palettes().values()] == [10, 148, 949]
    assert len(colour_names()) == 1107
    hues = np.linspace(0, 1, 20_001)[::3]
    found = [len({named_colour(hue, palette) for hue in hues}) for palette in palettes()]
    assert found == [8, 22, 70]


def test_image_pairs_share_position_always_and_colours_in_part():
    found = draws(ImagePairs(style_change_prob=0.75))
    one, two = found["image1"], found["image2"]
    for name in ("object_xpos", "object_ypos", "object_zpos"):
        assert (one[name] == two[name]).all()
        assert p_uniform(one[name]) < 2.2
    for name in ("object_color", "spotlight_color", "background_color"):
        assert abs((one[name] != two[name]).mean() - 0.75) < 4.5 * np.sqrt(0.75 * 0.25 / N)
        assert p_uniform(two[name]) < 2.2
    assert (
        np.ptp(two["object_alpharot"]) == np.ptp(two["object_betarot"]) == np.ptp(one["spotlight_pos"]) == 0
    )
    assert all(
        p_uniform(v) < 2.2 for v in (one["object_alpharot"], one["object_betarot"], two["spotlight_pos"])
    )


def test_the_causal_pairs_have_colours_in_the_third_of_their_cause():
    for image in draws(ImagePairs(causal=True), 500).values():
        for cause, effect in (("object_zpos", "background_color"), ("object_color", "spotlight_color")):
            assert ((3 * image[cause]).astype(int) == (3 * image[effect]).astype(int)).all()


@pytest.mark.parametrize("prob", [0.0, 1.0])
def test_style_that_never_or_always_changes(prob):
    pair = ImagePairs(style_change_prob=prob).draw(pair_generator(0, "train", 0))
    assert (pair["image1"]["object_color"] == pair["image2"]["object_color"]) is (prob == 0.0)
    with pytest.raises(ValueError, match=r"style_change_prob=1\.5"):
        ImagePairs(style_change_prob=1.5)


def test_splits_differ_and_keep_their_numbers():
    assert SPLITS == {"train": 0, "val": 1, "test": 2}


@pytest.mark.parametrize(
    ("saturation", "constant", "end"), [(0.8, (1.0, 0.0, 0.2), 5 / 12), (0.6, (1.0, 0.0, 0.4), 5 / 18)]
)
def test_the_original_hues_of_lights_are_partly_lost_and_the_wrapped_ones_are_not(saturation, constant, end):
    inside = np.linspace(1 / 6 + 1e-6, end - 1e-6, 50)
    assert np.allclose([light_rgb(u, saturation, HueMode.original) for u in inside], constant, atol=1e-12)
    wrapped = {tuple(np.round(light_rgb(u, saturation, HueMode.wrapped), 6)) for u in inside}
    assert len(wrapped) == 50
    # Blue is out of range at 0, and jumps at 1/6.
    assert light_rgb(0.0, saturation, HueMode.original)[2] == pytest.approx(1 + saturation / 2)
    below, above = (light_rgb(1 / 6 + d, saturation, HueMode.original) for d in (-1e-9, 1e-9))
    assert (below[2], above[2]) == (pytest.approx(1), pytest.approx(1 - saturation))
    for u in (0.5, 0.75, 1.0):
        assert light_rgb(u, saturation, HueMode.original) == light_rgb(u, saturation, HueMode.wrapped)


def test_an_objects_colours_are_bright():
    assert all(max(object_rgb(h)) == 1.0 and min(object_rgb(h)) == 0.0 for h in np.linspace(0, 1, 13))
