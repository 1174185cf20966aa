import numpy as np
import pytest
import torch

from mmcl.archives.generate import Recipe, generate
from mmcl.archives.packed import open_split
from mmcl.data import Archive, BatchStream
from mmcl.rendering.colours import colour_names
from mmcl.worlds import SplitWorld, World, world_hash

SMALL = {"size": 12, "samples": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("archive") / "set"
    assert generate(root, Recipe(pairs={"train": 70, "val": 9, "test": 6}, **SMALL), processes=1)
    return root


@pytest.fixture(scope="module")
def world(folder):
    return Archive(str(folder)).draw(torch.Generator())


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def test_it_is_a_world_with_held_out_parts(world):
    assert isinstance(world, World)
    assert isinstance(world, SplitWorld)
    assert world.views == {"image": 432, "text": world.sample(1, g()).views["text"].shape[1]}


def test_rows_of_views_and_factors_are_of_one_pair(world, folder):
    batch = world.sample(200, g())
    packed = open_split(folder, "train")
    assert batch.views["image"].dtype == torch.uint8
    assert batch.views["text"].dtype == torch.int64
    images = {packed.images["image"][i].tobytes(): i for i in range(70)}
    rows = [images[x.numpy().tobytes()] for x in batch.views["image"]]
    assert len(set(rows)) > 50  # with replacement, all over
    for name, (view, column) in {
        "object_shape": ("image", "object_shape"),
        "object_xpos": ("text", "object_xpos"),
        "object_color.image": ("image", "object_color"),
        "text_phrasing.text": ("text", "text_phrasing"),
        "spotlight_pos.image": ("image", "spotlight_pos"),
    }.items():
        expected = torch.tensor(packed.factors[view][column][rows])
        found = batch.factors[name][:, 0]
        assert found.is_floating_point() == expected.is_floating_point()
        torch.testing.assert_close(found, expected.to(found.dtype))
    words = [[world.vocabulary.words[k] for k in row] for row in batch.views["text"]]
    for row, line in zip(rows[:20], words, strict=False):
        assert "".join(w for w in line if w[0] != "{") == packed.lines[row].replace(" ", "")


def test_factors_have_roles_and_constants_are_left_out(world):
    roles = world.roles
    assert set(roles) == set(world.sample(1, g()).factors)
    assert "object_zpos" not in str(list(roles))
    assert "object_color_index" not in str(list(roles))
    assert {n for n, r in roles.items() if r.role == "content"} == {
        "object_shape",
        "object_xpos",
        "object_ypos",
    }
    assert (roles["object_shape"].classes, roles["text_phrasing.text"].classes) == (7, 5)
    assert (roles["object_color.image"].role, roles["object_color.image"].classes) == ("style", None)
    assert roles["object_color.text"].role == "style"
    assert roles["object_alpharot.image"].modality == "image"


def test_names_that_training_has_not_are_one_class_more(world, folder):
    train, test = (open_split(folder, s).factors["text"]["object_color_name"] for s in ("train", "test"))
    known = np.unique(train)
    found = world.part("test").source.factors["object_color.text"][:, 0].numpy()
    expected = [list(known).index(name) if name in known else len(known) for name in test]
    assert found.tolist() == expected
    assert world.roles["object_color.text"].classes == len(known) + 1
    assert len(known) < len(colour_names())


@pytest.mark.parametrize(("name", "split", "n"), [("validation", "val", 9), ("test", "test", 6)])
def test_a_held_out_part_gives_each_pair_once(world, folder, name, split, n):
    batch = world.part(name).sample(n, g(3))
    images = {x.numpy().tobytes() for x in batch.views["image"]}
    assert images == {x.tobytes() for x in open_split(folder, split).images["image"]}
    assert len(images) == n
    # Words are numbered as in training, and lines are as long.
    assert batch.views["text"].shape == (n, world.views["text"])
    with pytest.raises(
        ValueError, match=rf"n={n + 1}: must be <= {n}, the pairs of {split}: set evaluation\.n_fit"
    ):
        world.part(name).sample(n + 1, g())


def test_a_batch_is_a_function_of_seed_and_step(world):
    one, two = BatchStream(world, 5, 8), BatchStream(world, 5, 8, start=3)
    later = [pair for pair, _ in (group[0] for _, group in zip(range(5), one, strict=False))][3]
    first = next(iter(two))[0][0]
    assert torch.equal(later.views["image"], first.views["image"])
    assert torch.equal(later.views["text"], first.views["text"])
    halves = [next(iter(BatchStream(world, 5, 8, rank=r, ranks=2)))[0][0].views["image"] for r in (0, 1)]
    assert torch.equal(torch.cat(halves), next(iter(BatchStream(world, 5, 8)))[0][0].views["image"])


def test_the_world_is_the_files_and_is_held_to_them(folder, tmp_path):
    config = Archive(str(folder))
    state = config.draw(g()).state_dict()
    assert {name: tuple(x.shape) for name, x in state.items()} == dict.fromkeys(
        ("train", "val", "test"), (32,)
    )
    assert world_hash(config.restore(state).state_dict()) == world_hash(state)
    root = tmp_path / "other"
    assert generate(root, Recipe(pairs={"train": 70, "val": 9, "test": 6}, seed=1, **SMALL), processes=1)
    with pytest.raises(ValueError, match="its split train is not the one that this run was trained with"):
        Archive(str(root)).restore(state)


def test_image_pairs(tmp_path):
    root = tmp_path / "set"
    recipe = Recipe(kind="image_pairs", pairs={"train": 9, "val": 3, "test": 3}, **SMALL)
    assert generate(root, recipe, processes=1)
    world = Archive(str(root)).draw(g())
    assert world.views == {"image1": 432, "image2": 432}
    roles = world.roles
    assert {n for n, r in roles.items() if r.role == "content"} == {
        "object_xpos",
        "object_ypos",
        "object_zpos",
    }
    assert {n for n, r in roles.items() if r.role == "modality_specific"} == {
        "object_alpharot.image1", "object_betarot.image1", "spotlight_pos.image2",
    }  # fmt: skip
    assert all(r.classes is None for r in roles.values())
    batch = world.sample(5, g())
    assert all(x.is_floating_point() and x.shape == (5, 1) for x in batch.factors.values())


def test_values_that_are_none(world):
    with pytest.raises(ValueError, match="text_length=1: must be >= 2"):
        Archive(text_length=1)
    with pytest.raises(ValueError, match="intervention='permute_content'"):
        world.sample(2, g(), intervention="permute_content")
    with pytest.raises(ValueError, match="part='train'"):
        world.part("train")


def test_a_text_length_cuts(folder):
    world = Archive(str(folder), text_length=5).draw(g())
    assert world.sample(3, g()).views["text"].shape == (3, 5)
