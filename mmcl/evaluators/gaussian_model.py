"""What a model with linear encoders says of a Gaussian world, against the truth and the exact optimum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmcl.checks import require, require_choice
from mmcl.evaluators.base import NothingFitted, Objective, Representations, Row, check_spec
from mmcl.theory import (
    GaussianPair,
    Optimum,
    Tilt,
    Tilting,
    conditional_loss,
    conditional_optimum,
    joint_loss,
    joint_optimum,
)

TILTINGS = {
    "inner_product": (Tilting.inner_product, Tilt.inner_product),
    "negative_squared_euclidean": (Tilting.squared_distance, Tilt.squared_distance),
}
"""Similarity -> the theory's name of it, and the tilt of two linear encoders."""
NORMALISERS = ("conditional", "joint")
TOLERANCE = 1e-3
"""Largest error of the linear map that encodings are explained by, relative to them."""


def gaussian_pair(test: Representations) -> tuple[str, str, GaussianPair]:
    """The names of the two views, and their law.

    Raises ``ValueError`` where it is not known to be Gaussian, or there are other than two views.
    """
    if test.covariance is None:
        raise ValueError(
            "the world's covariance is not known: this evaluator is of data=gaussian, random_field"
        )
    single = test.modalities()
    require(len(single) == 2, "views", single, "two, as a Gaussian world's")
    u, v = single
    return u, v, GaussianPair(test.covariance, test.factors[u].shape[1])


