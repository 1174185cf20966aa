"""Pairs in tar files, as WebDataset has them: an index of each, made once, and any pair by one read.

::

    shard-000.tar: cat-1.jpg  cat-1.txt  cat-1.json  cat-2.jpg ...

The members of a pair share a key, the name up to the first dot of its last part, and stand together. The webdataset
library reads such files in order; with an index any pair can be read by itself, so that the order is decided before
anything is read, and a resumed run reads nothing twice.
"""

from __future__ import annotations

import glob
import hashlib
import io
import itertools
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmcl.archives.columns import check_cell
from mmcl.archives.pixels import SUFFIXES, ImageError, Tell, decode, quiet
from mmcl.archives.words import tokens
from mmcl.errors import UserError
from mmcl.records.files import write_bytes

FOLDER = ".index"
VERSION = 1
"""Of what an index holds; another one is made anew."""

BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class Members:
    """What is read of a pair.

    Fields:
        images: the image views: the member ``KEY.VIEW.jpg``, or ``KEY.jpg`` where there is one image view.
        texts: the text views: ``KEY.VIEW.txt``, or ``KEY.txt`` where there is one.
        factors: keys of ``KEY.json``, an object; ``cls`` is the member ``KEY.cls``.
    """

    images: tuple[str, ...]
    texts: tuple[str, ...]
    factors: tuple[str, ...] = ()

    @property
    def views(self) -> tuple[str, ...]:
        return (*self.images, *self.texts)

    def suffixes(self, view: str) -> tuple[str, ...]:
        """The endings of a view's member."""
        of_kind, ends = (self.images, SUFFIXES) if view in self.images else (self.texts, (".txt",))
        named = tuple(f".{view}{end}" for end in ends)
        return (*named, *ends) if len(of_kind) == 1 else named


@dataclass(frozen=True)
class Item:
    """One pair: ``images[view]``, ``(3, size, size)`` uint8; ``texts[view]``."""

    images: dict[str, np.ndarray]
    texts: dict[str, str]


def expand(pattern: str) -> list[Path]:
    """The shards that a pattern names, in the order of their names: ``train-{000..099}.tar``, or ``train-*.tar``.

    Raises:
        UserError: none is there, or one that the braces name is not; an address of the net.

    >>> [str(p) for p in numbered("a-{8..10}.tar")]
    ['a-8.tar', 'a-9.tar', 'a-10.tar']
    """
    if "://" in pattern or pattern.startswith("pipe:"):
        raise UserError(f"{pattern}: shards are files; mount the store that has them, and name its folder")
    found = [
        Path(path)
        for name in numbered(pattern)
        for path in (sorted(glob.glob(str(name))) if glob.has_magic(str(name)) else [name])
    ]
    for path in found:
        if not path.is_file():
            raise UserError(f"{path}: no such shard; {pattern} names it")
    if not found:
        raise UserError(f"{pattern}: no shard is called so")
    return found


def numbered(pattern: str) -> list[str]:
    """What a pattern's braces stand for, numbers as wide as they are written."""
    parts = BRACES.split(pattern)
    ranges = [
        [str(k).zfill(len(first)) for k in range(int(first), int(last) + 1)]
        for first, last in zip(parts[1::3], parts[2::3], strict=True)
    ]
    return [
        "".join(itertools.chain(*itertools.zip_longest(parts[::3], choice, fillvalue="")))
        for choice in itertools.product(*ranges)
    ]


