"""What readers of published sets share: their options, and entries of tables with messages for people."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmcl.archives.arrays import Blocks
from mmcl.errors import UserError

Split = dict[str, np.ndarray | Blocks]
"""Name -> array, of one split."""


@dataclass(frozen=True)
class Options:
    """What a reader may be told.

    Fields:
        pickle: whether pickles may be opened.
        task: of MIMIC: ``mortality``, or the number of a group of ICD-9 codes.
        features: view -> file with the features of frozen models, of MM-IMDb and Hateful Memes.
        trajectory: of Vision&Touch: a pattern whose first group names the trajectory of a file.
    """

    pickle: bool = False
    task: str = "7"
    features: Mapping[str, Path] = field(default_factory=dict)
    trajectory: str = r"(.*?)[_-]?\d+(?:_1000)?"


def part(table: Any, key: str, place: str, kind: str = "") -> Any:
    """What a table has under ``key``; ``kind``: what that is called in a message, with a space after it."""
    try:
        return table[key]
    except (KeyError, TypeError, IndexError):
        have = ", ".join(map(str, table)) if isinstance(table, Mapping) else type(table).__name__
        raise UserError(f"{place}: has no {kind}{key!r}; it has {have}") from None


def entry(table: Any, key: str, place: str) -> np.ndarray:
    """An entry of a table as an array of numbers."""
    value = part(table, key, place)
    try:
        array = np.asarray(value)
        return array if array.dtype.kind in "biufSU" else array.astype(np.float32)
    except (ValueError, TypeError) as error:
        raise UserError(f"{place}, {key}: no array of numbers ({' '.join(str(error).split())})") from None


def pixels(array: np.ndarray, place: str) -> np.ndarray:
    """``array`` as uint8, if it holds whole numbers from 0 to 255, of whatever type."""
    if array.dtype == np.uint8:
        return array
    if not (array.min() >= 0 and array.max() <= 255 and (array == np.round(array)).all()):
        raise UserError(
            f"{place}: values from {array.min()} to {array.max()}; must be whole numbers from 0 to 255"
        )
    return array.astype(np.uint8)


def open_numpy(path: Path) -> Any:
    """What ``numpy.load`` makes of a file, without pickles: an array, or the arrays of an ``.npz``."""
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            return found if isinstance(found, np.ndarray) else {name: found[name] for name in found.files}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise UserError(f"{path}: damaged, or no file of arrays ({' '.join(str(error).split())})") from None


def shaped(array: np.ndarray, shape: Sequence[int | None], place: str) -> np.ndarray:
    """``array``, if it is of this shape; ``None``: any."""
    fits = array.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in "biuf":
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise UserError(
            f"{place}: has shape {array.shape}, {array.dtype}; must be numbers of shape ({wanted})"
        )
    return array


def finite(labels: np.ndarray, place: str) -> np.ndarray:
    """``labels``, if each is a number: whether NaN is above 0 is no class."""
    return _all(labels, np.isfinite(labels), place, "a number")


def whole(labels: np.ndarray, shape: Sequence[int | None], place: str) -> np.ndarray:
    """``labels``, int64, if they are of this shape and whole numbers, 0 or more: classes."""
    labels = finite(shaped(labels, shape, place), place)
    classes = (labels == np.floor(labels)) & (labels >= 0)
    return _all(labels, classes, place, "a class: 0, 1, 2, ...").astype(np.int64)


def _all(labels: np.ndarray, good: np.ndarray, place: str, wanted: str) -> np.ndarray:
    """``labels``, if all are ``good``; the error names the first that is not."""
    if not good.all():
        at = tuple(np.argwhere(~good)[0].tolist())
        raise UserError(f"{place}: row {at[0]} (from 0) is {labels[at]}; must be {wanted}")
    return labels


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: missing") from None
    except ValueError as error:
        raise UserError(f"{path}: no JSON ({error})") from None


def read_hdf5(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError:
        raise UserError(f"{path}: HDF5 files need the package h5py: pip install 'mmcl[hdf5]'") from None
    try:
        with h5py.File(path, "r") as file:
            if missing := [name for name in names if name not in file]:
                raise UserError(f"{path}: has no {missing[0]!r}; it has {', '.join(file)}")
            return {name: np.asarray(file[name]) for name in names}
    except OSError as error:
        raise UserError(
            f"{path}: damaged, or no HDF5 file ({' '.join(str(error).split())}); get it again"
        ) from None
