"""Encoding a batch in parts: the whole batch's gradient, without its activations."""

import pytest
import torch
from torch import nn

from mmcl.losses import Contrastive, Negatives
from mmcl.training.module import check_rows_are_independent, encode


class Both(nn.Module):
    """Two encoders on a dict of views."""

    def __init__(self, *middle):
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(6, 64), *middle, nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 3)
                )
                for name in ("a", "b")
            }
        ).double()

    def forward(self, views, wanted=None):
        return {name: self.parts[name](x) for name, x in views.items()}


def views_of(seed, rows=50):
    g = torch.Generator().manual_seed(seed)
    return {name: torch.randn(rows, 6, generator=g, dtype=torch.float64) for name in ("a", "b")}


def gradients(encoders, loss):
    return torch.autograd.grad(loss, list(encoders.parameters()))


@pytest.mark.parametrize("negatives", Negatives)
@pytest.mark.parametrize("rows", [1, 16, 25, 50, 1000, None])
def test_the_gradient_is_the_whole_batchs(rows, negatives):
    encoders, objective = Both(), Contrastive(negatives=negatives, temperature=0.5).build()
    views, fresh = views_of(1), views_of(2)

    def loss(n):
        return objective(encode(encoders, views, n), encode(encoders, fresh, n))

    torch.testing.assert_close(loss(rows), loss(None), rtol=1e-12, atol=1e-12)
    for g, w in zip(gradients(encoders, loss(rows)), gradients(encoders, loss(None)), strict=True):
        torch.testing.assert_close(g, w, rtol=1e-10, atol=1e-13)


def test_a_random_layer_draws_the_same_in_both_passes():
    encoders, objective = Both(nn.Dropout(0.5)), Contrastive().build()
    views = views_of(1)
    torch.manual_seed(7)
    got = gradients(encoders, objective(encode(encoders, views, 20)))
    torch.manual_seed(7)
    parts = [encoders({name: x[i : i + 20] for name, x in views.items()}) for i in (0, 20, 40)]
    want = gradients(encoders, objective({name: torch.cat([p[name] for p in parts]) for name in views}))
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-10, atol=1e-13)


def test_activations_are_not_kept():
    encoders = Both()
    kept = {}
    for rows in (None, 10):
        sizes = []

        def pack(x, sizes=sizes):
            sizes.append(x.numel() if x.grad_fn is not None else 0)
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            z = encode(encoders, views_of(1, 200), rows)
        kept[rows] = sum(sizes)
        assert z["a"].shape == (200, 3)
    assert kept[None] >= 2 * 200 * 64
    assert kept[10] <= 200 * 3 * 2


def test_batch_statistics_are_refused_unless_frozen():
    encoders = Both(nn.BatchNorm1d(64))
    with pytest.raises(ValueError, match=r"^trainer.encode_rows=8: parts\.a\.1 \(BatchNorm1d\)"):
        check_rows_are_independent(encoders, 8)
    check_rows_are_independent(encoders.eval(), 8)
    check_rows_are_independent(Both(nn.LayerNorm(64)), 8)


def test_under_autocast_the_parts_do_not_add_up_their_gradients_in_bfloat16():
    torch.manual_seed(0)
    encoders, objective = Both().float(), Contrastive().build()
    views = {name: x.float() for name, x in views_of(1, 512).items()}
    exact = gradients(encoders, objective(encode(encoders, views, None)))
    errors = {}
    for rows in (None, 8):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = objective(encode(encoders, views, rows))
        found = gradients(encoders, loss)
        errors[rows] = sum(float((f - e).square().sum()) for f, e in zip(found, exact, strict=True)) ** 0.5
    assert 0 < errors[8] < 1.3 * errors[None]
