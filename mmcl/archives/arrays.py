"""A folder of arrays, ``FOLDER/SPLIT/NAME.npy``: mapped into memory, checked as they are opened, no pickle in them.

This is what published sets of features are converted to, and what anybody makes with ``numpy.save``. Of n samples

* images ``(n, C, H, W)``, uint8, of one or three channels C;
* vectors ``(n, d)``, floating;
* series ``(n, T, d)``, floating, of T steps; beside it ``NAME.there.npy``, ``(n, T)``, bool, where some have fewer;
* labels ``(n,)`` or ``(n, k)``: whole numbers >= 0 are classes, floating ones are continuous.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmcl.archives.pixels import Tell, filled, quiet, reserved_array
from mmcl.errors import UserError
from mmcl.records.files import write_json

THERE = ".there"
"""After a series' name: the array that says which of its steps there are."""

BYTES = 2**24
"""Of an array that is looked at at a time."""


@dataclass(frozen=True)
class ArraySplit:
    """The arrays of one split, of ``n`` rows each, mapped and read-only.

    Fields:
        views: name -> see above.
        there: name of a series -> ``(n, T)``, bool, where it has one.
        labels: name -> ``(n, k)``.
        identity: a SHA-256 of what they hold.
    """

    views: Mapping[str, np.ndarray]
    there: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]
    identity: str

    def __len__(self) -> int:
        return len(next(iter(self.views.values())))


def open_arrays(folder: Path, views: Sequence[str], labels: Sequence[str], tell: Tell = quiet) -> ArraySplit:
    """The arrays of the split in ``folder``.

    All of them are read once in a process, for their sum and for what is no number.

    Args:
        folder: ``FOLDER/SPLIT``.
        views, labels: the names that are wanted.
        tell: told how many bytes of all are read.

    Raises:
        UserError: an array that is missing, damaged, of a shape or kind that it may not have, of another number of
            rows, or that holds NaN or infinity.
    """
    found = {name: _mapped(folder, name) for name in (*views, *labels)}
    there = {
        name: _mapped(folder, name + THERE) for name in views if (folder / f"{name}{THERE}.npy").exists()
    }
    for name in views:
        _check_view(folder / f"{name}.npy", found[name])
    for name in labels:
        _check_label(folder / f"{name}.npy", found[name])
    for name, array in there.items():
        path, steps = folder / f"{name}{THERE}.npy", found[name].shape[:2]
        if found[name].ndim != 3 or array.dtype != np.bool_ or array.shape != steps:
            raise UserError(
                f"{path}: {_is(array)}; must be {steps}, bool: which steps of the series {name} there are"
            )
    first, *others = found
    for name in others:
        if len(found[name]) != len(found[first]):
            raise UserError(
                f"{folder / name}.npy: has {len(found[name])} rows, and {first}.npy has {len(found[first])}; row i "
                "of all must be one sample"
            )
    return ArraySplit(
        {name: found[name] for name in views},
        there,
        {name: found[name].reshape(len(found[name]), -1) for name in labels},
        _identity(
            {folder / f"{name}.npy": array for name, array in found.items()}
            | {folder / f"{name}{THERE}.npy": array for name, array in there.items()},
            tell,
        ),
    )


@dataclass(frozen=True)
class Blocks:
    """An array that is made a few rows at a time, for what does not fit in memory.

    Fields:
        shape, dtype: of the whole.
        blocks: its rows, in order.
    """

    shape: tuple[int, ...]
    dtype: type[np.generic]
    blocks: Callable[[], Iterator[np.ndarray]]


def write_arrays(
    folder: Path, splits: Mapping[str, Mapping[str, np.ndarray | Blocks]], about: Mapping[str, object]
) -> None:
    """Write ``FOLDER/SPLIT/NAME.npy`` of every array, and ``about.json`` of where they are from.

    Raises:
        UserError: the folder is there already. Nothing is half-written: it gets its name when all is on the disk.
    """
    if folder.exists():
        raise UserError(f"{folder}: is there already; name another folder, or remove it")
    with filled(folder, "name another folder") as beside:
        for split, arrays in splits.items():
            (beside / split).mkdir()
            for name, array in arrays.items():
                _write(beside / split / f"{name}.npy", array)
        write_json(beside / "about.json", dict(about))


