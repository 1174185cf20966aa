import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import trimesh
from PIL import Image

from mmcl.archives.generate import BLOCK, Recipe, generate
from mmcl.archives.layout import Kind, Layout
from mmcl.errors import UserError
from mmcl.rendering import HueMode, describe
from mmcl.rendering.embree import EmbreeRenderer
from mmcl.rendering.meshes import from_folder
from mmcl.rendering.scene import Material, scene_of
from mmcl.rendering.shapes import built_in
from mmcl.rendering.text import SHAPE_WORDS

SMALL = Recipe(pairs={"train": BLOCK + 3, "test": 5}, size=12, samples=1)
PAIRS = Recipe(kind="image_pairs", pairs={"val": 3}, size=12, samples=1, seed=4)


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole") / "set"
    assert generate(root, SMALL, processes=1)
    return root


def test_it_has_the_published_layout(whole):
    found = contents(whole)
    tables = ("latents_image.csv", "latents_text.csv", "text/text_raw.txt", "SHA256SUMS")
    assert set(found) == {
        "manifest.json",
        *(f"{split}/{name}" for split in ("train", "test") for name in tables),
        *(f"train/images/{i:02d}.png" for i in range(BLOCK + 3)),
        *(f"test/images/{i}.png" for i in range(5)),
    }  # fmt: skip
    assert found["test/latents_image.csv"].splitlines()[0].decode() == (
        "object_shape,object_xpos,object_ypos,object_zpos,object_alpharot,object_betarot,object_gammarot,object_color,"
        "spotlight_pos,spotlight_color,background_color"
    )
    assert found["test/latents_text.csv"].splitlines()[0].decode() == (
        "object_shape,object_xpos,object_ypos,object_zpos,object_color_name,object_color_index,text_phrasing"
    )
    assert not found["test/text/text_raw.txt"].endswith(b"\n")


@pytest.mark.parametrize(("pairs", "name"), [(1, "0.png"), (10, "0.png"), (11, "00.png"), (1000, "000.png")])
def test_numbers_are_as_wide_as_the_published_ones(tmp_path, pairs, name):
    assert Layout(Kind.image_text, tmp_path, pairs).image("image", 0).name == name


def test_rows_lines_and_images_are_of_one_pair_and_any_can_be_made_alone(whole):
    with (whole / "train/latents_image.csv").open() as file:
        images = list(csv.DictReader(file))
    with (whole / "train/latents_text.csv").open() as file:
        texts = list(csv.DictReader(file))
    lines = (whole / "train/text/text_raw.txt").read_text().split("\n")
    assert len(images) == len(texts) == len(lines) == BLOCK + 3
    for i in (0, 41, BLOCK + 2):
        row = texts[i]
        shape, xpos, ypos, phrasing = (
            int(row[k]) for k in ("object_shape", "object_xpos", "object_ypos", "text_phrasing")
        )
        assert lines[i] == describe(shape, xpos, ypos, row["object_color_name"], phrasing)
        # The table alone makes the image: floats are written so that they read back exactly.
        scene = scene_of(images[i], continuous=False)
        picture = EmbreeRenderer(built_in(), 12, 1).render(scene)
        assert np.array_equal(np.asarray(Image.open(whole / f"train/images/{i:02d}.png")), picture)


def test_image_pairs_are_rubber_and_metal_of_one_place(tmp_path):
    assert generate(tmp_path / "set", PAIRS, processes=1)
    folder = tmp_path / "set" / "val"
    assert sorted(p.name for p in folder.iterdir()) == [
        "SHA256SUMS", "images1", "images2", "latents_image1.csv", "latents_image2.csv",
    ]  # fmt: skip
    for view, material in (("1", Material.rubber), ("2", Material.metal)):
        with (folder / f"latents_image{view}.csv").open() as file:
            row = list(csv.DictReader(file))[2]
        scene = scene_of(row, continuous=True, material=material, hue_mode=HueMode.original)
        picture = EmbreeRenderer(built_in(), 12, 1).render(scene)
        assert np.array_equal(np.asarray(Image.open(folder / f"images{view}/2.png")), picture)


@pytest.mark.slow
def test_any_number_of_processes_makes_the_same_bytes(whole, tmp_path):
    assert generate(tmp_path / "set", SMALL, processes=2)
    assert contents(tmp_path / "set") == contents(whole)


