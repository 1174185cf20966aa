"""Optimizers and their schedules. Each config class builds ``(optimizer, schedule)`` for a module."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mmcl.checks import require, require_share
from mmcl.training.muon import StackedMuon


class Decay(Enum):
    """How the learning rate ends."""

    none = "none"
    linear = "linear"
    cosine = "cosine"


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, a constant stretch, and a decay to zero.

    The factor at step t of T is ``min(1, (t + 1) / (warmup T)) * decay(t)``, where the decay falls from 1 at
    ``t = (1 - decay_fraction) T`` to 0 at T, linearly or as half a cosine.

    Args:
        warmup: fraction of training spent warming up, in [0, 1].
        decay: none, linear or cosine.
        decay_fraction: fraction of training, at its end, over which the rate decays, in (0, 1].
    """

    warmup: float = 0.0
    decay: Decay = Decay.none
    decay_fraction: float = 1.0

    def __post_init__(self) -> None:
        require_share("schedule.warmup", self.warmup)
        require(0 < self.decay_fraction <= 1, "schedule.decay_fraction", self.decay_fraction, "in (0, 1]")

    def factor(self, step: int, max_steps: int) -> float:
        """What the learning rate is multiplied by at ``step`` (from 0) of ``max_steps``."""
        warm = min(1.0, (step + 1) / (self.warmup * max_steps)) if self.warmup > 0 else 1.0
        left = min(1.0, max(0.0, 1 - step / max_steps) / self.decay_fraction)
        if self.decay is Decay.linear:
            return warm * left
        if self.decay is Decay.cosine:
            return warm * 0.5 * (1 - math.cos(math.pi * left))
        return warm

    def build(self, optimizer: Optimizer, max_steps: int) -> LambdaLR:
        return LambdaLR(optimizer, lambda step: self.factor(step, max_steps))


class OptimizerSpec(Protocol):
    def build(self, module: nn.Module, max_steps: int) -> tuple[Optimizer, LambdaLR]: ...


def _check_rate(name: str, value: float) -> None:
    require(0 < value < math.inf, name, value, "> 0 and finite")


def _check_weight_decay(value: float) -> None:
    require(0 <= value < math.inf, "weight_decay", value, ">= 0 and finite")


@dataclass(frozen=True)
class Adam:
    """``torch.optim.Adam`` (the paper's optimizer), or AdamW when ``decoupled``.

    Args:
        lr: learning rate, > 0.
        betas: decay rates of the two moments, in [0, 1).
        eps: added to the denominator, > 0.
        weight_decay: >= 0.
        decoupled: weight decay as in AdamW rather than through the gradient.
        schedule: see :class:`Schedule`.
    """

    lr: float = 1e-4
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        _check_rate("lr", self.lr)
        _check_rate("eps", self.eps)
        _check_weight_decay(self.weight_decay)
        require(
            len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas),
            "betas",
            list(self.betas),
            "two numbers in [0, 1)",
        )

    def build(self, module: nn.Module, max_steps: int) -> tuple[Optimizer, LambdaLR]:
        kind = torch.optim.AdamW if self.decoupled else torch.optim.Adam
        optimizer = kind(
            module.parameters(),
            lr=self.lr,
            betas=tuple(self.betas),
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )
        # torch declares that its fused optimizers unscale gradients themselves, and Lightning then refuses to clip
        # under mixed precision. bfloat16 needs no scaling, so there is nothing to unscale.
        optimizer._step_supports_amp_scaling = False
        return optimizer, self.schedule.build(optimizer, max_steps)


@dataclass(frozen=True)
class Muon:
    """Muon on weight matrices (:class:`~mmcl.training.muon.StackedMuon`), AdamW on everything else.

    Muon orthogonalises the momentum of a weight matrix (Jordan et al., 2024), which suits hidden matrices. First
    and last layers of each encoder, biases, and parameters that are not matrices go to AdamW, as its authors
    advise; ``all_matrices`` gives Muon the first and last layers too.

    Args:
        lr: Muon's learning rate, > 0.
        momentum: in [0, 1).
        adam_lr: AdamW's learning rate, > 0.
        weight_decay: decoupled, in both, >= 0.
        all_matrices: give Muon every matrix.
        schedule: the same for both; see :class:`Schedule`.
    """

    lr: float = 0.02
    momentum: float = 0.95
    adam_lr: float = 3e-3
    weight_decay: float = 0.0
    all_matrices: bool = False
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        _check_rate("lr", self.lr)
        _check_rate("adam_lr", self.adam_lr)
        _check_weight_decay(self.weight_decay)
        require(0 <= self.momentum < 1, "momentum", self.momentum, "in [0, 1)")

    def build(self, module: nn.Module, max_steps: int) -> tuple[Optimizer, LambdaLR]:
        hidden = {id(p) for p in hidden_matrices(module, all_matrices=self.all_matrices)}
        require(bool(hidden), "optimizer", "Muon", "used with an encoder that has hidden weight matrices")
        parameters = list(module.parameters())
        optimizer = Joint(
            [
                StackedMuon(
                    [p for p in parameters if id(p) in hidden],
                    lr=self.lr,
                    momentum=self.momentum,
                    weight_decay=self.weight_decay,
                ),
                torch.optim.AdamW(
                    [p for p in parameters if id(p) not in hidden],
                    lr=self.adam_lr,
                    weight_decay=self.weight_decay,
                    fused=True,
                ),
            ]
        )
        return optimizer, self.schedule.build(optimizer, max_steps)


def hidden_matrices(module: nn.Module, *, all_matrices: bool) -> list[nn.Parameter]:
    """Weight matrices of the linear layers inside every ``nn.Sequential``, without its first and last ones."""
    found: list[nn.Parameter] = []
    for part in module.modules():
        if isinstance(part, nn.Sequential):
            weights = [layer.weight for layer in part if isinstance(layer, nn.Linear)]
            found += weights if all_matrices else weights[1:-1]
    return found


class Joint(Optimizer):
    """Several optimizers, each for its own parameters, that step as one.

    Lightning's loop, its clipping and its checkpoints work on one optimizer here. The parameter
    groups are the parts' own, so that a schedule set on the whole reaches every part.
    """

    def __init__(self, parts: list[Optimizer]) -> None:
        self.parts = parts
        super().__init__(list(chain.from_iterable(p.param_groups for p in parts)), {})
        # Optimizer.__init__ made groups of its own; these are the parts' very dictionaries.
        self.param_groups = list(chain.from_iterable(p.param_groups for p in parts))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:  # type: ignore[override]
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # type: ignore[override]
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = list(chain.from_iterable(p.param_groups for p in self.parts))
