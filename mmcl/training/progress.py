"""The progress bar: optimizer steps, whatever number of them Lightning's loop takes at once."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from mmcl.training.steps import due


class Speed(ProgressColumn):
    """Steps per second, from the bar's last updates."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g}/s")


class StepProgress(ProgressBar):
    """A Rich bar of optimizer steps, with what callbacks have logged for it.

    Lightning's own counts batches of its loop, each of which may be several steps, and runs a clock of its own.

    Args:
        refresh_rate: steps between updates, >= 1.
    """

    def __init__(self, refresh_rate: int) -> None:
        super().__init__()
        self.refresh_rate = refresh_rate
        self._enabled = True
        self._bar: Progress | None = None

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        """Lightning calls this on all ranks but the first."""
        self._enabled = False

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if not self._enabled:
            return
        self._bar = Progress(
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            Speed(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[metrics]}", table_column=Column(no_wrap=True)),
            auto_refresh=False,
            speed_estimate_period=3600,  # of long steps, updates are minutes apart
        )
        self._bar.add_task("train", total=trainer.max_steps, completed=trainer.global_step, metrics="")
        self._bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, _: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if due(trainer.global_step, len(batch), self.refresh_rate):
            self._show(trainer)

    def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._show(trainer)
        self._stop()

    def on_exception(self, *_: Any) -> None:
        self._stop()

    def teardown(self, *_: Any, **__: Any) -> None:
        self._stop()

    def _show(self, trainer: pl.Trainer) -> None:
        if self._bar is not None:
            metrics = "  ".join(f"{name} {value:.3f}" for name, value in trainer.progress_bar_metrics.items())
            self._bar.update(self._bar.task_ids[0], completed=trainer.global_step, metrics=metrics)
            self._bar.refresh()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
