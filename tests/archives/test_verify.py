import hashlib
import re
import shutil
import struct
import zlib

import pytest
from PIL import Image

from mmcl.archives import verify
from mmcl.archives.generate import Recipe, generate
from mmcl.archives.verify import style_law
from mmcl.errors import UserError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made") / "set"
    assert generate(root, Recipe(pairs={"train": 12, "val": 4}, size=12, samples=1), processes=1)
    return root


@pytest.fixture
def archive(made, tmp_path):
    shutil.copytree(made, tmp_path / "set")
    return tmp_path / "set"


def test_a_whole_archive_has_no_fault(archive):
    assert verify(archive) == ({"train": 12, "val": 4}, [])
    # As the published one is: without manifest and sums.
    (archive / "manifest.json").unlink()
    (archive / "train/SHA256SUMS").unlink()
    counts, faults = verify(archive)
    assert counts == {"train": 12, "val": 4}
    # Nothing says any more that it was made without.
    (fault,) = faults
    assert fault.startswith(f"{archive}/test: missing")


@pytest.mark.parametrize(
    ("kind", "names"),
    [("image_text", "object color .* object xpos"), ("image_pairs", "background color .* object zpos")],
)
@pytest.mark.parametrize("causal", [True, False])
def test_which_variant_an_archive_is(tmp_path, kind, names, causal):
    recipe = Recipe(kind=kind, causal=causal, pairs={"train": 40}, size=12, samples=1)
    assert generate(tmp_path / "set", recipe, processes=1)
    law = style_law(tmp_path / "set")
    assert re.match(names.replace(".*", "depends on" if causal else "does not depend on"), law)
    (tmp_path / "set/train/latents_text.csv").unlink(missing_ok=True)
    (tmp_path / "set/train/latents_image2.csv").unlink(missing_ok=True)
    assert style_law(tmp_path / "set") is None


def change(path, old, new):
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def resave(path, **how):
    image = Image.open(path)
    image.load()
    (image.resize(how["size"]) if "size" in how else image.convert(how["mode"])).save(path)


def cut(path):
    path.write_bytes(path.read_bytes()[:60])


