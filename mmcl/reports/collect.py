"""Many runs as one table: what each recovered, beside its ceiling and the paper, and where each number comes from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from matplotlib.figure import Figure

from mmcl.records.files import write_bytes
from mmcl.records.keys import digest, science
from mmcl.reports.image import png
from mmcl.reports.paper import find
from mmcl.reports.run import summarise
from mmcl.reports.summary import LABELS, Line

SETTING = ("style_change_prob", "statistical", "causal")
ROLES = ("content", "style", "modality_specific")


def collect(run_dirs: Iterable[Path], output: Path) -> pd.DataFrame:
    """Write ``results.csv``, ``runs.csv``, ``table.md`` and ``seeds.png`` for finished runs into ``output``.

    ``results.csv`` holds every row of every run with the setting it belongs to, ``runs.csv`` a line for each run.

    Raises:
        ValueError: no run among ``run_dirs``, or one that is not finished.
    """
    lines, rows = [], []
    for run_dir in run_dirs:
        config = yaml.safe_load((run_dir / "config.yaml").read_text())
        manifest = json.loads((run_dir / "manifest.json").read_text())
        if manifest["status"] != "COMPLETED":
            raise ValueError(f"{run_dir}: status {manifest['status']}; run its command again to finish it")
        results = pd.read_csv(run_dir / "results.csv", dtype={"run_key": str})
        lines.append(_line(config, manifest, summarise(results)))
        setting = {key: config["data"].get(key) for key in SETTING}
        rows.append(results.assign(**setting))
    if not lines:
        raise ValueError("no runs: name finished run directories, such as runs/quick/*")
    order = [*SETTING, "seed"]
    ascending = [False, True, True, True]
    runs = pd.DataFrame(lines).sort_values(order, ascending=ascending).reset_index(drop=True)
    mixed = runs.groupby(list(SETTING), dropna=False).recipe.nunique()
    if (mixed > 1).any():
        raise ValueError(
            "runs of one setting differ in more than the seed (see recipe below); name those of one experiment only:\n"
            + runs[["run_key", *SETTING, "seed", "recipe"]].to_string()
        )
    everything = pd.concat(rows).sort_values(order, ascending=ascending, kind="stable")
    # All is made before anything is written: a folder holds the files of one table or of none.
    files = {
        "results.csv": everything.to_csv(index=False).encode(),
        "runs.csv": runs.to_csv(index=False).encode(),
        "table.md": markdown(runs).encode(),
        "seeds.png": draw(runs),
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_bytes(output / name, content)
    return runs


def _line(config: dict[str, Any], manifest: dict[str, Any], scores: list[Line]) -> dict[str, Any]:
    line: dict[str, Any] = {
        "name": config["name"],
        "run_key": manifest["run_key"],
        "seed": config["seed"],
        **{key: config["data"].get(key) for key in SETTING},
    }
    paper = find(config)
    of_role = {score.role: score for score in scores if not score.intervened}
    for role in ROLES:
        score = of_role.get(role)
        for column in ("linear", "nonlinear", "ceiling"):
            value = getattr(score, column, None)
            line[f"{role}_{column}"] = math.nan if value is None else value
        line[f"{role}_paper"] = paper.text(role) if paper else "–"
    last = manifest["attempts"][-1]
    world = {key: value for key, value in config["data"].items() if key not in SETTING}
    return {
        **line,
        "recipe": digest({**science(config), "seed": None, "data": world}),
        "steps": manifest["steps_done"],
        "attempts": len(manifest["attempts"]),
        "threads": last["threads"],
        "wall_s": last.get("wall_s", math.nan),
        "train_s": manifest["train_s"],
        "evaluate_s": round(sum(e["seconds"] for e in manifest["evaluations"].values()), 1),
        "peak_memory_gib": round(manifest["peak_memory_bytes"] / 2**30, 2),
        "commit": last["git"].get("commit", "")[:10],
        "dirty": last["git"].get("dirty", False),
    }


def settings(runs: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The runs of each setting under its name, in order."""
    found = []
    for values, part in runs.groupby(list(SETTING), sort=False, dropna=False):
        change, statistical, causal = values
        words = ["statistical"] * bool(statistical) + ["causal"] * bool(causal)
        found.append((f"p(chg.) = {change:g}, {' and '.join(words) or 'independent'}", part))
    return found


