"""The joint law of two sources and a target that has the least information, given each source's law with the target.

    minimise  I_Q(X1, X2; Y)  over Q  with  Q(x1, y) = P(x1, y)  and  Q(x2, y) = P(x2, y),

the convex programme behind the partial information decomposition of Bertschinger et al. (2014). H(Y) is given, so it is
the programme of least ``f(q) = sum q(x1, x2, y) log q(y | x1, x2)``. Its Lagrangian dual is

    maximise  sum P(x1, y) u(x1, y) + sum P(x2, y) v(x2, y)  over u and v
    with      log sum_y exp(u(x1, y) + v(x2, y)) <= 0  for all x1 and x2

(Makkeh et al., 2018). Every u and v become feasible by a shift, and then bound f from below: a certificate that owes
nothing to how they were found, and here the rule when to stop.

They are found by a primal-dual interior-point method with Mehrotra's corrector. Two structures make it fast. The
Hessian of f is a diagonal less a matrix of rank one in each (x1, x2), so Newton's equations come down to one system in
(u, v), and there the side of more unknowns is eliminated in blocks of |Y|. And symbols of a source with the same
P(y | x) are one symbol: merging them loses no information on y, and a law of the merged ones, split again by each
symbol's share of P(x, y), has the same f.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GAP = 1e-8
"""In bits: by how much a law that is returned may have more information than the least."""

STEPS = 150
"""Most laws need 10 to 30."""

SAME_CONDITIONAL = 2.0**-36
"""P(y | x) of symbols that are merged differ by less than this."""

INITIAL_SLACK = 0.3
"""In nats, of the most binding dual constraint at the start."""

FRACTION_TO_BOUNDARY = 0.99
"""Of the longest step that keeps all variables positive, how much is taken."""

REGULARISATION = 1e-14
"""Relative to the diagonal; the error it makes is taken out by a step of iterative refinement."""


class ConvergenceError(RuntimeError):
    """The interior-point method did not prove its law to be within :data:`GAP` of the optimum."""


def least_information(first: Tensor, second: Tensor) -> tuple[Tensor, float]:
    """Q of least I_Q(X1, X2; Y), and by how many bits its information is above the least at most.

    Args:
        first: P(x1, y), ``(n1, ny)``, float64, no row without mass.
        second: P(x2, y), ``(n2, ny)``, likewise, with the same P(y) > 0.

    Returns:
        Q, ``(n1, n2, ny)``, whose marginals are ``first`` and ``second`` up to rounding; and the certified gap, in
        bits, <= :data:`GAP`. Where several laws are optimal it is one of them, between the others.

    Raises:
        ConvergenceError: the gap is larger than that after :data:`STEPS` steps. No law is known that brings this about.

    A step takes O(n1 n2 ny^2 + min(n1, n2)^2 max(n1, n2) ny^3) operations, of which n are the symbols after merging.
    """
    groups1, merged1 = _merge(first)
    groups2, merged2 = _merge(second)
    if len(merged1) >= len(merged2):
        q, gap = _solve(merged1, merged2)
    else:
        q, gap = _solve(merged2, merged1)
        q = q.transpose(0, 1)
    share1, share2 = _ratio(first, merged1[groups1]), _ratio(second, merged2[groups2])
    return q[groups1][:, groups2] * share1[:, None] * share2, gap


def _merge(marginal: Tensor) -> tuple[Tensor, Tensor]:
    """Each symbol's group ``(n,)``, and the groups' marginal ``(m, ny)``: symbols of one P(y | x) are one."""
    conditional = marginal / marginal.sum(dim=1, keepdim=True)
    keys = (conditional / SAME_CONDITIONAL).round()
    found, groups = torch.unique(keys, dim=0, return_inverse=True)
    merged = torch.zeros(len(found), marginal.shape[1], dtype=marginal.dtype)
    return groups, merged.index_add(0, groups, marginal)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 where b = 0."""
    return torch.where(b > 0, a / torch.where(b > 0, b, 1.0), 0.0)


def _log_conditional(q: Tensor) -> Tensor:
    """log q(y | x1, x2), and 0 where q = 0: the gradient of f."""
    some = q > 0
    total = torch.where(some, q.sum(dim=-1, keepdim=True), 1.0)
    return (torch.where(some, q, 1.0) / total).log()


