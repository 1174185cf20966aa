import csv
import json
import math
import shutil

import matplotlib
import matplotlib.image
import numpy as np
import pytest
import yaml

from mmcl.errors import UserError
from mmcl.reports.cells import Cell, Score, spread, std
from mmcl.reports.collect import collect
from mmcl.reports.figures import draw
from mmcl.reports.report import make_report
from mmcl.reports.spec import Entry, PaperValue, read_spec
from tests.conftest import ROOT
from tests.reports.sweeps import (
    CONTENT,
    key_of,
    score_rows,
    write_launch,
    write_rows,
    write_run,
    write_sweep,
)

SPEC = {
    "title": "Two settings",
    "filter": {"metric": "r2", "evaluator": "ridge"},
    "aggregate": "role",
    "rows": {
        "label": "setting",
        "by": ["data.causal"],
        "entries": [{"at": [False], "label": "independent"}, {"at": [True], "label": "causal"}],
    },
    "columns": {"by": ["role"], "entries": [{"at": "content"}, {"at": "style"}]},
    "seeds": 3,
    "paper": {
        "source": "Somebody (2000), Table 1",
        "tolerance": 0.05,
        "values": [
            {"row": [False], "column": "content", "mean": 0.95, "std": 0.01},
            {"row": [True], "column": "content", "mean": 0.5},
        ],
    },
    "ceiling": True,
}


def write_spec(path, **changes):
    path.write_text(yaml.safe_dump({**SPEC, **changes}))
    return str(path)


@pytest.fixture
def sweep(tmp_path):
    folder = write_sweep(tmp_path / "sweep")
    collect([folder]).write(folder)
    return folder


def lines(report):
    return [line for line in report.files["table.md"].decode().splitlines() if line.startswith("|")]


def test_means_and_standard_deviations_are_those_computed_by_hand(sweep, tmp_path):
    # (0.90 + 0.92 + 0.97) / 3 = 0.93; squares of -0.03, -0.01, 0.04 sum to 0.0026; sqrt(0.0026 / 2) = 0.0360555
    assert std([0.90, 0.92, 0.97]) == pytest.approx(math.sqrt(0.0013))
    report = make_report(write_spec(tmp_path / "s.yaml"), sweep)
    assert lines(report) == [
        "| setting | content | content, paper | content, ceiling | style | style, ceiling |",
        "|---|---|---|---|---|---|",
        "| independent | 0.930 ± 0.036 (n = 3) ✓ | 0.95 ± 0.01 | 0.500 | 0.100 ± 0.000 (n = 3) | 0.500 |",
        "| causal | 0.930 ± 0.036 (n = 3) ✗ | 0.50 | 0.500 | 0.100 ± 0.000 (n = 3) | 0.500 |",
    ]
    assert report.marks == (1, 2)
    text = report.files["table.md"].decode()
    assert "sample standard deviation (ddof = 1)" in text
    assert "Somebody (2000), Table 1" in text
    cells = list(csv.DictReader(report.files["table.csv"].decode().splitlines()))
    assert float(cells[0]["mean"]) == pytest.approx(0.93)
    assert float(cells[0]["std"]) == pytest.approx(math.sqrt(0.0013))
    assert (cells[0]["n"], cells[0]["within"], cells[2]["within"]) == ("3", "true", "false")
    tex = report.files["table.tex"].decode()
    assert r"independent & 0.930 $\pm$ 0.036 (n = 3) \checkmark & 0.95 $\pm$ 0.01" in tex


@pytest.mark.parametrize(
    ("statistic", "text"),
    [
        ("median", "0.920 (n = 3)"),
        ("median_range", "0.920 [0.900, 0.970] (n = 3)"),
        (
            "mean_interval",
            "0.930 [0.900, 0.970] (n = 3)",
        ),  # (of 27 resamplings one is the lowest value alone: 3.7 %)
        ("min", "0.900 (n = 3)"),
        ("max", "0.970 (n = 3)"),
        ("mean", "0.930 (n = 3)"),
    ],
)
def test_other_statistics(sweep, tmp_path, statistic, text):
    report = make_report(write_spec(tmp_path / "s.yaml", statistic=statistic, paper=None), sweep)
    assert f"| independent | {text} |" in lines(report)[2]


