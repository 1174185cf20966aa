"""The sweeps that ship: their jobs are valid, and the paper's are to its letter."""

import doctest
import math

import pytest

from mmcl.cli import check
from mmcl.config import compose
from mmcl.config.compose import CONF, JOB_PARTS, compose_hydra, compose_one, expand
from mmcl.config.schema import validate_train
from mmcl.encoders import ImageNet, TextNet
from mmcl.losses import Similarity

SWEEPS = sorted(
    str(path.relative_to(CONF / "sweep").with_suffix("")) for path in (CONF / "sweep").rglob("*.yaml")
)
STEPS = {"figure5a": 600_000, "figure5b": 600_000, "figure5c": 3_000_000, "figure8": 3_000_000}
"""Daunhawer et al. (2023), B.2; 300,000 everywhere else (Table 2a)."""


def jobs(sweep):
    return expand([*compose_hydra("train", [f"sweep={sweep}"]).params, f"sweep={sweep}"])


def config(job):
    return validate_train(compose_one("train", job))


@pytest.mark.parametrize("sweep", SWEEPS)
def test_the_first_and_the_last_job_are_valid_and_two_runs(sweep):
    found = jobs(sweep)
    first, last = config(found[0]), config(found[-1])
    assert first.run_key != last.run_key
    assert first.run.name == last.run.name
    assert "/" not in first.run.name or first.run.name.startswith("paper/")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("sweep=comm_digits", "method=comm", "encoder.fusion.blocks=2"), 6),
        (("sweep=perspective_size", "data.n=2000", "encoder.encoding_size=1,2"), 6),
        (("experiment=perspective/digits,perspective/drifters", "evaluator=[retrieval]"), 2),
        (("sweep=comm_digits", "evaluator.probe_mlp=null"), 48),
        (("sweep=comm_digits", "~evaluator.probe_mlp"), 48),
    ],
)
def test_what_an_experiment_of_a_sweep_brings_can_be_overridden(command, expected):
    """The keys are of no config that Hydra composes before there are jobs."""
    found = {found.run_key: job for found, job in check(list(command), multirun=True)}
    assert len(found) == expected
    for job in found.values():
        assert {
            text for text in command if text[0] != "~" and "," not in text and "sweep" not in text
        } <= set(job)


def test_every_group_but_hydras_own_is_of_the_jobs():
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    assert set(JOB_PARTS) == groups - {"experiment", "hydra", "report", "sweep", "trainer"}
    assert doctest.testmod(compose).failed == 0


IMAGES = {
    "paper/figure3": 100_000,
    "paper/figure11": 100_000,
    "paper/figure10a": 60_000,
    "paper/figure10b": 60_000,
}
"""Sweep of images -> steps: Table 2b, and B.2 for Figure 10."""


@pytest.mark.parametrize("sweep", IMAGES)
def test_the_papers_scale_of_images_is_the_papers(sweep):
    found = config(jobs(sweep)[0])
    assert (found.run.batch_size, found.trainer.max_steps) == (256, IMAGES[sweep])
    assert (found.trainer.gradient_clip_val, found.optimizer.lr, found.loss.temperature) == (2.0, 1e-5, 1.0)
    assert found.loss.similarity is Similarity.cosine
    assert (found.encoder.image, found.encoder.text) == (ImageNet.resnet18, TextNet.released)
    assert not found.encoder.shared
    item = sweep.removeprefix("paper/")
    keys = [{o.partition("=")[0] for o in jobs(name)[0]} for name in (item, sweep)]
    assert keys[0] == keys[1]
    # Which pairs depend on each other is the same at both scales.
    folders = [config(jobs(name)[0]).data.folder for name in (item, sweep)]
    assert len({folder.endswith("independent") for folder in folders}) == 1


COMM = ("paper/comm_trifeature", "paper/comm_trifeature_supervised")


