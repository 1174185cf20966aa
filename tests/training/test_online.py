"""The online score watches: it changes nothing in what is trained."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmcl.training.callbacks import OnlineR2, OnlineR2Conf
from mmcl.training.context import Context
from mmcl.worlds import Batch, VectorTrifeature


class Pairs:
    """A world of given pairs, whose held-out ones are marked by their place."""

    calibration = 8
    views = {"x": 4}  # noqa: RUF012
    roles = {}  # noqa: RUF012

    def __init__(self, place=0.0):
        self.place = place

    def part(self, name):
        assert name == "validation"
        return Pairs(place=100.0)

    def check_size(self, part, n):
        pass

    def state_dict(self):
        return {}

    def sample(self, n, generator, intervention=None):
        x = torch.randn(n, 4, generator=generator) + self.place
        return Batch({"x": x}, {"content": x[:, :2]})


def test_batch_statistics_and_modes_stay_and_held_out_samples_are_scored(monkeypatch):
    callback = OnlineR2(Pairs(), 0, "content", 64, 1)
    assert callback.views["x"].mean() > 50
    frozen = nn.BatchNorm1d(4).eval()
    encoders = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), frozen).train()
    frozen.eval()
    before = {name: value.clone() for name, value in encoders.state_dict().items()}
    module = SimpleNamespace(
        encoders=Named(encoders), cast=lambda views: views, log=lambda *args, **more: None
    )
    trainer = SimpleNamespace(global_step=1, is_global_zero=True, loggers=[])
    callback.on_train_batch_end(trainer, module, {}, [None], 0)
    assert all(torch.equal(value, before[name]) for name, value in encoders.state_dict().items())
    assert [layer.training for layer in encoders] == [True, True, False]
    assert encoders.training


class Named(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, views):
        assert not self.training
        return {name: self.net(x) for name, x in views.items()}


def test_a_world_of_classes_has_no_online_score_and_a_factor_that_is_not_there_is_named(tmp_path):
    classes = Context(tmp_path, VectorTrifeature(levels=3, size=9).draw(torch.Generator()), 0)
    assert OnlineR2Conf().build(classes) is None
    assert OnlineR2Conf(factor="shape").build(classes) is None
    with pytest.raises(ValueError, match="factor='size': must be one of"):
        OnlineR2Conf(factor="size").build(classes)
