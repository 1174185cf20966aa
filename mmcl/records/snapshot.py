"""A copy of the code that a job runs, taken when it is submitted, so that a queued job runs what was submitted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

PARTS = ("train.py", "evaluate.py", "pyproject.toml", "mmcl", "conf", "hydra_plugins")
SOURCE = "SOURCE.json"
"""Beside the copy: the git state of what was copied."""


def snapshot(source: Path, folder: Path, git: dict[str, Any]) -> Path:
    """Copy the code at ``source`` into a folder of ``folder`` named by its content; return that folder.

    What git ignores is left out. The same code is copied once.

    Args:
        source: the folder of ``train.py``.
        folder: where copies are kept; made if it is not there.
        git: what :func:`~mmcl.records.manifest.git_state` says of the source.
    """
    files = _files(source)
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.as_posix()}\0".encode() + (source / file).read_bytes() + b"\0")
    copy = folder / digest.hexdigest()[:10]
    if copy.exists():
        return copy
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".copying-"))
    try:
        for file in files:
            (temporary / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / file, temporary / file)
        (temporary / SOURCE).write_text(json.dumps(git), encoding="utf-8")
        temporary.chmod(0o755)
        os.replace(temporary, copy)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if copy.exists():  # another submission was first
            return copy
        raise
    return copy


def _files(source: Path) -> list[Path]:
    """The code's files below ``source``, relative to it, in order."""
    listing = ["git", "-C", str(source), "ls-files", "-co", "--exclude-standard", "-z", "--", *PARTS]
    try:
        names = subprocess.run(listing, capture_output=True, check=True, text=True, timeout=60).stdout
        found = [Path(name) for name in names.split("\0") if name]
    except (OSError, subprocess.SubprocessError):
        roots = [source / part for part in PARTS]
        found = [
            p.relative_to(source) for root in roots for p in (root.rglob("*") if root.is_dir() else [root])
        ]
        found = [p for p in found if "__pycache__" not in p.parts]
    return sorted({p for p in found if (source / p).is_file()})


def source_of(folder: Path) -> dict[str, Any] | None:
    """The git state that the snapshot around ``folder`` was taken of; ``None`` outside a snapshot."""
    path = folder.parent / SOURCE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
