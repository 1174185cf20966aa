"""A grid of cells as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mmcl.reports.cells import Cell, Grid, score_of, std
from mmcl.reports.configs import sort_key
from mmcl.reports.spec import Entry, Paper, PaperValue, Spec

STATISTICS = {
    "mean_std": "mean ± sample standard deviation (ddof = 1) over n seeds",
    "mean_interval": "mean [95 % bootstrap interval of the mean] over n seeds",
    "mean": "mean over n seeds",
    "median": "median over n seeds",
    "median_range": "median [lowest, highest] over n seeds",
    "min": "lowest of n seeds",
    "max": "highest of n seeds",
    "rank_correlation": "rank correlation of scores and ceilings [its 95 % bootstrap interval] over n runs",
}
MIDDLES = {
    "mean_std": "mean ± std",
    "mean_interval": "mean [95 % interval]",
    "median_range": "median [range]",
    "rank_correlation": "rank correlation [95 % interval]",
}
"""How the layout ``seeds`` calls the line of a statistic that is more than one number."""

ROLE = (
    "Each seed's score is the mean over the modalities' own encodings: style and modality-specific factors from their "
    "own modality's encoding, content from every encoding."
)


@dataclass(frozen=True)
class Block:
    """A table of text: its heading (empty: none), header and lines; ``summary`` lines stand at its end."""

    heading: str
    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    summary: Sequence[Sequence[str]] = ()


def number(value: float, decimals: int) -> str:
    """``value`` with so many decimals; a zero has no sign.

    >>> number(-0.0001, 3), number(float("nan"), 3)
    ('0.000', 'NaN')
    """
    if math.isnan(value):
        return "NaN"
    written = f"{value:.{decimals}f}"
    return written.lstrip("-") if float(written) == 0 else written


def blocks(grid: Grid, spec: Spec) -> list[Block]:
    """The table in the spec's layout."""
    return _by_seed(grid, spec) if spec.layout == "seeds" else [_by_cell(grid, spec)]


def _by_cell(grid: Grid, spec: Spec) -> Block:
    header, lines = [spec.rows.label], [[row.label] for row in grid.rows]
    for j, column in enumerate(grid.columns):
        cells = [grid.cells[i, j] for i in range(len(grid.rows))]
        parts = [(column.label, [cell_text(cell, spec) for cell in cells])]
        if any(cell.paper for cell in cells):
            parts.append((f"{column.label}, paper", [_paper_text(cell.paper, spec.paper) for cell in cells]))
        for name, asked in (("ceiling", spec.ceiling), ("chance", spec.chance)):
            if asked and column.score == "value" and column.run is None:
                parts.append((f"{column.label}, {name}", [_reference_text(cell, name) for cell in cells]))
        for title, texts in parts:
            header.append(title)
            for line, text in zip(lines, texts, strict=True):
                line.append(text)
    return Block("", header, lines)


def cell_text(cell: Cell, spec: Spec) -> str:
    """``0.991 ± 0.001 (n = 3) ✓``; seeds that are missing or NaN are said in the brackets."""
    values = cell.values
    n = f"n = {len(values)}"
    if len(cell.scores) < cell.expected:
        n += f" of {cell.expected}"
    if nan := len(cell.scores) - len(values):
        n += f", {nan} NaN"
    if not values:
        return f"– ({n})"
    return f"{_statistic_text(cell, spec)} ({n}){_mark(cell, spec)}"


def _statistic_text(cell: Cell, spec: Spec) -> str:
    """What the spec's statistic makes of one value or more."""
    values, column = cell.values, cell.column
    text = number(cell.centre(spec.statistic), column.decimals)
    if spec.statistic == "mean_std":
        text += f" ± {number(std(values), column.decimals) if len(values) > 1 else '–'}"
    if spec.statistic in ("median_range", "mean_interval", "rank_correlation"):
        low, high = cell.spread(spec.statistic)
        text += f" [{number(low, column.decimals)}, {number(high, column.decimals)}]"
    return f"{text} {column.unit}" if column.unit else text


def _mark(cell: Cell, spec: Spec) -> str:
    within = cell.within(spec.statistic)
    return "" if within is None else " ✓" if within else " ✗"


def _paper_text(value: PaperValue | None, paper: Paper) -> str:
    if value is None:
        return ""
    spread = "" if value.std is None else f" ± {number(value.std, paper.decimals)}"
    return number(value.mean, paper.decimals) + spread


