"""Several modalities that share factors by all, by some, or by none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import torch
from torch import Tensor

from mmcl.checks import require, require_choice
from mmcl.worlds.base import INTERVENTIONS, Batch, FactorRole
from mmcl.worlds.checks import is_whole, require_cpu, require_mixing, require_state, require_whole
from mmcl.worlds.mixing import InvertibleMLP, condition_threshold, draw_mixing


@dataclass(frozen=True)
class SharedBlocks:
    """The law of a world of m modalities in which every set of modalities has a block of factors of its own.

    A block belongs to a set S of modalities, is N(0, I), independent of all other blocks, and stands in the views of S
    alone::

        x_i = f_i([z_S for all S that i is in])

    Fields:
        sizes: ``sizes[k - 1]`` is the number of components of every block that exactly k modalities share, >= 0, for
            k = 1 (modality-specific) to m (content). So its length is m, two or more, and its last entry >= 1.
        views: the modalities that are observed, two or more of x1, x2, ..., in that order; None: all.
        mixing_layers, mixing_slope, condition_ratio, condition_draws: see ``draw_mixing``.

    Raises ``ValueError``, naming the field, for a value out of range.

    Source: the setting of Yao et al. (2024, "Multi-view causal representation learning with partial observability"),
    Section 2, with independent Gaussian factors and the mixing of Daunhawer et al. (2023). Their claim: encoders of any
    set of views, trained by contrast among them, block-identify what all of these views share.
    """

    sizes: list[int] = field(default_factory=lambda: [2, 2, 3])
    views: list[str] | None = None
    mixing_layers: int = 3
    mixing_slope: float = 0.2
    condition_ratio: float = 1e-3
    condition_draws: int = 25_000

    def __post_init__(self) -> None:
        # Plain lists of our own: the caller's may be changed later, or be a config library's list type.
        object.__setattr__(self, "sizes", list(self.sizes))
        object.__setattr__(self, "views", None if self.views is None else list(self.views))
        sizes = self.sizes
        require(
            len(sizes) >= 2, "sizes", sizes, "a list of two or more sizes, one for each number of modalities"
        )
        require(all(is_whole(size, 0) for size in sizes), "sizes", sizes, "a list of whole numbers >= 0")
        require(sizes[-1] >= 1, "sizes", sizes, "at least 1 in its last entry, which all modalities share")
        if self.views is not None:
            known = self.views == [name for name in self.modalities if name in self.views]
            allowed = f"two or more of {', '.join(self.modalities)}, each once and in this order"
            require(known and len(self.views) >= 2, "views", self.views, allowed)
        require_mixing(self)

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities, observed or not: x1, x2, ..."""
        return [f"x{i}" for i in range(1, len(self.sizes) + 1)]

    @property
    def blocks(self) -> dict[str, tuple[tuple[str, ...], int]]:
        """Factor -> the modalities that share it, and its number of components; empty blocks are left out.

        ``content`` is shared by all, ``shared.x1+x2`` by these two alone, ``modality_specific.x1`` by one.
        """
        found = {}
        for count in range(len(self.sizes), 0, -1):
            for owners in combinations(self.modalities, count):
                name = f"shared.{'+'.join(owners)}"
                name = "content" if count == len(self.sizes) else name
                name = f"modality_specific.{owners[0]}" if count == 1 else name
                if self.sizes[count - 1]:
                    found[name] = (owners, self.sizes[count - 1])
        return found

    @property
    def observation_sizes(self) -> dict[str, int]:
        """Modality -> its number of factors, which is its observation size."""
        return {
            name: sum(size for owners, size in self.blocks.values() if name in owners)
            for name in self.modalities
        }

    def draw(self, generator: torch.Generator) -> SharedBlocksWorld:
        """Draw one world: its mixings, of observed and other modalities alike, so that ``views`` changes no world.

        Raises ``ValueError`` for a generator that is not on the CPU: a world must not depend on a device.
        """
        require_cpu(generator)
        thresholds: dict[int, float] = {}
        state = {}
        for name, dim in self.observation_sizes.items():
            if dim not in thresholds:
                thresholds[dim] = condition_threshold(
                    dim, generator, self.condition_ratio, self.condition_draws
                )
            mixing = draw_mixing(
                dim, generator, self.mixing_layers, self.mixing_slope, threshold=thresholds[dim]
            )
            state[f"mixing.{name}"] = mixing.weights
        return self.restore(state)

    def restore(self, state: Mapping[str, Tensor]) -> SharedBlocksWorld:
        """The world with this state, as ``state_dict`` gave it. It samples bitwise what the original did.

        Raises ``ValueError``, naming the tensors, if one is missing, not expected, or of another shape or dtype.
        """
        expected = {
            f"mixing.{name}": ((self.mixing_layers, dim, dim), torch.float64)
            for name, dim in self.observation_sizes.items()
        }
        require_state(state, expected)
        return SharedBlocksWorld(self, state)


class SharedBlocksWorld:
    """One world of a :class:`SharedBlocks`, which makes it. ``mixings``: modality -> its mixing function."""

    def __init__(self, model: SharedBlocks, state: Mapping[str, Tensor]) -> None:
        self.model = model
        self._state = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        self.mixings = {
            name: InvertibleMLP(self._state[f"mixing.{name}"], model.mixing_slope)
            for name in model.modalities
        }

    @property
    def views(self) -> dict[str, int]:
        """Name of each observed view -> its observation size."""
        sizes = self.model.observation_sizes
        return {name: sizes[name] for name in self.model.views or self.model.modalities}

    @property
    def roles(self) -> dict[str, FactorRole]:
        """Name of each factor -> its role: content, shared (by some), or modality-specific."""
        found = {}
        for name, (owners, _) in self.model.blocks.items():
            if name == "content":
                found[name] = FactorRole("content")
            elif len(owners) == 1:
                found[name] = FactorRole("modality_specific", owners[0])
            else:
                found[name] = FactorRole("shared")
        return found

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the float64 tensors that make this world: ``mixing.x1``, ... (layers, d_i, d_i)."""
        return {name: tensor.clone() for name, tensor in self._state.items()}

    def sample(self, n: int, generator: torch.Generator, intervention: str | None = None) -> Batch:
        """Draw ``n`` >= 1 samples: the observed views (n, d_i) and all factors (n, k), float32.

        ``intervention="permute_content"``: content is permuted within the batch before the mixing, as in
        ``LatentVariableWorld.sample``.

        Raises ``ValueError`` for n < 1, another intervention, or a generator that is not on the CPU.
        """
        require_whole("n", n, 1)
        require_cpu(generator)
        if intervention is not None:
            require_choice("intervention", intervention, INTERVENTIONS)
        blocks = self.model.blocks
        # A caller's autocast must not reach the world, or the data would depend on the training's precision.
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            widths = [size for _, size in blocks.values()]
            normals = torch.randn(n, sum(widths), dtype=torch.float32, generator=generator).split(
                widths, dim=1
            )
            factors = dict(zip(blocks, normals, strict=True))
            mixed = dict(factors)
            if intervention == "permute_content":
                # Drawn last, so that the intervened batch has the noise of the one without intervention.
                mixed["content"] = factors["content"][torch.randperm(n, generator=generator)]
                factors["content_intervened"] = mixed["content"]
            views = {
                view: self.mixings[view](
                    torch.cat([mixed[name] for name, (owners, _) in blocks.items() if view in owners], dim=1)
                )
                for view in self.views
            }
        return Batch(views, factors)
