"""Every YAML that ships composes, validates, and says all its keys."""

import dataclasses
import math

import pytest
from omegaconf import OmegaConf

from mmcl.config.compose import CONF, compose_one
from mmcl.config.schema import MANY, OPTIONAL, SINGLE, validate_train
from mmcl.config.targets import resolve_target
from mmcl.errors import UserError
from mmcl.records.keys import run_key


def override(group, path):
    """What chooses a file of ``group``: ``data=numerical``, or of a group within it ``data/dependence=causal``."""
    choice = path.relative_to(CONF / group).with_suffix("")
    if group == "encoder" and choice.parent.name:  # a part of encoder=multimodal
        return f"{group}/{choice.parent}={choice.name}"
    if path.read_text().startswith(f"# @package {group}\n"):
        return f"{group}/{choice.parent}={choice.name}"
    return f"{group}=[{choice}]" if group in MANY else f"{group}={choice}"


CHOICES = [
    (group, override(group, path))
    for group in (*SINGLE, *OPTIONAL, *MANY, "experiment", "method")
    for path in sorted((CONF / group).rglob("*.yaml"))
]
# What an objective of augmented draws asks for beside it.
DRAWS = ("augmentation=vectors", "evaluator=[linear]")


def beside(choice):
    """What a choice needs beside it to be a run."""
    if choice.startswith("encoder/"):
        return ("encoder=multimodal", "encoder.head.shared=false")
    if choice.startswith("method="):
        return ("experiment=comm/trifeature",)
    if choice.startswith("experiment=multibench/tuned/"):
        return ("start_from=runs/multibench/some/0123456789",)
    if choice == "evaluator=[gaussian_model]":
        return ("encoder=linear",)
    return DRAWS if choice.startswith("loss=") else ()


@pytest.mark.parametrize("choice", [choice for _, choice in CHOICES])
def test_every_choice_composes_and_validates(choice):
    others = beside(choice)
    config = validate_train(compose_one("train", [*others, choice]))
    assert config.resolved
    assert validate_train(config.resolved).resolved == config.resolved


@pytest.mark.parametrize("experiment", [choice for group, choice in CHOICES if group == "experiment"])
def test_an_experiment_takes_other_evaluators_than_its_own(experiment):
    config = validate_train(compose_one("train", [experiment, *beside(experiment), "evaluator=[linear]"]))
    assert list(config.evaluator) == ["linear"]


@pytest.mark.parametrize(("group", "choice"), [c for c in CHOICES if c[0] not in ("experiment", "method")])
def test_every_yaml_shows_all_keys_of_its_class(group, choice):
    node = compose_one("train", [*beside(choice), choice])[group]
    if choice.startswith("encoder/"):
        node = node[choice.partition("/")[2].partition("=")[0]]
    nodes = list(node.values()) if group in MANY else [node]
    for n in nodes:
        shown = set(n) - {"_target_"}
        assert shown == {f.name for f in dataclasses.fields(resolve_target(n["_target_"], group))}


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda p: str(p.relative_to(CONF)))
def test_every_defaults_list_says_where_its_own_values_come(path):
    text = OmegaConf.load(path)
    if "defaults" in text:
        assert "_self_" in text["defaults"]
    assert path.read_text().startswith("#"), "begins with a comment that says what it is"


def test_the_resolved_config_holds_every_default_and_is_stable():
    config = validate_train(compose_one("train", ["experiment=smoke"]))
    again = validate_train(config.resolved)
    assert again.resolved == config.resolved
    assert again.run_key == config.run_key
    assert config.resolved["data"]["mixing_slope"] == 0.2
    assert config.resolved["loss"]["similarity"] == "negative_squared_euclidean"


def resolved(*overrides):
    return validate_train(compose_one("train", ["experiment=smoke", *overrides])).resolved


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "batch_size=64",
        "data.causal=true",
        "encoder.bound=2.0",
        "loss=info_nce",
        "trainer.max_steps=7",
    ],
)
def test_what_decides_the_weights_changes_the_run_key(override):
    assert run_key(resolved(override)) != run_key(resolved())


@pytest.mark.parametrize(
    "override",
    [
        "seed=0",
        "trainer.threads=1",
        "trainer.log_every_n_steps=7",
        "evaluator=[linear]",
        "callbacks=[none]",
        "name=other",
        "output=elsewhere",
        "force=true",
    ],
)
def test_what_does_not_decide_them_leaves_it(override):
    assert run_key(resolved(override)) == run_key(resolved())


def test_null_leaves_a_callback_or_an_evaluator_out():
    overrides = ["experiment=smoke", "callbacks.progress=null", "evaluator.kernel_ridge=null"]
    train = validate_train(compose_one("train", overrides))
    assert "progress" not in train.callbacks
    assert "kernel_ridge" not in train.evaluator
    with_them = validate_train(compose_one("train", ["experiment=smoke"]))
    assert train.run_key == with_them.run_key
    assert {"progress"} == with_them.callbacks.keys() - train.callbacks.keys()


