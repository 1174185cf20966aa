"""Callbacks: checkpoints that survive anything, the loss and scores as training goes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mmcl.checks import require
from mmcl.errors import UserError
from mmcl.evaluators import Representations, Retrieval, encode_in_chunks, linear_r2
from mmcl.random import Stream, generator
from mmcl.records.files import replace
from mmcl.records.heartbeat import Heartbeat
from mmcl.training.context import Context
from mmcl.training.module import DivergedError
from mmcl.training.processes import Processes
from mmcl.training.progress import StepProgress
from mmcl.training.steps import due
from mmcl.training.stop import SAVE, Stop
from mmcl.worlds import Batch, StreamedWorld, part_of


class Resumable(Callback):
    """Keeps ``checkpoints/last.ckpt`` so that a run that ends early goes on where it stopped.

    It is saved every ``every_n_steps`` (at the loop's next return, see :func:`~mmcl.training.steps.due`) and when a
    stop is wished for, each time under a temporary name first: whenever the process dies, the file holds one whole
    checkpoint.
    """

    def __init__(self, path: Path, start: int, every_n_steps: int, stop: Stop, processes: Processes) -> None:
        self.path = path
        self.start = start
        self.every_n_steps = every_n_steps
        self.stop = stop
        self.processes = processes

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step != self.start:
            raise UserError(
                f"{self.path}: of step {self.start}, which this version of mmcl reads as step {trainer.global_step}; "
                "go on with the version that wrote it, or delete it to train from the start"
            )
        # Lightning has put its own SIGTERM handler before ours by now. It ends the process between two steps, with
        # exit code 0 and without a checkpoint; one owner is enough.
        self.stop.listen()

    def on_train_batch_end(
        self, trainer: pl.Trainer, _: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # All processes stop at the same step, whichever of them the signal came to.
        wish = self.processes.largest(self.stop.heed())
        step = trainer.global_step
        if wish > SAVE:
            self.stop.signal = wish
            trainer.should_stop = True
        if wish or due(step, len(batch), self.every_n_steps) or step == trainer.max_steps:
            finite_loss(outputs, step)  # a diverged state must not replace a good one
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        temporary = self.path.with_suffix(".tmp")
        try:
            trainer.save_checkpoint(temporary, weights_only=False)  # optimizer and loop state too
            if self.processes.rank == 0:
                replace(temporary, self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


class LogLoss(Callback):
    """Logs the loss every ``every_n_steps``, and ends a run whose loss is NaN or infinite.

    Lightning would write the step's row only after all callbacks, and so after the step's checkpoint: a kill in
    between would leave a row missing for ever. This callback stands before :class:`Resumable`. The loss is looked at
    no more often because on an accelerator each look waits for the device.
    """

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if due(trainer.global_step, len(batch), self.every_n_steps):
            show(trainer, module, "loss", finite_loss(outputs, trainer.global_step))


class Beat(Callback):
    """Tells the run's heartbeat how far training is."""

    def __init__(self, heart: Heartbeat) -> None:
        self.heart = heart

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.heart.step(trainer.global_step)


def finite_loss(outputs: Any, step: int) -> float:
    """The loss of a training step.

    Raises:
        DivergedError: it is NaN or infinite.
    """
    loss = float(outputs["loss"])
    if not math.isfinite(loss):
        raise DivergedError(
            f"loss={loss} at step {step}: training diverged; "
            "lower optimizer.lr, raise the warm-up, or set trainer.gradient_clip_val"
        )
    return loss


def show(trainer: pl.Trainer, module: pl.LightningModule, name: str, value: float) -> None:
    """Give a value to the progress bar, and to every logger at once; Lightning counts steps from 0.

    Only where there is a new value: a call of ``module.log`` in every step costs a narrow encoder's step 5 %.
    """
    module.log(name, value, prog_bar=True, logger=False, batch_size=1, rank_zero_only=True)
    for logger in trainer.loggers:
        logger.log_metrics({name: value}, step=trainer.global_step - 1)


class Online(Callback):
    """Logs scores of the encodings of fixed samples as training goes.

    The encoders are in evaluation mode for it: they learn nothing from the samples, and wait for no other process.

    Args:
        samples: what is encoded.
        scores: encodings on the CPU, float32, by name, and the samples -> name of a score -> its value.
        every_n_steps: >= 1.
    """

    def __init__(
        self,
        samples: Mapping[str, Batch],
        scores: Callable[[str, dict[str, Tensor], Batch], dict[str, float]],
        every_n_steps: int,
    ) -> None:
        self.samples = samples
        self.scores = scores
        self.every_n_steps = every_n_steps

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not due(trainer.global_step, len(batch), self.every_n_steps) or not trainer.is_global_zero:
            return
        modes = {layer: layer.training for layer in module.encoders.modules()}
        module.encoders.eval()
        found: dict[str, float] = {}
        for name, samples in self.samples.items():
            z = encode_in_chunks(lambda views: module.encoders(module.cast(views)), samples.views)
            found |= self.scores(name, {view: h.float().cpu() for view, h in z.items()}, samples)
        for layer, mode in modes.items():
            layer.training = mode
        for name, value in found.items():
            show(trainer, module, name, value)


@dataclass(frozen=True)
class ProgressBarConf:
    """Config of :class:`StepProgress`.

    Args:
        refresh_rate: steps between updates, >= 1.
    """

    refresh_rate: int = 20

    def __post_init__(self) -> None:
        require(self.refresh_rate >= 1, "refresh_rate", self.refresh_rate, ">= 1")

    def build(self, context: Context) -> Callback:
        return StepProgress(self.refresh_rate)


@dataclass(frozen=True)
class OnlineR2Conf:
    """Config of how well the encodings predict a factor linearly, on a fixed held-out sample, as training goes.

    Args:
        factor: a continuous factor of the world; of a discrete one there is no R^2, and nothing is logged, nor of
            ``content`` in a world whose shared factors have names of their own, all of them discrete.
        n_samples: held-out samples, half to fit and half to score, >= 4.
        every_n_steps: >= 1.
    """

    factor: str = "content"
    n_samples: int = 2048
    every_n_steps: int = 250

    def __post_init__(self) -> None:
        require(self.n_samples >= 4, "n_samples", self.n_samples, ">= 4")
        require(self.every_n_steps >= 1, "every_n_steps", self.every_n_steps, ">= 1")

    def build(self, context: Context) -> Callback | None:
        roles = context.world.roles
        if self.factor == "content" and all(role.classes is not None for role in roles.values()):
            return None
        require(self.factor in roles, "callbacks.online_r2.factor", self.factor, f"one of {sorted(roles)}")
        if roles[self.factor].classes is not None:
            return None  # a discrete factor has no R^2; the evaluators score it at the end
        samples = part_of(context.world, "validation").sample(
            self.n_samples, generator(context.seed, Stream.PROBE)
        )
        return Online({f"{self.factor}_r2": samples}, self._scores, self.every_n_steps)

    def _scores(self, name: str, z: dict[str, Tensor], samples: Batch) -> dict[str, float]:
        scores = [linear_r2(h, samples.factors[self.factor]) for h in z.values()]
        return {name: sum(scores) / len(scores)}


@dataclass(frozen=True)
class OnlineRetrievalConf:
    """Config of recalls on the progress bar and in ``metrics.csv``: ``test_path_to_flow_recall_at_5``.

    Of fixed samples of two modalities: of the test split (of its own draw, not that of the evaluators), and of those
    that are trained on, where these are given ones.

    Args:
        n_samples: queries, and items that are searched, >= 2.
        ks: numbers of items looked at, each from 1 to ``n_samples``.
        similarity: one of :data:`mmcl.evaluators.retrieval.SIMILARITIES`; ``lp_exponent`` is the p > 0 of
            ``negative_lp``.
        every_n_steps: >= 1.
    """

    n_samples: int = 1000
    ks: list[int] = field(default_factory=lambda: [1, 5])
    similarity: str = "cosine"
    every_n_steps: int = 250
    lp_exponent: float = 2.0

    def __post_init__(self) -> None:
        self._evaluator()  # its fields are these
        require(self.every_n_steps >= 1, "every_n_steps", self.every_n_steps, ">= 1")

    def _evaluator(self) -> Retrieval:
        return Retrieval(self.n_samples, list(self.ks), [], self.similarity, lp_exponent=self.lp_exponent)

    def build(self, context: Context) -> Callback:
        world = context.world
        try:
            samples = {
                "test": part_of(world, "test").sample(self.n_samples, generator(context.seed, Stream.PROBE))
            }
        except (
            ValueError
        ) as error:  # a world of given samples may have fewer, and names the evaluation's keys
            place = f"callbacks.online_retrieval.n_samples={self.n_samples}"
            raise ValueError(f"{place}: more than there are test samples ({error})") from None
        if isinstance(world, StreamedWorld):  # those trained on, none of them twice
            samples["train"] = world.take(context.seed, 0, self.n_samples)
        return Online(samples, self._scores, self.every_n_steps)

    def _scores(self, name: str, z: dict[str, Tensor], samples: Batch) -> dict[str, float]:
        singles = {view: h for view, h in z.items() if view in samples.views}
        if not all(bool(torch.isfinite(h).all()) for h in singles.values()):
            return {}  # the loss ends the run, and says why
        test = Representations(singles, {})
        return {
            f"{name}_{row.representation}_to_{row.target}_{row.metric}": row.value
            for row in self._evaluator().evaluate(test, test)
            if row.metric != "median_rank"
        }
