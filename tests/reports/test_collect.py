import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmcl.errors import UserError
from mmcl.reports.collect import collect
from mmcl.reports.configs import canonical, read_config, sort_key
from tests.conftest import ROOT
from tests.reports.sweeps import key_of, overrides_of, write_launch, write_run, write_sweep


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep_becomes_two_tidy_tables(cli, tmp_path):
    write_sweep(tmp_path / "multirun" / "tiny")
    result = cli("mmcl", "collect", "multirun/tiny")
    assert result.code == 0, result.err
    assert result.out.splitlines()[0] == (
        "expected 6, done 6, running 0, failed 0, interrupted 0, stale 0, missing 0, unexpected 0"
    )
    rows = table(tmp_path / "multirun/tiny/results.csv")
    assert len(rows) == 6 * 5
    assert list(rows[0])[-2:] == ["n_test", "data.causal"]
    assert {(r["seed"], r["data.causal"]) for r in rows} == {(s, c) for s in "012" for c in ("true", "false")}
    runs = table(tmp_path / "multirun/tiny/runs.csv")
    assert list(runs[0])[:5] == ["run_key", "state", "seed", "data.causal", "wall_s"]
    assert runs[0] == {
        **runs[0],
        "run_key": key_of(False, 0),
        "state": "done",
        "wall_s": "10.0",
        "train_s": "8.0",
        "evaluate_s": "1.5",
        "peak_memory_gib": "1.0",
        "steps": "7",
        "attempts": "1",
        "threads": "2",
        "commit": "c" * 40,
        "dirty": "false",
        "error": "",
        "data.sizes": "[5, 5]",
    }
    assert [r["run_key"] for r in runs] == [key_of(c, s) for c in (False, True) for s in (0, 1, 2)]


def test_the_audit_names_what_is_not_there_and_why(tmp_path):
    runs = [(False, seed) for seed in range(5)]
    write_launch(tmp_path, runs)
    write_run(tmp_path, False, 0)
    write_run(tmp_path, False, 1, status="FAILED", error="loss is NaN\nat step 3")
    write_run(tmp_path, False, 2, status="INTERRUPTED", error="stopped")
    write_run(tmp_path, False, 3, status="RUNNING")  # without a heartbeat
    write_run(tmp_path, True, 0)  # no launch named it
    found = collect([tmp_path])
    text = "\n".join(found.audit)
    assert found.audit[0] == (
        "expected 5, done 2, running 0, failed 1, interrupted 1, stale 1, missing 1, unexpected 1"
    )
    assert f"failed: {key_of(False, 1)} (data.causal=false, seed=1): loss is NaN" in found.audit
    assert "step 3" not in text
    assert f"missing: {key_of(False, 4)} (data.causal=false, seed=4)" in found.audit
    assert f"unexpected: {key_of(True, 0)} (data.causal=true, seed=0)" in found.audit
    assert [line["state"] for line in found.runs].count("missing") == 1
    assert {row["run_key"] for row in found.results} == {key_of(False, 0), key_of(True, 0)}


def test_a_missing_run_has_the_config_of_the_same_overrides(tmp_path):
    runs = [(True, 0), (True, 1), (False, 0)]
    write_launch(tmp_path, runs)
    write_run(tmp_path, True, 0, batch_size=8)  # as if experiment=tiny said so
    write_run(tmp_path, False, 0)
    lines = {line["run_key"]: line for line in collect([tmp_path]).runs}
    assert lines[key_of(True, 1)]["batch_size"] == "8"
    assert lines[key_of(True, 1)]["seed"] == "1"


def test_mixed_commits_are_an_error_unless_allowed(cli, tmp_path):
    write_run(tmp_path / "sweep", False, 0)
    write_run(tmp_path / "sweep", False, 1, commit="d" * 40)
    result = cli("mmcl", "collect", "sweep")
    assert result.code == 1
    assert "mixed commits: cccccccccc (1 runs), dddddddddd (1 runs)" in result.err
    assert "--allow-mixed" in result.err
    assert not (tmp_path / "sweep" / "results.csv").exists()
    assert cli("mmcl", "collect", "sweep", "--allow-mixed").code == 0


