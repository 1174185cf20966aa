import random
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from mmcl.archives.own import share_out
from mmcl.archives.pixels import ImageError, decode
from mmcl.data import BatchStream, Pairs
from mmcl.errors import UserError
from mmcl.worlds import FactorRole, SplitWorld, StreamedWorld
from tests.data.own import picture, record, write_pairs, write_table

N = 60
VIEWS = {"images": ["photo"], "texts": ["caption"], "size": 32}
FACTORS = {"content": ["shape"], "style": ["hue.photo"], "modality_specific": ["count.caption"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    write_pairs(root, N)
    return root


@pytest.fixture
def own(made, tmp_path):
    return shutil.copytree(made, tmp_path / "own", ignore=shutil.ignore_patterns(".packed"))


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(path, **more):
    return Pairs(train=str(path), **(VIEWS | more)).draw(g())


def number(image):
    """The number of :func:`picture`, from its decoded pixels."""
    red, green, _ = image[:, 0, -1].tolist() if image[0, 0, -1] < 255 else image[:, 0, 0].tolist()
    return red // 2 + 100 * (green // 2)


def numbers(batch):
    return [number(image) for image in batch.views["photo"]]


def parts(world):
    everything = {"train": world.source.rows(torch.arange(len(world.source)))}
    for part in ("validation", "test"):
        source = world.part(part).source
        everything[part] = source.rows(torch.arange(len(source)))
    return {name: numbers(batch) for name, batch in everything.items()}


def test_a_row_of_a_batch_is_a_row_of_the_file(made):
    world = draw(made / "pairs.csv", **FACTORS)
    assert isinstance(world, SplitWorld)
    batch = world.sample(300, g())
    assert batch.views["photo"].shape == (300, 3, 32, 32)
    assert (batch.views["photo"].dtype, batch.views["caption"].dtype) == (torch.uint8, torch.int64)
    words = world.vocabulary.words
    shapes = ["ball", "cone", "cube", "ring"]  # classes in alphabetical order
    for row, i in enumerate(numbers(batch)):
        text = [words[k] for k in batch.views["caption"][row] if words[k][0] != "{"]
        assert text == ["A", record(i)["shape"], ",", "number", str(i), "."]
        assert shapes[batch.factors["shape"][row, 0]] == record(i)["shape"]
        assert batch.factors["count.caption"][row, 0] == i % 3
        assert batch.factors["hue.photo"][row, 0] == pytest.approx(i / 7)
    assert world.roles == {
        "shape": FactorRole("content", None, 4),
        "hue.photo": FactorRole("style", "photo", None),
        "count.caption": FactorRole("modality_specific", "caption", 3),
    }
    assert batch.factors["hue.photo"].dtype == torch.float32
    assert batch.factors["shape"].dtype == torch.int64


def test_without_factors_there_are_none(made):
    world = draw(made / "pairs.csv")
    assert world.roles == {}
    assert world.sample(3, g()).factors == {}


def test_parts_are_shares_of_the_rows_none_twice(made):
    found = parts(draw(made / "pairs.csv", held_out=0.2))
    assert {part: len(rows) for part, rows in found.items()} == {"train": 36, "validation": 12, "test": 12}
    assert sorted(i for rows in found.values() for i in rows) == list(range(N))


def test_training_goes_through_all_pairs_in_each_epoch_in_another_order(made):
    world = draw(made / "pairs.csv")
    assert isinstance(world, StreamedWorld)
    # 48 pairs in batches of 32: three batches are two epochs, and the second goes over from one into the next.
    taken = [i for batches in BatchStream(world, 3, 32, stop=6) for i in numbers(batches[0][0])]
    epochs = [taken[48 * k : 48 * (k + 1)] for k in range(4)]
    assert all(sorted(epoch) == sorted(parts(world)["train"]) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4
    assert taken != [i for batches in BatchStream(world, 4, 32, stop=6) for i in numbers(batches[0][0])]


def test_samples_are_drawn_with_replacement_and_a_held_out_part_gives_each_once(made):
    world = draw(made / "pairs.csv")
    train = set(parts(world)["train"])
    n = 48 * 400
    counts = np.bincount(numbers(world.sample(n, g(1))), minlength=N)
    assert set(np.flatnonzero(counts)) == train
    # 400 draws of each pair, with a standard deviation of 20 (multinomial): 48 of them stay within 5 of these.
    assert np.abs(counts[sorted(train)] - 400).max() < 5 * 20
    assert counts[sorted(train)].std() > 10  # and are not dealt out evenly
    held = world.part("test").sample(6, g(2))
    assert len(set(numbers(held))) == 6
    with pytest.raises(
        ValueError, match=r"n=7: must be <= 6, the pairs of test: set evaluation\.n_fit, n_test and pictures"
    ):
        world.part("test").sample(7, g())


def test_a_batch_is_a_function_of_seed_and_step(made):
    world = draw(made / "pairs.csv")
    walked = [
        pair for pair, _ in (group[0] for _, group in zip(range(4), BatchStream(world, 5, 8), strict=False))
    ]
    again = BatchStream(world, 5, 8).batch(3)[0]
    assert torch.equal(walked[3].views["photo"], again.views["photo"])
    assert torch.equal(walked[3].views["caption"], again.views["caption"])


def test_neither_order_nor_names_of_files_change_the_world(own, made):
    """The same pairs, listed backwards, in files of other names: the same parts, batches and state."""
    rows = [record(i) for i in range(N)]
    random.Random(0).shuffle(rows)
    for row in rows:
        new = row["photo"].replace("photos/", "photos/x")
        (own / row["photo"]).rename(own / new)
        row["photo"] = new
    write_table(own / "pairs.csv", rows)
    one, other = draw(made / "pairs.csv", **FACTORS), draw(own / "pairs.csv", **FACTORS)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    a, b = one.sample(20, g(3)), other.sample(20, g(3))
    assert numbers(a) == numbers(b)
    assert torch.equal(a.views["caption"], b.views["caption"])
    assert torch.equal(a.factors["shape"], b.factors["shape"])


@pytest.mark.parametrize("changed", ["caption", "shape", "photo"])
def test_other_pairs_are_refused(own, changed):
    config = Pairs(train=str(own / "pairs.csv"), **VIEWS, **FACTORS)
    state = config.draw(g()).state_dict()
    assert config.restore(state)
    for i in range(N):  # whichever part they are in
        if changed == "photo":
            picture(i).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(own / record(i)["photo"])
    if changed != "photo":
        write_table(own / "pairs.csv", [record(i) | {changed: "cube" if i % 2 else "ball"} for i in range(N)])
    with pytest.raises(
        ValueError, match=r"pairs\.csv: its split train is not the one that this run was trained"
    ):
        config.restore(state)


def test_pairs_of_one_image_stay_together_and_it_is_kept_once(own):
    rows = [record(i) | {"caption": f"{words} of {i}"} for i in range(N) for words in ("A view", "Another")]
    write_table(own / "pairs.csv", rows)
    world = draw(own / "pairs.csv", held_out=0.25)
    found = parts(world)
    assert {part: len(rows) for part, rows in found.items()} == {"train": 60, "validation": 30, "test": 30}
    assert not set(found["train"]) & set(found["test"])
    assert not set(found["train"]) & set(found["validation"])
    (file,) = (own / ".packed").glob("*/photo.npy")
    assert np.load(file).shape == (N, 3, 32, 32)


def test_shares_do_not_depend_on_the_order_of_rows():
    groups = [bytes([i // 2]) for i in range(100)]
    held, rest = share_out(groups, [0.3])
    assert (len(held), len(rest)) == (30, 70)
    backwards = share_out(groups[::-1], [0.3])[0]
    assert {groups[i] for i in held} == {groups[::-1][i] for i in backwards}


def test_parts_of_their_own_are_taken_as_they_are(own):
    test = write_table(own / "test.tsv", [record(i) for i in range(7)], delimiter="\t")
    found = parts(draw(own / "pairs.csv", test=str(test)))
    assert sorted(found["test"]) == list(range(7))
    assert (len(found["validation"]), len(found["train"])) == (6, 54)


def test_a_class_that_training_has_not_is_one_more(own):
    test = write_table(own / "test.csv", [record(i) | {"shape": "star" if i else "cube"} for i in range(4)])
    world = draw(own / "pairs.csv", test=str(test), content=["shape"])
    assert world.roles["shape"].classes == 5
    assert sorted(world.part("test").sample(4, g()).factors["shape"][:, 0].tolist()) == [2, 4, 4, 4]


def packed(folder):
    """What is there, but for locks."""
    return [p.name for p in folder.iterdir() if p.suffix != ".lock"] if folder.exists() else []


def test_images_are_decoded_once(own):
    draw(own / "pairs.csv")
    (file,) = (own / ".packed").glob("*/photo.npy")
    before = file.stat().st_mtime_ns
    draw(own / "pairs.csv", content=["shape"])
    assert file.stat().st_mtime_ns == before
    draw(own / "pairs.csv", cache=str(own / "elsewhere"))
    assert len(packed(own / "elsewhere")) == 1
    (own / "photos/0000.png").touch()
    draw(own / "pairs.csv")
    assert len(packed(own / ".packed")) == 1  # what it held before is forgotten


def test_sources_that_share_a_cache_keep_each_their_images(own, tmp_path):
    """Files of one name, as train/pairs.csv and test/pairs.csv are."""
    other = shutil.copytree(own, tmp_path / "other")
    cache = tmp_path / "cache"
    for _ in range(2):
        draw(own / "pairs.csv", test=str(other / "pairs.csv"), cache=str(cache))
        times = {path: path.stat().st_mtime_ns for path in cache.glob("*/photo.npy")}
        assert len(times) == 2
    draw(own / "pairs.csv", test=str(other / "pairs.csv"), cache=str(cache))
    assert {path: path.stat().st_mtime_ns for path in cache.glob("*/photo.npy")} == times


def test_a_folder_of_images_and_texts(tmp_path):
    for i in range(20):
        picture(i).save(tmp_path / f"cat-{i}.png")
        (tmp_path / f"cat-{i}.txt").write_text(f"cat {i}\n")
    world = Pairs(train=str(tmp_path), size=32).draw(g())
    batch = world.sample(30, g())
    words = world.vocabulary.words
    for image, text in zip(batch.views["image"], batch.views["text"], strict=True):
        assert [words[k] for k in text] == ["cat", str(number(image)), "{eos}"]


def test_a_folder_of_two_images(tmp_path):
    for name, shift in (("left", 0), ("right", 100)):
        (tmp_path / name).mkdir()
        for i in range(20):
            picture(i + shift).save(tmp_path / name / f"{i}.{'png' if shift else 'webp'}", lossless=True)
    world = Pairs(train=str(tmp_path), images=["left", "right"], texts=[], size=32).draw(g())
    assert world.views == {"left": 3072, "right": 3072}
    assert world.vocabulary is None
    batch = world.sample(30, g())
    for left, right in zip(batch.views["left"], batch.views["right"], strict=True):
        assert number(right) == number(left) + 100


def test_two_texts_share_a_vocabulary_of_the_most_frequent_words(own):
    rows = [record(i) | {"photo": "the cat sat" + " cat" * (i % 2)} for i in range(N)]
    path = write_table(own / "texts.csv", rows)
    world = Pairs(train=str(path), images=[], texts=["caption", "photo"], vocabulary_size=6).draw(g())
    assert world.vocabulary.words[3:] == (
        "cat",
        ",",
        ".",
    )  # as many as there are texts: in alphabetical order
    batch = world.sample(9, g())
    assert max(x.max() for x in batch.views.values()) < 6
    assert {view: x.shape[1] for view, x in batch.views.items()} == {"photo": 5, "caption": 7}


def test_a_long_text_is_read_whole(own):
    long = " ".join(f"w{k}" for k in range(40_000))
    write_table(own / "pairs.csv", [record(i) | {"caption": long} for i in range(N)])
    world = draw(own / "pairs.csv", vocabulary_size=None)
    assert world.views["caption"] == 40_001
    assert len(world.vocabulary) == 40_003


def spoil(column, value, line=5):
    def change(root):
        rows = [record(i) for i in range(N)]
        rows[line - 2][column] = value
        write_table(root / "pairs.csv", rows)

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda r: (r / "photos/0003.png").unlink(),
         r"pairs\.csv, line 5, photo: .*photos/0003\.png: missing; bring the file, or take the pair out"),
        (lambda r: [p.unlink() for p in sorted((r / "photos").iterdir())[3:8]], r"0003\.png: missing, and 4 more are"),
        (lambda r: (r / "photos/0003.png").write_bytes(b"x"), r"line 5, photo: .*0003\.png: broken \(cannot identify"),
        (lambda r: (r / "photos/0003.png").write_bytes((r / "photos/0003.png").read_bytes()[:90]),
         r"line 5, photo: .*0003\.png: broken"),
        (spoil("caption", "  "), r"pairs\.csv, line 5, column caption: empty; fill it, or take the row out"),
        (spoil("photo", ""), r"line 5, column photo: empty"),
        (spoil("shape", ""), r"line 5, column shape: empty"),
        (spoil("hue", "nan"), r"line 5, column hue: 'nan' is no value; fill it, or take the row out"),
        (spoil("hue", "-inf"), r"line 5, column hue: '-inf' is no value"),
        (spoil("hue", "n/a"), r"line 5, column hue: 'n/a' is no number, where other rows have such as '0\.0'"),
        (lambda r: write_table(r / "pairs.csv", [{k: v for k, v in record(0).items() if k != "shape"}]),
         r"pairs\.csv: no column shape; it has photo, caption, count, hue"),
        (lambda r: (r / "pairs.csv").write_text("photo,caption,shape,count,hue\na.png,b\n"),
         r"line 2: has 2 cells, where the header has 5"),
        (lambda r: (r / "pairs.csv").write_text("photo,photo\n"), r"names a column twice"),
        (lambda r: (r / "pairs.csv").write_text("photo,caption,shape,count,hue\n"), r"pairs\.csv: holds no pair"),
        (lambda r: (r / "pairs.csv").write_text(""), r"no column photo; it has none"),
        (lambda r: (r / "pairs.csv").write_bytes(b"\xff"), r"pairs\.csv: no UTF-8 text .*; save it as UTF-8"),
        (lambda r: (r / "pairs.csv").unlink(), r"pairs\.csv: no such file or folder; name one with data\.train"),
        (lambda r: write_table(r / "pairs.csv", [record(0) | {"hue": "1"}] * 9), r"column shape: is 'ball' in all of"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_is_left(own, damage, said):
    damage(own)
    with pytest.raises((UserError, ValueError), match=said):
        draw(own / "pairs.csv", **FACTORS)
    assert packed(own / ".packed") == []


def test_a_line_is_counted_as_an_editor_counts_it(own):
    text = '"photo","caption"\nphotos/0000.png,"two\nlines"\n\nphotos/0001.png,\n'
    (own / "pairs.csv").write_text(text)
    with pytest.raises(UserError, match="line 5, column caption: empty"):
        draw(own / "pairs.csv")


@pytest.mark.parametrize(
    ("files", "more", "said"),
    [
        ({"a.png": 0, "b.png": 1, "a.txt": "x"}, {}, r"b\.png: has no partner, b\.txt for the view text"),
        ({"a.png": 0, "a.txt": "x", "b.txt": "y"}, {}, r"b\.txt: has no partner, b\.jpg\|.*for the view image"),
        ({"a.png": 0, "a.jpg": 1, "a.txt": "x"}, {}, r"a\.png: a\.jpg has that name too; rename one of the two pairs"),
        ({"a.png": 0, "a.txt": " \n"}, {}, r"a\.txt: empty; write its text, or take the pair out"),
        ({}, {}, r"holds no pair"),
        ({"x/a.png": 0}, {"images": ["x", "y"], "texts": []}, r"no sub-folder y for that view; it has x: name them"),
        ({"a.png": 0, "a.txt": "x"}, {"content": ["shape"]}, r"a folder has no column shape; list the pairs in a CSV"),
        ({"a.png": 0, "a.txt": "x"}, {}, r"leaves 1 pairs for train, of which it takes two or more"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_folder(tmp_path, files, more, said):
    for name, what in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        picture(what).save(path) if isinstance(what, int) else path.write_text(what)
    with pytest.raises((UserError, ValueError), match=said):
        Pairs(train=str(tmp_path), size=32, **more).draw(g())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"texts": []}, "must be two views or more"),
        ({"texts": ["image"]}, "must be named once each"),
        ({"texts": ["a.b"]}, "without a dot"),
        ({"style": ["hue"]}, r"style='hue': must be COLUMN\.VIEW, with one of the views image, text"),
        ({"modality_specific": ["hue.left"]}, r"modality_specific='hue\.left': must be COLUMN\.VIEW"),
        ({"style": ["box.x.image"]}, r"style='box\.x\.image': must be COLUMN\.VIEW, .* and no other dot"),
        ({"content": ["size.cm"]}, r"content='size\.cm': must be the name of a column, without a dot"),
        ({"content": ["a", "a"]}, "must be named once each"),
        ({"content": ["hue"], "style": ["hue.image"]}, "columns=.*must be named once each"),
        ({"held_out": 0.5}, "held_out=0.5: must be > 0 and < 0.5"),
        ({"size": 4}, "size=4: must be >= 8"),
        ({"text_length": 1}, "text_length=1"),
        ({"vocabulary_size": 3}, "vocabulary_size=3: must be >= 4"),
    ],
)
def test_values_that_are_none(values, said):
    with pytest.raises(ValueError, match=said):
        Pairs(**values)


def test_the_middle_of_an_image_is_kept_upright(tmp_path):
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40, 0], wide[:, :20, 1], wide[:, 40:, 2] = 200, 200, 200
    Image.fromarray(wide).save(tmp_path / "a.png")
    pixels = decode(tmp_path / "a.png", 10)
    assert pixels.shape == (3, 10, 10)
    assert np.abs(pixels[0, :, 1:-1].astype(int) - 200).max() < 5
    assert pixels[1:, :, 1:-1].max() < 5
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter: the picture's left edge is above
    Image.fromarray(wide).save(tmp_path / "b.jpg", quality=95, exif=exif)
    turned = decode(tmp_path / "b.jpg")
    assert turned.shape == (3, 60, 20)
    assert turned[1, :18].mean() > 150
    assert turned[1, 22:].mean() < 50


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "CMYK", "1"])
def test_images_of_every_kind_are_red_green_and_blue(tmp_path, mode):
    picture(3).convert(mode).save(tmp_path / "a.tiff")
    assert decode(tmp_path / "a.tiff", 16).shape == (3, 16, 16)


def test_images_that_are_none(tmp_path):
    Image.fromarray(np.full((8, 8), 60000, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ImageError, match="must have 8 bits a channel"):
        decode(tmp_path / "deep.png")
    (tmp_path / "program.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EOF\n")
    with pytest.raises(ImageError, match="broken"):
        decode(tmp_path / "program.eps")
