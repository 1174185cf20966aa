"""Shared parts of the tests: the command line in this process, and in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    def run_dirs(self, cwd: Path) -> list[Path]:
        return sorted(p.parent for p in cwd.glob("*/*/*/manifest.json"))


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys) -> Callable[..., Result]:
    """Call ``train.py``, ``evaluate.py`` or ``mmcl`` in this process, in an empty folder."""
    from mmcl import cli as module
    from mmcl import commands

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def call(command: str, *arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", [command, *arguments])
        code = 0
        try:
            {"train.py": module.train, "evaluate.py": module.evaluate, "mmcl": commands.main}[command]()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Callable[..., Path]]:
    """``small_disk("64k")`` mounts a real file system of that size at ``tmp_path / "disk"``."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size: str, *options: str) -> Path:
        flags = ",".join([f"size={size}", *options])
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", flags, "tmpfs", folder],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            assert "CI" not in os.environ, f"CI must be able to mount a tmpfs: {made.stderr}"
            pytest.skip("mounting a tmpfs needs privileges")
        return folder

    yield mount
    subprocess.run(["umount", folder], capture_output=True, check=False)


def process(*arguments: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """Start ``python <arguments>`` with this checkout's package."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
