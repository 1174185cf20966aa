"""The processor cores that this process may use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Their number, >= 1: a job of a cluster may have a few of its machine's."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
