"""Every method makes its encoders and its first loss in every experiment that it is for."""

import csv

import pytest
import torch

from mmcl.config.compose import CONF, compose_one
from mmcl.config.schema import validate_train
from mmcl.experiment import make_module, train
from mmcl.random import Stream, generator

METHODS = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
SMALL = {
    "trifeature": ["data.levels=3"],
    "trifeature_images": ["data.levels=3", "data.size=32"],
    "digit_pairs": [],
}
LABEL = {"trifeature": "shape", "trifeature_images": "texture.x1", "digit_pairs": "sum"}


def test_all_experiments_are_here():
    """The paper's scale is in test_paper.py."""
    assert {*SMALL, "trifeature_paper"} == {
        path.stem for path in (CONF / "experiment" / "comm").glob("*.yaml")
    }


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("experiment", SMALL)
def test_a_method_takes_its_first_step(experiment, method):
    told = [f"loss.label={LABEL[experiment]}"] if method in ("sup_con", "supervised") else []
    told += ["loss.outputs=10"] if method == "supervised" else []
    overrides = [f"experiment=comm/{experiment}", f"method={method}", *SMALL[experiment], *told]
    config = validate_train(compose_one("train", overrides))
    assert config.run.method == method
    world = config.data.draw(generator(0, Stream.WORLD))
    module = make_module(config, world)
    loss = module.loss(world.sample(16, generator(0, Stream.TRAIN, 0)), None, 0)
    loss.backward()
    assert torch.isfinite(loss)
    # Several processes would wait for a gradient that never comes.
    assert [name for name, p in module.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("method", "widths"),
    [
        ("comm", {"x1": 32, "x2": 32, "x1+x2": 32}),
        ("full", {"x1+x2": 32}),
        ("cross", {"x1": 32, "x2": 32, "x1+x2": 64}),  # side by side
        ("factor_cl", {"x1": 60, "x2": 60, "x1+x2": 120}),  # no head
    ],
)
def test_what_is_probed_behind_the_heads_is_what_was_compared(method, widths):
    head = [] if method == "factor_cl" else ["encoder.head.widths=[16,32]"]
    overrides = ["experiment=comm/trifeature", f"method={method}", "data.levels=3", *head]
    config = validate_train(compose_one("train", overrides))
    world = config.data.draw(generator(0, Stream.WORLD))
    module = make_module(config, world).eval()
    views = world.sample(16, generator(0, Stream.TRAIN, 0)).views
    with torch.no_grad():
        z = module.encoders(views)
        found = module.projections(z)
    assert {name: h.shape[1] for name, h in found.items()} == widths
    if method == "cross":
        heads = module.encoders.project.heads
        assert torch.equal(found["x1+x2"], torch.cat([heads["x1"](z["x1"]), heads["x2"](z["x2"])], dim=1))


def test_bits_stand_beside_what_the_views_tell(tmp_path):
    """Evaluated where half the pairs are forced to go together: S = h(0.5 + 0.5 / 3), the entropy of 2/3 and 1/3."""
    sizes = [
        "evaluation.n_fit=300",
        "evaluation.n_test=200",
        "trainer.max_steps=1",
        "trainer.steps_per_execution=1",
    ]
    small = ["data.levels=3", "data.evaluation_bias=0.5", "evaluator=[probe_linear]", "callbacks=[]", *sizes]
    overrides = ["experiment=comm/trifeature", *small]
    train(validate_train(compose_one("train", overrides)), tmp_path / "run", overrides)
    with (tmp_path / "run" / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "bits"]
    ceiling = {(row["target"], row["representation"]): float(row["ceiling"]) for row in rows}
    log3, synergy = 1.584962501, 0.918295834
    assert ceiling["shape", "x1"] == ceiling["shape", "x1+x2"] == pytest.approx(log3)
    assert ceiling["texture.x1", "x1"] == pytest.approx(log3)
    assert ceiling["texture.x1", "x2"] == pytest.approx(0.333, abs=0.001)  # what of U1 is R at this bias
    assert ceiling["match", "x1"] == ceiling["match", "x2"] == pytest.approx(0, abs=1e-12)
    assert ceiling["match", "x1+x2"] == pytest.approx(synergy)
