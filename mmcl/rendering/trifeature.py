"""Pictures of one object each, of a known shape, texture and colour: ten of each, made from nothing.

The factors are those of Hermann and Lampinen (2020, "What shapes feature representations?", Trifeature), which Dufumier
et al. (2025, CoMM) pair: on grey ground, an object of 128/224 of the side, turned by up to 45 degrees, anywhere in the
picture. Shapes and textures are drawn by our own definitions; a picture is a function of its three levels and six
placement numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from mmcl.checks import require

SHAPES = (
    "triangle", "square", "plus", "circle", "tee", "rhombus", "pentagon", "star", "fivesquare", "trapezoid",
)  # fmt: skip
TEXTURES = (
    "solid", "stripes", "grid", "hexgrid", "dots", "noise", "triangles", "zigzags", "rain", "pluses",
)  # fmt: skip
COLOURS = {
    "red": (224, 16, 16),
    "green": (16, 176, 32),
    "blue": (16, 32, 240),
    "yellow": (248, 240, 0),
    "pink": (255, 136, 200),
    "cyan": (0, 248, 248),
    "purple": (128, 0, 152),
    "ocean": (0, 104, 144),
    "orange": (255, 128, 0),
    "white": (255, 255, 255),
}
"""Name -> sRGB. Any two of them, and each and the ground, are 100 apart or more (Euclidean)."""

GROUND = 128
"""Of all three channels: 50 % grey."""

PLACEMENTS = ("x", "y", "rotation", "texture_rotation", "phase_u", "phase_v")
"""The placement numbers of a picture, each uniform in [0, 1)."""

TEMPLATE = 128 / 224
"""Side of the square that a shape is drawn in, as a share of the picture's."""

SAMPLES = 4
"""Points along each side of a pixel that are looked up; their mean is the pixel."""

_TABLE = 1024  # cells along each side of a table; a power of two, so that a texture's indices wrap by a mask
_TILE = 16  # periods along each side of a texture's table
_REACH = math.sqrt(0.5) + 1 / 64  # of a shape's table from its middle: corners of the template, and a margin
_CHUNK = 16  # pictures at a time: their points stay in a core's cache

Grid = np.ndarray


def period(size: int) -> float:
    """The texture's period in pixels: 10/224 of the side, but 8 at least, or an eighth of sides below 64.

    Below 8 pixels the finest strokes, a quarter of the period, are less than two pixels wide, and dots, pluses and
    triangles look alike. At 64 pixels an object then shows four to five periods instead of thirteen; fewer would hide
    its shape, so that textures of smaller pictures are not quite clear.

    >>> period(32), period(64), period(128), period(224)
    (4.0, 8.0, 8.0, 10.0)
    """
    return max(size * 10 / 224, min(8.0, size / 8))


def render(
    shapes: np.ndarray, textures: np.ndarray, colours: np.ndarray, placement: np.ndarray, size: int
) -> np.ndarray:
    """Pictures ``(n, 3, size, size)``, uint8: ``ground + (colour - ground) * share``, rounded half up.

    ``share`` is the part of a pixel's 4 x 4 points that lie in both the shape and its texture.

    Args:
        shapes, textures, colours: ``(n,)`` integers from 0 to 9, places in :data:`SHAPES`, :data:`TEXTURES` and
            :data:`COLOURS`.
        placement: ``(n, 6)``, in [0, 1), see :data:`PLACEMENTS`: the place, over all that keep the object inside; its
            rotation and the texture's, over [-45, 45) degrees; and the texture's phase.
        size: side in pixels, >= 16.

    Raises:
        ValueError: a size, level, placement or number of rows out of range.
    """
    require(size >= 16, "size", size, ">= 16")
    n = len(placement)
    require(placement.shape == (n, len(PLACEMENTS)), "placement.shape", placement.shape, f"({n}, 6)")
    inside = bool(((placement >= 0) & (placement < 1)).all())
    require(inside, "placement", "numbers beyond", "in [0, 1)")
    for name, levels in (("shapes", shapes), ("textures", textures), ("colours", colours)):
        known = levels.shape == (n,) and bool(((levels >= 0) & (levels < 10)).all())
        require(known, name, levels, f"{n} whole numbers from 0 to 9")
    pictures = np.full((n, 3, size, size), GROUND, dtype=np.uint8)
    for first in range(0, n, _CHUNK):
        rows = slice(first, first + _CHUNK)
        _render(pictures[rows], shapes[rows], textures[rows], colours[rows], placement[rows])
    return pictures