def test_rows_of_whole_numbers_are_rows_of_numbers():
    overrides = ["experiment=perspective/gaussian", "data.sizes=[1,1]", "encoder.encoding_size=1"]
    whole, decimal = (
        validate_train(compose_one("train", [*overrides, f"data.covariance={rows}"]))
        for rows in ("[[2,1],[1,2]]", "[[2.0,1.0],[1.0,2.0]]")
    )
    assert whole.run_key == decimal.run_key


def test_what_compares_encodings_is_told_the_losss_similarity():
    """The exponent too, without which p = 2 would be scored, and nothing said."""
    names = ("retrieval", "retrieval_projected", "generation", "zero_shot", "conditional_moments")
    found = resolved(
        "loss.similarity=negative_lp", "loss.lp_exponent=1.5", f"evaluator=[{','.join(names)}]",
        "callbacks=[online_retrieval]",
    )  # fmt: skip
    for node in [*(found["evaluator"][name] for name in names), found["callbacks"]["online_retrieval"]]:
        assert (node["similarity"], node["lp_exponent"]) == ("negative_lp", 1.5)


def test_seed_zero_is_a_seed():
    assert run_key(resolved("seed=0")) != run_key(resolved("seed=1"))


def test_numerical_paper_is_table_2a():
    config = validate_train(compose_one("train", ["experiment=numerical/paper"])).resolved
    assert config["batch_size"] == 6144
    assert config["trainer"]["max_steps"] == 300_000
    assert config["trainer"]["gradient_clip_val"] == 2.0
    assert config["trainer"]["precision"] == "fp32"
    assert config["optimizer"]["_target_"].endswith("Adam")
    assert not config["optimizer"]["decoupled"]
    assert config["optimizer"]["lr"] == 1e-4
    assert config["loss"]["temperature"] == 1.0
    assert config["loss"]["similarity"] == "negative_squared_euclidean"
    assert config["loss"]["weight_second_given_first"] == config["loss"]["weight_first_given_second"] == 1.0
    assert config["encoder"]["widths"] == [10, 50, 50, 50, 50, 10]
    assert config["data"]["condition_ratio"] == 1e-3
    assert config["data"]["mixing_layers"] == 3
    sizes = (
        config["data"]["content_size"],
        config["data"]["style_size"],
        config["data"]["modality_specific_sizes"],
    )
    assert sizes == (5, 5, [5, 5])


# Dufumier et al. (2025): set -> (width, learning rate, steps in batches of 64); 100 epochs, of MM-IMDb 70.
PUBLISHED = {
    "mosi": (40, 1e-3, 2_100),
    "ur_funny": (40, 1e-3, 16_600),
    "ur_funny_three": (40, 1e-4, 16_600),
    "mustard": (40, 1e-3, 700),
    "mimic": (512, 1e-3, 45_400),
    "vision_touch": (128, 1e-3, 183_800),
    "vision_touch_contact": (512, 1e-4, 183_800),
    "vision_touch_contact_two": (512, 1e-3, 183_800),
    "mm_imdb": (768, 1e-4, 17_010),
    "hateful_memes": (768, 1e-4, 12_000),
}
WARM = {"mm_imdb": 10 / 70, "hateful_memes": 10 / 100}


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_of_published_sets_have_the_published_values(name):
    width, rate, steps = PUBLISHED[name]
    found = validate_train(compose_one("train", [f"experiment=multibench/{name}"]))
    optimizer = found.optimizer
    assert (found.run.batch_size, found.trainer.max_steps) == (64, pytest.approx(steps, rel=0.003))
    assert (optimizer.lr, optimizer.weight_decay, optimizer.decoupled) == (rate, 1e-2, True)
    assert (found.encoder.encoding_size, found.encoder.head.widths) == (width, [512, 512, 256])
    assert found.loss.temperature == 0.1
    assert (found.trainer.gradient_clip_val, found.trainer.precision.name) == (None, "fp32")
    # Constant, or a warm-up to the whole rate and a cosine from there on.
    shares = [optimizer.schedule.factor(round(t * steps), steps) for t in (0.0, 0.05, 0.5, 0.9)]
    warm = WARM.get(name)
    if warm is None:
        assert shares == [1.0] * 4
    else:
        cosine = [0.5 * (1 + math.cos(math.pi * (t - warm) / (1 - warm))) for t in (0.5, 0.9)]
        assert shares == pytest.approx([0.0, 0.05 / warm, *cosine], abs=2e-3)
        assert optimizer.schedule.factor(round(warm * steps), steps) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("name", ["mosi", "ur_funny", "mustard", "mimic", "mm_imdb", "vision_touch"])
def test_fine_tuning_must_be_told_what_it_begins_with(name):
    with pytest.raises(
        UserError, match=f"start_from='runs/multibench/{name}/KEY': must be a run's own folder"
    ):
        validate_train(compose_one("train", [f"experiment=multibench/tuned/{name}"]))
