"""From image files to pixels: decoded, brought to one size, kept in arrays that are mapped into memory."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mmcl.errors import UserError
from mmcl.records.files import umask
from mmcl.records.lock import waiting

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""What is decoded. Some others of Pillow's start programs (EPS), and nobody's pairs are of these."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""How their files are called, in small letters."""

UNFINISHED = ".packing-"
"""What the names of folders begin with that are being filled."""

ABANDONED_S = 86400
"""A folder that nobody has written to for so long is one that its process was killed over."""

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


def reserved_array(path: Path, dtype: np.typing.DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """A new ``.npy`` file, mapped to be written into, whose room on the disk is taken at once where that can be done.

    Without that a full disk ends the process by SIGBUS, when it writes into a hole of the mapped file.

    Raises:
        OSError: naming ``path``: no room for it. The file is gone again.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        _reserve(path)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise type(error)(error.errno, error.strerror, str(path)) from None
    return array


def _reserve(path: Path) -> None:
    """Take the room on the disk that the file's size says, where system and file system can."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise


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
    with _writable(target.parent, remedy):
        beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{UNFINISHED}{target.name}-"))
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


@contextlib.contextmanager
def _writable(place: Path, remedy: str) -> Iterator[None]:
    """Make the folder ``place``; if that, or what the block writes there, is not allowed, ``UserError``."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise UserError(f"{place}: may not be written to; {remedy}") from None


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
        with _writable(beside, ELSEWHERE):
            held.enter_context(waiting(beside / f".{name}.lock"))
        if target.is_dir():
            return
        for left in beside.glob(f"{UNFINISHED}{glob.escape(name)}-*"):
            # (Not every file system's lock is one among several machines.)
            if left.stat().st_mtime < time.time() - ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)
        with filled(target) as folder:
            make(folder)
        for old in beside.glob(f"{glob.escape(name)}-*"):
            if old != target:
                shutil.rmtree(old, ignore_errors=True)
