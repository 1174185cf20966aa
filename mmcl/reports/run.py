"""One run at a glance: the table that a run ends with, and its ``figure.png``."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmcl.records.files import read_csv, write_bytes
from mmcl.reports.configs import load_config
from mmcl.reports.image import png
from mmcl.reports.paper import PaperRow, find
from mmcl.reports.summary import (
    PROBE_METRICS,
    RECALLS,
    Line,
    ProbeLine,
    others,
    summarise_probes,
    summarise_rows,
)

PER_CENT = ("balanced_accuracy", "f1_macro", "f1_weighted")
PROBE_COLOURS = ("#2171b5", "#fd8d3c", "#238b45", "#6a51a3", "#cb181d")
SHOWN = 12
"""Rows of an evaluator that are shown at most; of one with more, their number."""


def redraw(run_dir: Path) -> Path:
    """Write ``figure.png`` of the run in ``run_dir`` from its other files, and return its path."""
    config = load_config(run_dir / "config.yaml")
    results = read_csv(run_dir / "results.csv")
    return draw(run_dir, summarise_rows(results), find(config), config, summarise_probes(results))


def report(run_dir: Path, shown: Path) -> None:
    """Print the table of the run in ``run_dir`` and write its ``figure.png``."""
    config = load_config(run_dir / "config.yaml")
    manifest = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))
    results = read_csv(run_dir / "results.csv")
    lines = summarise_rows(results)
    paper = find(config)
    console = Console()
    probes = summarise_probes(results)
    rest = others(results)
    if lines or not (probes or rest):
        console.print(_table(lines, paper, config))
    if probes:
        console.print(_probe_table(probes, config))
    if rest:
        console.print(_rest_table(rest, config))
    losses = [f"{row['split']} {float(row['value']):.3f}" for row in results if row["metric"] == "loss"]
    if losses:
        console.print(f"Held-out loss: {', '.join(losses)}")
    for line in _retrieval(results):
        console.print(line, soft_wrap=True)
    evaluated = sum(e["seconds"] for e in manifest["evaluations"].values())
    console.print(
        f"{manifest['steps_done']} steps in {manifest['train_s']:.0f} s, evaluation {evaluated:.0f} s, "
        f"peak memory {manifest['peak_memory_bytes'] / 2**30:.1f} GiB"
    )
    figure = draw(run_dir, lines, paper, config, probes)
    console.print(f"Results: {shown / 'results.csv'}   Figure: {shown / figure.name}", soft_wrap=True)


def _retrieval(rows: list[dict[str, str]]) -> list[str]:
    """A line for each kind of recall and direction."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        kind, _, k = row["metric"].rpartition("_")
        if kind in RECALLS:
            text = f"{k}: {float(row['value']):.3f} ({float(row['chance']):.3f})"
            found.setdefault((kind, row["representation"], row["target"]), []).append(text)
    lines = [
        f"{RECALLS[kind]}, {query} → {item}, at (chance) {', '.join(texts)}"
        for (kind, query, item), texts in found.items()
    ]
    ranks = [
        f"{row['representation']} → {row['target']} {float(row['value']):g} ({float(row['chance']):g})"
        for row in rows
        if row["metric"] == "median_rank"
    ]
    return lines + ([f"Median rank (chance): {', '.join(ranks)}"] if ranks else [])


def _labels(lines: list[Line]) -> dict[Line, str]:
    """A line's label, with how it is scored where two lines have the same."""
    often = Counter(line.label for line in lines if not line.intervened)
    names = {"r2": "R²"}
    return {
        line: f"{line.label}, {names.get(line.metric, line.metric)}" if often[line.label] > 1 else line.label
        for line in lines
    }


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}".replace("-0.000", "0.000")


