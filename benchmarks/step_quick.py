"""The loop around a training step of ``numerical/quick``, and Muon's step."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from measure import ratio, report, times

from mmcl import experiment
from mmcl.config.compose import compose_one
from mmcl.config.schema import validate_train
from mmcl.training.module import ContrastiveModule
from mmcl.training.muon import StackedMuon
from mmcl.training.optimizers import Joint

SHORT, LONG = 100, 700


class Clock:
    """The seconds spent in a function."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - began

        return timed


def train(steps: int) -> tuple[float, float]:
    """Seconds of training, callbacks and logging included, and those in forward, backward and optimizer.

    Both are of one run, so that a fast or slow moment of the machine is in both.
    """
    few = ["evaluator=[linear]", "evaluation.n_fit=64", "evaluation.n_test=64", "data.condition_draws=2000"]
    config = validate_train(
        compose_one("train", ["experiment=numerical/quick", f"trainer.max_steps={steps}", *few])
    )
    # torch wraps a class's step when its first optimizer is made; the clock goes around that wrapper, which is torch's.
    config.optimizer.build(torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(3))), steps)
    inside = Clock()
    parts = (
        (ContrastiveModule, "loss"),
        (torch.Tensor, "backward"),
        (Joint, "step"),
        (Joint, "zero_grad"),
    )
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        for owner, name in parts:
            stack.enter_context(patch.object(owner, name, inside.around(getattr(owner, name))))
        values = experiment.train(config, Path(folder), []).values
    return values["train_s"], inside.seconds


def milliseconds() -> tuple[float, float]:
    """Of a step and of what is in it; what is done once a run cancels between two lengths."""
    short, long = train(SHORT), train(LONG)
    whole, inside = (1e3 * (b - a) / (LONG - SHORT) for a, b in zip(short, long, strict=True))
    return whole, inside


def muon() -> list[list[float]]:
    g = torch.Generator().manual_seed(0)
    matrices = [torch.nn.Parameter(torch.randn(128, 128, generator=g)) for _ in range(6)]
    for p in matrices:
        p.grad = torch.randn(128, 128, generator=g)
    return times(StackedMuon(matrices).step, torch.optim.Muon(matrices).step, repeats=51, warmup=5)


def main() -> None:
    found = [milliseconds() for _ in range(6)][1:]
    whole, inside = (list(values) for values in zip(*found, strict=True))
    stacked, single = muon()
    report(
        ratio("step of numerical/quick", whole, "its forward, backward and optimizer", inside),
        ratio("Muon on six 128 x 128 matrices", stacked, "torch.optim.Muon", single),
    )


if __name__ == "__main__":
    main()
