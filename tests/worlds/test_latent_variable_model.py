"""The latent variable world has the law it states, and none of the faults of its ancestors."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
import torch
from torch import Tensor

from mmcl.worlds import (
    Batch,
    ClassValues,
    LatentVariableModel,
    LatentVariableWorld,
    Process,
    World,
    world_hash,
)

# A bound of 5.5 standard errors: by chance, an entry fails with probability 4e-8, so that any of the entries
# that this file looks at (some hundreds) fails with probability below 1e-4. Seeds are fixed.
SIGMAS = 5.5
N = 40_000


def model(**fields: Any) -> LatentVariableModel:
    """A model whose mixing is cheap to draw."""
    return LatentVariableModel(**{"condition_ratio": 0.2, "condition_draws": 50, **fields})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def world(seed: int = 0, **fields: Any) -> LatentVariableWorld:
    return model(**fields).draw(seeded(seed))


def assert_covariance(sample: Tensor, expected: Tensor) -> None:
    """Zero mean and this covariance, for Gaussian samples (n, k)."""
    x = sample.double()
    n = len(x)
    variances = expected.diagonal()
    mean_errors = x.mean(0) / (variances / n).sqrt()
    standard_errors = ((expected.square() + variances[:, None] * variances[None, :]) / n).sqrt()
    errors = (x.mT @ x / n - expected) / standard_errors
    assert mean_errors.abs().max() < SIGMAS
    assert errors.abs().max() < SIGMAS


def assert_same(a: Batch, b: Batch) -> None:
    assert a.views.keys() == b.views.keys()
    assert a.factors.keys() == b.factors.keys()
    assert all(torch.equal(a.views[name], b.views[name]) for name in a.views)
    assert all(torch.equal(a.factors[name], b.factors[name]) for name in a.factors)


def eye(size: int, scale: float = 1.0) -> Tensor:
    return scale * torch.eye(size, dtype=torch.float64)


# --- shapes and names ---------------------------------------------------------------------------------------


def test_default_world_is_the_papers() -> None:
    defaults = LatentVariableModel()
    assert (defaults.condition_ratio, defaults.condition_draws, defaults.mixing_slope) == (1e-3, 25_000, 0.2)
    drawn = world()
    assert isinstance(drawn, World)
    assert drawn.views == {"x1": 15, "x2": 15}
    batch = drawn.sample(7, seeded(1))
    assert {name: tuple(view.shape) for name, view in batch.views.items()} == {"x1": (7, 15), "x2": (7, 15)}
    names = ["content", "style.x1", "style.x2", "modality_specific.x1", "modality_specific.x2"]
    assert list(batch.factors) == list(drawn.roles) == names
    tensors = [*batch.views.values(), *batch.factors.values()]
    assert all(t.dtype == torch.float32 and bool(t.isfinite().all()) for t in tensors)
    role = drawn.roles["style.x2"]
    assert (role.role, role.modality, role.classes) == ("style", "x2", None)
    assert drawn.roles["content"].modality is None


def test_empty_blocks_are_absent() -> None:
    drawn = world(style_size=0, modality_specific_sizes=[0, 3], statistical=True)
    batch = drawn.sample(4, seeded())
    assert drawn.views == {"x1": 5, "x2": 8}
    assert list(batch.factors) == list(drawn.roles) == ["content", "modality_specific.x2"]
    assert list(drawn.covariances) == ["content", "modality_specific.x2"]


def test_three_modalities_carry_independent_perturbations() -> None:
    drawn = world(modality_specific_sizes=[1, 2, 0], content_size=2, style_size=2)
    assert drawn.views == {"x1": 5, "x2": 6, "x3": 4}
    factors = drawn.sample(N, seeded(1)).factors
    changes = [factors[f"style.{view}"] - factors["style.x1"] for view in ("x2", "x3")]
    assert_covariance(torch.cat(changes, dim=1), eye(4))


# --- the law of the blocks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("statistical", [False, True])
def test_every_block_has_its_covariance_and_std_is_respected(statistical: bool) -> None:
    # Unequal sizes and scales, so that no block can pass with another's covariance (late-binding closure),
    # and none with its std ignored where a covariance is given.
    stds = {"content": 0.5, "style": 2.0, "modality_specific": 3.0, "style_change": 0.25}
    drawn = world(
        content_size=3,
        style_size=4,
        modality_specific_sizes=[2, 5],
        statistical=statistical,
        **{f"{block}_std": std for block, std in stds.items()},
    )
    state = drawn.state_dict()
    sizes = {
        "content": 3,
        "style": 4,
        "style_change": 4,
        "modality_specific.x1": 2,
        "modality_specific.x2": 5,
    }
    factors = drawn.sample(N, seeded(1)).factors
    samples = {
        "content": factors["content"],
        "style": factors["style.x1"],
        "style_change": factors["style.x2"] - factors["style.x1"],
        "modality_specific.x1": factors["modality_specific.x1"],
        "modality_specific.x2": factors["modality_specific.x2"],
    }
    for block, size in sizes.items():
        factor = state[f"cholesky.{block}"] if statistical else eye(size)
        expected = stds[block.split(".")[0]] ** 2 * factor @ factor.mT
        assert torch.allclose(drawn.covariances[block], expected)
        assert_covariance(samples[block], expected)


def test_blocks_are_mutually_independent() -> None:
    drawn = world(content_size=2, style_size=2, modality_specific_sizes=[2, 2], style_change_prob=1.0)
    factors = drawn.sample(N, seeded(1)).factors
    factors["style.x2"] = factors["style.x2"] - factors["style.x1"]
    assert_covariance(torch.cat(list(factors.values()), dim=1), eye(10))


def test_content_does_not_use_the_covariance_of_style() -> None:
    drawn = world(content_size=4, style_size=4, statistical=True)
    sample = drawn.sample(N, seeded(1)).factors["content"]
    assert_covariance(sample, drawn.covariances["content"])
    with pytest.raises(AssertionError):
        assert_covariance(sample, drawn.covariances["style"])


@pytest.mark.parametrize("tied", [False, True])
def test_covariances_differ_unless_tied(tied: bool) -> None:
    drawn = world(statistical=True, tied_covariances=tied, modality_specific_sizes=[5, 5])
    covariances = list(drawn.covariances.values())
    assert len(covariances) == 5
    for i, a in enumerate(covariances):
        for b in covariances[i + 1 :]:
            assert torch.equal(a, b) == tied
    assert covariances[0].abs().triu(1).max() > 0.1  # dependence within the block


def test_tied_covariances_of_other_sizes_are_their_own() -> None:
    drawn = world(statistical=True, tied_covariances=True, content_size=3, modality_specific_sizes=[3, 4])
    covariances = drawn.covariances
    assert torch.equal(covariances["content"], covariances["modality_specific.x1"])
    assert torch.equal(covariances["style"], covariances["style_change"])
    assert covariances["modality_specific.x2"].shape == (4, 4)


# --- causal dependence --------------------------------------------------------------------------------------


@pytest.mark.parametrize("statistical", [False, True])
def test_regression_of_style_on_content_recovers_the_causal_map(statistical: bool) -> None:
    drawn = world(causal=True, content_size=3, style_size=4, statistical=statistical, style_std=0.7)
    factors = drawn.sample(N, seeded(1)).factors
    design = torch.cat([torch.ones(N, 1), factors["content"]], dim=1).double()
    style = factors["style.x1"].double()
    inverse = torch.linalg.inv(design.mT @ design)
    estimate = inverse @ design.mT @ style
    state = drawn.state_dict()
    truth = torch.cat([state["causal.offset"][:, None], state["causal.weight"]], dim=1).mT
    variances = drawn.covariances["style"].diagonal()
    errors = (estimate - truth) / (inverse.diagonal()[:, None] * variances[None, :]).sqrt()
    assert errors.abs().max() < SIGMAS
    assert_covariance(style - design @ truth, drawn.covariances["style"])


def test_causal_map_is_standard_normal_and_absent_otherwise() -> None:
    state = world(causal=True, content_size=60, style_size=60, modality_specific_sizes=[0, 0]).state_dict()
    entries = torch.cat([state["causal.offset"], state["causal.weight"].flatten()])
    assert abs(float(entries.mean())) < SIGMAS / len(entries) ** 0.5
    assert abs(float(entries.var()) - 1) < SIGMAS * (2 / len(entries)) ** 0.5
    assert not [name for name in world().state_dict() if name.startswith("causal")]


def test_one_seed_shares_what_settings_have_in_common() -> None:
    plain, causal = world(), world(causal=True)
    both = world(causal=True, statistical=True)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, both.state_dict()[name])
    for name, tensor in causal.state_dict().items():
        assert torch.equal(tensor, both.state_dict()[name])
    correlated = world(statistical=True).state_dict()
    assert all(torch.equal(tensor, both.state_dict()[name]) for name, tensor in correlated.items())


# --- style changes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prob", [0.0, 0.3, 1.0])
def test_each_style_dimension_changes_with_its_probability(prob: float) -> None:
    factors = world(style_change_prob=prob, statistical=True).sample(N, seeded(1)).factors
    changed = (factors["style.x1"] != factors["style.x2"]).double()
    bound = SIGMAS * (prob * (1 - prob) / N) ** 0.5 + 1e-3 * (prob == 1)  # a tiny noise can be rounded away
    assert (changed.mean(0) - prob).abs().max() <= bound
    if prob == 0.3:  # independently for each dimension
        correlations = torch.corrcoef(changed.mT) - torch.eye(5)
        assert correlations.abs().max() < SIGMAS / N**0.5


def test_probability_moves_no_other_draw() -> None:
    few, many = (world(style_change_prob=p).sample(100, seeded(1)).factors for p in (0.2, 0.7))
    for name in few.keys() - {"style.x2"}:
        assert torch.equal(few[name], many[name])
    changed = few["style.x2"] != few["style.x1"]
    assert torch.equal(few["style.x2"][changed], many["style.x2"][changed])


def test_symmetric_process_perturbs_both_modalities() -> None:
    asymmetric = world(style_size=2).sample(N, seeded(1)).factors
    symmetric = world(style_size=2, process=Process.symmetric).sample(N, seeded(1)).factors
    # s_1 = s and s_2 = s + e_2, against s_i = s + e_i, with all noises N(0, I).
    one, two = eye(2), eye(2, 2.0)
    styles = torch.cat([asymmetric["style.x1"], asymmetric["style.x2"]], dim=1)
    assert_covariance(styles, torch.cat([torch.cat([one, one], 1), torch.cat([one, two], 1)]))
    styles = torch.cat([symmetric["style.x1"], symmetric["style.x2"]], dim=1)
    assert_covariance(styles, torch.cat([torch.cat([two, one], 1), torch.cat([one, two], 1)]))


# --- discrete factors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", ["content", "style", "modality_specific"])
def test_classes_are_uniform_and_independent(block: str) -> None:
    classes = 3
    drawn = world(
        **{f"{block}_classes": classes, f"{block}_size": 2}
        if block != "modality_specific"
        else {"modality_specific_classes": classes, "modality_specific_sizes": [2, 2]}
    )
    factors = drawn.sample(N, seeded(1)).factors
    discrete = {name: f for name, f in factors.items() if name.startswith(block)}
    assert discrete
    assert all(f.dtype == torch.float32 for name, f in factors.items() if name not in discrete)
    for name, factor in discrete.items():
        assert factor.dtype == torch.int64
        assert drawn.roles[name].classes == classes
        pairs = torch.bincount(factor[:, 0] * classes + factor[:, 1], minlength=classes**2) / N
        share = 1 / classes**2
        assert len(pairs) == classes**2
        assert (pairs - share).abs().max() < SIGMAS * (share * (1 - share) / N) ** 0.5


@pytest.mark.parametrize("process", list(Process))
def test_discrete_style_changes_with_its_probability(process: Process) -> None:
    classes, prob = 4, 0.6
    drawn = world(style_classes=classes, style_change_prob=prob, process=process)
    factors = drawn.sample(N, seeded(1)).factors
    redrawn = prob if process is Process.asymmetric else 1 - (1 - prob) ** 2
    rate = redrawn * (1 - 1 / classes)
    changed = (factors["style.x1"] != factors["style.x2"]).double().mean(0)
    assert (changed - rate).abs().max() < SIGMAS * (rate * (1 - rate) / N) ** 0.5
    unchanged = (
        world(style_classes=classes, style_change_prob=0.0, process=process).sample(99, seeded(1)).factors
    )
    assert torch.equal(unchanged["style.x1"], unchanged["style.x2"])


@pytest.mark.parametrize("values", list(ClassValues))
def test_classes_enter_the_mixing_as_asked(values: ClassValues) -> None:
    drawn = world(
        content_size=2, content_classes=3, style_size=1, modality_specific_sizes=[1, 2], class_values=values
    )
    batch = drawn.sample(500, seeded(1))
    width = 6 if values is ClassValues.one_hot else 2
    assert drawn.views == {"x1": width + 2, "x2": width + 3}
    content = batch.factors["content"]
    expected = {
        ClassValues.scaled: (content - 1) / (2 / 3) ** 0.5,
        ClassValues.index: content.float(),
        ClassValues.one_hot: torch.nn.functional.one_hot(content, 3).flatten(1).float(),
    }[values]
    for view, mixing in drawn.mixings.items():
        assert torch.allclose(mixing.inverse(batch.views[view])[:, :width], expected, atol=1e-3)


def test_discrete_content_may_cause_style() -> None:
    drawn = world(causal=True, content_size=2, content_classes=3, class_values=ClassValues.one_hot)
    assert drawn.state_dict()["causal.weight"].shape == (5, 6)
    assert drawn.sample(3, seeded()).factors["style.x1"].shape == (3, 5)


# --- mixing and interventions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields", [{}, {"process": Process.symmetric}, {"modality_specific_sizes": [2, 0, 3]}]
)
def test_every_view_inverts_to_its_factors(fields: dict[str, Any]) -> None:
    drawn = world(causal=True, **fields)
    batch = drawn.sample(300, seeded(1))
    recovered = {}
    for view, mixing in drawn.mixings.items():
        parts = [batch.factors[name] for name in ("content", f"style.{view}")]
        parts += [batch.factors[name] for name in (f"modality_specific.{view}",) if name in batch.factors]
        recovered[view] = mixing.inverse(batch.views[view])
        assert torch.allclose(recovered[view], torch.cat(parts, dim=1), atol=2e-3)
    assert torch.allclose(recovered["x1"][:, :5], recovered["x2"][:, :5], atol=2e-3)


def test_shared_mixing_is_one_function_and_distinct_ones_differ() -> None:
    shared = world(shared_mixing=True, modality_specific_sizes=[0, 0], style_change_prob=0.0)
    assert shared.mixings["x1"] is shared.mixings["x2"]
    assert [name for name in shared.state_dict() if name.startswith("mixing")] == ["mixing"]
    views = shared.sample(20, seeded(1)).views
    assert torch.equal(views["x1"], views["x2"])  # the same latents through the same function
    distinct = world(modality_specific_sizes=[0, 0], style_change_prob=0.0)
    assert not torch.equal(distinct.mixings["x1"].weights, distinct.mixings["x2"].weights)
    views = distinct.sample(20, seeded(1)).views
    assert not torch.allclose(views["x1"], views["x2"], atol=0.1)


@pytest.mark.parametrize("classes", [None, 50])
def test_intervention_permutes_content_after_style_was_made(classes: int | None) -> None:
    drawn = world(causal=True, content_classes=classes)
    plain = drawn.sample(200, seeded(1))
    batch = drawn.sample(200, seeded(1), intervention="permute_content")
    original, intervened = batch.factors["content"], batch.factors["content_intervened"]
    assert not torch.equal(original, intervened)
    assert sorted(map(tuple, original.tolist())) == sorted(map(tuple, intervened.tolist()))
    assert all(torch.equal(factor, batch.factors[name]) for name, factor in plain.factors.items())
    for view, mixing in drawn.mixings.items():
        values = mixing.inverse(batch.views[view])
        expected = intervened.float() if classes is None else (intervened - 24.5) / ((50**2 - 1) / 12) ** 0.5
        assert torch.allclose(values[:, :5], expected, atol=2e-3)
        assert torch.allclose(values[:, 5:10], batch.factors[f"style.{view}"], atol=2e-3)


def test_unknown_intervention_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"intervention='flip'.*permute_content"):
        world().sample(4, seeded(), intervention="flip")


# --- a world is its state, a batch its generator ------------------------------------------------------------

SETTINGS: list[dict[str, Any]] = [
    {},
    {"statistical": True, "causal": True, "style_std": 0.3},
    {"statistical": True, "tied_covariances": True, "process": Process.symmetric},
    {"content_classes": 4, "style_classes": 3, "class_values": ClassValues.one_hot},
    {"modality_specific_sizes": [2, 2, 2], "shared_mixing": True},
]


@pytest.mark.parametrize("fields", SETTINGS)
def test_a_restored_world_samples_bitwise_the_same(fields: dict[str, Any]) -> None:
    drawn = world(**fields)
    buffer = io.BytesIO()
    torch.save(drawn.state_dict(), buffer)
    buffer.seek(0)
    restored = model(**fields).restore(torch.load(buffer, weights_only=True))
    assert world_hash(restored.state_dict()) == world_hash(drawn.state_dict())
    for intervention in (None, "permute_content"):
        assert_same(drawn.sample(64, seeded(5), intervention), restored.sample(64, seeded(5), intervention))


@pytest.mark.parametrize("fields", SETTINGS)
def test_nothing_but_the_generator_decides(fields: dict[str, Any]) -> None:
    drawn, batch = world(3, **fields), world(3, **fields).sample(32, seeded(5))
    torch.manual_seed(123)
    before = torch.get_rng_state()
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            again = world(3, **fields)
            batch_again = again.sample(32, seeded(5))
    finally:
        torch.set_default_dtype(default)
    assert world_hash(again.state_dict()) == world_hash(drawn.state_dict())
    assert_same(batch, batch_again)
    assert torch.equal(before, torch.get_rng_state())
    assert world_hash(world(4, **fields).state_dict()) != world_hash(drawn.state_dict())
    assert not torch.equal(drawn.sample(32, seeded(6)).views["x1"], batch.views["x1"])


def test_state_is_a_copy_and_its_hash_sees_one_value() -> None:
    drawn = world()
    state = drawn.state_dict()
    before = world_hash(state)
    state["mixing.x2"][2, 3, 4] += 1e-9
    assert world_hash(state) != before
    assert world_hash(drawn.state_dict()) == before


def test_a_state_that_does_not_fit_is_refused_by_name() -> None:
    fields: dict[str, Any] = {"statistical": True, "causal": True}
    state = world(**fields).state_dict()
    message = "world file does not fit the config.*"
    without = {name: tensor for name, tensor in state.items() if name != "causal.offset"}
    with pytest.raises(ValueError, match=message + "'causal.offset' is missing"):
        model(**fields).restore(without)
    with pytest.raises(ValueError, match=message + "'causal.weight' is not expected"):
        model(statistical=True).restore(state)
    with pytest.raises(
        ValueError, match=message + r"'cholesky.style' has shape \(5, 5\) instead of \(4, 4\)"
    ):
        model(style_size=4, **fields).restore(state)
    with pytest.raises(ValueError, match=message + "'mixing.x1' has dtype torch.float32"):
        model(**fields).restore({**state, "mixing.x1": state["mixing.x1"].float()})
    with pytest.raises(ValueError, match=message + "'causal.offset' has values that are not finite"):
        model(**fields).restore({**state, "causal.offset": state["causal.offset"] * float("nan")})


# --- what is refused ----------------------------------------------------------------------------------------

BAD: list[tuple[str, dict[str, Any]]] = [
    *(("content_size", {"content_size": value}) for value in (0, -1, 2.0, True)),
    *(("style_size", {"style_size": value}) for value in (-1, 1.5)),
    *(
        ("modality_specific_sizes", {"modality_specific_sizes": value})
        for value in ([], [5], [5, -1], [5, 1.0])
    ),
    *(
        (f"{block}_classes", {f"{block}_classes": value})
        for block in ("content", "style")
        for value in (1, 0, 2.5)
    ),
    ("modality_specific_classes", {"modality_specific_classes": 1}),
    ("class_values", {"class_values": "scaled"}),
    *(
        (f"{block}_std", {f"{block}_std": value})
        for block in ("content", "style", "modality_specific", "style_change")
        for value in (0.0, -1.0, float("nan"), float("inf"))
    ),
    ("content_std", {"content_std": 2.0, "content_classes": 3}),
    ("style_std", {"style_std": 2.0, "style_classes": 3}),
    ("style_change_std", {"style_change_std": 2.0, "style_classes": 3}),
    ("modality_specific_std", {"modality_specific_std": 2.0, "modality_specific_classes": 3}),
    *(("style_change_prob", {"style_change_prob": value}) for value in (-0.1, 1.1, float("nan"))),
    ("process", {"process": "symmetric"}),
    ("tied_covariances", {"tied_covariances": True}),
    (
        "statistical",
        {"statistical": True, "content_classes": 2, "style_classes": 2, "modality_specific_classes": 2},
    ),
    ("causal", {"causal": True, "style_classes": 3}),
    ("causal", {"causal": True, "style_size": 0}),
    ("shared_mixing", {"shared_mixing": True, "modality_specific_sizes": [5, 4]}),
    *(("mixing_layers", {"mixing_layers": value}) for value in (0, 1.5)),
    *(("mixing_slope", {"mixing_slope": value}) for value in (0.0, -0.2, 1.1, float("nan"))),
    *(("condition_ratio", {"condition_ratio": value}) for value in (0.0, 1.1, float("nan"))),
    *(("condition_draws", {"condition_draws": value}) for value in (0, 10.0)),
]


@pytest.mark.parametrize(("name", "fields"), BAD, ids=[f"{name}-{i}" for i, (name, _) in enumerate(BAD)])
def test_bad_values_are_refused_by_name(name: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^{name}=.*: must be "):
        LatentVariableModel(**fields)


@pytest.mark.parametrize("n", [0, -3, 2.0])
def test_bad_sample_sizes_are_refused(n: Any) -> None:
    with pytest.raises(ValueError, match=r"^n=.*: must be a whole number >= 1"):
        world().sample(n, seeded())


def test_the_model_is_a_structured_config() -> None:
    omegaconf = pytest.importorskip("omegaconf")
    node = omegaconf.OmegaConf.structured(LatentVariableModel)
    omegaconf.OmegaConf.set_readonly(node, None)  # frozen dataclasses come out read-only
    merged = omegaconf.OmegaConf.merge(
        node,
        {
            "class_values": "one_hot",
            "process": "symmetric",
            "content_classes": 3,
            "modality_specific_sizes": [1, 2, 3],
        },
    )
    made = omegaconf.OmegaConf.to_object(merged)
    expected = LatentVariableModel(
        class_values=ClassValues.one_hot,
        process=Process.symmetric,
        content_classes=3,
        modality_specific_sizes=[1, 2, 3],
    )
    assert made == expected
    assert type(made.modality_specific_sizes) is list
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.content_size = 2