def _table(lines: list[Line], paper: PaperRow | None, config: dict[str, Any]) -> Table:
    table = Table(
        title=Text(
            f"{config['name']}, seed {config['seed']}: how well encodings predict each factor", "table.title"
        ),  # a name may hold what is markup elsewhere
        caption="R² (accuracy for discrete factors), mean over the modalities' own encodings. "
        "Ceiling: predicted from the content that made the views instead of an encoding."
        + (f" Paper: {paper.table}, mean ± std of 3 seeds." if paper else ""),
    )
    table.add_column("factor", no_wrap=True)
    for name in ("linear", "nonlinear", "chance", "ceiling", *(["paper"] if paper else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for before, line in zip([None, *lines], lines, strict=False):
        if line.intervened and not (before and before.intervened):
            table.add_section()
            table.add_row("[i]with c → c' (B.2)[/i]")
        numbers = [_number(v) for v in (line.linear, line.nonlinear, line.chance, line.ceiling)]
        if paper:
            numbers.append(paper.text(line.role) if not line.intervened else "–")
        table.add_row(Text(_labels(lines)[line]), *numbers)
    return table


def _probe_table(lines: list[ProbeLine], config: dict[str, Any]) -> Table:
    """A section for each metric; balanced accuracies in per cent."""
    names = list(dict.fromkeys(name for line in lines for name in line.values))
    table = Table(
        title=Text(
            f"{config['name']}, seed {config['seed']}: what probes read off each representation",
            "table.title",
        ),
        caption="Chance: the best constant. Bits: entropy less cross-entropy, held out; in expectation a lower bound "
        "on the information. Ceilings: results.csv.",
    )
    table.add_column("factor", no_wrap=True)
    for name in (*names, "chance"):
        # The prefix of the built-in ones says nothing here, and a terminal may have 80 columns.
        table.add_column(name.removeprefix("probe_"), justify="right", no_wrap=True)
    for before, line in zip([None, *lines], lines, strict=False):
        if before is None or (before.metric, before.intervened) != (line.metric, line.intervened):
            table.add_section()
            unit = ", %" if line.metric in PER_CENT else ""
            changed = ", with c → c' (B.2)" * line.intervened
            table.add_row(f"[i]{PROBE_METRICS[line.metric]}{unit}{changed}[/i]")
        numbers = [_probe_number(line, value) for value in (*map(line.values.get, names), line.chance)]
        table.add_row(Text(f"{line.target} from {line.representation}"), *numbers)
    return table


def _rest_table(rest: Mapping[str, Sequence[Mapping[str, str]]], config: dict[str, Any]) -> Table:
    """A section for each evaluator."""
    table = Table(
        title=Text(f"{config['name']}, seed {config['seed']}: other scores", "table.title"),
        caption="Chance, ceiling: what stands for them says the evaluator.",
    )
    table.add_column("score", no_wrap=True)
    table.add_column("of")  # the one that gives way in a terminal of 80 columns
    for name in ("value", "chance", "ceiling"):
        table.add_column(name, justify="right", no_wrap=True)
    for evaluator, rows in rest.items():
        table.add_section()
        table.add_row(f"[i]{evaluator}[/i]")
        if len(rows) > SHOWN:
            table.add_row(f"{len(rows)} scores: results.csv")
            continue
        for row in rows:
            numbers = [_any_number(row[column]) for column in ("value", "chance", "ceiling")]
            of = f"{row['target']} from {row['representation']}"
            table.add_row(Text(row["metric"]), Text(of), *numbers)
    return table


def _any_number(text: str) -> str:
    """Four digits, of any size."""
    return "–" if text == "" or math.isnan(float(text)) else f"{float(text):.4g}"


def _probe_number(line: ProbeLine, value: float | None) -> str:
    if value is None or math.isnan(value) or line.metric not in PER_CENT:
        return _number(value)
    return f"{100 * value:.1f}"


def draw(
    run_dir: Path,
    lines: list[Line],
    paper: PaperRow | None,
    config: dict[str, Any],
    probes: Sequence[ProbeLine] = (),
) -> Path:
    """Write ``figure.png``: scores by factor beside the paper's row, the probes', and the learning curve."""
    probed = [p for p in probes if p.metric == "balanced_accuracy" and not p.intervened]
    panels = [bool(lines), bool(probed), True]
    figure = Figure(figsize=(5.5 * sum(panels), 4.2), layout="constrained")
    axes = iter(figure.subplots(1, sum(panels), squeeze=False)[0])
    if panels[0]:
        _draw_scores(next(axes), lines, paper)
    if panels[1]:
        _draw_probes(next(axes), probed)
    _draw_curve(run_dir, next(axes))
    figure.suptitle(f"{config['name']}, seed {config['seed']}")
    path = run_dir / "figure.png"
    write_bytes(path, png(figure))
    return path


def _draw_probes(axis: Any, lines: Sequence[ProbeLine]) -> None:
    """Balanced accuracies in per cent, a row for each factor and representation, a mark for each probe."""
    names = list(dict.fromkeys(name for line in lines for name in line.values))
    for name, colour, marker in zip(names, cycle(PROBE_COLOURS), cycle("osD^v"), strict=False):
        known = [(100 * line.values[name], place) for place, line in enumerate(lines) if name in line.values]
        axis.scatter(*zip(*known, strict=True), color=colour, marker=marker, s=28, label=name, zorder=3)
    chances = [(100 * line.chance, place) for place, line in enumerate(lines) if line.chance is not None]
    if chances:
        axis.scatter(*zip(*chances, strict=True), color="black", marker="|", s=110, label="chance", zorder=2)
    axis.set_yticks(range(len(lines)), [f"{line.target} from {line.representation}" for line in lines])
    axis.tick_params(axis="y", labelsize=max(5.0, min(9.0, 150 / len(lines))))
    axis.invert_yaxis()
    axis.set_xlim(-3, 103)
    axis.set_xlabel("balanced accuracy, %")
    axis.set_title("What probes read off each representation")
    axis.grid(axis="x", color="#e5e5e5")
    # Below the panel: among the marks there may be no room.
    axis.legend(ncols=3, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    axis.spines[["top", "right"]].set_visible(False)


def _draw_scores(left: Any, lines: list[Line], paper: PaperRow | None) -> None:
    """Scores by factor beside the paper's row."""
    shown = [line for line in lines if not line.intervened]
    bars: list[tuple[str, list[float | None], str]] = [
        ("linear", [line.linear for line in shown], "#9ecae1"),
        ("nonlinear", [line.nonlinear for line in shown], "#2171b5"),
        ("ceiling: from true content", [line.ceiling for line in shown], "#d9d9d9"),
    ]
    width = 0.2
    for i, (label, values, colour) in enumerate(bars):
        places = [k + (i - 1.5) * width for k in range(len(shown))]
        drawn = left.bar(
            places, [v if v is not None else 0.0 for v in values], width, label=label, color=colour
        )
        # A score of zero is a result and has no height: it needs its number.
        texts = ["" if v is None or math.isnan(v) else f"{v:.2f}".replace("-0.00", "0.00") for v in values]
        left.bar_label(drawn, texts, fontsize=7, padding=2)
    if paper:
        known = [(k, paper.values[line.role]) for k, line in enumerate(shown) if line.role in paper.values]
        printed = left.bar(
            [k + 1.5 * width for k, _ in known],
            [mean for _, (mean, _) in known],
            width,
            yerr=[spread for _, (_, spread) in known],
            capsize=3,
            label=f"paper, {paper.table}",
            color="#fdae6b",
        )
        left.bar_label(printed, fmt="%.2f", fontsize=7, padding=2)
    left.axhline(0, color="black", linewidth=0.8)
    labels = [_labels(lines)[line] for line in shown]
    left.set_xticks(range(len(shown)), labels, **({"rotation": 40, "ha": "right"} if len(shown) > 5 else {}))
    heights = [v for _, values, _ in bars for v in values if v is not None and math.isfinite(v)]
    left.set_ylim(min([-0.05, *heights]) if shown else 0, 1.18)
    left.set_ylabel(" / ".join(sorted({"R²" if line.metric == "r2" else "accuracy" for line in shown})))
    left.set_title("What the encodings predict")
    left.legend(ncols=2, fontsize=8, loc="upper right")
    left.spines[["top", "right"]].set_visible(False)


def _draw_curve(run_dir: Path, axis: Any) -> None:
    path = run_dir / "metrics.csv"
    axis.set_title("Learning curve")
    axis.set_xlabel("step")
    axis.spines["top"].set_visible(False)
    if not path.exists():
        axis.text(0.5, 0.5, "no metrics.csv (logger=none)", ha="center", transform=axis.transAxes)
        return
    metrics = pd.read_csv(path)
    loss = metrics[metrics.name.eq("loss")]
    axis.plot(loss.step, loss.value, color="#636363", linewidth=0.8, label="training loss")
    axis.set_ylabel("training loss")
    scores = metrics[metrics.name.str.endswith("_r2")]
    handles, labels = axis.get_legend_handles_labels()
    if len(scores):
        twin = axis.twinx()
        for name, rows in scores.groupby("name"):
            label = f"{str(name).removesuffix('_r2')} R² (linear, online)"
            twin.plot(rows.step, rows.value, color="#2171b5", marker=".", label=label)
        twin.set_ylim(0, 1)
        twin.set_ylabel("R²")
        twin.spines["top"].set_visible(False)
        more = twin.get_legend_handles_labels()
        handles, labels = handles + more[0], labels + more[1]
    axis.legend(handles, labels, fontsize=8, loc="center right")
