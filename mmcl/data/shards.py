"""Pairs in WebDataset shards as a world: training reads them as it goes along, and keeps nothing."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmcl.archives.shards import Members, Shard, expand, open_shards
from mmcl.archives.words import Vocabulary
from mmcl.checks import require
from mmcl.data.factors import Factors, Named, check_views, distinct, named_factors
from mmcl.data.given import GivenWorld, TextCode
from mmcl.data.order import Order
from mmcl.data.pairs import PARTS, check_texts
from mmcl.data.progress import progress
from mmcl.worlds import Batch, FactorRole


@dataclass(frozen=True)
class Shards:
    """Pairs in tar files, as WebDataset has them: ``KEY.jpg``, ``KEY.txt``; for factors ``KEY.json`` or ``KEY.cls``.

    Several images or texts of a pair are ``KEY.VIEW.jpg``, ``KEY.VIEW.txt``. Shards are named by a pattern:
    ``train-{000..099}.tar`` (all of which must be there) or ``train-*.tar``.

    Training goes through all pairs in epochs. Shards come in random order, and the pairs of ``mixed`` shards at a time
    are shuffled, see :class:`~mmcl.data.order.Order`; batch k is K pairs of that endless sequence from k K on, so that
    an epoch's last batch is filled up with the next epoch's first pairs and nothing is left out. Batch k is a function
    of (seed, k) alone: each process reads its own rows of it, whatever their number, and a resumed run goes on with
    the pair that comes next. Memory holds no more than ``workers`` + 1 batches and the index of the shards that are
    read.

    An index of each shard is made once, from its headers, texts and factors. Images are looked at when their turn
    comes: a broken one ends the run with its shard and key. A run knows its shards by the names and sizes of their
    members, their texts and factors; not by the images' bytes, which would have to be read before every start.

    Args:
        train, validation, test: the shards of each part. Of the held-out ones only the pairs that an evaluation asks
            for are read.
        images, texts: the views.
        content, style, modality_specific: factors, as of :class:`~mmcl.data.pairs.Pairs`; columns are keys of
            ``KEY.json``, and ``cls`` is ``KEY.cls``.
        size, text_length, vocabulary_size: as of :class:`~mmcl.data.pairs.Pairs`.
        mixed: shards whose pairs are shuffled together, >= 1.
        workers: threads of each process that read and decode ahead, >= 1; they change nothing in the batches.
        cache: where indices are kept; ``None``: in ``.index`` beside the shards.

    Raises:
        ValueError: a value out of range.
    """

    train: str = "data/shards/train-*.tar"
    validation: str = "data/shards/validation-*.tar"
    test: str = "data/shards/test-*.tar"
    images: list[str] = field(default_factory=lambda: ["image"])
    texts: list[str] = field(default_factory=lambda: ["text"])
    content: list[str] = field(default_factory=list)
    style: list[str] = field(default_factory=list)
    modality_specific: list[str] = field(default_factory=list)
    size: int = 64
    text_length: int | None = None
    vocabulary_size: int | None = 1024
    mixed: int = 8
    workers: int = 2
    cache: str | None = None

    def __post_init__(self) -> None:
        check_views(self.images, self.texts)
        _ = self._named
        check_texts(self.text_length, self.vocabulary_size)
        require(self.size >= 8, "size", self.size, ">= 8")
        for name in ("mixed", "workers"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")

    @property
    def _named(self) -> list[Named]:
        return named_factors(self.content, self.style, self.modality_specific, [*self.images, *self.texts])

    def draw(self, generator: torch.Generator) -> ShardWorld:
        """The shards as they are; nothing is drawn. Raises ``UserError`` for what is wrong with one of them."""
        named = self._named
        members = Members(tuple(self.images), tuple(self.texts), tuple(factor.column for factor in named))
        cache = None if self.cache is None else Path(self.cache)
        with progress("index shards") as tell:
            found = {
                part: open_shards(expand(getattr(self, part)), members, cache, tell)
                for part in ("train", *PARTS)
            }

        @functools.cache
        def code() -> TextCode:
            words = Counter[str]()
            for shard in found["train"]:
                words.update(shard.words())
            lengths = {
                view: self.text_length or max(shard.longest[view] for shard in found["train"])
                for view in self.texts
            }
            return TextCode(Vocabulary.most_frequent(words, self.vocabulary_size), lengths)

        factors = Factors(named, {part: _distinct(shards, named) for part, shards in found.items()})
        sources = {
            part: ShardSource(shards, self.size, code, factors, keep=2 * self.mixed)
            for part, shards in found.items()
        }
        return ShardWorld(
            sources,
            lambda: factors.roles,
            lambda: code().vocabulary if self.texts else None,
            {part: part for part in PARTS},
            mixed=self.mixed,
            ahead=self.workers,
        )

    def restore(self, state: Mapping[str, Tensor]) -> ShardWorld:
        """The shards, if they still are what they were. Raises ``ValueError`` if not."""
        world = self.draw(torch.Generator())
        world.held_to(state, self.train)
        return world


def _distinct(shards: Sequence[Shard], named: Sequence[Named]) -> dict[str, dict[str, str]]:
    """Column -> its distinct cells -> where one of them stands. The shards' lists are held one at a time."""
    found: dict[str, dict[str, str]] = {factor.column: {} for factor in named}
    for shard in shards if named else ():
        rows = shard.rows()
        for column, cells in rows.cells.items():
            found[column] = distinct(cells, rows.keys_of(shard.path)) | found[column]
    return found


