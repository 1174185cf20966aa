"""Two metrics of one role against each other: the points are those of the rows, and of the settings of the table."""

import pytest

from mmcl.errors import UserError
from mmcl.records.files import read_csv
from mmcl.reports.collect import collect
from mmcl.reports.figures import draw
from mmcl.reports.report import make_report
from mmcl.reports.scores import joined, read_inputs
from mmcl.reports.spec import read_spec
from tests.reports.sweeps import key_of, write_rows, write_sweep
from tests.reports.test_report import write_spec

FIGURE = {
    "kind": "scatter",
    "panels": [
        {"roles": "content_pc", "x": "variance", "y": "r2", "log": True},
        {"roles": "style_cc", "x": "strength", "y": "r2", "title": "style"},
    ],
}


@pytest.fixture
def sweep(tmp_path):
    """Each run has two directions of content more, of variance 1 and 2 (causal: 3 and 6) and R² 0.25 and 0.5."""
    folder = write_sweep(tmp_path / "sweep")
    for causal in (False, True):
        for seed in (0, 1, 2):
            path = folder / key_of(causal, seed) / "results.csv"
            rows = read_csv(path)
            for i in (1, 2):
                shared = {**rows[0], "target": f"content_pc{i}", "ceiling": ""}
                rows.append(
                    {**shared, "metric": "variance", "representation": "all", "value": i * (1 + 2 * causal)}
                )
                for view, moved in (("x1", -0.1), ("x2", 0.1)):
                    rows.append({**shared, "metric": "r2", "representation": view, "value": i / 4 + moved})
            write_rows(path, rows)
    collect([folder]).write(folder)
    return folder


def test_a_point_is_one_role_of_one_run(sweep, tmp_path):
    name = write_spec(
        tmp_path / "s.yaml",
        figure=FIGURE,
        filter={"evaluator": "ridge"},
        columns={"by": ["metric", "role"], "entries": [{"at": ["r2", "content"]}]},
        paper=None,
        ceiling=False,
    )
    report = make_report(name, sweep)
    assert make_report(name, sweep).files == report.files
    left, right = draw(report.grid, report.spec, joined(read_inputs(sweep), report.spec)).axes
    drawn = {
        line.get_label(): sorted(map(tuple, line.get_xydata().round(9).tolist()))
        for line in left.lines
        if not line.get_label().startswith("_")
    }
    assert drawn == {
        "independent": [(1.0, 0.25)] * 3 + [(2.0, 0.5)] * 3,
        "causal": [(3.0, 0.25)] * 3 + [(6.0, 0.5)] * 3,
    }
    assert left.get_xscale() == "log"
    assert right.get_title() == "style"
    assert [line for line in right.lines if len(line.get_xydata()) > 2] == []


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ({"kind": "scatter"}, "figures of kind scatter have one or more"),
        ({"kind": "points", "panels": FIGURE["panels"]}, "others none"),
        ({"kind": "scatter", "panels": [{"roles": "a", "x": "b"}]}, r"panels\[0\].y: missing"),
        ({"kind": "scatter", "panels": [{"roles": "a", "x": "b", "y": "c", "z": 1}]}, "z: unknown key"),
    ],
)
def test_panels_are_checked(tmp_path, figure, message):
    write_spec(tmp_path / "s.yaml", figure=figure)
    with pytest.raises(UserError, match=message):
        read_spec(tmp_path / "s.yaml")
