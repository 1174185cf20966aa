"""From lines of text to numbers: a vocabulary of the training split's words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmcl.checks import require

SPECIAL = ("{pad}", "{eos}", "{unk}")
"""Behind the end of a line; its end; a word that the vocabulary has not. Numbers 0, 1, 2, as in the published set."""

PAD, EOS, UNK = range(3)

TOKEN = re.compile(r"[^\W_]+(?:[-'/:][^\W_]+)*|[^\w\s]|_")
"""A word, with what joins its parts (top-left, xkcd:red, it's), or one sign."""


def tokens(line: str) -> list[str]:
    """The words and signs of a line, in order; letters keep their case.

    >>> tokens('A "xkcd:light blue" cow is at top-left.')
    ['A', '"', 'xkcd:light', 'blue', '"', 'cow', 'is', 'at', 'top-left', '.']
    """
    return TOKEN.findall(line)


@dataclass(frozen=True)
class Vocabulary:
    """Words by number: :data:`SPECIAL`, then the others, each once."""

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        require(
            self.words[: len(SPECIAL)] == SPECIAL,
            "words",
            list(self.words[:3]),
            f"{', '.join(SPECIAL)} first",
        )
        require(len(set(self.words)) == len(self.words), "words", "one of them twice", "each once")

    @classmethod
    def of(cls, lines: Iterable[str]) -> Vocabulary:
        """The words of ``lines``, in the order in which they first appear."""
        return cls((*SPECIAL, *dict.fromkeys(word for line in lines for word in tokens(line))))

    @classmethod
    def most_frequent(cls, counts: Mapping[str, int], size: int | None = None) -> Vocabulary:
        """The words that are counted most, in that order, and among equals in alphabetical order.

        Args:
            counts: word -> how often it is there.
            size: of the vocabulary, :data:`SPECIAL` included, >= 3; the rarest words are left out. ``None``: all.

        >>> Vocabulary.most_frequent({"a": 1, "cow": 2, "b": 1}, 5).words[3:]
        ('cow', 'a')
        """
        require(size is None or size >= len(SPECIAL), "size", size, f">= {len(SPECIAL)}")
        words = sorted(counts, key=lambda word: (-counts[word], word))
        return cls((*SPECIAL, *words)[:size])

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, lines: Sequence[str], length: int) -> np.ndarray:
        """The lines as numbers: ``(n, length)``, int64; each ends with ``EOS`` and is filled up with ``PAD``.

        A line of more than ``length - 1`` tokens is cut, and a word that is not in the vocabulary is ``UNK``.

        Raises ``ValueError`` for a length below 2.
        """
        require(length >= 2, "length", length, ">= 2")
        numbers = {word: number for number, word in enumerate(self.words)}
        found = np.full((len(lines), length), PAD, dtype=np.int64)
        for row, line in zip(found, lines, strict=True):
            known = [numbers.get(word, UNK) for word in tokens(line)[: length - 1]]
            row[: len(known)] = known
            row[len(known)] = EOS
        return found


def longest(lines: Iterable[str]) -> int:
    """The number of tokens of the longest line, and one for its end."""
    return max(len(tokens(line)) for line in lines) + 1
