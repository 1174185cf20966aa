"""Many runs as one table: what each recovered, beside its ceiling and the paper, and where each number comes from."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from mmcl.records.files import write_bytes
from mmcl.reports.paper import find
from mmcl.reports.run import LABELS, Line, summarise

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
    runs = pd.DataFrame(lines).sort_values(order, ascending=[False, True, True, True]).reset_index(drop=True)
    output.mkdir(parents=True, exist_ok=True)
    everything = pd.concat(rows).sort_values(order, ascending=[False, True, True, True], kind="stable")
    write_bytes(output / "results.csv", everything.to_csv(index=False).encode())
    write_bytes(output / "runs.csv", runs.to_csv(index=False).encode())
    write_bytes(output / "table.md", markdown(runs).encode())
    write_bytes(output / "seeds.png", draw(runs))
    return runs


def _line(config: dict[str, Any], manifest: dict[str, Any], scores: list[Line]) -> dict[str, Any]:
    line: dict[str, Any] = {
        "name": config["name"],
        "run_key": manifest["run_key"],
        "seed": config["seed"],
        **{key: config["data"].get(key) for key in SETTING},
    }
    paper = find(config["data"])
    for score in scores:
        if score.intervened or score.role not in ROLES:
            continue
        line[f"{score.role}_linear"] = score.linear
        line[f"{score.role}_nonlinear"] = score.nonlinear
        line[f"{score.role}_ceiling"] = score.ceiling
        line[f"{score.role}_paper"] = paper.text(score.role) if paper else "–"
    timings = manifest["timings_s"]
    return {
        **line,
        "steps": manifest["steps_done"],
        "train_s": timings["train"],
        "evaluate_s": timings["evaluate"],
        "wall_s": manifest.get("wall_s"),
        "peak_memory_gib": round(manifest["peak_memory_bytes"] / 2**30, 2),
        "commit": manifest["git"].get("commit", "")[:10],
        "dirty": manifest["git"].get("dirty", False),
    }


def settings(runs: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The runs of each setting under its name, in order."""
    found = []
    for values, part in runs.groupby(list(SETTING), sort=False):
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
            text.append(f"| {run.seed} | `{run.run_key}` | {_cells(run)} | {run.wall_s:.0f} s |")
        numbers = part.select_dtypes("number").assign(style_excess=part.style_nonlinear - part.style_ceiling)
        median, lowest, highest = numbers.median(), numbers.min(), numbers.max()
        text.append(f"| **median** | | {_cells(median)} | {median.wall_s:.0f} s |")
        text.append(
            f"| **worst** | | {lowest.content_linear:.3f} | {lowest.content_nonlinear:.3f} "
            f"| {highest.style_nonlinear:.3f} | | {_excess(numbers.style_excess.abs().max())} "
            f"| {highest.modality_specific_nonlinear:.3f} | {highest.wall_s:.0f} s |"
        )
        first = part.iloc[0]
        text.append(
            f"| **paper** | | | {first.content_paper} | {first.style_paper} | | | {first.modality_specific_paper} | |"
        )
        text.append("")
    return "\n".join(text)


def _cells(run: Any) -> str:
    return (
        f"{run.content_linear:.3f} | {run.content_nonlinear:.3f} | {run.style_nonlinear:.3f} | {run.style_ceiling:.3f} "
        f"| {_excess(run.style_nonlinear - run.style_ceiling)} | {run.modality_specific_nonlinear:.3f}"
    )


def _excess(value: float) -> str:
    return f"{value:+.3f}"


def draw(runs: pd.DataFrame) -> bytes:
    """Every run as a point: R² of each role, with style's ceiling and the paper's mean, a panel for each setting."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    parts = settings(runs)
    figure, axes = plt.subplots(
        1, len(parts), figsize=(5.2 * len(parts), 4.2), layout="constrained", squeeze=False, sharey=True
    )
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
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    plt.close(figure)
    return buffer.getvalue()
