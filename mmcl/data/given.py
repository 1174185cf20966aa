"""Given pairs as a world: training draws from them, an evaluation sees each held-out pair once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mmcl.archives.words import Vocabulary, tokens
from mmcl.checks import require, require_choice
from mmcl.data.order import Order
from mmcl.worlds import Batch, FactorRole
from mmcl.worlds.checks import require_pairs


class Source(Protocol):
    """The pairs of one split, by number."""

    @property
    def identity(self) -> str:
        """A SHA-256 of what the split holds, 64 hex digits."""
        ...

    @property
    def views(self) -> dict[str, int]:
        """Name of each view -> its number of values: of an image's pixels, or of a text's words."""
        ...

    def __len__(self) -> int: ...

    def rows(self, rows: Tensor) -> Batch:
        """The pairs of these numbers, ``(n,)``: images ``(n, 3, H, W)``, uint8; text ``(n, L)``, int64; factors
        ``(n, 1)``, float32, or int64 for classes."""
        ...


@dataclass(frozen=True)
class TextCode:
    """How texts become numbers.

    Fields:
        vocabulary: of the training texts.
        lengths: words of a text of each view, its end included; longer ones are cut.
    """

    vocabulary: Vocabulary
    lengths: Mapping[str, int]

    def encode(self, view: str, texts: Sequence[str]) -> Tensor:
        """``(n, L)``, int64."""
        return torch.from_numpy(self.vocabulary.encode(texts, self.lengths[view]))


def word_counts(texts: Iterable[str]) -> Counter[str]:
    """How often each word is in ``texts``."""
    found: Counter[str] = Counter()
    for text in texts:
        found.update(tokens(text))
    return found


@dataclass(frozen=True)
class Arrays:
    """A split whose pairs are in memory, or mapped into it.

    Fields:
        identity: see :class:`Source`.
        images: view -> ``(m, 3, H, W)``, uint8.
        texts: view -> the text of each pair.
        code: how texts become numbers; asked for when the first are wanted.
        columns: the factors, name -> ``(n, 1)``; asked for likewise.
        places: view -> ``(n,)``: the image of each pair, for views whose images are not simply in order.
    """

    identity: str
    images: Mapping[str, np.ndarray]
    texts: Mapping[str, Sequence[str]]
    code: Callable[[], TextCode]
    columns: Callable[[], dict[str, Tensor]]
    places: Mapping[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def words(self) -> dict[str, Tensor]:
        """View -> ``(n, L)``."""
        return {view: self.code().encode(view, texts) for view, texts in self.texts.items()}

    @cached_property
    def factors(self) -> dict[str, Tensor]:
        """Name -> ``(n, 1)``."""
        return self.columns()

    @property
    def views(self) -> dict[str, int]:
        sizes = {view: int(np.prod(images.shape[1:])) for view, images in self.images.items()}
        return sizes | {view: words.shape[1] for view, words in self.words.items()}

    def __len__(self) -> int:
        for view, images in self.images.items():
            return len(self.places.get(view, images))
        return len(next(iter(self.texts.values())))

    def rows(self, rows: Tensor) -> Batch:
        numbers = rows.numpy()
        views = {
            view: torch.from_numpy(images[self.places[view][numbers] if view in self.places else numbers])
            for view, images in self.images.items()
        }
        views |= {view: words[rows] for view, words in self.words.items()}
        return Batch(views, {name: values[rows] for name, values in self.factors.items()})


class GivenWorld:
    """Pairs of a training split, which come in epochs: a :class:`~mmcl.worlds.StreamedWorld`.

    Training goes through all pairs, in a new random order in each epoch; batch k is K pairs of that endless sequence
    from k K on. :meth:`sample` draws from them, with replacement, for what needs a few of them.

    Args:
        sources: the splits, of which one is ``train``.
        roles: of each factor.
        vocabulary: of the training texts, if there are any.
        held_out: part, ``validation`` or ``test``, -> its split.
        part: the one that is sampled; ``None``: the training split.
        show: a view's name and values to a text for each sample, of views that are neither images nor words.
    """

    calibration = 1024
    ahead = 1

    def __init__(
        self,
        sources: Mapping[str, Source],
        roles: Callable[[], dict[str, FactorRole]],
        vocabulary: Callable[[], Vocabulary | None],
        held_out: Mapping[str, str],
        part: str | None = None,
        show: Callable[[str, Tensor], list[str] | None] = lambda view, x: None,
    ) -> None:
        self._sources = sources
        self._roles = roles
        self._vocabulary = vocabulary
        self._held_out = held_out
        self._part = part
        self.shown = show

    def __len__(self) -> int:
        """How many pairs it holds."""
        return len(self.source)

    @property
    def source(self) -> Source:
        """The split that is sampled."""
        return self._sources["train" if self._part is None else self._held_out[self._part]]

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The words of the training texts; ``None`` where there is no text."""
        return self._vocabulary()

    @property
    def views(self) -> dict[str, int]:
        """Name of each view -> its number of values: of an image's pixels, or of a text's words."""
        return self.source.views

    @cached_property
    def roles(self) -> dict[str, FactorRole]:
        """Name of each factor -> its role."""
        return self._roles()

    def take(self, seed: int, first: int, n: int) -> Batch:
        """The pairs at positions ``first`` to ``first + n`` of the sequence that ``seed`` is trained on."""
        return self.source.rows(torch.from_numpy(Order((len(self),), 1, seed).at(first, n)[:, 1]))

    def part(self, name: str) -> GivenWorld:
        """The held-out pairs of ``validation`` or ``test``, of which :meth:`sample` gives each once."""
        require_choice("part", name, self._held_out)
        return GivenWorld(self._sources, self._roles, self._vocabulary, self._held_out, name, self.shown)

    def size(self, part: str) -> int:
        """How many pairs the part has."""
        return len(self._sources[self._held_out[part]])

    def check_size(self, part: str, n: int) -> None:
        """Raise ``ValueError`` if the part has fewer than ``n`` pairs."""
        require_pairs(self._held_out[part], n, self.size(part))

    def state_dict(self) -> dict[str, Tensor]:
        """Split -> the SHA-256 of what it holds, ``(32,)`` uint8: with the config it names the pairs."""
        return {
            split: torch.tensor(list(bytes.fromhex(source.identity)), dtype=torch.uint8)
            for split, source in self._sources.items()
        }

    def held_to(self, state: Mapping[str, Tensor], place: str) -> GivenWorld:
        """This world, if ``state`` is its own. Raises ``ValueError`` that names ``place`` if not."""
        for name, there in self.state_dict().items():
            if name not in state or not torch.equal(there, state[name]):
                raise ValueError(
                    f"{place}: its split {name} is not the one that this run was trained with; bring that back, "
                    "or train again in a folder of its own"
                )
        return self

    def sample(self, n: int, generator: torch.Generator, intervention: str | None = None) -> Batch:
        """``n`` pairs: of training any, of a held-out part ``n`` different ones. See :meth:`Source.rows`.

        Raises ``ValueError`` for an intervention (pairs are what they are), or more pairs than a held-out part has.
        """
        require(intervention is None, "intervention", intervention, "none: given pairs cannot be changed")
        have = len(self.source)
        if self._part is None:
            return self.source.rows(torch.randint(have, (n,), generator=generator))
        self.check_size(self._part, n)
        return self.source.rows(torch.randperm(have, generator=generator)[:n])
