"""Pictures of a shape in a texture and a colour: what is inside, where, in which ink."""

import math
from itertools import combinations

import numpy as np
import pytest

from mmcl.rendering.trifeature import (
    COLOURS,
    GROUND,
    PLACEMENTS,
    SHAPES,
    TEMPLATE,
    TEXTURES,
    period,
    render,
    sheet,
)

MIDDLE = np.full((1, 6), 0.5)
"""In the middle, upright."""


def one(shape="square", texture="solid", colour="white", size=64, **placement):
    at = MIDDLE.copy()
    for name, value in placement.items():
        at[0, PLACEMENTS.index(name)] = value
    levels = (SHAPES.index(shape), TEXTURES.index(texture), list(COLOURS).index(colour))
    return render(*(np.array([level]) for level in levels), at, size)[0]


def cover(picture):
    """The share of ink in each pixel of a white picture."""
    return (picture[0].astype(float) - GROUND) / (255 - GROUND)


AREAS = {
    "triangle": 0.95 / 2,
    "square": 0.84**2,
    "plus": 2 * 0.3 - 0.09,
    "circle": math.pi * 0.48**2,
    "tee": 0.3 + 0.3 * 0.7,
    "rhombus": 0.28,
    "pentagon": 5 / 2 * 0.25 * math.sin(2 * math.pi / 5),
    "star": 5 * 0.5 * 0.2 * math.sin(math.pi / 5),
    "fivesquare": 5 / 9,
    "trapezoid": (0.4 + 1) / 2 * 0.64,
}
"""In units of the template."""


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rotation", [0.5, 0.1])
def test_a_solid_shape_has_its_area_at_any_rotation(shape, rotation):
    area = cover(one(shape, rotation=rotation, size=128)).sum() / (128 * TEMPLATE) ** 2
    assert area == pytest.approx(AREAS[shape], abs=0.01)


def test_the_centre_of_the_shape_is_the_middle_of_the_range():
    ink = cover(one("circle"))
    line = np.arange(64) + 0.5
    assert (ink.sum(axis=0) @ line) / ink.sum() == pytest.approx(32, abs=0.2)
    assert (ink.sum(axis=1) @ line) / ink.sum() == pytest.approx(32, abs=0.2)
    radius = 0.48 * 64 * TEMPLATE
    ink = cover(one("circle", x=0.0, y=1 - 1e-9))
    assert (ink.sum(axis=0) @ line) / ink.sum() == pytest.approx(radius, abs=0.5)
    assert (ink.sum(axis=1) @ line) / ink.sum() == pytest.approx(64 - radius, abs=0.5)


@pytest.mark.parametrize("shape", SHAPES)
def test_objects_stay_inside(shape):
    """As much ink in each corner of the range as in the middle."""
    whole = cover(one(shape, rotation=0.2)).sum()
    for x in (0.0, 1 - 1e-9):
        for y in (0.0, 1 - 1e-9):
            assert cover(one(shape, rotation=0.2, x=x, y=y)).sum() == pytest.approx(whole, rel=0.02)


@pytest.mark.parametrize("colour", COLOURS)
def test_ink_and_ground_are_the_colours(colour):
    picture = one(colour=colour)
    assert tuple(picture[:, 32, 32]) == COLOURS[colour]
    assert tuple(picture[:, 0, 0]) == (GROUND,) * 3


def test_colours_are_apart():
    all_of_them = [*COLOURS.values(), (GROUND,) * 3]
    assert min(math.dist(a, b) for a, b in combinations(all_of_them, 2)) >= 90


def test_ink_is_where_shape_and_texture_are():
    """What a texture leaves of a square has the texture's share of its area, and nothing is beside the square."""
    square = cover(one(size=224, rotation=0.3))
    shares = {}
    for texture in TEXTURES:
        ink = cover(one(texture=texture, size=224, rotation=0.3))
        assert (ink <= square + 1e-9).all()
        shares[texture] = ink.sum() / square.sum()
    assert shares["solid"] == 1
    assert shares["stripes"] == pytest.approx(0.5, abs=0.05)
    assert shares["grid"] == pytest.approx(1 - 0.66**2, abs=0.05)
    assert shares["dots"] == pytest.approx(math.pi * 0.33**2, abs=0.05)
    assert shares["triangles"] == pytest.approx(0.5, abs=0.05)
    assert shares["zigzags"] == pytest.approx(0.5, abs=0.05)
    assert shares["noise"] == pytest.approx(0.5, abs=0.1)
    assert all(0.25 < share < 0.65 for name, share in shares.items() if name != "solid")


