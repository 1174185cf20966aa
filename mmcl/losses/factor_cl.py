"""FactorCL: shared and unique information of two modalities, by bounds on mutual information in both directions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mmcl.checks import require
from mmcl.losses.inputs import check_encodings, full_precision
from mmcl.losses.terms import is_single

BLOCKS = ("shared", "shared_not_given", "unique", "unique_given", "unique_not")
"""What each fifth of an encoding is for, in this order: see :class:`FactorCL`."""


@dataclass(frozen=True)
class FactorCL:
    """Config of the self-supervised objective of Liang et al. (2023, "Factorized contrastive learning").

    An augmented draw X_i' stands for the task. Of each modality's encoding five blocks of equal width serve five terms,
    each of which is a bound by a critic f, a network of two encodings::

        L = - I_nce(X1; X2)                        block shared
            + I_club(X1; X2 | X1', X2')            block shared_not_given
            - I_nce(X1; X1') - I_nce(X2; X2')      block unique
            - I_nce(X1; X2 | X1', X2')             block unique_given
            + I_club(X1; X2)                       block unique_not

    I_nce = mean f(a_i, b_i) - mean_i log mean_j exp f(a_i, b_j) is the lower bound, I_club = mean f(a_i, b_i) - mean
    f(a_i, b_j) the upper one, whose critic is trained by its own I_nce. A condition is put beside: (X1, X1').

    Departures: the upper bounds' critics take their step with all other weights and not in an inner loop; one network
    gives the five blocks, where the authors have a head for each; what a probe sees is the blocks, without the layer
    that they are made from.

    Args:
        encoding_size: the encoders', a multiple of 5.
        hidden: units of the critics' hidden layer, >= 1.

    Raises:
        ValueError: a size that cannot be.
    """

    encoding_size: int = 60
    hidden: int = 512

    def __post_init__(self) -> None:
        size = self.encoding_size
        require(
            size >= 5 and size % 5 == 0,
            "encoding_size",
            size,
            "a multiple of 5, one part for each of its blocks",
        )
        require(self.hidden >= 1, "hidden", self.hidden, ">= 1")

    @property
    def draws(self) -> tuple[int, ...]:
        """Samples as they are, and an augmented draw."""
        return 0, 1

    def build(self) -> FactorCLLoss:
        """The loss as a module, with its critics."""
        return FactorCLLoss(self)


class Critic(nn.Module):
    """``f(a_i, b_j)`` for all pairs of rows: ``(K, d_a), (K, d_b) -> (K, K)``, an MLP with one hidden layer.

    The first layer of the concatenation (a, b) is a sum of one layer of each, so that it costs 2 K products, not K^2.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.of_a = nn.Linear(width, hidden)
        self.of_b = nn.Linear(width, hidden, bias=False)
        self.out = nn.Linear(hidden, 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        pairs: Tensor = _HiddenLayers.apply(self.of_a(a), self.of_b(b), self.out.weight[0])
        return pairs + self.out.bias


class _HiddenLayers(torch.autograd.Function):
    """``sum_h w_h relu(a_ih + b_jh)``: ``(K, H), (K, H), (H,) -> (K, K)``, some rows of a at a time.

    The hidden units of all pairs, K^2 H, are written and read again in each of a dozen passes if autograd is to have
    them; in parts they stay in the cache, and are added up once more for the gradient. With g the gradient of the sum
    and d_ijh = g_ij [a_ih + b_jh > 0] those of a, b and w are w_h sum_j d_ijh, w_h sum_i d_ijh, and
    sum_i a_ih sum_j d_ijh + sum_j b_jh sum_i d_ijh.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(a, b, w)
        return torch.cat([(part[:, None] + b).relu_() @ w for part in a.split(_rows(b))])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, b, w = ctx.saved_tensors
        of_a, of_b = [], torch.zeros_like(b)
        for part, g in zip(a.split(_rows(b)), gradient.split(_rows(b)), strict=True):
            units = part[:, None] + b
            d = torch.ops.aten.threshold_backward(g[:, :, None].expand_as(units), units, 0)
            of_a.append(d.sum(dim=1))
            of_b += d.sum(dim=0)
        all_a = torch.cat(of_a)
        return w * all_a, w * of_b, (a * all_a).sum(dim=0) + (b * of_b).sum(dim=0)


def _rows(b: Tensor) -> int:
    """How many rows are taken at a time: 1 MiB of float32 on a CPU, 256 MiB on a GPU, where each part is a launch."""
    return max(1, (2**18 if b.device.type == "cpu" else 2**26) // b.numel())


def info_nce_bound(scores: Tensor) -> Tensor:
    """``mean_i f_ii - mean_i log mean_j exp f_ij`` of scores ``(K, K)``: at most log K.

    >>> info_nce_bound(torch.zeros(4, 4)).item()
    0.0
    """
    return scores.diagonal().mean() - scores.logsumexp(dim=1).mean() + math.log(len(scores))


def club_bound(scores: Tensor) -> Tensor:
    """``mean_i f_ii - mean_ij f_ij`` of scores ``(K, K)`` (Cheng et al., 2020, with a critic; all pairs as marginals).

    >>> club_bound(torch.eye(2)).item()
    0.5
    """
    return scores.diagonal().mean() - scores.mean()


class FactorCLLoss(nn.Module):
    """See :class:`FactorCL`. ``forward(z)`` takes the encodings x1, x2, x1@1 and x2@1, ``(K, D)`` each, of two
    modalities of any names."""

    def __init__(self, spec: FactorCL) -> None:
        super().__init__()
        self.spec = spec
        width = spec.encoding_size // len(BLOCKS)
        self.lower = nn.ModuleDict(
            {
                name: Critic(size, spec.hidden)
                for name, size in (
                    ("shared", width),
                    ("unique1", width),
                    ("unique2", width),
                    ("given", 2 * width),
                )
            }
        )
        self.upper = nn.ModuleDict(
            {
                name: Critic(size, spec.hidden)
                for name, size in (("shared_not_given", 2 * width), ("unique_not", width))
            }
        )

    def wanted(self, names: Sequence[str]) -> dict[int, tuple[str, ...]]:
        """The lone modalities, of the samples as they are and of one augmented draw.

        Raises ``ValueError`` for other than two modalities.
        """
        singles = tuple(filter(is_single, names))
        require(len(singles) == 2, "modalities", singles, "two for FactorCL")
        return {0: singles, 1: singles}

    def forward(self, z: Mapping[str, Tensor], fresh: Mapping[str, Tensor] | None = None) -> Tensor:
        """The scalar loss; ``fresh`` is not used.

        Raises ``ValueError`` for encodings of another width than ``encoding_size``.
        """
        check_encodings(z)
        first, second = (name for name in z if "@" not in name)
        width = z[first].shape[1]
        require(
            width == self.spec.encoding_size,
            "encoding_size",
            self.spec.encoding_size,
            f"the encoders', {width}",
        )
        with torch.autocast(z[first].device.type, enabled=False):
            rows = full_precision(z[first], z[second], z[f"{first}@1"], z[f"{second}@1"])
            a, b, a1, b1 = (dict(zip(BLOCKS, h.chunk(len(BLOCKS), dim=1), strict=True)) for h in rows)

            def given(name: str) -> tuple[Tensor, Tensor]:
                return torch.cat([a[name], a1[name]], dim=1), torch.cat([b[name], b1[name]], dim=1)

            bounds = [
                info_nce_bound(self.lower["shared"](a["shared"], b["shared"])),
                info_nce_bound(self.lower["unique1"](a["unique"], a1["unique"])),
                info_nce_bound(self.lower["unique2"](b["unique"], b1["unique"])),
                info_nce_bound(self.lower["given"](*given("unique_given"))),
            ]
            loss = -torch.stack(bounds).sum()
            for name, pair in (
                ("shared_not_given", given("shared_not_given")),
                ("unique_not", (a["unique_not"], b["unique_not"])),
            ):
                loss = loss + self._upper(name, *pair)
            return loss

    def _upper(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """The bound, through which the encodings learn, and minus the critic's own, through which it alone does."""
        critic = self.upper[name]
        weights = {key: value.detach() for key, value in critic.state_dict(keep_vars=True).items()}
        bound = club_bound(functional_call(critic, weights, (a, b)))
        own = info_nce_bound(critic(a.detach(), b.detach()))
        return bound - own

    def extra_repr(self) -> str:
        return repr(self.spec)
