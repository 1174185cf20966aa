"""FactorCL against loops over its formula, and what each term may move."""

from __future__ import annotations

import math

import pytest
import torch

from mmcl.losses import FactorCL, factor_cl
from mmcl.losses.factor_cl import BLOCKS, Critic, club_bound, info_nce_bound

K, D = 6, 10


def encodings(seed=0):
    random = torch.Generator().manual_seed(seed)
    names = ("image", "text", "image@1", "text@1")
    return {n: torch.randn(K, D, generator=random, dtype=torch.float64, requires_grad=True) for n in names}


def build(seed=0):
    torch.manual_seed(seed)
    return FactorCL(D, hidden=7).build().double()


def critic_by_loops(critic, a, b):
    """The MLP on the concatenation of every pair."""
    weight = torch.cat([critic.of_a.weight, critic.of_b.weight], dim=1)
    scores = torch.empty(len(a), len(b), dtype=a.dtype)
    for i in range(len(a)):
        for j in range(len(b)):
            hidden = torch.relu(weight @ torch.cat([a[i], b[j]]) + critic.of_a.bias)
            scores[i, j] = critic.out.weight[0] @ hidden + critic.out.bias[0]
    return scores


def nce(scores):
    rows = [
        scores[i, i] - math.log(sum(math.exp(scores[i, j]) for j in range(len(scores))) / len(scores))
        for i in range(len(scores))
    ]
    return sum(rows) / len(rows)


def club(scores):
    n = len(scores)
    return (
        sum(scores[i, i] for i in range(n)) / n - sum(scores[i, j] for i in range(n) for j in range(n)) / n**2
    )


def test_the_loss_by_loops():
    loss, z = build(), encodings()
    x = {n: {b: h.detach()[:, 2 * k : 2 * k + 2] for k, b in enumerate(BLOCKS)} for n, h in z.items()}

    def pair(block):
        return x["image"][block], x["text"][block]

    def given(block):
        return tuple(torch.cat([x[n][block], x[f"{n}@1"][block]], dim=1) for n in ("image", "text"))

    with torch.no_grad():
        expected = -nce(critic_by_loops(loss.lower["shared"], *pair("shared")))
        expected -= nce(critic_by_loops(loss.lower["unique1"], x["image"]["unique"], x["image@1"]["unique"]))
        expected -= nce(critic_by_loops(loss.lower["unique2"], x["text"]["unique"], x["text@1"]["unique"]))
        expected -= nce(critic_by_loops(loss.lower["given"], *given("unique_given")))
        for name, inputs in (
            ("shared_not_given", given("shared_not_given")),
            ("unique_not", pair("unique_not")),
        ):
            scores = critic_by_loops(loss.upper[name], *inputs)
            expected += club(scores) - nce(scores)
    assert loss(z).item() == pytest.approx(float(expected), abs=1e-10)


@pytest.mark.parametrize("rows", [1, 4, K])
def test_a_critic_in_parts_has_the_gradient_of_the_whole(rows, monkeypatch):
    monkeypatch.setattr(factor_cl, "_rows", lambda _: rows)
    torch.manual_seed(0)
    critic = Critic(2, 7).double()
    random = torch.Generator().manual_seed(1)
    a, b = (torch.randn(n, 2, generator=random, dtype=torch.float64, requires_grad=True) for n in (K, 9))
    weights = torch.randn(K, 9, generator=random, dtype=torch.float64)
    ours, whole = critic(a, b), critic_by_loops(critic, a, b)
    torch.testing.assert_close(ours, whole)
    inputs = [a, b, *critic.parameters()]
    found = [torch.autograd.grad((scores * weights).sum(), inputs) for scores in (ours, whole)]
    torch.testing.assert_close(*found)


def test_bounds_of_scores():
    scores = torch.randn(K, K, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert info_nce_bound(scores).item() == pytest.approx(float(nce(scores)))
    assert club_bound(scores).item() == pytest.approx(float(club(scores)))
    assert info_nce_bound(1e4 * torch.eye(K)).item() == pytest.approx(math.log(K), rel=1e-6)
    critic = Critic(2, 7).double()
    a, b = torch.randn(2, K, 2, dtype=torch.float64)
    torch.testing.assert_close(critic(a, b), critic_by_loops(critic, a, b))


def test_an_upper_bound_moves_encodings_down_and_its_critic_towards_its_own_bound():
    """The encodings' gradient is that of the upper bound alone, the critic's that of minus its lower bound alone."""
    loss = build()
    critic = loss.upper["unique_not"]
    a, b = (torch.randn(K, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    value = loss._upper("unique_not", a, b)
    found = torch.autograd.grad(value, [a, b, *critic.parameters()])
    bound = torch.autograd.grad(club_bound(critic(a, b)), [a, b])
    own = torch.autograd.grad(-info_nce_bound(critic(a, b)), list(critic.parameters()))
    torch.testing.assert_close(found, (*bound, *own))


def test_a_block_moves_by_its_own_term_alone():
    """Of each block some gradient arrives; the condition's draw is used by the three conditional or unique terms."""
    loss, z = build(), encodings()
    gradients = dict(zip(z, torch.autograd.grad(loss(z), list(z.values())), strict=True))
    used = {n: [bool(part.abs().max() > 0) for part in g.chunk(5, dim=1)] for n, g in gradients.items()}
    assert used["image"] == used["text"] == [True] * 5
    assert used["image@1"] == used["text@1"] == [False, True, True, True, False]


def test_what_cannot_be():
    with pytest.raises(ValueError, match="encoding_size=12: must be a multiple of 5"):
        FactorCL(12)
    with pytest.raises(ValueError, match="hidden=0"):
        FactorCL(hidden=0)
    loss = build()
    assert loss.wanted(("a", "b", "a+b")) == {0: ("a", "b"), 1: ("a", "b")}
    with pytest.raises(ValueError, match="must be two for FactorCL"):
        loss.wanted(("a", "b", "c", "a+b+c"))
    with pytest.raises(ValueError, match="encoding_size=10: must be the encoders', 4"):
        loss({n: h[:, :4] for n, h in encodings().items()})
