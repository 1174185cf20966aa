"""An archive of pairs as a world: training draws from its pairs, an evaluation sees each held-out pair once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmcl.archives.layout import Kind
from mmcl.archives.packed import Packed, open_split
from mmcl.archives.words import Vocabulary, longest
from mmcl.checks import require, require_choice
from mmcl.worlds import Batch, FactorRole

SPLITS = {"validation": "val", "test": "test"}
"""Parts that are evaluated on, as evaluators call them -> splits of an archive."""

CONTENT = {
    Kind.image_text: ("object_shape", "object_xpos", "object_ypos"),
    Kind.image_pairs: ("object_xpos", "object_ypos", "object_zpos"),
}
STYLE = {
    Kind.image_text: ("object_color", "object_color_name"),
    Kind.image_pairs: ("object_color", "spotlight_color", "background_color"),
}
NAMES = {"object_color_name": "object_color"}
"""Columns whose factor has another name."""

LEFT_OUT = ("object_color_index",)
"""Columns that say again what another says."""

CLASSES = {"object_shape": 7, "object_xpos": 3, "object_ypos": 3, "text_phrasing": 5}
"""Of the columns of image/text pairs that are classes."""


@dataclass(frozen=True)
class Archive:
    """The pairs in ``folder``, as ``mmcl data generate`` or ``download`` leaves them.

    Factors are the columns of its tables that vary: content by its name (``object_shape``), all others with their view
    (``object_color.image``). Classes are integers; the name of a text's colour is one of those that training has, and
    one more for all others.

    Args:
        folder: the archive's.
        cache: where its images are packed for training (a folder on a fast disk); ``None``: in ``folder/.packed``.
        text_length: words of a text, its end included, >= 2; longer ones are cut. ``None``: the longest of training.

    Raises:
        ValueError: a length out of range.
    """

    folder: str = "data/m3di"
    cache: str | None = None
    text_length: int | None = None

    def __post_init__(self) -> None:
        length = self.text_length
        require(
            length is None or length >= 2, "text_length", length, ">= 2, or null for the longest of training"
        )

    def draw(self, generator: torch.Generator) -> ArchiveWorld:
        """The archive as it is; nothing is drawn."""
        cache = None if self.cache is None else Path(self.cache)
        splits = {split: open_split(Path(self.folder), split, cache) for split in ("train", *SPLITS.values())}
        return ArchiveWorld(splits, self.text_length)

    def restore(self, state: Mapping[str, Tensor]) -> ArchiveWorld:
        """The archive, if it still holds what it held. Raises ``ValueError`` if not."""
        world = self.draw(torch.Generator())
        for name, there in world.state_dict().items():
            if name not in state or not torch.equal(there, state[name]):
                raise ValueError(
                    f"{self.folder}: its split {name} is not the one that this run was trained with; bring that back, "
                    "or train again in a folder of its own"
                )
        return world


class ArchiveWorld:
    """Pairs of the training split, drawn with replacement: sample i of batch k stays a function of (seed, k, i).

    (The authors go through the set in epochs. With replacement a pair comes as often on average, and sometimes twice in
    a batch: of 256 pairs of 125,000, one time in four.)
    """

    calibration = 1024

    def __init__(self, splits: Mapping[str, Packed], text_length: int | None, split: str = "train") -> None:
        self._splits = splits
        self._split = split
        self._text_length = text_length
        kinds = {packed.kind for packed in splits.values()}
        require(len(kinds) == 1, "splits", [kind.name for kind in kinds], "of one kind of pairs")

    def __len__(self) -> int:
        """How many pairs it holds."""
        return len(self._packed)

    @property
    def _packed(self) -> Packed:
        return self._splits[self._split]

    @cached_property
    def vocabulary(self) -> Vocabulary | None:
        """Of the training split's text; ``None`` for image pairs."""
        return Vocabulary.of(self._splits["train"].lines) if self._splits["train"].lines else None

    @cached_property
    def _words(self) -> Tensor | None:
        if self.vocabulary is None:
            return None
        length = self._text_length or longest(self._splits["train"].lines)
        return torch.from_numpy(self.vocabulary.encode(self._packed.lines, length))

    @cached_property
    def _factors(self) -> dict[str, Tensor]:
        """Name -> ``(n, 1)``: float32, or int64 for classes."""
        found: dict[str, Tensor] = {}
        for name, (view, column) in self._columns.items():
            values = self._packed.factors[view][column]
            if column == "object_color_name":
                known = np.unique(self._splits["train"].factors[view][column])
                place = np.searchsorted(known, values).clip(max=len(known) - 1)
                values = np.where(known[place] == values, place, len(known))
            whole = np.issubdtype(values.dtype, np.integer)
            found[name] = torch.from_numpy(values.astype(np.int64 if whole else np.float32))[:, None]
        return found

    @cached_property
    def _columns(self) -> dict[str, tuple[str, str]]:
        """Factor -> view and column that it is read from."""
        train = self._splits["train"]
        content = CONTENT[train.kind]
        found: dict[str, tuple[str, str]] = {}
        for view, table in train.factors.items():
            for column, values in table.items():
                if column in LEFT_OUT or (values == values[0]).all():
                    continue
                name = column if column in content else f"{NAMES.get(column, column)}.{view}"
                found.setdefault(name, (view, column))
        return found

    @property
    def views(self) -> dict[str, int]:
        """Name of each view -> its number of values: of an image's pixels, or of a text's words."""
        sizes = {view: int(np.prod(images.shape[1:])) for view, images in self._packed.images.items()}
        return sizes if self._words is None else {**sizes, "text": self._words.shape[1]}

    @property
    def roles(self) -> dict[str, FactorRole]:
        """Name of each factor -> its role."""
        kind, found = self._packed.kind, {}
        for name, (view, column) in self._columns.items():
            classes = CLASSES.get(column) if kind is Kind.image_text else None
            if column == "object_color_name":
                classes = len(np.unique(self._splits["train"].factors[view][column])) + 1
            if column in CONTENT[kind]:
                found[name] = FactorRole("content", classes=classes)
            else:
                role = "style" if column in STYLE[kind] else "modality_specific"
                found[name] = FactorRole(role, view, classes)  # type: ignore[arg-type]
        return found

    def part(self, name: str) -> ArchiveWorld:
        """The held-out pairs of ``validation`` or ``test``, of which :meth:`sample` gives each once."""
        require_choice("part", name, SPLITS)
        return ArchiveWorld(self._splits, self._text_length, SPLITS[name])

    def state_dict(self) -> dict[str, Tensor]:
        """Split -> the SHA-256 of what it holds, ``(32,)`` uint8: with the config it names the pairs."""
        return {
            split: torch.tensor(list(bytes.fromhex(packed.identity)), dtype=torch.uint8)
            for split, packed in self._splits.items()
        }

    def sample(self, n: int, generator: torch.Generator, intervention: str | None = None) -> Batch:
        """``n`` pairs: of training any, of a held-out part ``n`` different ones.

        Views: images ``(n, 3, size, size)``, uint8; text ``(n, L)``, int64. Factors: ``(n, 1)`` each.

        Raises ``ValueError`` for an intervention (pairs are what they are), or more pairs than a held-out part has.
        """
        require(
            intervention is None, "intervention", intervention, "none: an archive's pairs cannot be changed"
        )
        have = len(self._packed)
        if self._split == "train":
            rows = torch.randint(have, (n,), generator=generator)
        else:
            require(
                n <= have,
                "n",
                n,
                f"<= {have}, the pairs of {self._split}: set evaluation.n_fit and n_test to that",
            )
            rows = torch.randperm(have, generator=generator)[:n]
        views = {view: torch.from_numpy(images[rows.numpy()]) for view, images in self._packed.images.items()}
        if self._words is not None:
            views["text"] = self._words[rows]
        return Batch(views, {name: values[rows] for name, values in self._factors.items()})
