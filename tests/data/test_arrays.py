"""A folder of arrays as a world."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmcl.archives.arrays import write_arrays
from mmcl.data import ArrayFolder, BatchStream
from mmcl.errors import UserError

SIZES = {"train": 12, "validation": 5, "test": 6}


def make(folder, seed=0):
    """Sample i of a split has i in the first place of each view; series i has 1 + i % 4 of its 4 steps."""
    random = np.random.default_rng(seed)
    for split, n in SIZES.items():
        (folder / split).mkdir(parents=True)
        x, series = random.normal(size=(n, 3)), random.normal(size=(n, 4, 2)).astype(np.float32)
        x[:, 0] = series[:, 0, 0] = np.arange(n)
        picture = random.integers(0, 256, (n, 3, 8, 8), dtype=np.uint8)
        picture[:, 0, 0, 0] = np.arange(n)
        arrays = {
            "x": x,
            "series": series,
            "series.there": np.arange(4) < 1 + np.arange(n)[:, None] % 4,
            "picture": picture,
            "label": np.arange(n) % 3,
            "score": np.arange(n) / 2,
        }
        for name, array in arrays.items():
            np.save(folder / split / f"{name}.npy", array)
    return folder


def config(folder, **changes):
    fields = {"views": ["x", "series", "picture"], "labels": ["label", "score"], **changes}
    return ArrayFolder(str(folder), **fields)


def draw(folder, **changes):
    return config(folder, **changes).draw(torch.Generator())


def test_rows_are_those_of_the_files(tmp_path):
    world = draw(make(tmp_path / "a"))
    assert world.views == {"x": 3, "series": 12, "picture": 192}
    batch = world.sample(50, torch.Generator().manual_seed(0))
    i = batch.views["x"][:, 0]
    assert set(i.tolist()) <= set(range(12))
    assert {name: (x.dtype, x.shape[1:]) for name, x in batch.views.items()} == {
        "x": (torch.float32, (3,)),
        "series": (torch.float32, (4, 3)),
        "picture": (torch.uint8, (3, 8, 8)),
    }
    assert torch.equal(batch.views["series"][:, 0, 0], i)
    assert torch.equal(batch.views["series"][..., -1].sum(1), 1 + i % 4)
    assert torch.equal(batch.views["picture"][:, 0, 0, 0].float(), i)
    assert torch.equal(batch.factors["label"], (i % 3).long()[:, None])
    assert torch.equal(batch.factors["score"], (i / 2)[:, None])
    roles = world.roles
    assert (roles["label"].role, roles["label"].classes, roles["score"].classes) == ("label", 3, None)


def test_predictors_are_fitted_on_the_splits_that_are_named(tmp_path):
    folder = make(tmp_path / "a")
    world = draw(folder)
    fit = world.part("validation").sample(17, torch.Generator().manual_seed(0))
    assert world.size("validation") == 17
    assert sorted(fit.views["x"][:, 0].tolist()) == sorted([*range(12), *range(5)])
    for name in ("series", "picture"):
        assert torch.equal(fit.views[name].flatten(1)[:, 0].float(), fit.views["x"][:, 0])
    whole = {
        tuple(row)
        for split in ("train", "validation")
        for row in np.load(folder / split / "x.npy").astype("f4")
    }
    assert {tuple(row) for row in fit.views["x"].numpy()} == whole
    chosen = {tuple(row) for row in fit.views["x"][fit.chooses].numpy()}
    assert chosen == {tuple(row) for row in np.load(folder / "validation" / "x.npy").astype("f4")}
    assert torch.equal(fit.rows(slice(5, 9)).chooses, fit.chooses[5:9])
    assert sorted(world.part("test").sample(6, torch.Generator()).views["x"][:, 0].tolist()) == list(range(6))
    with pytest.raises(ValueError, match=r"n=18: must be <= 17, the pairs of train\+validation"):
        world.check_size("validation", 18)
    alone = draw(folder, fit=["train"])
    assert alone.size("validation") == 12
    assert alone.part("validation").sample(12, torch.Generator()).chooses is None
    assert len(alone.part("validation").sample(12, torch.Generator()).views["x"].unique(dim=0)) == 12


def test_training_goes_through_all_samples_in_epochs(tmp_path):
    world = draw(make(tmp_path / "a"))
    stream = BatchStream(world, seed=3, batch_size=4, stop=6)
    seen = [batch.views["x"][:, 0].tolist() for batches in stream for batch, _ in batches]
    assert [sorted(i for rows in seen[k : k + 3] for i in rows) for k in (0, 3)] == [list(range(12))] * 2
    assert seen[:3] != seen[3:]


def test_the_world_is_known_by_what_the_files_hold(tmp_path):
    here, copy, other = make(tmp_path / "a"), make(tmp_path / "b"), make(tmp_path / "c", seed=1)
    world = draw(here)
    state = world.state_dict()
    assert config(copy).restore(state).size("test") == 6
    with pytest.raises(ValueError, match="is not the one that this run was trained with"):
        config(other).restore(state)
    there = np.load(copy / "test" / "series.there.npy")
    there[0] ^= True
    np.save(copy / "test" / "series.there.npy", there)
    with pytest.raises(ValueError, match="its split test is not"):
        config(copy).restore(state)


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("x", np.array([[1.0, 2.0, np.nan]] * 12), r"x.npy: row 0 \(from 0\) has NaN, infinity"),
        ("series", np.full((12, 4, 2), np.inf), "has NaN, infinity"),
        ("x", np.zeros((12, 3), dtype=">f8"), "must be .n, d."),
        ("x", np.full((12, 3), 1e300), "too large for float32"),
        ("score", np.array([0.0] * 11 + [np.nan]), r"row 11 \(from 0\) has NaN"),
        ("label", -np.ones(12, dtype=int), "a class below 0"),
        ("x", np.zeros((11, 3)), "series.npy: has 12 rows, and x.npy has 11"),
        ("x", np.zeros(12), r"has shape \(12,\), float64; must be"),
        ("x", np.zeros((12, 3), dtype=int), r"\(12, 3\), int64; must be"),
        ("picture", np.zeros((12, 8, 8, 3), dtype=np.uint8), r"\(12, 8, 8, 3\), uint8; must be"),
        ("x", np.zeros((0, 3)), "of one row or more"),
        ("series.there", np.ones((12, 3), dtype=bool), r"must be \(12, 4\), bool"),
        ("series.there", np.ones((12, 4)), "must be .*bool"),
        ("label", np.array(["a"] * 12), "labels must be"),
        ("x", np.array([{"a": 1}] * 12), "holds Python objects, which are not loaded"),
        (
            "x",
            np.zeros((12, 4)),
            r"validation/x.npy: rows of shape \(3,\), float64; those of train are \(4,\)",
        ),
    ],
)
def test_a_wrong_array_is_told_with_its_file(tmp_path, name, array, said):
    folder = make(tmp_path / "a")
    np.save(folder / "train" / f"{name}.npy", array)
    with pytest.raises(UserError, match=said) as caught:
        draw(folder)
    assert str(folder) in str(caught.value)


def test_missing_and_damaged_files_are_told(tmp_path):
    folder = make(tmp_path / "a")
    with pytest.raises(UserError, match=r"audio.npy: missing; .*has label, picture, score, series, x"):
        draw(folder, views=["audio"])
    with pytest.raises(UserError, match=r"no such folder; .*has test, train, validation"):
        draw(folder, test="dev")
    path = folder / "test" / "x.npy"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(UserError, match=r"x\.npy: damaged"):
        draw(folder)
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"x\.npy: damaged"):
        draw(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"views": []}, "views"),
        ({"views": ["x", "x"]}, "named once each"),
        ({"views": ["x+y"]}, "without '\\+'"),
        ({"views": ["../x"]}, "without a dot and a slash"),
        ({"fit": []}, "one split or more"),
        ({"fit": ["train", "test"]}, "test='test': must be a split that nothing is fitted on"),
    ],
)
def test_bad_fields_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        config("a", **changes)


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    good = {"train": {"x": np.zeros((2, 3))}}
    with pytest.raises(ValueError, match="Object arrays"):
        write_arrays(tmp_path / "a", {**good, "test": {"x": np.array([None])}}, {})
    assert list(tmp_path.iterdir()) == []
    write_arrays(tmp_path / "a", good, {"set": "mine"})
    assert np.load(tmp_path / "a" / "train" / "x.npy").shape == (2, 3)
    with pytest.raises(UserError, match="is there already"):
        write_arrays(tmp_path / "a", good, {})
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
