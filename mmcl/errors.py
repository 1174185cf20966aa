"""Errors that a person can act on: one line, with the value, the place and the remedy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn


class UserError(Exception):
    """Something outside the program is wrong. Its message is the one line that the person sees."""


def fail(message: str, code: int = 1) -> NoReturn:
    """End with one line on standard error."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(code)


def describe(error: BaseException) -> str:
    """One line: what went wrong, and what to do about it."""
    import errno

    text = " ".join(str(error).split()) or type(error).__name__
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left" in text or "file write failed" in text:
        return f"no space left on the disk ({text}); free some, and the same command goes on from its last checkpoint"
    if isinstance(error, UserError | ValueError | OSError) or type(error).__module__.startswith("mmcl"):
        return text
    return f"{type(error).__name__}: {text}"


def relative(path: Path) -> Path:
    path = path.resolve()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
