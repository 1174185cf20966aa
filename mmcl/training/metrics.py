"""``metrics.csv``: the training curve, one row for each step and name, whatever happened in between."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from mmcl.records.files import write_bytes
from mmcl.training.loggers import LoggedRun, RunLogger

HEADER = "step,name,value\n"


class MetricsCSV(RunLogger):
    """Appends ``step,name,value`` to a file; ``step`` counts the optimizer steps done.

    A run that was killed may have written rows beyond its last checkpoint, the last of them perhaps cut short.
    A resumed run trains those steps again: :meth:`resume` drops their rows first, so that no step stands twice and
    none is missing.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._file: io.TextIOWrapper | None = None

    @property
    def name(self) -> str:
        return "metrics"

    def start(self, step: int | None) -> None:
        if step is not None:
            self.resume(step)

    def resume(self, step: int) -> None:
        """Keep the rows up to ``step`` optimizer steps, and none beyond."""
        kept = [HEADER]
        if step > 0 and self.path.exists():
            for line in self.path.read_text().splitlines(keepends=True)[1:]:
                if line.endswith("\n") and int(line.split(",", 1)[0]) <= step:
                    kept.append(line)
        write_bytes(self.path, "".join(kept).encode())

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append ``metrics``; Lightning counts steps from 0, the file the steps that are done."""
        assert step is not None
        if self._file is None:
            self._file = self.path.open("a")
        # One write for each call: a kill leaves at most one line cut short.
        self._file.write(
            "".join(f"{step + 1},{name},{value!r}\n" for name, value in metrics.items() if name != "epoch")
        )
        self._file.flush()

    def finalize(self, status: str) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass(frozen=True)
class MetricsCSVConf:
    """Config of :class:`MetricsCSV`: ``metrics.csv`` in the run's directory."""

    def build(self, run: LoggedRun) -> MetricsCSV:
        return MetricsCSV(run.run_dir / "metrics.csv")
