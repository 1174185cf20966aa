"""A training step of ``numerical/paper``, from sampling to optimizer, against the bare products of its matrices."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from functools import partial

import torch
from measure import Row, peak_memory, ratio, report, times
from torch import Tensor

from mmcl.training.trainer import Precision, Trainer

WIDTHS = [15, 150, 750, 750, 750, 750, 150, 5]
ROWS = 6144


def step(precision: str) -> Callable[[], object]:
    """Everything that a step does, Lightning's loop left out."""
    from mmcl import experiment
    from mmcl.config.compose import compose_one
    from mmcl.config.schema import validate_train
    from mmcl.data import BatchStream
    from mmcl.random import Stream, generator

    few = ["data.condition_ratio=0.1", "data.condition_draws=100"]
    config = validate_train(compose_one("train", ["experiment=numerical/paper", *few]))
    assert config.run.batch_size == ROWS
    world = config.data.draw(generator(0, Stream.WORLD))
    module = experiment.make_module(config, world)
    shapes = [w.shape[::-1] for w in module.parameters() if w.ndim == 2]
    assert [tuple(s) for s in shapes] == 2 * list(itertools.pairwise(WIDTHS))
    optimizer, schedule = config.optimizer.build(module, config.trainer.max_steps)
    stream = iter(BatchStream(world, 0, ROWS))
    reduced = precision == "bf16_mixed"

    def one() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            ((batch, fresh),) = next(stream)
            loss = module.loss(batch, fresh)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), config.trainer.gradient_clip_val)
        optimizer.step()
        schedule.step()

    return one


def products(dtype: torch.dtype) -> Callable[[], object]:
    """The matrix products of both encoders' forward and backward passes, and nothing else, into memory at hand."""
    layers = []
    for n_in, n_out in itertools.pairwise(WIDTHS):
        x, w, g = (torch.randn(shape).to(dtype) for shape in ((ROWS, n_in), (n_out, n_in), (ROWS, n_out)))
        layers.append((x, w, g, torch.empty_like(g), torch.empty_like(x), torch.empty_like(w)))

    def one() -> None:
        for _ in range(2):
            for x, w, _, y, _, _ in layers:
                torch.mm(x, w.T, out=y)
            for i, (x, w, g, _, dx, dw) in reversed(list(enumerate(layers))):
                torch.mm(g.T, x, out=dw)
                if i > 0:
                    torch.mm(g, w, out=dx)

    return one


def pair_products() -> Callable[[], object]:
    """The K x K product of the loss and the two of its gradient."""
    a, b = torch.randn(ROWS, WIDTHS[-1]), torch.randn(ROWS, WIDTHS[-1])
    pairs, da, db = torch.empty(ROWS, ROWS), torch.empty_like(a), torch.empty_like(b)

    def one() -> Tensor:
        torch.mm(a, b.T, out=pairs)
        torch.mm(pairs, b, out=da)
        return torch.mm(pairs.T, a, out=db)

    return one


def memory(precision: str) -> Callable[[], object]:
    """For a fresh process that has imported torch."""

    def work() -> None:
        one = step(precision)
        for _ in range(3):
            one()

    return work


def main() -> None:
    slow = Trainer(precision=Precision.bf16_mixed, accelerator="cpu").slow_precision
    in_bf16 = [] if slow else [step("bf16_mixed"), products(torch.bfloat16)]
    full, encoder, pairs, *reduced = times(
        step("fp32"), products(torch.float32), pair_products(), *in_bf16, repeats=7, warmup=2
    )
    floor = [a + b for a, b in zip(encoder, pairs, strict=True)]
    report(
        ratio("step of numerical/paper, fp32", full, "its bare matrix products", floor),
        Row(
            "peak memory of numerical/paper, fp32",
            "MB",
            peak_memory(partial(memory, "fp32")),
            "over importing torch",
        ),
    )
    if slow:
        (alone,) = times(products(torch.bfloat16), repeats=1, warmup=0)
        report(
            Row(
                "bare matrix products of its encoders, bf16 (this CPU has no units for it)",
                "ms",
                alone[0],
                "fp32",
                statistics.median(encoder),
            )
        )
    else:
        report_bf16(full, encoder, *reduced)


def report_bf16(
    full: list[float], encoder: list[float], reduced: list[float], encoder_bf16: list[float]
) -> None:
    """bf16-mixed against fp32, where the machine has units for it: milliseconds of the steps and of the products."""
    # Amdahl: the products at the faster rate, and everything else as it was.
    bound = [fast + f - slow for fast, f, slow in zip(encoder_bf16, full, encoder, strict=True)]
    report(
        ratio("step of numerical/paper, bf16-mixed", reduced, "Amdahl's bound", bound),
        ratio("step of numerical/paper, bf16-mixed", reduced, "the same in fp32", full),
        Row(
            "bare matrix products of its encoders, bf16",
            "ms",
            statistics.median(encoder_bf16),
            "fp32",
            statistics.median(encoder),
        ),
        Row(
            "peak memory of numerical/paper, bf16-mixed",
            "MB",
            peak_memory(partial(memory, "bf16_mixed")),
            "over importing torch",
        ),
    )


if __name__ == "__main__":
    main()