def markdown(runs: pd.DataFrame) -> str:
    """A table for each setting: a line for each run, then median and worst."""
    text = []
    for name, part in settings(runs):
        text += [
            f"**{name}**",
            "",
            "| seed | run key | content, linear | content | style | style's ceiling | style − ceiling "
            "| modality-specific | wall time |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for _, run in part.iterrows():
            text.append(f"| {run.seed} | `{run.run_key}` | {_cells(run)} | {_seconds(run.wall_s)} |")
        numbers = part.select_dtypes("number").assign(excess=part.style_nonlinear - part.style_ceiling)
        median, lowest, highest = numbers.median(), numbers.min(), numbers.max()
        text.append(f"| **median** | | {_cells(median)} | {_seconds(median.wall_s)} |")
        worst = (
            lowest.content_linear,
            lowest.content_nonlinear,
            highest.style_nonlinear,
            math.nan,
            numbers.excess.abs().max(),
            highest.modality_specific_nonlinear,
        )
        text.append(f"| **worst** | | {' | '.join(map(_score, worst))} | {_seconds(highest.wall_s)} |")
        first = part.iloc[0]
        text.append(
            f"| **paper** | | | {first.content_paper} | {first.style_paper} | | | {first.modality_specific_paper} | |"
        )
        text.append("")
    return "\n".join(text)


def _cells(run: Any) -> str:
    scores = (
        run.content_linear,
        run.content_nonlinear,
        run.style_nonlinear,
        run.style_ceiling,
        run.style_nonlinear - run.style_ceiling,
        run.modality_specific_nonlinear,
    )
    return " | ".join(map(_score, scores))


def _score(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}".replace("-0.000", "0.000")


def _seconds(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0f} s"


def draw(runs: pd.DataFrame) -> bytes:
    """Every run as a point: R² of each role, with style's ceiling and the paper's mean, a panel for each setting."""
    parts = settings(runs)
    figure = Figure(figsize=(5.2 * len(parts), 4.2), layout="constrained")
    axes = figure.subplots(1, len(parts), squeeze=False, sharey=True)
    for axis, (name, part) in zip(axes[0], parts, strict=True):
        for x, role in enumerate(ROLES):
            places = [x + 0.5 * ((i + 0.5) / len(part) - 0.5) for i in range(len(part))]
            axis.plot(
                places,
                part[f"{role}_nonlinear"],
                "o",
                color="#2171b5",
                label="ours, a point a seed" if x == 0 else None,
            )
            axis.plot(
                places, part[f"{role}_ceiling"], "_", color="black", markersize=9,
                label="ceiling: from the true content" if x == 0 else None,
            )  # fmt: skip
            paper = str(part.iloc[0][f"{role}_paper"])
            if paper != "–":
                mean, spread = (float(v) for v in paper.split(" ± "))
                axis.errorbar(
                    x + 0.36, mean, yerr=spread, fmt="D", color="#fd8d3c", capsize=3,
                    label="paper, mean ± std of 3 seeds" if x == 0 else None,
                )  # fmt: skip
        axis.set_xticks(range(len(ROLES)), [LABELS[role] for role in ROLES])
        axis.set_title(f"{name} ({len(part)} seeds)")
        axis.axhline(0, color="#bdbdbd", linewidth=0.8, zorder=0)
        axis.set_ylim(-0.05, 1.05)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("R², kernel ridge")
    axes[0][-1].legend(fontsize=8, loc="center right")
    return png(figure)
