"""From a hue in [0, 1] to colours of objects and lights, and to a colour's name."""

from __future__ import annotations

import colorsys
from enum import Enum
from functools import cache

import numpy as np
from matplotlib import colors

PALETTES = ("tableau", "css4", "xkcd")
"""The three palettes of Multimodal3DIdent, in the order in which a sample draws one."""


class HueMode(Enum):
    """What becomes of a light's hue (u - 1/2) / 2 where it is negative.

    * ``original``: as in the published generator, whose conversion to RGB was not made for negative hues: the spotlight
      is one red, (1, 0, 0.2), for u in (1/6, 5/12), the background (1, 0, 0.4) for u in (1/6, 5/18), with a jump at
      1/6; there images do not tell u.
    * ``wrapped``: a hue is a point of the circle, and every u has a colour of its own.
    """

    original = "original"
    wrapped = "wrapped"


def object_rgb(hue: float) -> tuple[float, float, float]:
    """The object's colour, ``hsv(hue, 1, 1)`` in sRGB; ``hue`` in [0, 1].

    >>> object_rgb(0.0)
    (1.0, 0.0, 0.0)
    """
    return colorsys.hsv_to_rgb(hue, 1.0, 1.0)


def light_rgb(u: float, saturation: float, mode: HueMode) -> tuple[float, float, float]:
    """The colour of the spotlight (saturation 0.8) or the background (0.6): ``hsv((u - 1/2) / 2, saturation, 1)``.

    Args:
        u: in [0, 1].
        saturation: in [0, 1].
        mode: see :class:`HueMode`. In ``original`` a component may exceed 1 (by 0.4), as the renderer then keeps it.

    >>> light_rgb(0.3, 0.8, HueMode.original) == light_rgb(0.4, 0.8, HueMode.original)
    True
    """
    hue = (u - 0.5) / 2
    if mode is HueMode.wrapped:
        return colorsys.hsv_to_rgb(hue % 1.0, saturation, 1.0)
    r, g, b = (max(0.0, c) for c in colorsys.hsv_to_rgb(hue, saturation, 1.0))
    return r, g, b


@cache
def palettes() -> dict[str, tuple[str, ...]]:
    """Palette -> its colours' names: matplotlib's Tableau (10), CSS4 (148) and XKCD (949), in its order."""
    tables = (colors.TABLEAU_COLORS, colors.CSS4_COLORS, colors.XKCD_COLORS)
    return {name: tuple(table) for name, table in zip(PALETTES, tables, strict=True)}


@cache
def colour_names() -> tuple[str, ...]:
    """All names of all palettes, sorted: a name's place is its ``object_color_index``."""
    return tuple(sorted({name for names in palettes().values() for name in names}))


@cache
def _rgb_of(palette: str) -> np.ndarray:
    return np.array([colors.to_rgb(name) for name in palettes()[palette]])


def named_colour(hue: float, palette: str) -> str:
    """The name, in ``palette``, of the colour nearest to :func:`object_rgb` in RGB; the first of equals.

    Since saturation and value are 1, 100 of the 1,107 names can occur.

    >>> named_colour(0.0, "css4"), named_colour(1 / 3, "xkcd")
    ('red', 'xkcd:bright green')
    """
    distances = np.square(_rgb_of(palette) - object_rgb(hue)).sum(axis=1)
    return palettes()[palette][int(distances.argmin())]
