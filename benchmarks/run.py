"""Runs every benchmark, each in a process of its own, and writes ``benchmarks/results.md``."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import torch

HERE = Path(__file__).parent
SCRIPTS = (
    "step_quick",
    "step_paper",
    "loss",
    "kernel_ridge",
    "classifiers",
    "comm",
    "drifters",
    "pipeline",
    "sweep",
)


def machine() -> str:
    """The processor, cores and versions that the figures depend on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), [])
        units = [flag for flag in ("avx2", "avx512f", "amx_bf16") if flag in flags]
        model = f"{names[0] if names else model} ({', '.join(units)})"
    return (
        f"{os.cpu_count()} cores of {model}; {torch.get_num_threads()} threads; torch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.system()}"
    )


def figure(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "ms" and value >= 10_000:
        return f"{value / 1000:,.1f} s"
    return f"{value:,.1f} {unit}" if value < 100 else f"{value:,.0f} {unit}"


def table(rows: list[dict]) -> str:
    lines = ["| what | ours | compared with | that | ours / that (range) |", "|---|---|---|---|---|"]
    for row in rows:
        share = ""
        if row["ratio"] is not None:
            share = f"{row['ratio']:.3g}"
        if row["low"] is not None:
            share += f" ({row['low']:.3g} to {row['high']:.3g})"
        cells = (
            row["what"],
            figure(row["ours"], row["unit"]),
            row["versus"],
            figure(row["other"], row["unit"]),
            share,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        for script in SCRIPTS:
            environment = {**os.environ, "MMCL_BENCH_ROWS": str(path)}
            done = subprocess.run([sys.executable, str(HERE / f"{script}.py")], env=environment, check=False)
            if done.returncode:
                print(f"error: benchmarks/{script}.py failed; results.md is left as it was", file=sys.stderr)
                return 1
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    text = (
        "# Benchmarks\n\n"
        f"`make bench`, {date.today()}, on {machine()}.\n\n"
        "Ratios are of measurements taken in turn inside one process, pair by pair: median and range. Rows without "
        "a range were measured alone. Memory is the peak of a fresh process. "
        "Below 1 ours is faster; the floors (bare products, Amdahl's bound) are there to show the distance to them.\n\n"
        f"{table(rows)}\n"
    )
    (HERE / "results.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
