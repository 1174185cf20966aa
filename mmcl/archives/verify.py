"""Whether an archive is what it says: every row, line, image and sum."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from mmcl.archives.layout import MANIFEST, SPLITS, Kind, Layout, kind_of
from mmcl.errors import UserError

IEND = b"IEND\xaeB`\x82"
"""What every PNG ends with."""


COLUMNS = (
    "object_shape", "object_xpos", "object_ypos", "object_zpos", "object_alpharot", "object_betarot", "object_gammarot",
    "object_color", "spotlight_pos", "spotlight_color", "background_color",
)  # fmt: skip
"""Of every table of an image's factors."""

TEXT_COLUMNS = (
    "object_shape", "object_xpos", "object_ypos", "object_zpos", "object_color_name", "object_color_index",
    "text_phrasing",
)  # fmt: skip

CLASSES = {
    "object_shape": 7,
    "object_xpos": 3,
    "object_ypos": 3,
    "object_color_index": 1107,
    "text_phrasing": 5,
}
"""Of columns of image/text pairs: whole numbers below these. All others, but for names, lie in [0, 1]."""


def digest(path: Path, algorithm: str = "sha256") -> str:
    """A file's sum, by its SHA-256 or another of ``hashlib``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def is_whole(path: Path) -> bool:
    """Whether ``path`` ends as a PNG does; reads eight bytes."""
    try:
        with path.open("rb") as file:
            file.seek(-len(IEND), 2)
            return file.read() == IEND
    except OSError:
        return False


def sums(layout: Layout, known: Mapping[Path, str] = MappingProxyType({})) -> str:
    """The text of ``SHA256SUMS``: a line for each file, as ``sha256sum -c`` reads them; some are ``known``."""
    return "".join(
        f"{known.get(path) or digest(path)}  {path.relative_to(layout.folder).as_posix()}\n"
        for path in layout.files
    )


def verify(
    root: Path, progress: Callable[[str], None] = lambda what: None
) -> tuple[dict[str, int], list[str]]:
    """Read all of the archive in ``root``.

    Returns:
        Split -> its number of pairs; and the faults, a line each that names the file: a split that the manifest has, or
        without a manifest one of the three, and the folder has not; a table that cannot be read, without a column, with
        too few or too many rows, with a value out of range or content that is not the other table's; a line of text too
        few; an image that is missing, broken, no PNG in RGB or of another size; images beyond the last row; a file that
        is not what ``SHA256SUMS`` says.

    Raises:
        UserError: there is no split in ``root``.
    """
    splits = [root / split for split in SPLITS if (root / split).is_dir()]
    if not splits:
        raise UserError(f"{root}: no archive; it must hold folders {', '.join(SPLITS)}, or some of them")
    counts: dict[str, int] = {}
    faults = list(_manifest_faults(root))
    first, size = None, (0, 0)
    for folder in splits:
        kind = kind_of(folder)
        if kind is None:
            names = " or ".join(" and ".join(f"latents_{v}.csv" for v in kind.views) for kind in Kind)
            faults.append(f"{folder}: holds neither {names}")
            continue
        tables = {view: _rows(folder, view, kind, faults) for view in kind.views}
        pairs = max(len(rows) for rows in tables.values())
        if pairs == 0:
            faults.append(f"{folder}: its tables have no row")
            continue
        counts[folder.name] = pairs
        layout = Layout(kind, folder, pairs)
        faults += _table_faults(layout, tables)
        if kind is Kind.image_text:
            faults += _text_faults(layout)
        for view in kind.folders:
            for index in range(pairs):
                path = layout.image(view, index)
                found = _image_size(path)
                if isinstance(found, str):
                    faults.append(found)
                    continue
                first, size = (first, size) if first else (path, found)
                if found != size:
                    faults.append(f"{path}: {found[0]} x {found[1]}, where {first} is {size[0]} x {size[1]}")
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


STYLES = {
    Kind.image_text: ("object_color", "object_xpos", 1.0),
    Kind.image_pairs: ("background_color", "object_zpos", 3.0),
}
"""Of each kind: the colour that may depend on a position, the position, and the thirds in a unit of it."""


def style_law(root: Path) -> str | None:
    """Whether style depends on content in the archive in ``root``: Multimodal3DIdent was made in two variants (Figures
    3 and 11 of Daunhawer et al., 2023), and its files do not say of which they are.

    Where it does, the hue lies in the third of [0, 1] that belongs to the position: in all rows of a split, where a
    third of them would by chance. ``None``: there is no table to tell by.
    """
    said = {}
    for split in SPLITS:
        kind = kind_of(root / split)
        if kind is None:
            continue
        hue, position, thirds = STYLES[kind]
        held = []
        for row in _rows(root / split, kind.views[0], kind, []):
            try:
                held.append(int(3 * float(row[hue])) == int(thirds * float(row[position])))
            except (KeyError, TypeError, ValueError, OverflowError):
                return None
        if not held:
            return None
        share = sum(held) / len(held)
        # Not all of them: a hue at a border may have been rounded when it was written.
        verb = "depends" if share > 0.99 else "may depend" if share > 0.5 else "does not depend"
        name, cause = hue.replace("_", " "), position.replace("_", " ")
        said[split] = (
            f"{name} {verb} on {cause}: {share:.2f} of the rows of {split} are in its third, by chance 0.33"
        )
    return "; ".join(said.values()) or None


def _text_of(path: Path) -> str:
    """The text of a file. Raises ``ValueError`` that names the file if it is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no UTF-8 text ({error})") from None


