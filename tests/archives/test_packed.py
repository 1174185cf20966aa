import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mmcl.archives.generate import Recipe, generate
from mmcl.archives.layout import Kind
from mmcl.archives.packed import open_split
from mmcl.archives.pixels import UNFINISHED, write_images
from mmcl.errors import UserError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made") / "set"
    assert generate(root, Recipe(pairs={"train": 11, "val": 4}, size=12, samples=1), processes=1)
    return root


@pytest.fixture
def archive(made, tmp_path):
    return shutil.copytree(made, tmp_path / "set")


def packed(root):
    return sorted(p.name for p in (root / ".packed").iterdir() if p.suffix != ".lock")


def test_images_lines_and_factors_are_those_of_the_files(archive):
    found = open_split(archive, "train")
    assert (len(found), found.kind) == (11, Kind.image_text)
    images = found.images["image"]
    assert (images.shape, images.dtype, images.flags.writeable) == ((11, 3, 12, 12), np.uint8, False)
    for i in (0, 10):
        with Image.open(archive / f"train/images/{i:02d}.png") as image:
            assert np.array_equal(images[i].transpose(1, 2, 0), np.asarray(image))
    assert found.lines == (archive / "train/text/text_raw.txt").read_text().split("\n")
    image, text = found.factors["image"], found.factors["text"]
    assert np.array_equal(image["object_shape"], text["object_shape"])
    assert image["object_shape"].dtype == text["object_color_index"].dtype == np.int64
    assert image["object_color"].dtype == image["object_zpos"].dtype == np.float64
    assert all(f'"{name}"' in line for name, line in zip(text["object_color_name"], found.lines, strict=True))


def test_it_is_decoded_once_and_again_when_the_files_are_others(archive):
    seen = []
    first = open_split(archive, "val", progress=lambda *a: seen.append(a))
    (name,) = packed(archive)
    before = (archive / ".packed" / name / "image.npy").stat().st_mtime_ns
    again = open_split(archive, "val")
    assert (archive / ".packed" / name / "image.npy").stat().st_mtime_ns == before
    assert again.identity == first.identity
    # Without sums, as published: the same pairs, whenever their files were written.
    (archive / "val/SHA256SUMS").unlink()
    assert open_split(archive, "val").identity == first.identity
    os.utime(archive / "val/images/2.png", ns=(1, 1))
    assert open_split(archive, "val").identity == first.identity
    Image.fromarray(np.zeros((12, 12, 3), np.uint8)).save(archive / "val/images/2.png")
    other = open_split(archive, "val")
    assert other.identity != first.identity
    assert not other.images["image"][2].any()
    assert len(packed(archive)) == 1  # what it held before is forgotten


def test_of_processes_that_start_together_one_decodes_and_the_others_wait(archive):
    (archive / ".packed").mkdir()
    left = archive / ".packed" / f"{UNFINISHED}val-1234-abc"  # of one that was killed
    left.mkdir()
    os.utime(left, (1, 1))
    working = archive / ".packed" / f"{UNFINISHED}val-5678-abc"  # of one on another machine
    working.mkdir()
    code = (
        "import sys; from pathlib import Path; from mmcl.archives.packed import open_split\n"
        "told = []\n"
        f"found = open_split(Path({str(archive)!r}), 'val', progress=lambda *a: told.append(a))\n"
        "print(len(told), found.identity)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = [process.communicate()[0].split() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert sorted(told for told, _ in said) == ["0", "0", "1"]
    assert len({identity for _, identity in said}) == 1
    assert (left.exists(), working.exists()) == (False, True)


def test_a_disk_without_room_is_said_before_it_is_written_to(archive, small_disk):
    cache = small_disk("40k")
    with pytest.raises(OSError, match=r"No space left on device: .*image\.npy"):
        write_images(cache / "image.npy", iter([np.zeros((3, 64, 64), np.uint8)]), 10)
    for i in range(4):
        Image.fromarray(np.zeros((128, 128, 3), np.uint8)).save(archive / f"val/images/{i}.png")
    with pytest.raises(OSError, match="No space left on device"):
        open_split(archive, "val", cache=cache)
    assert [p.suffix for p in cache.iterdir()] == [".lock"]


def test_the_packed_form_may_lie_elsewhere(archive, tmp_path):
    open_split(archive, "train", cache=tmp_path / "cache")
    assert not (archive / ".packed").exists()
    assert len([p for p in (tmp_path / "cache").iterdir() if p.is_dir()]) == 1


def test_image_pairs(tmp_path):
    root = tmp_path / "set"
    assert generate(root, Recipe(kind="image_pairs", pairs={"test": 3}, size=12, samples=1), processes=1)
    found = open_split(root, "test")
    assert {view: images.shape for view, images in found.images.items()} == {
        "image1": (3, 3, 12, 12),
        "image2": (3, 3, 12, 12),
    }
    assert (found.kind, found.lines) == (Kind.image_pairs, [])
    assert (found.factors["image1"]["object_xpos"] == found.factors["image2"]["object_xpos"]).all()


def damage_size(root):
    path = root / "val/images/2.png"
    Image.open(path).resize((9, 12)).save(path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda r: (r / "val/images/2.png").unlink(), r"images/2\.png: missing; mmcl data verify says what else is"),
        (lambda r: (r / "val/images/2.png").write_bytes(b"x"), r"images/2\.png: broken"),
        (damage_size, r"2\.png: 9 x 12, where the first image is 12 x 12"),
        (lambda r: (r / "val/text/text_raw.txt").unlink(), r"text_raw\.txt: missing"),
        (lambda r: (r / "val/text/text_raw.txt").write_bytes(b"\xff\n" * 4), r"text_raw\.txt: no UTF-8 text"),
        (lambda r: (r / "val/text/text_raw.txt").write_text("a\nb"), "have different lengths"),
        (lambda r: (r / "val/latents_text.csv").write_text("a,b\n"), r"latents_text\.csv: has no row"),
        (lambda r: shutil.rmtree(r / "val"), r"val: no split of an archive; .* has train"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_is_left(archive, damage, said):
    damage(archive)
    with pytest.raises(UserError, match=said):
        open_split(archive, "val")
    assert not (archive / ".packed").exists() or packed(archive) == []
