import itertools

import pytest

from mmcl.rendering import describe
from mmcl.rendering.text import PHRASINGS, SHAPE_WORDS, X_WORDS, Y_WORDS


def test_every_description_is_a_line_of_its_own_that_says_all():
    found = {}
    for shape, x, y, phrasing in itertools.product(range(7), range(3), range(3), range(5)):
        line = describe(shape, x, y, "tab:red", phrasing)
        assert "\n" not in line
        for word in (SHAPE_WORDS[shape], f"{Y_WORDS[y]}-{X_WORDS[x]}", '"tab:red"'):
            assert line.count(word) == 1
        found[line] = (shape, x, y, phrasing)
    assert len(found) == 7 * 3 * 3 * 5


def test_phrasings_say_things_in_different_order():
    orders = [tuple(sorted(("{shape}", "{colour}", "{place}"), key=p.index)) for p in PHRASINGS]
    assert len(set(orders)) >= 4


@pytest.mark.parametrize(
    "values", [(7, 0, 0, "red", 0), (0, 3, 0, "red", 0), (0, 0, -1, "red", 0), (0, 0, 0, "red", 5)]
)
def test_a_value_out_of_range_is_named(values):
    with pytest.raises(ValueError, match=r"(shape|xpos|ypos|phrasing)=.*must be 0 to"):
        describe(*values)