def _solve(first: Tensor, second: Tensor) -> tuple[Tensor, float]:
    """:func:`least_information` of merged symbols. Eliminates the first source, which should have no fewer."""
    cells = (first[:, None] > 0) & (second > 0)
    uniform = cells / cells.sum()
    target = first.sum(dim=0)
    # Sources independent given y: strictly inside, and with it multipliers whose slack is the same for every y.
    q = first[:, None] * second / target
    u, v = _log_conditional(first) - torch.where(first > 0, target.log(), 0.0), _log_conditional(second)
    u -= _excess(u, v, cells).max() + INITIAL_SLACK
    s = torch.where(cells, _log_conditional(q) - _spread(u, v, cells), 1.0)

    upper, lower, best = math.inf, -math.inf, q
    for _ in range(STEPS):
        feasible = _repair(q, first, second)
        value = float((feasible * _log_conditional(feasible)).sum())
        if value < upper:
            upper, best = value, feasible
        lower = max(lower, _dual_value(u, v, first, second, cells))
        gap = (upper - lower) / math.log(2)
        if gap <= GAP:
            return best, max(gap, 0.0)
        if not math.isfinite(value):
            break
        step_q, step_u, step_v, step_s = _Newton(q, u, v, s, first, second, cells).direction(uniform)
        primal, dual = _step_length(q, step_q, cells), _step_length(s, step_s, cells)
        q = q + primal * step_q
        u, v, s = u + dual * step_u, v + dual * step_v, s + dual * step_s
    raise ConvergenceError(
        f"marginals of {len(first)} x {len(second)} symbols, target of {len(target)}: the law found may have "
        f"{upper - lower:.3g} nats more than the least information after {STEPS} steps; must be at most {GAP} bits. "
        "Set probabilities that are rounding errors to 0, and merge symbols that hardly differ"
    )


def _spread(u: Tensor, v: Tensor, cells: Tensor) -> Tensor:
    """u(x1, y) + v(x2, y) where there can be mass, and 0 elsewhere: ``(n1, n2, ny)``."""
    return torch.where(cells, u[:, None] + v, 0.0)


def _excess(u: Tensor, v: Tensor, cells: Tensor) -> Tensor:
    """log sum_y exp(u + v), by which a dual constraint is violated: ``(n1, n2)``."""
    return torch.where(cells, u[:, None] + v, -math.inf).logsumexp(dim=-1)


def _dual_value(u: Tensor, v: Tensor, first: Tensor, second: Tensor, cells: Tensor) -> float:
    """A lower bound of f: the dual's value once each u(x1, .) is shifted until it and all of v are feasible."""
    shift = _excess(u, v, cells).amax(dim=1)
    return float((first * u).sum() + (second * v).sum() - (first.sum(dim=1) * shift).sum())


