"""Muon with the matrices of one shape orthogonalised together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class StackedMuon(torch.optim.Muon):
    """``torch.optim.Muon``, in one batched product where torch's own multiplies matrix by matrix.

    For each weight matrix W (m x n) with gradient G: ``M <- mu M + (1 - mu) G``, ``U = NS((1 - mu) G + mu M)``,
    ``W <- (1 - lr weight_decay) W - lr sqrt(max(1, m / n)) U``, where NS brings the singular values of its argument
    near 1 by quintic Newton-Schulz iterations (Jordan et al., 2024).

    A matrix of a narrow encoder is so small that starting its product costs more than the product. One encoder for
    each modality and several layers of one width give several matrices of a shape, which are stacked here. Arguments
    and state are torch's, and one more:

    Args:
        product_dtype: of the iterations. ``None``: bfloat16 on accelerators, as torch's; float32 on CPUs, a departure:
            for small matrices it is no slower where the CPU has units for bfloat16, and sixty times faster where
            it has none; float64 for parameters in float64, which are there to be compared.

    Raises:
        ValueError: for ``adjust_lr_fn`` other than torch's default, the factor above.
    """

    def __init__(self, *args: Any, product_dtype: torch.dtype | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._product_dtype = product_dtype
        for group in self.param_groups:
            if group["adjust_lr_fn"] not in (None, "original"):
                raise ValueError(f"adjust_lr_fn={group['adjust_lr_fn']!r}: must be None or 'original'")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[p.shape].append(p)
            for matrices in by_shape.values():
                self._step_one_shape(matrices, group)
        return loss

    def _step_one_shape(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [p.grad for p in matrices]
        momenta = []
        for p in matrices:
            state = self.state[p]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(p)
            momenta.append(state["momentum_buffer"])
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        updates = torch._foreach_lerp(gradients, momenta, group["momentum"]) if group["nesterov"] else momenta
        stack = torch.stack(tuple(updates))
        directions = orthogonalised(
            stack.to(self._product_dtype or _usual_dtype(stack)),
            group["ns_coefficients"],
            group["ns_steps"],
            group["eps"],
        )
        rows, columns = matrices[0].shape
        if group["weight_decay"] != 0:
            torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        rate = group["lr"] * max(1.0, rows / columns) ** 0.5
        torch._foreach_add_(matrices, directions.to(matrices[0].dtype).unbind(), alpha=-rate)


def _usual_dtype(stack: Tensor) -> torch.dtype:
    if stack.dtype == torch.float64:
        return torch.float64
    return torch.float32 if stack.device.type == "cpu" else torch.bfloat16


def orthogonalised(stack: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Newton-Schulz iterations on every matrix of a stack.

    ``X <- a X + (b X X' + c (X X')^2) X`` from ``X = G / |G|_F``: an odd polynomial of the singular values, which
    brings them near 1 and leaves the singular vectors.

    Args:
        stack: ``(count, m, n)``, of the dtype to calculate in.
        coefficients: (a, b, c).
        steps: number of iterations.
        eps: smallest norm divided by.

    Returns:
        ``(count, m, n)``.
    """
    a, b, c = coefficients
    tall = stack.shape[1] > stack.shape[2]
    x = stack.mT if tall else stack
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
