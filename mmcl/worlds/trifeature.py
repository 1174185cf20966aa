"""Pairs of a shape, two textures and two colours: redundant, unique and synergistic factors of known information."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from mmcl.checks import require, require_share
from mmcl.worlds.base import Batch, FactorRole
from mmcl.worlds.checks import (
    is_whole,
    require_cpu,
    require_part,
    require_permutations,
    require_sample,
    require_state,
    require_whole,
)
from mmcl.worlds.laws import biased, labelled

LEVELS = 10
"""The most levels that a feature has."""

SLOPE = 5 / 3
"""What brings outputs of tanh, of inputs of variance 1, back to a variance near 1."""


def require_law(levels: int, bias: float) -> None:
    """Raise ``ValueError`` that names the field unless ``levels`` is from 2 to 10 and ``bias`` in [0, 1]."""
    require(is_whole(levels, 2) and levels <= LEVELS, "levels", levels, f"a whole number from 2 to {LEVELS}")
    require_share("bias", bias)


def trifeature_roles(levels: int) -> dict[str, FactorRole]:
    """Name of each factor -> its role, of ``levels`` levels each; ``match`` of two."""
    return {
        "shape": FactorRole("content", None, levels),
        "texture.x1": FactorRole("modality_specific", "x1", levels),
        "colour.x1": FactorRole("modality_specific", "x1", levels),
        "texture.x2": FactorRole("modality_specific", "x2", levels),
        "colour.x2": FactorRole("modality_specific", "x2", levels),
        "match": FactorRole("synergy", None, 2),
    }


def trifeature_laws(mapping: Tensor, bias: float = 0.0) -> dict[str, Tensor]:
    """Factor -> ``p(x1, x2, y)``, float64: the exact law of the factor and of what each view knows of it.

    Of a view there is its minimal sufficient statistic for the factor (the same at every bias, though at some a coarser
    one would do)::

        y            x1            x2          p
        shape        shape         shape       [x1 = x2 = y] / K
        texture.x1   texture.x1    colour.x2   p(t, c) [y = t]
        colour.x2    texture.x1    colour.x2   p(t, c) [y = c]
        match        texture.x1    colour.x2   p(t, c) [y = [c = M(t)]]
        colour.x1    colour.x1     nothing     [x1 = y] / K
        texture.x2   nothing       texture.x2  [x2 = y] / K

    with ``p(t, c) = (1 - bias) / K^2 + bias [c = M(t)] / K``; "nothing" has one level. Without bias the information
    decomposition of shape is redundancy log K alone, of the textures and colours uniqueness log K, of match synergy
    ``h(1/K)``; at every bias ``P(match) = bias + (1 - bias) / K``, independent of either view. With bias the
    information of texture.x1 and colour.x2 goes from unique to redundant.

    Args:
        mapping: ``(K,)``, int64: M, texture -> colour.
        bias: in [0, 1].

    Raises:
        ValueError: a bias out of range.
    """
    require_share("bias", bias)
    levels = len(mapping)
    level = torch.arange(levels)
    one = torch.full((levels,), 1 / levels, dtype=torch.float64)
    pairs = biased(torch.full((levels, levels), 1 / levels**2, dtype=torch.float64), mapping, bias)
    return {
        "shape": labelled(one.diag(), level[:, None], levels),
        "texture.x1": labelled(pairs, level[:, None], levels),
        "colour.x1": labelled(one[:, None], level[:, None], levels),
        "texture.x2": labelled(one[None, :], level[None, :], levels),
        "colour.x2": labelled(pairs, level[None, :], levels),
        "match": labelled(pairs, (level[None, :] == mapping[:, None]).long(), 2),
    }


def with_match(factors: Mapping[str, Tensor], mapping: Tensor) -> dict[str, Tensor]:
    """``factors``, and ``match``: whether the second colour is that of the first texture."""
    return {**factors, "match": (factors["colour.x2"] == mapping[factors["texture.x1"]]).long()}


@dataclass(frozen=True)
class VectorTrifeature:
    """The law of pairs of vectors that share a shape and have a texture and a colour each.

    All of ``shape``, ``texture.x1``, ``colour.x1``, ``texture.x2``, ``colour.x2`` are uniform over K levels and
    independent, except that with probability ``bias`` the second colour is set to M(texture.x1), M a bijection that is
    drawn with the world. ``match`` = [colour.x2 = M(texture.x1)]. The views are ::

        x_i = tanh(B_i tanh(A_i [onehot(shape), onehot(texture.xi), onehot(colour.xi)])) + N(0, noise^2 I)

    Scale: A_i has orthonormal columns (rows, where there are more columns) times a factor that gives ``A_i u`` a mean
    square of 1, B_i is orthogonal times 5/3, which does the same behind the first tanh. So no direction of the one-hot
    code is lost or stretched, and tanh bends without saturating.

    Training samples follow ``bias``; the parts ``validation`` and ``test`` have ``evaluation_bias``.

    Fields:
        levels: K, from 2 to 10.
        bias: in [0, 1].
        evaluation_bias: in [0, 1]; other than 0 to hold what is measured against the information of a biased law.
        size: components of each view, >= 1; from 3 K on least squares reads all levels from clean views.
        noise: standard deviation of each component's noise, >= 0.

    Raises ``ValueError``, naming the field, for a value out of range.

    Source: Dufumier et al. (2025, "What to align in multimodal contrastive learning?"), the controlled experiments on
    Trifeature: theirs are images, and biased or not; evaluation is unbiased there.
    """

    levels: int = 10
    bias: float = 0.0
    evaluation_bias: float = 0.0
    size: int = 48
    noise: float = 0.0

    def __post_init__(self) -> None:
        require_law(self.levels, self.bias)
        require_share("evaluation_bias", self.evaluation_bias)
        require_whole("size", self.size, 1)
        require(self.noise >= 0, "noise", self.noise, ">= 0")

    def draw(self, generator: torch.Generator) -> VectorTrifeatureWorld:
        """Draw one world: its mapping and its maps, which ``bias`` and ``noise`` do not change.

        Raises ``ValueError`` for a generator that is not on the CPU: a world must not depend on a device.
        """
        require_cpu(generator)
        state = {"mapping": torch.randperm(self.levels, generator=generator)}
        columns = 3 * self.levels
        for view in ("x1", "x2"):
            first = _orthonormal(self.size, columns, generator) * sqrt(max(self.size, columns) / 3)
            state[f"first.{view}"] = first
            state[f"second.{view}"] = _orthonormal(self.size, self.size, generator) * SLOPE
        return self.restore(state)

    def restore(self, state: Mapping[str, Tensor]) -> VectorTrifeatureWorld:
        """The world with this state, as ``state_dict`` gave it. It samples bitwise what the original did.

        Raises ``ValueError``, naming the tensors, if one is missing, not expected, of another shape or dtype, or no
        mapping.
        """
        expected: dict[str, tuple[tuple[int, ...], torch.dtype]] = {"mapping": ((self.levels,), torch.int64)}
        for view in ("x1", "x2"):
            expected[f"first.{view}"] = ((self.size, 3 * self.levels), torch.float64)
            expected[f"second.{view}"] = ((self.size, self.size), torch.float64)
        require_state(state, expected)
        require_permutations(state, ("mapping",))
        return VectorTrifeatureWorld(self, state, self.bias)


def _orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """A random matrix with orthonormal columns, or rows if these are fewer: float64."""
    normals = torch.randn(max(rows, columns), min(rows, columns), dtype=torch.float64, generator=generator)
    q, _ = torch.linalg.qr(normals)
    return (q if rows >= columns else q.mT).contiguous()


class VectorTrifeatureWorld:
    """One world of a :class:`VectorTrifeature`, which makes it.

    ``mapping``: ``(K,)``, int64, texture -> colour. ``bias``: that of :meth:`sample`.
    """

    calibration = 16384

    def __init__(self, model: VectorTrifeature, state: Mapping[str, Tensor], bias: float) -> None:
        self.model = model
        self.bias = bias
        self._state = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        self.mapping = self._state["mapping"]
        self._maps = {
            view: (
                self._state[f"first.{view}"].float().mT.contiguous(),
                self._state[f"second.{view}"].float().mT,
            )
            for view in self.views
        }

    @property
    def views(self) -> dict[str, int]:
        """Name of each view -> its observation size."""
        return dict.fromkeys(("x1", "x2"), self.model.size)

    @property
    def roles(self) -> dict[str, FactorRole]:
        """Name of each factor -> its role."""
        return trifeature_roles(self.model.levels)

    def laws(self, bias: float | None = None) -> dict[str, Tensor]:
        """Factor -> exact ``p(x1, x2, y)`` at this bias, or its own, see :func:`trifeature_laws`."""
        return trifeature_laws(self.mapping, self.bias if bias is None else bias)

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the tensors that make this world.

        ``mapping``: (K,), int64; ``first.x1``, ``first.x2``: A_i, (size, 3 K), ``second.x1``, ``second.x2``: B_i,
        (size, size), float64.
        """
        return {name: tensor.clone() for name, tensor in self._state.items()}

    def part(self, name: str) -> VectorTrifeatureWorld:
        """The world with evaluation's bias, for ``validation`` and ``test`` alike: their samples are fresh ones."""
        require_part(name)
        return VectorTrifeatureWorld(self.model, self._state, self.model.evaluation_bias)

    def check_size(self, part: str, n: int) -> None:
        """Nothing: samples are drawn afresh, and never run out."""
        require_part(part)

    def sample(self, n: int, generator: torch.Generator, intervention: str | None = None) -> Batch:
        """Draw ``n`` >= 1 samples: views (n, size), float32; factors (n, 1), int64.

        For one generator state, a larger bias changes the second colour of more of the same samples, and nothing else.

        Raises ``ValueError`` for n < 1, an intervention, or a generator that is not on the CPU.
        """
        require_sample(n, generator, intervention)
        levels = self.model.levels
        names = ("shape", "texture.x1", "colour.x1", "texture.x2", "colour.x2")
        columns = torch.randint(levels, (n, len(names)), generator=generator).split(1, dim=1)
        factors = dict(zip(names, columns, strict=True))
        # Drawn at every bias, so that the bias moves no other draw.
        forced = torch.rand(n, 1, generator=generator) < self.bias
        factors["colour.x2"] = torch.where(forced, self.mapping[factors["texture.x1"]], factors["colour.x2"])
        # A caller's autocast must not reach the world, or the data would depend on the training's precision.
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            views = {view: self._observe(view, factors) for view in self.views}
            if self.model.noise:
                for view, x in views.items():
                    views[view] = x + self.model.noise * torch.randn(x.shape, generator=generator)
        return Batch(views, with_match(factors, self.mapping))

    def _observe(self, view: str, factors: Mapping[str, Tensor]) -> Tensor:
        levels = self.model.levels
        first, second = self._maps[view]
        mine = (factors["shape"], factors[f"texture.{view}"] + levels, factors[f"colour.{view}"] + 2 * levels)
        hidden = sum((first[level[:, 0]] for level in mine), torch.zeros(1)).tanh()
        return (hidden @ second).tanh()
