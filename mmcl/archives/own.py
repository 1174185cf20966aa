"""Somebody's own pairs with their pixels: each image decoded once, and kept in files that are mapped into memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
from mmcl.archives.table import Row
from mmcl.errors import UserError

FOLDER = ".packed"
VERSION = 1
"""Of what is written below; another one is made anew."""


@dataclass(frozen=True)
class Images:
    """The images of one view of ``n`` pairs; one that stands in several pairs is there once.

    Fields:
        pixels: ``(m, 3, size, size)``, uint8, mapped from a file and read-only.
        place: ``(n,)``, int64: the image of each pair.
        sums: ``(m, 32)``, uint8: the SHA-256 of each image's file.
    """

    pixels: np.ndarray
    place: np.ndarray
    sums: np.ndarray


def open_images(
    source: Path,
    rows: Sequence[Row],
    views: Sequence[str],
    size: int,
    cache: Path | None = None,
    tell: Tell = quiet,
) -> dict[str, Images]:
    """The images of ``rows``, from their packed form, which is made where there is none of these files.

    Several processes may ask at once: one makes it, and the others wait.

    Args:
        source: what the rows were read from: a file, or a folder.
        rows: n >= 1 pairs.
        views: a name for each of their images.
        size: of the images' sides, see :func:`~mmcl.archives.pixels.decode`.
        cache: where packed forms are kept; default: ``.packed`` beside the file, or in the folder.
        tell: told how many of all images are decoded.

    Raises:
        UserError: an image that is missing or broken, with the line that names it. Nothing is left half-written.
    """
    lists = [list(dict.fromkeys(row.images[k] for row in rows)) for k in range(len(views))]
    if not views:
        return {}
    where = {
        path: (row.where, view)
        for row in reversed(rows)
        for path, view in zip(row.images, views, strict=True)
    }
    root = cache or (source if source.is_dir() else source.parent) / FOLDER
    config = hashlib.sha256(json.dumps([VERSION, size, list(views)]).encode()).hexdigest()[:8]
    name = cached_name(f"{source.name}-{config}", source, cache)
    target = root / f"{name}-{_fingerprint(lists, source, where)[:16]}"

    def pack(folder: Path) -> None:
        done, total = 0, sum(map(len, lists))
        for view, paths in zip(views, lists, strict=True):
            sums = np.empty((len(paths), 32), dtype=np.uint8)
            images = _read(paths, where, size, sums)
            write_images(folder / f"{view}.npy", images, len(paths), further(tell, done, total))
            np.save(folder / f"{view}.sums.npy", sums)
            done += len(paths)

    made_once(target, name, pack)
    found = {}
    for k, (view, paths) in enumerate(zip(views, lists, strict=True)):
        at = {path: place for place, path in enumerate(paths)}
        found[view] = Images(
            np.load(target / f"{view}.npy", mmap_mode="r"),
            np.array([at[row.images[k]] for row in rows], dtype=np.int64),
            np.load(target / f"{view}.sums.npy"),
        )
    return found


def _fingerprint(lists: Sequence[Sequence[Path]], source: Path, where: dict[Path, tuple[str, str]]) -> str:
    """A hash of the files' paths, sizes and times: whether they may be others than those that were packed."""
    found, root = hashlib.sha256(), source if source.is_dir() else source.parent
    missing: list[Path] = []
    for paths in lists:
        for path in paths:
            try:
                about = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                missing.append(path)
                continue
            name = path.relative_to(root) if path.is_relative_to(root) else path
            found.update(f"{name} {about.st_size} {about.st_mtime_ns}\n".encode())
        found.update(b"\n")
    if missing:
        more = f", and {len(missing) - 1} more are" if len(missing) > 1 else ""
        raise _error(missing[0], f"missing{more}", where)
    return found.hexdigest()


def _error(path: Path, what: object, where: dict[Path, tuple[str, str]]) -> UserError:
    line, view = where[path]
    return UserError(f"{line}, {view}: {path}: {what}; bring the file, or take the pair out")


def _read(
    paths: Sequence[Path], where: dict[Path, tuple[str, str]], size: int, sums: np.ndarray
) -> Iterator[np.ndarray]:
    """The pixels of each file, whose SHA-256 is put into ``sums``."""
    for index, path in enumerate(paths):
        try:
            data = path.read_bytes()
            sums[index] = np.frombuffer(hashlib.sha256(data).digest(), dtype=np.uint8)
            yield decode(data, size)
        except (ImageError, OSError) as error:
            raise _error(path, error, where) from None


def row_sums(rows: Sequence[Row], images: Sequence[Images]) -> list[bytes]:
    """The SHA-256 of what each pair is: its images' bytes, its texts, its factors; not the names of files."""
    found = []
    for index, row in enumerate(rows):
        digest = hashlib.sha256(json.dumps([row.texts, row.cells]).encode())
        for view in images:
            digest.update(view.sums[view.place[index]].tobytes())
        found.append(digest.digest())
    return found


def share_out(groups: Sequence[bytes], shares: Sequence[float]) -> list[np.ndarray]:
    """Rows for each of ``shares``, and the rest: whole groups, those of the smallest hashes first.

    Neither the rows' order nor a seed decides. Of G groups a share has ``round(share * G)``.

    Args:
        groups: what must stay together, for each row.
        shares: each from 0 to 1, together less than 1.

    >>> [part.tolist() for part in share_out([b"a", b"b", b"a", b"c"], [1 / 3])]
    [[3], [0, 1, 2]]
    """
    order = sorted(set(groups), key=lambda group: hashlib.sha256(group).digest())
    part, first = {}, 0
    for number, share in enumerate(shares):
        last = first + round(share * len(order))
        part.update(dict.fromkeys(order[first:last], number))
        first = last
    of = np.array([part.get(group, len(shares)) for group in groups])
    return [np.flatnonzero(of == number) for number in range(len(shares) + 1)]
