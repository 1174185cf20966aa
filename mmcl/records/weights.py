"""The weights that a run has trained, as its folder holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcl.errors import UserError
from mmcl.records import tensors
from mmcl.records.manifest import Manifest

NAME = "encoders.pt"

REMEDY = "copy the file of the original run, or delete the run directory and train again"


def read_weights(run_dir: Path, manifest: Manifest) -> dict[str, Any]:
    """State dicts of ``encoders`` and ``objective``. Raises ``UserError`` for a file that is not what was trained."""
    path = run_dir / NAME
    try:
        state = tensors.load(path)
        if tensors.file_sha256(path) != manifest.values["encoders_sha256"]:
            raise UserError(f"{path}: is not what this run trained (its hash differs); {REMEDY}")
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {REMEDY}") from None
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise unreadable(run_dir, error) from None
    return state


def unreadable(run_dir: Path, error: Exception) -> UserError:
    """What a person is told of weights that are no weights, or do not fit."""
    return UserError(
        f"{run_dir / NAME}: damaged or of another encoder ({str(error).splitlines()[0]}); {REMEDY}"
    )
