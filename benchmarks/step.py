"""A training step of ``numerical/quick``: the whole framework against a bare loop over the same parts."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from ratio import compare

from mmcl import experiment
from mmcl.config.compose import compose_one
from mmcl.config.schema import validate_train
from mmcl.data import BatchStream
from mmcl.random import Stream, generator

STEPS = 100
config = validate_train(
    compose_one(
        "train",
        [
            "experiment=numerical/quick",
            f"trainer.max_steps={STEPS}",
            "evaluator=[linear]",
            "evaluation.n_fit=64",
            "evaluation.n_test=64",
        ],
    )
)
world = config.data.draw(generator(0, Stream.WORLD))


def framework() -> None:
    with tempfile.TemporaryDirectory() as folder:
        experiment.train(config, Path(folder), [])


def bare() -> None:
    module = experiment.make_module(config, world)
    optimizer, schedule = config.optimizer.build(module, STEPS)
    stream = BatchStream(world, 0, config.run.batch_size)
    for k in range(STEPS):
        optimizer.zero_grad()
        module.objective(module.encoders(stream.batch(k)[0].views)).backward()
        optimizer.step()
        schedule.step()


torch.set_float32_matmul_precision("highest")
compare(f"{STEPS} steps of numerical/quick, run included", framework, bare, "bare loop", repeats=3)
