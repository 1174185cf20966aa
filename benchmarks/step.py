"""A training step of ``numerical/quick``: the whole framework against a bare loop over the same parts."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from mmcl import experiment
from mmcl.config.compose import compose_one
from mmcl.config.schema import validate_train
from mmcl.data import BatchStream
from mmcl.random import Stream, generator

STEPS = 300
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


def framework() -> float:
    """Seconds of training alone, as the manifest records them: what a run does besides is done once."""
    with tempfile.TemporaryDirectory() as folder:
        seconds: float = experiment.train(config, Path(folder), []).values["timings_s"]["train"]
        return seconds


def bare() -> float:
    module = experiment.make_module(config, world)
    optimizer, schedule = config.optimizer.build(module, STEPS)
    stream = BatchStream(world, 0, config.run.batch_size)
    began = time.perf_counter()
    for k in range(STEPS):
        optimizer.zero_grad()
        module.objective(module.encoders(stream.batch(k)[0].views)).backward()
        optimizer.step()
        schedule.step()
    return time.perf_counter() - began


pairs = [(framework(), bare()) for _ in range(4)][1:]
for ours, other in pairs:
    print(
        f"a step of numerical/quick: framework {1e3 * ours / STEPS:.1f} ms, bare loop {1e3 * other / STEPS:.1f} ms, "
        f"ratio {ours / other:.3f}"
    )