def test_the_interval_of_the_mean_is_the_normal_one_for_many_seeds():
    values = np.random.default_rng(3).normal(0.9, 0.02, 60)
    low, high = spread(list(values), "mean_interval")
    error = 1.96 * values.std() / math.sqrt(60)
    # The 2.5 % point of 9,999 resamplings is known to 3 % of the interval's half; skewness moves it by less than 4 %.
    assert low == pytest.approx(values.mean() - error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + error, abs=0.1 * error)
    assert spread(list(values[::-1]), "mean_interval") == (low, high)
    assert spread([0.5], "mean_interval") == (0.5, 0.5)


@pytest.mark.parametrize(
    ("mean", "within"), [(0.99, True), (0.89, True), (0.9901, False), (0.8899, False), (0.94, True)]
)
def test_the_edge_of_the_tolerance_is_within(mean, within):
    entry = Entry((), "x")
    scores = (Score("0", "k", 0.94, math.nan, math.nan),)
    assert Cell(entry, entry, scores, 1, PaperValue(mean, None, 0.05)).within("mean_std") is within


@pytest.mark.parametrize("kind", ["points", "bars", "lines", "profiles"])
def test_the_same_inputs_are_the_same_bytes(tmp_path, kind):
    spec = write_spec(
        tmp_path / "s.yaml",
        figure={"kind": kind, **({"x": "data.causal"} if kind in ("lines", "profiles") else {})},
    )
    files = []
    for order in (1, -1):
        folder = tmp_path / "sweep"
        shutil.rmtree(folder, ignore_errors=True)
        runs = [(causal, seed) for causal in (True, False) for seed in (2, 0, 1)]
        write_launch(folder, runs)
        for causal, seed in runs[::order]:  # another order in the file system
            write_run(folder, causal, seed)
        collect([folder]).write(folder)
        for run in folder.iterdir():  # the CSVs and sweep.json suffice
            if run.is_dir():
                shutil.rmtree(run)
        files.append(make_report(spec, folder).files)
    assert list(files[0]) == [
        "table.md",
        "table.tex",
        "table.csv",
        "figure.pdf",
        "figure.png",
        "sources.json",
    ]
    assert files[0] == files[1]


def test_the_sources_name_every_run_its_command_and_the_inputs(cli, sweep, tmp_path):
    write_spec(tmp_path / "s.yaml")
    result = cli("mmcl", "report", "s.yaml", "sweep")
    assert result.code == 0, result.err
    assert "1 of 2 cells within the paper's tolerance" in result.out
    sources = json.loads((sweep / "report" / "s" / "sources.json").read_text())
    assert sources["command"] == "mmcl report s.yaml sweep"
    assert sources["commits"] == ["c" * 40]
    assert set(sources["inputs"]) == {"results.csv", "runs.csv"}
    assert sources["spec"]["content"]["title"] == "Two settings"
    assert len(sources["runs"]) == 6
    assert sources["runs"][key_of(True, 2)] == {
        "seed": "2",
        "command": "python train.py experiment=tiny data.causal=true seed=2",
    }
    assert matplotlib.image.imread(sweep / "report" / "s" / "figure.png").std() > 0.05


def test_a_missing_seed_names_the_run_and_its_command(cli, tmp_path):
    folder = write_sweep(tmp_path / "sweep", skip=[(True, 1)])
    collect([folder]).write(folder)
    write_spec(tmp_path / "s.yaml")
    result = cli("mmcl", "report", "s.yaml", "sweep")
    assert result.code == 1
    assert len(result.err.splitlines()) == 1
    assert "row causal, column content: 2 of 3 seeds, and 1 more cell(s)" in result.err
    assert f"missing: {key_of(True, 1)} (data.causal=true, seed=1, missing): " in result.err
    assert "python train.py -m experiment=tiny data.causal=true seed=1;" in result.err
    assert not (folder / "report").exists()
    assert cli("mmcl", "report", "s.yaml", "sweep", "--allow-missing").code == 0
    table = (folder / "report" / "s" / "table.md").read_text()
    assert "| causal | 0.935 ± 0.049 (n = 2 of 3) ✗ |" in table


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["independent, 4", "causal, 4"], ["independent", "causal"]),
        (["numbers, 4", "numbers, 4 again"], ["false", "true"]),  # one name for two lines would hide one
        (["independent", "causal, 4"], ["false", "true"]),
    ],
)
def test_lines_are_named_as_their_rows_and_a_log_axis_by_its_values(sweep, tmp_path, labels, said):
    rows = {
        "label": "setting, batch size",
        "by": ["data.causal", "batch_size"],
        "entries": [{"at": [c, 4], "label": label} for c, label in zip((False, True), labels, strict=True)],
    }
    figure = {"kind": "lines", "x": "batch_size", "log": "x"}
    name = write_spec(tmp_path / "s.yaml", rows=rows, figure=figure, paper=None, ceiling=False)
    report = make_report(name, sweep)
    axis = draw(report.grid, report.spec).axes[0]
    assert axis.get_legend_handles_labels()[1] == said
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["4"]
    assert not axis.get_xticks(minor=True).size


