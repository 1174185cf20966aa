import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from mmcl.errors import UserError
from mmcl.records.files import read_csv
from mmcl.records.sweep import expect, read_sweep
from mmcl.reports import configs
from mmcl.reports.dashboard import dashboard, embed, page
from mmcl.reports.dashboard_data import gather
from mmcl.reports.summary import summarise_rows
from tests.conftest import ROOT
from tests.reports.dashboard_jobs import COMMIT, NOW, Job, config, grid, write_job


@pytest.fixture
def sweep(tmp_path):
    """A sweep with a run in each state: two seeds of one setting, four of another."""
    folder = tmp_path / "multirun" / "demo"
    jobs = [
        Job(f"run{i}", [f"data.style_change_prob={p}", f"seed={seed}"], config(seed, p), state, error=error)
        for i, (p, seed, state, error) in enumerate(
            [
                (1.0, 0, "done", None),
                (1.0, 1, "done", None),
                (0.5, 0, "failed", "ValueError: it broke\nsecond line"),
                (0.5, 1, "running", None),
                (0.5, 2, "interrupted", "stopped at step 600 by signal 15"),
                (0.5, 3, "stale", None),
                (0.5, 4, "missing", None),
            ]
        )
    ]
    for job in jobs:
        write_job(folder, job)
    expect(folder, {job.key: job.overrides for job in jobs})
    return folder


def block(folder):
    return gather(read_sweep(folder, NOW), NOW)


def test_the_block_says_how_each_run_stands(sweep):
    data = block(sweep)
    assert data["sweep"] == {
        "name": "demo",
        "written": "2027-01-15 08:00 UTC",
        "commits": [{"commit": COMMIT[:10], "dirty": False, "runs": 6}],
        "points": 200,
    }
    assert data["states"] == {
        "done": 2, "running": 1, "failed": 1, "interrupted": 1, "stale": 1, "missing": 1,
    }  # fmt: skip
    assert data["keys"] == [{"key": "data.style_change_prob", "label": "style_change_prob"}]
    runs = {run["key"]: run for run in data["runs"]}
    assert [(r["state"], r["seed"], r["values"]) for r in data["runs"]] == [
        ("done", 0, [1]),
        ("done", 1, [1]),
        ("failed", 0, [0.5]),
        ("running", 1, [0.5]),
        ("interrupted", 2, [0.5]),
        ("stale", 3, [0.5]),
        ("missing", 4, [0.5]),
    ]
    assert runs["run0"]["command"] == "python train.py -m data.style_change_prob=1.0 seed=0"
    assert runs["run2"]["error"] == "ValueError: it broke"
    assert runs["run5"]["error"] == "no sign of life since 3 h ago"
    progress = {key: (run["progress"], run["doing"]) for key, run in runs.items()}
    assert progress == {
        "run0": (1.0, "1,000 steps"),
        "run1": (1.0, "1,000 steps"),
        "run2": (0.12, "120 of 1,000 steps"),
        "run3": (0.43, "430 of 1,000, 5 min left"),
        "run4": (0.6, "600 of 1,000 steps"),
        "run5": (0.3, "300 of 1,000 steps"),
        "run6": (None, "not begun"),
    }
    assert 200 <= runs["run0"]["wall"] < 261
    assert runs["run3"]["wallText"] == "30 min 0 s"
    assert runs["run2"]["wall"] is None


def test_scores_are_those_of_the_runs_own_table(sweep):
    data = block(sweep)
    lines = {
        (line.role, line.intervened): line
        for line in summarise_rows(read_csv(sweep / "run0" / "results.csv"))
    }
    assert [(role["id"], role["metric"]) for role in data["roles"]] == [
        ("content", "R²"),
        ("style", "R²"),
        ("modality_specific", "R²"),
        ("content, intervened", "R²"),
        ("style, intervened", "R²"),
        ("modality_specific, intervened", "R²"),
    ]
    for (role, intervened), line in lines.items():
        scores = data["runs"][0]["scores"][f"{role}, intervened" if intervened else role]
        for name, value in scores.items():
            assert value == pytest.approx(getattr(line, name), abs=1e-6), (role, name)
    assert data["runs"][0]["scores"]["content"]["nonlinear"] == pytest.approx(0.9)
    assert data["runs"][3]["scores"] == {}


def test_curves_are_grouped_by_what_differs_but_the_seed(sweep):
    data = block(sweep)
    assert data["groups"] == [[0.5], [1]]
    assert [run["group"] for run in data["runs"]] == [1, 1, 0, 0, 0, 0, 0]
    assert list(data["curves"]) == ["content_r2", "loss"]
    half, full = data["curves"]["loss"]
    assert (half["group"], full["group"]) == (0, 1)
    assert set(half["runs"]) == {2, 3, 4, 5}, "a run that is missing has no curve"
    assert full["steps"] == list(range(10, 1001, 10))
    assert half["steps"][-1] == 600
    assert [v is None for v in half["runs"][2]] == [step > 120 for step in half["steps"]]


