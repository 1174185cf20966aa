"""Where things lie in an archive: the layout of the published Multimodal3DIdent, and ours for pairs of images.

::

    ROOT/manifest.json                     what made it (ours alone)
    ROOT/{train,val,test}/latents_VIEW.csv a row for each pair, in order
                          images/I.png     I from 0, with zeros before it to one width (image/text)
                          text/text_raw.txt  a line for each pair (image/text)
                          images1/I.png, images2/I.png  (image pairs)
                          SHA256SUMS       of all of these (ours alone; sha256sum -c reads it)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

SPLITS = ("train", "val", "test")
SUMS = "SHA256SUMS"
MANIFEST = "manifest.json"
TEXT = Path("text", "text_raw.txt")


class Kind(Enum):
    """What a pair is: an image and a text, or two images."""

    image_text = "image_text"
    image_pairs = "image_pairs"

    @property
    def folders(self) -> dict[str, str]:
        """View -> the folder of its images, for the views that are images."""
        if self is Kind.image_text:
            return {"image": "images"}
        return {"image1": "images1", "image2": "images2"}

    @property
    def views(self) -> tuple[str, ...]:
        """All views, each with a file ``latents_VIEW.csv``."""
        return ("image", "text") if self is Kind.image_text else tuple(self.folders)


@dataclass(frozen=True)
class Layout:
    """The paths of one split of ``pairs`` >= 1 pairs."""

    kind: Kind
    folder: Path
    pairs: int

    def image(self, view: str, index: int) -> Path:
        """The image of pair ``index``.

        >>> Layout(Kind.image_text, Path("train"), 1000).image("image", 7).as_posix()
        'train/images/007.png'
        """
        return self.folder / self.kind.folders[view] / f"{index:0{self.digits}d}.png"

    @property
    def digits(self) -> int:
        """The width of an image's number: that of the published set, the logarithm of ``pairs`` rounded up."""
        return max(1, math.ceil(math.log10(self.pairs)))

    def latents(self, view: str) -> Path:
        return self.folder / f"latents_{view}.csv"

    @property
    def text(self) -> Path:
        return self.folder / TEXT

    @property
    def sums(self) -> Path:
        return self.folder / SUMS

    @property
    def folders(self) -> list[Path]:
        """All folders of the split."""
        found = [self.folder / name for name in self.kind.folders.values()]
        return [self.folder, *found, *([self.text.parent] if self.kind is Kind.image_text else [])]

    @property
    def images(self) -> list[Path]:
        return [self.image(view, i) for view in self.kind.folders for i in range(self.pairs)]

    @property
    def files(self) -> list[Path]:
        """All files but ``SHA256SUMS``."""
        tables = [self.latents(view) for view in self.kind.views]
        texts = [self.text] if self.kind is Kind.image_text else []
        return [*tables, *texts, *self.images]


def kind_of(folder: Path) -> Kind | None:
    """What a split's folder holds, by its tables; ``None``: nothing known."""
    for kind in Kind:
        if all((folder / f"latents_{view}.csv").is_file() for view in kind.views):
            return kind
    return None