def test_what_is_not_known_of_runs_that_have_not_begun_is_no_difference(tmp_path):
    """Of the causal ones only the overrides are known; the one that failed is told by its swept value alone."""
    folder = write_sweep(tmp_path / "sweep", skip=[(True, 0), (True, 1), (True, 2), (False, 1)])
    write_run(folder, False, 1, status="FAILED", error="no space left")
    collect([folder]).write(folder)
    with pytest.raises(
        UserError, match=rf"{key_of(False, 1)} \(data.causal=false, seed=1, failed: no space left\): "
    ):
        make_report(write_spec(tmp_path / "s.yaml"), folder)


def test_a_failed_run_says_why(tmp_path):
    folder = write_sweep(tmp_path / "sweep", skip=[(True, 1)])
    write_run(folder, True, 1, status="FAILED", error="no space left")
    collect([folder]).write(folder)
    with pytest.raises(
        UserError, match=r"data.causal=true, seed=1, failed: no space left\): python train.py -m"
    ):
        make_report(write_spec(tmp_path / "s.yaml"), folder)


def test_a_setting_without_any_run_is_a_row_of_the_table(tmp_path):
    folder = write_sweep(tmp_path / "sweep", skip=[(True, seed) for seed in range(3)])
    collect([folder]).write(folder)
    spec = write_spec(tmp_path / "s.yaml", rows={"by": ["data.causal"]}, paper=None)
    with pytest.raises(UserError, match="row true, column content: 0 of 3 seeds"):
        make_report(spec, folder)
    assert "| true | – (n = 0 of 3) |" in lines(make_report(spec, folder, allow_missing=True))[3]


def test_more_seeds_wanted_than_launched(sweep, tmp_path):
    with pytest.raises(UserError, match=r"3 of 4 seeds.*holds no other run of it: launch more seeds"):
        make_report(write_spec(tmp_path / "s.yaml", seeds=4), sweep)


def test_a_nan_is_an_error_or_said_in_the_cell(cli, tmp_path):
    folder = write_sweep(tmp_path / "sweep")
    key = key_of(False, 2)
    write_rows(folder / key / "results.csv", score_rows(key, 2, math.nan))
    collect([folder]).write(folder)
    write_spec(tmp_path / "s.yaml")
    result = cli("mmcl", "report", "s.yaml", "sweep")
    assert result.code == 1
    assert f"row independent, column content: NaN for seed 2 (run {key})" in result.err
    assert cli("mmcl", "report", "s.yaml", "sweep", "--allow-nan").code == 0
    table = (folder / "report" / "s" / "table.md").read_text()
    assert "| independent | 0.910 ± 0.014 (n = 2, 1 NaN) ✓ |" in table


def test_raw_rows_must_be_one_for_each_seed(sweep, tmp_path):
    raw = {"aggregate": "none", "paper": None}
    spec = write_spec(tmp_path / "s.yaml", **raw, columns={"by": ["target"]})
    with pytest.raises(UserError, match=r"2 rows for seed 0 .*they differ in representation"):
        make_report(spec, sweep)
    columns = {"by": ["representation", "target"], "entries": [{"at": ["x1", "content"], "label": "x1"}]}
    report = make_report(write_spec(tmp_path / "s.yaml", **raw, columns=columns), sweep)
    assert "| independent | 0.920 ± 0.036 (n = 3) |" in lines(report)[2]


