import json
import math
from pathlib import Path

import matplotlib.image
import pandas as pd
import pytest
import yaml

from mmcl.config.compose import compose_one
from mmcl.config.schema import validate_train
from mmcl.reports.collect import collect
from mmcl.reports.paper import find
from mmcl.reports.run import report, summarise

COLUMNS = (
    "evaluator",
    "split",
    "representation",
    "intervention",
    "target",
    "metric",
    "value",
    "chance",
    "ceiling",
)


def rows(*values):
    return pd.DataFrame([dict(zip(COLUMNS, v, strict=True)) for v in values])


RESULTS = rows(
    ("linear", "test", "x1", "none", "content", "r2", 0.8, 0.0, 1.0),
    ("linear", "test", "x2", "none", "content", "r2", 0.6, 0.0, 1.0),
    ("kernel_ridge", "test", "x1", "none", "content", "r2", 0.9, 0.0, 1.0),
    ("kernel_ridge", "test", "x2", "none", "content", "r2", 0.7, -0.2, 0.9),
    ("kernel_ridge", "test", "x1", "none", "style.x1", "r2", 0.3, 0.0, 0.25),
    (
        "kernel_ridge",
        "test",
        "x2",
        "none",
        "style.x1",
        "r2",
        9.0,
        9.0,
        9.0,
    ),  # another modality's style: not counted
    ("kernel_ridge", "test", "x2", "none", "style.x2", "r2", 0.1, 0.0, 0.15),
    ("kernel_ridge_intervention", "test", "x1", "permute_content", "content", "r2", 0.05, 0.0, 0.0),
    ("mlp", "test", "x1", "none", "modality_specific.x1", "accuracy", 0.4, 0.2, 0.2),
    ("heldout_loss", "test", "all", "none", "objective", "loss", -4.0, math.nan, math.nan),
)


def test_a_line_is_the_mean_over_the_modalities_own_encodings():
    lines = {(line.role, line.intervened): line for line in summarise(RESULTS)}
    assert set(lines) == {
        ("content", False),
        ("style", False),
        ("modality_specific", False),
        ("content", True),
    }
    content = lines["content", False]
    assert (content.linear, content.nonlinear) == (pytest.approx(0.7), pytest.approx(0.8))
    assert (content.chance, content.ceiling) == (pytest.approx(-0.1), pytest.approx(0.95))
    style = lines["style", False]
    assert (style.linear, style.nonlinear, style.ceiling) == (None, pytest.approx(0.2), pytest.approx(0.2))
    assert lines["modality_specific", False].metric == "accuracy"
    assert lines["content", True].nonlinear == pytest.approx(0.05)


def config_of(*overrides):
    return validate_train(compose_one("train", ["experiment=numerical/paper", *overrides])).resolved


@pytest.mark.parametrize(
    ("overrides", "table", "content", "style"),
    [
        ((), "Table 1b", "0.99 ± 0.00", "0.00 ± 0.00"),
        (("data.style_change_prob=0.75", "data.causal=true"), "Table 1b", "0.98 ± 0.00", "0.87 ± 0.04"),
        (("data.style_change_prob=0.75", "data.statistical=true"), "Table 1b", "0.95 ± 0.01", "0.56 ± 0.23"),
        (("data=numerical_original", "encoder.shared=true"), "Table 1a", "1.00 ± 0.00", "0.00 ± 0.00"),
        (("data.modality_specific_sizes=[0,0]",), "Table 4b", "1.00 ± 0.00", "0.00 ± 0.00"),
    ],
)
def test_the_papers_row_is_found_by_the_setting(overrides, table, content, style):
    row = find(config_of(*overrides))
    assert row is not None
    assert (row.table, row.text("content"), row.text("style")) == (table, content, style)
    assert row.text("nothing") == "–"


@pytest.mark.parametrize(
    "override",
    [
        "data.style_change_prob=0.5",
        "data.content_size=4",
        "data.style_classes=3",
        "data.process=symmetric",
        "encoder.encoding_size=4",
        "data.style_std=2.0",
        "encoder.shared=true",
    ],
)
def test_a_setting_that_the_paper_does_not_have_has_no_row(override):
    assert find(config_of(override)) is None


