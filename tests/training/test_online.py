"""The online score watches: it changes nothing in what is trained."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmcl.training.callbacks import OnlineR2Conf, OnlineRetrievalConf
from mmcl.training.context import Context
from mmcl.worlds import Batch, FactorRole, VectorTrifeature


class Pairs:
    """A world of given pairs, whose held-out ones are marked by their place."""

    calibration = 8
    views = {"x": 4}  # noqa: RUF012
    roles = {"content": FactorRole("content")}  # noqa: RUF012

    def __init__(self, place=0.0):
        self.place = place

    def part(self, name):
        assert name in ("validation", "test")
        return Pairs(place=100.0)

    def check_size(self, part, n):
        pass

    def state_dict(self):
        return {}

    def sample(self, n, generator, intervention=None):
        x = torch.randn(n, 4, generator=generator) + self.place
        return Batch({"x": x}, {"content": x[:, :2]})


def test_batch_statistics_and_modes_stay_and_held_out_samples_are_scored(monkeypatch):
    callback = OnlineR2Conf("content", 64, 1).build(Context(Path(), Pairs(), 0))
    assert callback.samples["content_r2"].views["x"].mean() > 50
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


class Numbered:
    """Pairs whose views agree in training, and in a half of the held-out ones."""

    calibration = 8
    ahead = 1
    roles = {}  # noqa: RUF012

    def __init__(self, wrong=0):
        self.wrong = wrong

    def part(self, name):
        return Numbered(wrong=10 if name == "test" else 20)

    def check_size(self, part, n):
        pass

    def take(self, seed, first, n):
        assert first == 0
        return self.sample(n, None)

    @property
    def views(self):
        return {"a": 20, "b": 20}

    def state_dict(self):
        return {}

    def sample(self, n, generator, intervention=None):
        x = torch.eye(n)
        # Of the first ones the partner is the second most similar.
        y = x.clone()
        y[: self.wrong] = x[: self.wrong].roll(1, dims=0) + 0.1 * x[: self.wrong]
        return Batch({"a": x, "b": y}, {})


def test_recalls_of_test_and_training_samples_are_logged():
    callback = OnlineRetrievalConf(20, [1, 2], "inner_product", 1).build(Context(Path(), Numbered(), 0))
    logged = {}
    module = SimpleNamespace(
        encoders=Named(nn.Identity()).train(),
        cast=lambda views: views,
        log=lambda name, value, **more: logged.update({name: value}),
    )
    trainer = SimpleNamespace(global_step=1, is_global_zero=True, loggers=[])
    callback.on_train_batch_end(trainer, module, {}, [None], 0)
    assert logged == {
        f"{part}_{way}_recall_at_{k}": 0.5 if (part, k) == ("test", 1) else 1.0
        for part in ("test", "train")
        for way in ("a_to_b", "b_to_a")
        for k in (1, 2)
    }
    with pytest.raises(ValueError, match=r"ks=\[21\]: must be from 1 to n_test = 20"):
        OnlineRetrievalConf(20, [21])
