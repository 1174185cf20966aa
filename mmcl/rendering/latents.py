"""The factors of one pair: the laws that Multimodal3DIdent and the image pairs are drawn from.

Pair i of a split is a function of (seed, split, i) alone, so that any pair can be made by itself, in any order and by
any number of processes. Angles and hues are in [0, 1]; what they become in a scene is :mod:`mmcl.rendering.scene`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmcl.checks import require, require_choice, require_share
from mmcl.rendering.colours import PALETTES, colour_names, named_colour
from mmcl.rendering.text import PHRASINGS, SHAPE_WORDS

SHAPES = SHAPE_WORDS
SPLITS = {"train": 0, "val": 1, "test": 2}
"""Split -> its place in the seed of a pair's random numbers. Part of what a seed means."""

Factors = dict[str, "float | int | str"]
"""Column -> value, in the order of the published CSV files."""


def pair_generator(seed: int, split: str, index: int) -> np.random.Generator:
    """The random numbers of pair ``index`` >= 0 of ``split`` (train, val or test).

    Raises ``ValueError`` for another split, or a negative seed or index.
    """
    require(seed >= 0, "seed", seed, ">= 0")
    require(index >= 0, "index", index, ">= 0")
    require_choice("split", split, tuple(SPLITS))
    return np.random.default_rng([seed, SPLITS[split], index])


@dataclass(frozen=True)
class ImageText:
    """The factors of an image and of its text (Daunhawer et al., 2023, Section 5.2 and Table 3).

    Shape (7 classes), x- and y-position (3 each) are content; the object's colour is style: a hue for the image, for
    the text the name of the nearest colour of a palette drawn at random. Rotations, the spotlight's place and colour
    and the background's colour are the image's own, the phrasing is the text's. All are uniform; all are independent
    unless the hue depends on the x-position.

    Fields:
        position_dependent_color: the hue lies in the third of [0, 1] that belongs to the x-position,
            ``(xpos + U[0, 1]) / 3`` (the paper's Figure 3); otherwise it is uniform (Figure 11).
    """

    position_dependent_color: bool = True

    views = ("image", "text")

    def draw(self, rng: np.random.Generator) -> dict[str, Factors]:
        """View -> the factors of one pair. All draws are made whatever the field says: it changes the hue alone."""
        shape, xpos, ypos = (int(rng.integers(n)) for n in (len(SHAPES), 3, 3))
        alpha, beta, gamma, hue, spot_pos, spot_color, background = rng.random(7).tolist()
        palette, phrasing = PALETTES[rng.integers(len(PALETTES))], int(rng.integers(len(PHRASINGS)))
        if self.position_dependent_color:
            hue = (xpos + hue) / 3
        content: Factors = {
            "object_shape": shape,
            "object_xpos": xpos,
            "object_ypos": ypos,
            "object_zpos": 0.0,
        }
        name = named_colour(hue, palette)
        return {
            "image": {
                **content,
                "object_alpharot": alpha,
                "object_betarot": beta,
                "object_gammarot": gamma,
                "object_color": hue,
                "spotlight_pos": spot_pos,
                "spotlight_color": spot_color,
                "background_color": background,
            },
            "text": {
                **content,
                "object_color_name": name,
                "object_color_index": colour_names().index(name),
                "text_phrasing": phrasing,
            },
        }


@dataclass(frozen=True)
class ImagePairs:
    """The factors of a pair of images of one object (Daunhawer et al., 2023, Section B.1): nine, all continuous.

    The object's x-, y- and z-position are content. Its colour, the spotlight's and the background's are style. Two
    rotations are the first image's own, the spotlight's place is the second's; each image shows the other's own factors
    at their middle, 1/2. All are uniform in [0, 1].

    Fields:
        causal: the background's colour depends on the z-position, the spotlight's on the object's colour (Figure 10b):
            ``colour = (floor(3 cause) + U[0, 1]) / 3``, the third of the hues that belongs to the cause's third.
            Otherwise all are independent (Figure 10a).
        style_change_prob: in [0, 1]: each of the three style factors of the second image has noise of its own with
            this probability, and otherwise the first's.

    The paper says neither the causal maps nor how style is shared; both are our choice, after its image/text pairs and
    its numerical simulation. Raises ``ValueError`` for a probability out of range.
    """

    causal: bool = False
    style_change_prob: float = 0.75

    views = ("image1", "image2")

    def __post_init__(self) -> None:
        require_share("style_change_prob", self.style_change_prob)

    def draw(self, rng: np.random.Generator) -> dict[str, Factors]:
        """View -> the factors of one pair. All draws are made whatever the fields say."""
        position, rotation, noise, other, change = rng.random((5, 3))
        second = np.where(change < self.style_change_prob, other, noise)
        return {
            "image1": self._image(position, noise, alpha=rotation[0], beta=rotation[1], spot_pos=0.5),
            "image2": self._image(position, second, alpha=0.5, beta=0.5, spot_pos=rotation[2]),
        }

    def _image(
        self, position: np.ndarray, noise: np.ndarray, *, alpha: float, beta: float, spot_pos: float
    ) -> Factors:
        color, spot_color, background = noise.tolist()
        if self.causal:
            spot_color, background = _third(color, spot_color), _third(float(position[2]), background)
        x, y, z = position.tolist()
        return {
            "object_shape": 0,
            "object_xpos": x,
            "object_ypos": y,
            "object_zpos": z,
            "object_alpharot": float(alpha),
            "object_betarot": float(beta),
            "object_gammarot": 0.5,
            "object_color": color,
            "spotlight_pos": float(spot_pos),
            "spotlight_color": spot_color,
            "background_color": background,
        }


def _third(cause: float, noise: float) -> float:
    """A point of the third of [0, 1] that ``cause`` in [0, 1) lies in.

    >>> round(_third(0.5, 0.25), 6)
    0.416667
    """
    return (int(3 * cause) + noise) / 3
