"""Maximum mean discrepancy between the data's law and the model's, instead of the Kullback-Leibler divergence.

The model tilts the product of the marginals by ``rho = exp(sim / tau)`` (Baptista et al., 2025, Section 2). Where the
contrastive losses are its divergence from the data up to a constant, these are the squared MMD up to one, of kernels
k_u and k_v on the *samples* u and v. On a batch of K pairs, with ``S_ij = sim(g(u_i), h(v_j)) / tau``:

    conditional   w_u L(u|v) + w_v L(v|u),  L(u|v) = mean_j [ 1/2 p_j^T K_u p_j - (K_u p_j)_j ],  p_j = softmax_i S_ij
    joint         <R, K_u R K_v> - 2/K tr(K_u R K_v),                                            R = softmax_ij S

The first is half the squared MMD between the model's conditional law on the batch's samples and the sample that came
with v_j, less 1/2 k_u(u_j, u_j); the second is that between the model's joint law and the batch's pairs, less a
constant too. Both are estimates with the pairs themselves among the candidates, as those of the family are.

Source: Baptista et al. (2025), Optimization Problem 3.11 and Appendix B. Departure: their conditional loss is printed
with the opposite sign and without the factors 1/K; that with these is the one that the data's law minimises (a test).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mmcl.checks import require
from mmcl.losses.contrastive import Normaliser, require_weights
from mmcl.losses.inputs import check_encodings, full_precision
from mmcl.losses.options import as_member, require_positive
from mmcl.losses.similarity import Similarity, pairwise_similarity


def gaussian_kernel(x: Tensor, bandwidth: float | None = None) -> Tensor:
    """``k(x_i, x_j) = exp(-|x_i - x_j|^2 / (2 l^2))``: ``(K, ...)`` to ``(K, K)``, float32 (float64 if ``x`` is).

    ``bandwidth``: l > 0; ``None``: l^2 is half the median of the squared distances of different rows that are not 0
    (Gretton et al., 2012), and 1 if all are.

    >>> gaussian_kernel(torch.tensor([[0.0], [1.0]]), 1.0)[0, 1].log().item()
    -0.5
    """
    (flat,) = full_precision(x.flatten(1) if x.is_floating_point() else x.flatten(1).float())
    flat = flat - flat.mean(dim=0)
    squares = -pairwise_similarity(flat, flat, Similarity.negative_squared_euclidean)
    # Rows that are equal are apart by what a matrix product rounds, which is not to be taken for a distance.
    rounding = 64 * torch.finfo(flat.dtype).eps * flat.square().sum(dim=1).max()
    squares = torch.where(squares > rounding, squares, 0.0)
    if bandwidth is None:
        apart = squares[squares > 0]
        square = float(apart.median()) / 2 if len(apart) else 1.0
    else:
        square = bandwidth**2
    return torch.exp(-squares / (2 * square))


def mmd_loss(
    s: Tensor,
    kernel_u: Tensor,
    kernel_v: Tensor,
    *,
    normaliser: Normaliser = Normaliser.conditional,
    weight_second_given_first: float = 1.0,
    weight_first_given_second: float = 1.0,
) -> Tensor:
    """The loss of one pair of modalities (formulas at the head of this module): a scalar, differentiable in ``s``.

    Args:
        s: ``(K, K)``, the similarities over tau, rows u and columns v.
        kernel_u, kernel_v: ``(K, K)``, symmetric, of the samples.
        normaliser: see :class:`~mmcl.losses.contrastive.Normaliser`.
        weight_second_given_first, weight_first_given_second: >= 0, not both 0, of v given u and of u given v;
            ``conditional`` alone.
    """
    if normaliser is Normaliser.joint:
        model = s.flatten().softmax(dim=0).reshape(s.shape)
        smoothed = kernel_u @ model @ kernel_v
        return (model * smoothed).sum() - 2 * smoothed.diagonal().mean()
    parts = []
    for weight, shares, kernel in (
        (weight_first_given_second, s.softmax(dim=0), kernel_u),  # a column for each v
        (weight_second_given_first, s.softmax(dim=1).T, kernel_v),
    ):
        if weight > 0:
            smoothed = kernel @ shares
            parts.append(weight * (0.5 * (shares * smoothed).sum(dim=0) - smoothed.diagonal()).mean())
    return torch.stack(parts).sum()


@dataclass(frozen=True)
class MMD:
    """Config of :func:`mmd_loss` with Gaussian kernels (:func:`gaussian_kernel`) of two modalities.

    Fields:
        normaliser: conditional or joint.
        similarity, temperature: of the tilting; tau > 0.
        weight_second_given_first, weight_first_given_second: lambda_v, lambda_u, of the conditional loss: >= 0, not
            both 0.
        bandwidths: name of a view -> its kernel's l > 0; of others the median of each batch decides.

    Raises ``ValueError`` that names the field for a value out of range.
    """

    needs_views: ClassVar[bool] = True
    """That ``forward`` must be given the views, too."""

    normaliser: Normaliser = Normaliser.conditional
    similarity: Similarity = Similarity.inner_product
    temperature: float = 1.0
    weight_second_given_first: float = 1.0
    weight_first_given_second: float = 1.0
    bandwidths: dict[str, float] | None = None

    def __post_init__(self) -> None:
        for name, members in (("normaliser", Normaliser), ("similarity", Similarity)):
            object.__setattr__(self, name, as_member(members, name, getattr(self, name)))
        require_positive("temperature", self.temperature)
        require_weights(self.weight_second_given_first, self.weight_first_given_second)
        for name, value in (self.bandwidths or {}).items():
            require_positive(f"bandwidths.{name}", value)

    def build(self) -> MMDLoss:
        """The loss as a module."""
        return MMDLoss(self)


class MMDLoss(nn.Module):
    """See :class:`MMD`: ``forward(z, views)`` takes two encodings ``(K, D)`` and their views ``(K, ...)`` by name."""

    def __init__(self, spec: MMD) -> None:
        super().__init__()
        self.spec = spec
        self.needs_views = spec.needs_views

    def forward(self, z: Mapping[str, Tensor], views: Mapping[str, Tensor]) -> Tensor:
        """The scalar loss. Raises ``ValueError`` for other than two encodings of as many views."""
        check_encodings(z)
        require(len(z) == 2, "encodings", list(z), "two: this loss compares the laws of two modalities")
        spec, (first, second) = self.spec, z
        known = spec.bandwidths or {}
        for name in known:
            require(name in z, "loss.bandwidths", name, f"views of the data: {', '.join(z)}")
        with torch.autocast(z[first].device.type, enabled=False):
            h1, h2 = full_precision(z[first], z[second])
            kernels = [gaussian_kernel(views[name], known.get(name)).to(h1.dtype) for name in z]
            return mmd_loss(
                pairwise_similarity(h1, h2, spec.similarity) / spec.temperature,
                *kernels,
                normaliser=spec.normaliser,
                weight_second_given_first=spec.weight_second_given_first,
                weight_first_given_second=spec.weight_first_given_second,
            )

    def extra_repr(self) -> str:
        return repr(self.spec)