@pytest.mark.parametrize("size", [64, 128, 224])
def test_stripes_have_their_period(size):
    """Upright stripes: across a row of the square's middle, the strongest frequency is the period's."""
    row = cover(one(texture="stripes", size=size))[size // 2]
    side = 0.84 * TEMPLATE * size
    inside = row[int(size / 2 - side / 2) + 1 : int(size / 2 + side / 2)]
    strength = abs(np.fft.rfft(inside - inside.mean(), 4096))
    assert 4096 / strength.argmax() == pytest.approx(period(size), rel=0.1)
    across = cover(one(texture="stripes", size=size))
    assert np.abs(np.diff(across[size // 2 - 5 : size // 2 + 5], axis=0)).max() == 0  # none along them


def test_a_phase_moves_the_texture_and_a_rotation_of_its_own_turns_it():
    still = one(texture="noise")
    assert not np.array_equal(still, one(texture="noise", phase_u=0.3))
    assert not np.array_equal(still, one(texture="noise", texture_rotation=0.3))
    # A quarter of a turn of the texture is the transposed picture, up to its direction.
    left, right = (one(texture="stripes", texture_rotation=r) for r in (0.0, 1 - 1e-9))
    assert cover(left).sum() == pytest.approx(cover(right).sum(), rel=0.1)


@pytest.mark.parametrize("size", [32, 64, 101])
def test_a_pixel_is_the_mean_of_its_points(size):
    """Held against the same shape point by point, drawn without tables."""
    picture = cover(one("rhombus", size=size, rotation=0.3, x=0.2, y=0.7))
    template, radius = TEMPLATE * size, 0.5 * TEMPLATE * size
    x, y = (radius + u * (size - 2 * radius) for u in (0.2, 0.7))
    angle = (0.3 - 0.5) * math.pi / 2
    found = np.zeros((size, size))
    for i in range(4 * size):
        for j in range(4 * size):
            dx, dy = ((j + 0.5) / 4 - x) / template, ((i + 0.5) / 4 - y) / template
            a, b = math.cos(angle) * dx + math.sin(angle) * dy, math.cos(angle) * dy - math.sin(angle) * dx
            found[i // 4, j // 4] += (abs(a) / 0.28 + abs(b) / 0.5 < 1) / 16
    assert np.abs(picture - found).mean() < 2e-3
    assert np.abs(picture - found).max() < 0.3


def test_a_picture_does_not_depend_on_those_beside_it():
    rng = np.random.default_rng(0)
    levels, placement = rng.integers(0, 10, (3, 40)), rng.random((40, 6))
    pictures = render(*levels, placement, 48)
    assert pictures.shape == (40, 3, 48, 48)
    assert pictures.dtype == np.uint8
    for k in (0, 15, 16, 39):
        alone = render(*levels[:, k : k + 1], placement[k : k + 1], 48)
        assert alone[0].tobytes() == pictures[k].tobytes()


def test_a_sheet_shows_all(tmp_path):
    path = tmp_path / "sheet.png"
    sheet(path, 32)
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 8}, "size=8: must be >= 16"),
        ({"placement": np.full((1, 6), 1.0)}, "placement"),
        ({"placement": np.zeros((1, 5))}, r"placement.shape=\(1, 5\)"),
        ({"shapes": np.array([10])}, r"shapes=array\(\[10\]\): must be 1 whole numbers from 0 to 9"),
        ({"colours": np.array([1, 2])}, "colours"),
    ],
)
def test_bad_values_are_refused_by_name(change, message):
    zero = np.zeros(1, dtype=int)
    values = {"shapes": zero, "textures": zero, "colours": zero, "placement": MIDDLE, "size": 32, **change}
    with pytest.raises(ValueError, match=message):
        render(**values)
