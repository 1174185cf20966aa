"""Fusion: one encoding from the tokens of any set of modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmcl.checks import require
from mmcl.encoders.mlp import mlp
from mmcl.encoders.tokens import Tokens


def quick_gelu(x: Tensor) -> Tensor:
    """``x sigmoid(1.702 x)``, CLIP's approximation of GELU."""
    return x * torch.sigmoid(1.702 * x)


@dataclass(frozen=True)
class Transformer:
    """A learned class token and the tokens of a set of modalities through transformer blocks (Dufumier et al., 2025).

    A modality that is not in a set has no tokens in the sequence; padding is not attended. Blocks normalise first; the
    class token begins as N(0, 1) and after a last LayerNorm is the encoding. Where something stands in a modality is
    for its backbone to say: there is neither an embedding of positions nor of modalities.

    Args:
        blocks: >= 1.
        heads: of attention, >= 1; must divide the encoding size.
        widening: of the block's MLP, in encoding sizes, >= 1.
    """

    blocks: int = 1
    heads: int = 8
    widening: int = 4

    def __post_init__(self) -> None:
        for name in ("blocks", "heads", "widening"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")

    def check(self, size: int) -> None:
        """Raise ``ValueError`` for an encoding size that the heads do not divide."""
        require(size % self.heads == 0, "encoding_size", size, f"a multiple of fusion.heads={self.heads}")

    def build(self, views: Sequence[str], size: int) -> nn.Module:
        return TransformerFusion(size, self)


class TransformerFusion(nn.Module):
    """See :class:`Transformer`: ``{view: Tokens} -> (B, size)``."""

    def __init__(self, size: int, spec: Transformer) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.randn(size))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                size,
                spec.heads,
                spec.widening * size,
                dropout=0.0,
                activation=quick_gelu,
                batch_first=True,
                norm_first=True,
            )
            for _ in range(spec.blocks)
        )
        self.norm = nn.LayerNorm(size)

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        found = Tokens.joined(list(tokens.values()))
        rows = len(found.values)
        x = torch.cat([self.class_token.to(found.values.dtype).expand(rows, 1, -1), found.values], dim=1)
        padded = None
        if found.there is not None:
            always = torch.zeros(rows, 1, dtype=torch.bool, device=x.device)
            padded = torch.cat([always, ~found.there], dim=1)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x, src_key_padding_mask=padded)
        encoding: Tensor = self.norm(first_token(last, x, padded))
        return encoding


def first_token(block: nn.TransformerEncoderLayer, x: Tensor, padded: Tensor | None) -> Tensor:
    """``block(x)[:, 0]`` of a block that normalises first and drops nothing, without what the other tokens become.

    Of T tokens the other T - 1 would take most of the time, of one block nearly all, and nothing reads them.
    """
    y = block.norm1(x)
    attended, _ = block.self_attn(y[:, :1], y, y, key_padding_mask=padded, need_weights=False)
    x = (x[:, :1] + attended)[:, 0]
    found: Tensor = x + block.linear2(block.activation(block.linear1(block.norm2(x))))
    return found


@dataclass(frozen=True)
class Concatenation:
    """The pooled encodings of all modalities side by side; of a lone modality its own. No parameters."""

    def check(self, size: int) -> None:
        """Nothing can be wrong."""

    def build(self, views: Sequence[str], size: int) -> nn.Module:
        return ConcatenationFusion()


class ConcatenationFusion(nn.Module):
    """``{view: Tokens} -> (B, size)`` for one view, ``(B, n size)`` for n."""

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        return torch.cat([part.pooled() for part in tokens.values()], dim=1)


@dataclass(frozen=True)
class Dense:
    """A linear map, or an MLP, of the pooled encodings side by side, with zeros for a modality that is not in the set.

    Args:
        widths: of hidden layers; none: a linear map.
    """

    widths: list[int] | None = None

    def __post_init__(self) -> None:
        widths = self.widths or []
        require(all(width >= 1 for width in widths), "widths", widths, "a list of widths >= 1, or null")

    def check(self, size: int) -> None:
        """Nothing can be wrong."""

    def build(self, views: Sequence[str], size: int) -> nn.Module:
        return DenseFusion(views, size, self.widths or [])


class DenseFusion(nn.Module):
    """See :class:`Dense`: ``{view: Tokens} -> (B, size)``."""

    def __init__(self, views: Sequence[str], size: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.views = tuple(views)
        self.net = mlp([len(self.views) * size, *widths, size], slope=0.0, bound=None)

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        pooled = {name: part.pooled() for name, part in tokens.items()}
        zeros = torch.zeros_like(next(iter(pooled.values())))
        encoding: Tensor = self.net(torch.cat([pooled.get(name, zeros) for name in self.views], dim=1))
        return encoding
