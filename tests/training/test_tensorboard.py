"""TensorBoard's event files, read back by TensorBoard itself."""

import os

import pytest
from PIL import Image

from mmcl.errors import UserError
from mmcl.records.outcome import Outcome
from mmcl.training.loggers import LoggedRun
from mmcl.training.tensorboard_logger import TensorBoardConf

NEEDS = "needs the extra: pip install 'mmcl[tensorboard]'"


@pytest.fixture
def accumulator():
    if "CI" not in os.environ:
        pytest.importorskip("tensorboard", reason=NEEDS)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator


def scalars(events, name):
    return [(e.step, e.value) for e in events.Scalars(name)]


def test_curve_results_and_figure_are_in_the_event_files(tmp_path, accumulator):
    figure = tmp_path / "figure.png"
    Image.new("RGB", (4, 3), "red").save(figure)
    logger = TensorBoardConf().build(LoggedRun(tmp_path, "key", {}))
    logger.start(0)
    for step in (4, 9):
        logger.log_metrics({"loss": step / 2, "epoch": 0}, step=step)
    logger.log_outcome(
        Outcome(10, {"linear/content_r2": 0.75}, ["target", "value"], [["content", 0.75]], figure)
    )
    logger.close(failed=False)
    events = accumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert scalars(events, "loss") == [(5, 2.0), (10, 4.5)]
    assert scalars(events, "linear/content_r2") == [(10, 0.75)]
    assert "epoch" not in events.Tags()["scalars"]
    (image,) = events.Images("figure")
    assert (image.width, image.height) == (4, 3)
    (text,) = events.Tensors("results/text_summary")
    assert b"| content | 0.75 |" in text.tensor_proto.string_val[0]


def test_a_resumed_run_has_each_step_once(tmp_path, accumulator, monkeypatch):
    run = LoggedRun(tmp_path, "key", {})
    for seconds, start, steps, value in ((1000, 0, range(4, 20, 5), 1.0), (2000, 10, range(14, 30, 5), 2.0)):
        # Event files sort by the second in which they were begun.
        with monkeypatch.context() as patch:
            patch.setattr("time.time", lambda now=seconds: float(now))
            logger = TensorBoardConf().build(run)
            logger.start(start)
            for step in steps:
                logger.log_metrics({"loss": value}, step=step)
            logger.close(failed=True)
    events = accumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert scalars(events, "loss") == [(5, 1.0), (10, 1.0), (15, 2.0), (20, 2.0), (25, 2.0), (30, 2.0)]


def test_without_the_package_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'mmcl\[tensorboard\]'"):
        TensorBoardConf().build(LoggedRun(tmp_path, "key", {})).start(0)
    assert list(tmp_path.iterdir()) == []
