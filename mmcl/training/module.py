"""The one LightningModule: encoders and an objective, and nothing else."""

from __future__ import annotations

from collections.abc import Container, Mapping

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmcl.augmentations import Augment, Numbers
from mmcl.encoders import Encoders, MultimodalEncoders
from mmcl.losses import gather_encodings, gather_rows
from mmcl.random import Stream, generator
from mmcl.training.optimizers import OptimizerSpec
from mmcl.worlds import Batch

WITHOUT = "encoder.norm=frozen, group; of encoder=multimodal encoder.backbone.norm"
"""Where a config says that a layer normalises without the batch's statistics."""


class DivergedError(RuntimeError):
    """The training loss is not a number any more."""


def encode(
    encoders: nn.Module, views: Mapping[str, Tensor], rows: int | None, wanted: Container[str] | None = None
) -> dict[str, Tensor]:
    """The encodings of all rows, with the activations of ``rows`` of them in memory at a time.

    A contrastive loss needs the encodings of the whole batch at once, but not their activations: those of a part are
    dropped after its forward pass and computed again for its backward pass. The gradient is that of the whole batch, up
    to rounding (Gao et al., 2021, "Scaling deep contrastive learning batch size under memory limited setup"), at the
    price of a second forward pass. A random layer (dropout) draws the same both times.

    Args:
        encoders: ``{name: (B, d_name)} -> {name: (B, D)}``, each row by itself.
        views: name -> ``(B, ...)``.
        rows: >= 1, or ``None`` for all at once.
        wanted: the encodings to make; ``None``: all.
    """
    count = len(next(iter(views.values())))
    if rows is None or rows >= count:
        return dict(encoders(views, wanted))
    device = next(iter(views.values())).device.type
    # Under autocast the parts would share one bfloat16 copy of each weight, and add up their gradients in it.
    with torch.autocast(
        device,
        dtype=torch.get_autocast_dtype(device),
        enabled=torch.is_autocast_enabled(device),
        cache_enabled=False,
    ):
        parts = [
            checkpoint(
                encoders, {name: x[i : i + rows] for name, x in views.items()}, wanted, use_reentrant=False
            )
            for i in range(0, count, rows)
        ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def batch_statistics(encoders: nn.Module, *, heads: bool = True) -> str | None:
    """The first layer that normalises by the statistics of what it is given: name and class; or ``None``.

    ``heads``: whether those of projection heads count, which are given the whole batch at once.
    """
    for name, layer in encoders.named_modules():
        if not heads and name.startswith("project."):
            continue
        if isinstance(layer, _BatchNorm) and (layer.training or not layer.track_running_stats):
            return f"{name} ({type(layer).__name__})"
    return None


def check_rows_are_independent(encoders: nn.Module, rows: int) -> None:
    """Raise ``ValueError`` for a layer that would normalise a part of the batch by that part's statistics."""
    if layer := batch_statistics(encoders, heads=False):
        raise ValueError(
            f"trainer.encode_rows={rows}: {layer} would take its statistics from parts of the batch; set "
            f"trainer.encode_rows=null, or an encoder without statistics of the batch ({WITHOUT})"
        )


def check_processes(encoders: nn.Module, processes: int, device: str) -> None:
    """Raise ``ValueError`` for a layer that would normalise each process's rows by their own statistics.

    On GPUs such layers are given those of all processes (``sync_batchnorm`` in the trainer), which PyTorch has not for
    CPUs.
    """
    layer = batch_statistics(encoders)
    if processes > 1 and device == "cpu" and layer:
        raise ValueError(
            f"trainer.devices={processes}: on a CPU {layer} would take its statistics from the rows of one process; "
            f"use one, or an encoder without statistics of the batch ({WITHOUT}, encoder.head.batch_norm=false)"
        )


def wanted_encodings(
    encoders: Encoders | MultimodalEncoders, objective: nn.Module
) -> dict[int, tuple[str, ...]]:
    """Draw of the samples -> the encodings that the objective compares; if it does not say: all single ones."""
    if hasattr(objective, "wanted"):
        return objective.wanted(tuple(encoders.sets))  # type: ignore[no-any-return, operator]
    return {0: tuple(name for name, of in encoders.sets.items() if len(of) == 1)}


class ContrastiveModule(pl.LightningModule):
    """Encodes the views of a batch and minimises the objective of their encodings.

    A step of Lightning's loop is given a list of batches and takes an optimizer step for each: what the loop costs,
    one to two milliseconds, is paid once for all of them. The weights do not depend on how batches are grouped.

    Args:
        encoders: ``{name: (B, d)} -> {name: (B, D)}``.
        objective: ``(encodings, encodings of a fresh batch or None) -> scalar``; one with a ``label``, the name of a
            factor, is given that factor of the batch, ``(K, k)``, in the second place; one that ``needs_views`` the
            views.
        optimizer: makes the optimizer and its schedule from the module's parameters.
        max_steps: the length of training, which the schedule is a function of.
        encode_rows: rows whose activations are held at a time, see :func:`encode`; ``None``: all.
        gradient_clip_val: largest 2-norm of the gradient, or ``None``.
        augmentation: ``({name: (B, d)}, numbers) -> {name: (B, d)}``, for an objective that wants augmented draws.
        seed: of the run, from which augmentations are drawn.

    Raises:
        ValueError: when training starts, for ``encode_rows`` with encoders whose rows are not independent.
    """

    def __init__(
        self,
        encoders: Encoders | MultimodalEncoders,
        objective: nn.Module,
        optimizer: OptimizerSpec,
        max_steps: int,
        encode_rows: int | None = None,
        gradient_clip_val: float | None = None,
        augmentation: Augment | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.encoders = encoders
        self.objective = objective
        self._optimizer = optimizer
        self._max_steps = max_steps
        self._encode_rows = encode_rows
        self._gradient_clip_val = gradient_clip_val
        self._augmentation = augmentation
        self._seed = seed
        self.label: str | None = getattr(objective, "label", None)
        self.wanted = wanted_encodings(encoders, objective)
        # Several processes would wait for the gradients of a head that nothing is compared by.
        encoders.project.keep({name for names in self.wanted.values() for name in names})

    def on_fit_start(self) -> None:
        check_processes(self.encoders, self.trainer.world_size, self.trainer.strategy.root_device.type)
        if self._encode_rows is not None:
            check_rows_are_independent(self.encoders, self._encode_rows)

    def training_step(self, batches: list[tuple[Batch, Batch | None]], _: int) -> Tensor:
        """An optimizer step on each batch; returns the loss of the last."""
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        # Lightning's backward pass scales the loss in float16, readies other processes for its gradients, and calls
        # hooks of callbacks, of which those that hear every step are refused where steps are taken together. Where
        # none of these is of use it is left out: it costs 1 % of a short step.
        plain = len(batches) > 1 and self.trainer.world_size == 1 and self.trainer.precision != "16-mixed"
        backward = torch.Tensor.backward if plain else self.manual_backward
        for batch, fresh in batches:
            if hasattr(self.objective, "progress"):  # an objective that changes as training goes on
                self.objective.progress = schedule.last_epoch / self._max_steps
            loss = self.loss(batch, fresh, schedule.last_epoch)
            # Lightning calls this method under autocast, which is for the forward pass only.
            with torch.autocast(self.device.type, enabled=False):
                optimizer.zero_grad()
                backward(loss)
                optimizer.step()
                schedule.step()
        return loss.detach()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # Lightning calls this when the gradients of a scaled loss have their size again.
        if self._gradient_clip_val is not None:
            self.clip_gradients(optimizer, self._gradient_clip_val, "norm")

    def cast(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``views`` where the encoders are, in their parameters' dtype, but for int64, numbers of words."""
        return {
            name: x.to(self.device, x.dtype if x.dtype == torch.int64 else self.dtype)
            for name, x in views.items()
        }

    def loss(self, batch: Batch, fresh: Batch | None, step: int = 0) -> Tensor:
        """The objective of the encodings of a batch, and of an independent one where it needs that.

        Of several processes each encodes its rows, and gives the objective the rows of all. ``step``: the number of the
        batch, which its augmented draws are a function of.
        """
        z = gather_encodings(self._encodings(self.cast(batch.views), step))
        if self.label is not None:
            labels = batch.factors[self.label].to(self.device)
            return self.objective(z, gather_rows(labels))  # type: ignore[no-any-return]
        if getattr(self.objective, "needs_views", False):
            return self.objective(z, gather_encodings(self.cast(batch.views)))  # type: ignore[no-any-return]
        if fresh is None:
            return self.objective(z, None)  # type: ignore[no-any-return]
        z_fresh = encode(self.encoders, self.cast(fresh.views), self._encode_rows, self.wanted[0])
        return self.objective(z, gather_encodings(self.encoders.project(z_fresh)))  # type: ignore[no-any-return]

    def projections(self, z: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the objective compares, of encodings by name; where all modalities together are no part of it, the lone
        ones' side by side stand for them."""
        compared = {name for names in self.wanted.values() for name in names}
        found = self.encoders.project({name: h for name, h in z.items() if name in compared})
        sets = self.encoders.sets
        return found | {
            name: torch.cat([found[one] for one in of], dim=1)
            for name, of in sets.items()
            if name not in found and len(of) > 1 and all(one in found for one in of)
        }

    def _encodings(self, views: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """What the objective compares: the encodings that it wants of each draw of ``views``, projected.

        Draws of which the same is wanted are encoded as one batch, which costs less than one after the other; not where
        a layer would take its statistics from all of them together.
        """
        apart = len(self.wanted) > 1 and batch_statistics(self.encoders, heads=False) is not None
        together: dict[tuple[tuple[str, ...], int | None], list[int]] = {}
        for draw, names in self.wanted.items():
            together.setdefault((names, draw if apart else None), []).append(draw)
        z = {}
        for (names, _), draws in together.items():
            drawn = [self._drawn(views, step, draw) for draw in draws]
            stacked = {name: torch.cat([x[name] for x in drawn]) for name in views} if drawn[1:] else drawn[0]
            for name, rows in encode(self.encoders, stacked, self._encode_rows, names).items():
                for draw, part in zip(draws, rows.chunk(len(draws)), strict=True):
                    z[f"{name}@{draw}" if draw else name] = part
        return self.encoders.project(z)

    def _drawn(self, views: dict[str, Tensor], step: int, draw: int) -> dict[str, Tensor]:
        """Augmented draw ``draw`` >= 1 of ``views``; 0: the views as they are."""
        if draw == 0:
            return views
        if self._augmentation is None:
            raise ValueError(
                "augmentation=None: the objective compares augmented draws; give an augmentation"
            )
        first = next(iter(views.values()))
        ranks, rank = (self.trainer.world_size, self.trainer.global_rank) if self._trainer else (1, 0)
        rows = slice(rank * len(first), (rank + 1) * len(first))
        random = generator(self._seed, Stream.AUGMENTATION, step, draw)
        # As for worlds: what is seen must not depend on the precision that it is trained in.
        with torch.autocast(first.device.type, enabled=False):
            return self._augmentation(views, Numbers(random, ranks * len(first), rows, first.device))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer, schedule = self._optimizer.build(self, self._max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Projected:
    """A module's objective as a function of encodings, which its projection heads are applied to first."""

    def __init__(self, module: ContrastiveModule) -> None:
        self._module = module
        self.needs_fresh_batch = bool(getattr(module.objective, "needs_fresh_batch", False))

    @property
    def temperature(self) -> float:
        """What the objective divides similarities by, learned or not; 1 where it has none."""
        objective = self._module.objective
        configured = getattr(getattr(objective, "spec", None), "temperature", 1.0)
        return float(getattr(objective, "temperature", configured))

    def __call__(self, z: Mapping[str, Tensor], fresh: Mapping[str, Tensor] | None = None) -> Tensor:
        """The scalar; arguments as of the objective."""
        loss: Tensor = self._module.objective(
            self._compared(z), self._compared(fresh) if fresh is not None else None
        )
        return loss

    def _compared(self, z: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self._module.encoders.project({name: z[name] for name in self._module.wanted[0]})