def test_runs_of_several_settings_are_not_pooled_unawares(tmp_path):
    for seed in range(3):
        write_run(tmp_path / "sweep", False, seed, batch_size=4 if seed < 2 else 8)
        write_run(tmp_path / "sweep", True, seed)
    collect([tmp_path / "sweep"]).write(tmp_path / "sweep")
    with pytest.raises(UserError, match=r"differ in more than the seed: batch_size is 4, 8;"):
        make_report(write_spec(tmp_path / "s.yaml"), tmp_path / "sweep")
    make_report(write_spec(tmp_path / "s.yaml", pool=["batch_size"]), tmp_path / "sweep")


def test_scores_of_pooled_settings_are_ranked_against_their_ceilings(sweep, tmp_path):
    """Contents 0.90, 0.92, 0.97 of three seeds, twice. Ceilings that rank so; in one setting the other way round."""
    rows = list(csv.DictReader((sweep / "results.csv").read_text().splitlines()))
    spec = {
        "statistic": "rank_correlation",
        "rows": {"by": ["metric"]},
        "columns": {"by": ["role"], "entries": [{"at": "content"}]},
        "pool": ["data.causal"],
        "seeds": 6,
        "paper": None,
        "ceiling": False,
        "figure": {"kind": "bars"},
    }

    def cell(ceiling):
        write_rows(sweep / "results.csv", [row | {"ceiling": ceiling(row)} for row in rows])
        return lines(make_report(write_spec(tmp_path / "s.yaml", **spec), sweep))[2]

    assert cell(lambda row: int(row["seed"])) == "| r2 | 1.000 [1.000, 1.000] (n = 6) |"
    # Equal but for rounding: they tie.
    assert cell(lambda row: int(row["seed"]) + 1e-14 * (row["data.causal"] == "true")) == (
        "| r2 | 1.000 [1.000, 1.000] (n = 6) |"
    )
    assert "| r2 | 0.000 [" in cell(
        lambda row: int(row["seed"]) * (1 if row["data.causal"] == "true" else -1)
    )
    with pytest.raises(
        UserError, match=r"row r2, column content: statistic=rank_correlation: its scores have no ceiling"
    ):
        cell(lambda row: "")
    with pytest.raises(UserError, match=r"NaN as ceiling for seed 0 \(run a000000000\)"):
        cell(lambda row: "" if row["run_key"] == "a000000000" else row["seed"])
    write_rows(sweep / "results.csv", [row | {"ceiling": row["seed"]} for row in rows])
    report = make_report(write_spec(tmp_path / "s.yaml", **spec), sweep)
    (numbers,) = csv.DictReader(report.files["table.csv"].decode().splitlines())
    assert (numbers["rank_correlation"], numbers["low"], numbers["high"]) == ("1.0", "1.0", "1.0")
    half = [row | {"ceiling": row["seed"] if row["data.causal"] == "true" else ""} for row in rows]
    write_rows(sweep / "results.csv", half)
    report = make_report(write_spec(tmp_path / "s.yaml", **spec), sweep, allow_nan=True)
    assert lines(report)[2] == "| r2 | 1.000 [1.000, 1.000] (n = 3, 3 NaN) |"
    with pytest.raises(UserError, match=r"figure\.kind=points: shows single scores"):
        make_report(write_spec(tmp_path / "s.yaml", **{**spec, "figure": {}}), sweep)
    spec["pool"] = []
    with pytest.raises(UserError, match=r"rows for seed 0 \(run .*they differ in .*data\.causal"):
        cell(lambda row: row["seed"])


