"""The mixing functions are invertible, well conditioned, and drawn as documented."""

from __future__ import annotations

import pytest
import torch

from mmcl.worlds import InvertibleMLP, condition_threshold, draw_mixing


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("dim", "layers", "slope"), [(15, 3, 0.2), (10, 1, 0.2), (4, 6, 0.5), (1, 3, 1.0)])
def test_inverse_is_exact(dim: int, layers: int, slope: float) -> None:
    mixing = draw_mixing(dim, seeded(), layers, slope, condition_ratio=0.05, condition_draws=400)
    z = torch.randn(200, dim, dtype=torch.float64, generator=seeded(1))
    assert (mixing.inverse(mixing(z)) - z).abs().max() < 1e-9
    assert (mixing(mixing.inverse(z)) - z).abs().max() < 1e-9


def test_inverse_keeps_the_dtype() -> None:
    mixing = draw_mixing(5, seeded(), condition_ratio=0.05, condition_draws=400)
    z = torch.randn(100, 5, generator=seeded(1))
    assert mixing(z).dtype == mixing.inverse(mixing(z)).dtype == torch.float32
    assert (mixing.inverse(mixing(z)) - z).abs().max() < 1e-4


def test_forward_is_the_formula_row_by_row() -> None:
    mixing = draw_mixing(3, seeded(), layers=3, slope=0.2, condition_ratio=0.1, condition_draws=200)
    z = torch.randn(4, 3, dtype=torch.float64, generator=seeded(1))
    for row, x in zip(z, mixing(z), strict=True):
        for index, weight in enumerate(mixing.weights):
            row = weight @ row
            if index < 2:
                row = torch.tensor([v if v > 0 else 0.2 * v for v in row.tolist()], dtype=torch.float64)
        assert torch.allclose(row, x, atol=1e-12)


def test_columns_have_unit_length_and_condition_numbers_meet_the_threshold() -> None:
    threshold = condition_threshold(8, seeded(), condition_ratio=0.02, condition_draws=1000)
    mixing = draw_mixing(8, seeded(1), layers=5, threshold=threshold)
    lengths = mixing.weights.square().sum(dim=1).sqrt()
    assert torch.allclose(lengths, torch.ones(5, 8, dtype=torch.float64), atol=1e-12)
    direct = torch.stack([torch.linalg.cond(weight) for weight in mixing.weights])
    assert torch.allclose(mixing.condition_numbers(), direct)
    assert bool((direct <= threshold).all())
    assert len(set(direct.tolist())) == 5  # five draws, not one


def test_threshold_is_the_stated_quantile() -> None:
    # On independent draws a share of `ratio` lies below the threshold. Both it and the check's share are
    # noisy: five standard errors of their sum, an error rate below 1e-6.
    ratio, draws = 0.1, 4000
    threshold = condition_threshold(5, seeded(), ratio, draws)
    matrices = 2 * torch.rand(draws, 5, 5, dtype=torch.float64, generator=seeded(9)) - 1
    numbers = torch.linalg.cond(matrices / matrices.square().sum(dim=1, keepdim=True).sqrt())
    share = float((numbers <= threshold).double().mean())
    assert abs(share - ratio) < 5 * (2 * ratio * (1 - ratio) / draws) ** 0.5
    tighter = condition_threshold(5, seeded(), ratio / 10, draws)
    assert 1 <= tighter < threshold


def test_a_passed_threshold_spares_its_draws_and_is_what_would_have_been_used() -> None:
    generator = seeded()
    threshold = condition_threshold(6, generator, 0.05, 300)
    passed = draw_mixing(6, generator, threshold=threshold)
    whole = draw_mixing(6, seeded(), condition_ratio=0.05, condition_draws=300)
    assert torch.equal(passed.weights, whole.weights)


def test_a_threshold_that_nothing_meets_is_refused() -> None:
    with pytest.raises(ValueError, match=r"threshold=1\.0: only 0 of 3 layers"):
        draw_mixing(6, seeded(), threshold=1.0, max_draws=2000)


def test_bad_arguments_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="dim=0"):
        draw_mixing(0, seeded())
    with pytest.raises(ValueError, match="layers=0"):
        draw_mixing(3, seeded(), layers=0)
    with pytest.raises(ValueError, match=r"slope=0\.0"):
        draw_mixing(3, seeded(), slope=0.0)
    with pytest.raises(ValueError, match="condition_ratio=2"):
        condition_threshold(3, seeded(), condition_ratio=2)
    with pytest.raises(ValueError, match="condition_draws=0"):
        condition_threshold(3, seeded(), condition_draws=0)
    with pytest.raises(ValueError, match=r"weights\.shape"):
        InvertibleMLP(torch.zeros(3, 2, 4))