class Shard:
    """One tar file with its index.

    Args:
        path: the tar file.
        members: what is read of a pair.
        index: the index' file.
    """

    def __init__(self, path: Path, members: Members, index: Path) -> None:
        self.path = path
        self.members = members
        self._index = index
        about = self._read("about")
        self.identity: str = about["identity"]
        self.longest: dict[str, int] = about["longest"]
        self._n: int = about["n"]

    def _read(self, name: str) -> Any:
        with np.load(self._index) as file:
            return json.loads(file[name].tobytes())

    def __len__(self) -> int:
        return self._n

    def words(self) -> dict[str, int]:
        """How often each word is in its texts. Read at each call, as :meth:`rows`: of many shards none is held."""
        found: dict[str, int] = self._read("words")
        return found

    def rows(self) -> Rows:
        """Where its pairs are."""
        rows = self._read("rows")
        with np.load(self._index) as file:
            return Rows(file["places"], rows["keys"], rows["cells"])

    def read(self, file: int, rows: Rows, row: int, size: int) -> Item:
        """Pair ``row``, by one read of the open file (its descriptor). Safe in several threads.

        Raises:
            UserError: naming shard and key, for an image that is broken, and a file that is not what was indexed.
        """
        start, end = rows.span(row)
        data = os.pread(file, end - start, start)
        where = f"{self.path}, {rows.keys[row]}"
        if len(data) < end - start:
            raise UserError(f"{where}: the file ends within it; bring the whole shard")
        parts = {
            view: data[first - start : first - start + length]
            for view, (first, length) in zip(self.members.views, rows.places[row].tolist(), strict=True)
        }
        try:
            images = {view: decode(parts[view], size) for view in self.members.images}
        except ImageError as error:
            raise UserError(
                f"{where}: its image is {error}; make the shard again without that pair"
            ) from None
        return Item(images, {view: parts[view].decode("utf-8-sig") for view in self.members.texts})


@dataclass(frozen=True)
class Rows:
    """Where a shard's ``n`` pairs are.

    Fields:
        places: ``(n, views, 2)``, int64: first byte and length of the member of each view.
        keys: of each pair.
        cells: factor -> the cell of each pair.
    """

    places: np.ndarray
    keys: list[str]
    cells: dict[str, list[str]]

    def keys_of(self, path: Path) -> list[str]:
        """Shard and key of each pair, for messages."""
        return [f"{path}, {key}" for key in self.keys]

    def span(self, row: int) -> tuple[int, int]:
        """The bytes that hold all members of a pair."""
        places = self.places[row]
        return int(places[:, 0].min()), int(places.sum(axis=1).max())


def open_shards(
    paths: Sequence[Path], members: Members, cache: Path | None = None, tell: Tell = quiet
) -> list[Shard]:
    """The shards with their indices, which are made where there are none of these files.

    An index is in ``.index`` beside the shard, or in ``cache``. Making it reads all headers, texts and factors, and of
    images nothing. Several processes may ask at once.

    Raises:
        UserError: naming shard and key, for a file that is no tar file, cut or compressed, and a pair of which a
            member is missing, empty or there twice.
    """
    found = []
    for number, path in enumerate(paths):
        about = path.stat()
        config = [VERSION, about.st_size, about.st_mtime_ns, members.images, members.texts, members.factors]
        name = f"{path.name}-{hashlib.sha256(json.dumps(config).encode()).hexdigest()[:16]}.npz"
        index = (cache or path.parent / FOLDER) / name
        if not index.is_file():
            data = _index(path, members)
            try:
                index.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(index, data)
            except PermissionError:
                raise UserError(
                    f"{index.parent}: may not be written to; keep it elsewhere: data.cache=FOLDER"
                ) from None
        found.append(Shard(path, members, index))
        tell(number + 1, len(paths))
    return found


def _index(path: Path, members: Members) -> bytes:
    """The ``.npz`` file that :class:`Shard` reads."""
    words, longest = Counter[str](), dict.fromkeys(members.texts, 0)
    digest = hashlib.sha256()
    places, keys = [], []
    cells: dict[str, list[str]] = {name: [] for name in members.factors}
    with path.open("rb") as file:
        for key, group in _groups(path):
            where = f"{path}, {key}"
            own = []
            for view in members.views:
                info = _member(group, members.suffixes(view), f"{where}: has no member for the view {view}")
                if info.size == 0:
                    raise UserError(
                        f"{where}: its {info.name} is empty; make the shard again without that pair"
                    )
                own.append((info.offset_data, info.size))
                digest.update(f"{info.name!a} {info.size}\n".encode())
                if view in members.texts:
                    text = _text(file, info, where)
                    found = tokens(text)
                    words.update(found)
                    longest[view] = max(longest[view], len(found) + 1)
                    digest.update(text.encode())
            for name, cell in _cells(file, group, members.factors, where).items():
                cells[name].append(cell)
                digest.update(f"{name} {cell}\n".encode())
            places.append(own)
            keys.append(key)
    if not keys:
        raise UserError(f"{path}: holds no pair")
    buffer = io.BytesIO()
    np.savez(
        buffer,
        about=_json({"n": len(keys), "identity": digest.hexdigest(), "longest": longest}),
        words=_json(words),
        rows=_json({"keys": keys, "cells": cells}),
        places=np.array(places, dtype=np.int64),
    )
    return buffer.getvalue()


