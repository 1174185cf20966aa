"""An encoder for each modality, as one module."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mmcl.checks import require_view_names
from mmcl.encoders.heads import Heads


class Encoders(nn.Module):
    """Encodes every view by its own module: ``{name: (B, d_name)} -> {name: (B, D)}``.

    Args:
        modules: a module for each view; the same object for every view when they are ``shared``.
        shared: whether one encoder serves all views (the paper's original setting, g_1 = g_2).
    """

    def __init__(self, modules: Mapping[str, nn.Module], *, shared: bool) -> None:
        super().__init__()
        require_view_names(modules)
        self.names = tuple(modules)
        self.shared = shared
        # A shared encoder is stored once, so that its weights stand once in a state_dict.
        self.encoders = nn.ModuleDict({"shared": modules[self.names[0]]} if shared else dict(modules))
        self.project = Heads()

    @property
    def sets(self) -> dict[str, tuple[str, ...]]:
        """Name of each encoding -> the views that it is made from: itself."""
        return {name: (name,) for name in self.names}

    def forward(self, views: Mapping[str, Tensor], wanted: Container[str] | None = None) -> dict[str, Tensor]:
        """Encodings by name: those ``wanted``, or all."""
        if set(views) != set(self.names):
            raise ValueError(f"views {sorted(views)}: the encoders are for {sorted(self.names)}")
        return {
            name: self.encoders["shared" if self.shared else name](views[name])
            for name in self.names
            if wanted is None or name in wanted
        }


@contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """Within, torch's default initialisers are seeded by ``generator``; the global random state is left as it was."""
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build_encoders(
    views: Mapping[str, Tensor],
    make: Callable[[Tensor], nn.Module],
    *,
    shared: bool,
    generator: torch.Generator,
) -> Encoders:
    """Make an encoder for each view, or one for all.

    Args:
        views: name -> ``(n, ...)``, a sample of each view: it gives the sizes, and first layers may be set from it.
        make: an encoder for a sample of its view; when ``shared``, for the rows of all views.
        shared: one encoder for all views.
        generator: seeds torch's default initialisers; the global random state is left as it was.

    Raises:
        ValueError: a shared encoder for views of different sizes.
    """
    sizes = {name: x.shape[1] if x.ndim == 2 else tuple(x.shape[1:]) for name, x in views.items()}
    if shared and len(set(sizes.values())) > 1:
        raise ValueError(
            f"encoder.shared=true: needs views of one size, got {sizes}; use encoder.shared=false"
        )
    with seeded(generator):
        if shared:
            modules = dict.fromkeys(views, make(torch.cat(list(views.values()))))
        else:
            modules = {name: make(x) for name, x in views.items()}
    return Encoders(modules, shared=shared)