def _render(
    pictures: np.ndarray, shapes: np.ndarray, textures: np.ndarray, colours: np.ndarray, placement: np.ndarray
) -> None:
    """Draw objects into ``pictures``, which are grey."""
    n, size = len(pictures), pictures.shape[-1]
    template = TEMPLATE * size
    radius = _radii()[shapes] * template
    centre = radius[:, None] + placement[:, :2] * (size - 2 * radius)[:, None]
    # Of the pixels, only those of a window around the object are looked at.
    width = min(math.ceil(2 * float(_radii().max()) * template) + 1, size)
    corner = np.clip(np.floor(centre - width / 2).astype(np.int64), 0, size - width)
    steps = (np.arange(width * SAMPLES) + 0.5) / SAMPLES
    x, y = ((corner[:, k, None] + steps - centre[:, k, None]).astype(np.float32) for k in (0, 1))

    in_template = _TABLE / (2 * _REACH * template)
    across, down = _turned(x, y, placement[:, 2], in_template, np.full((n, 2), _TABLE / 2))
    last = np.int32(_TABLE - 1)  # the table's margin is empty
    place = np.clip(down, 0, last) * np.int32(_TABLE) + np.clip(across, 0, last)
    place += (shapes * _TABLE**2).astype(np.int32)[:, None, None]
    covered = _tables(SHAPES[0])[place]

    in_tile = _TABLE / (_TILE * period(size))
    # (far from zero, so that truncating is rounding down)
    phase = (placement[:, 4:] + 8) * _TABLE
    across, down = _turned(x, y, placement[:, 3], in_tile, phase)
    place = (down & last) * np.int32(_TABLE) + (across & last)
    place += (textures * _TABLE**2).astype(np.int32)[:, None, None]
    covered &= _tables(TEXTURES[0])[place]

    counts = covered.reshape(n, width, SAMPLES, width, SAMPLES).sum(axis=(2, 4), dtype=np.int32)
    points = SAMPLES**2
    palette = np.array(list(COLOURS.values()), dtype=np.int32)
    for k in range(n):
        # Whole numbers, so that rounding is the same everywhere.
        ink = (palette[colours[k]] - GROUND)[:, None, None] * counts[k] + GROUND * points
        (left, top) = corner[k]
        pictures[k, :, top : top + width, left : left + width] = (2 * ink + points) // (2 * points)