def test_a_table_by_seed_with_median_worst_and_wall_time(sweep, tmp_path):
    entries = [
        {"at": "content", "label": "content", "worst": "min"},
        {"at": "style", "label": "excess", "score": "excess", "worst": "abs"},
        {"run": "wall_s", "label": "time", "decimals": 0, "unit": "s", "worst": "max"},
    ]
    report = make_report(
        write_spec(
            tmp_path / "s.yaml",
            layout="seeds",
            statistic="median",
            columns={"by": ["role"], "entries": entries},
        ),
        sweep,
    )
    assert lines(report)[:8] == [
        "| seed | run key | content | excess | time |",
        "|---|---|---|---|---|",
        f"| 0 | `{key_of(False, 0)}` | 0.900 | -0.400 | 10 s |",
        f"| 1 | `{key_of(False, 1)}` | 0.920 | -0.400 | 11 s |",
        f"| 2 | `{key_of(False, 2)}` | 0.970 | -0.400 | 12 s |",
        "| **median** |  | 0.920 ✓ | -0.400 | 11 s |",
        "| **worst** |  | 0.900 | 0.400 | 12 s |",
        "| **paper** |  | 0.95 ± 0.01 |  |  |",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"titel": "x"}, r"titel: unknown key; did you mean title\? allowed: title, note"),
        ({"statistic": "mean_sd"}, r"statistic=mean_sd: unknown; did you mean mean_std\?"),
        ({"seeds": 0}, "seeds=0: must be a whole number >= 1"),
        ({"rows": {"by": ["data.casual"]}, "paper": None}, r"rows.by: data.casual: no such column; did you mean"),
        ({"columns": {"by": ["target"]}, "paper": None}, "columns.by: target: no such column; aggregate: role"),
        ({"aggregate": "none"}, "columns.by: role: no such column; roles need aggregate: role"),
        ({"filter": {"evaluator": "rige"}}, r"filter.evaluator: rige is not there; did you mean ridge\?"),
        ({"paper": {"source": "x", "tolerance": -1, "values": []}}, "paper.tolerance=-1: must be >= 0"),
        (
            {"paper": {"source": "x", "tolerance": 1, "values": [{"row": [0.5], "column": "style", "mean": 0}]}},
            "paper.values.0..row=0.5: the table has no such row; there are: false; true",
        ),
        ({"figure": {"kind": "lines", "x": "seed"}}, "figure.x=seed: must be one of rows.by: data.causal"),
        ({"columns": {"by": ["role"], "entries": [{"at": ["a", "b"]}]}}, "must have 1 value"),
        ({"columns": {"by": ["role"], "entries": [{"run": "walls"}]}, "paper": None}, "did you mean wall_s"),
    ],
)  # fmt: skip
def test_a_fault_of_the_spec_is_one_line_with_the_remedy(sweep, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        make_report(write_spec(tmp_path / "s.yaml", **changes), sweep)


def test_what_is_not_there_is_named(cli, tmp_path):
    result = cli("mmcl", "report", "numerical_quik", ".")
    assert (result.code, "did you mean numerical_quick?" in result.err) == (1, True)
    result = cli("mmcl", "report", "numerical_quick", ".")
    assert (result.code, "make it first: mmcl collect ." in result.err) == (1, True)


def test_every_spec_that_comes_with_mmcl_is_valid():
    for path in (ROOT / "conf" / "report").glob("*.yaml"):
        assert read_spec(path).title


STORED = sorted(path.parent for path in (ROOT / "results").rglob("report/*/sources.json"))


def locked_matplotlib():
    """Whether matplotlib is the version that the stored figures are drawn with: another draws other bytes."""
    return f"matplotlib=={matplotlib.__version__}\n" in (ROOT / "requirements.lock").read_text()


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.name)
def test_a_stored_report_is_what_its_csvs_make(stored, monkeypatch):
    monkeypatch.chdir(ROOT)
    command = json.loads((stored / "sources.json").read_text())["command"].split()
    report = make_report(
        stored.name,
        stored.parents[1].relative_to(ROOT),
        allow_missing="--allow-missing" in command,
        allow_nan="--allow-nan" in command,
    )
    names = [n for n in report.files if locked_matplotlib() or not n.startswith("figure.")]
    assert [n for n in names if (stored / n).read_bytes() != report.files[n]] == []


HASHES = ("12e4567890", "34e4567890", "0123456701")
"""Run keys of hexadecimal digits that are also infinity, infinity and a number that YAML reads as octal."""


def write_hashed(folder):
    for seed, key in enumerate(HASHES):
        write_run(folder, False, seed, key=key)
    collect([folder]).write(folder)
    return folder


