"""Two ways of doing the same thing, in turn, and the ratio of their times; and the memory that one way takes.

Each script of this folder gives its rows to :func:`report`, which prints them and, under ``make bench``, hands them on
to ``run.py``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One line of the table: ``ours`` and ``other`` in milliseconds or megabytes."""

    what: str
    unit: str
    ours: float
    versus: str
    other: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


def times(*functions: Callable[[], object], repeats: int = 5, warmup: int = 1) -> list[list[float]]:
    """Milliseconds of each function, ``repeats`` times, called in turn so that a slow moment hits all of them."""
    for _ in range(warmup):
        for function in functions:
            function()
    taken: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for one, function in zip(taken, functions, strict=True):
            began = time.perf_counter()
            function()
            one.append(1e3 * (time.perf_counter() - began))
    return taken


def ratio(what: str, ours: list[float], versus: str, other: list[float], unit: str = "ms") -> Row:
    """The medians of paired measurements, and the median and range of ours / other, pair by pair."""
    ratios = sorted(a / b for a, b in zip(ours, other, strict=True))
    return Row(
        what,
        unit,
        statistics.median(ours),
        versus,
        statistics.median(other),
        statistics.median(ratios),
        ratios[0],
        ratios[-1],
    )


def _kilobytes(field: str) -> int:
    """``VmRSS`` (now) or ``VmHWM`` (at most so far) of this process. Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def _peak(prepare: Callable[[], Callable[[], object]], pipe: Connection) -> None:
    work = prepare()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far, the parent's included
    before = _kilobytes("VmRSS")
    work()
    pipe.send((_kilobytes("VmHWM") - before) / 1024)


def peak_memory(prepare: Callable[[], Callable[[], object]]) -> float:
    """Megabytes by which work raises the peak memory of a fresh process, over what ``prepare`` took to return it."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_peak, args=(prepare, there))
    process.start()
    there.close()
    try:
        megabytes: float = here.recv()
    finally:
        process.join()
    return megabytes


def report(*rows: Row) -> None:
    """Print the rows, and append them to the file that ``run.py`` names."""
    for row in rows:
        other = "" if row.other is None else f"   {row.versus} {row.other:.1f} {row.unit}"
        share = "" if row.ratio is None else f"   ratio {row.ratio:.3g}"
        if row.low is not None and row.high is not None:
            share += f" ({row.low:.3g} to {row.high:.3g})"
        print(f"{row.what}: {row.ours:.1f} {row.unit}{other or f'   {row.versus}'}{share}", flush=True)
    if "MMCL_BENCH_ROWS" in os.environ:
        with open(os.environ["MMCL_BENCH_ROWS"], "a") as file:
            file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)
