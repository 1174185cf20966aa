import math

import pytest
import torch
from torch import nn

from mmcl.encoders import mlp
from mmcl.training.muon import StackedMuon
from mmcl.training.optimizers import Adam, Decay, Joint, Muon, Schedule, hidden_matrices


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        (Schedule(), 0, 1.0),
        (Schedule(), 99, 1.0),
        (Schedule(warmup=0.1), 0, 0.1),
        (Schedule(warmup=0.1), 4, 0.5),
        (Schedule(warmup=0.1), 50, 1.0),
        (Schedule(decay=Decay.linear, decay_fraction=0.5), 50, 1.0),
        (Schedule(decay=Decay.linear, decay_fraction=0.5), 75, 0.5),
        (Schedule(decay=Decay.linear), 100, 0.0),
        (Schedule(decay=Decay.cosine), 50, 0.5),
        (Schedule(decay=Decay.cosine), 25, 0.5 * (1 + math.cos(math.pi / 4))),
    ],
)
def test_schedule_closed_forms(schedule, step, expected):
    assert schedule.factor(step, 100) == pytest.approx(expected)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.ModuleDict({name: mlp([6, 8, 8, 8, 3], slope=0.01, bound=None) for name in ("a", "b")})


def loss_of(module, step):
    x = torch.randn(16, 6, generator=torch.Generator().manual_seed(step))
    return (module["a"](x) - module["b"](x)).square().mean()


def train(module, optimizer, schedule, steps):
    for step in steps:
        optimizer.zero_grad()
        loss_of(module, step).backward()
        optimizer.step()
        schedule.step()


def test_muon_takes_the_hidden_matrices_of_every_encoder_and_no_others():
    module = network()
    hidden = hidden_matrices(module, all_matrices=False)
    assert [tuple(p.shape) for p in hidden] == [(8, 8)] * 4
    assert len(hidden_matrices(module, all_matrices=True)) == 8
    optimizer, _ = Muon().build(module, 10)
    groups = [[id(p) for p in g["params"]] for g in optimizer.param_groups]
    assert groups[0] == [id(p) for p in hidden]
    assert sorted(groups[0] + groups[1]) == sorted(id(p) for p in module.parameters())


def test_joint_is_its_parts_each_on_its_own():
    one, two = network(), network()
    optimizer, schedule = Muon(schedule=Schedule(warmup=0.5)).build(one, 10)
    train(one, optimizer, schedule, range(10))
    hidden = hidden_matrices(two, all_matrices=False)
    rest = [p for p in two.parameters() if all(p is not h for h in hidden)]
    parts = [
        StackedMuon(hidden, lr=0.02, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=3e-3, weight_decay=0.0),
    ]
    for step in range(10):
        for part, lr in zip(parts, (0.02, 3e-3), strict=True):
            part.param_groups[0]["lr"] = lr * min(1.0, (step + 1) / 5)
            part.zero_grad()
        loss_of(two, step).backward()
        for part in parts:
            part.step()
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize("spec", [Muon(schedule=Schedule(decay=Decay.linear)), Adam(lr=1e-2)])
def test_saved_and_restored_in_the_middle_it_ends_bitwise_the_same(spec, tmp_path):
    whole = network()
    train(whole, *spec.build(whole, 20), range(20))

    half = network()
    optimizer, schedule = spec.build(half, 20)
    train(half, optimizer, schedule, range(9))
    torch.save([half.state_dict(), optimizer.state_dict(), schedule.state_dict()], tmp_path / "state.pt")

    resumed = network(seed=1)
    optimizer, schedule = spec.build(resumed, 20)
    for part, state in zip(
        (resumed, optimizer, schedule), torch.load(tmp_path / "state.pt", weights_only=True), strict=True
    ):
        part.load_state_dict(state)
    train(resumed, optimizer, schedule, range(9, 20))
    for p, q in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_schedule_reaches_every_part_after_loading():
    module = network()
    optimizer, schedule = Muon(schedule=Schedule(warmup=1.0)).build(module, 10)
    optimizer.load_state_dict(optimizer.state_dict())
    loss_of(module, 0).backward()
    optimizer.step()
    schedule.step()
    assert isinstance(optimizer, Joint)
    assert [p.param_groups[0]["lr"] for p in optimizer.parts] == pytest.approx([0.004, 0.0006])


def test_muon_without_hidden_matrices_is_refused():
    with pytest.raises(ValueError, match="hidden weight matrices"):
        Muon().build(nn.Sequential(nn.Linear(3, 3)), 10)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Adam(lr=0), "lr"),
        (lambda: Adam(betas=[0.9]), "betas"),
        (lambda: Adam(eps=-1), "eps"),
        (lambda: Muon(momentum=1), "momentum"),
        (lambda: Muon(adam_lr=math.nan), "adam_lr"),
        (lambda: Muon(weight_decay=-1), "weight_decay"),
        (lambda: Schedule(warmup=2), "schedule.warmup"),
        (lambda: Schedule(decay_fraction=0), "schedule.decay_fraction"),
    ],
)
def test_bad_values_are_refused_by_name(make, name):
    with pytest.raises(ValueError, match=f"^{name}="):
        make()
