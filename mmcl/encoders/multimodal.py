"""A backbone for each modality, and a fusion of any set of them."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mmcl.checks import require, require_view_names
from mmcl.encoders.backbones import Vector
from mmcl.encoders.base import seeded
from mmcl.encoders.fusion import Transformer
from mmcl.encoders.heads import Head, Heads
from mmcl.encoders.tokens import Tokens


@dataclass(frozen=True)
class Multimodal:
    """Config of encoders that give an encoding of every modality by itself, and of all of them together.

    Of views x1 and x2 the encodings are called x1, x2 and x1+x2. The fusion makes each from the tokens of its
    modalities alone; backbones run once.

    Args:
        encoding_size: D, the width of the tokens and encodings.
        backbone: of views that ``backbones`` does not name; see :mod:`mmcl.encoders.backbones`.
        backbones: name of a view -> its own.
        fusion: see :mod:`mmcl.encoders.fusion`.
        head: the projection from encodings to what the objective compares; evaluators see the encodings themselves.

    Raises:
        ValueError: a value out of range.
    """

    encoding_size: int = 64
    backbone: Any = field(default_factory=Vector)
    backbones: dict[str, Any] = field(default_factory=dict)
    fusion: Any = field(default_factory=Transformer)
    head: Head = field(default_factory=Head)

    def __post_init__(self) -> None:
        require(self.encoding_size >= 1, "encoding_size", self.encoding_size, ">= 1")
        for name, part in {
            "backbone": self.backbone,
            **{f"backbones.{n}": b for n, b in self.backbones.items()},
        }.items():
            good = hasattr(part, "build") and not hasattr(part, "check")
            require(
                good, name, part, "a backbone: a node with the _target_ of one of mmcl.encoders.backbones"
            )
        good = hasattr(self.fusion, "build") and hasattr(self.fusion, "check")
        require(good, "fusion", self.fusion, "a fusion: mmcl.encoders.Transformer, Concatenation or Dense")
        self.fusion.check(self.encoding_size)

    def build(self, views: Mapping[str, Tensor], generator: torch.Generator) -> MultimodalEncoders:
        """Encoders for views of which a sample is given (name -> ``(n, ...)``).

        Raises ``ValueError`` for a backbone of no view, or one that is not for its view's shape.
        """
        for name in self.backbones:
            require(name in views, "encoder.backbones", name, f"views of the data: {', '.join(views)}")
        with seeded(generator):
            backbones = {}
            for name, sample in views.items():
                try:
                    backbones[name] = self.backbones.get(name, self.backbone).build(
                        sample, self.encoding_size
                    )
                except ValueError as error:
                    raise ValueError(f"view {name!r}: {error}") from None
            fusion = self.fusion.build(tuple(views), self.encoding_size)
            encoders = MultimodalEncoders(backbones, fusion, Heads())
            with torch.no_grad():
                found = encoders.eval()({name: x[:2] for name, x in views.items()})
            encoders.project = self.head.build({name: h.shape[1] for name, h in found.items()})
        return encoders.train()


class MultimodalEncoders(nn.Module):
    """``{name: (B, ...)} -> {name: (B, D)}`` of every view, and of all together where there are several.

    Args:
        backbones: view -> ``(B, ...) -> Tokens``.
        fusion: ``{view: Tokens} -> (B, D)``.
        project: encodings, by name, to what the objective compares.
    """

    def __init__(self, backbones: Mapping[str, nn.Module], fusion: nn.Module, project: Heads) -> None:
        super().__init__()
        require_view_names(backbones)
        self.names = tuple(backbones)
        self.backbones = nn.ModuleDict(dict(backbones))
        self.fusion = fusion
        self.project = project

    @property
    def sets(self) -> dict[str, tuple[str, ...]]:
        """Name of each encoding -> the views that it is made from."""
        singles = {name: (name,) for name in self.names}
        return singles | ({"+".join(self.names): self.names} if len(self.names) > 1 else {})

    def forward(self, views: Mapping[str, Tensor], wanted: Container[str] | None = None) -> dict[str, Tensor]:
        """Encodings by name: those ``wanted``, or all."""
        if set(views) != set(self.names):
            raise ValueError(f"views {sorted(views)}: the encoders are for {sorted(self.names)}")
        sets = {name: of for name, of in self.sets.items() if wanted is None or name in wanted}
        needed = {view for of in sets.values() for view in of}
        tokens: dict[str, Tokens] = {n: self.backbones[n](views[n]) for n in self.names if n in needed}
        return {name: self.fusion({view: tokens[view] for view in of}) for name, of in sets.items()}
