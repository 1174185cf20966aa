"""The numerical simulation's latent variable model: content, style and modality-specific factors, mixed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor

from mmcl.checks import require, require_choice, require_share
from mmcl.worlds.base import INTERVENTIONS, Batch, FactorRole
from mmcl.worlds.checks import is_whole, require_cpu, require_mixing, require_whole
from mmcl.worlds.classes import ClassValues, class_table
from mmcl.worlds.covariance import wishart_cholesky
from mmcl.worlds.mixing import InvertibleMLP, condition_threshold, draw_mixing


class Process(Enum):
    """Which modalities carry a perturbed style.

    asymmetric: x1 carries s, every other modality its own perturbation of s (paper, section 3.2);
    symmetric: every modality carries its own perturbation of s (paper, A.2).
    """

    asymmetric = "asymmetric"
    symmetric = "symmetric"


@dataclass(frozen=True)
class LatentVariableModel:
    """The law of a latent variable world: ``draw`` makes one world of it, ``restore`` a saved one again.

    For each modality i::

        c ~ N(0, v_c Sigma_c)    s ~ N(a + B c, v_s Sigma_s)    m_i ~ N(0, v_m Sigma_mi)
        s_i = s + mask * eps     mask ~ Bernoulli(style_change_prob)     eps ~ N(0, v_eps Sigma_eps)
        x_i = f_i([c, s_i, m_i])

    with v the square of the block's ``*_std``, ``mask`` drawn for each dimension, sample and perturbed
    modality, and ``s_1 = s`` if the process is asymmetric.

    Fields:
        content_size, style_size: number of components, >= 1 and >= 0.
        modality_specific_sizes: number of components for each modality x1, x2, ...: two or more entries, each
            >= 0.
        content_classes, style_classes, modality_specific_classes: None for a Gaussian block; k >= 2 for a
            block each component of which is one of k classes, independent and uniform.
        class_values: how a class enters the mixing and the causal map.
        statistical: draw each Sigma from Wishart(size, I), independently, instead of taking I. Applies to the
            Gaussian blocks; at least one must be there.
        tied_covariances: all blocks of equal size (the style change included) share one Sigma. Needs
            statistical.
        causal: a_i, B_ij ~ N(0, 1), drawn once per world; otherwise a = 0 and B = 0. Needs a Gaussian style.
        content_std, style_std, modality_specific_std, style_change_std: > 0; multiply the block's noise, with
            a drawn covariance as well as without. Must stay 1 for a discrete block, which has no noise to
            scale.
        style_change_prob: p(chg.) in [0, 1]. For a discrete style, the probability that the class is redrawn
            uniformly (so it changes with probability ``style_change_prob * (1 - 1/k)``). At 0, style never
            changes across modalities: it is content under another name.
        process: which modalities carry a perturbed style.
        shared_mixing: one mixing function for all modalities, whose modality_specific_sizes must then be
            equal.
        mixing_layers, mixing_slope, condition_ratio, condition_draws: see ``draw_mixing``.

    Raises ``ValueError``, naming the field, for a value out of range or two fields that do not go together.

    Source: paper, sections 3 and 5.1 (Eq. 6-8), A.2 (symmetric), B.2 (discrete factors). Departures: any
    number of modalities; perturbations of different modalities are independent given s. Not stated in the
    paper: ``class_values``, the law of the covariances and of a discrete style change. Its code release draws
    all covariances from one random state, so that blocks of equal size share one matrix: that is
    ``tied_covariances``.
    """

    content_size: int = 5
    style_size: int = 5
    modality_specific_sizes: list[int] = field(default_factory=lambda: [5, 5])
    content_classes: int | None = None
    style_classes: int | None = None
    modality_specific_classes: int | None = None
    class_values: ClassValues = ClassValues.scaled
    statistical: bool = False
    tied_covariances: bool = False
    causal: bool = False
    content_std: float = 1.0
    style_std: float = 1.0
    modality_specific_std: float = 1.0
    style_change_std: float = 1.0
    style_change_prob: float = 1.0
    process: Process = Process.asymmetric
    shared_mixing: bool = False
    mixing_layers: int = 3
    mixing_slope: float = 0.2
    condition_ratio: float = 1e-3
    condition_draws: int = 25_000

    def __post_init__(self) -> None:
        # A plain list of our own: the caller's may be changed later, or be a config library's list type.
        object.__setattr__(self, "modality_specific_sizes", list(self.modality_specific_sizes))
        self._check_sizes_and_classes()
        self._check_noise()
        self._check_dependence()
        self._check_mixing()

    def _check_sizes_and_classes(self) -> None:
        require_whole("content_size", self.content_size, 1)
        require_whole("style_size", self.style_size, 0)
        sizes = self.modality_specific_sizes
        require(
            len(sizes) >= 2, "modality_specific_sizes", sizes, "a list of two or more sizes, one per modality"
        )
        whole = all(is_whole(size, 0) for size in sizes)
        require(whole, "modality_specific_sizes", sizes, "a list of whole numbers >= 0")
        for block in ("content", "style", "modality_specific"):
            classes = getattr(self, f"{block}_classes")
            good = classes is None or is_whole(classes, 2)
            require(good, f"{block}_classes", classes, "None (continuous) or a whole number >= 2")
        _require_member("class_values", self.class_values, ClassValues)

    def _check_noise(self) -> None:
        for block in ("content", "style", "modality_specific", "style_change"):
            name = f"{block}_std"
            std = getattr(self, name)
            require(math.isfinite(std) and std > 0, name, std, "a finite number > 0")
            classes_name = "style_classes" if block == "style_change" else f"{block}_classes"
            classes = getattr(self, classes_name)
            # A scale that nothing uses would be ignored in silence: refuse it instead.
            require(
                classes is None or std == 1,
                name,
                std,
                f"1.0 with {classes_name}={classes} (a discrete block)",
            )
        prob = self.style_change_prob
        require_share("style_change_prob", prob)
        _require_member("process", self.process, Process)

    def _check_dependence(self) -> None:
        tied = self.tied_covariances
        require(not tied or self.statistical, "tied_covariances", tied, "False unless statistical=True")
        gaussian = not self.statistical or bool(self._covariance_sizes())
        require(gaussian, "statistical", self.statistical, "False where every block is discrete")
        possible = not self.causal or (self.style_classes is None and self.style_size >= 1)
        require(possible, "causal", self.causal, "False unless style is continuous with style_size >= 1")

    def _check_mixing(self) -> None:
        sizes = self.modality_specific_sizes
        alike = not self.shared_mixing or len(set(sizes)) == 1
        require(
            alike,
            "shared_mixing",
            self.shared_mixing,
            f"False unless modality_specific_sizes={sizes} are equal",
        )
        require_mixing(self)

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities: x1, x2, ..."""
        return [f"x{i}" for i in range(1, len(self.modality_specific_sizes) + 1)]

    @property
    def perturbed_modalities(self) -> list[str]:
        """Names of the modalities that carry a perturbed style."""
        return self.modalities[1:] if self.process is Process.asymmetric else self.modalities

    def draw(self, generator: torch.Generator) -> LatentVariableWorld:
        """Draw one world: a pure function of this config and the state of the (CPU) generator.

        The mixing is drawn first, then (a, B) whether or not they are used, then the covariances. So, for one
        seed, worlds that differ in ``causal`` and ``statistical`` alone share what they have in common.

        Raises ``ValueError`` for a generator that is not on the CPU: a world must not depend on a device.
        """
        require_cpu(generator)
        state: dict[str, Tensor] = {}
        thresholds: dict[int, float] = {}
        for name, (layers, dim, _) in self._mixing_shapes().items():
            if dim not in thresholds:
                thresholds[dim] = condition_threshold(
                    dim, generator, self.condition_ratio, self.condition_draws
                )
            mixing = draw_mixing(dim, generator, layers, self.mixing_slope, threshold=thresholds[dim])
            state[name] = mixing.weights
        for name, shape in self._causal_shapes().items():
            normals = torch.randn(shape, dtype=torch.float64, generator=generator)
            if self.causal:
                state[name] = normals
        tied: dict[int, Tensor] = {}
        for block, size in self._covariance_sizes().items() if self.statistical else ():
            if not (self.tied_covariances and size in tied):
                tied[size] = wishart_cholesky(size, generator)
            state[f"cholesky.{block}"] = tied[size]
        return self.restore(state)

    def restore(self, state: Mapping[str, Tensor]) -> LatentVariableWorld:
        """The world with this state, as ``state_dict`` gave it. It samples bitwise what the original did.

        Raises ``ValueError``, naming the tensor, if one is missing, not expected, of another shape or dtype,
        or not finite: then the state is another config's.
        """
        expected = self._state_shapes()
        problems = [f"{name!r} is missing" for name in expected if name not in state]
        problems += [f"{name!r} is not expected" for name in state if name not in expected]
        for name in expected.keys() & state.keys():
            tensor, shape = state[name], expected[name]
            if tuple(tensor.shape) != shape:
                problems.append(f"{name!r} has shape {tuple(tensor.shape)} instead of {shape}")
            elif tensor.dtype != torch.float64:
                problems.append(f"{name!r} has dtype {tensor.dtype} instead of torch.float64")
            elif not bool(tensor.isfinite().all()):
                problems.append(f"{name!r} has values that are not finite")
        if problems:
            raise ValueError("the world file does not fit the config: tensor " + "; ".join(sorted(problems)))
        return LatentVariableWorld(self, state)

    def _values_width(self, size: int, classes: int | None) -> int:
        """Number of real inputs that stand for a block."""
        return size * classes if classes is not None and self.class_values is ClassValues.one_hot else size

    def _mixing_shapes(self) -> dict[str, tuple[int, int, int]]:
        common = self._values_width(self.content_size, self.content_classes)
        common += self._values_width(self.style_size, self.style_classes)
        dims = [
            common + self._values_width(m, self.modality_specific_classes)
            for m in self.modality_specific_sizes
        ]
        if self.shared_mixing:
            return {"mixing": (self.mixing_layers, dims[0], dims[0])}
        return {
            f"mixing.{name}": (self.mixing_layers, dim, dim)
            for name, dim in zip(self.modalities, dims, strict=True)
        }

    def _causal_shapes(self) -> dict[str, tuple[int, ...]]:
        width = self._values_width(self.content_size, self.content_classes)
        return {"causal.offset": (self.style_size,), "causal.weight": (self.style_size, width)}

    def _covariance_sizes(self) -> dict[str, int]:
        """Sizes of the Gaussian blocks: name -> size; absent where discrete or empty."""
        sizes = {"content": self.content_size if self.content_classes is None else 0}
        sizes["style"] = self.style_size if self.style_classes is None else 0
        sizes["style_change"] = sizes["style"]
        for name, size in zip(self.modalities, self.modality_specific_sizes, strict=True):
            sizes[f"modality_specific.{name}"] = size if self.modality_specific_classes is None else 0
        return {name: size for name, size in sizes.items() if size}

    def _state_shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {**self._mixing_shapes()}
        if self.causal:
            shapes.update(self._causal_shapes())
        if self.statistical:
            shapes.update(
                {f"cholesky.{name}": (size, size) for name, size in self._covariance_sizes().items()}
            )
        return shapes


