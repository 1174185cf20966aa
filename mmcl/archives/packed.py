"""An archive's split as arrays: decoded once, then mapped into memory and shared by all processes that read it."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmcl.archives.layout import SPLITS, Kind, Layout, kind_of
from mmcl.archives.pixels import (
    ImageError,
    Tell,
    cached_name,
    decode,
    further,
    made_once,
    quiet,
    write_images,
)
from mmcl.archives.verify import sums
from mmcl.errors import UserError
from mmcl.records.files import read_csv

FOLDER = ".packed"
ABOUT = "about.json"
IDENTITY = b"1\n"
"""What is hashed before a split's sums. Part of what finished runs know their pairs by, unlike ``VERSION``."""
VERSION = 2
"""Of what is written below; another one is made anew."""


@dataclass(frozen=True)
class Packed:
    """A split of ``n`` pairs.

    Fields:
        kind: what its pairs are.
        images: view -> ``(n, 3, size, size)``, uint8, mapped from a file and read-only.
        lines: the text of each pair; empty for image pairs.
        factors: view -> column -> ``(n,)``: float64, int64 for columns of whole numbers, text for names.
        identity: a SHA-256 of what the split holds, whenever and wherever its files were written.
    """

    kind: Kind
    images: Mapping[str, np.ndarray]
    lines: list[str]
    factors: Mapping[str, Mapping[str, np.ndarray]]
    identity: str

    def __len__(self) -> int:
        return len(next(iter(self.images.values())))


def open_split(
    root: Path,
    split: str,
    cache: Path | None = None,
    progress: Tell = quiet,
) -> Packed:
    """The split of the archive in ``root``, from its packed form, which is made where there is none of these files.

    Several processes may ask at once: one makes it, and the others wait.

    Args:
        root: the archive's folder.
        split: train, val or test.
        cache: where packed forms are kept, if ``root`` may not be written to; default: ``root/.packed``.
        progress: told how many of the n images are decoded.

    Raises:
        UserError: no such split, an image that is missing or broken or of another size, text and tables of different
            lengths.
    """
    folder = root / split
    kind = kind_of(folder)
    if kind is None:
        there = [name for name in SPLITS if kind_of(root / name)]
        raise UserError(
            f"{folder}: no split of an archive; {root} has {', '.join(there) if there else 'none'}: mmcl data "
            "generate or download makes one"
        )
    factors = {view: _columns(folder / f"latents_{view}.csv") for view in kind.views}
    pairs = {len(column) for table in factors.values() for column in table.values()}
    layout = Layout(kind, folder, max(pairs))
    lines = _lines(layout) if kind is Kind.image_text else []
    if len(pairs) > 1 or (lines and len(lines) != layout.pairs):
        raise UserError(
            f"{folder}: its tables and text have different lengths; mmcl data verify {root} says where"
        )
    name = cached_name(split, root, cache)
    target = (cache or root / FOLDER) / f"{name}-{_fingerprint(layout)[:16]}"
    made_once(target, name, lambda beside: _pack(layout, beside, progress))
    images = {view: np.load(target / f"{view}.npy", mmap_mode="r") for view in kind.folders}
    about = json.loads((target / ABOUT).read_text())
    return Packed(kind, images, lines, factors, about["identity"])


def _columns(path: Path) -> dict[str, np.ndarray]:
    try:
        rows = read_csv(path)
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: no table ({error}); mmcl data verify says what else is") from None
    if not rows:
        raise UserError(f"{path}: has no row")
    found = {}
    for name in rows[0]:
        texts = [row[name] for row in rows]
        try:
            numbers = np.array(texts, dtype=np.float64)
        except ValueError:
            found[name] = np.array(texts)
            continue
        found[name] = numbers.astype(np.int64) if all(text.isdigit() for text in texts) else numbers
    return found


def _lines(layout: Layout) -> list[str]:
    try:
        text = layout.text.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{layout.text}: missing") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{layout.text}: no UTF-8 text ({error})") from None
    return text.removesuffix("\n").split("\n")


def _fingerprint(layout: Layout) -> str:
    """By which a packed form is known to be that of these files: a hash of the split's sums or, without them, of its
    files' names, sizes and times, which are had without reading them."""
    found = hashlib.sha256(f"{VERSION}\n".encode())
    if layout.sums.exists():
        found.update(layout.sums.read_bytes())
    else:
        for path in layout.files:
            try:
                about = path.stat()
            except FileNotFoundError:
                raise UserError(f"{path}: missing; mmcl data verify says what else is") from None
            found.update(f"{path.name} {about.st_size} {about.st_mtime_ns}\n".encode())
    return found.hexdigest()


def _identity(layout: Layout, images: Mapping[Path, str]) -> str:
    """A hash of the sums of all files: those that are listed, or computed, the ``images``' when they were read."""
    text = layout.sums.read_bytes() if layout.sums.exists() else sums(layout, images).encode()
    return hashlib.sha256(IDENTITY + text).hexdigest()


def _pack(layout: Layout, folder: Path, tell: Tell) -> None:
    """Decode all images into ``folder``."""
    found: dict[Path, str] = {}
    done, total = 0, layout.pairs * len(layout.kind.folders)
    for view in layout.kind.folders:
        paths = [layout.image(view, index) for index in range(layout.pairs)]
        images = _decoded(paths, found)
        write_images(folder / f"{view}.npy", images, layout.pairs, further(tell, done, total))
        done += layout.pairs
    about = {
        "version": VERSION,
        "folder": str(layout.folder),
        "pairs": layout.pairs,
        "identity": _identity(layout, found),
    }
    (folder / ABOUT).write_text(json.dumps(about))


def _decoded(paths: Sequence[Path], found: dict[Path, str]) -> Iterator[np.ndarray]:
    """The images, each ``(3, height, width)``, uint8, of one size. Their files' sums are written into ``found``."""
    shape = None
    for path in paths:
        try:
            data = path.read_bytes()
            image = decode(data)
        except (FileNotFoundError, ImageError) as error:
            fault = "missing" if isinstance(error, FileNotFoundError) else error
            raise UserError(f"{path}: {fault}; mmcl data verify says what else is") from None
        found[path] = hashlib.sha256(data).hexdigest()
        shape = shape or image.shape
        if image.shape != shape:
            (_, h, w), (_, height, width) = image.shape, shape
            raise UserError(f"{path}: {w} x {h}, where the first image is {width} x {height}")
        yield image
