"""A folder of arrays as a world: features, series, images that somebody made, with labels to predict."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmcl.archives.arrays import ArraySplit, open_arrays
from mmcl.checks import require, require_view_names
from mmcl.data.given import GivenWorld
from mmcl.data.progress import progress
from mmcl.errors import UserError
from mmcl.worlds import Batch, FactorRole


@dataclass(frozen=True)
class ArraySource:
    """The rows of splits one after another, see :class:`~mmcl.data.given.Source`."""

    splits: Sequence[ArraySplit]

    @property
    def identity(self) -> str:
        first, *others = (split.identity for split in self.splits)
        return hashlib.sha256("".join([first, *others]).encode()).hexdigest() if others else first

    @property
    def views(self) -> dict[str, int]:
        first = self.splits[0].views
        return {
            name: int(np.prod(x.shape[1:])) + (x.shape[1] if x.ndim == 3 else 0) for name, x in first.items()
        }

    def __len__(self) -> int:
        return sum(map(len, self.splits))

    def rows(self, rows: Tensor) -> Batch:
        """The samples of these numbers: vectors ``(n, d)``, series ``(n, T, d + 1)`` whose last column says with 1 or 0
        whether a step is there, images ``(n, C, H, W)``, uint8; labels ``(n, k)``, int64 or float32. Of several splits
        the last one's samples are those that choose (:class:`~mmcl.worlds.Batch`)."""
        if len(self.splits) == 1:
            return _rows(self.splits[0], rows)
        ends = torch.tensor([len(split) for split in self.splits]).cumsum(0)
        which = torch.bucketize(rows, ends, right=True)
        views: dict[str, Tensor] = {}
        labels: dict[str, Tensor] = {}
        for k, split in enumerate(self.splits):
            mine = which == k
            part = _rows(split, rows[mine] - (int(ends[k]) - len(split)))
            for whole, found in ((views, part.views), (labels, part.factors)):
                for name, values in found.items():
                    # Filled in, so that no more than one split is held twice.
                    target = whole.setdefault(name, values.new_empty(len(rows), *values.shape[1:]))
                    target[mine] = values
        return Batch(views, labels, which == len(self.splits) - 1)


def _rows(split: ArraySplit, rows: Tensor) -> Batch:
    numbers = rows.numpy()
    views = {}
    for name, array in split.views.items():
        x = torch.from_numpy(array[numbers])
        if x.ndim == 3:
            there = split.there.get(name)
            steps = torch.ones(x.shape[:2]) if there is None else torch.from_numpy(there[numbers])
            x = torch.cat([x.float(), steps[..., None].float()], dim=-1)
        views[name] = x if x.dtype == torch.uint8 else x.float()
    labels = {name: torch.from_numpy(array[numbers]) for name, array in split.labels.items()}
    return Batch(
        views, {name: y.float() if y.is_floating_point() else y.long() for name, y in labels.items()}
    )


@dataclass(frozen=True)
class ArrayFolder:
    """A folder of arrays, ``FOLDER/SPLIT/NAME.npy`` (:mod:`mmcl.archives.arrays`), with labels to predict.

    The encoders are trained on the split ``train``, without its labels unless the objective asks for them.

    Args:
        folder: with the splits.
        views: the arrays that are modalities, two or more for an objective that compares them.
        labels: the arrays that are to be predicted; none: nothing is.
        fit: splits whose samples evaluators' predictors are fitted on. Of several the last one's choose the strength of
            probes; of one a part that they name.
        test: the split that they are scored on, once.

    Raises:
        ValueError: a value out of range.
    """

    folder: str = "data/own"
    views: list[str] = field(default_factory=lambda: ["x1", "x2"])
    labels: list[str] = field(default_factory=lambda: ["label"])
    fit: list[str] = field(default_factory=lambda: ["train", "validation"])
    test: str = "test"

    def __post_init__(self) -> None:
        require(len(self.views) >= 1, "views", list(self.views), "one name or more")
        names = [*self.views, *self.labels]
        require(len(set(names)) == len(names), "views and labels", names, "named once each")
        require_view_names(self.views)
        for name in [*names, *self.fit, self.test]:
            require(
                bool(name) and "/" not in name and "." not in name, "name", name, "without a dot and a slash"
            )
        fit = list(self.fit)
        require(len(fit) >= 1 and len(set(fit)) == len(fit), "fit", fit, "one split or more, each once")
        require(self.test not in ("train", *fit), "test", self.test, "a split that nothing is fitted on")

    def draw(self, generator: torch.Generator) -> GivenWorld:
        """The arrays as they are; nothing is drawn.

        Raises ``UserError`` naming the file for whatever is missing, damaged or does not fit the others.
        """
        found = {}
        for split in dict.fromkeys(["train", *self.fit, self.test]):
            folder = Path(self.folder) / split
            if not folder.is_dir():
                have = sorted(p.name for p in Path(self.folder).glob("*") if p.is_dir())
                raise UserError(
                    f"{folder}: no such folder; {self.folder} has {', '.join(have) or 'no split'}: mmcl data convert "
                    "makes one of a published set"
                )
            with progress(f"read {split}") as tell:
                found[split] = open_arrays(folder, self.views, self.labels, tell)
            self._check_alike(found["train"], found[split], split)
        fit = "+".join(self.fit)
        sources = {
            "train": ArraySource([found["train"]]),
            fit: ArraySource([found[split] for split in self.fit]),
            self.test: ArraySource([found[self.test]]),
        }
        roles = {name: FactorRole("label", classes=_classes(found, name)) for name in self.labels}
        return GivenWorld(sources, lambda: roles, lambda: None, {"validation": fit, "test": self.test})

    def restore(self, state: Mapping[str, Tensor]) -> GivenWorld:
        """The arrays, if they still hold what they held. Raises ``ValueError`` if not."""
        return self.draw(torch.Generator()).held_to(state, self.folder)

    def _check_alike(self, train: ArraySplit, other: ArraySplit, split: str) -> None:
        for name, array in {**other.views, **other.labels}.items():
            first = train.views[name] if name in train.views else train.labels[name]
            if array.shape[1:] != first.shape[1:] or array.dtype.kind != first.dtype.kind:
                raise UserError(
                    f"{Path(self.folder) / split / name}.npy: rows of shape {array.shape[1:]}, {array.dtype}; those of "
                    f"train are {first.shape[1:]}, {first.dtype}"
                )


def _classes(splits: Mapping[str, ArraySplit], name: str) -> int | None:
    arrays = [split.labels[name] for split in splits.values()]
    if np.issubdtype(arrays[0].dtype, np.floating):
        return None
    return max(2, 1 + max(int(array.max()) for array in arrays))
