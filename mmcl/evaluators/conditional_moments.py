"""The means and covariances of one Gaussian vector given another that a model's weighted samples have, and the true."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmcl.evaluators.base import (
    NothingFitted,
    Objective,
    Representations,
    Row,
    check_spec,
    check_temperature,
    temperature_of,
)
from mmcl.evaluators.gaussian_model import gaussian_pair
from mmcl.evaluators.generation import effective_number, weights_of_others
from mmcl.evaluators.retrieval import CHUNK, check_comparable, check_similarity, similarities


@dataclass(frozen=True)
class ConditionalMoments(NothingFitted):
    """Errors of conditional means and covariances of any encoders, linear or not, of a Gaussian world.

    The model's law of u given v is that of the other samples' u, weighted by exp(sim(h(v), g(u)) / tau) (Baptista et
    al., 2025, Theorem 4.2). The sample that gives the query is left out: atoms are samples of u's marginal, and it is
    none. Rows for ``v>u`` (u given v), target ``u``, and alike ``u>v``; means over the queries v:

    * ``mean_error``: ``|E_nu[u|v] - E_mu[u|v]|^2``.
    * ``covariance_error``: ``|Cov_nu(u|v) - Cov_mu(u|v)| / |Cov_mu(u|v)|`` in the Frobenius norm.
    * ``effective_sample_size``: ``1 / sum_j w_j^2`` of the weights. Both errors have that of a sample of so many: read
      them beside it.

    Chance: of equal weights. With linear encoders :class:`~mmcl.evaluators.GaussianModel` has the same without samples.

    Args:
        n_test: samples that are queries and atoms, >= 2, from the test split.
        similarity: one of ``retrieval.SIMILARITIES``; ``lp_exponent`` is the p > 0 of ``negative_lp``.
        temperature: tau > 0; ``None``: what the trained loss has, learned or not.

    Raises ``ValueError`` naming a bad field.
    """

    of_gaussian_worlds: ClassVar[bool] = True
    """A run on another world is refused before it trains."""

    n_test: int | None = 4096
    similarity: str = "inner_product"
    temperature: float | None = None
    lp_exponent: float = 2.0

    def __post_init__(self) -> None:
        check_spec(self.n_fit, self.n_test, self.interventions)
        check_similarity(self.similarity, self.lp_exponent)
        check_temperature(self.temperature)

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: tuple[str, ...] = (),
        objective: Objective | None = None,
    ) -> list[Row]:
        """Rows of the two views; ``fit`` and ``reference`` are not used, of ``objective`` the temperature.

        Raises ``ValueError`` where the samples' covariance is not known, there are other than two views, or encodings
        have different sizes.
        """
        u, v, pair = gaussian_pair(test)
        tau = temperature_of(self.temperature, objective)
        return [
            *self._rows(test, v, u, *pair.u_given_v(), tau),
            *self._rows(test, u, v, *pair.v_given_u(), tau),
        ]

    def _rows(
        self,
        test: Representations,
        query: str,
        atoms: str,
        slope: Tensor,
        covariance: Tensor,
        temperature: float,
    ) -> Iterator[Row]:
        z, others = test.z[query], test.z[atoms]
        check_comparable(query, z, atoms, others)
        given, values = (test.factors[name].to(z.device).double() for name in (query, atoms))
        slope, covariance = slope.to(z.device), covariance.to(z.device)
        sums = torch.zeros(3, 2, dtype=torch.float64)
        for first in range(0, len(test), CHUNK):
            logits = (
                similarities(z[first : first + CHUNK], others, self.similarity, self.lp_exponent)
                / temperature
            )
            means = given[first : first + CHUNK] @ slope.mT
            for place, x in enumerate((logits, torch.zeros_like(logits))):
                weights = weights_of_others(x, first)
                sums[:, place] += _errors(weights, values, means, covariance).cpu()
        metrics = ("mean_error", "covariance_error", "effective_sample_size")
        for metric, (value, chance) in zip(metrics, (sums / len(test)).tolist(), strict=True):
            yield Row("test", f"{query}>{atoms}", atoms, metric, value, chance, None, 0, len(test))


def _errors(weights: Tensor, values: Tensor, means: Tensor, covariance: Tensor) -> Tensor:
    """The three metrics' sums over the queries, ``(3,)``. ``weights``: ``(n, N)``; ``values``: ``(N, d)``; ``means``:
    ``(n, d)``, the true ones; ``covariance``: ``(d, d)``, the true one."""
    found = weights @ values
    squares = (weights @ (values[:, :, None] * values[:, None, :]).flatten(1)).view(
        len(found), *covariance.shape
    )
    spread = squares - found[:, :, None] * found[:, None, :]
    away = torch.linalg.matrix_norm(spread - covariance) / torch.linalg.matrix_norm(covariance)
    return torch.stack([(found - means).square().sum(), away.sum(), effective_number(weights).sum()])
