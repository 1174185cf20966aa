"""Estimators of the number of content factors: on curves whose answer is known, and through a report."""

import doctest
import math

import pytest

from mmcl.errors import UserError
from mmcl.records.files import write_csv
from mmcl.reports import content_size
from mmcl.reports.content_size import count_above, half_gain, knee, largest_gap
from mmcl.reports.report import make_report
from tests.reports.sweeps import COLUMNS
from tests.reports.test_report import write_spec


def test_doctests():
    assert doctest.testmod(content_size).failed == 0


def curve(truth, slope=0.1, largest=10):
    """A loss that falls by 1 for each content factor, and by ``slope`` for each dimension after that."""
    return {k: -min(k, truth) - slope * max(0, k - truth) for k in range(1, largest + 1)}


@pytest.mark.parametrize("truth", range(2, 9))
@pytest.mark.parametrize("slope", [0.0, 0.1, 0.4])
def test_a_sharp_bend_is_found(truth, slope):
    assert knee(curve(truth, slope)) == truth
    assert half_gain(curve(truth, slope)) == truth


def test_without_a_bend_there_is_no_answer_in_between():
    assert half_gain(curve(10)) == 10
    assert knee(dict.fromkeys(range(1, 5), -1.0)) == 1
    assert knee({3: -1.0}) == 3


def test_the_knee_does_not_depend_on_the_losses_scale_or_offset():
    moved = {k: 5 + 3 * loss for k, loss in curve(4, 0.3).items()}
    assert knee(moved) == knee(curve(4, 0.3))


@pytest.mark.parametrize("truth", [1, 3, 5])
def test_content_is_told_from_style_by_correlations(truth):
    found = [0.999] * truth + [0.9, 0.7, 0.3]
    assert largest_gap(found) == count_above(found, 0.95) == truth


def test_perfect_correlations_are_finite():
    assert largest_gap([1.0, 1.0, 0.5]) == 2
    assert largest_gap([0.3]) == 1


def collected(folder, worlds, skip=()):
    """``worlds``: (seed, content size, validation losses by size, correlations of the widest encoding, dimension)."""
    rows, runs = [], []
    for seed, truth, losses, correlations, dimension in worlds:
        for size, loss in losses.items():
            key = f"{seed}{truth}{size:08d}"
            if (seed, size) in skip:
                continue
            runs.append(
                {
                    "run_key": key, "state": "done", "seed": seed, "data.content_size": truth,
                    "encoder.encoding_size": size, "commit": "c" * 40, "overrides": "[]",
                }
            )  # fmt: skip
            shared = dict.fromkeys(COLUMNS, "") | {"run_key": key, "seed": seed, "intervention": "none"}
            scores = [("heldout_loss", "validation", "all", "objective", "loss", loss)]
            scores += [("heldout_loss", "test", "all", "objective", "loss", 7.0)]
            for view in ("x1", "x2"):
                scores += [
                    ("shared", "test", view, f"shared_cc{i}", "canonical_correlation", r)
                    for i, r in enumerate(correlations[:size], 1)
                ]
                scores.append(("shared", "test", view, "encoding", "intrinsic_dimension", dimension))
            names = ("evaluator", "split", "representation", "target", "metric", "value")
            rows += [shared | dict(zip(names, score, strict=True)) for score in scores]
    folder.mkdir()
    write_csv(folder / "results.csv", COLUMNS, rows)
    write_csv(folder / "runs.csv", list(runs[0]), runs)
    return folder


CHANGES = {
    "derive": "content_size",
    "aggregate": "none",
    "filter": {"evaluator": "content_size", "metric": "right"},
    "rows": {"label": "estimator", "by": ["target"]},
    "columns": {"by": ["data.content_size"]},
    "seeds": 2,
    "statistic": "mean",
    "paper": None,
    "ceiling": False,
    "figure": {"kind": "none"},
}


def test_a_report_says_how_often_each_is_right(tmp_path):
    right = [0.999] * 3 + [0.5, 0.4]
    worlds = [
        (0, 3, curve(3, 0.1, 5), right, 3.2),
        (1, 3, curve(4, 0.1, 5), right, 3.9),  # the loss bends too late, and the dimension is taken for 4
        (0, 2, curve(2, 0.1, 5), [0.999] * 2 + [0.5, 0.4, 0.3], 2.0),
        (1, 2, curve(2, 0.1, 5), [0.999, 0.97, 0.96, 0.2, 0.1], 2.0),  # a style that is nearly shared
    ]
    folder = collected(tmp_path / "sweep", worlds)
    report = make_report(write_spec(tmp_path / "s.yaml", **CHANGES), folder)
    cells = {(c.row.at[0], c.column.at[0]): c.values for c in report.grid.cells.values()}
    assert cells["loss: knee", "3.0"] == [1.0, 0.0]
    assert cells["loss: half gain", "3.0"] == [1.0, 0.0]
    assert cells["rank: largest gap", "3.0"] == [1.0, 1.0]
    assert cells["rank: r ≥ 0.95", "2.0"] == [1.0, 0.0]
    assert cells["intrinsic dimension", "3.0"] == [1.0, 0.0]
    assert cells["loss: knee", "2.0"] == [1.0, 1.0]
    # Every run of a world has its part in what is derived, and is among the sources.
    assert report.files["sources.json"].count(b'"seed"') >= 20


def test_a_world_without_one_of_the_sizes_is_named(tmp_path):
    worlds = [(seed, 3, curve(3, 0.1, 5), [0.9] * 5, 3.0) for seed in (0, 1)]
    folder = collected(tmp_path / "sweep", worlds, skip={(1, 4)})
    with pytest.raises(
        UserError, match=r"seed 1 with data.content_size=3 has no finished run of .*encoding_size=4"
    ):
        make_report(write_spec(tmp_path / "s.yaml", **CHANGES), folder)


def test_it_needs_the_sizes(sweep_without, tmp_path):
    with pytest.raises(UserError, match=r"the runs have no encoder.encoding_size"):
        make_report(write_spec(tmp_path / "s.yaml", **CHANGES), sweep_without)


@pytest.fixture
def sweep_without(tmp_path):
    from mmcl.reports.collect import collect
    from tests.reports.sweeps import write_sweep

    folder = write_sweep(tmp_path / "other")
    collect([folder]).write(folder)
    return folder


def test_a_loss_of_nan_is_not_an_estimate(tmp_path):
    losses = curve(3, 0.1, 5) | {2: math.nan}
    folder = collected(tmp_path / "sweep", [(s, 3, losses, [0.9] * 5, 3.0) for s in (0, 1)])
    with pytest.raises(UserError, match="loss is nan"):
        make_report(write_spec(tmp_path / "s.yaml", **CHANGES), folder)
