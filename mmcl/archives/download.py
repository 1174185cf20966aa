"""An archive from a server: on from where it was cut, held to its size and sum, and unpacked whole or not at all."""

from __future__ import annotations

import errno
import http.client
import json
import lzma
import shutil
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from mmcl.archives.layout import SPLITS
from mmcl.archives.verify import digest
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

Progress = Callable[[int, "int | None"], None]


@dataclass(frozen=True)
class Place:
    """Where a download for ``folder`` lies until it is unpacked: in ``folder.download`` beside it."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.download")

    @property
    def file(self) -> Path:
        return self.home / "archive"

    @property
    def part(self) -> Path:
        return self.home / "archive.part"

    @property
    def record(self) -> Path:
        """``url`` of what lies here, ``etag``, ``modified`` and ``total`` as its server says, and once it was unpacked
        its ``sha256``."""
        return self.home / "source.json"

    def read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.record.read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise UserError(f"{self.record}: no JSON ({error}); remove {self.home} to begin again") from None
        if not isinstance(found, dict):
            raise UserError(
                f"{self.record}: not what mmcl data download writes; remove {self.home} to begin again"
            )
        return found


def download(
    source: Source, folder: Path, progress: Progress = lambda done, total: None, pause: float = 1.0
) -> Path:
    """The tar file at ``source``, whole and with the right sum, beside ``folder``; :func:`extract` makes that of it.

    What has come is kept in ``folder.download``; the same call goes on from there, or begins again where the server has
    another file by now.

    Args:
        source: where from. Without a known sum the file is held to that of the first that could be unpacked.
        folder: the archive's to be.
        progress: told how many bytes have come, and of how many if the server says.
        pause: seconds before another attempt, which double.

    Returns:
        The file.

    Raises:
        UserError: no connection, or the server's refusal; a disk without room for it; a file that is longer or shorter
            than the server said, or has another sum: that one is deleted; a download of another URL lies there.
        ValueError: a checksum that is none.
    """
    place = Place(folder)
    there = place.read()
    if there.get("url", source.url) != source.url:
        raise UserError(
            f"{place.home}: holds what came from {there['url']}; remove it, or name another folder"
        )
    algorithm, expected, said_by = (
        "sha256",
        there.get("sha256"),
        f"as {place.record} has it from the first time",
    )
    if source.checksum is not None:
        (algorithm, expected), said_by = _parsed(source.checksum), "as you gave it"
    place.home.mkdir(parents=True, exist_ok=True)
    if not place.file.exists():
        _fetch(source.url, place, progress, pause)
        fresh = place.part
    else:
        fresh = place.file
    found = digest(fresh, algorithm)
    if expected and found != expected:
        fresh.unlink()
        raise UserError(
            f"{source.url}: its {algorithm} is {found}, must be {expected} ({said_by}); what came was deleted: try "
            "again, and if it comes so again, ask who gave the sum"
        )
    fresh.replace(place.file)
    return place.file


def _parsed(checksum: str) -> tuple[str, str]:
    """Algorithm and sum."""
    algorithm, _, value = checksum.lower().partition(":")
    length = {"sha256": 64, "md5": 32}.get(algorithm)
    fits = len(value) == length and set(value) <= set("0123456789abcdef")
    require(fits, "checksum", checksum, "sha256:SUM or md5:SUM, of 64 or 32 hexadecimal digits")
    return algorithm, value


def _fetch(url: str, place: Place, progress: Progress, pause: float) -> None:
    """Bring ``place.part`` to the whole file, in as many connections as it takes."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"{url}: must begin with http:// or https://")

    def size() -> int:
        return place.part.stat().st_size if place.part.exists() else 0

    failures, waited, fault = 0, pause, ""
    while failures < ATTEMPTS:
        before = size()
        try:
            if _fetch_once(url, place, progress):
                return
            fault = "the connection was cut"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing comes after the part: it is whole, or of another file
                if error.headers.get("Content-Range") == f"bytes */{before}":
                    return
                place.part.unlink(missing_ok=True)
            elif error.code < 500 and error.code not in (408, 429):
                raise UserError(
                    f"{url}: the server says {error.code} {error.reason}; check the address"
                ) from error
            fault = f"the server says {error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            # (a disk's errors are no connection's)
            if isinstance(error, OSError) and error.errno in (
                errno.ENOSPC,
                errno.EDQUOT,
                errno.EACCES,
                errno.EROFS,
            ):
                raise
            fault = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
        failures, waited = (0, pause) if size() > before else (failures + 1, 2 * waited)
        time.sleep(waited)
    kept = "what has come is kept, and the same command goes on from there" if size() else "nothing has come"
    raise UserError(f"{url}: {fault}, {ATTEMPTS} times; {kept}")


