from __future__ import annotations

import math

import pytest
import torch

from mmcl.losses import (
    AlignMaxEnt,
    Entropy,
    Negatives,
    align_max_ent,
    alignment,
    contrastive_pair,
    kernel_entropy,
    nearest_neighbour_entropy,
)
from tests.losses.naive import naive_kernel_entropy


def sample(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("bandwidth", [math.sqrt(0.5), 0.3, 2.0])
@pytest.mark.parametrize("symmetric", [True, False])
def test_relation_to_the_within_loss(symmetric, bandwidth):
    # L = A / tau - H + D/2 log(2 pi bandwidth^2) with tau = 2 bandwidth^2; at tau = 1 that is AlignMaxEnt +
    # constant.
    h1, h2, tau, width = sample(12, 3), sample(12, 3, seed=1), 2 * bandwidth**2, 3
    loss = contrastive_pair(
        h1,
        h2,
        negatives=Negatives.within,
        positive_in_denominator=False,
        temperature=tau,
        weight_second_given_first=1.0 if symmetric else 2.0,
        weight_first_given_second=1.0 if symmetric else 0.0,
    )
    constant = width / 2 * math.log(2 * math.pi * bandwidth**2)
    limit = align_max_ent({"a": h1, "b": h2}, bandwidth=bandwidth, squared=True, symmetric=symmetric)
    torch.testing.assert_close(loss, limit + constant + (1 / tau - 1) * alignment(h1, h2, squared=True))


def test_kernel_entropy_equals_plain_loops():
    h = sample(6, 2).requires_grad_()
    torch.testing.assert_close(kernel_entropy(h, 0.7), naive_kernel_entropy(h, 0.7))
    assert torch.autograd.gradcheck(lambda x: kernel_entropy(x, 0.7), (h,))
    assert torch.autograd.gradcheck(lambda x: nearest_neighbour_entropy(x, 2), (h,))


@pytest.mark.parametrize("bandwidth", [0.3, 0.7])
def test_kernel_entropy_of_a_gaussian_tends_to_its_closed_form(bandwidth):
    # The limit is -E_p log N(h; 0, (1 + b^2) I), a cross entropy. It lies between the entropy of the
    # Gaussian and that of the Gaussian convolved with its kernel, and below the latter by D/2 (1 - 1/(1 +
    # b^2)).
    rows, width = 2000, 2
    variance = 1 + bandwidth**2
    limit = width / 2 * (math.log(2 * math.pi * variance) + 1 / variance)
    convolved = width / 2 * math.log(2 * math.pi * math.e * variance)
    found = kernel_entropy(sample(rows, width), bandwidth).item()
    # Standard error of a mean of rows with Var log p = D/2, and room for the KDE's own noise.
    assert found == pytest.approx(limit, abs=4 * math.sqrt(width / 2 / rows) + 0.03)
    assert found - convolved == pytest.approx(-width / 2 * (1 - 1 / variance), abs=0.12)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_nearest_neighbour_entropy_of_known_densities(width, k):
    rows = 2000
    # 4 standard errors: log p varies by D/2 (Gaussian) or 0 (uniform), log r_i^D by trigamma(k) <= pi^2/6,
    # and neighbours are shared by about two rows; 0.03 D for the edge effect of the uniform cube.
    bound = 4 * math.sqrt(2 * (width / 2 + math.pi**2 / 6) / rows) + 0.03 * width
    gaussian = 2.0 * sample(rows, width)
    truth = width / 2 * math.log(2 * math.pi * math.e * 4.0)
    assert nearest_neighbour_entropy(gaussian, k).item() == pytest.approx(truth, abs=bound)
    uniform = 3.0 * torch.rand(rows, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert nearest_neighbour_entropy(uniform, k).item() == pytest.approx(width * math.log(3.0), abs=bound)


def test_entropies_do_not_move_with_translation_and_grow_with_scale():
    h = sample(50, 3)
    for entropy in (kernel_entropy, nearest_neighbour_entropy):
        torch.testing.assert_close(entropy(h + 5.0), entropy(h))
        assert entropy(3 * h) > entropy(h)
    torch.testing.assert_close(
        nearest_neighbour_entropy(3 * h), nearest_neighbour_entropy(h) + 3 * math.log(3.0)
    )


def test_alignment_by_hand():
    h1, h2 = torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[3.0, 4.0], [1.0, 1.0]])
    assert alignment(h1, h2).item() == 2.5
    assert alignment(h1, h2, squared=True).item() == 12.5


@pytest.mark.parametrize("entropy", Entropy)
@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize(
    "rows", [torch.ones(5, 2), torch.zeros(5, 2), 1e4 * torch.arange(10.0).reshape(5, 2)]
)
def test_extreme_rows_are_finite_in_value_and_gradient(rows, squared, entropy):
    z = {"a": rows.clone().requires_grad_(), "b": rows.clone().requires_grad_()}
    loss = align_max_ent(z, entropy=entropy, squared=squared)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(h.grad).all() for h in z.values())


@pytest.mark.parametrize("entropy", Entropy)
def test_bfloat16_and_autocast_still_compute_in_float32(entropy):
    z = {"a": sample(16, 4).bfloat16(), "b": sample(16, 4, seed=1).bfloat16()}
    truth = align_max_ent({name: h.float() for name, h in z.items()}, entropy=entropy)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = align_max_ent(z, entropy=entropy)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, truth)


@pytest.mark.parametrize("symmetric", [True, False])
def test_three_modalities_are_the_mean_of_their_pairs(symmetric):
    z = {name: sample(6, 2, seed=i) for i, name in enumerate("abc")}
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    expected = sum(align_max_ent({n: z[n] for n in pair}, symmetric=symmetric) for pair in pairs) / 3
    torch.testing.assert_close(align_max_ent(z, symmetric=symmetric), expected)


def test_the_module_is_the_function():
    spec = AlignMaxEnt(entropy=Entropy.nearest_neighbour, neighbours=2, squared=True)
    z = {"a": sample(6, 2), "b": sample(6, 2, seed=1)}
    loss = spec.build()
    assert not loss.needs_fresh_batch
    expected = align_max_ent(z, entropy=Entropy.nearest_neighbour, neighbours=2, squared=True)
    torch.testing.assert_close(loss(z, None), expected)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("entropy", "typo"),
        ("bandwidth", 0.0),
        ("bandwidth", math.nan),
        ("neighbours", 0),
        ("neighbours", 1.5),
    ],
)
def test_bad_config_values_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"^{field}="):
        AlignMaxEnt(**{field: value})


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="at least 2 rows, got 1"):
        kernel_entropy(sample(1, 2))
    with pytest.raises(ValueError, match="at least 4 rows, got 3"):
        nearest_neighbour_entropy(sample(3, 2), 3)
    with pytest.raises(ValueError, match="2-D"):
        kernel_entropy(sample(3))
    with pytest.raises(ValueError, match="at least 2 modalities"):
        align_max_ent({"a": sample(3, 2)})