class LatentVariableWorld:
    """One world of a ``LatentVariableModel``, which makes it: fixed mixings, covariances and causal map.

    Views are x1, x2, ...; factors ``content``, ``style.x1``, ``style.x2``, ..., ``modality_specific.x1``, ...
    (an empty block has none). ``mixings``: view -> its mixing function, one and the same object where shared.

    The state is float64; samples are computed in float32 from one rounding of it.
    """

    def __init__(self, model: LatentVariableModel, state: Mapping[str, Tensor]) -> None:
        self.model = model
        self._state = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        by_name = {
            name: InvertibleMLP(self._state[name], model.mixing_slope) for name in model._mixing_shapes()
        }
        self.mixings: dict[str, InvertibleMLP] = {
            view: by_name["mixing" if model.shared_mixing else f"mixing.{view}"] for view in model.modalities
        }
        self._sizes = dict(zip(model.modalities, model.modality_specific_sizes, strict=True))
        self._noise_factors = {
            block: self._noise_factor(block, size) for block, size in model._covariance_sizes().items()
        }
        self._noise_maps = list(self._noise_maps_in_order())
        self._tables = {
            classes: class_table(classes, model.class_values)
            for classes in (model.content_classes, model.style_classes, model.modality_specific_classes)
            if classes is not None
        }
        if model.causal:
            self._offset = self._state["causal.offset"].float()
            self._weight = self._state["causal.weight"].float()

    def _noise_factor(self, block: str, size: int) -> Tensor:
        """std * L with Sigma = L L^T: (size, size) float64."""
        std: float = getattr(self.model, f"{block.split('.')[0]}_std")
        identity = torch.eye(size, dtype=torch.float64)
        return std * self._state.get(f"cholesky.{block}", identity)

    @property
    def views(self) -> dict[str, int]:
        """Name of each view -> its observation size."""
        return {name: mixing.weights.shape[-1] for name, mixing in self.mixings.items()}

    @property
    def roles(self) -> dict[str, FactorRole]:
        """Name of each factor of a batch without intervention -> its role."""
        model = self.model
        roles = {"content": FactorRole("content", None, model.content_classes)}
        if model.style_size:
            for name in model.modalities:
                roles[f"style.{name}"] = FactorRole("style", name, model.style_classes)
        for name, size in self._sizes.items():
            if size:
                roles[f"modality_specific.{name}"] = FactorRole(
                    "modality_specific", name, model.modality_specific_classes
                )
        return roles

    @property
    def covariances(self) -> dict[str, Tensor]:
        """Covariance std^2 L L^T of each Gaussian block's noise, float64 (size, size).

        Names: content, style (given content), style_change, modality_specific.x1, ...
        """
        return {block: factor @ factor.mT for block, factor in self._noise_factors.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the float64 tensors that make this world.

        ``mixing.x1``, ... (or ``mixing`` where shared): (layers, d, d); where statistical,
        ``cholesky.content``, ``cholesky.style``, ``cholesky.style_change``,
        ``cholesky.modality_specific.x1``, ...: lower triangular L with Sigma = L L^T, before the block's std;
        where causal, ``causal.offset`` (a) and ``causal.weight`` (B).
        """
        return {name: tensor.clone() for name, tensor in self._state.items()}

    def sample(self, n: int, generator: torch.Generator, intervention: str | None = None) -> Batch:
        """Draw ``n`` >= 1 samples: views (n, d_i) float32; factors (n, k) float32, or int64 class indices.

        A pure function of the world's state, ``n`` and the generator's state. For one generator state, the
        factors' noise does not depend on ``style_change_prob``, and a larger one changes more entries of the
        same samples.

        ``intervention="permute_content"``: content is permuted within the batch before the mixing, alike for
        all modalities, while style keeps its value given the original content. ``factors['content']`` is then
        the original and ``factors['content_intervened']`` what the views were made from; all other factors
        are those of the batch without intervention. (The paper's code release evaluates so; the paper does
        not say.)

        Raises ``ValueError`` for n < 1, another intervention, or a generator that is not on the CPU.
        """
        require_whole("n", n, 1)
        require_cpu(generator)
        if intervention is not None:
            require_choice("intervention", intervention, INTERVENTIONS)
        # A caller's autocast must not reach the world, or the data would depend on the training's precision.
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            return self._sample(n, generator, intervention)

    def _sample(self, n: int, generator: torch.Generator, intervention: str | None) -> Batch:
        model = self.model
        noise = self._draw_noise(n, generator)
        content = self._draw_block("content", model.content_size, model.content_classes, n, noise, generator)
        styles = self._draw_styles(n, content, noise, generator)
        factors = {"content": content}
        if model.style_size:
            factors.update({f"style.{view}": style for view, style in styles.items()})
        specifics = {}
        for view, size in self._sizes.items():
            name = f"modality_specific.{view}"
            specifics[view] = self._draw_block(
                name, size, model.modality_specific_classes, n, noise, generator
            )
            if size:
                factors[name] = specifics[view]
        if intervention == "permute_content":
            # Drawn last, so that the intervened batch has the noise of the one without intervention.
            content = content[torch.randperm(n, generator=generator)]
            factors["content_intervened"] = content
        mixed = self._values(content, model.content_classes)
        views = {}
        for view, mixing in self.mixings.items():
            style = self._values(styles[view], model.style_classes)
            specific = self._values(specifics[view], model.modality_specific_classes)
            views[view] = mixing(torch.cat([mixed, style, specific], dim=1))
        return Batch(views, factors)

    def _noise_maps_in_order(self) -> Iterator[tuple[str, int, Tensor | None]]:
        """(name, size, float32 map) of every noise, in the order in which noise is drawn; no map for the identity."""
        for block, factor in self._noise_factors.items():
            size = len(factor)
            identity = torch.equal(factor, torch.eye(size, dtype=factor.dtype))
            views = self.model.perturbed_modalities if block == "style_change" else [None]
            for view in views:
                yield (
                    block if view is None else f"{block}.{view}",
                    size,
                    None if identity else factor.mT.float(),
                )

    def _draw_noise(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Gaussian noise N(0, std^2 Sigma) of every block, from one draw of standard normals."""
        widths = [size for _, size, _ in self._noise_maps]
        normals = torch.randn(n, sum(widths), dtype=torch.float32, generator=generator).split(widths, dim=1)
        return {
            name: normal if noise_map is None else normal @ noise_map
            for (name, _, noise_map), normal in zip(self._noise_maps, normals, strict=True)
        }

    def _draw_block(
        self,
        name: str,
        size: int,
        classes: int | None,
        n: int,
        noise: Mapping[str, Tensor],
        generator: torch.Generator,
    ) -> Tensor:
        """(n, size): the block's noise, or its class indices."""
        if classes is not None:
            return torch.randint(classes, (n, size), generator=generator)
        return noise[name] if size else torch.empty(n, 0, dtype=torch.float32)

    def _draw_styles(
        self, n: int, content: Tensor, noise: Mapping[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The style of every modality: (n, style_size) each."""
        model = self.model
        size, classes = model.style_size, model.style_classes
        style = self._draw_block("style", size, classes, n, noise, generator)
        if model.causal:
            style = self._offset + self._values(content, model.content_classes) @ self._weight.mT + style
        styles = dict.fromkeys(model.modalities, style)
        if not size:
            return styles
        # Drawn at every probability, 0 and 1 included, so that the probability moves no other draw.
        perturbed = model.perturbed_modalities
        uniforms = torch.rand(len(perturbed), n, size, dtype=torch.float32, generator=generator)
        for view, changes in zip(perturbed, uniforms < model.style_change_prob, strict=True):
            if classes is None:
                changed = style + noise[f"style_change.{view}"]
            else:
                changed = torch.randint(classes, (n, size), generator=generator)
            styles[view] = torch.where(changes, changed, style)
        return styles

    def _values(self, block: Tensor, classes: int | None) -> Tensor:
        """The real numbers that stand for a block: (n, size), or (n, size * classes) for one-hot classes."""
        return block if classes is None else self._tables[classes][block].flatten(1)


def _require_member(name: str, value: object, kind: type[Enum]) -> None:
    allowed = "one of " + ", ".join(str(member) for member in kind)
    require(isinstance(value, kind), name, value, allowed)
