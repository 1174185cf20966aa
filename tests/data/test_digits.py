"""Pictures of digits and their labels as two modalities."""

import struct

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from mmcl.data import Digits, DigitSet
from mmcl.errors import UserError
from mmcl.worlds import CountedWorld


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(images):
    return {row.tobytes() for row in images.numpy()}


def test_views_are_a_picture_and_its_one_hot_label():
    pixels, labels = load_digits(return_X_y=True)
    known = {tuple(np.round(x * 255 / 16).astype(int)): int(y) for x, y in zip(pixels, labels, strict=True)}
    world = Digits().draw(generator())
    assert world.views == {"image": 64, "label": 10}
    batch = world.sample(200, generator(1))
    assert (batch.views["image"].shape, batch.views["image"].dtype) == ((200, 1, 8, 8), torch.uint8)
    digits = batch.factors["digit"][:, 0]
    assert [known[tuple(x)] for x in batch.views["image"].flatten(1).tolist()] == digits.tolist()
    assert torch.equal(batch.views["label"], torch.eye(10)[digits])
    assert world.roles["digit"].role == "content"


def test_the_parts_are_different_pictures_and_all_of_them():
    world = Digits().draw(generator())
    assert isinstance(world, CountedWorld)
    sizes = {part: world.size(part) for part in ("validation", "test")}
    assert (len(world), sizes) == (1294, {"validation": 144, "test": 359})
    seen = [rows(world.take(0, 0, len(world)).views["image"])]
    seen += [rows(world.part(part).sample(n, generator()).views["image"]) for part, n in sizes.items()]
    assert len(set.union(*seen)) == sum(map(len, seen)) == len(rows(torch.from_numpy(load_digits().data)))
    test = world.part("test").sample(359, generator()).factors["digit"][:, 0]
    assert torch.bincount(test).tolist() == [
        round(0.2 * n) for n in np.bincount(load_digits().target).tolist()
    ]


def test_without_a_share_held_out_all_are_trained_on_and_serve_for_fitting():
    world = Digits(held_out=0.0).draw(generator())
    assert len(world) == world.size("validation") == 1438
    assert world.size("test") == 359


def test_a_world_is_held_to_its_pictures():
    config = Digits()
    state = config.draw(generator()).state_dict()
    assert len(config.restore(state)) == 1294
    with pytest.raises(ValueError, match="its split train is not the one"):
        Digits(held_out=0.2).restore(state)


def write_mnist(folder, train=30, test=20):
    """Files as MNIST's, of random pictures."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    made = {}
    for name, n in (("train", train), ("t10k", test)):
        images = random.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(
            struct.pack(">4i", 2051, n, 28, 28) + images.tobytes()
        )
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, n) + labels.tobytes())
        made[name] = images, labels
    return made


def test_mnists_files_are_read(tmp_path):
    made = write_mnist(tmp_path)
    world = Digits(DigitSet.mnist, str(tmp_path), held_out=0.0).draw(generator())
    assert (len(world), world.size("test"), world.views["image"]) == (30, 20, 784)
    batch = world.part("test").sample(20, generator())
    images, labels = made["t10k"]
    pairs = {(x.tobytes(), int(y)) for x, y in zip(images, labels, strict=True)}
    ours = zip(batch.views["image"][:, 0].numpy(), batch.factors["digit"][:, 0].tolist(), strict=True)
    assert {(x.tobytes(), y) for x, y in ours} == pairs


def test_what_is_not_mnist_is_refused_in_one_line(tmp_path):
    with pytest.raises(
        UserError, match=r"train-images-idx3-ubyte: missing; .* data\.download=true; data\.source=bundled"
    ):
        Digits(DigitSet.mnist, str(tmp_path)).draw(generator())
    write_mnist(tmp_path)
    raw = tmp_path / "MNIST" / "raw"
    labels = raw / "t10k-labels-idx1-ubyte"
    whole = labels.read_bytes()
    labels.write_bytes(struct.pack(">2i", 2049, 19) + whole[8:-1])
    with pytest.raises(UserError, match=r"20 images and 19 labels"):
        Digits(DigitSet.mnist, str(tmp_path)).draw(generator())
    labels.write_bytes(whole[:-1] + bytes([25]))
    with pytest.raises(UserError, match="a label is 25, must be 0 to 9"):
        Digits(DigitSet.mnist, str(tmp_path)).draw(generator())
    labels.write_bytes(whole)
    images = raw / "train-images-idx3-ubyte"
    for broken in (images.read_bytes()[:-500], b"no digits", b""):
        images.write_bytes(broken)
        with pytest.raises(UserError, match=r"MNIST's files cannot be read .*remove this folder"):
            Digits(DigitSet.mnist, str(tmp_path)).draw(generator())
    with pytest.raises(ValueError, match=r"held_out=1\.0: must be in \[0, 1\)"):
        Digits(held_out=1.0)
