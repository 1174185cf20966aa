"""An objective that changes during training is told how far it is, at every optimizer step and after a stop."""

import pytest

from mmcl.config.compose import compose_one
from mmcl.config.schema import validate_train
from mmcl.experiment import train
from mmcl.losses import ContrastiveLoss

STEPS = 40


@pytest.mark.parametrize("together", [1, 4])
def test_the_objective_knows_the_fraction_that_is_done(tmp_path, monkeypatch, together):
    seen = []
    forward = ContrastiveLoss.forward

    def recording(self, z, fresh=None):
        seen.append((self.progress, self.alignment_weight))
        return forward(self, z, fresh)

    monkeypatch.setattr(ContrastiveLoss, "forward", recording)
    config = validate_train(
        compose_one(
            "train",
            [
                "experiment=smoke",
                f"trainer.max_steps={STEPS}",
                f"trainer.steps_per_execution={together}",
                "callbacks=[none]",
                "evaluator=[heldout_loss]",
                "loss.alignment_weight=4",
                "loss.alignment_ramp=0.5",
            ],
        )
    )
    train(config, tmp_path, [])
    trained, evaluated = seen[:STEPS], seen[STEPS:]
    assert [progress for progress, _ in trained] == pytest.approx([step / STEPS for step in range(STEPS)])
    assert [weight for _, weight in trained] == pytest.approx(
        [4 ** min(1.0, step / STEPS / 0.5) for step in range(STEPS)]
    )
    assert evaluated
    assert set(evaluated) == {(1.0, 4.0)}