def test_parts_make_the_whole(whole, tmp_path):
    root, seen = tmp_path / "set", []
    assert not generate(root, SMALL, processes=1, shard=(1, 2), progress=seen.append)
    assert seen == [3]
    assert not (root / "train/SHA256SUMS").exists()
    assert generate(root, SMALL, processes=1, shard=(0, 2), progress=seen.append)
    assert sum(seen) == BLOCK + 8
    assert contents(root) == contents(whole)


def test_it_goes_on_where_it_was_stopped_and_makes_broken_images_again(whole, tmp_path):
    root = tmp_path / "set"
    assert not generate(root, SMALL, processes=1, shard=(0, 3))
    kept = root / "train/images/07.png"
    before = kept.stat().st_mtime_ns
    cut, empty = root / "train/images/03.png", root / "train/images/05.png"
    cut.write_bytes(cut.read_bytes()[:-5])
    empty.write_bytes(b"")
    (root / "train/images/.01.png.123").write_bytes(b"left by a killed process")
    assert generate(root, SMALL, processes=1)
    assert kept.stat().st_mtime_ns == before
    assert contents(root) == contents(whole)


@pytest.mark.slow
def test_a_kill_leaves_no_broken_file_and_no_process(whole, tmp_path):
    root = tmp_path / "set"
    program = (
        "from pathlib import Path; from mmcl.archives.generate import Recipe, generate\n"
        f"if __name__ == '__main__': generate(Path({str(root)!r}), Recipe(**{vars(SMALL)!r}), processes=2)"
    )
    script = tmp_path / "make.py"
    script.write_text(program)
    process = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
    until = time.monotonic() + 60
    while len(list(root.glob("train/images/*.png"))) < 10 and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = list(root.glob("train/images/*.png"))
    assert len(made) >= 10
    group = ["pgrep", "-g", str(process.pid)]
    while (
        subprocess.run(group, capture_output=True, check=False).returncode == 0 and time.monotonic() < until
    ):
        time.sleep(0.05)
    assert subprocess.run(group, capture_output=True, check=False).returncode == 1
    assert generate(root, SMALL, processes=1)
    assert contents(root) == contents(whole)


def test_what_was_removed_broken_or_changed_after_the_sums_is_made_again(whole, tmp_path):
    root = shutil.copytree(whole, tmp_path / "set")
    (root / "train/images/66.png").unlink()
    assert not generate(root, SMALL, processes=1, shard=(0, 2))  # 66 is the other part's
    assert generate(root, SMALL, processes=1, shard=(1, 2))
    (root / "test/latents_text.csv").write_bytes(b"")
    (root / "test/images/2.png").write_bytes(b"")
    assert generate(root, SMALL, processes=1)
    assert contents(root) == contents(whole)


def test_commands_that_begin_at_once_share_a_folder(whole, tmp_path, monkeypatch):
    """One finds what another, or one that was killed, has begun to write; both see no manifest, and one is faster."""
    root = tmp_path / "set"
    root.mkdir()
    (root / ".manifest.json.4711").write_text("{")
    link = os.link

    def later(source, target):
        monkeypatch.undo()
        assert not generate(root, SMALL, processes=1, shard=(1, 2))  # the other is faster
        link(source, target)

    monkeypatch.setattr(os, "link", later)
    assert generate(root, SMALL, processes=1, shard=(0, 2))
    (root / ".manifest.json.4711").unlink()
    assert contents(root) == contents(whole)


def test_of_two_recipes_that_begin_at_once_one_stands(tmp_path, monkeypatch):
    link = os.link

    def later(source, target):
        monkeypatch.undo()
        assert generate(tmp_path / "set", PAIRS, processes=1)
        link(source, target)

    monkeypatch.setattr(os, "link", later)
    with pytest.raises(UserError, match=r"made with recipe\.kind='image_pairs', not 'image_text'"):
        generate(tmp_path / "set", SMALL, processes=1)


def test_the_same_meshes_from_another_place_are_the_same_archive(tmp_path):
    sphere = trimesh.creation.icosphere(1)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for shape in SHAPE_WORDS:
            sphere.export(tmp_path / folder / f"{shape}.obj")
    own = Recipe(**{**vars(PAIRS), "meshes": str(tmp_path / "one")})
    assert generate(tmp_path / "set", own, processes=1)
    assert generate(tmp_path / "set", Recipe(**{**vars(own), "meshes": str(tmp_path / "two")}), processes=1)


