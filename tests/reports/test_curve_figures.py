"""Learning curves, from the runs' logs through ``mmcl collect --curve`` into a figure."""

import shutil

import pytest
import yaml

from mmcl.errors import UserError
from mmcl.records.files import read_csv
from mmcl.reports.collect import collect
from mmcl.reports.figures import draw
from mmcl.reports.report import make_report
from mmcl.reports.scores import read_inputs
from mmcl.reports.spec import read_spec
from tests.reports.sweeps import key_of, write_sweep
from tests.reports.test_report import write_spec

FIGURE = {"kind": "curves", "curve": "loss", "label": "loss"}


@pytest.fixture
def sweep(tmp_path):
    """Every run's loss at step t is seed + t, in the causal setting ten more; content_r2 is in some steps alone."""
    folder = write_sweep(tmp_path / "sweep")
    for causal in (False, True):
        for seed in (0, 1, 2):
            points = [f"{t},loss,{seed + t + 10 * causal}\n" for t in range(1, 6)]
            log = "step,name,value\n" + "".join(points) + "5,content_r2,0.5\n"
            (folder / key_of(causal, seed) / "metrics.csv").write_text(log)
    return folder


def test_curves_are_collected_only_where_they_are_asked_for(sweep):
    collect([sweep], ["loss"]).write(sweep)
    rows = read_csv(sweep / "curves.csv")
    assert len(rows) == 6 * 5
    assert {row["name"] for row in rows} == {"loss"}
    ours = [(int(r["step"]), float(r["value"])) for r in rows if r["run_key"] == key_of(True, 2)]
    assert ours == [(t, 12.0 + t) for t in range(1, 6)]
    collect([sweep]).write(sweep)
    assert not (sweep / "curves.csv").exists()


def test_the_mean_and_spread_over_seeds_are_drawn_for_each_row(sweep, tmp_path):
    collect([sweep], ["loss", "content_r2"]).write(sweep)
    for run in sweep.iterdir():
        if run.is_dir():
            shutil.rmtree(run)
    name = write_spec(tmp_path / "s.yaml", figure=FIGURE)
    report = make_report(name, sweep)
    assert b"curves.csv" in report.files["sources.json"]
    assert make_report(name, sweep).files == report.files
    (axis,) = draw(report.grid, report.spec, read_inputs(sweep, ["loss"]).curves).axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axis.lines}
    # The mean of seeds 0, 1, 2 is 1 above the step; their sample standard deviation is 1.
    assert drawn == {
        "independent": [[t, t + 1.0] for t in range(1, 6)],
        "causal": [[t, t + 11.0] for t in range(1, 6)],
    }
    low, high = (f(axis.collections[0].get_paths()[0].vertices[:, 1]) for f in (min, max))
    assert (low, high) == (1.0, 7.0)


def test_what_is_not_there_is_named(sweep, tmp_path):
    with pytest.raises(UserError, match=r"logged no curve lss; did you mean loss\?"):
        collect([sweep], ["lss"])
    collect([sweep]).write(sweep)
    name = write_spec(tmp_path / "s.yaml", figure=FIGURE)
    with pytest.raises(
        UserError, match=r"curves.csv: no such file; make it first: mmcl collect .* --curve loss"
    ):
        make_report(name, sweep)
    collect([sweep], ["content_r2"]).write(sweep)
    with pytest.raises(UserError, match="no curve loss; there are: content_r2"):
        make_report(name, sweep)
    (sweep / "curves.csv").write_text("run_key,name,step,value\na,loss,one,2\n")
    with pytest.raises(UserError, match=r"curves.csv: .*collect again"):
        make_report(name, sweep)


@pytest.mark.parametrize("figure", [{"kind": "curves"}, {"kind": "points", "curve": "loss"}])
def test_a_curve_belongs_to_the_kind_curves(tmp_path, figure):
    spec = yaml.safe_load((tmp_path / write_spec(tmp_path / "s.yaml")).read_text())
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({**spec, "figure": figure}))
    with pytest.raises(UserError, match=r"figure.curve=.*curves name a logged value"):
        read_spec(tmp_path / "s.yaml")
