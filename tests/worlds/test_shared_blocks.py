"""Blocks that all, some or one of several modalities share: who holds what, and what is drawn from what."""

import math

import pytest
import torch

from mmcl.worlds import SharedBlocks, World

SMALL = {"condition_ratio": 0.2, "condition_draws": 200}


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def world():
    return SharedBlocks(sizes=[1, 2, 3], **SMALL).draw(generator(0))


def test_every_set_of_modalities_has_a_block(world):
    assert isinstance(world, World)
    assert {name: role.role for name, role in world.roles.items()} == {
        "content": "content",
        "shared.x1+x2": "shared",
        "shared.x1+x3": "shared",
        "shared.x2+x3": "shared",
        "modality_specific.x1": "modality_specific",
        "modality_specific.x2": "modality_specific",
        "modality_specific.x3": "modality_specific",
    }
    assert world.views == dict.fromkeys(("x1", "x2", "x3"), 3 + 2 * 2 + 1)
    four = SharedBlocks(sizes=[0, 1, 0, 2], **SMALL)
    assert list(four.blocks) == ["content"] + [
        f"shared.x{i}+x{j}" for i in range(1, 5) for j in range(i + 1, 5)
    ]
    assert four.observation_sizes["x4"] == 2 + 3


def test_a_view_is_the_mixing_of_the_blocks_of_its_modality_and_of_no_other(world):
    batch = world.sample(50, generator(1))
    for view, x in batch.views.items():
        held = [batch.factors[name] for name, (owners, _) in world.model.blocks.items() if view in owners]
        assert torch.allclose(world.mixings[view].inverse(x), torch.cat(held, dim=1), atol=1e-3)


def test_blocks_are_independent_standard_normals(world):
    """Means and correlations within 4.5 / sqrt(N): one of these 90 numbers is beyond with probability 6e-4."""
    n = 20000
    z = torch.cat(list(world.sample(n, generator(2)).factors.values()), dim=1).double()
    assert z.shape[1] == 3 + 3 * 2 + 3
    assert float(z.mean(dim=0).abs().max()) < 4.5 / math.sqrt(n)
    off = torch.corrcoef(z.mT) - torch.eye(12)
    assert float(off.abs().max()) < 4.5 / math.sqrt(n)
    assert torch.allclose(z.var(dim=0), torch.ones(12, dtype=torch.float64), atol=4.5 * math.sqrt(2 / n))


def test_what_is_observed_changes_neither_world_nor_factors(world):
    part = SharedBlocks(sizes=[1, 2, 3], views=["x1", "x3"], **SMALL).draw(generator(0))
    assert list(part.views) == ["x1", "x3"]
    whole, seen = (w.sample(20, generator(3)) for w in (world, part))
    assert list(seen.views) == ["x1", "x3"]
    for name in seen.views:
        assert torch.equal(seen.views[name], whole.views[name])
    assert seen.factors.keys() == whole.factors.keys()
    assert all(torch.equal(seen.factors[k], whole.factors[k]) for k in seen.factors)


def test_a_restored_world_samples_bitwise_and_another_configs_state_is_refused(world):
    again = world.model.restore(world.state_dict())
    a, b = (w.sample(10, generator(4)) for w in (world, again))
    assert all(torch.equal(a.views[k], b.views[k]) for k in a.views)
    with pytest.raises(ValueError, match=r"'mixing.x1' is .* instead of"):
        SharedBlocks(sizes=[2, 2, 3], **SMALL).restore(world.state_dict())
    with pytest.raises(ValueError, match=r"'mixing.x3' is None"):
        world.model.restore({k: v for k, v in world.state_dict().items() if k != "mixing.x3"})


def test_the_intervention_permutes_content_alone(world):
    plain, changed = (world.sample(30, generator(5), how) for how in (None, "permute_content"))
    assert torch.equal(plain.factors["content"], changed.factors["content"])
    moved = changed.factors["content_intervened"]
    assert torch.equal(moved.sort(dim=0).values, plain.factors["content"].sort(dim=0).values)
    assert not torch.equal(moved, plain.factors["content"])
    for view, x in changed.views.items():
        z = world.mixings[view].inverse(x)
        assert torch.allclose(z[:, :3], moved, atol=1e-3)
        assert torch.allclose(z[:, 3:], world.mixings[view].inverse(plain.views[view])[:, 3:], atol=1e-3)
    with pytest.raises(ValueError, match="intervention='swap'"):
        world.sample(30, generator(5), "swap")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sizes": [3]}, r"sizes=\[3\]: must be a list of two or more"),
        ({"sizes": [1, -1, 2]}, "whole numbers >= 0"),
        ({"sizes": [1, 1.5]}, "whole numbers >= 0"),
        ({"sizes": [1, 2, 0]}, "at least 1 in its last entry"),
        ({"views": ["x1"]}, r"views=\['x1'\]: must be two or more"),
        ({"views": ["x2", "x1"]}, "in this order"),
        ({"views": ["x1", "x4"]}, "two or more of x1, x2, x3"),
        ({"mixing_layers": 0}, "mixing_layers=0"),
        ({"condition_ratio": 0.0}, "condition_ratio=0.0"),
    ],
)
def test_bad_values_are_refused_by_field(values, message):
    with pytest.raises(ValueError, match=message):
        SharedBlocks(**values)
