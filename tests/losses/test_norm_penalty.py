import math

import pytest
import torch
from omegaconf import OmegaConf

from mmcl.losses import Contrastive, Reduction, contrastive_loss, mean_squared_norm


def encodings(k=7, d=3):
    g = torch.Generator().manual_seed(0)
    return {n: torch.randn(k, d, generator=g, dtype=torch.float64, requires_grad=True) for n in ("a", "b")}


def test_it_equals_a_loop():
    z = encodings()
    total = sum(x**2 for h in z.values() for row in h.tolist() for x in row)
    assert mean_squared_norm(z).item() == pytest.approx(total / (2 * 7))


@pytest.mark.parametrize(("reduction", "rows"), [(Reduction.mean, 1), (Reduction.sum, 7)])
def test_it_is_added_to_the_loss_with_its_gradient(reduction, rows):
    z = encodings()
    value = Contrastive(norm_penalty=0.3, reduction=reduction).build()(z)
    plain = contrastive_loss(z, reduction=reduction)
    assert value.item() == pytest.approx((plain + 0.3 * rows * mean_squared_norm(z)).item())
    got = torch.autograd.grad(value, list(z.values()))
    expected = torch.autograd.grad(plain, list(z.values()))
    for g, e, h in zip(got, expected, z.values(), strict=True):
        # d/dh of the mean over 7 rows and 2 modalities of ||h||^2 is 2 h / 14
        torch.testing.assert_close(g, e + 0.3 * rows * 2 * h / 14)


def test_the_penalised_objective_is_smallest_at_the_stated_gaussian():
    # Perfectly aligned 1-D Gaussian encodings of scale s: the loss is log E_h' of the kernel plus lambda s^2.
    # At small temperature the kernel is narrow, and KL(N(0, s^2) || N(0, 1 / (2 lambda))) is least at
    # s^2 = 1 / (2 lambda).
    rate, tau = 0.5, 1e-3
    u = torch.special.ndtri((torch.arange(4000, dtype=torch.float64) + 0.5) / 4000)[:, None]
    loss = Contrastive(norm_penalty=rate, temperature=tau).build()
    scales = [0.6, 0.8, 0.9, 1.0, 1.1, 1.25, 1.6]
    values = [loss({"a": s * u, "b": s * u}).item() for s in scales]
    assert scales[values.index(min(values))] == pytest.approx(math.sqrt(1 / (2 * rate)))


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_bad_weights_are_refused(value):
    with pytest.raises(ValueError, match="norm_penalty"):
        Contrastive(norm_penalty=value)


def test_bfloat16_encodings_are_penalised_in_float32():
    z = {"a": torch.full((4, 3), 1.1, dtype=torch.bfloat16), "b": torch.zeros(4, 3, dtype=torch.bfloat16)}
    assert mean_squared_norm(z).dtype is torch.float32
    assert OmegaConf.structured(Contrastive).norm_penalty == 0
