"""Two ways of doing the same thing, in turn, and the ratio of their times; and the memory that one way takes.

Each script of this folder gives its rows to :func:`report`, which prints them and, under ``make bench``, hands them on
to ``run.py``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass


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


def _peak(function: Callable[[], Callable[[], object]], pipe: multiprocessing.connection.Connection) -> None:
    work = function()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    pipe.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


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
        share = "" if row.ratio is None else f"   ratio {row.ratio:.3f} ({row.low:.3f} to {row.high:.3f})"
        print(f"{row.what}: {row.ours:.1f} {row.unit}{other or f'   {row.versus}'}{share}", flush=True)
    if "MMCL_BENCH_ROWS" in os.environ:
        with open(os.environ["MMCL_BENCH_ROWS"], "a") as file:
            file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)
