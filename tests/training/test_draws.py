"""A training step on augmented draws: what is encoded, projected and compared, and from which random numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from mmcl.augmentations import Augment, DropAndNoise, ImageAugmentation, Numbers
from mmcl.encoders import Head, Multimodal, Transformer
from mmcl.encoders.backbones import ConvNet, Vector
from mmcl.encoders.norms import Norm
from mmcl.losses import MMD, Contrastive
from mmcl.random import Stream, generator
from mmcl.training.module import ContrastiveModule, Projected
from mmcl.training.optimizers import Adam
from mmcl.worlds import Batch

CONF = Path(__file__).parents[2] / "conf" / "loss"
AUGMENT = Augment(DropAndNoise(0.3, noise=0.3))


def loss(name):
    node = OmegaConf.load(CONF / f"{name}.yaml")
    node.pop("_target_")
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Contrastive), node))


def views(n=12):
    random = torch.Generator().manual_seed(0)
    return {name: torch.randn(n, 5, generator=random) for name in ("x1", "x2")}


def module(name="comm", seed=3, **more):
    encoders = Multimodal(8, Vector([6]), fusion=Transformer(heads=2), head=Head([7, 4])).build(
        views(), torch.Generator().manual_seed(1)
    )
    return ContrastiveModule(
        encoders, loss(name).build(), Adam(), 10, augmentation=AUGMENT, seed=seed, **more
    )


def batch(n=12):
    return Batch(views(n), {})


@pytest.mark.parametrize("name", ["comm", "comm_paper", "cross_self", "simclr", "cmc"])
def test_the_loss_is_that_of_each_draw_encoded_and_projected_by_name(name):
    ours = module(name)
    value = ours.loss(batch(), None, step=5)
    twin = module(name)
    h = {}
    for draw in (0, 1, 2):
        numbers = Numbers(generator(3, Stream.AUGMENTATION, 5, draw), 12, slice(0, 12), torch.device("cpu"))
        seen = AUGMENT(views(), numbers) if draw else views()
        for encoding, z in twin.encoders(seen).items():
            h[f"{encoding}@{draw}" if draw else encoding] = twin.encoders.project({encoding: z})[encoding]
    torch.testing.assert_close(value, twin.objective(h))


def test_an_objective_that_compares_samples_is_given_the_views():
    encoders = Multimodal(8, Vector([6]), fusion=Transformer(heads=2), head=Head([7, 4])).build(
        views(), torch.Generator().manual_seed(1)
    )
    ours = ContrastiveModule(encoders, MMD(temperature=0.5).build(), Adam(), 10)
    z = {
        name: ours.encoders.project({name: h})[name]
        for name, h in ours.encoders(views()).items()
        if "+" not in name
    }
    torch.testing.assert_close(ours.loss(batch(), None), MMD(temperature=0.5).build()(z, views()))


def test_a_batch_is_augmented_as_a_function_of_seed_and_step():
    def value(step, **more):
        return module(**more).loss(batch(), None, step).item()

    values = {(seed, step): value(step, seed=seed) for seed in (3, 4) for step in (0, 1)}
    assert len(set(values.values())) == 4
    assert value(1) == values[3, 1]


def test_global_random_numbers_are_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    module().loss(batch(), None, 0)
    assert torch.equal(torch.rand(1), expected)


def test_fusions_that_no_term_asks_for_are_not_computed_and_draws_are_encoded_together():
    def fusions(name):
        made, ran = module(name), []
        made.encoders.fusion.register_forward_hook(lambda *_: ran.append(1))
        made.loss(batch(), None, 0)
        return len(ran)

    assert {name: fusions(name) for name in ("comm", "comm_full", "simclr", "cmc", "cross_self")} == {
        "comm": 3, "comm_full": 1, "simclr": 2, "cmc": 2, "cross_self": 2,
    }  # fmt: skip


def test_statistics_of_a_batch_are_those_of_one_draw():
    """A backbone with BatchNorm: draws are encoded one after the other."""
    augment = Augment(ImageAugmentation())
    images = {name: torch.randint(0, 256, (6, 3, 16, 16)).float() for name in ("x1", "x2")}
    made, twin = (
        ContrastiveModule(
            Multimodal(
                8, ConvNet([4], norm=Norm.batch), fusion=Transformer(heads=2), head=Head([7, 4])
            ).build(images, torch.Generator().manual_seed(1)),
            loss("comm").build(), Adam(), 10, augmentation=augment, seed=3,
        )
        for _ in range(2)
    )  # fmt: skip
    value = made.loss(Batch(images, {}), None, 5)
    h = {}
    for draw in (1, 2):
        numbers = Numbers(generator(3, Stream.AUGMENTATION, 5, draw), 6, slice(0, 6), torch.device("cpu"))
        for name, z in twin.encoders(augment(images, numbers)).items():
            h[f"{name}@{draw}"] = twin.encoders.project({name: z})[name]
    torch.testing.assert_close(value, twin.objective(h))


def test_encoding_in_parts_is_the_whole():
    """Without BatchNorm, the head among it: the same loss and gradient."""
    found = []
    for rows in (None, 5):
        encoders = Multimodal(
            8, Vector([6]), fusion=Transformer(heads=2), head=Head([4], batch_norm=False)
        ).build(views(), torch.Generator().manual_seed(1))
        made = ContrastiveModule(
            encoders, loss("comm").build(), Adam(), 10, encode_rows=rows, augmentation=AUGMENT, seed=3
        )
        value = made.loss(batch(), None, 0)
        found.append((value, torch.autograd.grad(value, list(encoders.parameters()))))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_without_an_augmentation_draws_are_refused_and_without_draws_it_is_not_asked_for():
    encoders = module().encoders
    bare = ContrastiveModule(encoders, loss("comm").build(), Adam(), 10)
    with pytest.raises(ValueError, match="augmentation=None: the objective compares augmented draws"):
        bare.loss(batch(), None)
    assert torch.isfinite(ContrastiveModule(encoders, loss("cmc").build(), Adam(), 10).loss(batch(), None))


def test_evaluation_projects_before_it_asks_the_objective():
    made = module("cmc").eval()
    z = made.encoders(views())
    assert Projected(made)(z).item() == pytest.approx(made.loss(batch(), None).item(), rel=1e-5)
