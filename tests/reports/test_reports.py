import json
import math
from pathlib import Path

import matplotlib.image
import pandas as pd
import pytest
import yaml

from mmcl.config.compose import compose_one
from mmcl.config.schema import validate_train
from mmcl.reports.paper import find
from mmcl.reports.run import report
from mmcl.reports.summary import summarise_rows

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
    lines = {(line.role, line.intervened): line for line in summarise_rows(RESULTS.to_dict("records"))}
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
def finished(tmp_path):
    """A finished run with results of known values."""
    config = validate_train(compose_one("train", ["experiment=numerical/quick"]))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.resolved))
    manifest = {
        "steps_done": 6000,
        "train_s": 90.0,
        "evaluations": {"kernel_ridge": {"key": "k", "seconds": 10.0}},
        "peak_memory_bytes": 2**30,
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    RESULTS[RESULTS.evaluator != "mlp"].to_csv(tmp_path / "results.csv", index=False)
    return tmp_path


def test_a_report_without_a_learning_curve(finished, capsys):
    report(finished, finished)
    assert "0.99 ± 0.00" in capsys.readouterr().out
    assert matplotlib.image.imread(finished / "figure.png").std() > 0.05


def test_a_score_that_is_not_a_number_makes_its_mean_one_and_an_empty_cell_does_not():
    two = RESULTS[RESULTS.target.eq("content") & RESULTS.evaluator.eq("linear")].to_dict("records")
    (line,) = summarise_rows([{**two[0], "value": "nan", "chance": ""}, two[1]])
    assert line.linear is not None
    assert math.isnan(line.linear)
    assert line.chance == pytest.approx(0.0)
    (line,) = summarise_rows([{**row, "ceiling": ""} for row in two])
    assert line.ceiling is None


@pytest.mark.parametrize("evaluator", ["mine", "linear"])
def test_a_run_with_no_score_that_the_table_shows_and_one_that_is_not_a_number(finished, capsys, evaluator):
    results = RESULTS[RESULTS.evaluator == "linear"].assign(evaluator=evaluator, value=math.nan)
    results.to_csv(finished / "results.csv", index=False, na_rep="nan")
    report(finished, finished)
    assert "nan" not in capsys.readouterr().out
    assert (finished / "figure.png").exists()


def test_an_evaluator_that_the_table_does_not_know_is_shown_and_of_one_with_many_scores_their_number(
    finished, capsys
):
    mine = (
        RESULTS[RESULTS.evaluator == "linear"]
        .head(1)
        .assign(evaluator="mine", metric="error", value=0.00123456)
    )
    many = pd.concat([mine.assign(evaluator="many", target=f"t{i}") for i in range(13)])
    pd.concat([RESULTS, mine, many]).to_csv(finished / "results.csv", index=False)
    report(finished, finished)
    out = capsys.readouterr().out
    assert "content c" in out
    assert "0.001235" in out
    assert "13 scores: results.csv" in out
    assert "t12" not in out


def test_loggers_are_told_what_the_runs_own_table_shows(finished):
    from mmcl.reports.outcome import read_outcome

    results = RESULTS.assign(run_key="12e4567890", evaluation_key="0123456701")
    results.to_csv(finished / "results.csv", index=False)
    outcome = read_outcome(finished)
    assert outcome.step == 6000
    assert outcome.summary["nonlinear/content_r2"] == pytest.approx(0.8)
    assert outcome.summary["nonlinear/intervention/content_r2"] == pytest.approx(0.05)
    assert outcome.summary["heldout_loss/test"] == -4.0
    assert outcome.rows[0][-2:] == ["12e4567890", "0123456701"]