def test_files_that_cannot_be_read_cost_their_own_run_only(sweep):
    (sweep / "run0" / "results.csv").write_text("a,b\n1,2\n")
    (sweep / "run1" / "config.yaml").write_text("a: [")
    (sweep / "run3" / "metrics.csv").write_text("step,name,value\nx,y\n")
    (sweep / "run4" / "metrics.csv").unlink()
    (sweep / "run2" / "manifest.json").write_text("{")
    runs = {run["key"]: run for run in block(sweep)["runs"]}
    assert runs["run0"]["error"] == "results.csv: cannot be read (no 'split')"
    assert runs["run1"]["error"].startswith("config.yaml: cannot be read (")
    assert runs["run1"]["values"] == [1]
    assert runs["run3"]["error"] == "metrics.csv: cannot be read (metrics.csv: line 2 is not step,name,value)"
    assert runs["run4"]["progress"] == 0.0
    assert runs["run2"]["state"] == "failed"
    assert "not valid JSON" in runs["run2"]["error"]
    assert page(block(sweep))


def test_a_score_that_is_not_a_number_is_a_gap(sweep):
    path = sweep / "run0" / "results.csv"
    path.write_text(
        path.read_text().replace(
            "kernel_ridge,e,test,x1,none,content,r2,0.91,", "kernel_ridge,e,test,x1,none,content,r2,inf,"
        )
    )
    scores = block(sweep)["runs"][0]["scores"]
    assert scores["content"]["nonlinear"] is None
    assert scores["content"]["linear"] is not None
    assert page(block(sweep))


def test_how_far_a_run_is_comes_from_its_heartbeat(sweep):
    path = sweep / "run3" / "heartbeat.json"
    beat = json.loads(path.read_text())
    for change, progress, doing in (
        ({"doing": "start", "done": 0, "total": 0}, 0.43, "starting"),
        ({"done": 700}, 0.7, "700 of 1,000, 2 min left"),
        ({"doing": "evaluate", "done": 2, "total": 6}, 0.43, "evaluated 2 of 6, 7 min left"),
    ):
        path.write_text(json.dumps({**beat, **change}))
        run = block(sweep)["runs"][3]
        assert (run["state"], run["progress"], run["doing"]) == ("running", progress, doing)


def test_a_sweep_that_has_only_been_launched_and_one_without_its_record(sweep, tmp_path):
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    expect(fresh, {"a": ["seed=0"], "b": ["seed=1"]})
    data = block(fresh)
    assert [(r["state"], r["seed"]) for r in data["runs"]] == [("missing", 0), ("missing", 1)]
    assert (data["curves"], data["roles"], data["groups"]) == ({}, [], [[]])
    (sweep / "sweep.json").unlink()
    data = block(sweep)
    assert len(data["runs"]) == 6
    assert not any(run["expected"] for run in data["runs"])
    assert data["keys"][0]["label"] == "style_change_prob"


def test_odd_fields_cost_their_own_run_only(sweep):
    (sweep / "run0" / "config.yaml").write_text("trainer: x\nseed: 0\n")
    path = sweep / "run1" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["attempts"][0]["started"] = "yesterday"
    path.write_text(json.dumps(manifest))
    (sweep / "run2" / "manifest.json").write_text('{"schema_version": 1}')
    beat = json.loads((sweep / "run3" / "heartbeat.json").read_text())
    (sweep / "run3" / "heartbeat.json").write_text(json.dumps({**beat, "time": None}))
    runs = {run["key"]: run for run in block(sweep)["runs"]}
    assert runs["run0"]["error"] == "config.yaml: cannot be read (trainer='x' has no keys)"
    assert "attempts[0].started='yesterday'" in runs["run1"]["error"]
    assert "status: missing" in runs["run2"]["error"]
    assert "heartbeat.json: not a heartbeat (time=None)" in runs["run3"]["error"]
    assert runs["run4"]["error"] == "stopped at step 600 by signal 15"
    assert page(block(sweep))


def test_a_command_is_one_that_makes_the_run_where_it_is(sweep):
    (sweep / "run2" / "manifest.json").write_text("{")
    (sweep / "sweep.json").unlink()
    commands = {run["key"]: run["command"] for run in block(sweep)["runs"]}
    assert commands["run0"] == "python train.py data.style_change_prob=1.0 seed=0"  # no sweep's folder
    assert commands["run2"] == ""  # nothing says its overrides