def _write(path: Path, array: np.ndarray | Blocks) -> None:
    if isinstance(array, np.ndarray):
        np.save(path, array, allow_pickle=False)
        return
    target = reserved_array(path, array.dtype, array.shape)
    first = 0
    for rows in array.blocks():
        target[first : first + len(rows)] = rows
        first += len(rows)
    assert first == len(target)
    target.flush()


def _mapped(folder: Path, name: str) -> np.ndarray:
    path = folder / f"{name}.npy"
    if not path.exists():
        have = ", ".join(sorted(p.stem for p in folder.glob("*.npy") if not p.stem.endswith(THERE)))
        raise UserError(
            f"{path}: missing; {folder} has {have or 'no array'}; mmcl data convert makes such folders of published "
            "sets, numpy.save of yours"
        )
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise ValueError("an archive of several")
        return found
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise UserError(
                f"{path}: holds Python objects, which are not loaded; save an array of numbers"
            ) from None
        raise UserError(f"{path}: damaged ({' '.join(str(error).split())}); write it again") from None


def _is(array: np.ndarray) -> str:
    return f"has shape {array.shape}, {array.dtype}"


def _native(array: np.ndarray) -> bool:
    """Whether torch can take it: of this machine's order of bytes, and 64 bits or fewer."""
    return array.dtype.isnative and array.dtype.itemsize <= 8


def _check_view(path: Path, array: np.ndarray) -> None:
    floating = np.issubdtype(array.dtype, np.floating) and _native(array)
    image = array.dtype == np.uint8 and array.ndim == 4 and array.shape[1] in (1, 3)
    if not (image or (floating and array.ndim in (2, 3))) or 0 in array.shape:
        raise UserError(
            f"{path}: {_is(array)}; must be (n, d) or (n, T, d), floating, or of images (n, 1 or 3, H, W), uint8, of "
            "one row or more"
        )


def _check_label(path: Path, array: np.ndarray) -> None:
    number = np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)
    if not (number and _native(array)) or array.ndim not in (1, 2) or 0 in array.shape:
        raise UserError(
            f"{path}: {_is(array)}; labels must be (n,) or (n, k), of whole or floating numbers, of one row or more"
        )


_READ: dict[tuple[tuple[str, int, int], ...], str] = {}
"""What this process has read through, by files' paths, sizes and times: a run opens its arrays several times."""


def _identity(arrays: Mapping[Path, np.ndarray], tell: Tell) -> str:
    stats = [(path, path.stat()) for path in arrays]
    files = tuple((str(path.resolve()), about.st_size, about.st_mtime_ns) for path, about in stats)
    if files not in _READ:
        _READ[files] = _read_through(arrays, tell)
    return _READ[files]


def _read_through(arrays: Mapping[Path, np.ndarray], tell: Tell) -> str:
    """The sum of all arrays' names, kinds, shapes and bytes."""
    digest, done, total = hashlib.sha256(), 0, sum(array.nbytes for array in arrays.values())
    for path, array in arrays.items():
        digest.update(f"{path.name} {array.dtype.str} {array.shape}\n".encode())
        for first, rows in _blocks(array):
            bad = _first_fault(rows)
            if bad is not None:
                row, what = bad
                raise UserError(
                    f"{path}: row {first + row} (from 0) has {what}; mend or leave out that sample"
                )
            digest.update(np.ascontiguousarray(rows).data)
            done += rows.nbytes
            tell(done, total)
    return digest.hexdigest()


def _blocks(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    step = max(1, BYTES // max(1, array[:1].nbytes))
    for first in range(0, len(array), step):
        yield first, array[first : first + step]


def _first_fault(rows: np.ndarray) -> tuple[int, str] | None:
    if np.issubdtype(rows.dtype, np.floating):
        with np.errstate(over="ignore"):
            wrong, what = (
                ~np.isfinite(rows.astype(np.float32)),
                "NaN, infinity or what is too large for float32",
            )
    elif np.issubdtype(rows.dtype, np.signedinteger):
        wrong, what = rows < 0, "a class below 0"
    else:
        return None
    places = np.flatnonzero(wrong.reshape(len(rows), -1).any(axis=1))
    return (int(places[0]), what) if len(places) else None
