"""What the losses make of two correlated Gaussian numbers, exact: Baptista et al. (2025), Section 5.4."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmcl.losses import Normaliser, Similarity, contrastive_loss
from mmcl.pictures.plane import PlaneLaw, draw_plane, draw_sampled
from mmcl.records.files import write_bytes
from mmcl.records.markdown import markdown_table
from mmcl.theory import GaussianPair, Optimum, Tilt, Tilting, conditional_optimum, joint_optimum
from mmcl.visuals import as_png

COVARIANCE = torch.tensor([[1.5, 1.0], [1.0, 1.5]], dtype=torch.float64)
"""That of the paper's illustration."""

GRID = (np.arange(240) - 119.5) * (2 / 53)
"""Points of both axes, to 4.5, not 0, where a sign is none, but 1. All but 1 % of the widest law is within."""


@dataclass(frozen=True)
class Fit:
    """A loss whose minimum is drawn: its similarity, normaliser and weights; ``(1, 1)`` is two-sided."""

    tilting: Tilting
    normaliser: Normaliser = Normaliser.conditional
    weights: tuple[float, float] = (1.0, 1.0)

    def optimum(self, pair: GaussianPair) -> Optimum:
        """The least exact loss of encoders of one dimension, and who has it."""
        if self.normaliser is Normaliser.joint:
            return joint_optimum(pair, 1, self.tilting)
        return conditional_optimum(pair, 1, self.tilting, *self.weights)

    def of_batch(self, u: Tensor, v: Tensor, tilt: Tilt) -> float:
        """The loss that training takes of a batch: numbers ``(K, 1)``, encoded so that they have this tilt."""
        if self.tilting is Tilting.inner_product:
            similarity, temperature, g, h = Similarity.inner_product, 1.0, tilt.a, torch.ones_like(tilt.a)
        else:
            similarity, temperature = Similarity.negative_squared_euclidean, 2.0
            g, h = tilt.b.sqrt(), tilt.a / tilt.b.sqrt()
        z = {"u": u @ g.to(u.dtype), "v": v @ h.to(v.dtype)}
        given_v, given_u = self.weights
        loss = contrastive_loss(
            z, similarity=similarity, temperature=temperature, normaliser=self.normaliser,
            weight_first_given_second=given_v, weight_second_given_first=given_u,
        )  # fmt: skip
        return float(loss)


MODELS: Mapping[str, Fit] = {
    "inner product,\nconditional (Fig. 2)": Fit(Tilting.inner_product),
    "squared distance,\nu given v (Fig. 3)": Fit(Tilting.squared_distance, weights=(2.0, 0.0)),
    "inner product,\njoint (Fig. 4)": Fit(Tilting.inner_product, Normaliser.joint),
    "squared distance,\nconditional (ours)": Fit(Tilting.squared_distance),
    "squared distance,\njoint (ours)": Fit(Tilting.squared_distance, Normaliser.joint),
}
BATCHES = {8: 400, 32: 400, 128: 200, 512: 100, 2048: 50}
"""Batch size -> how many batches a sampled loss is taken of."""

HEADER = (
    "model", "A", "B", "C", "u given v: slope", "variance", "v given u: slope", "variance", "Var u", "Var v",
    "Cov(u, v)",
)  # fmt: skip


def sign_temperature(pair: GaussianPair) -> float:
    """The best 1/tau of encoders of one dimension that are normalised, which leaves them their input's sign.

    The model is ``exp(sign(u v) / tau) / cosh(1 / tau)`` times the product of the marginals; its conditional loss,
    ``-E sign(u v) / tau + log cosh(1 / tau)``, is least at ``1/tau = artanh(E sign(u v))``, and
    ``E sign(u v) = 2 / pi asin(rho)`` (Sheppard, 1899).
    """
    rho = float(pair.c_uv / (pair.c_uu * pair.c_vv).sqrt())
    return math.atanh(2 / math.pi * math.asin(rho))


def rows(pair: GaussianPair) -> list[tuple[str, list[float]]]:
    """The numbers of :data:`HEADER` of the truth and of each model of :data:`MODELS`, exact."""
    found = [("truth", [math.nan] * 3 + _numbers(pair.u_given_v(), pair.v_given_u(), pair.covariance))]
    for name, fit in MODELS.items():
        tilt = fit.optimum(pair).tilt
        laws = _numbers(tilt.u_given_v(pair), tilt.v_given_u(pair), tilt.covariance(pair))
        found.append((name.replace("\n", " "), [float(tilt.a), float(tilt.b), float(tilt.c), *laws]))
    return found


