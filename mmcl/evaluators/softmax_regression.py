"""Multinomial logistic regression with an L2 penalty, many problems on the same inputs solved as one."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

TOLERANCE = 1e-6
"""A problem is solved where the Euclidean norm of its gradient is at most that: its objective is then within
``TOLERANCE^2 / (2 penalty)`` of the smallest (5e-8 at the penalty 1e-5), and its coefficients within ``TOLERANCE /
penalty`` of the best, far closer along directions that the samples say something about."""

MEMORY = 10
"""Pairs of steps and changes of the gradient that L-BFGS remembers."""


@dataclass(frozen=True)
class Problems:
    """``P`` problems on the same ``N`` rows of inputs.

    Each minimises ``sum_i weight_i (-log softmax(x_i W + b)[target_i]) + penalty / 2 ||W||_F^2`` over ``W: (D, K)`` and
    the intercepts ``b: (K,)``, which are free.

    ``target``: ``(N, P)`` int64, from 0 to ``classes - 1``. ``weight``: ``(N, P)`` float64, >= 0, each column of sum 1.
    ``classes``: ``(P,)`` int64, the largest is K: problems of fewer classes have zeros as their last columns.
    ``penalty``: ``(P,)``, > 0.

    scikit-learn's ``LogisticRegression`` has the same optimum at ``C = 1 / (N penalty)``; for two classes, where it has
    a single logit, at ``C = 2 / (N penalty)``.
    """

    target: Tensor
    weight: Tensor
    classes: Tensor
    penalty: Tensor

    def __len__(self) -> int:
        return self.target.shape[1]

    def select(self, which: Tensor) -> Problems:
        """The problems ``which``, by number or mask."""
        return Problems(
            self.target[:, which], self.weight[:, which], self.classes[which], self.penalty[which]
        )


@dataclass(frozen=True)
class Solutions:
    """``coefficients``: ``(D, K, P)``; ``intercepts``: ``(K, P)``, of mean 0 over a problem's classes; ``solved``:
    ``(P,)``."""

    coefficients: Tensor
    intercepts: Tensor
    solved: Tensor

    def part(self, which: Tensor) -> Solutions:
        """The solutions ``which``, by number."""
        return Solutions(self.coefficients[..., which], self.intercepts[..., which], self.solved[which])

    def logits(self, x: Tensor) -> Tensor:
        """``(N, D)`` to ``(N, K, P)``; those of classes that a problem does not have are 0."""
        return (x @ self.coefficients.flatten(1)).view(len(x), *self.intercepts.shape) + self.intercepts


@dataclass
class _State:
    """Where each problem stands, all with the problems last. ``w``, ``gradient``: ``(D + 1, K, P)``, the intercepts
    last; ``steps`` and ``changes``: what L-BFGS remembers of them, the newest last."""

    w: Tensor
    value: Tensor
    gradient: Tensor
    steps: list[Tensor]
    changes: list[Tensor]

    def select(self, which: Tensor) -> _State:
        def part(held: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
            return [h[..., which] for h in held] if isinstance(held, list) else held[..., which]

        return _State(**{f.name: part(getattr(self, f.name)) for f in fields(self)})  # type: ignore[arg-type]


def solve(
    x: Tensor,
    problems: Problems,
    tolerance: float = TOLERANCE,
    max_iter: int = 2000,
    start: Solutions | None = None,
) -> Solutions:
    """The minima of ``problems`` on ``x: (N, D)``, float64 (D = 0: intercepts alone), by L-BFGS.

    All problems share the products with ``x``, which are nearly all there is to do; each has its own step, and is left
    alone once it is solved. The first guess of the inverse Hessian is that at ``W = 0`` of uncorrelated inputs, so
    that principal components as inputs take few iterations, however unlike their variances are. ``start``: a guess.

    ``solved`` tells which problems came to ``tolerance`` within ``max_iter`` iterations.

    >>> x, y = torch.tensor([[-1.0], [1.0], [1.0]]).double(), torch.tensor([[0], [1], [0]])
    >>> third = torch.full((3, 1), 1 / 3).double()
    >>> found = solve(x, Problems(y, third, torch.tensor([2]), torch.tensor([0.5]).double()))
    >>> float(found.coefficients.sum(dim=1).abs().max()) < 1e-12
    True
    """
    d = x.shape[1]
    widest = int(problems.classes.max())
    w = x.new_zeros(d + 1, widest, len(problems))
    if start is not None:
        w[:d], w[d] = start.coefficients, start.intercepts
    objective = _Objective(x, problems, widest, torch.cat([x.square().mean(dim=0), x.new_ones(1)]))
    state = _State(w, *objective(w), [], [])
    result, solved = w.clone(), torch.zeros(len(problems), dtype=torch.bool, device=x.device)
    alive = torch.arange(len(problems), device=x.device)
    for iteration in range(max_iter + 1):
        done = _norm(state.gradient) <= tolerance
        if bool(done.any()):
            result[..., alive[done]], solved[alive[done]] = state.w[..., done], True
            alive, state, objective = alive[~done], state.select(~done), objective.select(~done)
        if not len(alive):
            break
        if iteration == max_iter or not _step(state, objective):
            result[..., alive] = state.w
            break
    return Solutions(result[:d], result[d], solved)


class _Objective:
    """Value ``(P,)`` and gradient ``(D + 1, K, P)`` of each problem; ``squares``: ``(D + 1,)``, mean squares
    of the inputs and of the 1 that the intercept stands by."""

    def __init__(self, x: Tensor, problems: Problems, widest: int, squares: Tensor) -> None:
        self.x, self.problems, self.widest, self.squares = x, problems, widest, squares
        known = torch.arange(widest, device=x.device)[:, None] < problems.classes
        self.mask = torch.zeros_like(known, dtype=x.dtype).masked_fill(~known, -torch.inf)
        penalised = torch.ones(x.shape[1] + 1, 1, 1, dtype=x.dtype, device=x.device)
        penalised[-1] = 0
        self.penalty = penalised * problems.penalty
        self.inverse_hessian = 1 / (self._spread() * squares[:, None, None] + self.penalty)

    def _spread(self) -> Tensor:
        """Mean eigenvalue of ``diag(p) - p p'``, p the weights of the classes: the curvature in the logits."""
        p = self.x.new_zeros(self.widest, len(self.problems))
        p.scatter_add_(0, self.problems.target, self.problems.weight)
        spread = (1 - p.square().sum(dim=0)) / (self.problems.classes - 1).clamp(min=1)
        return spread.clamp(min=1e-6)

    def select(self, which: Tensor) -> _Objective:
        return _Objective(self.x, self.problems.select(which), self.widest, self.squares)

    def __call__(self, w: Tensor) -> tuple[Tensor, Tensor]:
        target, weight = self.problems.target[:, None], self.problems.weight[:, None]
        # (N, K, P): the problems last, so that a softmax over a few classes is vectorised over them.
        logits = (self.x @ w[:-1].flatten(1)).view(len(self.x), *self.mask.shape).add_(w[-1] + self.mask)
        logits -= logits.amax(dim=1, keepdim=True)
        right = logits.gather(1, target)
        share = logits.exp_()
        total = share.sum(dim=1, keepdim=True)
        value = ((total.log() - right) * weight).sum(dim=(0, 1))
        share /= total
        share.scatter_add_(1, target, right.new_full(right.shape, -1.0))
        share *= weight
        penalty = self.penalty * w
        # Few columns: as rows on the left the product takes half the time.
        slopes = (share.flatten(1).T @ self.x).T.reshape(-1, *self.mask.shape)
        gradient = torch.cat([slopes, share.sum(dim=0, keepdim=True)]) + penalty
        return value + (penalty * w).sum(dim=(0, 1)) / 2, gradient


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=(0, 1))


