"""The stacked Muon against torch's own, and against the polar factor that both approximate."""

import pytest
import torch
from torch import nn

from mmcl.training.muon import StackedMuon, orthogonalised

COEFFICIENTS = (3.4445, -4.775, 2.0315)
SHAPES = [(32, 32)] * 4 + [(16, 32)] * 2 + [(32, 9)] * 3


def matrices(seed=0):
    g = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=g) / 8) for shape in SHAPES]


def give_gradients(parameters, step, scale=1.0):
    g = torch.Generator().manual_seed(1000 + step)
    for p in parameters:
        p.grad = scale * torch.randn(p.shape, generator=g).to(p.dtype)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("nesterov", [True, False])
def test_it_takes_torchs_steps(nesterov, weight_decay):
    ours, theirs = matrices(), matrices()
    start = [p.detach().clone() for p in ours]
    options = {"lr": 0.02, "weight_decay": weight_decay, "nesterov": nesterov}
    one = StackedMuon(ours, **options, product_dtype=torch.bfloat16)
    two = torch.optim.Muon(theirs, **options)
    for step in range(10):
        for parameters, optimizer in ((ours, one), (theirs, two)):
            give_gradients(parameters, step)
            optimizer.step()
    for p, q, p0 in zip(ours, theirs, start, strict=True):
        # bfloat16 has 8 bits: a different order of summation may move the last one, in every step.
        moved = (q - p0).norm()
        assert moved > 0.1
        assert (p - q).norm() < 0.01 * moved


def test_its_state_is_torchs():
    ours, theirs = matrices(), matrices()
    one, two = StackedMuon(ours, lr=0.02), torch.optim.Muon(theirs, lr=0.02)
    for parameters, optimizer in ((ours, one), (theirs, two)):
        give_gradients(parameters, 0)
        optimizer.step()
    found, expected = one.state_dict(), two.state_dict()
    assert found["param_groups"] == expected["param_groups"]
    torch.testing.assert_close(found["state"], expected["state"])


def test_another_scale_of_the_rate_is_refused():
    with pytest.raises(ValueError, match="adjust_lr_fn='match_rms_adamw'"):
        StackedMuon(matrices(), lr=0.02, adjust_lr_fn="match_rms_adamw")


def test_a_matrix_without_a_gradient_stays():
    parameters = matrices()
    optimizer = StackedMuon(parameters, lr=0.02)
    give_gradients(parameters, 0)
    parameters[1].grad = None
    before = [p.detach().clone() for p in parameters]
    optimizer.step()
    assert [torch.equal(p, b) for p, b in zip(parameters, before, strict=True)] == [
        i == 1 for i in range(len(SHAPES))
    ]


def test_a_step_does_not_depend_on_the_gradients_scale():
    one, two = matrices(), matrices()
    for parameters, scale in ((one, 1.0), (two, 2.0**-20)):
        give_gradients(parameters, 0, scale)
        StackedMuon(parameters, lr=0.02).step()
    for p, q in zip(one, two, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=0.02 * 0.02)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(5, 24, 24), (2, 12, 24), (2, 24, 12)])
def test_singular_values_come_near_one_and_vectors_stay(shape, dtype):
    stack = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    out = orthogonalised(stack.to(dtype), COEFFICIENTS, 5, 1e-7)
    assert out.shape == stack.shape
    assert out.dtype == dtype
    u, s, vt = torch.linalg.svd(stack, full_matrices=False)
    # The iterations leave values in about (0.68, 1.14) when they start above 0.01 of the norm.
    rotated = u.mT @ out.float() @ vt.mT
    large = s > 0.01 * s.flatten(1).norm(dim=1)[:, None]
    values = rotated.diagonal(dim1=1, dim2=2)[large]
    assert values.min() > 0.6
    assert values.max() < 1.25
    off = rotated - torch.diag_embed(rotated.diagonal(dim1=1, dim2=2))
    assert off.abs().max() < 0.1


def test_a_zero_gradient_moves_nothing():
    assert torch.equal(orthogonalised(torch.zeros(2, 4, 4), COEFFICIENTS, 5, 1e-7), torch.zeros(2, 4, 4))


@pytest.mark.parametrize("shape", [(3, 20, 20), (2, 10, 20), (2, 20, 10)])
def test_it_is_the_odd_polynomial_of_the_singular_values(shape):
    stack = torch.randn(shape, generator=torch.Generator().manual_seed(4))
    found = orthogonalised(stack, COEFFICIENTS, 5, 1e-7)
    u, s, vt = torch.linalg.svd(stack.double(), full_matrices=False)
    s = s / s.norm(dim=1, keepdim=True)
    for _ in range(5):
        a, b, c = COEFFICIENTS
        s = a * s + b * s**3 + c * s**5
    torch.testing.assert_close(found.double(), u @ torch.diag_embed(s) @ vt, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-4), (torch.float64, 1e-12)])
def test_on_a_cpu_it_calculates_in_the_parameters_dtype(dtype, error):
    parameters = [p.detach().to(dtype).requires_grad_() for p in matrices()]
    before = [p.detach().clone() for p in parameters]
    give_gradients(parameters, 0)
    StackedMuon(parameters, lr=0.02, weight_decay=0.0).step()
    for p, q in zip(parameters, before, strict=True):
        direction = (q - p.detach())[None] / (0.02 * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)
        # (the momentum has the gradient's direction at the first step)
        assert (direction - orthogonalised(p.grad[None], COEFFICIENTS, 5, 1e-7)).abs().max() < error
