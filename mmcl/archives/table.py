"""Somebody's own pairs as they list them: the rows of a CSV file, or the files of a folder."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmcl.archives.columns import check_cell
from mmcl.archives.pixels import SUFFIXES
from mmcl.errors import UserError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
LONGEST_CELL = 2**24
"""Characters; the csv module's own limit, 131,072, is short of a long text."""


@dataclass(frozen=True, slots=True)
class Row:
    """One pair.

    Fields:
        where: file and line, for messages.
        images: the file of each image view.
        texts: the text of each text view, not empty.
        cells: the factors' cells.
    """

    where: str
    images: tuple[Path, ...]
    texts: tuple[str, ...]
    cells: tuple[str, ...]


def read_rows(source: Path, images: Sequence[str], texts: Sequence[str], factors: Sequence[str]) -> list[Row]:
    """The pairs that ``source`` lists; no image is opened.

    Args:
        source: a CSV or TSV file with a header, whose images' paths are relative to its folder; or a folder.
        images: the image views: columns of the file, or sub-folders.
        texts: the text views: columns of the file, or sub-folders.
        factors: further columns of the file; a folder has none.

    In a folder files of one name (without suffix) are a pair: ``FOLDER/VIEW/cat-1.jpg`` and ``FOLDER/OTHER/cat-1.txt``;
    for an image and a text also ``FOLDER/cat-1.jpg`` and ``FOLDER/cat-1.txt``.

    Raises:
        UserError: naming file, line and column, for whatever is missing, empty, twice or not text.
    """
    if source.is_dir():
        rows = list(_of_folder(source, images, texts, factors))
    elif source.suffix.lower() in DELIMITERS:
        rows = list(_of_file(source, images, texts, factors))
    else:
        what = "neither a folder nor a .csv or .tsv file" if source.exists() else "no such file or folder"
        raise UserError(f"{source}: {what}; name one with data.train")
    if not rows:
        raise UserError(f"{source}: holds no pair")
    return rows


def _of_file(
    source: Path, images: Sequence[str], texts: Sequence[str], factors: Sequence[str]
) -> Iterator[Row]:
    limit = csv.field_size_limit(LONGEST_CELL)
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=DELIMITERS[source.suffix.lower()], strict=True)
            header = next(reader, [])
            if len(set(header)) < len(header):
                raise UserError(f"{source}: its header {', '.join(header)} names a column twice")
            for name in (*images, *texts, *factors):
                if name not in header:
                    raise UserError(f"{source}: no column {name}; it has {', '.join(header) or 'none'}")
            column = {name: place for place, name in enumerate(header)}
            end = reader.line_num
            for cells in reader:
                where, end = f"{source}, line {end + 1}", reader.line_num
                if not cells:
                    continue  # an empty line
                if len(cells) != len(header):
                    raise UserError(f"{where}: has {len(cells)} cells, where the header has {len(header)}")
                for name in (*images, *texts):
                    if not cells[column[name]].strip():
                        raise UserError(f"{where}, column {name}: empty; fill it, or take the row out")
                for name in factors:
                    check_cell(name, cells[column[name]], where)
                yield Row(
                    where,
                    tuple(source.parent / cells[column[name]].strip() for name in images),
                    tuple(cells[column[name]] for name in texts),
                    tuple(cells[column[name]] for name in factors),
                )
    except FileNotFoundError:
        raise UserError(f"{source}: no such file or folder; name one with data.train") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{source}: no UTF-8 text ({error}); save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{source}: no table ({error})") from None
    finally:
        csv.field_size_limit(limit)


def _of_folder(
    folder: Path, images: Sequence[str], texts: Sequence[str], factors: Sequence[str]
) -> Iterator[Row]:
    if factors:
        raise UserError(
            f"{folder}: a folder has no column {factors[0]}; list the pairs in a CSV file, or leave factors out"
        )
    kinds = {**dict.fromkeys(images, SUFFIXES), **dict.fromkeys(texts, (".txt",))}
    if all((folder / view).is_dir() for view in kinds):
        found = {view: _by_name(folder / view, suffixes) for view, suffixes in kinds.items()}
    elif len(images) == len(texts) == 1:
        found = {view: _by_name(folder, suffixes) for view, suffixes in kinds.items()}
    else:
        there = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        missing = next(view for view in kinds if not (folder / view).is_dir())
        raise UserError(
            f"{folder}: no sub-folder {missing} for that view; it has {', '.join(there) or 'none'}: name them with "
            "data.images=[...] and data.texts=[...]"
        )
    names = sorted(set().union(*found.values()))
    for name in names:
        for view, files in found.items():
            if name not in files:
                other = next(files[name] for files in found.values() if name in files)
                raise UserError(
                    f"{other}: has no partner, {name}{'|'.join(kinds[view])} for the view {view}; bring it, or take "
                    "this file out"
                )
        yield Row(
            str(found[images[0] if images else texts[0]][name]),
            tuple(found[view][name] for view in images),
            tuple(_text(found[view][name]) for view in texts),
            (),
        )


def _by_name(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """The files of these suffixes by their name without it."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in found:
                raise UserError(
                    f"{path}: {found[path.stem].name} has that name too; rename one of the two pairs"
                )
            found[path.stem] = path
    return found


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: no UTF-8 text ({error}); save it as UTF-8") from None
    if not text:
        raise UserError(f"{path}: empty; write its text, or take the pair out")
    return text
