"""Pickles of arrays, opened without running what is in them.

A pickle is a program that calls what it names. Here all names stand for parts of this module, which make plain arrays
of bytes that are as long as the array needs: neither NumPy's own constructors, which can be given pointers, nor
anything else is within its reach.
"""

from __future__ import annotations

import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmcl.errors import UserError


class _Dtype:
    """A type of numbers, texts or Python objects, as ``numpy.dtype(name, ...)`` and its state say."""

    __slots__ = ("name", "order")

    def __init__(self, name: Any, *_: Any) -> None:
        if not isinstance(name, str) or not re.fullmatch(r"[<>=|]?([biufSU]\d{1,5}|O8?)", name):
            raise pickle.UnpicklingError(f"a type {name!r}")
        self.name, self.order = name.lstrip("<>=|"), name[0] if name[0] in "<>" else "="

    def __setstate__(self, state: Any) -> None:
        _, order, *structure = state
        if any(part is not None for part in structure[:3]):
            raise pickle.UnpicklingError("a type of several fields")
        if order in ("<", ">"):
            self.order = order

    def real(self) -> np.dtype:
        return np.dtype(object) if self.name.startswith("O") else np.dtype(self.order + self.name)


class _Array:
    """An array, once its state is known."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        *_, shape, dtype, fortran, data = state
        self.value = _filled(data, dtype, shape, "F" if fortran else "C")


def _filled(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("an array without a type")
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise pickle.UnpicklingError(f"an array of shape {shape!r}")
    real = dtype.real()
    if real.hasobject:
        if not isinstance(data, list):
            raise pickle.UnpicklingError("an array of objects that are none")
        found = np.empty(len(data), dtype=object)
        for k, value in enumerate(data):
            found[k] = value
    else:
        raw = data.encode("latin1") if isinstance(data, str) else bytes(data)  # Python 2 wrote texts
        found = np.frombuffer(raw, dtype=real).copy() if raw else np.empty(0, dtype=real)
    return found.reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: Any, data: Any = b"") -> Any:
    return _filled(data, dtype, (), "C")[()]


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> np.ndarray:
    return _filled(data, dtype, shape, order)


def _latin_bytes(text: Any, encoding: Any) -> bytes:
    """What Python 3 puts for bytes in protocols that have none."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"a text in the encoding {encoding!r}")
    return text.encode("latin1")


class _Named:
    """What a name stands for: it can be called, and nothing else be done to it."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setstate__(self, _: Any) -> None:
        raise pickle.UnpicklingError("it changes what a name stands for")


def _refused(*_: Any) -> Any:
    raise pickle.UnpicklingError("it makes an array of memory that is not its own")


_MULTIARRAY = {"_reconstruct": _Named(lambda *_: _Array()), "scalar": _Named(_scalar)}
_BUILTINS = {"bytes": _Named(lambda: b"")}  # what old protocols write for no bytes
_NUMERIC = {"_frombuffer": _Named(_from_buffer)}
_KNOWN = {
    "numpy": {"ndarray": _Named(_refused), "dtype": _Named(_Dtype)},
    "numpy.core.multiarray": _MULTIARRAY,
    "numpy._core.multiarray": _MULTIARRAY,
    "numpy.core.numeric": _NUMERIC,
    "numpy._core.numeric": _NUMERIC,
    "__builtin__": _BUILTINS,
    "builtins": _BUILTINS,
    "_codecs": {"encode": _Named(_latin_bytes)},
}


class _Arrays(pickle.Unpickler):
    """Makes numbers, texts, lists, dicts and arrays; a pickle that names anything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module][name]
        except KeyError:
            raise pickle.UnpicklingError(f"it wants {module}.{name}, which is no array") from None


def _plain(value: Any, inside: frozenset[int] = frozenset()) -> Any:
    """``value`` with arrays for what stands for them."""
    if isinstance(value, (_Dtype, _Named)):
        raise pickle.UnpicklingError("a type where there should be an array")
    objects = isinstance(value, np.ndarray) and value.dtype.hasobject
    if not objects and not isinstance(value, (dict, list, tuple, _Array)):
        return value
    if id(value) in inside:
        raise pickle.UnpicklingError("something that holds itself")
    inside = inside | {id(value)}
    if isinstance(value, dict):
        return {key: _plain(entry, inside) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry, inside) for entry in value]
    if isinstance(value, _Array):
        return _plain(value.value, inside)
    found = np.empty(value.shape, dtype=object)
    for place in np.ndindex(value.shape):
        found[place] = _plain(value[place], inside)
    return found


def load_pickle(path: Path, *, trusted: bool) -> Any:
    """What the pickle holds; tuples as lists.

    Args:
        path: the file.
        trusted: whether somebody said that it may be opened at all; a warning is printed then. What it can make is
            limited to arrays either way.

    Raises:
        UserError: no such file, a damaged one, one that is not ``trusted``, or that names other things than arrays.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if not trusted:
        raise UserError(
            f"{path}: is a pickle, a format that can run any program when it is opened; add --pickle if you trust who "
            "made it (numbers, texts and arrays alone are made of it then, once: what is written has no pickle)"
        )
    print(f"warning: {path}: opening a pickle, for its arrays alone", file=sys.stderr)
    try:
        with path.open("rb") as file:
            return _plain(_Arrays(file, encoding="latin1").load())
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: not read ({error}); a set's published file has arrays alone") from None
    except (
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: damaged, or no pickle ({text}); get it again") from None
