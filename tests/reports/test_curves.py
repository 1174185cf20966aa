from itertools import pairwise

import pytest

from mmcl.reports.curves import POINTS, read_metrics, thin, thin_group


def test_metrics_are_read_up_to_the_last_whole_line(tmp_path):
    path = tmp_path / "metrics.csv"
    assert read_metrics(path) == {}
    path.write_text("")
    assert read_metrics(path) == {}
    path.write_text("step,name,value\n5,loss,-0.5\n5,content_r2,0.25\n10,loss,-1.2")
    assert read_metrics(path) == {"loss": {5: "-0.5"}, "content_r2": {5: "0.25"}}


def test_a_line_that_is_none_is_named(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,name,value\n5,loss,1\nnonsense\n")
    with pytest.raises(ValueError, match=r"metrics.csv: line 3 is not step,name,value"):
        read_metrics(tmp_path / "metrics.csv")


@pytest.mark.parametrize("count", [1, 199, 200, 201, 12000])
def test_thinned_steps_are_few_and_keep_both_ends(count):
    steps = list(range(25, 25 * count + 1, 25))
    kept = thin(steps)
    assert len(kept) == min(count, POINTS)
    assert (kept[0], kept[-1]) == (steps[0], steps[-1])
    assert kept == sorted(set(kept))
    if count > POINTS:
        gaps = [b - a for a, b in pairwise(kept)]
        assert max(gaps) - min(gaps) <= 25


def test_seeds_of_a_group_share_their_steps_and_values_stay_as_logged():
    logged = {
        0: {"loss": {step: f"{step}.0" for step in range(1, 1001)}},
        1: {"loss": {step: f"{-step}.0" for step in range(1, 401)}},  # half finished
        2: {},  # nothing yet
    }
    curve = thin_group(logged)["loss"]
    assert len(curve.steps) == POINTS
    assert set(curve.values) == {0, 1}
    assert curve.values[0] == curve.steps
    assert curve.values[1] == [-step if step <= 400 else None for step in curve.steps]


def test_values_that_are_not_finite_leave_gaps():
    curve = thin_group({0: {"loss": {1: "nan", 2: "inf", 3: "0.123456789", 4: "?"}}})["loss"]
    assert curve.values[0] == [None, None, 0.12346, None]
