"""The rows of probes in a run's table and figure, in what loggers are told, and on a sweep's page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import matplotlib.image
import pandas as pd
import pytest
import yaml

from mmcl.config.compose import compose_one
from mmcl.config.schema import validate_train
from mmcl.records.files import read_csv
from mmcl.records.sweep import read_sweep
from mmcl.reports.dashboard_data import gather
from mmcl.reports.outcome import read_outcome
from mmcl.reports.run import report
from mmcl.reports.summary import summarise_probes, summarise_rows

SCORES = {"balanced_accuracy": (0.7194, 0.5), "auroc": (0.8125, 0.5), "bits": (-0.0127, 0.0)}


def row(evaluator: str, representation: str, metric: str, target: str = "synergy", **more: object) -> dict:
    value, chance = SCORES[metric]
    return {
        "run_key": "0123456789", "seed": 0, "evaluator": evaluator, "evaluation_key": "0123456701", "split": "test",
        "representation": representation, "intervention": "none", "target": target, "metric": metric, "value": value,
        "chance": chance, "ceiling": "", "n_fit": 100, "n_test": 100, **more,
    }  # fmt: skip


ROWS = [
    row(*of, metric, target=target)
    for target in ("synergy", "unique.x1")
    for of in (("probe_linear", "x1+x2"), ("probe_linear", "x1"), ("probe_bilinear", "x1*x2"))
    for metric in SCORES
]
LINEAR = {**row("linear", "x1", "bits"), "metric": "r2", "target": "content", "value": 0.9}


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    run_dir = tmp_path / "sweep" / "0123456789"
    run_dir.mkdir(parents=True)
    config = validate_train(compose_one("train", ["experiment=numerical/quick"]))
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config.resolved))
    manifest = {
        "status": "COMPLETED", "run_key": "0123456789", "seed": 0, "trained": True, "steps_done": 6000, "train_s": 90.0,
        "evaluations": {"probe_linear": {"key": "k", "seconds": 10.0}}, "peak_memory_bytes": 2**30,
        "attempts": [{"overrides": ["seed=0"], "started": "2026-01-01T00:00:00+00:00", "wall_s": 100.0}],
    }  # fmt: skip
    (run_dir / "manifest.json").write_text(json.dumps(manifest))
    return run_dir


def write(run_dir: Path, rows: list[dict]) -> Path:
    pd.DataFrame(rows).to_csv(run_dir / "results.csv", index=False)
    return run_dir


def test_a_line_is_one_factor_from_one_representation() -> None:
    lines = summarise_probes([*ROWS, LINEAR, row("probe_linear", "x1", "bits", split="validation")])
    assert len(lines) == 3 * 2 * 3
    assert [line.metric for line in lines[::6]] == ["balanced_accuracy", "auroc", "bits"]
    assert [(line.target, line.representation) for line in lines[:6]] == [
        (target, z) for target in ("synergy", "unique.x1") for z in ("x1+x2", "x1", "x1*x2")
    ]
    assert lines[0].values == {"probe_linear": 0.7194}
    assert lines[0].chance == 0.5
    # Whatever a probe is called, it stands in no column of R².
    assert summarise_rows([row("linear", "x1", "bits"), row("mlp", "x1", "auroc")]) == []


def test_balanced_accuracy_is_in_per_cent_and_bits_are_bits(finished: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    report(write(finished, ROWS), finished)
    out = capsys.readouterr().out
    assert "balanced accuracy, %" in out
    assert "lower bound, bits" in out
    for numbers in (("71.9", "50.0"), ("0.812", "0.500"), ("-0.013", "0.000")):
        assert re.search(r"synergy from x1\+x2\s+.*" + r"\D+".join(map(re.escape, numbers)), out), numbers
    assert "how well encodings predict" not in out  # no other predictor, no empty table
    alone = matplotlib.image.imread(finished / "figure.png")
    assert alone[:, : alone.shape[1] // 2].std() > 0.05
    report(write(finished, [*ROWS, LINEAR]), finished)
    assert "how well encodings predict" in capsys.readouterr().out
    assert matplotlib.image.imread(finished / "figure.png").shape[1] > 1.3 * alone.shape[1]


def test_loggers_are_told_every_probe(finished: Path) -> None:
    told = read_outcome(write(finished, [*ROWS, LINEAR])).summary
    assert told["probe_linear/synergy_balanced_accuracy/x1+x2"] == 0.7194
    assert told["probe_bilinear/unique.x1_bits/x1*x2"] == -0.0127
    assert told["linear/content_r2"] == 0.9
    assert len(told) == len(ROWS) + 1


def test_the_page_of_a_sweep_has_a_column_for_each_factor_and_representation(finished: Path) -> None:
    data = gather(read_sweep(write(finished, [*ROWS, LINEAR]).parent), now=2e9)
    assert data["probes"] == ["probe_linear", "probe_bilinear"]
    assert [role["id"] for role in data["roles"]] == ["content"] + [
        f"{target} from {z}" for target in ("synergy", "unique.x1") for z in ("x1+x2", "x1", "x1*x2")
    ]
    assert {role["metric"] for role in data["roles"]} == {"R²", "balanced accuracy"}
    (run,) = data["runs"]
    assert run["scores"]["synergy from x1*x2"] == {"probe_bilinear": 0.7194, "chance": 0.5, "ceiling": None}
    assert len(read_csv(finished / "results.csv")) == len(ROWS) + 1
