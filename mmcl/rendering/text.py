"""The sentences of Multimodal3DIdent."""

from __future__ import annotations

from mmcl.checks import require

SHAPE_WORDS = ("teapot", "hare", "dragon", "cow", "armadillo", "horse", "head")
X_WORDS = ("left", "center", "right")
Y_WORDS = ("top", "mid", "bottom")

PHRASINGS = (
    'There is {a} {shape} whose color is "{colour}", and it stands at the {place} of the scene.',
    'One "{colour}" {shape} can be seen at the {place} of the scene.',
    'The {place} of the scene holds a "{colour}" colored {shape}.',
    'Look at the {place} of the picture: {a} {shape} painted in "{colour}".',
    'In the {place} of the scene, we find a "{colour}" thing that has the shape of {a} {shape}.',
)
"""Like the published set's five they differ in words and say things in four orders; the wording is ours."""


def describe(shape: int, xpos: int, ypos: int, colour: str, phrasing: int) -> str:
    """One line of text. Shapes are 0 to 6, positions 0 to 2 (left and top are 0), phrasings 0 to 4.

    Raises ``ValueError`` naming a value out of range.

    >>> describe(0, 2, 0, "xkcd:neon green", 1)
    'One "xkcd:neon green" teapot can be seen at the top-right of the scene.'
    """
    for name, value, words in (
        ("shape", shape, SHAPE_WORDS),
        ("xpos", xpos, X_WORDS),
        ("ypos", ypos, Y_WORDS),
        ("phrasing", phrasing, PHRASINGS),
    ):
        require(0 <= value < len(words), name, value, f"0 to {len(words) - 1}")
    place = f"{Y_WORDS[ypos]}-{X_WORDS[xpos]}"
    word = SHAPE_WORDS[shape]
    return PHRASINGS[phrasing].format(
        shape=word, colour=colour, place=place, a="an" if word[0] in "aeiou" else "a"
    )