def test_dirty_code_and_mixed_versions_are_said(tmp_path):
    write_run(tmp_path, False, 0)
    path = write_run(tmp_path, False, 1) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["attempts"][0]["git"]["dirty"] = True
    manifest["attempts"][0]["versions"] = {"torch": "2.8"}
    path.write_text(json.dumps(manifest))
    audit = collect([tmp_path]).audit
    assert any(line.startswith("dirty code: 1 run(s)") and key_of(False, 1) in line for line in audit)
    assert "mixed versions of torch: 2.8 (1 runs), 2.9 (1 runs)" in audit


def test_run_directories_are_collected_elsewhere_with_their_overrides(cli, tmp_path):
    folders = [write_run(tmp_path / "runs" / "tiny", False, seed) for seed in (0, 1)]
    write_run(tmp_path / "runs" / "tiny", False, 2, status="FAILED", error="no")
    names = [str(f.relative_to(tmp_path)) for f in folders]
    result = cli("mmcl", "collect", *names, "-o", "out")
    assert result.code == 0, result.err
    assert len(table(tmp_path / "out" / "runs.csv")) == 2
    overrides = {row["run_key"]: json.loads(row["overrides"]) for row in table(tmp_path / "out" / "runs.csv")}
    assert overrides == {key_of(False, s): overrides_of(False, s) for s in (0, 1)}
    assert not (tmp_path / "out" / "sweep.json").exists()
    result = cli("mmcl", "collect", f"runs/tiny/{key_of(False, 2)}", "-o", "out2")
    assert (result.code, "failed (no); run its command again" in result.err) == (1, True)
    result = cli("mmcl", "collect", *names)
    assert "-o FOLDER" in result.err
    result = cli("mmcl", "collect", names[0], "nowhere", "-o", "out2")
    assert result.err.startswith("error: nowhere: no run there")
    assert not (tmp_path / "out2").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("results.csv", "run_key,value\na000000000\n", "line 2 is damaged"),
        ("results.csv", "run_key,value\nother,1\n", "line 2 is damaged or of another run"),
        ("config.yaml", "a: [", "not valid YAML"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content, message):
    folder = write_run(tmp_path, False, 0)
    (folder / name).write_text(content)
    with pytest.raises(UserError, match=f"{name}: {message}"):
        collect([tmp_path])
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name}: missing"):
        collect([tmp_path])


def test_configs_are_flat_and_equal_values_are_one(tmp_path):
    (tmp_path / "config.yaml").write_text("a: {b: 1.0, c: null, d: true}\ne: [1, 2]\nf: 1\n")
    config = read_config(tmp_path / "config.yaml")
    assert config == {"a.b": "1.0", "a.c": "null", "a.d": "true", "e": "[1, 2]", "f": "1"}
    assert canonical(config["a.b"]) == canonical(config["f"]) != canonical(True)
    assert canonical("[1,2]") == canonical([1, 2])
    assert sorted(["10", "9", "x", "1e-3"], key=lambda v: sort_key([v])) == ["1e-3", "9", "10", "x"]


@pytest.mark.slow
def test_a_thousand_runs(tmp_path):
    runs = [(causal, seed) for causal in (False, True) for seed in range(500)]
    write_launch(tmp_path, runs)
    for causal, seed in runs:
        write_run(tmp_path, causal, seed)
    found = collect([tmp_path])
    assert found.audit[0].startswith("expected 1000, done 1000, ")
    assert len(found.results) == 5000
    assert [line["seed"] for line in found.runs] == [str(seed) for seed in range(500)] * 2


