"""Projection heads: what stands between an encoding and the objective, and is left away afterwards."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from torch import Tensor, nn

from mmcl.checks import require


@dataclass(frozen=True)
class Head:
    """An MLP from an encoding to what the objective compares (Chen et al., 2020).

    Args:
        widths: of its layers, the last one's outputs last; none: the objective is given the encodings themselves.
        batch_norm: whether BatchNorm stands after all linear layers but the last.
        shared: one head for all modalities and sets of them (CoMM), or one for each.
    """

    widths: list[int] = field(default_factory=lambda: [512, 512, 256])
    batch_norm: bool = True
    shared: bool = True

    def __post_init__(self) -> None:
        require(
            all(w >= 1 for w in self.widths), "head.widths", list(self.widths), "a list of widths >= 1, or []"
        )

    def build(self, sizes: Mapping[str, int]) -> Heads:
        """For encodings of these sizes, by name.

        Raises ``ValueError`` where one head is to serve encodings of different sizes.
        """
        if not self.widths:
            return Heads()
        if self.shared:
            require(
                len(set(sizes.values())) == 1,
                "encoder.head.shared",
                True,
                f"false for encodings of sizes {dict(sizes)}",
            )
            return Heads({"shared": self._net(next(iter(sizes.values())))}, shared=True)
        return Heads({name: self._net(size) for name, size in sizes.items()})

    def _net(self, size: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise([size, *self.widths[:-1]]):
            layers.append(nn.Linear(n_in, n_out))
            if self.batch_norm:
                layers.append(nn.BatchNorm1d(n_out))
            layers.append(nn.ReLU(inplace=True))
        layers.append(nn.Linear([size, *self.widths][-2], self.widths[-1]))
        return nn.Sequential(*layers)


class Heads(nn.Module):
    """``{name: (B, D)} -> {name: (B, D')}``, by one head, one for each, or none.

    Args:
        heads: name -> head, or ``shared``; none: encodings are given on as they are.
        shared: whether one serves all.
    """

    def __init__(self, heads: Mapping[str, nn.Module] | None = None, *, shared: bool = False) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(dict(heads or {}))
        self.shared = shared

    def keep(self, names: Container[str]) -> None:
        """Forget the heads of all other encodings, where each has its own."""
        if not self.shared:
            self.heads = nn.ModuleDict({name: head for name, head in self.heads.items() if name in names})

    def forward(self, z: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not self.heads:
            return dict(z)
        return {
            name: self.heads["shared" if self.shared else name.partition("@")[0]](h) for name, h in z.items()
        }
