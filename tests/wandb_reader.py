"""Reads a run back from the ``.wandb`` file of an offline run: LevelDB's log format, of W&B's protobuf records."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = 32768
HEADER = 7
FULL, FIRST, LAST = 1, 2, 4


@dataclass
class WandbRun:
    run: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    def curve(self, name: str) -> dict[int, float]:
        return {row["_step"]: row[name] for row in self.history if name in row}


def records(path: Path) -> Iterator[Any]:
    from wandb.proto import wandb_internal_pb2 as pb

    data = path.read_bytes()
    magic, _, _ = struct.unpack("<4sHB", data[:HEADER])
    assert magic == b":W&B", magic
    at, whole = HEADER, b""
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        checksum, size, kind = struct.unpack("<IHB", data[at : at + HEADER])
        if kind == 0 and size == 0:
            at += left
            continue
        part = data[at + HEADER : at + HEADER + size]
        if len(part) < size:
            return  # still being written, or cut short
        assert checksum == zlib.crc32(part, zlib.crc32(bytes([kind])))
        at += HEADER + size
        whole = part if kind in (FULL, FIRST) else whole + part
        if kind in (FULL, LAST):
            record = pb.Record()
            record.ParseFromString(whole)
            yield record


def _items(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def read(path: Path) -> WandbRun:
    found = WandbRun()
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            found.run = {
                "id": run.run_id,
                "project": run.project,
                "name": run.display_name,
                "group": run.run_group,
                "job_type": run.job_type,
                "tags": list(run.tags),
            }
            found.config.update(_items(run.config.update))
        elif kind == "config":
            found.config.update(_items(record.config.update))
        elif kind == "history":
            found.history.append(_items(record.history.item))
        elif kind == "summary":
            found.summary.update(_items(record.summary.update))
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def read_all(folder: Path) -> list[WandbRun]:
    """The offline runs under a run's ``wandb`` folder, oldest first."""
    return [read(path) for path in sorted(folder.glob("offline-run-*/*.wandb"))]
