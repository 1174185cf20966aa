"""Whether an archive is what it says: every row, line, image and sum."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from mmcl.archives.layout import SPLITS, Kind, Layout, kind_of
from mmcl.errors import UserError

IEND = b"IEND\xaeB`\x82"
"""What every PNG ends with."""


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_whole(path: Path) -> bool:
    """Whether ``path`` is a PNG with its end; reads twelve bytes."""
    try:
        with path.open("rb") as file:
            file.seek(-len(IEND), 2)
            return file.read() == IEND
    except OSError:
        return False


def sums(layout: Layout) -> str:
    """The text of ``SHA256SUMS``: a line for each file, as ``sha256sum -c`` reads them."""
    return "".join(f"{digest(path)}  {path.relative_to(layout.folder).as_posix()}\n" for path in layout.files)


def verify(
    root: Path, progress: Callable[[str], None] = lambda what: None
) -> tuple[dict[str, int], list[str]]:
    """Read all of the archive in ``root``.

    Returns:
        Split -> its number of pairs; and the faults, a line each that names the file: a table with too few or too many
        rows, a value that is none, a line of text too few, an image that is missing, broken or of another size, a file
        that is not what ``SHA256SUMS`` says, and images beyond the last row.

    Raises:
        UserError: there is no split in ``root``.
    """
    splits = [root / split for split in SPLITS if (root / split).is_dir()]
    if not splits:
        raise UserError(f"{root}: no archive; it must hold folders {', '.join(SPLITS)}, or some of them")
    counts, faults, size = {}, [], None
    for folder in splits:
        kind = kind_of(folder)
        if kind is None:
            names = " or ".join(" and ".join(f"latents_{v}.csv" for v in kind.views) for kind in Kind)
            faults.append(f"{folder}: holds neither {names}")
            continue
        tables = {view: _rows(folder / f"latents_{view}.csv", faults) for view in kind.views}
        pairs = max(len(rows) for rows in tables.values())
        if pairs == 0:
            faults.append(f"{folder}: its tables have no row")
            continue
        counts[folder.name] = pairs
        layout = Layout(kind, folder, pairs)
        for view, rows in tables.items():
            if len(rows) != pairs:
                faults.append(f"{layout.latents(view)}: {len(rows)} rows, where another table has {pairs}")
        if kind is Kind.image_text:
            faults += _text_faults(layout)
        for view in kind.folders:
            for index in range(pairs):
                path = layout.image(view, index)
                found = _image_size(path)
                if isinstance(found, str):
                    faults.append(found)
                elif size is None:
                    size = found
                elif found != size:
                    faults.append(
                        f"{path}: {found[0]} x {found[1]}, where the first image is {size[0]} x {size[1]}"
                    )
                if index % 500 == 0:
                    progress(f"{folder.name} {view} {index}/{pairs}")
            known = {layout.image(view, i).name for i in range(pairs)}
            more = sorted(p.name for p in (folder / kind.folders[view]).glob("*.png") if p.name not in known)
            if more:
                faults.append(
                    f"{folder / kind.folders[view]}: {len(more)} image(s) beyond the last row, such as {more[0]}"
                )
        faults += _sum_faults(layout)
    return counts, faults


def _rows(path: Path, faults: list[str]) -> list[dict[str, str]]:
    """The rows of a table; a cell that is empty, too many or no number (but for a name) is a fault."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            faults.append(f"{path}: line {number} has another number of values than the header")
            continue
        for column, text in row.items():
            if column != "object_color_name" and not _is_number(text):
                faults.append(f"{path}: line {number}, {column}={text!r}: must be a number")
    return rows


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False


def _text_faults(layout: Layout) -> Iterator[str]:
    if not layout.text.is_file():
        yield f"{layout.text}: missing"
        return
    lines = layout.text.read_text(encoding="utf-8").split("\n")
    lines = lines[:-1] if lines[-1] == "" else lines
    if len(lines) != layout.pairs:
        yield f"{layout.text}: {len(lines)} lines, where the tables have {layout.pairs} rows"
    for number, line in enumerate(lines, 1):
        if not line.strip():
            yield f"{layout.text}: line {number} is empty"


def _image_size(path: Path) -> tuple[int, int] | str:
    """Width and height, or what is wrong with it. Decodes all of it."""
    try:
        with Image.open(path) as image:
            image.load()
            return image.size if image.mode == "RGB" else f"{path}: mode {image.mode}, must be RGB"
    except FileNotFoundError:
        return f"{path}: missing"
    except (OSError, SyntaxError, ValueError) as error:
        return f"{path}: broken ({error})"


def _sum_faults(layout: Layout) -> Iterator[str]:
    """What differs from ``SHA256SUMS``, where there is one."""
    if not layout.sums.exists():
        return
    listed = set()
    for number, line in enumerate(layout.sums.read_text(encoding="utf-8").splitlines(), 1):
        expected, gap, name = line.partition("  ")
        if not gap or len(expected) != 64:
            yield f"{layout.sums}: line {number} is not 'SUM  FILE'"
            continue
        listed.add(name)
        path = layout.folder / name
        if path.is_file() and digest(path) != expected:
            yield f"{path}: is not what {layout.sums.name} says"
    for path in layout.files:
        name = path.relative_to(layout.folder).as_posix()
        if path.is_file() and name not in listed:
            yield f"{path}: not in {layout.sums.name}"