def test_every_setting_of_tables_1_and_4_has_one_row():
    tables = yaml.safe_load((Path(find.__code__.co_filename).parent / "paper.yaml").read_text())
    assert [t["table"] for t in tables] == ["Table 1a", "Table 1b", "Table 4b"]
    for table in tables:
        keys = [(r["change"], r["statistical"], r["causal"]) for r in table["rows"]]
        assert len(set(keys)) == 5


@pytest.fixture
def runs(tmp_path):
    """Three finished runs with results of known values."""
    folders = []
    for seed, causal in ((0, False), (1, False), (0, True)):
        config = validate_train(
            compose_one(
                "train", ["experiment=numerical/quick", f"seed={seed}", f"data.causal={str(causal).lower()}"]
            )
        )
        folder = tmp_path / "runs" / config.run_key
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config.resolved))
        manifest = {
            "status": "COMPLETED",
            "run_key": config.run_key,
            "steps_done": 6000,
            "train_s": 90.0,
            "evaluations": {"kernel_ridge": {"key": "k", "seconds": 10.0}},
            "peak_memory_bytes": 2**30,
            "attempts": [{"threads": 2, "wall_s": 100.0 + seed, "git": {"commit": "abc"}}],
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        own = RESULTS[RESULTS.evaluator != "mlp"].copy()
        more = own[own.target == "style.x1"].assign(
            target="modality_specific.x1", value=0.0, representation="x1"
        )
        everything = pd.concat([own, more.head(1)])
        everything["value"] += 0.1 * seed
        everything.assign(run_key=config.run_key, seed=seed).to_csv(folder / "results.csv", index=False)
        folders.append(folder)
    return folders


def test_collected_runs_are_one_table_with_median_and_worst(runs, tmp_path):
    table = collect(runs, tmp_path / "out")
    assert len(table) == 3
    assert list(table.seed) == [0, 1, 0]
    assert list(table.content_nonlinear) == pytest.approx([0.8, 0.9, 0.8])
    text = (tmp_path / "out" / "table.md").read_text()
    assert "**p(chg.) = 1, independent**" in text
    assert "**p(chg.) = 1, causal**" in text
    for run in runs[:2]:
        assert f"`{run.name}`" in text
    assert "| **median** | | 0.750 | 0.850 | 0.250 | 0.200 | 0.050 |" in text
    assert "| **worst** | | 0.700 | 0.800 | 0.300 |  | 0.100 |" in text
    results = pd.read_csv(tmp_path / "out" / "results.csv", dtype={"run_key": str})
    assert set(results.run_key) == {r.name for r in runs}
    assert "causal" in results.columns
    image = matplotlib.image.imread(tmp_path / "out" / "seeds.png")
    assert image.std() > 0.05, "not an empty picture"


def test_unfinished_runs_are_not_collected(runs, tmp_path):
    manifest = json.loads((runs[1] / "manifest.json").read_text())
    (runs[1] / "manifest.json").write_text(json.dumps({**manifest, "status": "FAILED"}))
    with pytest.raises(ValueError, match=f"{runs[1].name}: status FAILED"):
        collect(runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="no runs"):
        collect([], tmp_path / "out")


def test_runs_that_differ_in_more_than_the_seed_are_not_pooled(runs, tmp_path):
    config = yaml.safe_load((runs[1] / "config.yaml").read_text())
    config["loss"]["temperature"] = 0.5
    (runs[1] / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="differ in more than the seed"):
        collect(runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_runs_without_some_scores_are_collected_with_gaps(runs, tmp_path):
    for run in runs:
        results = pd.read_csv(run / "results.csv")
        results[results.evaluator.eq("linear") & results.target.eq("content")].to_csv(
            run / "results.csv", index=False
        )
    table = collect(runs, tmp_path / "out")
    assert table.style_nonlinear.isna().all()
    assert "| 0.700 |  |  |  |  |  |" in (tmp_path / "out" / "table.md").read_text()


def test_a_report_without_a_learning_curve(runs, capsys):
    report(runs[0], runs[0])
    assert "0.99 ± 0.00" in capsys.readouterr().out
    assert matplotlib.image.imread(runs[0] / "figure.png").std() > 0.05


def test_collect_from_the_command_line(cli, runs, tmp_path):
    result = cli("mmcl", "collect", *(str(r) for r in runs), "-o", "out")
    assert result.code == 0, result.err
    assert "3 run(s) in out" in result.out
    result = cli("mmcl", "collect", "nowhere", "-o", "out2")
    assert result.code == 2
    assert result.err.startswith("error: nowhere: no finished run there")
