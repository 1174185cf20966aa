"""Config of Lightning's Trainer: the keys that an experiment sets, with their ranges."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy

from mmcl.checks import require, require_choice
from mmcl.training.processes import environment


class Precision(Enum):
    """What encoders compute in: float32, bfloat16 or float16 (with loss scaling; on GPUs) by autocast, or float64.

    Objectives run in float32 under autocast. Parameters are float32, in ``fp64`` float64.
    """

    fp32 = "32-true"
    bf16_mixed = "bf16-mixed"
    fp16_mixed = "16-mixed"
    fp64 = "64-true"


@dataclass(frozen=True)
class Trainer:
    """How long and on what to train.

    Args:
        max_steps: optimizer steps, >= 1.
        precision: see :class:`Precision`.
        gradient_clip_val: largest 2-norm of the gradient, > 0, or ``None`` for no clipping.
        accelerator: as Lightning's: auto, cpu, gpu, mps, ...
        devices: devices of each node, >= 1, a process each: the batch is shared out among all of them, and every
            sample is a negative of every other, wherever they are. The weights are those of one device, up to rounding.
        num_nodes: machines, >= 1.
        encode_rows: rows of the batch whose activations the encoders hold at a time, >= 1, or ``None`` for all. The
            gradient is the same; a batch that does not fit into memory does, for a second forward pass.
        threads: CPU threads, or ``None`` for torch's default. Results are bitwise equal for equal threads.
        steps_per_execution: optimizer steps between two returns to Lightning's loop, >= 1: it costs one to two
            milliseconds, which a step of small encoders is not much longer than. Callbacks, the progress bar and
            signals wait for the return. The weights are the same.
        log_every_n_steps: steps between rows of ``metrics.csv``, >= 1.
        checkpoint_every_n_steps: steps between saves of ``checkpoints/last.ckpt``, >= 1.

    Raises:
        ValueError: a value outside its range.
    """

    max_steps: int = 300_000
    precision: Precision = Precision.fp32
    gradient_clip_val: float | None = None
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    encode_rows: int | None = None
    threads: int | None = None
    steps_per_execution: int = 1
    log_every_n_steps: int = 25
    checkpoint_every_n_steps: int = 500

    def __post_init__(self) -> None:
        for name in (
            "max_steps",
            "devices",
            "num_nodes",
            "steps_per_execution",
            "log_every_n_steps",
            "checkpoint_every_n_steps",
        ):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        for name in ("threads", "encode_rows"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, ">= 1, or null")
        clip = self.gradient_clip_val
        require_choice("accelerator", self.accelerator, ("auto", "cpu", "gpu", "cuda", "mps", "tpu"))
        require(clip is None or 0 < clip < math.inf, "gradient_clip_val", clip, "> 0 and finite, or null")

        scaled = self.precision is Precision.fp16_mixed
        require(
            not (scaled and self.accelerator in ("cpu", "mps", "tpu")),
            "precision",
            self.precision.name,
            f"fp32 or bf16_mixed with accelerator={self.accelerator}",
        )

    @property
    def processes(self) -> int:
        """The number of processes that train a run, one for each device."""
        return self.devices * self.num_nodes

    @property
    def slow_precision(self) -> str | None:
        """Why the precision is slow where this runs, with the remedy; ``None`` where nothing is known against it."""
        on_cpu = self.accelerator == "cpu" or (
            self.accelerator == "auto" and not torch.accelerator.is_available()
        )
        if self.precision is not Precision.bf16_mixed or not on_cpu:
            return None
        without_units = platform.machine() in (
            "x86_64",
            "AMD64",
        ) and torch.backends.cpu.get_cpu_capability() in (
            "DEFAULT",
            "AVX2",
        )
        if not without_units:
            return None
        return (
            "trainer.precision=bf16_mixed: this CPU has no units for bfloat16, in which matrix products are several "
            "times slower here than in float32; take trainer.precision=fp32"
        )

    def build(self, run_dir: Path, callbacks: list[Callback], loggers: list[Logger]) -> pl.Trainer:
        # Buffers are the same in all processes from the start, and nothing here changes them.
        strategy = DDPStrategy(broadcast_buffers=False) if self.processes > 1 else "auto"
        return pl.Trainer(
            max_steps=self.max_steps,
            max_epochs=1,
            # In float64 there is nothing for Lightning to do: the module is float64 when it comes.
            precision=(Precision.fp32 if self.precision is Precision.fp64 else self.precision).value,
            accelerator=self.accelerator,
            devices=self.devices,
            num_nodes=self.num_nodes,
            strategy=strategy,
            plugins=[environment()],
            log_every_n_steps=self.log_every_n_steps,
            default_root_dir=run_dir,
            callbacks=callbacks,
            logger=loggers or False,
            enable_checkpointing=False,  # callbacks.Resumable owns checkpoints
            enable_model_summary=False,
            enable_progress_bar=any(isinstance(c, pl.callbacks.ProgressBar) for c in callbacks),
            use_distributed_sampler=False,
            # Many devices are to see the batch that one would; a CPU has no such layers (module.check_processes).
            sync_batchnorm=self.processes > 1 and torch.cuda.is_available() and self.accelerator != "cpu",
            num_sanity_val_steps=0,
            limit_val_batches=0,
        )