@pytest.mark.slow
def test_a_process_that_is_ended_from_outside_is_a_line(tmp_path):
    big = Recipe(**{**vars(SMALL), "pairs": {"train": 4000}})
    program = (
        "from pathlib import Path; from mmcl.archives.generate import Recipe, generate\n"
        "from mmcl.errors import UserError\n"
        "if __name__ == '__main__':\n"
        f"    try: generate(Path({str(tmp_path / 'set')!r}), Recipe(**{vars(big)!r}), processes=2)\n"
        "    except UserError as error: print(error)"
    )
    (tmp_path / "make.py").write_text(program)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "make.py")], start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while len(list(tmp_path.glob("set/train/images/*.png"))) < 10 and time.monotonic() < until:
        time.sleep(0.01)
    found = subprocess.run(
        ["pgrep", "-f", "spawn_main", "-g", str(process.pid)], capture_output=True, text=True, check=True
    )
    os.kill(int(found.stdout.split()[-1]), signal.SIGKILL)
    out, _ = process.communicate(timeout=60)
    assert "a process that renders was ended from outside (out of memory?); the same command goes on" in out


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 1}, r"manifest\.json: made with recipe\.seed=0, not 1; name another folder"),
        ({"size": 16}, r"recipe\.size=12, not 16"),
        ({"pairs": {"train": 9}}, r"recipe\.pairs="),
    ],
)
def test_an_archive_of_another_recipe_is_refused_and_left_alone(whole, changed, named):
    before = contents(whole)
    with pytest.raises(UserError, match=named):
        generate(whole, Recipe(**{**vars(SMALL), **changed}), processes=1)
    assert contents(whole) == before


def test_an_archive_of_before_there_was_another_backend_is_embrees(whole):
    """Its manifest says nothing of a backend; one of Embree's still does not."""
    before = contents(whole)
    assert "backend" not in json.loads(before["manifest.json"])["recipe"]
    assert generate(whole, Recipe(**{**vars(SMALL), "backend": "embree"}), processes=1)
    assert contents(whole) == before


def test_an_archive_of_another_backend_is_refused(whole, tmp_path, monkeypatch):
    monkeypatch.setattr("mmcl.rendering.blender.bpy_version", lambda: "4.2.0")
    blenders = Recipe(**{**vars(SMALL), "backend": "blender"})
    with pytest.raises(UserError, match=r"made with recipe\.backend='embree', not 'blender'"):
        generate(whole, blenders, processes=1)
    root = shutil.copytree(whole, tmp_path / "set")
    manifest = json.loads((root / "manifest.json").read_text())
    manifest["recipe"]["backend"] = "blender"
    (root / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"made with recipe\.backend='blender', not 'embree'"):
        generate(root, SMALL, processes=1)
    with pytest.raises(UserError, match=r"made with versions\.bpy=None, not '4\.2\.0'"):
        generate(root, blenders, processes=1)


def test_a_folder_with_other_files_or_a_damaged_manifest_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match=r"holds files, and no manifest\.json of ours"):
        generate(tmp_path, SMALL, processes=1)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="no JSON"):
        generate(tmp_path, SMALL, processes=1)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(UserError, match="not what mmcl data generate writes"):
        generate(tmp_path, SMALL, processes=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["letter.txt", "manifest.json"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "video"), ("pairs", {}), ("pairs", {"train": 0}), ("pairs", {"dev": 3}), ("size", 4), ("seed", -1),
        ("hue_mode", "blue"), ("samples", 0), ("backend", "povray"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_named(field, value):
    with pytest.raises(ValueError, match="must be"):
        Recipe(**{field: value})


def test_meshes_of_ones_own(tmp_path):
    sphere = trimesh.creation.icosphere(1)
    for shape, ending in zip(SHAPE_WORDS, ("obj", "off", "ply", "stl", "glb", "obj", "ply"), strict=True):
        sphere.export(tmp_path / f"{shape}.{ending}")
    meshes = from_folder(tmp_path)
    assert [len(m.triangles) for m in meshes] == [80] * 7
    own = Recipe(**{**vars(PAIRS), "meshes": str(tmp_path)})
    assert generate(tmp_path / "set", own, processes=1)
    (tmp_path / "cow.stl").write_bytes(b"moo")
    with pytest.raises(ValueError, match=r"cow\.stl: no mesh"):
        from_folder(tmp_path)
    (tmp_path / "cow.stl").unlink()
    with pytest.raises(ValueError, match=r"cow=\[\]: must be one file, cow\.obj"):
        generate(tmp_path / "other", own, processes=1)
    assert not (tmp_path / "other").exists()