def _numbers(
    u_given_v: tuple[Tensor, Tensor], v_given_u: tuple[Tensor, Tensor], covariance: Tensor
) -> list[float]:
    conditionals = [float(x) for part in (u_given_v, v_given_u) for x in part]
    return [*conditionals, float(covariance[0, 0]), float(covariance[1, 1]), float(covariance[0, 1])]


def laws(pair: GaussianPair) -> tuple[PlaneLaw, list[PlaneLaw]]:
    """The truth, and the models with two of normalised encoders (Figure 6), at temperature 1 and at the best."""
    product = np.outer(_normal(GRID, float(pair.c_vv)), _normal(GRID, float(pair.c_uu)))
    truth = _gaussian("truth (Fig. 1)", pair.covariance)
    models = [_gaussian(name, fit.optimum(pair).tilt.covariance(pair)) for name, fit in MODELS.items()]
    sign = np.sign(np.outer(GRID, GRID))
    for name, inverse in (
        ("normalised, τ = 1\n(Fig. 6)", 1.0),
        ("normalised, best τ\n(ours)", sign_temperature(pair)),
    ):
        models.append(_law(name, product * np.exp(inverse * sign) / math.cosh(inverse)))
    return truth, models


def _normal(x: np.ndarray, variance: float) -> np.ndarray:
    density: np.ndarray = np.exp(-(x**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
    return density


def _gaussian(name: str, covariance: Tensor) -> PlaneLaw:
    precision = torch.linalg.inv(covariance).numpy()
    u, v = GRID[None, :], GRID[:, None]
    exponent = precision[0, 0] * u**2 + 2 * precision[0, 1] * u * v + precision[1, 1] * v**2
    return _law(name, np.exp(-0.5 * exponent) * math.sqrt(np.linalg.det(precision)) / (2 * math.pi))


def _law(name: str, density: np.ndarray) -> PlaneLaw:
    """With conditionals and marginals by summing over the grid."""
    step = GRID[1] - GRID[0]
    at = int(np.abs(GRID - 1).argmin())
    given_v, given_u = density[at], density[:, at]
    return PlaneLaw(
        name,
        density,
        given_v / given_v.sum() / step,
        given_u / given_u.sum() / step,
        density.sum(axis=0) * step,
        density.sum(axis=1) * step,
    )


def sampled_losses(pair: GaussianPair, generator: torch.Generator) -> dict[str, dict[int, np.ndarray]]:
    """Of each model at its optimum, the loss of batches less the exact one: name -> batch size -> its batches, nats.

    Batches are those of :data:`BATCHES`, the same for all models, float32 as training has them.
    """
    root = torch.linalg.cholesky(pair.covariance).float()
    batches = {
        size: [(torch.randn(size, 2, generator=generator) @ root.mT).split(1, dim=1) for _ in range(count)]
        for size, count in BATCHES.items()
    }
    found = {}
    for name, fit in MODELS.items():
        best = fit.optimum(pair)
        found[name.replace("\n", " ")] = {
            size: np.array([fit.of_batch(u, v, best.tilt) for u, v in of]) - best.loss
            for size, of in batches.items()
        }
    return found


def write_plane(folder: Path) -> list[Path]:
    """Write ``figure.png`` and ``table.md``, and ``sampled.png`` and ``sampled.md``, into ``folder``, which is made;
    returns them."""
    pair = GaussianPair(COVARIANCE, 1)
    cells = [[name, *("–" if math.isnan(x) else f"{x:.5f}" for x in numbers)] for name, numbers in rows(pair)]
    found = sampled_losses(pair, torch.Generator().manual_seed(0))
    samples = [
        [name, *(f"{x.mean():.4f} ± {x.std(ddof=1):.4f}" for x in of.values())] for name, of in found.items()
    ]
    contents = {
        "figure.png": as_png(draw_plane(GRID, *laws(pair))),
        "table.md": markdown_table(HEADER, cells).encode(),
        "sampled.png": as_png(draw_sampled(found)),
        "sampled.md": markdown_table(["batch size", *map(str, BATCHES)], samples).encode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_bytes(folder / name, content)
    return [folder / name for name in contents]