class ShardSource:
    """The pairs of some shards by number, counted through all of them. See :class:`~mmcl.data.given.Source`.

    Args:
        shards: one or more.
        size: of the images' sides.
        code: how texts become numbers.
        factors: how cells become factors.
        keep: of so many shards the index is held in memory.
    """

    def __init__(
        self, shards: Sequence[Shard], size: int, code: Callable[[], TextCode], factors: Factors, keep: int
    ) -> None:
        self.counts = tuple(len(shard) for shard in shards)
        self._shards = shards
        self._size = size
        self._code = code
        self._factors = factors
        self._ends = np.cumsum(self.counts)
        self._index = functools.lru_cache(maxsize=keep)(lambda number: shards[number].rows())

    @property
    def identity(self) -> str:
        return hashlib.sha256("".join(shard.identity for shard in self._shards).encode()).hexdigest()

    @property
    def views(self) -> dict[str, int]:
        members = self._shards[0].members
        return dict.fromkeys(members.images, 3 * self._size**2) | {
            view: self._code().lengths[view] for view in members.texts
        }

    def __len__(self) -> int:
        return sum(self.counts)

    def rows(self, rows: Tensor) -> Batch:
        shards = np.searchsorted(self._ends, rows.numpy(), side="right")
        starts = self._ends[shards] - np.array(self.counts)[shards]
        return self.read(np.stack([shards, rows.numpy() - starts], axis=1))

    def read(self, pairs: np.ndarray) -> Batch:
        """The pairs ``(n, 2)``: shard, and row in it. Each shard among them is open once, one at a time.

        Raises ``UserError`` naming shard and key of a pair that is broken.
        """
        members = self._shards[0].members
        n = len(pairs)
        images = {view: np.empty((n, 3, self._size, self._size), dtype=np.uint8) for view in members.images}
        texts = {view: [""] * n for view in members.texts}
        cells = {column: [""] * n for column in members.factors}
        where = [""] * n
        order = np.argsort(pairs[:, 0], kind="stable").tolist()
        for number, places in itertools.groupby(order, key=lambda place: int(pairs[place, 0])):
            shard, index = self._shards[number], self._index(number)
            with shard.path.open("rb", buffering=0) as file:
                for place in places:
                    row = int(pairs[place, 1])
                    item = shard.read(file.fileno(), index, row, self._size)
                    for view, image in item.images.items():
                        images[view][place] = image
                    for view, text in item.texts.items():
                        texts[view][place] = text
                    for column in cells:
                        cells[column][place] = index.cells[column][row]
                    where[place] = index.keys[row]
        views = {view: torch.from_numpy(image) for view, image in images.items()}
        views |= {view: self._code().encode(view, lines) for view, lines in texts.items()}
        return Batch(views, self._factors.of(cells, where))


class ShardWorld(GivenWorld):
    """Pairs in shards, of which a few are read at a time.

    Args:
        mixed: see :class:`~mmcl.data.order.Order`.
        ahead: threads that read before they are asked.
    """

    def __init__(
        self,
        sources: Mapping[str, ShardSource],
        roles: Callable[[], dict[str, FactorRole]],
        vocabulary: Callable[[], Vocabulary | None],
        held_out: Mapping[str, str],
        *,
        mixed: int,
        ahead: int,
    ) -> None:
        super().__init__(sources, roles, vocabulary, held_out)
        self._train = sources["train"]
        self._mixed = mixed
        self.ahead = ahead

    def take(self, seed: int, first: int, n: int) -> Batch:
        """The pairs at positions ``first`` to ``first + n`` of the sequence that ``seed`` is trained on."""
        return self._train.read(Order(self._train.counts, self._mixed, seed).at(first, n))
