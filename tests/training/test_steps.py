"""When things are due, the progress bar, and a checkpoint that this version cannot go on from."""

import doctest
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmcl.errors import UserError
from mmcl.training import steps
from mmcl.training.callbacks import Resumable
from mmcl.training.processes import Processes
from mmcl.training.progress import StepProgress
from mmcl.training.steps import due
from mmcl.training.stop import Stop


def test_doctests():
    assert doctest.testmod(steps).attempted > 0
    assert doctest.testmod(steps).failed == 0


@pytest.mark.parametrize("taken", [1, 2, 5, 25])
@pytest.mark.parametrize("every", [1, 3, 10, 25, 60])
def test_each_multiple_is_due_once_at_the_first_return_that_has_reached_it(taken, every):
    returns = range(taken, 601, taken)
    found = [step for step in returns if due(step, taken, every)]
    expected = {min(step for step in returns if step >= m) for m in range(every, returns[-1] + 1, every)}
    assert found == sorted(expected)


def test_a_checkpoint_whose_steps_are_read_otherwise_is_refused():
    callback = Resumable(Path("last.ckpt"), 500, 100, Stop(), Processes())
    with pytest.raises(UserError, match=r"last.ckpt: of step 500, .* as step 0"):
        callback.on_train_start(SimpleNamespace(global_step=0))


def test_the_bar_counts_steps_whatever_the_loop_takes_at_once(capsys):
    trainer = SimpleNamespace(max_steps=60, global_step=10, progress_bar_metrics={"loss": 0.5})
    bar = StepProgress(refresh_rate=20)
    bar.on_train_start(trainer)
    task = bar._bar.tasks[0]
    seen = []
    for step in (35, 60):
        trainer.global_step = step
        bar.on_train_batch_end(trainer, None, None, [None] * 25, 0)
        seen.append((task.completed, task.fields["metrics"]))
    assert seen == [(35, "loss 0.500"), (60, "loss 0.500")]
    bar.on_train_end(trainer)
    assert "60/60" in capsys.readouterr().out
    silent = StepProgress(refresh_rate=20)
    silent.disable()
    silent.on_train_start(trainer)
    silent.on_train_end(trainer)
    assert capsys.readouterr().out == ""