def test_collect_and_report_do_not_import_torch(tmp_path):
    write_sweep(tmp_path / "sweep")
    (tmp_path / "s.yaml").write_text("{title: t, rows: {by: [data.causal]}, seeds: 1, aggregate: role, "
                                     "filter: {role: content}}")  # fmt: skip
    code = (
        "import sys; from mmcl.commands import main\n"
        "for command in (['collect', 'sweep'], ['report', 's.yaml', 'sweep']):\n"
        "    sys.argv = ['mmcl', *command]; main()\n"
        "assert not {'torch', 'lightning', 'hydra', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def change_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_collecting_into_a_sweep_leaves_its_launches(cli, tmp_path):
    write_launch(tmp_path / "sweep", [(False, 0), (False, 1)])
    write_run(tmp_path / "sweep", False, 0)
    before = (tmp_path / "sweep" / "sweep.json").read_bytes()
    runs = write_run(tmp_path / "runs", True, 5)
    assert cli("mmcl", "collect", str(runs), "-o", "sweep").code == 0
    assert (tmp_path / "sweep" / "sweep.json").read_bytes() == before


def test_overrides_that_nothing_tells_are_empty_and_no_overrides_are_a_list(tmp_path):
    (write_run(tmp_path, False, 0) / "manifest.json").write_text("{")
    folder = write_run(tmp_path, False, 1)
    change_manifest(folder, attempts=[{"overrides": []}])
    lines = {line["run_key"]: line["overrides"] for line in collect([tmp_path]).runs}
    assert lines == {key_of(False, 0): "", key_of(False, 1): "[]"}


def test_all_commits_of_a_run_are_told_and_mixed(tmp_path):
    folder = write_run(tmp_path, False, 0)
    states = [{"commit": c * 40, "dirty": dirty} for c, dirty in (("b", True), ("a", False), ("a", False))]
    change_manifest(folder, attempts=[{"git": state} for state in states])
    found = collect([tmp_path])
    assert (found.runs[0]["commit"], found.runs[0]["dirty"]) == (f"{'b' * 40} {'a' * 40}", "true")
    assert found.mixed == "mixed commits: aaaaaaaaaa (1 runs), bbbbbbbbbb (1 runs)"


def test_an_evaluation_at_another_commit_is_told_and_mixed(tmp_path):
    folder = write_run(tmp_path, False, 0)
    assert collect([tmp_path]).mixed is None
    git = {"commit": "d" * 40, "dirty": True}
    change_manifest(folder, evaluations={"ridge": {"key": "e1", "seconds": 1.5, "git": git}})
    found = collect([tmp_path])
    assert (found.runs[0]["commit"], found.runs[0]["dirty"]) == (f"{'c' * 40} {'d' * 40}", "true")
    assert found.mixed == "mixed commits: cccccccccc (1 runs), dddddddddd (1 runs)"
    assert any(line.startswith("dirty code: 1 run(s)") for line in found.audit)


@pytest.mark.parametrize("order", [1, -1])
def test_columns_do_not_depend_on_the_launch_where_configs_differ_in_keys(tmp_path, order):
    runs = [(False, 0), (True, 0)]
    write_launch(tmp_path, runs[::order])
    write_run(tmp_path, False, 0, loss={"b": 1, "a": 2})
    write_run(tmp_path, True, 0, loss={"a": 2, "c": 3, "b": 2})
    found = collect([tmp_path])
    assert found.run_columns[3:6] == ["data.causal", "loss.b", "loss.c"]
    assert found.run_columns[-2:] == ["loss.a", "name"]


def test_the_folder_above_may_be_named_by_two_dots(tmp_path, monkeypatch):
    folder = write_run(tmp_path, False, 0)
    (folder / "checkpoints").mkdir()
    monkeypatch.chdir(folder / "checkpoints")
    assert [line["run_key"] for line in collect([Path("..")]).runs] == [key_of(False, 0)]
