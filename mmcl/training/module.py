"""The one LightningModule: encoders and an objective, and nothing else."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from mmcl.encoders import Encoders
from mmcl.training.optimizers import OptimizerSpec
from mmcl.worlds import Batch


class DivergedError(RuntimeError):
    """The training loss is not a number any more."""


class ContrastiveModule(pl.LightningModule):
    """Encodes the views of a batch and minimises the objective of their encodings.

    Args:
        encoders: ``{name: (B, d)} -> {name: (B, D)}``.
        objective: ``(encodings, encodings of a fresh batch or None) -> scalar``.
        optimizer: makes the optimizer and its schedule from the module's parameters.
        max_steps: the length of training, which the schedule is a function of.
    """

    def __init__(
        self,
        encoders: Encoders,
        objective: nn.Module,
        optimizer: OptimizerSpec,
        max_steps: int,
    ) -> None:
        super().__init__()
        self.encoders = encoders
        self.objective = objective
        self._optimizer = optimizer
        self._max_steps = max_steps

    def training_step(self, batch: tuple[Batch, Batch | None], _: int) -> Tensor:
        batch, fresh = batch
        z = self.encoders(batch.views)
        z_fresh = self.encoders(fresh.views) if fresh is not None else None
        loss: Tensor = self.objective(z, z_fresh)
        return loss

    def transfer_batch_to_device(
        self, batch: tuple[Batch, Batch | None], device: torch.device, dataloader_idx: int
    ) -> tuple[Batch, Batch | None]:
        """Views to the device; factors stay, as training does not look at them.

        Lightning's own way copies the batch's structure in every step, which costs a narrow encoder's step 2 %.
        """
        first, second = batch
        return first.views_to(device), second.views_to(device) if second is not None else None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer, schedule = self._optimizer.build(self, self._max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
