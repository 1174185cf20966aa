"""What a sweep costs around its runs: launching, checking and recording runs of one step each.

``python benchmarks/sweep.py 200`` takes two hundred of them instead of forty.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import Row, report

ROOT = Path(__file__).resolve().parents[1]
RUNS = 40
RUN = ("experiment=smoke", "name=many", "trainer.max_steps=1", "evaluator=[linear]", "callbacks=none")
IMPORTS = "import hydra, mmcl.cli, mmcl.jobs, mmcl.experiment, mmcl.reports.run, mmcl.losses"


def seconds(*command: str) -> float:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - began


def main(runs: int = RUNS) -> None:
    imports = min(seconds("-c", IMPORTS) for _ in range(2))
    train = str(ROOT / "train.py")
    whole = seconds(train, "-m", *RUN, f"seed=range({runs})")
    report(
        Row("imports of train.py", "ms", 1e3 * imports, ""),
        Row(
            f"a run of a sweep of {runs} runs of one step, all told",
            "ms",
            1e3 * (whole - imports) / runs,
            "after the imports",
        ),
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
