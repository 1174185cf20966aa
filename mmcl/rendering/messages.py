"""Messages between two processes over a pipe: named values as JSON, and named arrays as their bytes.

A message is ``HEAD`` (a mark and the length of the JSON), the JSON, and the arrays' bytes in the order in which the
JSON lists them.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

MARK = b"mmcl"
HEAD = struct.Struct("<4sI")
DTYPES = ("uint8", "int32", "float32")


@dataclass(frozen=True)
class Message:
    """``values``: whatever JSON can say; ``arrays``: of one of ``DTYPES``."""

    values: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def send(stream: BinaryIO, message: Message) -> None:
    """Write a message and flush it.

    Raises:
        ValueError: an array of another dtype, or a value that JSON has no form for (NaN among them).
        BrokenPipeError: nobody reads any more.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in message.arrays.items()}
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise ValueError(f"{name}: dtype {array.dtype} is none of {', '.join(DTYPES)}")
    listed = [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()]
    text = json.dumps({"values": message.values, "arrays": listed}, allow_nan=False).encode()
    stream.write(HEAD.pack(MARK, len(text)) + text)
    for array in arrays.values():
        stream.write(array.tobytes())
    stream.flush()


def receive(stream: BinaryIO) -> Message | None:
    """The next message; ``None`` where the stream ends before one.

    Raises ``ValueError`` for bytes that are no message, and for an end within one.
    """
    head = stream.read(HEAD.size)
    if not head:
        return None
    if len(head) < HEAD.size:
        raise ValueError("the stream ends within a message")
    mark, length = HEAD.unpack(head)
    if mark != MARK:
        raise ValueError(f"no message begins with {head!r}")
    found = json.loads(_exactly(stream, length))
    arrays = {name: _array(stream, dtype, shape) for name, dtype, shape in found["arrays"]}
    return Message(found["values"], arrays)


def _array(stream: BinaryIO, dtype: str, shape: list[int]) -> np.ndarray:
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype} is none of {', '.join(DTYPES)}")
    data = _exactly(stream, math.prod(shape) * np.dtype(dtype).itemsize)
    return np.frombuffer(data, dtype).reshape(shape)


def _exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)  # (a buffered stream reads on until it has them all)
    if len(data) < length:
        raise ValueError("the stream ends within a message")
    return data
