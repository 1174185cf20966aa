"""The loop around a training step of ``numerical/quick``, and Muon's step."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from measure import ratio, report, times

from mmcl import experiment
from mmcl.config.compose import compose_one
from mmcl.config.schema import validate_train
from mmcl.data import BatchStream
from mmcl.random import Stream, generator
from mmcl.training.muon import StackedMuon

SHORT, LONG = 200, 600


def config(steps: int):
    few = ["evaluator=[linear]", "evaluation.n_fit=64", "evaluation.n_test=64", "data.condition_draws=2000"]
    return validate_train(
        compose_one("train", ["experiment=numerical/quick", f"trainer.max_steps={steps}", *few])
    )


def framework() -> float:
    """Milliseconds of a step of the whole framework; what is done once a run cancels between two lengths."""
    seconds = []
    for steps in (SHORT, LONG):
        with tempfile.TemporaryDirectory() as folder:
            seconds.append(experiment.train(config(steps), Path(folder), []).values["train_s"])
    return 1e3 * (seconds[1] - seconds[0]) / (LONG - SHORT)


def bare() -> tuple[float, float]:
    """Milliseconds of a step of a bare loop over the same parts, and of its forward, backward and optimizer alone."""
    whole = config(LONG)
    world = whole.data.draw(generator(0, Stream.WORLD))
    module = experiment.make_module(whole, world)
    optimizer, schedule = whole.optimizer.build(module, LONG)
    stream = iter(BatchStream(world, 0, whole.run.batch_size))
    began = inside = 0.0
    for step in range(LONG):
        if step == SHORT:
            began, inside = time.perf_counter(), 0.0
        ((batch, fresh),) = next(stream)
        start = time.perf_counter()
        optimizer.zero_grad()
        module.loss(batch, fresh).backward()
        optimizer.step()
        inside += time.perf_counter() - start
        schedule.step()
    steps = LONG - SHORT
    return 1e3 * (time.perf_counter() - began) / steps, 1e3 * inside / steps


def muon() -> list[list[float]]:
    g = torch.Generator().manual_seed(0)
    matrices = [torch.nn.Parameter(torch.randn(128, 128, generator=g)) for _ in range(6)]
    for p in matrices:
        p.grad = torch.randn(128, 128, generator=g)
    return times(StackedMuon(matrices).step, torch.optim.Muon(matrices).step, repeats=51, warmup=5)


def main() -> None:
    found = [(framework(), *bare()) for _ in range(6)][1:]
    whole, loop, inside = (list(values) for values in zip(*found, strict=True))
    stacked, single = muon()
    report(
        ratio("step of numerical/quick", whole, "its forward, backward and optimizer", inside),
        ratio("step of numerical/quick", whole, "a bare loop with the same sampling", loop),
        ratio("Muon on six 128 x 128 matrices", stacked, "torch.optim.Muon", single),
    )


if __name__ == "__main__":
    main()
