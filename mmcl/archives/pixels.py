"""From image files to pixels: decoded, brought to one size, kept in arrays that are mapped into memory."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mmcl.errors import UserError
from mmcl.records.files import reserved_array, umask
from mmcl.records.lock import waiting

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""What is decoded. Some others of Pillow's start programs (EPS), and nobody's pairs are of these."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""How their files are called, in small letters."""

UNFINISHED = ".packing-"
"""What the names of folders begin with that are being filled."""

ELSEWHERE = "keep it elsewhere: data.cache=FOLDER"

Tell = Callable[[int, int], None]
"""Is told how many of how many are done."""


def quiet(done: int, total: int) -> None:
    """A :data:`Tell` that says nothing."""


def further(tell: Tell, done: int, total: int) -> Tell:
    """``tell``, for a part of the work that begins when ``done`` of ``total`` are done."""
    return lambda n, _: tell(done + n, total)


class ImageError(Exception):
    """An image that cannot be had: ``missing``, or ``broken`` and why."""


def decode(source: Path | bytes, size: int | None = None) -> np.ndarray:
    """The pixels of an image: ``(3, height, width)``, uint8, red, green and blue.

    A photograph is turned as its camera says, transparency is dropped, and of an animation the first picture is taken.

    Args:
        source: a file, or its bytes.
        size: the short side is brought to it and the middle is cut out, ``(3, size, size)``; ``None``: as it is.

    Raises:
        ImageError: no such file, no image of :data:`FORMATS`, a damaged one, or one of more than 8 bits a channel.
    """
    try:
        with Image.open(
            io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS
        ) as image:
            if size is not None:
                image.draft("RGB", (2 * size, 2 * size))  # of a large JPEG no more is decoded than is needed
            if image.mode.startswith(("I", "F")):
                raise ImageError(f"broken (of mode {image.mode}: must have 8 bits a channel)")
            upright = ImageOps.exif_transpose(image).convert("RGB")
            if size is not None:
                upright = ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC)
            return np.asarray(upright, dtype=np.uint8).transpose(2, 0, 1)
    except FileNotFoundError:
        raise ImageError("missing") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"broken ({error})") from None


def write_images(path: Path, images: Iterable[np.ndarray], n: int, tell: Tell = quiet) -> None:
    """Write ``n`` >= 1 images of one shape, one after another, as an ``.npy`` file ``(n, *shape)`` of uint8."""
    array = None
    for index, image in enumerate(images):
        if array is None:
            shape = (n, *image.shape)
            array = reserved_array(path, np.uint8, shape)
        array[index] = image
        if (index + 1) % 500 == 0 or index + 1 == n:
            tell(index + 1, n)
    assert array is not None
    array.flush()


@contextlib.contextmanager
def filled(target: Path, remedy: str = ELSEWHERE) -> Iterator[Path]:
    """A folder to write into that becomes ``target`` when the block ends well: ``target`` is whole or not there.

    Where another process was faster, its folder stays. Its permissions are those of any new folder.

    Raises:
        UserError: the place may not be written to, with the ``remedy``.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{UNFINISHED}{target.name}-"))
    except PermissionError:
        raise _refused(target.parent, remedy) from None
    try:
        yield beside
        beside.chmod(0o777 & ~umask())  # a temporary folder is its maker's alone
        try:
            os.rename(beside, target)
        except OSError:
            if not target.is_dir():  # another process was faster
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _refused(place: Path, remedy: str) -> UserError:
    return UserError(f"{place}: may not be written to; {remedy}")


def cached_name(name: str, source: Path, cache: Path | None) -> str:
    """``name``, and in a ``cache``, which others may share, a mark of where the source lies."""
    return (
        name if cache is None else f"{hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:8]}-{name}"
    )


def made_once(target: Path, name: str, make: Callable[[Path], None]) -> None:
    """Have the folder ``target``, called ``NAME-...``, made by one process while others wait; it is whole or not there.

    Folders ``NAME-...`` beside it, of other files, are removed, and what a process that was killed has left of one. (A
    process that still reads one keeps its mapped file.)

    Args:
        target: where it is to be.
        name: what its name begins with.
        make: writes what it holds into the folder that it is given.

    Raises:
        UserError: the place may not be written to.
    """
    if target.is_dir():
        return
    beside = target.parent
    with contextlib.ExitStack() as held:
        try:
            beside.mkdir(parents=True, exist_ok=True)
            held.enter_context(waiting(beside / f".{name}.lock"))
        except PermissionError:
            raise _refused(beside, ELSEWHERE) from None
        if target.is_dir():
            return
        for left in beside.glob(f"{UNFINISHED}{name}-*"):
            shutil.rmtree(left, ignore_errors=True)
        with filled(target) as folder:
            make(folder)
        for old in beside.glob(f"{name}-*"):
            if old != target:
                shutil.rmtree(old, ignore_errors=True)