def _reference_text(cell: Cell, name: str) -> str:
    """The mean ceiling or chance; empty where no seed has one, NaN where some lack it."""
    value = cell.mean_of(name)
    return _seed_text([value] if not math.isnan(value) or cell.lacking(name) else [], cell.column)


def _by_seed(grid: Grid, spec: Spec) -> list[Block]:
    header = ["seed", "run key", *(column.label for column in grid.columns)]
    found = []
    for i, row in enumerate(grid.rows):
        cells = [grid.cells[i, j] for j in range(len(grid.columns))]
        runs = {(s.seed, s.run_key): None for cell in cells for s in cell.scores}
        lines = []
        for seed, key in sorted(runs, key=lambda run: (sort_key([run[0]]), run[1])):
            of_run = [[s.value for s in cell.scores if s.run_key == key] for cell in cells]
            texts = [_seed_text(values, cell.column) for values, cell in zip(of_run, cells, strict=True)]
            lines.append([seed, f"`{key}`", *texts])
        middle = [_statistic_text(c, spec) + _mark(c, spec) if c.values else "" for c in cells]
        summary = [[f"**{MIDDLES.get(spec.statistic, spec.statistic)}**", "", *middle]]
        if any(c.column.worst != "none" for c in cells):
            summary.append(["**worst**", "", *(_seed_text(_worst(c), c.column) for c in cells)])
        if any(c.paper for c in cells):
            summary.append(["**paper**", "", *(_paper_text(c.paper, spec.paper) for c in cells)])
        if any(len(c.scores) < c.expected or len(c.values) < len(c.scores) for c in cells):
            counts = [f"n = {len(c.values)} of {max(c.expected, len(c.scores))}" for c in cells]
            summary.append(["**seeds**", "", *counts])
        found.append(Block(row.label, header, lines, summary))
    return found


def _seed_text(values: Sequence[float], column: Entry) -> str:
    if not values:
        return ""
    unit = f" {column.unit}" if column.unit else ""
    return number(values[0], column.decimals) + unit


def _worst(cell: Cell) -> list[float]:
    values = cell.values
    if not values or cell.column.worst == "none":
        return []
    worst = {"min": min(values), "max": max(values), "abs": max(abs(v) for v in values)}
    return [worst[cell.column.worst]]


def notes(grid: Grid, spec: Spec, commits: Sequence[str], dirty: bool) -> list[str]:
    """What the table's numbers are, in sentences."""
    found = [spec.note] if spec.note else []
    if spec.layout == "cells":
        found.append(f"Cells: {STATISTICS[spec.statistic]}.")
    if spec.aggregate == "role":
        found.append(ROLE)
    if any(score_of(c.row, c.column) == "excess" for c in grid.cells.values()):
        found.append("Differences from the ceiling are taken seed by seed.")
    compared = [cell for cell in grid.cells.values() if cell.paper]
    if compared:
        found.append(f"Paper: {spec.paper.source}.")
        tolerances = sorted({cell.paper.tolerance for cell in compared if cell.paper})
        within = " or ".join(f"{t:g}" for t in tolerances)
        found.append(f"✓: ours lies within {within} of the paper's; ✗: it does not.")
    if commits:
        found.append(f"Code: {', '.join(c[:10] for c in commits)}{', with uncommitted changes' * dirty}.")
    return found


def markdown(spec: Spec, tables: Iterable[Block], notes: Sequence[str]) -> str:
    """The report as ``table.md``."""
    text = [f"# {spec.title}", ""]
    for block in tables:
        if block.heading:
            text += [f"**{block.heading}**", ""]
        text.append("| " + " | ".join(map(_md, block.header)) + " |")
        text.append("|" + "---|" * len(block.header))
        text += ["| " + " | ".join(map(_md, line)) + " |" for line in [*block.lines, *block.summary]]
        text.append("")
    text += [line + "\n" for line in notes]
    return "\n".join(text)


def _md(text: str) -> str:
    return text.replace("|", "\\|")


TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "✓": r"\checkmark", "✗": r"$\times$",
    "−": "$-$", "–": "--", "²": "$^2$", "≥": r"$\geq$", "≤": r"$\leq$", "→": r"$\to$",
}  # fmt: skip


