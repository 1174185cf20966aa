import gzip
import os
import shutil
import tarfile
import threading
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from mmcl.archives.shards import Shard, expand
from mmcl.data import BatchStream, Shards
from mmcl.data.ahead import ahead
from mmcl.data.order import Order
from mmcl.errors import UserError
from mmcl.worlds import FactorRole, SplitWorld, StreamedWorld
from tests.data.own import members, record, write_shards, write_tar
from tests.data.test_pairs import number

COUNTS = {"train": [7, 3, 11, 1, 8], "validation": [6], "test": [4, 5]}
N = sum(COUNTS["train"])
FACTORS = {"content": ["shape"], "style": ["hue.image"], "modality_specific": ["cls.text"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    write_shards(root, COUNTS, factors=True)
    return root


@pytest.fixture
def own(made, tmp_path):
    return shutil.copytree(made, tmp_path / "own", ignore=shutil.ignore_patterns(".index"))


def config(root, **more):
    patterns = {part: str(root / f"{part}-*.tar") for part in COUNTS}
    return Shards(**{**patterns, "size": 32, "mixed": 2, **more})


def draw(root, **more):
    return config(root, **more).draw(torch.Generator())


def numbers(batch):
    return [number(image) for image in batch.views["image"]]


def seen(stream, n):
    """The numbers of the pairs in the first ``n`` batches of a stream."""
    return [numbers(batch) for ((batch, _),) in islice(stream, n)]


def test_a_pair_of_a_batch_is_a_pair_of_a_shard(made):
    world = draw(made, **FACTORS)
    assert isinstance(world, SplitWorld)
    assert isinstance(world, StreamedWorld)
    words = world.vocabulary.words
    shapes = ["ball", "cone", "cube", "ring"]
    held = world.part("test").sample(9, torch.Generator())
    assert sorted(numbers(held)) == list(range(N + 6, N + 15))
    for batch in (world.take(0, 0, N), world.sample(50, torch.Generator()), held):
        for row, i in enumerate(numbers(batch)):
            text = [words[k] for k in batch.views["text"][row] if words[k] not in ("{pad}", "{eos}")]
            known = str(i) if i < N else "{unk}"
            assert text == ["A", record(i)["shape"], ",", "number", known, "."]
            assert shapes[batch.factors["shape"][row, 0]] == record(i)["shape"]
            assert batch.factors["hue.image"][row, 0] == pytest.approx(i / 7)
            assert batch.factors["cls.text"][row, 0] == i % 3
    assert world.roles == {
        "shape": FactorRole("content", None, 4),
        "hue.image": FactorRole("style", "image", None),
        "cls.text": FactorRole("modality_specific", "text", 3),
    }
    assert world.views == {"image": 3072, "text": 7}


def test_without_factors_none_is_looked_for(tmp_path):
    write_shards(tmp_path, COUNTS)
    world = draw(tmp_path)
    assert world.roles == {}
    assert world.take(0, 0, 5).factors == {}


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("mixed", [1, 2, 9])
def test_every_pair_is_once_in_each_epoch_whatever_the_number_of_ranks(made, ranks, mixed):
    """30 pairs in batches of 6: five batches are an epoch."""
    world = draw(made, mixed=mixed)
    streams = [BatchStream(world, 3, 6, rank=rank, ranks=ranks, stop=15) for rank in range(ranks)]
    batches = [sum(parts, []) for parts in zip(*(seen(stream, 15) for stream in streams), strict=True)]  # noqa: RUF017
    for epoch in range(3):
        of_epoch = [i for batch in batches[5 * epoch : 5 * epoch + 5] for i in batch]
        assert sorted(of_epoch) == list(range(N))
    assert batches[:5] != batches[5:10]
    assert batches == seen(BatchStream(world, 3, 6), 15)


def test_an_epoch_that_is_no_multiple_of_the_batch_goes_over_into_the_next(made):
    world = draw(made)
    everything = [i for batch in seen(BatchStream(world, 3, 8), 15) for i in batch]
    for epoch in range(4):
        assert sorted(everything[N * epoch : N * (epoch + 1)]) == list(range(N))


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_stream_that_begins_at_k_is_the_rest_of_one_that_began_at_0(made, fresh, rank):
    world = draw(made, **FACTORS)
    about = {"fresh": fresh, "rank": rank, "ranks": 2, "stop": 12}
    whole = [pair for (pair,) in BatchStream(world, 7, 8, **about)]
    # Another number of threads, another process' world, batches taken together: nothing of it matters.
    again = draw(made, workers=5, **FACTORS)
    rest = [p for group in BatchStream(again, 7, 8, start=5, together=3, **about) for p in group]
    assert len(whole) == 12
    for one, other in zip(whole[5:], rest, strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a is None) == (b is None)
            for name, x in ({} if a is None else a.views | a.factors).items():
                assert torch.equal(x, (b.views | b.factors)[name])
    assert torch.equal(
        BatchStream(world, 7, 8, **about).batch(9)[0].views["image"], whole[9][0].views["image"]
    )


def test_a_fresh_batch_has_other_pairs(made):
    world = draw(made)
    stream = BatchStream(world, 1, 5, fresh=True)
    pairs = [i for batches in islice(stream, 3) for batch in batches[0] for i in numbers(batch)]
    assert sorted(pairs) == list(range(N))


def test_what_comes_before_is_not_read(made, monkeypatch):
    world = draw(made)
    read = []
    plain = Shard.read
    monkeypatch.setattr(Shard, "read", lambda self, *args: read.append(args[2]) or plain(self, *args))
    list(BatchStream(world, 7, 5, start=1000, stop=1002))
    assert len(read) == 10


@pytest.mark.parametrize("mixed", [1, 2, 3])
def test_an_order_has_few_shards_at_hand(mixed):
    order = Order((40, 10, 25, 30, 5, 20), mixed, seed=0)
    epoch = order.at(0, 130)
    assert Counter(epoch[:, 0].tolist()) == dict(enumerate(order.counts))
    assert len({tuple(pair) for pair in epoch.tolist()}) == 130
    groups = []
    for shard in epoch[:, 0].tolist():
        if not groups or shard not in groups[-1]:
            groups = (
                [*groups[:-1], groups[-1] | {shard}]
                if groups and len(groups[-1]) < mixed
                else [*groups, {shard}]
            )
    assert [len(group) for group in groups] == [mixed] * (6 // mixed)
    assert set().union(*groups) == set(range(6))


def test_an_order_is_a_shuffle():
    """With all shards together each pair is at each place as often: a fair order of 6 pairs, 6,000 times."""
    order = Order((2, 1, 3), 3, seed=0)
    names = {pair: k for k, pair in enumerate([(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (2, 2)])}
    at = np.array([names[tuple(pair)] for pair in order.at(0, 36_000).tolist()]).reshape(6000, 6)
    for place in range(6):
        counts = np.bincount(at[:, place], minlength=6)
        assert np.abs(counts - 1000).max() < 5 * 29  # five standard deviations of a binomial count
    assert not np.array_equal(at[:50], Order((2, 1, 3), 3, seed=1).at(0, 300)[:, 0].reshape(50, 6))


def test_few_batches_are_held_and_few_files_are_open(made, monkeypatch):
    """However long a stream is: at most ``workers`` batches beside the one in use, each with one open shard."""
    world = draw(made, workers=3)
    lock, at_work, most, files = threading.Lock(), 0, 0, 0
    plain_take, plain_read = type(world).take, Shard.read

    def take(self, *args):
        nonlocal at_work
        with lock:
            at_work += 1
        return plain_take(self, *args)

    def read(self, file, *args):
        nonlocal files
        here = os.stat(self.path).st_dev, os.stat(self.path).st_ino
        opened = 0
        for name in os.listdir("/proc/self/fd"):
            try:
                about = os.stat(f"/proc/self/fd/{name}")
            except OSError:
                continue
            opened += (about.st_dev, about.st_ino) == here or about.st_ino in shards
        files = max(files, opened)
        return plain_read(self, file, *args)

    shards = {path.stat().st_ino for path in made.glob("*.tar")}
    monkeypatch.setattr(type(world), "take", take)
    monkeypatch.setattr(Shard, "read", read)
    taken = 0
    for _ in BatchStream(world, 0, 6, stop=60):
        taken += 1
        with lock:
            most = max(most, at_work - taken)
    assert taken == 60
    assert most <= 3
    assert 1 <= files <= 3


def test_an_index_is_made_once_and_again_for_another_file(own):
    draw(own)
    indices = sorted((own / ".index").iterdir())
    times = [path.stat().st_mtime_ns for path in indices]
    assert len(indices) == 8
    state = draw(own).state_dict()
    assert [path.stat().st_mtime_ns for path in indices] == times
    os.utime(own / "train-000.tar", ns=(1, 1))
    again = draw(own, cache=str(own / "elsewhere")).state_dict()
    assert all(torch.equal(x, again[name]) for name, x in state.items())
    assert len(list((own / "elsewhere").iterdir())) == 8


def test_other_shards_are_refused(own):
    state = config(own).draw(torch.Generator()).state_dict()
    assert config(own, mixed=1).restore(state)
    files = members(0) | members(1)
    files["0001.txt"] = files["0001.txt"].replace(b"A", b"B")
    write_tar(own / "train-003.tar", files)
    with pytest.raises(ValueError, match="its split train is not the one that this run was trained with"):
        config(own).restore(state)


def test_views_by_name(tmp_path):
    files = {}
    for i in range(6):
        image = members(i)[f"{i:04d}.png"]
        files |= {
            f"d/{i}.left.png": image,
            f"d/{i}.RIGHT.PNG": members(i + 50)[f"{i + 50:04d}.png"],
            f"d/{i}.x": b"?",
        }
    for part in COUNTS:
        write_tar(tmp_path / f"{part}-0.tar", files)
    world = draw(tmp_path, images=["left", "right"], texts=[])
    batch = world.take(0, 0, 6)
    left, right = ([number(image) for image in batch.views[view]] for view in ("left", "right"))
    assert sorted(left) == list(range(6))
    assert right == [i + 50 for i in left]
    assert world.vocabulary is None


def test_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a-08.tar", "a-09.tar", "a-10.tar", "b-10.tar"):
        Path(name).touch()
    assert [str(p) for p in expand("a-{08..10}.tar")] == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert [str(p) for p in expand("*-10.tar")] == ["a-10.tar", "b-10.tar"]
    assert [str(p) for p in expand("a-{08..09}.t*")] == ["a-08.tar", "a-09.tar"]
    with pytest.raises(UserError, match=r"a-11\.tar: no such shard; a-\{10\.\.12\}\.tar names it"):
        expand("a-{10..12}.tar")
    with pytest.raises(UserError, match=r"c-\*\.tar: no shard is called so"):
        expand("c-*.tar")
    for address in ("https://host/a.tar", "pipe:cat a-08.tar"):
        with pytest.raises(UserError, match="shards are files; mount the store that has them"):
            expand(address)


def rewrite(change):
    def damage(root):
        files = {}
        for i in range(7):
            files |= members(i, factors=True)
        write_tar(root / "train-000.tar", change(files))

    return damage


def cut(size):
    def damage(root):
        os.truncate(root / "train-000.tar", size)

    return damage


def at_a_header(root):
    with tarfile.open(root / "train-000.tar") as tar:
        offset = tar.getmembers()[8].offset
    os.truncate(root / "train-000.tar", offset)


def spoiled_header(root):
    with tarfile.open(root / "train-000.tar") as tar:
        offset = tar.getmembers()[8].offset
    with (root / "train-000.tar").open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 400)


def compressed(root):
    path = root / "train-000.tar"
    path.write_bytes(gzip.compress(path.read_bytes()))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (rewrite(lambda f: {n: d for n, d in f.items() if n != "0003.txt"}),
         r"train-000\.tar, 0003: has no member for the view text \(\.text\.txt\|\.txt\); it has \.png, \.json, \.cls"),
        (rewrite(lambda f: {n: d for n, d in f.items() if n != "0003.png"}), r"0003: has no member for the view image"),
        (rewrite(lambda f: {n: d for n, d in f.items() if n != "0003.json"}), r"0003: has no member for the factor sh"),
        (rewrite(lambda f: {n: d for n, d in f.items() if n != "0003.cls"}), r"0003: has no member for the factor cls"),
        (rewrite(lambda f: f | {"0003.txt": b" \n"}), r"train-000\.tar, 0003: its 0003\.txt is empty"),
        (rewrite(lambda f: f | {"0003.png": b""}), r"0003: its 0003\.png is empty; make the shard again"),
        (rewrite(lambda f: f | {"0003.txt": b"\xff"}), r"0003: 0003\.txt is no UTF-8 text"),
        (rewrite(lambda f: f | {"0003.json": b"{"}), r"0003: 0003\.json is no JSON"),
        (rewrite(lambda f: f | {"0003.json": b"[]"}), r"0003: 0003\.json holds no object"),
        (rewrite(lambda f: f | {"0003.json": b'{"shape": "ball"}'}), r"0003\.json has no text or number hue; it has"),
        (rewrite(lambda f: f | {"0003.json": b'{"shape": "ball", "hue": NaN}'}), r"0003, column hue: 'nan' is no v"),
        (rewrite(lambda f: f | {"0003.json": b'{"shape": "ball", "hue": "red"}'}), r"0003, column hue: 'red' is no n"),
        (rewrite(lambda f: f | {"0000.jpg": b"x"}), r"0000: its members do not stand together, or two pairs"),
        (rewrite(lambda f: {}), r"train-000\.tar: holds no pair"),
        (cut(700), r"train-000\.tar: no whole tar file"),
        (cut(0), r"train-000\.tar: no whole tar file"),
        (at_a_header, r"train-000\.tar: cut or damaged behind byte \d+; bring the whole shard"),
        (spoiled_header, r"train-000\.tar: cut or damaged behind byte"),
        (compressed, r"train-000\.tar: no whole tar file .*; bring it whole, and not compressed"),
        (lambda r: shutil.rmtree(r), r"train-\*\.tar: no shard is called so"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_before_training(own, damage, said):
    damage(own)
    with pytest.raises(UserError, match=said):
        draw(own, **FACTORS)


def test_a_broken_image_is_named_when_its_turn_comes(own):
    rewrite(lambda f: f | {"0003.png": b"no image"})(own)
    world = draw(own)
    with pytest.raises(
        UserError, match=r"train-000\.tar, 0003: its image is broken .*; make the shard again without"
    ):
        list(BatchStream(world, 0, 5, stop=6))
    assert not [t for t in threading.enumerate() if t.name.startswith("mmcl-read")]


def test_a_shard_that_is_cut_during_training_is_named(own):
    world = draw(own)
    os.truncate(own / "train-002.tar", 3000)
    with pytest.raises(
        UserError, match=r"train-002\.tar, \d+: the file ends within it; bring the whole shard"
    ):
        list(BatchStream(world, 0, 5, stop=6))


@pytest.mark.parametrize(
    ("values", "said"), [({"mixed": 0}, "mixed=0: must be >= 1"), ({"workers": 0}, "workers=0")]
)
def test_values_that_are_none(values, said):
    with pytest.raises(ValueError, match=said):
        Shards(**values)


def test_work_ahead_is_in_order_and_ends_when_it_is_closed():
    assert list(ahead(lambda k: k * k, range(20), 4)) == [k * k for k in range(20)]
    asked = []
    work = ahead(lambda k: asked.append(k) or k, range(1000), 2)
    assert next(work) == 0
    work.close()
    assert len(asked) <= 3
    assert not [t for t in threading.enumerate() if t.name.startswith("mmcl-read")]
