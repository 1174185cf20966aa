"""Pickles of arrays, opened without running what is in them."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mmcl.errors import UserError

_MULTIARRAY = {
    "_reconstruct": np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    "scalar": np._core.multiarray.scalar,  # type: ignore[attr-defined]
}
_FROM_BUFFER = {"_frombuffer": np._core.numeric._frombuffer}  # type: ignore[attr-defined]


def _latin_bytes(text: str, encoding: str) -> bytes:
    """What Python 3 puts for bytes in protocols that have none, and nothing else."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"a text in the encoding {encoding!r}")
    return text.encode("latin1")


_KNOWN: dict[str, dict[str, Any]] = {
    "numpy": {"ndarray": np.ndarray, "dtype": np.dtype},
    "numpy.core.multiarray": _MULTIARRAY,
    "numpy._core.multiarray": _MULTIARRAY,
    "numpy.core.numeric": _FROM_BUFFER,
    "numpy._core.numeric": _FROM_BUFFER,
    "_codecs": {"encode": _latin_bytes},
}


class _Arrays(pickle.Unpickler):
    """Makes numbers, texts, lists, dicts and NumPy's arrays; a pickle that names anything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module][name]
        except KeyError:
            raise pickle.UnpicklingError(f"it wants {module}.{name}, which is no array") from None


def load_pickle(path: Path, *, trusted: bool) -> Any:
    """What the pickle holds.

    Args:
        path: the file.
        trusted: whether somebody said that it may be opened at all; a warning is printed then. What it can make is
            limited to arrays either way.

    Raises:
        UserError: no such file, a damaged one, one that is not ``trusted``, or that names other things than arrays.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if not trusted:
        raise UserError(
            f"{path}: is a pickle, a format that can run any program when it is opened; add --pickle if you trust who "
            "made it (numbers, texts and arrays alone are made of it then, once: what is written has no pickle)"
        )
    print(f"warning: {path}: opening a pickle, for its arrays alone", file=sys.stderr)
    try:
        with path.open("rb") as file:
            return _Arrays(file, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: not read ({error}); a set's published file has arrays alone") from None
    except (
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        KeyError,
        MemoryError,
        OverflowError,
    ) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: damaged, or no pickle ({text}); get it again") from None