def _manifest_faults(root: Path) -> Iterator[str]:
    """What the manifest of an archive of ours says, and is not so."""
    path = root / MANIFEST
    if not path.exists():
        for split in SPLITS:
            if not (root / split).is_dir():
                yield f"{root / split}: missing; runs train on train, fit predictors on val and are scored on test"
        return
    try:
        found = json.loads(_text_of(path))
        pairs, sealed = dict(found["recipe"]["pairs"]), dict(found.get("splits_sha256", {}))
    except (ValueError, KeyError, TypeError) as error:
        yield f"{path}: not what mmcl data generate writes ({error})"
        return
    for split in pairs:
        if not (root / split).is_dir():
            yield f"{root / split}: missing; {path} has it"
    for split, expected in sealed.items():
        sums_file = root / split / "SHA256SUMS"
        if sums_file.is_file() and digest(sums_file) != expected:
            yield f"{sums_file}: is not what {path} says"


def _rows(folder: Path, view: str, kind: Kind, faults: list[str]) -> list[dict[str, str]]:
    """The rows of a table. A column that is missing, a cell that is missing, too many or out of range is a fault."""
    path = folder / f"latents_{view}.csv"
    columns = TEXT_COLUMNS if view == "text" else COLUMNS
    try:
        rows = list(csv.DictReader(_text_of(path).splitlines(), strict=True))
    except (ValueError, csv.Error) as error:
        faults.append(str(error) if isinstance(error, ValueError) else f"{path}: no table ({error})")
        return []
    lacking = [name for name in columns if rows and name not in rows[0]]
    if lacking:
        faults.append(f"{path}: has no column {', '.join(lacking)}")
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            faults.append(f"{path}: line {number} has another number of values than the header")
            continue
        for column in columns:
            if column in row and column != "object_color_name":
                classes = CLASSES.get(column) if kind is Kind.image_text or column == "object_shape" else None
                if allowed := _out_of_range(row[column], classes):
                    faults.append(f"{path}: line {number}, {column}={row[column]!r}: must be {allowed}")
    return rows


def _out_of_range(text: str, classes: int | None) -> str | None:
    """What ``text`` must be and is not; ``None``: it is."""
    if classes is not None:
        return None if text.isdigit() and int(text) < classes else f"a whole number from 0 to {classes - 1}"
    try:
        return None if 0 <= float(text) <= 1 else "a number in [0, 1]"
    except ValueError:
        return "a number in [0, 1]"


def _table_faults(layout: Layout, tables: dict[str, list[dict[str, str]]]) -> Iterator[str]:
    """Tables of different lengths, and content that is not the same in both."""
    for view, rows in tables.items():
        if len(rows) != layout.pairs:
            yield f"{layout.latents(view)}: {len(rows)} rows, where another table has {layout.pairs}"
    first, second = tables.values()
    for number, (a, b) in enumerate(zip(first, second, strict=False), 2):
        for column in ("object_shape", "object_xpos", "object_ypos", "object_zpos"):
            if a.get(column) != b.get(column):
                yield (
                    f"{layout.latents(layout.kind.views[1])}: line {number}, {column}={b.get(column)!r}, where the "
                    f"other table has {a.get(column)!r}"
                )


def _text_faults(layout: Layout) -> Iterator[str]:
    if not layout.text.is_file():
        yield f"{layout.text}: missing"
        return
    try:
        lines = _text_of(layout.text).removesuffix("\n").split("\n")
    except ValueError as error:
        yield str(error)
        return
    if len(lines) != layout.pairs:
        yield f"{layout.text}: {len(lines)} lines, where the tables have {layout.pairs} rows"
    for number, line in enumerate(lines, 1):
        if not line.strip():
            yield f"{layout.text}: line {number} is empty"


def _image_size(path: Path) -> tuple[int, int] | str:
    """Width and height, or what is wrong with it. Decodes all of it."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.verify()  # the sums of its parts
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            if image.mode != "RGB":
                return f"{path}: mode {image.mode}, must be RGB"
            return image.size if is_whole(path) else f"{path}: broken (cut at its end)"
    except FileNotFoundError:
        return f"{path}: missing"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"{path}: broken ({' '.join(str(error).split())})"


def _sum_faults(layout: Layout) -> Iterator[str]:
    """What differs from ``SHA256SUMS``, where there is one."""
    if not layout.sums.exists():
        return
    try:
        lines = _text_of(layout.sums).splitlines()
    except ValueError as error:
        yield str(error)
        return
    listed = set()
    for number, line in enumerate(lines, 1):
        expected, gap, name = line.partition("  ")
        if not gap or len(expected) != 64:
            yield f"{layout.sums}: line {number} is not 'SUM  FILE'"
            continue
        listed.add(name)
        path = layout.folder / name
        if path.is_file() and digest(path) != expected:
            yield f"{path}: is not what {layout.sums.name} says"
    known = {path.relative_to(layout.folder).as_posix() for path in layout.files}
    for name in sorted(known - listed):
        if (layout.folder / name).is_file():
            yield f"{layout.folder / name}: not in {layout.sums.name}"
    for name in sorted(listed - known):
        yield f"{layout.sums}: lists {name}, which the tables have no row for"