def _turned(
    x: np.ndarray, y: np.ndarray, rotation: np.ndarray, scale: float, origin: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cells ``(n, h, w)`` of a table, int32, for points of the picture ``x (n, w)`` and ``y (n, h)``."""
    angle = (rotation - 0.5) * (math.pi / 2)
    cos, sin = ((scale * f(angle)).astype(np.float32)[:, None] for f in (np.cos, np.sin))
    offset = origin.astype(np.float32)
    across = (cos * x + offset[:, :1])[:, None, :] + (sin * y)[:, :, None]
    down = (-sin * x)[:, None, :] + (cos * y + offset[:, 1:])[:, :, None]
    return across.astype(np.int32), down.astype(np.int32)


# --- tables: a point of the plane -> whether a shape or a texture is there -------------------------------------------


@cache
def _tables(first: str) -> np.ndarray:
    """The tables of all shapes, or of all textures, one after the other, flat."""
    kind: dict[str, Callable[[Grid, Grid], Grid]] = _SHAPES if first in _SHAPES else _TEXTURES
    steps = (np.arange(_TABLE) + 0.5) / _TABLE
    line = (2 * steps - 1) * _REACH if first in _SHAPES else steps * _TILE
    right, down = np.meshgrid(line, line)
    return np.stack([inside(right, down) for inside in kind.values()]).reshape(-1)


@cache
def _radii() -> np.ndarray:
    """Distance of each shape's farthest point from the middle of the template, in sides of it: ``(10,)``."""
    line = (2 * (np.arange(_TABLE) + 0.5) / _TABLE - 1) * _REACH
    distance = np.hypot(*np.meshgrid(line, line))
    tables = _tables(SHAPES[0]).reshape(len(SHAPES), _TABLE, _TABLE)
    return np.array([distance[table].max() for table in tables])


def _polygon(corners: list[tuple[float, float]]) -> Callable[[Grid, Grid], Grid]:
    """Whether points are inside, by counting the edges that a ray to the right crosses."""

    def inside(x: Grid, y: Grid) -> Grid:
        odd = np.zeros(x.shape, dtype=bool)
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
            if ay != by:
                odd ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
        return odd

    return inside


def _spokes(count: int, *radii: float) -> list[tuple[float, float]]:
    """Corners on ``count`` spokes, the first of them upwards, at these distances in turn."""
    turns = [2 * math.pi * k / count for k in range(count)]
    return [
        (radii[k % len(radii)] * math.sin(a), -radii[k % len(radii)] * math.cos(a))
        for k, a in enumerate(turns)
    ]


# Right and down, in sides of the template.
_SHAPES: dict[str, Callable[[Grid, Grid], Grid]] = {
    "triangle": _polygon([(0, -0.5), (0.5, 0.45), (-0.5, 0.45)]),
    "square": lambda x, y: np.maximum(abs(x), abs(y)) < 0.42,
    "plus": lambda x, y: (np.minimum(abs(x), abs(y)) < 0.15) & (np.maximum(abs(x), abs(y)) < 0.5),
    "circle": lambda x, y: np.hypot(x, y) < 0.48,
    "tee": lambda x, y: ((abs(x) < 0.5) & (abs(y + 0.35) < 0.15)) | ((abs(x) < 0.15) & (abs(y) < 0.5)),
    "rhombus": lambda x, y: abs(x) / 0.28 + abs(y) / 0.5 < 1,  # (a square one would be a turned square)
    "pentagon": _polygon(_spokes(5, 0.5)),
    "star": _polygon(_spokes(10, 0.5, 0.2)),
    "fivesquare": lambda x, y: (
        (np.maximum(abs(x), abs(y)) < 0.5)
        & ((np.floor((x + 0.5) * 3) + np.floor((y + 0.5) * 3)).astype(int) % 2 == 0)
    ),
    "trapezoid": _polygon([(-0.2, -0.32), (0.2, -0.32), (0.5, 0.32), (-0.5, 0.32)]),
}


def _cell(u: Grid) -> Grid:
    """The place within the period, in [-1/2, 1/2)."""
    return u - np.floor(u) - 0.5


def _hexgrid(u: Grid, v: Grid) -> Grid:
    """The edges of a honeycomb: where the nearest and the second nearest of its middles are about as far away."""
    # 14 rows of 12 cells fill a tile, shifted by half a cell in turn: within 1 % of regular ones.
    width, height = _TILE / 12, _TILE / 14
    distances = []
    for row in (np.floor(v / height) + k for k in (-1, 0, 1, 2)):
        shift = (row % 2) / 2
        for column in (np.floor(u / width - shift) + k for k in (0, 1)):
            distances.append(np.hypot(u - (column + shift) * width, v - row * height))
    first, second = np.partition(np.stack(distances), 1, axis=0)[:2]
    return second - first < 0.32


def _noise(u: Grid, v: Grid) -> Grid:
    """Cells of a third of a period, on or off at random: one draw, of which each picture shows a place."""
    cells = 3 * _TILE
    on = np.random.default_rng(2020).random((cells, cells)) < 0.5
    return on[(v * 3).astype(int) % cells, (u * 3).astype(int) % cells]


def _rain(u: Grid, v: Grid) -> Grid:
    """Upright strokes, each column's at a height of its own."""
    columns = 2 * _TILE
    height = np.random.default_rng(2021).random(columns)
    column = np.floor(u * 2).astype(int) % columns
    return (abs(_cell(u * 2)) < 0.25) & (abs(_cell(v / 2 + height[column])) < 0.3)


# Right and down, in periods.
_TEXTURES: dict[str, Callable[[Grid, Grid], Grid]] = {
    "solid": lambda u, v: np.ones(u.shape, dtype=bool),
    "stripes": lambda u, v: abs(_cell(u)) < 0.25,
    "grid": lambda u, v: np.maximum(abs(_cell(u)), abs(_cell(v))) > 0.33,
    "hexgrid": _hexgrid,
    "dots": lambda u, v: np.hypot(_cell(u), _cell(v)) < 0.33,
    "noise": _noise,
    "triangles": lambda u, v: abs(2 * _cell(u)) < _cell(v) + 0.5,
    "zigzags": lambda u, v: abs(_cell(v + abs(_cell(u / 2)) * 2)) < 0.25,
    "rain": _rain,
    "pluses": lambda u, v: (
        (np.minimum(abs(_cell(u)), abs(_cell(v))) < 0.14) & (np.maximum(abs(_cell(u)), abs(_cell(v))) < 0.4)
    ),
}


def sheet(path: Path, size: int = 64) -> None:
    """Draw each shape in each texture into ``path`` (a PNG or PDF): rows are shapes, columns textures.

    Colours go along the diagonals, so that each is there ten times. ``size``: of each picture, see :func:`render`.
    """
    from matplotlib.figure import Figure

    rows, columns = (grid.reshape(-1) for grid in np.mgrid[:10, :10])
    placement = np.random.default_rng(0).random((100, len(PLACEMENTS)))
    pictures = render(rows, columns, (rows + columns) % 10, placement, size)
    gap, step = max(1, size // 16), size + max(1, size // 16)
    canvas = np.full((10 * step - gap, 10 * step - gap, 3), 255, dtype=np.uint8)
    for picture, row, column in zip(pictures, rows * step, columns * step, strict=True):
        canvas[row : row + size, column : column + size] = picture.transpose(1, 2, 0)
    figure = Figure(figsize=(10.5, 10.5), layout="constrained")
    axis = figure.subplots()
    axis.imshow(canvas, interpolation="nearest")
    middles = np.arange(10) * step + size / 2
    axis.xaxis.tick_top()
    axis.set_xticks(middles, TEXTURES)
    axis.set_yticks(middles, SHAPES, rotation=90, va="center")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    figure.savefig(path, dpi=130)
