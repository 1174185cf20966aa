"""An archive from a server: on from where it was cut, held to its size and sum, and unpacked whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import json
import lzma
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from mmcl.archives.layout import SPLITS
from mmcl.checks import require
from mmcl.errors import UserError
from mmcl.records.files import write_json

CHUNK = 2**20
ATTEMPTS = 5
"""In a row that bring not one byte; then it is the person's turn."""

TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as cut."""


@dataclass(frozen=True)
class Source:
    """Where an archive is: its URL, and its sum, ``sha256:...`` or ``md5:...``, where it is known."""

    url: str
    checksum: str | None = None


SOURCES = {"multimodal3dident": Source("https://zenodo.org/records/7678231/files/m3di.tar.gz")}
"""By name. The published image/text set: 125,000 + 10,000 + 10,000 pairs. (We had no network to read its sum.)"""


def download(
    source: Source,
    path: Path,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
    pause: float = 1.0,
) -> None:
    """The file at ``source`` as ``path``, whole.

    What has come is kept in ``path.part``; the same call goes on from there. Without a known sum, the first download's
    SHA-256 is written to ``path.sum.json``, and a later one is held to it.

    Args:
        source: where from.
        path: the file, in a folder that is there.
        progress: told how many bytes have come, and of how many if the server says.
        pause: seconds before another attempt, which double.

    Raises:
        UserError: no connection, or the server's refusal; a disk without room for it; a file that is longer or shorter
            than the server said, or has another sum: that one is deleted.
        ValueError: a checksum that is none.
    """
    algorithm, _, expected = (source.checksum or "sha256:").partition(":")
    length = {"sha256": 64, "md5": 32}.get(algorithm, 0)
    hexadecimal = set(expected.lower()) <= set("0123456789abcdef")
    require(length > 0 and hexadecimal and len(expected) in (0, length), "checksum", source.checksum,
            "sha256:SUM or md5:SUM, of 64 or 32 hexadecimal digits")  # fmt: skip
    record = path.with_name(path.name + ".sum.json")
    if not expected and record.exists():
        held = json.loads(record.read_text())
        algorithm, expected = "sha256", held["sha256"]
    if not path.exists():
        part = path.with_name(path.name + ".part")
        _fetch(source.url, part, progress, pause)
        found = _sum(part, algorithm)
        if expected and found != expected.lower():
            part.unlink()
            raise UserError(
                f"{source.url}: its {algorithm} is {found}, must be {expected}; what came was deleted: try again, and "
                "if it comes so again, ask the one who gave the sum"
            )
        if not expected:
            write_json(record, {"url": source.url, "sha256": found})
        part.replace(path)
    elif expected and (found := _sum(path, algorithm)) != expected.lower():
        raise UserError(
            f"{path}: its {algorithm} is {found}, must be {expected}; remove it to download it again"
        )


def _sum(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _fetch(url: str, part: Path, progress: Callable[[int, int | None], None], pause: float) -> None:
    """Bring ``part`` to the whole file, in as many connections as it takes."""
    failures, waited, fault = 0, pause, ""
    while failures < ATTEMPTS:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _fetch_once(url, part, progress):
                return
            fault = "the connection was cut"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part is not a beginning of what is there now
                part.unlink(missing_ok=True)
            elif error.code < 500 and error.code not in (408, 429):
                raise UserError(
                    f"{url}: the server says {error.code} {error.reason}; check the address"
                ) from error
            fault = f"the server says {error.code} {error.reason}"
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            fault = str(getattr(error, "reason", error)) or type(error).__name__
        after = part.stat().st_size if part.exists() else 0
        failures, waited = (0, pause) if after > before else (failures + 1, 2 * waited)
        time.sleep(waited)
    raise UserError(
        f"{url}: {fault}, {ATTEMPTS} times; what has come is kept, and the same command goes on from there"
    )


def _fetch_once(url: str, part: Path, progress: Callable[[int, int | None], None]) -> bool:
    """One connection; whether the file is whole now."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        goes_on = answer.status == 206
        if not goes_on:
            done = 0
        total = _total(answer, done)
        if total is not None:
            _check_room(part.parent, total - done, url)
        with part.open("ab" if goes_on else "wb") as file:
            progress(done, total)
            while True:
                try:
                    chunk = answer.read(CHUNK)
                except http.client.IncompleteRead as error:
                    chunk = error.partial
                    file.write(chunk)
                    done += len(chunk)
                    break
                if not chunk:
                    break
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
    if total is not None and done > total:
        part.unlink()
        raise UserError(f"{url}: {done} bytes came, where the server said {total}; they were deleted")
    return total is None or done == total


def _total(answer: http.client.HTTPResponse, done: int) -> int | None:
    """The size of the whole file, as the server says."""
    if content_range := answer.headers.get("Content-Range"):  # bytes 10-99/100
        start, _, total = content_range.removeprefix("bytes ").partition("/")
        if not start.startswith(f"{done}-"):
            raise http.client.HTTPException(f"asked for bytes from {done} on, got {content_range}")
        return int(total) if total.isdigit() else None
    length = answer.headers.get("Content-Length")
    return int(length) + done if length and length.isdigit() else None


def _check_room(folder: Path, needed: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{what}: needs {needed / 2**30:.2f} GiB in {folder}, where {free / 2**30:.2f} are free; free some, or "
            "name another folder"
        )


def extract(archive: Path, root: Path, progress: Callable[[int], None] = lambda files: None) -> None:
    """Unpack a tar file (.tar, .tar.gz, .tar.xz, ...) as ``root``, which must not be there.

    All names are looked at before the first file is written. A single folder about ``train``, ``val`` and ``test`` is
    left out.

    Raises:
        UserError: ``root`` is there; a damaged file; a member that would lie outside (an absolute path, or ..), is a
            link or no file; too little room. Nothing is left of it.
    """
    if root.exists():
        raise UserError(f"{root}: is there already; remove it to unpack {archive} again")
    beside = root.with_name(f".{root.name}.unpacking")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            for member in members:
                _check_member(archive, member)
            _check_room(root.parent, sum(member.size for member in members), str(archive))
            beside.mkdir()
            for number, member in enumerate(members, 1):
                target = beside / member.name
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(member)
                assert content is not None
                _copy(content, target)
                if number % 500 == 0:
                    progress(number)
        _archive_folder(archive, beside).rename(root)
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(f"{archive}: damaged ({error}); remove it, and download it again") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _copy(content: IO[bytes], target: Path) -> None:
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file, CHUNK)


def _check_member(archive: Path, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise UserError(
            f"{archive}: its member {member.name!r} would lie outside of the folder; nothing was unpacked"
        )
    if not (member.isfile() or member.isdir()):
        raise UserError(f"{archive}: its member {member.name!r} is a link or no file; nothing was unpacked")


def _archive_folder(archive: Path, folder: Path) -> Path:
    """Where the splits lie: in ``folder`` or in the single folder in it."""
    inside = [path for path in folder.iterdir() if path.is_dir()]
    for place in (folder, *(inside if len(inside) == 1 else [])):
        if any((place / split).is_dir() for split in SPLITS):
            return place
    raise UserError(
        f"{archive}: holds no folder {', '.join(SPLITS)}; it is another archive than this command is for"
    )
