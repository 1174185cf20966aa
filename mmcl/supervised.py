"""Whether images hold their factors: a ResNet-18 that is told them, scored on held-out images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mmcl.data.given import GivenWorld
from mmcl.encoders.images import ImageNet, image_encoder, to_channels_last
from mmcl.evaluators.classifiers import accuracy, majority
from mmcl.evaluators.run import rows_at_a_time
from mmcl.evaluators.scores import r2_score

PERIODIC = "object_color"
"""A hue whose 0 and 1 are one red (those of lights span half the circle): predicted as a point of the circle."""

BATCH = 128


@dataclass(frozen=True)
class Score:
    """How well a factor is predicted from held-out images of a view.

    ``metric``: ``accuracy`` (classes), ``r2``, or ``r2_circle`` (of the point at angle 2 pi u, both coordinates
    together). ``chance``: that of the best constant.
    """

    view: str
    factor: str
    metric: str
    value: float
    chance: float
    n_test: int


def supervise(
    world: GivenWorld,
    view: str,
    *,
    steps: int,
    batch_size: int = BATCH,
    learning_rate: float = 2e-3,
    seed: int = 0,
    precision: torch.dtype = torch.float32,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> list[Score]:
    """Train torchvision's ResNet-18, from random weights, to predict the factors of ``view``'s images, and score it.

    The loss is the sum of the cross-entropies of classes and of half the squared errors of all others, in units of
    their standard deviation. AdamW, one cycle of the rate up to ``learning_rate``. All test images are scored, each
    once, and looked at only then.

    Args:
        world: the archive.
        view: one of its views of images.
        steps: of ``batch_size`` images, >= 1 each.
        precision: that of the convolutions.
        progress: told each step's number, from 1, and loss.

    Raises ``ValueError`` if the view is none of images, or a loss is not finite.
    """
    sample = world.sample(1024, torch.Generator().manual_seed(seed))
    if sample.views.get(view, torch.empty(0)).ndim != 4:
        raise ValueError(f"view={view!r}: must be one of images, of {', '.join(sample.views)}")
    targets = {
        name: _Target(name, role.classes, sample.factors[name])
        for name, role in world.roles.items()
        if role.modality in (None, view) and role.role != "synergy"
    }
    torch.manual_seed(seed)
    widths = [target.width for target in targets.values()]
    net = to_channels_last(image_encoder(sample.views[view], sum(widths), ImageNet.resnet18, 0))
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps + 1)
    draws = torch.Generator().manual_seed(seed + 1)

    def outputs(images: Tensor) -> dict[str, Tensor]:
        with torch.autocast("cpu", precision, enabled=precision is not torch.float32):
            out = net(images.contiguous(memory_format=torch.channels_last))
        return dict(zip(targets, out.float().split(widths, dim=1), strict=True))

    for step in range(1, steps + 1):
        batch = world.sample(batch_size, draws)
        found = outputs(batch.views[view])
        losses = [target.loss(found[name], batch.factors[name]) for name, target in targets.items()]
        loss = torch.stack(losses).sum()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ValueError(f"the loss is {value} at step {step}; try a lower learning rate")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        progress(step, value)

    net.eval()
    part = world.part("test")
    test = part.sample(len(part), torch.Generator().manual_seed(seed))
    with torch.no_grad():
        parts = [outputs(images) for images in test.views[view].split(rows_at_a_time(world.views[view]))]
    scores = []
    for name, target in targets.items():
        predicted = torch.cat([one[name] for one in parts])
        for metric, value, chance in target.scores(predicted, test.factors[name]):
            scores.append(Score(view, name, metric, value, chance, len(test)))
    return scores


class _Target:
    """One factor as outputs of a network: logits, a standardised value, or a point of the circle."""

    def __init__(self, name: str, classes: int | None, sample: Tensor) -> None:
        self._classes = classes
        self._periodic = name.partition(".")[0] == PERIODIC and classes is None
        self._mean, self._std = (0.0, 1.0)
        if classes is None:
            values = sample.double()
            self._mean, self._std = float(values.mean()), float(values.std(correction=0))

    @property
    def width(self) -> int:
        return self._classes or (2 if self._periodic else 1)

    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        if self._classes:
            return functional.cross_entropy(out, y[:, 0])
        wanted = _circle(y) if self._periodic else (y - self._mean) / self._std
        return (out - wanted).square().sum(dim=1).mean() / 2

    def scores(self, out: Tensor, y: Tensor) -> list[tuple[str, float, float]]:
        """Metric, value, chance."""
        if self._classes:
            return [
                (
                    "accuracy",
                    accuracy(y, out.argmax(dim=1, keepdim=True)),
                    accuracy(y, majority(y).expand_as(y)),
                )
            ]
        if not self._periodic:
            return [("r2", r2_score(y, out * self._std + self._mean), 0.0)]
        angle = torch.atan2(out[:, 1:], out[:, :1]) / (2 * math.pi) % 1
        return [("r2", r2_score(y, angle), 0.0), ("r2_circle", r2_score(_circle(y), out), 0.0)]


def _circle(u: Tensor) -> Tensor:
    angle = 2 * math.pi * u
    return torch.cat([angle.cos(), angle.sin()], dim=1)
