"""``manifest.json``: what a run is, where it stands, and where it came from."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmcl.records.files import write_json
from mmcl.records.manifest_fields import fault_of
from mmcl.records.snapshot import source_of

SCHEMA_VERSION = 1
RUNNING, COMPLETED, FAILED, INTERRUPTED = "RUNNING", "COMPLETED", "FAILED", "INTERRUPTED"
PACKAGES = (
    "mmcl",
    "torch",
    "lightning",
    "hydra-core",
    "omegaconf",
    "numpy",
    "scikit-learn",
)


def code_states(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The git states of the code that made a run: of its attempts in order, then of its evaluations.

    An attempt outside a repository has an empty one; older versions recorded none of evaluations.
    """
    attempts = [attempt.get("git") or {} for attempt in manifest.get("attempts") or []]
    return attempts + [made["git"] for made in (manifest.get("evaluations") or {}).values() if "git" in made]


class Manifest:
    """The manifest of a run directory, kept on disk after every change.

    Args:
        run_dir: the run's directory.
        values: its content; see ``docs/architecture.md`` for the fields.
    """

    def __init__(self, run_dir: Path, values: dict[str, Any]) -> None:
        self.path = run_dir / "manifest.json"
        self.values = values

    @classmethod
    def read(cls, run_dir: Path) -> Manifest | None:
        """The manifest of ``run_dir``, or ``None`` where no run has begun.

        Raises:
            ValueError: the file is not a manifest that this version can read.
        """
        path = run_dir / "manifest.json"
        if not path.exists():
            return None
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{path}: not valid JSON ({error}); delete the run directory and run again"
            ) from None
        version = values.get("schema_version") if isinstance(values, dict) else None
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"{path}: schema_version={version!r}: must be {SCHEMA_VERSION}; "
                "it was written by another version of mmcl, so evaluate it there or train again"
            )
        if fault := fault_of(values):
            raise ValueError(
                f"{path}: {fault}; copy it from the original run, or delete the run directory and run again"
            )
        return cls(run_dir, values)

    @property
    def status(self) -> str:
        return str(self.values["status"])

    def update(self, **values: Any) -> None:
        """Set fields and write the file."""
        self.values.update(values)
        write_json(self.path, self.values)


def now() -> str:
    """This moment in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_state(folder: Path) -> dict[str, Any]:
    """Commit of the code in ``folder`` and whether any file differs from it; empty outside a repository.

    A file that git does not track counts as a difference: it may be a part that the run used. Of a snapshot it is the
    state of what was copied.
    """
    copied = source_of(folder)
    if copied is not None:
        return copied

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain")),
        }
    except (OSError, subprocess.SubprocessError):
        return {}


def peak_memory_bytes() -> int:
    """The largest resident size that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