def cut_last_row(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def bomb():
    """A PNG of a few bytes that says it has 60,000 x 60,000 pixels."""

    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = part(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + part(b"IDAT", zlib.compress(b"\0" * 1000)) + part(b"IEND", b"")


def reseal(folder):
    text = folder / "text/text_raw.txt"
    before = hashlib.sha256(text.read_bytes()).hexdigest()
    text.write_text(text.read_text() + " indeed")
    change(folder / "SHA256SUMS", before.encode(), hashlib.sha256(text.read_bytes()).hexdigest().encode())


BREAK = {
    "an image is missing": (lambda a: (a / "train/images/03.png").unlink(), "train/images/03.png: missing"),
    "an image is cut": (lambda a: cut(a / "train/images/03.png"), "03.png: broken"),
    "an image is empty": (lambda a: (a / "train/images/03.png").write_bytes(b""), "03.png: broken"),
    "an image is text": (lambda a: (a / "train/images/03.png").write_text("<html>"), "03.png: broken"),
    "an image has another size": (
        lambda a: resave(a / "val/images/2.png", size=(16, 12)),
        "train/images/00.png is 12 x 12",
    ),
    "an image has no colour": (
        lambda a: resave(a / "val/images/2.png", mode="L"),
        "2.png: mode L, must be RGB",
    ),
    "an image too many": (
        lambda a: shutil.copy(a / "val/images/2.png", a / "val/images/9.png"),
        "1 image(s) beyond the last row, such as 9.png",
    ),
    "a line of text is missing": (
        lambda a: change(a / "val/text/text_raw.txt", b"\n", b" "),
        "text_raw.txt: 3 lines, where the tables have 4 rows",
    ),
    "a line of text is empty": (
        lambda a: (a / "val/text/text_raw.txt").write_text("a\n\nb\nc"),
        "text_raw.txt: line 2 is empty",
    ),
    "the text is missing": (lambda a: (a / "val/text/text_raw.txt").unlink(), "text_raw.txt: missing"),
    "a row is missing": (
        lambda a: cut_last_row(a / "val/latents_text.csv"),
        "latents_text.csv: 3 rows, where another table has 4",
    ),
    "a value is missing": (
        lambda a: change(a / "val/latents_image.csv", b",0.0,", b","),
        "line 2 has another number of values",
    ),
    "a value is no number": (
        lambda a: change(a / "val/latents_image.csv", b",0.0,", b",x,"),
        "line 2, object_zpos='x': must be a number",
    ),
    "a value is not finite": (
        lambda a: change(a / "val/latents_image.csv", b",0.0,", b",nan,"),
        "line 2, object_zpos='nan': must be a number",
    ),
    "a value is out of range": (
        lambda a: change(a / "val/latents_image.csv", b",0.0,", b",1.5,"),
        "line 2, object_zpos='1.5': must be a number in [0, 1]",
    ),
    "a class is none": (
        lambda a: (a / "val/latents_text.csv").write_text(
            (a / "val/latents_text.csv").read_text().replace("\n", "\n9", 1)
        ),
        "must be a whole number from 0 to 6",
    ),
    "content differs": (
        lambda a: change(a / "val/latents_text.csv", b",0.0,", b",1.0,"),
        "latents_text.csv: line 2, object_zpos='1.0', where the other table has '0.0'",
    ),
    "a column has another name": (
        lambda a: change(a / "val/latents_image.csv", b"object_color", b"colour"),
        "latents_image.csv: has no column object_color",
    ),
    "a table is no text": (
        lambda a: (a / "val/latents_image.csv").write_bytes(b"\xff\xfe\n"),
        "latents_image.csv: no UTF-8 text",
    ),
    "a table has a quote that does not end": (
        lambda a: change(a / "val/latents_image.csv", b"0.0", b'"0.0'),
        "latents_image.csv: no table",
    ),
    "the text is no text": (
        lambda a: (a / "val/text/text_raw.txt").write_bytes(b"\xff"),
        "text_raw.txt: no UTF-8 text",
    ),
    "an image is a JPEG": (
        lambda a: Image.open(a / "val/images/2.png").save(a / "val/images/2.png", format="jpeg"),
        "2.png: broken",
    ),
    "an image lacks its end": (
        lambda a: (a / "val/images/2.png").write_bytes((a / "val/images/2.png").read_bytes()[:-12]),
        "2.png: broken",
    ),
    "an image is a bomb": (
        lambda a: (a / "val/images/2.png").write_bytes(bomb()),
        "2.png: broken",
    ),
    "a split is missing": (lambda a: shutil.rmtree(a / "val"), "val: missing; "),
    "sums and a file have changed together": (
        lambda a: reseal(a / "val"),
        "val/SHA256SUMS: is not what ",
    ),
    "the manifest is none": (
        lambda a: (a / "manifest.json").write_text("{}"),
        "manifest.json: not what mmcl data generate writes",
    ),
    "a file that the sums have is missing": (
        lambda a: change(a / "val/SHA256SUMS", b"images/2.png", b"images/7.png"),
        "lists images/7.png, which the tables have no row for",
    ),
    "a table is missing": (
        lambda a: (a / "val/latents_text.csv").unlink(),
        "val: holds neither latents_image.csv and latents_text.csv",
    ),
    "a byte has changed": (
        lambda a: change(a / "val/text/text_raw.txt", b"scene", b"Scene"),
        "text_raw.txt: is not what SHA256SUMS says",
    ),
    "a sum is missing": (
        lambda a: change(a / "val/SHA256SUMS", b"images/2.png", b"images/7.png"),
        "images/2.png: not in SHA256SUMS",
    ),
    "the sums are no sums": (
        lambda a: (a / "val/SHA256SUMS").write_text("hello\n"),
        "line 1 is not 'SUM  FILE'",
    ),
}


@pytest.mark.parametrize("how", BREAK)
def test_each_fault_is_named(archive, how):
    damage, said = BREAK[how]
    damage(archive)
    _, faults = verify(archive)
    assert any(said in fault for fault in faults), faults


def test_a_folder_without_an_archive(tmp_path):
    with pytest.raises(UserError, match="no archive; it must hold folders train, val, test"):
        verify(tmp_path)


def test_the_commands(tmp_path, cli):
    root = str(tmp_path / "set")
    small = ("--train", "3", "--val", "2", "--test", "0", "--size", "12", "--samples", "1", "-j", "1")
    result = cli("mmcl", "data", "generate", root, *small)
    assert (result.code, result.out.splitlines()[-1]) == (0, f"{root}: 3 train, 2 val pairs, 12 x 12")
    result = cli("mmcl", "data", "verify", root)
    law, whole = result.out.splitlines()
    assert (result.code, whole) == (0, f"{root}: whole; 3 train, 2 val pairs")
    assert law.startswith(f"{root}: object color depends on object xpos: 1.00 of the rows of train")
    (tmp_path / "set/train/images/1.png").unlink()
    result = cli("mmcl", "data", "verify", root)
    assert result.code == 1
    assert result.err.splitlines()[-2:] == [
        f"{tmp_path}/set/train/images/1.png: missing",
        f"error: {root}: 1 fault(s)",
    ]
    result = cli("mmcl", "data", "generate", root, *small, "--seed", "2")
    assert (result.code, result.err) == (
        1,
        f"error: {root}/manifest.json: made with recipe.seed=0, not 2; name another folder, or remove it\n",
    )
    for wrong, said in (
        (("--kind", "video"), "kind='video': must be one of image_text, image_pairs"),
        (("--shard", "3"), "--shard=3: must be K/N"),
        (("--shard", "3/2"), "shard=(3, 2): must be (k, n) with 0 <= k < n"),
        (("-j", "0"), "processes=0: must be >= 1"),
        (("--train", "-1"), "train=-1: must be >= 1"),
    ):
        result = cli("mmcl", "data", "generate", str(tmp_path / "other"), *small, *wrong)
        assert (result.code, said in result.err, result.err.count("\n")) == (1, True, 1), (wrong, result.err)
    assert not (tmp_path / "other").exists()
