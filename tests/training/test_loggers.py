"""When loggers are built, told and closed, and that they are no part of what a run is."""

import json

import pytest

from mmcl.config.compose import compose_one
from mmcl.config.schema import validate_train
from mmcl.records.markdown import markdown_table
from mmcl.records.outcome import Outcome
from mmcl.training.loggers import LoggedRun, Loggers, RunLogger
from mmcl.training.wandb_session import shown_config, tags


def config(*overrides):
    return validate_train(compose_one("train", ["experiment=smoke", *overrides]))


class Recorder(RunLogger):
    def __init__(self):
        super().__init__()
        self.calls = []

    name = "recorder"

    def log_metrics(self, metrics, step=None):
        self.calls.append("metrics")

    def start(self, step):
        self.calls.append(("start", step))

    def log_outcome(self, outcome):
        self.calls.append(("outcome", outcome))

    def close(self, failed):
        self.calls.append(("close", failed))


class Spec:
    def __init__(self):
        self.built = []

    def build(self, run):
        self.built.append(Recorder())
        return self.built[-1]


def loggers(tmp_path):
    spec = Spec()
    return Loggers({"x": spec}, LoggedRun(tmp_path, "key", {})), spec


def test_a_job_builds_its_loggers_once_tells_them_and_closes_them(tmp_path):
    outcome = Outcome(7, {}, [], [], tmp_path / "figure.png")
    opened, spec = loggers(tmp_path)
    with opened:
        assert opened.start(3) == opened.start(None)
        opened.log_outcome(lambda: outcome)
    (recorder,) = spec.built
    assert recorder.calls == [("start", 3), ("outcome", outcome), ("close", False)]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(1)])
def test_loggers_are_closed_on_every_path(tmp_path, error):
    opened, spec = loggers(tmp_path)

    def job():
        with opened:
            opened.start(0)
            raise error

    with pytest.raises(type(error)):
        job()
    assert spec.built[0].calls[-1] == ("close", True)


def test_a_finished_run_found_as_it_is_builds_none(tmp_path):
    opened, spec = loggers(tmp_path)
    with opened:
        opened.log_outcome(lambda: pytest.fail("nothing to tell"))
    assert spec.built == []


def test_loggers_are_no_part_of_the_run_key():
    keys = {
        config(f"logger={choice}").run_key for choice in ("[csv]", "none", "[csv,wandb,tensorboard]", "wandb")
    }
    keys.add(config("logger=[wandb]", "logger.wandb.project=other", "logger.wandb.queue_size=7").run_key)
    assert len(keys) == 1


def test_wandb_shows_groups_and_class_names():
    resolved = config("logger=wandb").resolved
    shown = shown_config(resolved)
    assert shown["data"]["class"] == "LatentVariableModel"
    assert shown["data"]["style_change_prob"] == resolved["data"]["style_change_prob"]
    assert shown["encoder"]["encoding_size"] == resolved["encoder"]["encoding_size"]
    assert "_target_" not in json.dumps(shown)
    assert "." not in "".join(
        [*shown, *(k for part in shown.values() if isinstance(part, dict) for k in part)]
    )


def test_tags_say_what_ran(tmp_path):
    resolved = {**config().resolved, "name": "x" * 100}
    assert tags(LoggedRun(tmp_path, "key", resolved, sweep=True)) == [
        "x" * 64,
        "Contrastive",
        "MLP",
        "LatentVariableModel",
        "sweep",
    ]


def test_a_table_for_tensorboard():
    assert markdown_table(["a", "b"], [[1, None], ["x", 0.5]]).splitlines() == [
        "| a | b |",
        "|---|---|",
        "| 1 |  |",
        "| x | 0.5 |",
    ]