@dataclass(frozen=True)
class GaussianModel(NothingFitted):
    """The law that linear encoders G u and H v stand for, exact, against the world's: of two Gaussian vectors u, v.

    G and H are read off the test samples, which must be float vectors that are factors too, as those of a Gaussian
    world are. Everything else is computed from them and the world's covariance, of no samples. Rows:

    * representation ``v>u`` (u given v), target ``u``: ``mean_error``, E|E_nu[u|v] - E_mu[u|v]|^2; and
      ``covariance_error``, |Cov_nu(u|v) - Cov_mu(u|v)| / |Cov_mu(u|v)| in the Frobenius norm. Alike ``u>v``. Chance: of
      encoders that are 0, whose model is the product of the marginals. Where training has a finite number of samples
      also ``mean_error_of_sampled``: that of the optimum for these samples' covariance.
    * representation ``u+v``, target ``A``: ``matrix_error``, the Frobenius distance of A = G^T H from the optimum's,
      relative to it; and ``excess_loss``, the exact loss of G and H less the least, in nats, >= 0. Chance: of A = 0.

    ``ceiling`` is the optimum's, of as many dimensions and of the same loss; none where no closed form is known.

    Args:
        n_test: samples that G and H are read from, more than either vector has components.
        similarity: ``inner_product`` or ``negative_squared_euclidean``.
        temperature: tau > 0, as in training.
        normaliser: ``conditional`` or ``joint``.
        weight_u_given_v, weight_v_given_u: of the conditional loss, of the world's first view given its second, and
            the reverse.

    Raises ``ValueError`` naming a bad field. Source: Baptista et al. (2025), Sections 5 and 6.1; :mod:`mmcl.theory`.
    """

    exact_of_loss: ClassVar[bool] = True
    """The optimum is that of the family's plain losses and of linear encoders: a config with others is refused."""

    of_gaussian_worlds: ClassVar[bool] = True
    """A run on another world is refused before it trains."""

    n_test: int | None = 2000
    similarity: str = "inner_product"
    temperature: float = 1.0
    normaliser: str = "conditional"
    weight_u_given_v: float = 1.0
    weight_v_given_u: float = 1.0

    def __post_init__(self) -> None:
        check_spec(self.n_fit, self.n_test, self.interventions)
        require_choice("similarity", self.similarity, TILTINGS)
        require_choice("normaliser", self.normaliser, NORMALISERS)
        require(0 < self.temperature < float("inf"), "temperature", self.temperature, "> 0 and finite")
        weights = (self.weight_u_given_v, self.weight_v_given_u)
        require(min(weights) >= 0 and max(weights) > 0, "weights", weights, ">= 0, and one of them > 0")

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: tuple[str, ...] = (),
        objective: Objective | None = None,
    ) -> list[Row]:
        """Rows of the two views; ``fit``, ``reference`` and ``objective`` are not used.

        Raises ``ValueError`` where the samples' covariance is not known, there are other than two views, or encodings
        are no linear map of their view.
        """
        u, v, pair = gaussian_pair(test)
        tilting, tilt_of = TILTINGS[self.similarity]
        maps = [self._linear(name, test.factors[name], test.z[name]) for name in (u, v)]
        ours = tilt_of(*maps)
        best = self._optimum(pair, len(maps[0]), tilting)
        nothing = Tilt(*(torch.zeros_like(x) for x in (ours.a, ours.b, ours.c)))
        least = (
            None
            if test.sampled is None
            else self._optimum(GaussianPair(test.sampled, pair.size_u), len(maps[0]), tilting)
        )
        rows = []

        def add(
            representation: str, target: str, metric: str, values: tuple[float, float, float | None]
        ) -> None:
            rows.append(Row("test", representation, target, metric, *values, 0, len(test)))

        errors = [
            None if tilt is None else _errors(pair, tilt)
            for tilt in (ours, nothing, best.tilt if best else None)
        ]
        for k, (representation, target) in enumerate(((f"{v}>{u}", u), (f"{u}>{v}", v))):
            for metric in ("mean_error", "covariance_error"):
                value, chance, ceiling = (None if e is None else e[metric][k] for e in errors)
                assert value is not None
                assert chance is not None
                add(representation, target, metric, (value, chance, ceiling))
                if metric == "mean_error" and least is not None:
                    sampled = float(least.tilt.mean_errors(pair)[k])
                    add(representation, target, "mean_error_of_sampled", (sampled, chance, ceiling))
        if best is not None:
            size = float(best.tilt.a.norm())
            if size > 0:  # (u and v may be independent)
                add(f"{u}+{v}", "A", "matrix_error", (float((ours.a - best.tilt.a).norm()) / size, 1.0, 0.0))
            losses = [self._loss(pair, tilt) - best.loss for tilt in (ours, nothing)]
            add(f"{u}+{v}", "A", "excess_loss", (losses[0], losses[1], 0.0))
        return rows

    def _linear(self, name: str, x: Tensor, z: Tensor) -> Tensor:
        """The G of ``z = G x``, ``(D, n)``, float64, in units in which the temperature is the theory's."""
        x, z = x.double().cpu(), z.double().cpu()
        if len(x) <= x.shape[1]:
            raise ValueError(f"n_test={len(x)}: must be > {x.shape[1]}, the components of {name}")
        g = torch.linalg.lstsq(x, z).solution.mT
        if float((x @ g.mT - z).norm()) > TOLERANCE * float(z.norm()):
            raise ValueError(f"encodings of {name} are no linear map of it: use encoder=linear")
        factor = 1.0 if self.similarity == "inner_product" else 2.0
        return g * math.sqrt(factor / self.temperature)

    def _optimum(self, pair: GaussianPair, size: int, tilting: Tilting) -> Optimum | None:
        if self.normaliser == "joint":
            return joint_optimum(pair, size, tilting)
        weights = (self.weight_u_given_v, self.weight_v_given_u)
        known = tilting is Tilting.inner_product or weights[0] == weights[1] or 0 in weights
        return conditional_optimum(pair, size, tilting, *weights) if known else None

    def _loss(self, pair: GaussianPair, tilt: Tilt) -> float:
        if self.normaliser == "joint":
            return float(joint_loss(pair, tilt))
        return float(conditional_loss(pair, tilt, self.weight_u_given_v, self.weight_v_given_u))


def _errors(pair: GaussianPair, tilt: Tilt) -> dict[str, list[float]]:
    """Metric -> its values of u given v and of v given u."""
    covariances = [
        float((model[1] - truth[1]).norm() / truth[1].norm())
        for model, truth in (
            (tilt.u_given_v(pair), pair.u_given_v()),
            (tilt.v_given_u(pair), pair.v_given_u()),
        )
    ]
    return {"mean_error": [float(e) for e in tilt.mean_errors(pair)], "covariance_error": covariances}