def tex(text: str) -> str:
    """``text`` for LaTeX; ``**bold**`` and code in backquotes keep their meaning.

    >>> tex("**worst** 5 % ± 1")
    '\\\\textbf{worst} 5 \\\\% $\\\\pm$ 1'
    """
    if len(text) > 4 and text.startswith("**") and "**" in text[2:]:
        bold, _, rest = text[2:].partition("**")
        return rf"\textbf{{{tex(bold)}}}" + tex(rest)
    if len(text) > 2 and text.startswith("`") and text.endswith("`"):
        return rf"\texttt{{{tex(text[1:-1])}}}"
    return "".join(TEX.get(c, c) for c in text)


def latex(spec: Spec, tables: Iterable[Block], notes: Sequence[str]) -> str:
    """The report as ``table.tex``: a ``tabular`` for each block, for a document with booktabs and amssymb."""
    text = ["% Needs the packages booktabs and amssymb.", f"% {spec.title}"]
    for block in tables:
        if block.heading:
            text.append(rf"\paragraph{{{tex(block.heading)}}}")
        text += [rf"\begin{{tabular}}{{l{'r' * (len(block.header) - 1)}}}", r"\toprule"]
        text += [_tex_line(block.header), r"\midrule"]
        text += [_tex_line(line) for line in block.lines]
        if block.summary:
            text += [r"\midrule", *(_tex_line(line) for line in block.summary)]
        text += [r"\bottomrule", r"\end{tabular}", ""]
    text += [tex(line) + "\n" for line in notes]
    return "\n".join(text)


def _tex_line(texts: Sequence[str]) -> str:
    line = " & ".join(map(tex, texts))
    # After the line before, \\ or a rule, these would be read as its argument.
    return (f"{{{line[0]}}}{line[1:]}" if line[:1] in ("[", "*") else line) + r" \\"


def table_csv(grid: Grid, spec: Spec) -> str:
    """The numbers as ``table.csv``, unrounded: a line for each cell, in the layout ``seeds`` for each seed of each."""
    lines = (
        _csv_seeds(grid, spec)
        if spec.layout == "seeds"
        else [_csv_cell(c, spec) for c in grid.cells.values()]
    )
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]) if lines else ["row", "column"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _exact(v) for k, v in line.items()} for line in lines)
    return text.getvalue()


def _csv_seeds(grid: Grid, spec: Spec) -> list[dict[str, Any]]:
    return [
        {
            "row": cell.row.label,
            "column": cell.column.label,
            "seed": score.seed,
            "run_key": score.run_key,
            "value": score.value,
            **_csv_paper(cell, spec),
        }
        for cell in grid.cells.values()
        for score in cell.scores
    ]


def _csv_cell(cell: Cell, spec: Spec) -> dict[str, Any]:
    values = cell.values
    return {
        "row": cell.row.label,
        "column": cell.column.label,
        "n": len(values),
        "expected": cell.expected,
        "nan": len(cell.scores) - len(values),
        "mean": statistics.fmean(values) if values else math.nan,
        "std": std(values),
        "median": statistics.median(values) if values else math.nan,
        "min": min(values, default=math.nan),
        "max": max(values, default=math.nan),
        "ceiling": cell.mean_of("ceiling"),
        "chance": cell.mean_of("chance"),
        **_csv_rank(cell, spec),
        **_csv_paper(cell, spec),
        "run_keys": " ".join(s.run_key for s in cell.scores),
    }


def _csv_rank(cell: Cell, spec: Spec) -> dict[str, float]:
    """The statistic ``rank_correlation``, which the scores alone do not give, and its interval."""
    if spec.statistic != "rank_correlation":
        return {}
    low, high = cell.spread(spec.statistic)
    return {"rank_correlation": cell.centre(spec.statistic), "low": low, "high": high}


def _csv_paper(cell: Cell, spec: Spec) -> dict[str, Any]:
    """The paper's value of a cell, and whether what the spec's statistic makes of all seeds lies within."""
    paper, within = cell.paper, cell.within(spec.statistic)
    return {
        "paper_mean": paper.mean if paper else math.nan,
        "paper_std": math.nan if paper is None or paper.std is None else paper.std,
        "tolerance": paper.tolerance if paper else math.nan,
        "within": "" if within is None else str(within).lower(),
    }


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    return value