def _json(value: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)


Group = Mapping[str, tarfile.TarInfo]
"""The members of one key: what stands behind the key, in small letters -> its header."""


def _groups(path: Path) -> Iterator[tuple[str, Group]]:
    """Each key and its members, in order.

    Raises:
        UserError: no whole tar file, a key that comes again later, a member that is there twice.
    """
    seen: set[str] = set()
    for key, infos in itertools.groupby(_headers(path), key=lambda info: _split(info.name)[0]):
        if key in seen:
            raise UserError(f"{path}, {key}: its members do not stand together, or two pairs have that key")
        seen.add(key)
        group: dict[str, tarfile.TarInfo] = {}
        for info in infos:
            end = _split(info.name)[1].lower()
            if end in group:
                raise UserError(f"{path}, {key}: {info.name} is there twice")
            group[end] = info
        yield key, group


def _split(name: str) -> tuple[str, str]:
    """Key and ending: a/b.left.jpg is a/b and .left.jpg."""
    folder, slash, last = name.rpartition("/")
    stem, dot, end = last.partition(".")
    return folder + slash + stem, dot + end


def _headers(path: Path) -> Iterator[tarfile.TarInfo]:
    """The files in a tar file, in order."""
    try:
        with tarfile.open(path, "r:") as tar:
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # a list of all that was read, which grows
                name = info.name.rpartition("/")[2]
                if info.isreg() and not info.issparse() and not name.startswith("."):
                    yield info
            # tarfile takes damaged headers for the end, which is a block of zeros.
            with path.open("rb") as file:
                file.seek(tar.offset)
                end = file.read(BLOCK)
    except tarfile.ReadError as error:
        raise UserError(f"{path}: no whole tar file ({error}); bring it whole, and not compressed") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if len(end) < BLOCK or end.strip(b"\0"):
        raise UserError(f"{path}: cut or damaged behind byte {tar.offset}; bring the whole shard")


def _member(group: Group, suffixes: Sequence[str], otherwise: str) -> tarfile.TarInfo:
    found = [group[end] for end in suffixes if end in group]
    if not found:
        raise UserError(f"{otherwise} ({'|'.join(suffixes)}); it has {', '.join(group)}")
    return found[0]


def _bytes(file: Any, info: tarfile.TarInfo) -> bytes:
    return os.pread(file.fileno(), info.size, info.offset_data)


def _text(file: Any, info: tarfile.TarInfo, where: str) -> str:
    try:
        text = _bytes(file, info).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: {info.name} is no UTF-8 text ({error})") from None
    if not text.strip():
        raise UserError(f"{where}: its {info.name} is empty; make the shard again without that pair")
    return text


def _cells(file: Any, group: Group, factors: Sequence[str], where: str) -> dict[str, str]:
    """Factor -> its cell."""
    found: dict[str, str] = {}
    if "cls" in factors:
        info = _member(group, (".cls",), f"{where}: has no member for the factor cls")
        found["cls"] = _text(file, info, where).strip()
    if keys := [name for name in factors if name != "cls"]:
        info = _member(group, (".json",), f"{where}: has no member for the factor {keys[0]}")
        try:
            values = json.loads(_text(file, info, where))
        except json.JSONDecodeError as error:
            raise UserError(f"{where}: {info.name} is no JSON ({error})") from None
        if not isinstance(values, dict):
            raise UserError(f"{where}: {info.name} holds no object")
        for name in keys:
            if not isinstance(values.get(name), str | int | float):
                raise UserError(
                    f"{where}: {info.name} has no text or number {name}; it has {', '.join(values)}"
                )
            found[name] = str(values[name])
    for name, cell in found.items():
        check_cell(name, cell, where)
    return found