def test_steps_count_that_the_manifest_or_the_curve_tells_of(sweep):
    path = sweep / "run4" / "manifest.json"
    for steps, expected in ((640, "640 of 1,000 steps"), (3, "600 of 1,000 steps")):
        path.write_text(json.dumps({**json.loads(path.read_text()), "steps_done": steps}))
        assert block(sweep)["runs"][4]["doing"] == expected


HOSTILE = "</script><script>alert(1)</script><!-- <b>&amp;"


def test_no_value_of_a_run_ends_the_data_block(tmp_path):
    folder = tmp_path / "<i>sweep"
    write_job(folder, Job("run0", [f"name={HOSTILE}"], config(name=HOSTILE), "failed", error=HOSTILE))
    write_job(folder, Job("run1", ["name=harmless"], config()))
    path, runs = dashboard(folder, now=NOW)
    text = path.read_text()
    assert runs == 2
    inside = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert inside is not None
    data = json.loads(inside[1])
    assert data == json.loads(embed(block(folder)))
    assert data["runs"][0]["error"] == HOSTILE
    assert data["runs"][0]["values"] == [HOSTILE]
    assert "alert(1)</script>" not in text
    assert "<title>&lt;i&gt;sweep" in text


def test_the_page_is_one_file_that_names_no_other(sweep):
    path, _ = dashboard(sweep, now=NOW)
    text = path.read_text()
    own = text[: text.index('<script type="application/json"')]
    assert "default-src 'none'" in own
    assert not re.search(r"<script[^>]+src=|<link[^>]+href=\"(?!data:)|@import|url\(", own)
    assert sorted(p.name for p in sweep.iterdir() if p.is_file()) == [
        ".sweep.lock",
        "dashboard.html",
        "sweep.json",
    ]


def test_the_page_is_written_again_while_jobs_run(sweep):
    path, _ = dashboard(sweep, now=NOW)
    before = path.read_text()
    with (sweep / "run3" / "metrics.csv").open("a") as file:
        file.write("440,loss,-3.5\n")
    dashboard(sweep, now=NOW)
    assert path.read_text() != before


def test_configs_are_read_without_the_c_loader_too(sweep, monkeypatch):
    data = block(sweep)
    monkeypatch.setattr(configs, "Loader", yaml.SafeLoader)
    assert block(sweep) == data


def test_from_the_command_line(cli, sweep):
    result = cli("mmcl", "dashboard", "multirun/demo")
    assert (result.code, result.err) == (0, "")
    assert result.out == "7 run(s) in multirun/demo/dashboard.html: open it in a browser\n"
    result = cli("mmcl", "dashboard", "multirun/demo", "-o", "page.html")
    assert result.code == 0
    assert Path("page.html").stat().st_size > 1_000_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "error: nowhere: no such folder; name a sweep's, such as multirun/NAME\n"),
        (["."], "error: .: no runs there; name a sweep's folder, such as multirun/NAME\n"),
        (
            ["multirun/demo", "-o", "."],
            "error: --output=.: a folder; name a file in it, such as dashboard.html\n",
        ),
        (
            ["multirun/demo", "-o", "no/page.html"],
            "error: --output=no/page.html: no folder no; make it, or name another file\n",
        ),
    ],
)
def test_errors_are_one_line(cli, sweep, arguments, message):
    result = cli("mmcl", "dashboard", *arguments)
    assert (result.code, result.err, result.out) == (1, message, "")


def test_a_full_disk_leaves_the_old_page(sweep, small_disk):
    disk = small_disk("64k")
    (disk / "page.html").write_text("old")
    with pytest.raises(UserError, match=r"page.html: cannot be written \(No space left on device\)"):
        dashboard(sweep, disk / "page.html", NOW)
    assert [p.name for p in disk.iterdir()] == ["page.html"]
    assert (disk / "page.html").read_text() == "old"


def test_torch_is_not_imported(sweep):
    code = (
        "import sys; from mmcl.commands import main; sys.argv = ['mmcl', 'dashboard', sys.argv[1]]; main(); "
        "print(sorted({'torch', 'lightning', 'hydra', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(sweep)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_200_runs_are_written_in_seconds(tmp_path):
    grid(tmp_path / "demo", 200, every=1)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "mmcl", "dashboard", str(tmp_path / "demo")], cwd=ROOT, check=True)
    assert time.perf_counter() - began < 15
    assert (tmp_path / "demo" / "dashboard.html").stat().st_size < 10e6


def test_our_own_parts_hold_nothing_that_ends_them_early():
    for name, end in (("js", "</script"), ("css", "</style")):
        text = (ROOT / "mmcl" / "reports" / f"dashboard.{name}").read_text()
        assert end not in text.lower()
        assert "<!--" not in text
