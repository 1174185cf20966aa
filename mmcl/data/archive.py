"""An archive of pairs as a world: training draws from its pairs, an evaluation sees each held-out pair once."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmcl.archives.layout import Kind
from mmcl.archives.packed import Packed, open_split
from mmcl.archives.words import Vocabulary, longest
from mmcl.checks import require
from mmcl.data.given import Arrays, GivenWorld, TextCode
from mmcl.data.progress import progress
from mmcl.worlds import FactorRole
from mmcl.worlds.base import Role

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

    def draw(self, generator: torch.Generator) -> GivenWorld:
        """The archive as it is; nothing is drawn."""
        cache = None if self.cache is None else Path(self.cache)
        with progress("decode images") as tell:
            splits = {
                split: open_split(Path(self.folder), split, cache, tell)
                for split in ("train", *SPLITS.values())
            }
        kinds = {packed.kind for packed in splits.values()}
        require(len(kinds) == 1, "splits", [kind.name for kind in kinds], "of one kind of pairs")
        train = splits["train"]

        @functools.cache
        def code() -> TextCode:
            length = self.text_length or longest(train.lines)
            return TextCode(Vocabulary.of(train.lines), {"text": length})

        sources = {
            split: Arrays(
                packed.identity,
                packed.images,
                {"text": packed.lines} if packed.lines else {},
                code,
                partial(_factors, packed, train),
            )
            for split, packed in splits.items()
        }
        return GivenWorld(
            sources, partial(_roles, train), lambda: code().vocabulary if train.lines else None, SPLITS
        )

    def restore(self, state: Mapping[str, Tensor]) -> GivenWorld:
        """The archive, if it still holds what it held. Raises ``ValueError`` if not."""
        return self.draw(torch.Generator()).held_to(state, self.folder)


def _columns(train: Packed) -> dict[str, tuple[str, str]]:
    """Factor -> view and column that it is read from."""
    content = CONTENT[train.kind]
    found: dict[str, tuple[str, str]] = {}
    for view, table in train.factors.items():
        for column, values in table.items():
            if column in LEFT_OUT or (values == values[0]).all():
                continue
            name = column if column in content else f"{NAMES.get(column, column)}.{view}"
            found.setdefault(name, (view, column))
    return found


def _factors(packed: Packed, train: Packed) -> dict[str, Tensor]:
    """Name -> ``(n, 1)``: float32, or int64 for classes."""
    found: dict[str, Tensor] = {}
    for name, (view, column) in _columns(train).items():
        values = packed.factors[view][column]
        if column == "object_color_name":
            known = np.unique(train.factors[view][column])
            place = np.searchsorted(known, values).clip(max=len(known) - 1)
            values = np.where(known[place] == values, place, len(known))
        whole = np.issubdtype(values.dtype, np.integer)
        found[name] = torch.from_numpy(values.astype(np.int64 if whole else np.float32))[:, None]
    return found


def _roles(train: Packed) -> dict[str, FactorRole]:
    """Name of each factor -> its role."""
    kind, found = train.kind, {}
    for name, (view, column) in _columns(train).items():
        classes = CLASSES.get(column) if kind is Kind.image_text else None
        if column == "object_color_name":
            classes = len(np.unique(train.factors[view][column])) + 1
        if column in CONTENT[kind]:
            found[name] = FactorRole("content", classes=classes)
        else:
            role: Role = "style" if column in STYLE[kind] else "modality_specific"
            found[name] = FactorRole(role, view, classes)
    return found
