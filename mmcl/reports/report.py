"""A report from a spec and what was collected: table, figure, and where their numbers come from."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmcl.records.files import write_bytes
from mmcl.reports.cells import Grid, make_grid
from mmcl.reports.configs import load
from mmcl.reports.figures import draw
from mmcl.reports.image import pdf, png
from mmcl.reports.scores import Inputs, joined, read_inputs
from mmcl.reports.spec import Spec, find_spec, read_spec
from mmcl.reports.tables import blocks, latex, markdown, notes, table_csv

FILES = ("table.md", "table.tex", "table.csv", "figure.pdf", "figure.png", "sources.json")


@dataclass(frozen=True)
class Report:
    """A report before it is written: its ``files`` by name, and what a person wants to see at once."""

    spec: Spec
    grid: Grid
    files: dict[str, bytes]

    @property
    def marks(self) -> tuple[int, int]:
        """How many cells lie within the tolerance of the paper's value, and how many have one."""
        found = [cell.within(self.spec.statistic) for cell in self.grid.cells.values()]
        compared = [within for within in found if within is not None]
        return sum(compared), len(compared)

    def write(self, output: Path) -> None:
        """Write all files into ``output``; an earlier drawing's files go, also those that this one has not.

        Raises:
            OSError: it cannot be written; each file is whole or as it was.
        """
        output.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            write_bytes(output / name, content)
        for name in FILES:
            if name not in self.files:
                (output / name).unlink(missing_ok=True)


def make_report(name: str, folder: Path, *, allow_missing: bool = False, allow_nan: bool = False) -> Report:
    """The report ``name`` (in ``conf/report``, or a path) of what was collected in ``folder``.

    Reads ``results.csv`` and ``runs.csv`` there, and ``curves.csv`` for learning curves, never a run's directory. The
    same files make the same bytes.

    Raises:
        UserError: the spec or an input is at fault, or a cell is not as the spec expects.
    """
    path = find_spec(name)
    spec = read_spec(path)
    inputs = read_inputs(folder, spec.figure.curve)
    grid = make_grid(inputs, spec, allow_missing=allow_missing, allow_nan=allow_nan)
    # An estimate of content's size comes from other runs too.
    keys = list(inputs.results.run_key) if spec.derive == "content_size" else grid.run_keys
    used = inputs.runs[inputs.runs.run_key.isin(keys)].sort_values("run_key")
    commits = sorted({commit for key in used.run_key for commit in inputs.commits[key]})
    dirty = bool("dirty" in used and used.dirty.eq("true").any())
    tables, feet = blocks(grid, spec), notes(grid, spec, commits, dirty)
    flags = ["--allow-missing"] * allow_missing + ["--allow-nan"] * allow_nan
    files = {
        "table.md": markdown(spec, tables, feet).encode(),
        "table.tex": latex(spec, tables, feet).encode(),
        "table.csv": table_csv(grid, spec).encode(),
    }
    if spec.figure.kind != "none":
        figure = draw(grid, spec, joined(inputs, spec) if spec.figure.kind == "scatter" else inputs.curves)
        files |= {"figure.pdf": pdf(figure), "figure.png": png(figure)}
    command = shlex.join(["mmcl", "report", name, str(folder), *flags])
    sources = _sources(command, path, inputs, used, commits, dirty)
    files["sources.json"] = (json.dumps(sources, indent=2, ensure_ascii=False, default=str) + "\n").encode()
    return Report(spec, grid, files)


def _sources(
    command: str, path: Path, inputs: Inputs, used: pd.DataFrame, commits: list[str], dirty: bool
) -> dict[str, Any]:
    """Where the numbers come from. No time of writing: a report that is made again is the same."""
    content = path.read_bytes()
    return {
        "command": command,
        "inputs": dict(inputs.sha256),
        "spec": {"name": path.stem, "sha256": hashlib.sha256(content).hexdigest(), "content": load(content.decode())},
        "commits": commits,
        "dirty": dirty,
        "runs": {
            str(run.run_key): {"seed": run.seed, "command": inputs.command(str(run.run_key))}
            for run in used.itertuples()
        },
    }  # fmt: skip
