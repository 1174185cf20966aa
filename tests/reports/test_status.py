import pytest
from rich.console import Console

from mmcl.records.sweep import expect, read_sweep
from mmcl.reports.run import _table
from mmcl.reports.status import status_table
from mmcl.reports.summary import Line
from tests.reports.sweeps import write_run


def printed(renderable):
    console = Console(width=200, record=True, quiet=False)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


@pytest.mark.parametrize("value", ["[relu]", "[/data/b]", "[bold]x"])
def test_what_stands_in_brackets_is_shown_as_it_is(tmp_path, value):
    folder = tmp_path / value.replace("/", "") / "sweep[red]"
    folder.mkdir(parents=True)
    expect(folder, {"a": [f"x={value}", "seed=0"], "b": [f"x={value}", "seed=1", f"y={value}"]})
    text = printed(status_table(read_sweep(folder)))
    assert f"y={value}" in text
    assert "sweep[red]" in text
    line = Line(value, False, "r2", 0.5, float("nan"), None, None)
    text = printed(_table([line], None, {"name": value, "seed": 0}))
    assert f"{value}, seed 0: how well" in text
    assert f"│ {value} " in text
    assert "nan" not in text


@pytest.mark.parametrize("seconds", ["-1", "0", "nan", "inf"])
def test_a_bad_time_to_watch_is_refused_in_one_line(cli, tmp_path, seconds):
    write_run(tmp_path / "sweep", False, 0)
    result = cli("mmcl", "status", "sweep", f"--watch={seconds}")
    assert (result.code, result.out) == (1, "")
    assert result.err == (f"error: --watch={seconds}: must be a number of seconds > 0, such as --watch=5\n")
