import pytest
import torch
from torch import nn

from mmcl.encoders import MLP, Whiten
from mmcl.encoders.mlp import Bound


def views(sizes=(6, 6), n=64, seed=0):
    g = torch.Generator().manual_seed(seed)
    return {f"x{i + 1}": torch.randn(n, d, generator=g) for i, d in enumerate(sizes)}


def build(spec, sample=None, seed=0):
    return spec.build(sample or views(), torch.Generator().manual_seed(seed))


def linears(module):
    return [(m.in_features, m.out_features) for m in module.modules() if isinstance(m, nn.Linear)]


def test_the_papers_encoder_has_seven_layers_that_scale_with_the_observations():
    spec = MLP(widths=[10, 50, 50, 50, 50, 10], widths_times_input=True)
    encoders = build(spec, views((15, 15)))
    assert linears(encoders.encoders["x1"]) == [
        (15, 150), (150, 750), (750, 750), (750, 750), (750, 750), (750, 150), (150, 5)
    ]  # fmt: skip


def test_distinct_encoders_differ_and_a_shared_one_is_stored_once():
    distinct, shared = build(MLP(widths=[8])), build(MLP(widths=[8], shared=True))
    assert len(list(distinct.parameters())) == 2 * len(list(shared.parameters()))
    assert len(shared.state_dict()) == len(list(shared.parameters()))
    x = views()["x1"]
    z = shared({"x1": x, "x2": x})
    assert torch.equal(z["x1"], z["x2"])
    z = distinct({"x1": x, "x2": x})
    assert not torch.equal(z["x1"], z["x2"])


def test_initial_weights_come_from_the_generator_alone():
    torch.manual_seed(1)
    a, state = build(MLP(widths=[8])), torch.random.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(state, torch.random.get_rng_state()), "the global state is left as it was"
    torch.manual_seed(2)
    b = build(MLP(widths=[8]))
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)
    c = build(MLP(widths=[8]), seed=1)
    assert not torch.equal(next(a.parameters()), next(c.parameters()))


def test_bound_keeps_encodings_in_the_box_and_is_the_identity_near_zero():
    h = torch.tensor([[-100.0, 0.0, 0.01, 100.0]], dtype=torch.float64)
    bounded = Bound(3.0)(h)
    assert bounded.abs().max() <= 3
    assert bounded[0, 2].item() == pytest.approx(0.01, rel=1e-4)


def test_whitened_samples_have_identity_covariance():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(500, 4, generator=g) @ torch.randn(4, 4, generator=g) + 7
    y = Whiten(x)(x)
    torch.testing.assert_close(y.mean(dim=0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.cov(y.T), torch.eye(4), atol=1e-4, rtol=0)


def test_directions_that_do_not_vary_are_dropped_not_blown_up():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(500, 3, generator=g)
    x = torch.cat([x, 1 - x[:, :1], torch.ones(500, 1)], dim=1)  # one dependent column, one constant
    y = Whiten(x)(x)
    assert torch.isfinite(y).all()
    assert y.abs().max() < 10
    rank = torch.linalg.matrix_rank(torch.cov(y.double().T), rtol=1e-4)
    assert rank == 3


def test_a_whitening_encoder_is_loaded_with_its_statistics():
    spec = MLP(widths=[8], whiten=True)
    a, b = build(spec), build(spec, views(seed=5), seed=9)
    x = views(seed=7)
    assert not torch.equal(a(x)["x1"], b(x)["x1"])
    b.load_state_dict(a.state_dict())
    assert torch.equal(a(x)["x1"], b(x)["x1"])


def test_shared_encoders_of_unequal_views_are_refused():
    with pytest.raises(ValueError, match=r"encoder\.shared=true.*'x1': 6.*'x2': 5"):
        build(MLP(shared=True), views((6, 5)))


def test_views_that_no_encoder_is_for_are_refused():
    with pytest.raises(ValueError, match="x3"):
        build(MLP())(views((6, 6, 6)))


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"encoding_size": 0}, "encoding_size"),
        ({"widths": [0]}, "widths"),
        ({"slope": 2.0}, "slope"),
        ({"bound": 0.0}, "bound"),
    ],
)
def test_bad_values_are_refused_by_name(values, name):
    with pytest.raises(ValueError, match=f"^{name}="):
        MLP(**values)


def test_whitening_keeps_full_precision_under_autocast():
    """A direction of 1e-3 of the longest one: in bfloat16 (8 bits) it would be lost in the other's rounding."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(4096, 2, generator=g) @ torch.tensor([[1.0, 1.0], [1e-3, -1e-3]])
    whiten = Whiten(x)
    plain = whiten(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(whiten(x), plain)