def _norm(a: Tensor) -> Tensor:
    return a.square().sum(dim=(0, 1)).sqrt()


def _direction(state: _State, inverse_hessian: Tensor) -> Tensor:
    """``-H gradient`` of L-BFGS (Nocedal and Wright, 2006, Algorithm 7.4), H_0 the scaled ``inverse_hessian``."""
    q = state.gradient.clone()
    pairs = list(zip(state.steps, state.changes, strict=True))
    # A step that was none (its change is 0) has no say.
    inverse = [1 / _dot(s, y).clamp(min=torch.finfo(q.dtype).tiny) for s, y in pairs]
    shares = []
    for (s, y), r in zip(reversed(pairs), reversed(inverse), strict=True):
        share = r * _dot(s, q)
        shares.append(share)
        q -= share * y
    q *= inverse_hessian
    if pairs:
        s, y = pairs[-1]
        curvature, size = _dot(s, y), _dot(y, inverse_hessian * y)
        q *= torch.where(size > 0, curvature / size.clamp(min=torch.finfo(q.dtype).tiny), 1.0)
    for (s, y), r, share in zip(pairs, inverse, reversed(shares), strict=True):
        q += s * (share - r * _dot(y, q))
    return -q


def _step(state: _State, objective: _Objective) -> bool:
    """One step of every problem, halved until it is worth its length (Armijo); False: none goes further down."""
    direction = _direction(state, objective.inverse_hessian)
    slope = _dot(direction, state.gradient)
    # Rounding, or a memory of another place, may turn a direction upwards: then straight down again.
    upwards = slope >= 0
    if bool(upwards.any()):
        direction = torch.where(upwards, -objective.inverse_hessian * state.gradient, direction)
        slope = _dot(direction, state.gradient)
    size = torch.ones_like(slope)
    w = state.w + direction
    value, gradient = objective(w)
    # Close to the minimum the value is all rounding.
    rounding = 1e-14 * state.value.abs().clamp(min=1.0)
    for _ in range(40):
        short = value > state.value + 1e-4 * size * slope + rounding
        if not bool(short.any()):
            break
        size[short] /= 2
        w[..., short] = state.w[..., short] + size[short] * direction[..., short]
        value[short], gradient[..., short] = objective.select(short)(w[..., short])
    change, step = gradient - state.gradient, w - state.w
    # Of a convex function the product is positive up to rounding; a pair without it would spoil the memory.
    useful = _dot(step, change) > 1e-14 * _norm(step) * _norm(change)
    state.steps = [*state.steps, step * useful][-MEMORY:]
    state.changes = [*state.changes, change * useful][-MEMORY:]
    moved = bool((step != 0).any())
    state.w, state.value, state.gradient = w, value, gradient
    return moved
