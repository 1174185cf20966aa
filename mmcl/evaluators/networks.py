"""Classifiers with one hidden layer, many of them trained as one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

BATCH = 512
LEARNING_RATE = 3e-2
PENALTY = 5e-7
"""On the squared norm of the weights: 1e-4 / 200, what scikit-learn's ``MLPClassifier`` adds with its batches of
200."""
ROWS = 4096
"""Rows that are predicted at a time: memory only."""


def predict_labels(
    x_fit: Tensor, x_test: Tensor, labels: Sequence[Tensor], hidden: int, epochs: int, seed: int
) -> list[Tensor]:
    """Labels for ``x_test: (M, D)`` by a classifier for each of ``labels``, each ``(N,)``, trained on ``x_fit: (N,
    D)``.

    ``softmax(W2' relu(W1' x + b1) + b2)`` with ``hidden`` units; ``epochs`` of Adam, its rate falling linearly to 0,
    on the mean cross-entropy of 512 samples and a small penalty on weights. All classifiers see the same batches, so
    that one step for all of them costs little more than for one.
    """
    device = x_fit.device
    classes, targets = zip(*(torch.unique(y, return_inverse=True) for y in labels), strict=True)
    widest = max(len(c) for c in classes)
    # A class that a classifier does not know is never its answer.
    unknown = torch.stack([torch.arange(widest, device=device) >= len(c) for c in classes])
    target = torch.stack(targets)
    *_, networks = train(x_fit, target, unknown, hidden, epochs, seed)
    return [known[networks.logits(i, x_test).argmax(dim=1)] for i, known in enumerate(classes)]


@dataclass(frozen=True)
class Networks:
    """Several classifiers: ``parameters`` W1, b1, W2, b2 of all, each with the networks first; ``unknown``:
    ``(networks, classes)``."""

    parameters: list[Tensor]
    unknown: Tensor

    def logits(self, i: int, x: Tensor) -> Tensor:
        """``(rows, classes)`` of one network; -1e30 for a class that it does not know.

        One at a time, and some rows at a time: the hidden layers of all might not fit.
        """
        alone, unknown = self.part([i]).parameters, self.unknown[i : i + 1]
        return torch.cat([_logits(alone, rows.float(), unknown)[0] for rows in x.split(ROWS)])

    def part(self, which: Sequence[int]) -> Networks:
        """Copies of the networks ``which``."""
        return Networks([p[which].detach().clone() for p in self.parameters], self.unknown[which])


def train(
    x: Tensor,
    target: Tensor,
    unknown: Tensor,
    hidden: int,
    epochs: int,
    seed: int,
    rate: float = LEARNING_RATE,
    weight: Tensor | None = None,
    penalty: Tensor | float = PENALTY,
) -> Iterator[Networks]:
    """The networks after each epoch of their training on ``x: (N, D)``, whose parameters the next one changes.

    ``target``: ``(networks, N)``, classes from 0. ``unknown``: ``(networks, classes)``. ``rate``: of Adam, at the
    beginning. ``weight``: ``(networks, N)`` of the samples' cross-entropies, of mean 1; ``None``: 1. ``penalty``: of
    each network, or one for all, on half the squared norm of its weights. ``seed`` draws initial weights and batches.
    """
    device = x.device
    g = torch.Generator().manual_seed(seed)
    parameters = _initial(len(target), x.shape[1], hidden, unknown.shape[1], g, device)
    x = x.float()
    optimizer = torch.optim.Adam(parameters, lr=rate, fused=True)
    # Batches of one size: what is left over waits for the next order.
    batches = max(1, len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=epochs * batches)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=g).to(device)
        for rows in order.split(BATCH)[:batches]:
            share = None if weight is None else weight[:, rows]
            with torch.enable_grad():
                loss = _losses(parameters, x[rows], target[:, rows], unknown, share, penalty).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        yield Networks([p.detach() for p in parameters], unknown)


def _initial(
    count: int, width: int, hidden: int, outputs: int, g: torch.Generator, device: torch.device
) -> list[Tensor]:
    """W1, b1, W2, b2 of every network, uniform in Glorot's bounds."""
    shapes = [(width, hidden), (1, hidden), (hidden, outputs), (1, outputs)]
    fans = [width + hidden] * 2 + [hidden + outputs] * 2
    return [
        ((2 * torch.rand(count, *shape, generator=g) - 1) * math.sqrt(6 / fan)).to(device).requires_grad_()
        for shape, fan in zip(shapes, fans, strict=True)
    ]


def _logits(parameters: Sequence[Tensor], x: Tensor, unknown: Tensor) -> Tensor:
    """``(networks, rows, classes)``."""
    w1, b1, w2, b2 = parameters
    hidden = torch.relu(torch.baddbmm(b1, x.expand(len(w1), *x.shape), w1))
    return torch.baddbmm(b2, hidden, w2).masked_fill(unknown[:, None, :], -1e30)


def _losses(
    parameters: Sequence[Tensor],
    x: Tensor,
    target: Tensor,
    unknown: Tensor,
    weight: Tensor | None = None,
    penalty: Tensor | float = PENALTY,
) -> Tensor:
    """Each network's mean cross-entropy, of weighted samples, and penalty, ``(networks,)``."""
    logits = _logits(parameters, x, unknown)
    entropy = functional.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
    w1, _, w2, _ = parameters
    norms = w1.square().sum(dim=(1, 2)) + w2.square().sum(dim=(1, 2))
    entropy = entropy.view(len(target), -1)
    return (entropy if weight is None else weight * entropy).mean(dim=1) + penalty / 2 * norms
