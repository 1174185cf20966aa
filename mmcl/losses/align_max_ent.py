"""Finite-sample estimators of AlignMaxEnt: alignment of pairs minus the entropy of the encodings.

Daunhawer et al. (2023), Eq. 3 (one encoder) and Eq. 5 (two):

    E ||h1 - h2||_2  -  1/2 ( H(h1) + H(h2) )

Relation to the contrastive family. Let tau = 2 bandwidth^2 and let L be the contrastive loss with ``within``
negatives, squared Euclidean similarity, no positive in the denominator, ``mean``, ``log_mean``,
``symmetric``. With A = mean_i ||h1_i - h2_i||^2 and H the mean of the two :func:`kernel_entropy`:

    L = A / tau - H + D/2 log(2 pi bandwidth^2)

So at tau = 1 (bandwidth = sqrt(1/2), the default here) L = AlignMaxEnt(squared) + D/2 log(pi); at another
tau the alignment's weight differs by the factor 1/tau, because AlignMaxEnt does not scale with the
bandwidth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn

from mmcl.checks import require
from mmcl.losses.inputs import check_encodings, check_matrix, full_precision, unordered_pairs
from mmcl.losses.options import as_member, require_positive
from mmcl.losses.pairs import logsumexps
from mmcl.losses.similarity import Similarity, paired_similarity, pairwise_similarity


class Entropy(Enum):
    """The estimator of H: ``kernel`` (:func:`kernel_entropy`) or :func:`nearest_neighbour_entropy`."""

    kernel = "kernel"
    nearest_neighbour = "nearest_neighbour"


def alignment(h1: Tensor, h2: Tensor, *, squared: bool = False) -> Tensor:
    """``mean_i ||h1_i - h2_i||_2``, or of its square: ``(K, D) x (K, D)`` -> scalar in [0, inf).

    Eq. 3 and 5 print the unsquared norm; InfoNCE with sim = -(a - b)^2, and the authors' release, square it.
    Unsquared, the gradient at identical rows is taken as 0.
    """
    check_encodings({"h1": h1, "h2": h2})
    with torch.autocast(device_type=h1.device.type, enabled=False):
        h1, h2 = full_precision(h1, h2)
        if squared:
            return (h1 - h2).square().sum(dim=1).mean()
        return torch.linalg.vector_norm(h1 - h2, dim=1).mean()


def kernel_entropy(h: Tensor, bandwidth: float = math.sqrt(0.5)) -> Tensor:
    """Leave-one-out resubstitution entropy of a Gaussian kernel density, in nats.

    ``- mean_i log( 1/(K-1) sum_{j != i} N(h_i; h_j, bandwidth^2 I) )``, normalising constant included.

    Args:
        h: ``(K, D)``, K >= 2.
        bandwidth: standard deviation of the kernel, > 0; a temperature tau corresponds to bandwidth^2 = tau
            / 2.

    Returns:
        Scalar, at least ``D/2 log(2 pi bandwidth^2)`` (all rows equal). As K grows it tends to the *cross*
        entropy ``-E_p log (p * N(0, bandwidth^2 I))``, which tends to H(p) as the bandwidth shrinks (Ahmad
        and Lin, 1976).

    Raises:
        ValueError: fewer than two rows, not 2-D, or a bandwidth that is not positive and finite.
    """
    _check_rows(h, 2, "leave-one-out")
    require_positive("bandwidth", bandwidth)
    with torch.autocast(device_type=h.device.type, enabled=False):
        (h,) = full_precision(h)
        densities, _ = logsumexps(
            h,
            h,
            Similarity.negative_squared_euclidean,
            temperature=2.0 * bandwidth**2,
            skip_diagonal=True,
            both=False,
        )
        constant = 0.5 * h.shape[1] * math.log(2.0 * math.pi * bandwidth**2)
        return constant + math.log(h.shape[0] - 1) - densities.mean()


def nearest_neighbour_entropy(h: Tensor, k: int = 1) -> Tensor:
    """Kozachenko-Leonenko entropy from distances to the k-th nearest neighbour, in nats.

    ``psi(K) - psi(k) + log V_D + D/K sum_i log r_i`` with psi the digamma function, r_i the Euclidean
    distance of row i to its k-th nearest other row and V_D = pi^(D/2) / Gamma(D/2 + 1) the volume of the
    unit ball (Kozachenko and Leonenko, 1987; Kraskov et al., 2004, Eq. 20 with r in place of the diameter).

    Args:
        h: ``(K, D)``, K > k.
        k: neighbour, >= 1.

    Returns:
        Scalar. Where r_i = 0 (duplicate rows) the entropy is -inf; here r_i^2 is held above the smallest
        normal number, so that value and gradient stay finite.

    Raises:
        ValueError: k < 1, fewer than k + 1 rows, or not 2-D.
    """
    require(isinstance(k, int) and not isinstance(k, bool) and k >= 1, "k", k, "an integer >= 1")
    _check_rows(h, k + 1, f"the distance to neighbour {k}")
    with torch.autocast(device_type=h.device.type, enabled=False):
        (h,) = full_precision(h)
        rows, width = h.shape
        # Who the neighbour is needs no gradient; how far it is does, and comes from the exact difference.
        with torch.no_grad():
            similarities = pairwise_similarity(h, h, Similarity.negative_squared_euclidean)
            neighbour = similarities.fill_diagonal_(-math.inf).topk(k, dim=1).indices[:, -1]
        squared = -paired_similarity(h, h[neighbour], Similarity.negative_squared_euclidean)
        log_radius = 0.5 * squared.clamp_min(torch.finfo(h.dtype).tiny).log()
        log_volume = 0.5 * width * math.log(math.pi) - math.lgamma(0.5 * width + 1.0)
        return _digamma(rows) - _digamma(k) + log_volume + width * log_radius.mean()


def align_max_ent(
    z: Mapping[str, Tensor],
    *,
    entropy: Entropy = Entropy.kernel,
    bandwidth: float = math.sqrt(0.5),
    neighbours: int = 1,
    squared: bool = False,
    symmetric: bool = True,
) -> Tensor:
    """Alignment minus entropy, averaged over all unordered pairs of modalities (formula: module head).

    Args:
        z: name -> ``(K, D)``, two or more.
        entropy: the estimator; ``bandwidth`` belongs to ``kernel`` and ``neighbours`` to
            ``nearest_neighbour``.
        squared: the square of the norm in the alignment; Eq. 3 and 5 print the norm itself.
        symmetric: the mean of both entropies of a pair (Eq. 5), or the first one's (Eq. 3, where both
            modalities share one encoder and the entropy is that of g(x)).

    Returns:
        Scalar; its minimum is not bounded, since entropy grows without end unless encodings are bounded
        (Theorem 1 takes them from (0, 1)).

    Raises:
        ValueError: as :func:`alignment` and the entropies; fewer than two modalities.
    """
    check_encodings(z)
    pairs = unordered_pairs(z)
    anchors = {name for pair in pairs for name in (pair if symmetric else pair[:1])}
    entropies = {
        name: kernel_entropy(rows, bandwidth)
        if entropy is Entropy.kernel
        else nearest_neighbour_entropy(rows, neighbours)
        for name, rows in z.items()
        if name in anchors
    }
    losses = []
    for first, second in pairs:
        subtracted = 0.5 * (entropies[first] + entropies[second]) if symmetric else entropies[first]
        losses.append(alignment(z[first], z[second], squared=squared) - subtracted)
    return torch.stack(losses).mean()


def _check_rows(h: Tensor, least: int, purpose: str) -> None:
    check_matrix("h", h)
    if h.shape[0] < least:
        raise ValueError(f"{purpose} needs at least {least} rows, got {h.shape[0]}: use a larger batch size")


def _digamma(value: int) -> float:
    return torch.digamma(torch.tensor(float(value), dtype=torch.float64)).item()


@dataclass(frozen=True)
class AlignMaxEnt:
    """The typed config of :func:`align_max_ent`; ``build()`` makes the module.

    Raises ``ValueError`` that names the field for a value out of range; the enum field also takes a name.
    """

    entropy: Entropy = Entropy.kernel
    bandwidth: float = 0.7071067811865476
    neighbours: int = 1
    squared: bool = False
    symmetric: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "entropy", as_member(Entropy, "entropy", self.entropy))
        require_positive("bandwidth", self.bandwidth)
        whole = isinstance(self.neighbours, int) and not isinstance(self.neighbours, bool)
        require(whole and self.neighbours >= 1, "neighbours", self.neighbours, "an integer >= 1")

    @property
    def needs_fresh_batch(self) -> bool:
        """Always false: entropies come from the batch itself."""
        return False

    def build(self) -> AlignMaxEntLoss:
        """The loss as a module."""
        return AlignMaxEntLoss(self)


class AlignMaxEntLoss(nn.Module):
    """:func:`align_max_ent` with its options kept; no parameters.

    ``forward(z, fresh=None)`` has the signature of :class:`mmcl.losses.ContrastiveLoss`; ``fresh`` is
    ignored.
    """

    def __init__(self, spec: AlignMaxEnt) -> None:
        super().__init__()
        self.spec = spec
        self.needs_fresh_batch = spec.needs_fresh_batch

    def forward(self, z: Mapping[str, Tensor], fresh: Mapping[str, Tensor] | None = None) -> Tensor:
        """The scalar loss; errors as in :func:`align_max_ent`."""
        spec = self.spec
        check_encodings(z)
        return align_max_ent(
            z,
            entropy=spec.entropy,
            bandwidth=spec.bandwidth,
            neighbours=spec.neighbours,
            squared=spec.squared,
            symmetric=spec.symmetric,
        )

    def extra_repr(self) -> str:
        return repr(self.spec)
