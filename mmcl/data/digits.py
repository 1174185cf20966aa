"""Pictures of handwritten digits and their labels, as two modalities."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import torch
from torch import Tensor

from mmcl.checks import require
from mmcl.data.given import GivenWorld
from mmcl.errors import UserError
from mmcl.worlds import Batch, FactorRole, handwritten_digits

CLASSES = 10
TEST_SHARE = 0.2
"""Of scikit-learn's digits, which have no test set of their own."""


class DigitSet(Enum):
    """``bundled``: scikit-learn's 1,797 of 8 x 8 pixels. ``mnist``: 70,000 of 28 x 28, in files."""

    bundled = "bundled"
    mnist = "mnist"


@dataclass(frozen=True)
class Digits:
    """Pictures of digits, view ``image``, and one-hot labels, view ``label``: what they share is the factor ``digit``.

    Args:
        source: see :class:`DigitSet`. Of the bundled ones a fifth of each digit's is the test set, always the same;
            MNIST has its own.
        folder: of ``mnist``, as torchvision lays it out: ``FOLDER/MNIST/raw``.
        download: whether torchvision may bring MNIST there if it is not there.
        held_out: share of the training pictures, in [0, 1), that are not trained on, for what is fitted on other
            samples than those of training; 0: all are trained on, and those serve for that too, as in the paper.

    Raises ``ValueError`` naming a bad field.

    Sources: E. Alpaydin and C. Kaynak (1998), UCI, of the bundled digits; LeCun et al. (1998) of MNIST; Baptista et al.
    (2025), Section 6.2, of the experiment.
    """

    source: DigitSet = DigitSet.bundled
    folder: str = "data/mnist"
    download: bool = False
    held_out: float = 0.1

    def __post_init__(self) -> None:
        require(0 <= self.held_out < 1, "held_out", self.held_out, "in [0, 1)")

    def draw(self, generator: torch.Generator) -> GivenWorld:
        """The pictures as they are; nothing is drawn.

        Raises ``UserError`` where MNIST's files are missing, damaged, or cannot be downloaded.
        """
        train, test = (
            _bundled() if self.source is DigitSet.bundled else _mnist(Path(self.folder), self.download)
        )
        fixed = torch.Generator().manual_seed(0)
        order = torch.randperm(len(train), generator=fixed)
        held_out = order[: round(self.held_out * len(train))]
        sources = {"train": train.part(order[len(held_out) :].sort().values), "test": test}
        if len(held_out):
            sources["validation"] = train.part(held_out.sort().values)
        fit = "validation" if len(held_out) else "train"
        return GivenWorld(sources, _roles, lambda: None, {"validation": fit, "test": "test"}, show=_shown)

    def restore(self, state: Mapping[str, Tensor]) -> GivenWorld:
        """The pictures, if they are what they were. Raises ``ValueError`` if not."""
        return self.draw(torch.Generator()).held_to(state, f"data.source={self.source.value}")


def _roles() -> dict[str, FactorRole]:
    return {"digit": FactorRole("content", None, CLASSES)}


def _shown(view: str, x: Tensor) -> list[str] | None:
    return [str(digit) for digit in x.argmax(dim=1).tolist()] if view == "label" else None


@dataclass(frozen=True)
class LabelledImages:
    """Images ``(n, 1, H, W)``, uint8, and labels ``(n,)``, int64, see :class:`~mmcl.data.given.Source`."""

    images: Tensor
    labels: Tensor

    @property
    def identity(self) -> str:
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        for tensor in (self.images, self.labels):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def views(self) -> dict[str, int]:
        return {"image": self.images[0].numel(), "label": CLASSES}

    def __len__(self) -> int:
        return len(self.images)

    def part(self, rows: Tensor) -> LabelledImages:
        """Those of the numbers ``rows``."""
        return LabelledImages(self.images[rows], self.labels[rows])

    def rows(self, rows: Tensor) -> Batch:
        """Of the numbers ``rows``: images, one-hot labels ``(n, 10)``, float32, and digits ``(n, 1)``, int64."""
        labels = self.labels[rows]
        one_hot = torch.nn.functional.one_hot(labels, CLASSES).float()
        return Batch({"image": self.images[rows], "label": one_hot}, {"digit": labels[:, None]})


def _bundled() -> tuple[LabelledImages, LabelledImages]:
    """Training and test: the same fifth of each digit's pictures is the latter."""
    pixels, labels = handwritten_digits()
    images = (255 * pixels).round().to(torch.uint8).reshape(-1, 1, 8, 8)
    every = LabelledImages(images, labels)
    fixed = torch.Generator().manual_seed(0)
    test = torch.zeros(len(images), dtype=torch.bool)
    for digit in range(CLASSES):
        rows = (every.labels == digit).nonzero()[:, 0]
        chosen = torch.randperm(len(rows), generator=fixed)[: round(TEST_SHARE * len(rows))]
        test[rows[chosen]] = True
    return every.part((~test).nonzero()[:, 0]), every.part(test.nonzero()[:, 0])


FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""MNIST's, unpacked, in ``FOLDER/MNIST/raw``."""


def _mnist(folder: Path, download: bool) -> tuple[LabelledImages, LabelledImages]:
    """Training and test."""
    from torchvision.datasets import MNIST  # slow to import, and no other data needs it

    raw, remedy = folder / "MNIST" / "raw", "data.source=bundled needs no files"
    missing = [name for name in FILES if not (raw / name).is_file()]
    if missing and not download:
        raise UserError(
            f"{raw / missing[0]}: missing; set data.folder to where MNIST/raw holds the files, or data.download=true; "
            f"{remedy}"
        )
    found = []
    for train in (True, False):
        try:
            one = MNIST(str(folder), train=train, download=download)
        # (what torchvision raises for files that are cut, or are none of MNIST's, and for a server that is not there)
        except (RuntimeError, OSError, ValueError, TypeError, AssertionError, KeyError) as error:
            what = "be downloaded" if missing else "be read"
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise UserError(
                f"{raw}: MNIST's files cannot {what} ({reason}); {remedy}, or remove this folder and try again"
            ) from None
        if len(one.data) != len(one.targets):
            raise UserError(
                f"{raw}: {len(one.data)} images and {len(one.targets)} labels; remove it and download again"
            )
        if len(one.data) and not 0 <= int(one.targets.max()) < CLASSES:
            raise UserError(
                f"{raw}: a label is {int(one.targets.max())}, must be 0 to 9; is it another set of images?"
            )
        found.append(LabelledImages(one.data[:, None], one.targets.long()))
    return found[0], found[1]
