"""Which pairs of encodings are contrasted: a declarative list of terms.

Encodings are called by what they are made from: ``x1`` of one modality, ``x1+x2`` of several together, and ``x1@1`` or
``x1+x2@2`` of the first or second augmented draw of the same samples. A term names two of them, or many by selectors,
so that one preset serves any number of modalities, whatever their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, permutations

from mmcl.checks import require
from mmcl.losses.options import Negatives, as_member, require_positive

EACH, OTHER, ALL, FIRST = "each", "other", "all", "first"


@dataclass(frozen=True)
class Term:
    """The contrast of ``first`` with ``second``.

    Args:
        first: an encoding's name, or ``each`` (of the single modalities), ``first`` (the first of these) or ``all``
            (all modalities together), each with ``@1``, ``@2``, ... for an augmented draw.
        second: the same, or ``other`` after ``each``: every other modality. ``each`` after ``each`` is the same
            modality, of another draw; after anything else it is each in turn.
        weight: > 0; see :class:`~mmcl.losses.Contrastive` for what it is a weight in.
        negatives, temperature: instead of the objective's own; ``None``: as there.

    Raises:
        ValueError: a name, draw, weight or temperature that cannot be.
    """

    first: str
    second: str
    weight: float = 1.0
    negatives: Negatives | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        for field in ("first", "second"):
            value = getattr(self, field)
            name, at, draw = value.partition("@")
            good = bool(name) and (not at or (draw.isdecimal() and int(draw) >= 1))
            require(good, field, value, "a name, and @1, @2, ... after it for an augmented draw")
        left, right = (value.partition("@")[0] for value in (self.first, self.second))
        require(
            left != OTHER, "first", self.first, "other than 'other', which only goes as second, after each"
        )
        require(right != OTHER or left == EACH, "second", self.second, "'other' only after each")
        same = self.first == self.second
        require(
            not same, "second", self.second, "another encoding than first: none has a contrast with itself"
        )
        require_positive("weight", self.weight)
        if self.negatives is not None:
            object.__setattr__(self, "negatives", as_member(Negatives, "negatives", self.negatives))
        if self.temperature is not None:
            require_positive("temperature", self.temperature)

    @property
    def draws(self) -> tuple[int, int]:
        """Those of first and second; 0 is the samples as they are."""
        return _draw(self.first), _draw(self.second)


def _draw(name: str) -> int:
    return int(name.partition("@")[2] or 0)


@dataclass(frozen=True)
class Contrast:
    """Two encodings, by name, and with which of a :class:`Term`'s options they are contrasted."""

    first: str
    second: str
    term: Term

    @property
    def weight(self) -> float:
        return self.term.weight


def draws(terms: Iterable[Term]) -> tuple[int, ...]:
    """The draws that terms speak of, in order; 0 is the samples as they are. Without terms: those alone.

    >>> draws([Term("each@1", "each@2"), Term("each", "other")])
    (0, 1, 2)
    """
    return tuple(sorted({draw for term in terms for draw in term.draws})) or (0,)


def parts(name: str) -> tuple[str, ...]:
    """The modalities that an encoding is made from.

    >>> parts("x1+x2@1")
    ('x1', 'x2')
    """
    return tuple(name.partition("@")[0].split("+"))


def is_single(name: str) -> bool:
    """Whether an encoding is made from one modality."""
    return len(parts(name)) == 1


@lru_cache(maxsize=64)
def contrasts(terms: tuple[Term, ...], names: tuple[str, ...]) -> tuple[Contrast, ...]:
    """The pairs that ``terms`` stand for among the encodings called ``names``.

    Without terms: all unordered pairs of single modalities, each with weight 1.

    Raises:
        ValueError: a term that names an encoding that is not there, or that no pair is of (``other`` of one modality).
    """
    if not terms:
        return tuple(Contrast(a, b, Term(a, b)) for a, b in combinations(filter(is_single, names), 2))
    # In the encoder's order, which the name of all of them has; not all of the others need be there.
    ordered = sorted(names, key=lambda name: -len(parts(name)))
    modalities = tuple(dict.fromkeys(modality for name in ordered for modality in parts(name)))
    found: list[Contrast] = []
    for term in terms:
        pairs = _pairs(term, modalities)
        if not pairs:
            raise ValueError(f"term {term.first}, {term.second}: {list(modalities)} has no other modality")
        for first, second in pairs:
            if first == second:
                raise ValueError(f"term {term.first}, {term.second}: {first!r} has no contrast with itself")
            for name in (first, second):
                if name not in names:
                    raise ValueError(
                        f"term {term.first}, {term.second}: there is no encoding {name!r} among {list(names)}; "
                        "choose an encoder that gives it (one with a fusion gives x1+x2), or other terms"
                    )
            found.append(Contrast(first, second, term))
    return tuple(found)


def _pairs(term: Term, modalities: Sequence[str]) -> list[tuple[str, str]]:
    (left, *at_left), (right, *at_right) = term.first.split("@"), term.second.split("@")

    def called(name: str, draw: list[str]) -> str:
        stands_for = {ALL: "+".join(modalities), FIRST: modalities[0]}
        return "@".join([stands_for.get(name, name), *draw])

    if right == OTHER:
        # Of one draw, (a, b) and (b, a) are the same pair.
        others = combinations(modalities, 2) if at_left == at_right else permutations(modalities, 2)
        return [(called(a, at_left), called(b, at_right)) for a, b in others]
    if EACH not in (left, right):
        return [(called(left, at_left), called(right, at_right))]
    return [
        (called(m if left == EACH else left, at_left), called(m if right == EACH else right, at_right))
        for m in modalities
    ]