@pytest.mark.parametrize("sweep", COMM)
def test_the_papers_scale_of_comm_is_the_papers(sweep):
    """Dufumier et al. (2025): 100 epochs of 10,000 pairs in batches of 64; two AlexNets, a width of 512."""
    found = config(jobs(sweep)[0])
    assert (found.run.batch_size, found.trainer.max_steps) == (64, 15_700)
    assert (found.optimizer.lr, found.optimizer.weight_decay) == (3e-4, 1e-4)
    assert (found.trainer.gradient_clip_val, found.trainer.precision.name) == (None, "fp32")
    assert {found.optimizer.schedule.factor(t, 15_700) for t in (0, 10, 7_000, 15_699)} == {1.0}
    assert (found.data.size, found.data.renders, found.data.held_out) == (224, 3, 0.2)
    assert (found.encoder.encoding_size, found.encoder.backbone.net.value) == (512, "alexnet")
    if "supervised" not in sweep:
        assert list(found.encoder.head.widths) == [512, 512, 256]
    laptop, paper = ([set(job) for job in jobs(name)] for name in (sweep.removeprefix("paper/"), sweep))
    assert [{o for o in job if "experiment" not in o and "sweep" not in o} for job in laptop] == [
        {o for o in job if "experiment" not in o and "sweep" not in o} for job in paper
    ]


PERSPECTIVE = ("paper/perspective_digits", "paper/perspective_drifters")


def test_the_papers_scale_of_the_perspective_is_the_papers():
    """Baptista et al. (2025), Sections 6.2 and 6.3: 300 epochs of 60,000 digits, 20 of 32,268 flows."""
    digits, drifters = (config(jobs(sweep)[0]) for sweep in PERSPECTIVE)
    assert (digits.run.batch_size, digits.optimizer.lr, digits.data.held_out) == (512, 1e-4, 0.0)
    assert digits.trainer.max_steps == math.ceil(300 * 60_000 / 512)
    assert (drifters.run.batch_size, drifters.optimizer.lr, drifters.data.n) == (128, 1e-4, 32_268)
    assert drifters.trainer.max_steps == math.ceil(20 * 32_268 / 128)
    world, path = drifters.data.world, drifters.encoder.views["path"]
    assert (world.modes, world.duration, world.steps, world.positions) == (49, 0.1, 10_000, 1000)
    assert (path.blocks, path.every, path.differences, drifters.encoder.encoding_size) == (12, 1, 0, 98)


@pytest.mark.parametrize(
    "sweep", [s for s in SWEEPS if s.startswith("paper/") and s not in (*IMAGES, *COMM, *PERSPECTIVE)]
)
def test_the_papers_scale_is_the_papers(sweep):
    item = sweep.removeprefix("paper/")
    found = config(jobs(sweep)[0])
    assert found.run.batch_size == 6144
    assert found.trainer.max_steps == STEPS.get(item, 300_000)
    assert (found.trainer.gradient_clip_val, found.optimizer.lr) == (2.0, 1e-4)
    assert found.encoder.widths == [10, 50, 50, 50, 50, 10]
    assert found.loss.norm_penalty == 0
    assert found.run.evaluation.n_fit == 20480
    # What varies at the paper's scale varies at the laptop's, in the same world.
    keys = [{o.partition("=")[0] for o in jobs(name)[0]} for name in (item, sweep)]
    assert keys[0] == keys[1]
    assert found.resolved["data"].keys() == config(jobs(item)[0]).resolved["data"].keys()


def test_table_1_is_two_settings_of_five_rows_and_encoders_are_shared_where_the_mixing_is():
    rows = set()
    for job in jobs("table1"):
        data = config(job).data
        assert config(job).encoder.shared is data.shared_mixing
        assert data.modality_specific_sizes == ([0, 0] if data.shared_mixing else [5, 5])
        rows.add((data.shared_mixing, data.style_change_prob, data.statistical, data.causal))
    dependence = [(1.0, False, False), *((0.75, s, c) for s in (False, True) for c in (False, True))]
    assert rows == {(shared, *row) for shared in (False, True) for row in dependence}
