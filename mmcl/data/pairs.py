"""Somebody's own pairs as a world: those that a CSV file lists, or the files of a folder."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmcl.archives.columns import Column
from mmcl.archives.own import Images, open_images, row_sums, share_out
from mmcl.archives.table import Row, read_rows
from mmcl.archives.words import SPECIAL, Vocabulary, longest
from mmcl.checks import require
from mmcl.data.factors import Factors, Named, check_views, distinct, named_factors
from mmcl.data.given import Arrays, GivenWorld, TextCode, word_counts
from mmcl.data.progress import progress

PARTS = ("validation", "test")


@dataclass(frozen=True)
class Pairs:
    """Your own pairs: of an image and a text, of two images, or of more views.

    ``train``, ``validation`` and ``test`` are each a CSV or TSV file with a header, or a folder. In a file, ``images``
    and ``texts`` are columns: paths relative to the file's folder, and texts. In a folder files of one name are a pair:
    ``FOLDER/VIEW/cat-1.jpg`` and ``FOLDER/OTHER/cat-1.txt``, or for one image and one text simply
    ``FOLDER/cat-1.jpg`` and ``FOLDER/cat-1.txt``.

    Factors are columns of the file: whole numbers and texts are classes (those of training, in their order, and one
    more for all others), other numbers are continuous. Without factors, ``evaluator=[retrieval,heldout_loss]``.

    The order of the rows and the names of the image files do not matter: pairs are known, and sorted, by a hash of what
    they are.

    Args:
        train: the pairs to train on.
        validation: those that predictors are fitted on; ``None``: ``held_out`` of the pairs of ``train``.
        test: those that are scored; ``None``: likewise, others.
        held_out: share of ``train``'s images that a part which is ``None`` takes, > 0 and below 0.5. A hash of the
            first view's image (without images, of the first text) decides: neither order nor seed. All pairs of one
            image go together.
        images: the views that are images.
        texts: the views that are texts.
        content: columns that all views share.
        style: factors that may change across views, each ``COLUMN.VIEW``.
        modality_specific: factors of one view alone, each ``COLUMN.VIEW``.
        size: of the images' sides, >= 8: the short side is brought to it, and the middle is cut out.
        text_length: words of a text, its end included, >= 2; longer ones are cut. ``None``: the longest of training.
        vocabulary_size: numbers of words are below it, >= 4; the words that are rare in training are left out.
            ``None``: all words.
        cache: where the decoded images are kept (a folder on a fast disk); ``None``: ``.packed`` beside the file or in
            the folder.

    Raises:
        ValueError: a value out of range.
    """

    train: str = "data/own/pairs.csv"
    validation: str | None = None
    test: str | None = None
    held_out: float = 0.1
    images: list[str] = field(default_factory=lambda: ["image"])
    texts: list[str] = field(default_factory=lambda: ["text"])
    content: list[str] = field(default_factory=list)
    style: list[str] = field(default_factory=list)
    modality_specific: list[str] = field(default_factory=list)
    size: int = 64
    text_length: int | None = None
    vocabulary_size: int | None = 1024
    cache: str | None = None

    def __post_init__(self) -> None:
        check_views(self.images, self.texts)
        _ = self._named
        check_texts(self.text_length, self.vocabulary_size)
        require(0 < self.held_out < 0.5, "held_out", self.held_out, "> 0 and < 0.5")
        require(self.size >= 8, "size", self.size, ">= 8")

    def draw(self, generator: torch.Generator) -> GivenWorld:
        """The pairs as they are; nothing is drawn.

        Raises ``UserError`` naming file, line and column for whatever is missing, empty or broken.
        """
        sources = {"train": self.train} | {part: getattr(self, part) for part in PARTS if getattr(self, part)}
        named = self._named
        # All tables before any image: what takes a second first.
        rows = {
            part: read_rows(Path(source), self.images, self.texts, [factor.column for factor in named])
            for part, source in sources.items()
        }
        for k, factor in enumerate(named):
            Column.of(
                factor.column, distinct((r.cells[k] for r in rows["train"]), (r.where for r in rows["train"]))
            )
        found = {part: self._decoded(Path(source), rows[part]) for part, source in sources.items()}
        without = [part for part in PARTS if part not in found]
        if without:
            shares = share_out(found["train"].groups, [self.held_out] * len(without))
            whole = found["train"]
            found |= {part: whole.only(rows) for part, rows in zip([*without, "train"], shares, strict=True)}
        for part, split in found.items():
            if len(split.rows) < 2:
                source, n = sources.get(part, self.train), len(split.rows)
                raise ValueError(
                    f"{source}: leaves {n} pairs for {part}, of which it takes two or more: bring more pairs, or "
                    "change data.held_out"
                )
        return self._world({part: found[part].sorted() for part in ("train", *PARTS)})

    def restore(self, state: Mapping[str, Tensor]) -> GivenWorld:
        """The pairs, if they still are what they were. Raises ``ValueError`` if not."""
        return self.draw(torch.Generator()).held_to(state, self.train)

    @property
    def _named(self) -> list[Named]:
        return named_factors(self.content, self.style, self.modality_specific, [*self.images, *self.texts])

    def _decoded(self, source: Path, rows: list[Row]) -> _Split:
        cache = None if self.cache is None else Path(self.cache)
        with progress("decode images") as tell:
            images = open_images(source, rows, self.images, self.size, cache, tell)
        return _Split(rows, np.arange(len(rows)), images, row_sums(rows, list(images.values())))

    def _world(self, found: Mapping[str, _Split]) -> GivenWorld:
        named = self._named
        cells = {part: split.cells([factor.column for factor in named]) for part, split in found.items()}
        where = {part: [row.where for row in split.rows] for part, split in found.items()}
        factors = Factors(
            named,
            {
                part: {column: distinct(values, where[part]) for column, values in columns.items()}
                for part, columns in cells.items()
            },
        )
        texts = {part: split.texts(self.texts) for part, split in found.items()}

        @functools.cache
        def code() -> TextCode:
            lines = texts["train"]
            counts = word_counts(line for view in lines.values() for line in view)
            lengths = {view: self.text_length or longest(lines[view]) for view in lines}
            return TextCode(Vocabulary.most_frequent(counts, self.vocabulary_size), lengths)

        sources = {
            part: Arrays(
                split.identity,
                {view: images.pixels for view, images in split.images.items()},
                texts[part],
                code,
                functools.partial(factors.of, cells[part], where[part]),
                {view: images.place[split.numbers] for view, images in split.images.items()},
            )
            for part, split in found.items()
        }
        return GivenWorld(
            sources,
            lambda: factors.roles,
            lambda: code().vocabulary if self.texts else None,
            {part: part for part in PARTS},
        )


def check_texts(text_length: int | None, vocabulary_size: int | None) -> None:
    """Raise ``ValueError`` for a length or a size out of range."""
    length, size, least = text_length, vocabulary_size, len(SPECIAL) + 1
    require(length is None or length >= 2, "text_length", length, ">= 2, or null for the longest of training")
    require(size is None or size >= least, "vocabulary_size", size, f">= {least}, or null for all words")


@dataclass(frozen=True)
class _Split:
    """Pairs, of which ``numbers`` says where ``images`` and ``sums`` have them."""

    all_rows: Sequence[Row]
    numbers: np.ndarray
    images: Mapping[str, Images]
    sums: Sequence[bytes]

    @property
    def rows(self) -> list[Row]:
        return [self.all_rows[number] for number in self.numbers]

    @property
    def groups(self) -> list[bytes]:
        """What must not be shared out among training and evaluation, for each pair."""
        for images in self.images.values():
            return [images.sums[place].tobytes() for place in images.place]
        return [hashlib.sha256(row.texts[0].encode()).digest() for row in self.all_rows]

    @property
    def identity(self) -> str:
        return hashlib.sha256(b"".join(self.sums[int(number)] for number in self.numbers)).hexdigest()

    def only(self, numbers: np.ndarray) -> _Split:
        return _Split(self.all_rows, self.numbers[numbers], self.images, self.sums)

    def sorted(self) -> _Split:
        """The pairs in the order of their hashes, which is the same whatever order they are listed in."""
        order = sorted(range(len(self.numbers)), key=lambda place: self.sums[int(self.numbers[place])])
        return self.only(np.array(order, dtype=np.int64))

    def texts(self, views: Sequence[str]) -> dict[str, list[str]]:
        rows = self.rows
        return {view: [row.texts[k] for row in rows] for k, view in enumerate(views)}

    def cells(self, columns: Sequence[str]) -> dict[str, list[str]]:
        rows = self.rows
        return {column: [row.cells[k] for row in rows] for k, column in enumerate(columns)}