def _fetch_once(url: str, place: Place, progress: Progress) -> bool:
    """One connection; whether the file is whole now."""
    done = place.part.stat().st_size if place.part.exists() else 0
    known = place.read()
    same = str(known.get("etag") or known.get("modified") or "")
    if done and not same:  # nothing says that what is there now is what was begun
        done = 0
    headers = {"Range": f"bytes={done}-", "If-Range": same} if done else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
        goes_on = answer.status == 206
        done = done if goes_on else 0
        total = _total(answer, done)
        etag = answer.headers.get("ETag")
        about = {
            "etag": None if etag is None or etag.startswith("W/") else etag,  # (a weak one is not for parts)
            "modified": answer.headers.get("Last-Modified"),
            "total": total,
        }
        if total is not None:
            _check_room(place.home, total - done, url)
        write_json(place.record, {**known, "url": url, **about})
        whole = True
        with place.part.open("ab" if goes_on else "wb") as file:
            progress(done, total)
            while True:
                try:
                    chunk = answer.read(CHUNK)
                except http.client.IncompleteRead as error:
                    chunk, whole = error.partial, False
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
                if not chunk or not whole:
                    break
    if total is not None and done > total:
        place.part.unlink()
        raise UserError(f"{url}: {done} bytes came, where the server said {total}; they were deleted")
    return whole and (total is None or done == total)


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
    left out. Where ``archive`` was downloaded for ``root``, its SHA-256 is kept now, to hold later downloads to.

    Raises:
        UserError: ``root`` is there; a damaged file; a member that would lie outside (an absolute path, or ..), is a
            link or no file, or is in another's way; too little room. Nothing is left of it.
    """
    if root.exists():
        raise UserError(f"{root}: is there already; remove it to unpack {archive} again")
    beside = root.with_name(f".{root.name}.unpacking")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            _check_members(archive, members)
            _check_room(root.parent, sum(member.size for member in members), str(archive))
            beside.mkdir()
            for number, member in enumerate(members, 1):
                target = beside / member.name
                (target if member.isdir() else target.parent).mkdir(parents=True, exist_ok=True)
                if member.isfile():
                    content = tar.extractfile(member)
                    assert content is not None
                    _copy(content, target)
                if number % 500 == 0:
                    progress(number)
            _check_end(tar)
        _archive_folder(archive, beside).rename(root)
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        text = " ".join(str(error).split())
        raise UserError(f"{archive}: damaged ({text}); remove it, and download it again") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    place = Place(root)
    if archive == place.file:
        write_json(place.record, {**place.read(), "sha256": digest(archive)})


def _copy(content: IO[bytes], target: Path) -> None:
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file, CHUNK)


def _check_end(tar: tarfile.TarFile) -> None:
    """Read what ``tarfile`` does not: the block of zeros at the end, without which the file was cut, and whatever comes
    then, at whose end the sum of a compressed file is held against its content."""
    file = tar.fileobj
    assert file is not None
    file.seek(tar.offset)
    if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it ends before its end")
    while file.read(CHUNK):
        pass


def _check_members(archive: Path, members: list[tarfile.TarInfo]) -> None:
    files: set[PurePosixPath] = set()
    folders: set[PurePosixPath] = set()
    for member in members:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
            raise UserError(
                f"{archive}: its member {member.name!r} would lie outside of the folder; nothing was unpacked"
            )
        if not (member.isfile() or member.isdir()):
            raise UserError(
                f"{archive}: its member {member.name!r} is a link or no file; nothing was unpacked"
            )
        (folders if member.isdir() else files).add(path)
        folders.update(path.parents)
    for path in files & folders:
        raise UserError(f"{archive}: its member {str(path)!r} is a file and a folder; nothing was unpacked")


def _archive_folder(archive: Path, folder: Path) -> Path:
    """Where the splits lie: in ``folder`` or in the single folder in it."""
    inside = [path for path in folder.iterdir() if path.is_dir()]
    for place in (folder, *(inside if len(inside) == 1 else [])):
        if any((place / split).is_dir() for split in SPLITS):
            return place
    raise UserError(
        f"{archive}: holds no folder {', '.join(SPLITS)}; it is another archive than this command is for"
    )
