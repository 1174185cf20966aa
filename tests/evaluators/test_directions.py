"""Directions against closed forms, and what encodings that hold some of them score."""

from __future__ import annotations

import pytest
import torch

from mmcl.evaluators import DirectionRidge, Representations
from mmcl.evaluators.directions import canonical_directions, principal_directions
from mmcl.worlds import LatentVariableModel

N = 4000
MIX = torch.tensor([[2.0, 0.3, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 0.1]])


def normals(k, seed, n=N):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed))


def coordinates(found, y):
    return torch.cat(list(found.coordinates(y).values()), dim=1)


def covariance(y):
    return torch.cov(y.mT, correction=0)


def test_principal_directions_are_the_covariances_eigenvectors():
    y = normals(3, 0) @ MIX + 7
    found = principal_directions(y)
    values, axes = torch.linalg.eigh(covariance(y.double()))
    assert torch.allclose(found.strength, values.flip(0), rtol=1e-10)
    cosines = (found.maps / found.maps.norm(dim=0) * axes.flip(1)).sum(dim=0).abs()
    assert torch.allclose(cosines, torch.ones(3, dtype=torch.float64))
    z = coordinates(found, y)
    assert torch.allclose(covariance(z), torch.eye(3, dtype=torch.float64), atol=1e-10)
    assert z.mean(dim=0).abs().max() < 1e-10


def test_canonical_directions_against_the_covariances_closed_form():
    a = normals(3, 1) @ MIX
    b = a[:, :2] + normals(2, 2) * torch.tensor([0.5, 3.0])
    found, other = canonical_directions(a, b)
    ab = torch.cov(torch.cat([a, b], dim=1).double().mT, correction=0)
    saa, sab, sbb = ab[:3, :3], ab[:3, 3:], ab[3:, 3:]
    squares = torch.linalg.eigvals(torch.linalg.solve(saa, sab @ torch.linalg.solve(sbb, sab.mT))).real
    assert torch.allclose(found.strength, squares.sort(descending=True).values[:2].sqrt(), atol=1e-8)
    z = coordinates(found, a)
    assert torch.allclose(covariance(z), torch.eye(2, dtype=torch.float64), atol=1e-10)
    between = z.mT @ coordinates(other, b) / N
    assert torch.allclose(between, torch.diag(found.strength), atol=1e-10)
    # The correlation of a coordinate with its best linear predictor from b is its canonical correlation.
    fitted = (b - b.mean(0)).double()
    fitted = fitted @ torch.linalg.lstsq(fitted, z).solution
    r2 = 1 - (z - fitted).square().sum(0) / z.square().sum(0)
    assert torch.allclose(r2.sqrt(), found.strength, atol=1e-8)


def test_the_worlds_style_has_the_correlation_of_its_noise():
    """s and s + eps, eps ~ N(0, sigma^2): 1 / sqrt(1 + sigma^2). Four standard errors of a correlation of N samples."""
    model = LatentVariableModel(style_change_std=0.5, condition_ratio=0.5, condition_draws=100)
    batch = model.draw(torch.Generator().manual_seed(0)).sample(N, torch.Generator().manual_seed(1))
    expected = 1 / 1.25**0.5
    found = canonical_directions(batch.factors["style.x1"], batch.factors["style.x2"])[0].strength
    assert abs(float(found.mean()) - expected) < 4 * (1 - expected**2) / N**0.5


def samples(seed, keep):
    """Two modalities that share content and, in noise, style; ``keep`` makes the encodings."""
    content = normals(3, seed) @ MIX
    style = normals(2, seed + 1) * torch.tensor([3.0, 1.0])
    factors = {"content": content, "style.x1": style, "style.x2": style + normals(2, seed + 2)}
    return Representations({view: keep(content, factors[f"style.{view}"]) for view in ("x1", "x2")}, factors)


def score(keep, n=600):
    evaluator = DirectionRidge(n_fit=n, n_test=n, gammas=[0.01], alphas=[1e-3])

    def part(seed):
        whole = samples(seed, keep)
        return Representations(
            {k: v[:n] for k, v in whole.z.items()}, {k: v[:n] for k, v in whole.factors.items()}
        )

    rows = evaluator.evaluate(part(10), part(20), ("content",))
    return {(r.metric, r.target, r.representation): r for r in rows}


def test_an_encoding_scores_high_on_the_directions_that_it_holds_and_on_no_other():
    axis = principal_directions(samples(10, lambda c, s: c).factors["content"]).maps[:, :1].float()
    rows = score(lambda c, s: torch.cat([c @ axis, s[:, :1]], dim=1))
    for view in ("x1", "x2"):
        assert rows["r2", "content_pc1", view].value > 0.98
        assert max(rows["r2", f"content_pc{i}", view].value for i in (2, 3)) < 0.05
        assert (
            rows["r2", f"style_cc1.{view}", view].value > 0.95
        )  # the first direction is nearly the first component
        assert rows["r2", f"style_cc2.{view}", view].value < 0.1
        assert rows["r2", "content_pc1", view].ceiling > 0.98
        assert rows["r2", f"style_cc1.{view}", view].ceiling < 0.05
    # 3^2 and 1 of style against noise of 1: the correlations are the square roots of 9/10 and 1/2.
    assert rows["canonical_correlation", "style_cc1.x1", "x1"].value == pytest.approx(0.9**0.5, abs=0.03)
    assert rows["canonical_correlation", "style_cc2.x1", "x1"].value == pytest.approx(0.5**0.5, abs=0.1)
    assert [rows["variance", f"content_pc{i}", "all"].value for i in (1, 2, 3)] == sorted(
        (rows["variance", f"content_pc{i}", "all"].value for i in (1, 2, 3)), reverse=True
    )


def test_discrete_factors_and_a_component_without_spread_have_no_directions():
    z = {"x1": normals(2, 3, 100)}
    discrete = Representations(z, {"content": torch.randint(3, (100, 2))})
    evaluator = DirectionRidge(n_fit=100, n_test=100)
    assert evaluator.evaluate(discrete, discrete, ("content",)) == []
    flat = torch.cat([normals(1, 4, 100), torch.full((100, 1), 2.0)], dim=1)
    rows = evaluator.evaluate(*[Representations(z, {"content": flat})] * 2, ("content",))
    assert {row.target for row in rows} == {"content_pc1"}
