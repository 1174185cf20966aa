"""What ``mmcl evaluate`` does around the evaluation of each run, which is replaced here."""

import json

import pytest
import yaml

from mmcl import experiment
from mmcl.config.compose import compose_one
from mmcl.config.schema import validate_train
from mmcl.reports import run as reports
from tests.reports.sweeps import write_run


@pytest.fixture
def evaluated(monkeypatch):
    """The runs that were evaluated."""
    found = []
    monkeypatch.setattr(experiment, "evaluate", lambda run_dir, evaluator: found.append(run_dir.name))
    monkeypatch.setattr(reports, "redraw", lambda run_dir: None)
    return found


@pytest.fixture
def sweep(tmp_path):
    """Two trained runs with whole configs, one that is not trained and one with a damaged manifest."""
    folder = tmp_path / "a=b,c"
    config = validate_train(compose_one("train", ["experiment=smoke"])).resolved
    for seed in (0, 1):
        (write_run(folder, False, seed) / "config.yaml").write_text(yaml.safe_dump(config))
    write_run(folder, False, 2, status="FAILED", error="no")
    (write_run(folder, False, 3) / "manifest.json").write_text("{")
    return folder


def test_what_is_left_out_is_counted_and_any_folder_may_be_named(cli, sweep, evaluated):
    result = cli("mmcl", "evaluate", "a=b,c")
    assert result.code == 0, result.err
    assert result.out.splitlines()[0] == ("2 run(s) left out: 1 not trained, 1 with a damaged manifest.json")
    assert len(evaluated) == 2


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        (["evaluator=[linear]", "+evaluator.linear.typo=1"], "typo"),
        (["evaluator=[linear]", "evaluator.linear.n_fit=-1"], "n_fit"),
        (["evaluator=[no_such]"], "no_such"),
    ],
)
def test_a_bad_evaluator_is_refused_before_the_first_run(cli, sweep, evaluated, overrides, word):
    result = cli("mmcl", "evaluate", "a=b,c", *overrides)
    assert result.code != 0
    assert (evaluated, result.out) == ([], "")
    assert len(result.err.splitlines()) == 1
    assert word in result.err


def test_a_run_whose_config_cannot_be_read_hides_no_other(cli, sweep, evaluated, monkeypatch):
    first = min(sweep.iterdir())
    (first / "config.yaml").write_text("a: [")
    assert cli("mmcl", "evaluate", "a=b,c").code == 0  # the fault is told when that run is evaluated
    assert len(evaluated) == 2


def test_ctrl_c_is_one_line(cli, sweep, monkeypatch):
    def stop(run_dir, evaluator):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "evaluate", stop)
    result = cli("mmcl", "evaluate", "a=b,c")
    assert (result.code, result.err) == (130, "error: stopped; what was written until then stays\n")


def test_a_manifest_of_no_run_is_no_crash(cli, tmp_path):
    folder = write_run(tmp_path / "sweep", False, 0)
    (folder / "manifest.json").write_text(json.dumps({"schema_version": 1}))
    for command in ("status", "collect", "dashboard", "prune", "evaluate"):
        result = cli("mmcl", command, "sweep")
        assert "Traceback" not in result.err
        assert len(result.err.splitlines()) <= 1
