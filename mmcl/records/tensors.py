"""Tensors on disk: written atomically, hashed, and read without running code."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from mmcl.records.files import write_bytes


def save(path: Path, value: Any) -> str:
    """Write tensors and builtins to ``path``; return the file's SHA-256."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    write_bytes(path, buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def load(path: Path) -> Any:
    """Read what :func:`save` wrote, or any checkpoint of tensors and builtins, onto the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut short, corrupt, or holds code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises many kinds for a bad archive
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: cannot be read as tensors ({first[:120]})") from None


def file_sha256(path: Path) -> str:
    """What :func:`save` returned for the file at ``path``, if it is still the same."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
