import itertools

import numpy as np
import pytest

from mmcl.archives.words import EOS, PAD, UNK, Vocabulary, longest, tokens
from mmcl.rendering import describe, palettes

LINES = ['One "tab:red" cow, at top-left.', "A cow's head."]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("a_b", ["a", "_", "b"]),
        ("it's top-left", ["it's", "top-left"]),
        ("xkcd:blue/purple", ["xkcd:blue/purple"]),
        ("ends-", ["ends", "-"]),
        ("größe 3", ["größe", "3"]),
        ("  ", []),
    ],
)
def test_words_and_signs(line, found):
    assert tokens(line) == found


def test_numbers_in_order_of_first_appearance_and_back():
    vocabulary = Vocabulary.of(LINES)
    assert vocabulary.words == (
        "{pad}",
        "{eos}",
        "{unk}",
        "One",
        '"',
        "tab:red",
        "cow",
        ",",
        "at",
        "top-left",
        ".",
        "A",
        "cow's",
        "head",
    )
    found = vocabulary.encode(["A cow, at", "A zebra", ""], 6)
    words = [[vocabulary.words[k] for k in row] for row in found]
    assert words == [
        ["A", "cow", ",", "at", "{eos}", "{pad}"],
        ["A", "{unk}", "{eos}", "{pad}", "{pad}", "{pad}"],
        ["{eos}", *["{pad}"] * 5],
    ]
    assert (found.dtype, PAD, EOS, UNK) == (np.int64, 0, 1, 2)
    assert vocabulary.encode(["A A A A A"], 3).tolist() == [[11, 11, EOS]]  # cut, with its end
    assert longest(LINES) == 10


def test_every_description_can_be_read_back():
    names = [name for palette in palettes().values() for name in palette][::40]
    lines = [
        describe(s, x, y, n, p)
        for s, x, y, n, p in itertools.product(range(7), (0, 2), (1,), names, range(5))
    ]
    vocabulary, length = Vocabulary.of(lines), longest(lines)
    numbers = vocabulary.encode(lines, length)
    assert not (numbers == UNK).any()
    assert len({row.tobytes() for row in numbers}) == len(set(lines))
    assert ((numbers == EOS).sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("words", "named"), [(("a", "b", "c"), "first"), (("{pad}", "{eos}", "{unk}", "a", "a"), "each once")]
)
def test_a_vocabulary_that_is_none(words, named):
    with pytest.raises(ValueError, match=named):
        Vocabulary(words)
    with pytest.raises(ValueError, match="length=1"):
        Vocabulary.of(LINES).encode(LINES, 1)
