"""How many dimensions the modalities' encodings share, without looking at any factor."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmcl.checks import require
from mmcl.evaluators.base import Objective, Representations, Row, WithoutInterventions, check_spec
from mmcl.evaluators.directions import canonical_directions

CHUNK = 2048


def held_out_correlations(fit: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> list[float]:
    """Correlations on ``test`` of the canonical directions that ``fit`` has, from the largest there.

    ``fit`` and ``test``: ``(N, k)`` and ``(N, l)`` of the two sides. As directions were not chosen on ``test``, what
    independent sides have in common by chance is 0 on average. A side that is constant on ``test`` has correlation 0.
    """
    both = [
        torch.cat(list(found.coordinates(side).values()), dim=1)
        for found, side in zip(canonical_directions(*fit), test, strict=True)
    ]
    a, b = (z - z.mean(dim=0) for z in both)
    spread = a.norm(dim=0) * b.norm(dim=0)
    return ((a * b).sum(dim=0) / spread.clamp(min=torch.finfo(torch.float64).tiny)).tolist()


def two_nearest_neighbours(z: Tensor) -> float:
    """The intrinsic dimension of the samples ``z: (N, D)``, N >= 3, by the two nearest neighbours of each.

    With r_1 and r_2 their distances, mu = r_2 / r_1 has the density d mu^(-d-1), mu >= 1, where samples are locally
    uniform in d dimensions; the estimate is its maximum likelihood, N / sum log mu. A sample that stands twice is one.

    Raises ``ValueError`` if fewer than three samples differ.

    Source: Facco et al. (2017), "Estimating the intrinsic dimension of datasets by a minimal neighborhood information";
    maximum likelihood as in Denti et al. (2022) up to a factor of (N - 1) / N.

    >>> plane = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    >>> round(two_nearest_neighbours(torch.cat([plane, plane @ plane[:2]], dim=1)))
    2
    """
    z = torch.unique(z.double(), dim=0)
    if len(z) < 3:
        raise ValueError(f"{len(z)} different encoding(s): an intrinsic dimension needs 3")
    ratios = []
    for rows in z.split(CHUNK):
        nearest = (
            torch.cdist(rows, z, compute_mode="donot_use_mm_for_euclid_dist").topk(3, largest=False).values
        )
        ratios.append(nearest[:, 2] / nearest[:, 1])  # the nearest is the sample itself
    logs = torch.cat(ratios).log()
    total = float(logs.sum())
    return len(logs) / total if total > 0 else float("inf")


@dataclass(frozen=True)
class SharedDimension(WithoutInterventions):
    """What the encodings of two or more modalities share, from the encodings alone.

    * ``canonical_correlation`` (target ``shared_cc1``, ``shared_cc2``, ..., one for each dimension; representation: the
      modality): held-out correlations of its encoding with all others', see :func:`held_out_correlations`;
    * ``intrinsic_dimension`` (target ``encoding``, representation: the modality): see :func:`two_nearest_neighbours`.

    ``n_fit``, ``n_test``: fresh samples that the directions come from, and that all is computed on, each >= 3. Raises
    ``ValueError`` naming a bad field. Not in the papers: Daunhawer et al. (2023), B.2, look for the number of content
    factors in the validation loss over the encoding size.
    """

    n_fit: int = 4096
    n_test: int = 4096

    def __post_init__(self) -> None:
        check_spec(self.n_fit, self.n_test, self.interventions)
        for name in ("n_fit", "n_test"):
            require(getattr(self, name) >= 3, name, getattr(self, name), ">= 3")

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: tuple[str, ...] = (),
        objective: Objective | None = None,
    ) -> list[Row]:
        """Rows of every modality; of one alone the intrinsic dimension. ``reference``, ``objective`` are not used."""
        rows = []
        for name, z in test.z.items():
            found = [("encoding", "intrinsic_dimension", two_nearest_neighbours(z), 0)]
            if len(test.z) > 1:
                sides = [
                    (s.z[name], torch.cat([v for k, v in s.z.items() if k != name], 1)) for s in (fit, test)
                ]
                correlations = held_out_correlations(*sides)
                found += [
                    (f"shared_cc{i}", "canonical_correlation", r, len(fit))
                    for i, r in enumerate(correlations, 1)
                ]
            rows += [
                Row("test", name, target, metric, value, None, None, n_fit=n_fit, n_test=len(test))
                for target, metric, value, n_fit in found
            ]
        return rows