@pytest.mark.parametrize("key", HASHES)
def test_a_filter_on_run_keys_takes_those_runs_and_no_other(tmp_path, key):
    folder = write_hashed(tmp_path / "sweep")
    changes = {
        "filter": {**SPEC["filter"], "run_key": [key]},
        "rows": {"by": ["data.causal"]},
        "paper": None,
        "seeds": 1,
    }
    report = make_report(write_spec(tmp_path / "s.yaml", **changes), folder)
    assert f"{list(CONTENT.values())[HASHES.index(key)]:.3f} ± – (n = 1)" in lines(report)[2]
    assert list(json.loads(report.files["sources.json"])["runs"]) == [key]


def test_rows_by_run_key_are_the_keys_as_they_are(tmp_path):
    folder = write_hashed(tmp_path / "sweep")
    spec = write_spec(tmp_path / "s.yaml", rows={"by": ["run_key"]}, paper=None, seeds=1)
    found = sorted(line.split(" | ")[0].strip("| ") for line in lines(make_report(spec, folder))[2:])
    assert found == sorted(HASHES)
    entries = [{"at": [key]} for key in HASHES]
    spec = write_spec(tmp_path / "s.yaml", rows={"by": ["run_key"], "entries": entries}, paper=None, seeds=1)
    assert len(json.loads(make_report(spec, folder).files["sources.json"])["runs"]) == 3


def test_a_run_key_that_yaml_reads_as_another_number_is_refused(tmp_path):
    path = tmp_path / "s.yaml"
    write_spec(path)
    path.write_text(path.read_text().replace("filter:", "filter:\n  run_key: 0123456701"))
    with pytest.raises(
        UserError, match=r"filter.run_key=21913025: a run_key has 10 characters; write it in q"
    ):
        read_spec(path)


@pytest.mark.parametrize("status", ["FAILED", "INTERRUPTED", "RUNNING"])
def test_a_seed_that_was_launched_and_is_not_done_is_not_passed_over(tmp_path, status):
    folder = write_sweep(tmp_path / "sweep")
    write_run(folder, True, 3, status=status, error="it broke")
    collect([folder]).write(folder)
    spec = write_spec(tmp_path / "s.yaml")
    with pytest.raises(UserError, match=rf"row causal, column content: 3 of 4 seeds.*{key_of(True, 3)}"):
        make_report(spec, folder)
    table = lines(make_report(spec, folder, allow_missing=True))
    assert "(n = 3 of 4)" in table[3]
    assert "(n = 3)" in table[2]
    seeds = write_spec(tmp_path / "s.yaml", layout="seeds")
    assert "n = 3 of 4" in make_report(seeds, folder, allow_missing=True).files["table.md"].decode()


def test_a_run_that_only_may_belong_to_a_cell_is_not_expected_in_it(tmp_path):
    """Nothing tells its config: it may be anything."""
    folder = write_sweep(tmp_path / "sweep")
    (folder / "zzz").mkdir()
    (folder / "zzz" / "manifest.json").write_text("{")
    collect([folder]).write(folder)
    assert "(n = 3)" in lines(make_report(write_spec(tmp_path / "s.yaml"), folder))[2]


SWA = {"_target_": "lightning.pytorch.callbacks.StochasticWeightAveraging", "swa_lrs": 0.1}
OURS = {"_target_": "mmcl.training.callbacks.OnlineR2", "every_n_steps": 5}


@pytest.mark.parametrize(
    ("one", "other", "column"),
    [
        (
            {"callbacks": {"swa": SWA}},
            {"callbacks": {"swa": {**SWA, "swa_lrs": 0.2}}},
            "callbacks.swa.swa_lrs",
        ),
        ({"callbacks": {"swa": SWA}}, {"callbacks": {"r2": OURS}}, "callbacks.swa._target_"),
        ({"callbacks": {"r2": OURS}}, {"callbacks": {"r2": {**OURS, "every_n_steps": 9}}}, None),
        ({"loss": {"_target_": "mmcl.X", "tile": 1}}, {"loss": {"_target_": "mmcl.X", "tile": 2}}, None),
        ({"loss": {"_target_": "lib.X", "tile": 1}}, {"loss": {"_target_": "lib.X", "tile": 2}}, "loss.tile"),
    ],
)
def test_runs_that_differ_in_what_decides_the_weights_are_not_pooled(tmp_path, one, other, column):
    folder = tmp_path / "sweep"
    for seed in range(3):
        write_run(folder, False, seed, **(one if seed < 2 else other))
        write_run(folder, True, seed, **one)
    collect([folder]).write(folder)
    spec = write_spec(tmp_path / "s.yaml")
    if column is None:
        assert "(n = 3)" in lines(make_report(spec, folder))[2]
    else:
        with pytest.raises(UserError, match=f"differ in more than the seed: {column} is"):
            make_report(spec, folder)