def _repair(q: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """A law near q >= 0 with the marginals: too large ones are scaled down, and what lacks is added as a product.

    Source: Altschuler et al. (2017), Algorithm 2, for each y.
    """
    q = q * _ratio(first, q.sum(dim=1)).clamp(max=1)[:, None]
    q = q * _ratio(second, q.sum(dim=0)).clamp(max=1)
    lack1, lack2 = (first - q.sum(dim=1)).clamp(min=0), (second - q.sum(dim=0)).clamp(min=0)
    return q + lack1[:, None] * _ratio(lack2, lack1.sum(dim=0).expand_as(lack2))


def _step_length(x: Tensor, step: Tensor, cells: Tensor) -> float:
    longest = float(torch.where(cells & (step < 0), -x / step, math.inf).min())
    return min(1.0, FRACTION_TO_BOUNDARY * longest)


class _Newton:
    """Newton's direction for log q(y | x1, x2) - u - v = s, q's marginals, and q s = tau.

    With s eliminated, the Hessian of the cells (x1, x2) is diag((1 + s) / q) - 1 1^T / sum_y q, whose inverse is
    G = diag(w) + w w^T / c with w = q / (1 + s) and c = sum_y w s. No difference is taken in it. With q eliminated,
    too, the marginals of G(u + v) are given: the system that is factorised here, by Cholesky's method in blocks.
    """

    def __init__(
        self, q: Tensor, u: Tensor, v: Tensor, s: Tensor, first: Tensor, second: Tensor, cells: Tensor
    ) -> None:
        self.q, self.s, self.cells = q, s, cells
        self.w = torch.where(cells, q / (1 + s), 0.0)
        self.scaled = _ratio(self.w, (self.w * s).sum(dim=-1, keepdim=True).expand_as(self.w))
        self.dual_residual = _log_conditional(q) - _spread(u, v, cells) - s
        self.lack1, self.lack2 = first - q.sum(dim=1), second - q.sum(dim=0)
        # Not unknowns: symbols that a y does not have, and one v for each y, as u + k(y) and v - k(y) are as good.
        self.free1, self.free2 = first > 0, second > 0
        self.free2[second.argmax(dim=0), torch.arange(second.shape[1])] = False
        self._factorise()

    def _factorise(self) -> None:
        w, scaled = self.w, self.scaled
        n1, n2, ny = w.shape
        block = scaled.mT @ w
        block.diagonal(dim1=1, dim2=2).add_(w.sum(dim=1)).mul_(1 + REGULARISATION).add_(~self.free1)
        self.root1 = torch.linalg.cholesky_ex(block)[0]
        coupling = torch.einsum("ijy,ijz->iyjz", scaled, w)
        coupling.diagonal(dim1=1, dim2=3).add_(w)
        coupling = coupling.reshape(n1, ny, n2 * ny)
        coupling[:, :, ~self.free2.flatten()] = 0
        self.eliminated = torch.linalg.solve_triangular(self.root1, coupling, upper=False).reshape(
            n1 * ny, n2 * ny
        )
        schur = -self.eliminated.T @ self.eliminated
        block = scaled.permute(1, 2, 0) @ w.transpose(0, 1)
        block.diagonal(dim1=1, dim2=2).add_(w.sum(dim=0))
        block = torch.where(self.free2[:, :, None] & self.free2[:, None], block, 0.0)
        block.diagonal(dim1=1, dim2=2).add_(~self.free2)
        schur.view(n2, ny, n2, ny).diagonal(dim1=0, dim2=2).add_(block.permute(1, 2, 0))
        whole = block.diagonal(dim1=1, dim2=2).flatten()
        self.scale = torch.maximum(schur.diagonal(), REGULARISATION * whole).rsqrt()
        schur *= self.scale * self.scale[:, None]
        failed, regularisation = True, REGULARISATION
        while failed and regularisation < 1:
            schur.diagonal().add_(regularisation)
            self.root2, info = torch.linalg.cholesky_ex(schur)
            failed, regularisation = bool(info), 10 * regularisation

    def _solve(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """u and v for which G(u + v) has the marginals ``rows`` and ``columns``."""
        u = torch.linalg.solve_triangular(self.root1, rows[..., None], upper=False).flatten()
        v = self.scale * (columns.flatten() - self.eliminated.T @ u)
        v = self.scale * torch.cholesky_solve(v[:, None], self.root2).flatten()
        u = (u - self.eliminated @ v).reshape(*rows.shape, 1)
        return torch.linalg.solve_triangular(self.root1.mT, u, upper=True)[..., 0], v.reshape(columns.shape)

    def _inverse_hessian(self, g: Tensor) -> Tensor:
        return self.w * g + self.scaled * (self.w * g).sum(dim=-1, keepdim=True)

    def _towards(self, products: Tensor | float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Steps of q, u, v and s towards q s = ``products``."""
        change = torch.where(self.cells, products / torch.where(self.cells, self.q, 1.0) - self.s, 0.0)
        step = self._inverse_hessian(change - self.dual_residual)
        step_u, step_v = torch.zeros_like(self.lack1), torch.zeros_like(self.lack2)
        for _ in range(2):  # the second time it is a refinement
            rows = torch.where(self.free1, self.lack1 - step.sum(dim=1), 0.0)
            columns = torch.where(self.free2, self.lack2 - step.sum(dim=0), 0.0)
            u, v = self._solve(rows, columns)
            step_u, step_v = step_u + u, step_v + v
            step = step + self._inverse_hessian(_spread(u, v, self.cells))
        return step, step_u, step_v, torch.where(self.cells, change - _ratio(self.s * step, self.q), 0.0)

    def direction(self, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predictor and corrector (Mehrotra, 1992): steps of q, u, v and s.

        The sum of q s is not to fall below the part of the gap that the dual residual is: driven down faster than
        that is, it leaves a dual point far from feasible with no room to move.
        """
        step_q, _, _, step_s = self._towards(0.0)
        primal, dual = _step_length(self.q, step_q, self.cells), _step_length(self.s, step_s, self.cells)
        now = (self.q * self.s).sum()
        then = ((self.q + primal * step_q) * (self.s + dual * step_s)).sum()
        centring = (then / now).clamp(0, 1) ** 3
        residual = (self.q * self.dual_residual.abs()).sum()
        centring = torch.maximum(centring, (residual / now).clamp(max=1))
        return self._towards(centring * now * uniform - min(primal, dual) * step_q * step_s)
