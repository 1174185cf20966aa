"""Time two ways of doing the same thing, alternately in one process, and print the ratio."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def compare(
    name: str, ours: Callable[[], object], other: Callable[[], object], label: str, repeats: int = 7
) -> None:
    """Print medians of ``ours`` and ``other`` and how many times longer ``other`` takes.

    The two alternate, so that a slower moment of the machine hits both.
    """
    ours()
    other()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for taken, function in zip(times, (ours, other), strict=True):
            began = time.perf_counter()
            function()
            taken.append(time.perf_counter() - began)
    a, b = (statistics.median(t) for t in times)
    ratios = sorted(y / x for x, y in zip(*times, strict=True))
    print(
        f"{name:<44} ours {1e3 * a:9.1f} ms   {label} {1e3 * b:9.1f} ms   "
        f"ratio {b / a:5.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})"
    )