def test_all_commits_of_a_run_are_in_the_sources(tmp_path):
    folder = write_sweep(tmp_path / "sweep")
    path = folder / key_of(False, 0) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["evaluations"]["ridge"]["git"] = {"commit": "d" * 40, "dirty": True}
    path.write_text(json.dumps(manifest))
    collect([folder]).write(folder)
    report = make_report(write_spec(tmp_path / "s.yaml"), folder)
    sources = json.loads(report.files["sources.json"])
    assert (sources["commits"], sources["dirty"]) == (["c" * 40, "d" * 40], True)
    assert "Code: cccccccccc, dddddddddd, with uncommitted changes." in report.files["table.md"].decode()


@pytest.mark.parametrize(
    ("statistic", "middle"),
    [
        ("mean_std", "| **mean ± std** |  | 0.930 ± 0.036 ✓ |"),
        ("mean_interval", "| **mean [95 % interval]** |  | 0.930 [0.900, 0.970] ✓ |"),
        ("mean", "| **mean** |  | 0.930 ✓ |"),
        ("median", "| **median** |  | 0.920 ✓ |"),
        ("median_range", "| **median [range]** |  | 0.920 [0.900, 0.970] ✓ |"),
        ("min", "| **min** |  | 0.900 ✓ |"),
        ("max", "| **max** |  | 0.970 ✓ |"),
    ],
)
def test_a_table_by_seed_sums_up_by_the_specs_statistic(sweep, tmp_path, statistic, middle):
    columns = {"by": ["role"], "entries": [{"at": "content"}]}
    spec = write_spec(tmp_path / "s.yaml", layout="seeds", statistic=statistic, columns=columns)
    report = make_report(spec, sweep)
    assert middle in lines(report)
    assert lines(report)[12].endswith("✗ |")
    assert "✓: ours lies within 0.05" in report.files["table.md"].decode()
    rows = list(csv.DictReader(report.files["table.csv"].decode().splitlines()))
    assert [(r["paper_mean"], r["tolerance"], r["within"]) for r in (rows[0], rows[3])] == [
        ("0.95", "0.05", "true"),
        ("0.5", "0.05", "false"),
    ]


@pytest.mark.parametrize("name", ["ceiling", "chance"])
def test_a_ceiling_that_some_seeds_lack_is_an_error_unless_allowed(tmp_path, name):
    folder = write_sweep(tmp_path / "sweep")
    key = key_of(False, 2)
    rows = [{**row, name: "nan"} for row in score_rows(key, 2, 0.97)]
    write_rows(folder / key / "results.csv", rows)
    collect([folder]).write(folder)
    spec = write_spec(tmp_path / "s.yaml", ceiling=name == "ceiling", chance=name == "chance")
    with pytest.raises(UserError, match=rf"column content: NaN as {name} for seed 2 \(run {key}\)"):
        make_report(spec, folder)
    assert "| 0.95 ± 0.01 | NaN |" in lines(make_report(spec, folder, allow_nan=True))[2]
    make_report(write_spec(tmp_path / "s.yaml", ceiling=False), folder)  # it is not asked for


def test_a_ceiling_is_the_mean_over_the_seeds_that_are_shown(tmp_path):
    folder = write_sweep(tmp_path / "sweep")
    key = key_of(False, 2)
    write_rows(folder / key / "results.csv", [{**r, "ceiling": 0.8} for r in score_rows(key, 2, math.nan)])
    collect([folder]).write(folder)
    report = make_report(write_spec(tmp_path / "s.yaml"), folder, allow_nan=True)
    assert "(n = 2, 1 NaN) ✓ | 0.95 ± 0.01 | 0.500 |" in lines(report)[2]


def test_rows_of_the_same_values_are_refused(sweep, tmp_path):
    entries = [{"at": [True], "label": "a"}, {"at": ["True"], "label": "b"}]
    spec = write_spec(tmp_path / "s.yaml", rows={"by": ["data.causal"], "entries": entries}, paper=None)
    with pytest.raises(UserError, match=r"rows.entries: a: at=true stands there twice"):
        make_report(spec, sweep)


def test_a_row_may_show_what_there_is_to_find(sweep, tmp_path):
    entries = [{"at": [False], "label": "ours"}, {"at": [False], "label": "ceiling", "score": "ceiling"}]
    rows = {"by": ["data.causal"], "label": "x", "entries": entries}
    spec = write_spec(tmp_path / "s.yaml", rows=rows, paper=None, ceiling=False)
    assert lines(make_report(spec, sweep))[2:] == [
        "| ours | 0.930 ± 0.036 (n = 3) | 0.100 ± 0.000 (n = 3) |",
        "| ceiling | 0.500 ± 0.000 (n = 3) | 0.500 ± 0.000 (n = 3) |",
    ]


def test_a_line_of_latex_does_not_begin_with_an_argument(sweep, tmp_path):
    entries = [{"at": [False], "label": "[5, 5]"}, {"at": [True], "label": "*"}]
    rows = {"by": ["data.causal"], "label": "[x]", "entries": entries}
    tex = make_report(write_spec(tmp_path / "s.yaml", rows=rows), sweep).files["table.tex"].decode()
    starts = [line[:4] for line in tex.splitlines() if line.endswith(r"\\")]
    assert starts == ["{[}x", "{[}5", "{*} "]


def test_a_run_that_is_done_without_such_a_row_is_evaluated_and_not_trained_again(tmp_path):
    folder = write_sweep(tmp_path / "sweep")
    key = key_of(True, 1)
    rows = [{**row, "evaluator": "other"} for row in score_rows(key, 1, 0.9)]
    write_rows(folder / key / "results.csv", rows)
    collect([folder]).write(folder)
    with pytest.raises(
        UserError, match=rf"{key} \(.*done, but without such a row\): mmcl evaluate {folder} 'evaluator=\["
    ):
        make_report(write_spec(tmp_path / "s.yaml"), folder)


def test_every_value_of_a_filter_must_be_there(sweep, tmp_path):
    wanted = {**SPEC["filter"], "evaluator": ["ridge", "rigde"]}
    with pytest.raises(UserError, match=r"filter.evaluator: rigde is not there; did you mean ridge\?"):
        make_report(write_spec(tmp_path / "s.yaml", filter=wanted), sweep)


def test_a_value_of_runs_that_are_not_done_is_there_and_one_of_none_is_not(tmp_path):
    folder = write_sweep(tmp_path / "sweep", skip=[(True, seed) for seed in range(3)])
    collect([folder]).write(folder)
    wanted = {**SPEC["filter"], "data.causal": [True, False]}
    spec = write_spec(tmp_path / "s.yaml", filter=wanted)
    with pytest.raises(UserError, match="row causal, column content: 0 of 3 seeds"):
        make_report(spec, folder)
    assert "n = 0 of 3" in lines(make_report(spec, folder, allow_missing=True))[3]


def test_a_column_without_label_and_place_is_called_by_its_score(sweep, tmp_path):
    changes = {
        "filter": {**SPEC["filter"], "role": "content"},
        "columns": {"entries": [{}, {"score": "excess"}, {"run": "wall_s"}]},
        "paper": None,
        "ceiling": False,
    }
    report = make_report(write_spec(tmp_path / "s.yaml", **changes), sweep)
    assert lines(report)[0] == "| setting | value | excess | wall_s |"


def test_two_hashes_that_are_one_number_are_two_points_of_a_line(tmp_path):
    for seed, key in enumerate(("1234567e12", "12345670e11")):
        write_run(tmp_path / "sweep", False, seed, key=key)
    collect([tmp_path / "sweep"]).write(tmp_path / "sweep")
    changes = {
        "rows": {"by": ["run_key"]},
        "figure": {"kind": "lines", "x": "run_key"},
        "paper": None,
        "seeds": 1,
    }
    assert len(lines(make_report(write_spec(tmp_path / "s.yaml", **changes), tmp_path / "sweep"))) == 4
