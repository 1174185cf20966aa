"""Published sets become folders of arrays: what each reader does, and what it says of a file that is none."""

from __future__ import annotations

import json
import os
import pickle
import random
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest

from mmcl.archives.arrays import Blocks
from mmcl.archives.pickles import load_pickle
from mmcl.archives.published import Options, read_set
from mmcl.archives.published.features import GENRES
from mmcl.errors import UserError
from tests.archives import published_sets as sets

TRUSTED = Options(pickle=True)


def arrays(found):
    return {
        split: {k: np.concatenate(list(x.blocks())) if isinstance(x, Blocks) else x for k, x in part.items()}
        for split, part in found.items()
    }


def test_affect_moves_texts_to_the_front_and_says_which_steps_there_are(tmp_path):
    tables = sets.affect_tables()
    path = sets.write_pickle(tmp_path / "mosi.pkl", tables)
    found = read_set("mosi", path, TRUSTED)
    assert {split: len(part["label"]) for split, part in found.items()} == {
        "train": 23,
        "validation": 11,
        "test": 11,
    }
    for theirs, ours in (("train", "train"), ("valid", "validation"), ("test", "test")):
        table, part = tables[theirs], found[ours]
        for i in range(len(part["label"])):
            start = i % 5
            for view in ("vision", "audio", "text"):
                x = np.where(np.isneginf(table[view][i]), 0, table[view][i])
                np.testing.assert_array_equal(part[view][i, : 50 - start], x[start:])
                assert not part[view][i, 50 - start :].any()
                np.testing.assert_array_equal(part[f"{view}.there"][i], np.arange(50) < 50 - start)
            assert part["label"][i] == (table["labels"][i, 0, 0] > 0)
            assert part["score"][i] == pytest.approx(table["labels"][i, 0, 0])
        assert part["text"].dtype == np.float32
    assert "score" not in read_set("mustard", path, TRUSTED)["train"]


def test_mimic_has_the_published_splits_and_trainings_scale(tmp_path):
    table = sets.mimic_table()
    path = sets.write_pickle(tmp_path / "im.pk", table, protocol=2)
    found = read_set("mimic", path, TRUSTED)
    # The release shuffles the samples themselves, by the same generator.
    order = list(range(40))
    state = random.getstate()
    random.seed(10)
    random.shuffle(order)
    random.setstate(state)
    rows = {"validation": order[:4], "test": order[4:8], "train": order[8:]}
    clean = np.where(np.isfinite(table["ep_tdata"]), table["ep_tdata"], 0)
    known = clean[rows["train"]].reshape(-1, 12)
    for split, part in found.items():
        np.testing.assert_array_equal(part["label"], table["y_icd9"][rows[split], 7])
        np.testing.assert_allclose(
            part["series"], (clean[rows[split]] - known.mean(0)) / known.std(0), atol=1e-5
        )
    assert np.abs(found["train"]["table"].mean(0)).max() < 1e-6
    deaths = read_set("mimic", path, Options(pickle=True, task="mortality"))
    by_row = np.empty(40, dtype=int)
    for split, part in deaths.items():
        by_row[rows[split]] = part["label"]
    assert by_row.tolist() == [0, 0, 0, 2, 5, 1] + [0] * 34


def test_vision_touch_shares_out_whole_trajectories(tmp_path):
    folder = sets.write_touch(tmp_path / "vt")
    found = arrays(read_set("vision_touch", folder, Options()))
    trajectories = {split: set((part["position"][:, 0] // 100).tolist()) for split, part in found.items()}
    assert sorted(t for part in trajectories.values() for t in part) == [0, 1, 2, 3, 4]  # in one split each
    assert {split: len(part["contact"]) for split, part in found.items()} == {
        "train": 54,
        "validation": 18,
        "test": 18,
    }
    part = found["test"]
    trajectory, chunk = divmod(part["position"][9, 0], 100)
    with h5py.File(folder / f"push_{int(trajectory)}_{int(chunk // 10)}_1000.h5") as file:
        np.testing.assert_array_equal(part["image"][9:18], np.array(file["image"])[:9].transpose(0, 3, 1, 2))
        np.testing.assert_allclose(
            part["force"][10], np.tanh(file["ee_forces_continuous"][1, 18:]), rtol=1e-6
        )
        np.testing.assert_allclose(part["next_position"][9:18], file["proprio"][1:, :4], rtol=1e-6)
        np.testing.assert_array_equal(part["contact"][9:18], (np.array(file["contact"])[1:] > 0).any(1))
    with pytest.raises(UserError, match=r"10 files of 1 trajectories.*--trajectory"):
        read_set("vision_touch", folder, Options(trajectory="(push).*"))
    with pytest.raises(UserError, match="does not fit the pattern"):
        read_set("vision_touch", folder, Options(trajectory="pull_(.*)"))


def test_av_mnist_is_two_pictures(tmp_path):
    folder = sets.write_av_mnist(tmp_path / "av")
    found = read_set("av_mnist", folder, Options())
    assert {split: part["audio"].shape for split, part in found.items()} == {
        "train": (44, 1, 112, 112),
        "validation": (4, 1, 112, 112),
        "test": (24, 1, 112, 112),
    }
    x = np.load(folder / "image" / "train_data.npy")
    np.testing.assert_array_equal(found["train"]["image"].reshape(44, -1), x[:44])
    assert found["validation"]["label"].tolist() == [4, 5, 6, 7]
    for wrong in (x[:24] * 2, x[:24] / 255):
        np.save(folder / "image" / "test_data.npy", wrong)
        with pytest.raises(UserError, match=r"test_data\.npy: values .* must be whole numbers from 0 to 255"):
            read_set("av_mnist", folder, Options())
    np.save(folder / "image" / "test_data.npy", x[:24])
    for labels, said in (
        (np.array([np.nan] * 24), "row 0 .from 0. is nan"),
        (np.arange(24) + 0.7, r"row 0 .from 0. is 0\.7; must be a class: 0, 1, 2"),
        (np.arange(24) - 1, "row 0 .from 0. is -1; must be a class"),
        (np.zeros((24, 3)), r"has shape \(24, 3\)"),
    ):
        np.save(folder / "test_labels.npy", labels)
        with pytest.raises(UserError, match=rf"test_labels\.npy: {said}"):
            read_set("av_mnist", folder, Options())
    np.save(folder / "test_labels.npy", np.arange(24.0)[:, None] % 10)
    assert read_set("av_mnist", folder, Options())["test"]["label"].tolist() == [i % 10 for i in range(24)]


def test_films_are_joined_with_their_features_by_name(tmp_path):
    folder = sets.write_mm_imdb(tmp_path / "mm")
    names = [f"{i:07}" for i in range(24)]
    features = {
        "image": sets.write_features(tmp_path / "i.npz", names, 7, 6),
        "text": sets.write_features(tmp_path / "t.npz", names, 5, 6, there=True, seed=1),
    }
    found = read_set("mm_imdb", folder, Options(features=features))
    assert found["validation"]["image"][:, 0, 0].tolist() == list(range(12, 18))
    assert found["test"]["text"][:, 0, 0].tolist() == list(range(18, 24))
    assert found["train"]["text.there"].sum(1).tolist() == [1 + i % 5 for i in range(12)]
    drama, comedy = GENRES.index("Drama"), GENRES.index("Comedy")
    assert found["train"]["label"].shape == (12, 23)
    assert found["train"]["label"][:, drama].tolist() == [1, 0] * 6
    assert found["train"]["label"][:, comedy].tolist() == [1, 0, 0] * 4
    assert found["train"]["label"].sum() == 10  # and no other
    short = sets.write_features(tmp_path / "s.npz", names[:-1], 5, 6)
    with pytest.raises(UserError, match="has no features of '0000023', nor of 0 others of test"):
        read_set("mm_imdb", folder, Options(features={"text": short}))
    with pytest.raises(UserError, match=r"--features image=FILE\.npz"):
        read_set("mm_imdb", folder, Options())


def test_films_of_multibench_are_read_in_the_files_order(tmp_path):
    path = tmp_path / "multimodal_imdb.hdf5"
    n = 100
    with h5py.File(path, "w") as file:
        file["features"] = np.arange(n)[:, None] * np.ones((1, 300))
        file["vgg_features"] = np.zeros((n, 4096))
        file["genres"] = np.tile(np.arange(23) == 3, (n, 1)).astype(np.float32)
    found = read_set("mm_imdb", path, Options())
    assert [len(found[split]["text"]) for split in ("train", "validation", "test")] == [60, 10, 30]
    assert found["test"]["text"][0, 0] == 70


def test_memes_are_held_out_of_training_by_their_names(tmp_path):
    folder = sets.write_memes(tmp_path / "memes", n=400)
    names = [*map(str, range(400)), *map(str, range(1000, 1200))]
    features = {"image": sets.write_features(tmp_path / "i.npz", names, 1, 4)}
    found = read_set("hateful_memes", folder, Options(features=features))
    counts = {split: len(part["label"]) for split, part in found.items()}
    assert counts["test"] == 200
    assert counts["train"] + counts["validation"] == 400
    assert 20 < counts["validation"] < 60  # 40.6 +- 6 expected: 3.3 deviations, once in a thousand hashes
    assert found["test"]["image"][:, 0, 0].tolist() == list(range(400, 600))
    for part in found.values():
        odd = part["image"][:, 0, 0] % 2
        np.testing.assert_array_equal(part["label"], odd)
    for label in (0.9, 3, "1", None):
        (folder / "dev.jsonl").write_text(json.dumps({"id": 1000, "label": label}) + "\n")
        with pytest.raises(UserError, match=r"dev\.jsonl: line 1 has the label .*; must be 0 or 1"):
            read_set("hateful_memes", folder, Options(features=features))


def test_a_files_trajectory_is_what_stands_before_its_number():
    pattern = re.compile(Options().trajectory)
    names = {"push_3_17_1000": "push_3", "push_3_17": "push_3", "run-5": "run", "a_1000": "a", "12": ""}
    for name, trajectory in names.items():
        assert pattern.fullmatch(name).group(1) == trajectory


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


def test_a_pickle_runs_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = sets.write_pickle(tmp_path / "mosi.pkl", {"train": Evil()})
    with pytest.raises(UserError, match=r"is a pickle.*--pickle"):
        load_pickle(path, trusted=False)
    with pytest.raises(UserError, match=r"it wants (posix|nt).system, which is no array"):
        load_pickle(path, trusted=True)
    assert "warning" in capsys.readouterr().err
    assert not (tmp_path / "evil").exists()


def calls(module, name, arguments, state=b""):
    """A pickle of one call, by hand."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + arguments + b"R" + state + b"."


@pytest.mark.parametrize(
    ("program", "said"),
    [
        # numpy.ndarray((1,), 'O', b'AAAAAAAA'): an object array over a pointer.
        (
            calls("numpy", "ndarray", b"((K\x01tX\x01\x00\x00\x00OU\x08AAAAAAAAt"),
            "memory that is not its own",
        ),
        # A type of eight bytes that says it has 65,536: arrays would reach beyond their bytes.
        (
            b"\x80\x02cnumpy\ndtype\n(X\x02\x00\x00\x00V8tR(K\x03X\x01\x00\x00\x00|NNNJ\x00\x00\x01\x00K\x01K\x00tb.",
            "a type 'V8'",
        ),
        (calls("numpy", "dtype", b"(X\x02\x00\x00\x00f8t"), "a type where there should be an array"),
        (b"\x80\x02cnumpy\nndarray\n}X\x01\x00\x00\x00aK\x01sb.", "changes what a name stands for"),
        (b"\x80\x02]q\x00h\x00a.", "holds itself"),
        (calls("builtins", "eval", b"(X\x03\x00\x00\x001+1t"), r"builtins.eval, which is no array"),
    ],
)
def test_a_pickle_that_reaches_for_more_is_refused(tmp_path, program, said):
    path = tmp_path / "p"
    path.write_bytes(program)
    with pytest.raises(UserError, match=said):
        load_pickle(path, trusted=True)


def test_an_array_has_as_many_bytes_as_it_says(tmp_path):
    good = pickle.dumps(np.arange(3.0), protocol=2)
    path = tmp_path / "p"
    path.write_bytes(good.replace(b"K\x03\x85", b"K\x09\x85"))
    with pytest.raises(UserError, match="damaged, or no pickle"):
        load_pickle(path, trusted=True)
    path.write_bytes(good)
    np.testing.assert_array_equal(load_pickle(path, trusted=True), np.arange(3.0))


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_of_arrays_is_read(tmp_path, protocol):
    value = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": [np.float32(1.5), "x", np.array(["u", "v"], dtype=object)],
    }
    found = load_pickle(sets.write_pickle(tmp_path / "p", value, protocol), trusted=True)
    np.testing.assert_array_equal(found["a"], value["a"])
    assert found["b"][0] == 1.5
    assert found["b"][2].tolist() == ["u", "v"]
    odd = {
        "f": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "n": np.zeros((0, 3)),
        "u": np.array(["ab", "c"]),
        "t": True,
    }
    found = load_pickle(sets.write_pickle(tmp_path / "q", odd, protocol), trusted=True)
    for name, value in odd.items():
        np.testing.assert_array_equal(found[name], value)


def damage(tables, fault):
    if fault == "split":
        del tables["valid"]
    elif fault == "key":
        del tables["test"]["vision"]
    elif fault == "shape":
        tables["train"]["audio"] = tables["train"]["audio"][:, :40]
    elif fault == "labels":
        tables["train"]["labels"] = tables["train"]["labels"][:5]
    elif fault == "ragged":
        tables["train"]["text"] = [np.zeros(3), np.zeros(4)]
    elif fault == "list":
        return [1, 2]
    elif fault == "nan":
        tables["train"]["labels"][3] = np.nan
    elif fault == "view":
        tables["valid"]["text"][2, -1, 4] = np.inf
    elif fault == "silent":
        tables["test"]["text"][:] = 0
    return tables


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("split", "has no split 'valid'; it has train, test"),
        ("key", "split test: has no 'vision'; it has labels, id, audio, text"),
        ("shape", r"split train, audio: has shape \(24, 40, 5\).*must be numbers of shape \(24, 50, any\)"),
        ("labels", r"labels: has shape \(5, 1, 1\).*must be 24 numbers"),
        ("nan", "split train, labels: row 3 .from 0. is nan"),
        (
            "view",
            r"validation, text \(of the samples that are kept\): row 2 .from 0. is inf; must be a number",
        ),
        ("ragged", "split train, text: no array of numbers"),
        ("list", "has no split 'train'; it has list"),
        ("silent", "split test: no sample of it has a text"),
    ],
)
def test_a_file_of_another_form_is_told(tmp_path, fault, said):
    path = sets.write_pickle(tmp_path / "mosi.pkl", damage(sets.affect_tables(), fault))
    with pytest.raises(UserError, match=said):
        read_set("mosi", path, TRUSTED)


@pytest.mark.parametrize(
    ("key", "value", "task", "said"),
    [
        ("y_icd9", None, "7", "has no 'y_icd9'; it has ep_tdata"),
        ("ep_tdata", np.zeros((40, 24, 11)), "7", r"ep_tdata: has shape \(40, 24, 11\).*\(any, 24, 12\)"),
        (
            "y_icd9",
            np.full((40, 20), np.nan),
            "7",
            r"y_icd9, group 7: row 0 .from 0. is nan; must be a number",
        ),
        ("adm_labels_all", np.full((40, 6), np.nan), "mortality", "adm_labels_all: row 0 .from 0. is nan"),
    ],
)
def test_a_table_of_stays_of_another_form_is_told(tmp_path, key, value, task, said):
    table = sets.mimic_table()
    del table[key]
    path = sets.write_pickle(tmp_path / "im.pk", table if value is None else table | {key: value})
    with pytest.raises(UserError, match=said):
        read_set("mimic", path, Options(pickle=True, task=task))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("contact", None, r"has no 'contact'; it has action"),
        ("image", np.zeros((10, 8, 9, 3), np.uint8), r"image: has shape \(10, 8, 9, 3\).*\(10, 8, 8, 3\)"),
        ("ee_forces_continuous", np.zeros((10, 50, 5)), r"has shape \(10, 50, 5\)"),
        ("contact", np.full((10, 50), np.nan), "contact: row 0 .from 0. is nan; must be a number"),
    ],
)
def test_a_trajectory_of_another_form_is_told(tmp_path, key, value, said):
    folder = sets.write_touch(tmp_path / "vt")
    with h5py.File(folder / "push_3_1_1000.h5", "a") as file:
        del file[key]
        if value is not None:
            file[key] = value
    with pytest.raises(UserError, match=rf"push_3_1_1000\.h5.*{said}"):
        arrays(read_set("vision_touch", folder, Options()))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("genres", None, "has no 'genres'; it has features, vgg_features"),
        ("genres", np.zeros((9, 20)), r"genres: has shape \(9, 20\).*\(9, 23\)"),
        ("genres", np.full((9, 23), np.nan), "genres: row 0 .from 0. is nan; must be a number"),
        ("features", np.zeros((8, 300)), r"features: has shape \(8, 300\).*\(9, 300\)"),
    ],
)
def test_a_file_of_films_of_another_form_is_told(tmp_path, key, value, said):
    path = tmp_path / "multimodal_imdb.hdf5"
    table = {
        "features": np.zeros((9, 300)),
        "vgg_features": np.zeros((9, 4096)),
        "genres": np.zeros((9, 23)),
    }
    with h5py.File(path, "w") as file:
        for name, array in {**table, key: value}.items():
            if array is not None:
                file[name] = array
    with pytest.raises(UserError, match=said):
        read_set("mm_imdb", path, Options())


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\x80\x04\x95", pickle.dumps({"train": np.zeros(9)})[:-20]]
)
def test_a_damaged_pickle_is_told(tmp_path, content):
    path = tmp_path / "mosi.pkl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"mosi.pkl: (damaged|not read)"):
        read_set("mosi", path, TRUSTED)


def test_options_and_names_are_checked(tmp_path):
    with pytest.raises(ValueError, match="set='mosy': must be one of mosi, mosei"):
        read_set("mosy", tmp_path, TRUSTED)
    with pytest.raises(UserError, match="no such file or folder"):
        read_set("mosi", tmp_path / "none", TRUSTED)
    path = sets.write_pickle(tmp_path / "im.pk", sets.mimic_table())
    with pytest.raises(
        ValueError, match="task='20': must be mortality, or the number of a group of codes from 0 to 19"
    ):
        read_set("mimic", path, Options(pickle=True, task="20"))
    broken = tmp_path / "broken.hdf5"
    broken.write_bytes(b"nothing")
    with pytest.raises(UserError, match="damaged, or no HDF5 file"):
        read_set("mm_imdb", broken, Options())


def test_damaged_features_and_names_are_told(tmp_path):
    folder = sets.write_mm_imdb(tmp_path / "mm")
    path = sets.write_features(tmp_path / "i.npz", [f"{i:07}" for i in range(24)], 7, 6)
    whole = path.read_bytes()
    for damaged in (whole[:400], whole[:300] + bytes([whole[300] ^ 255]) + whole[301:], b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"i\.npz: damaged"):
            read_set("mm_imdb", folder, Options(features={"image": path}))
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(UserError, match="has no 'values'"):
        read_set("mm_imdb", folder, Options(features={"image": tmp_path / "x.npy"}))
    path.write_bytes(whole)
    with pytest.raises(UserError, match="must not be called label"):
        read_set("mm_imdb", folder, Options(features={"label": path}))
    (folder / "split.json").write_text('{"train": ["0000001"], "dev": ["0000002"], "test": ["0000001"]}')
    with pytest.raises(UserError, match="'0000001' is in train and again in test"):
        read_set("mm_imdb", folder, Options(features={"image": path}))
    (folder / "split.json").write_text('{"train": 5, "dev": [], "test": []}')
    with pytest.raises(UserError, match="lists of ids"):
        read_set("mm_imdb", folder, Options(features={"image": path}))


def convert(*arguments, cwd):
    command = [sys.executable, "-m", "mmcl", "data", "convert", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_command_converts_once_and_leaves_nothing_half_written(tmp_path):
    path = sets.write_pickle(tmp_path / "mosi.pkl", sets.affect_tables())
    refused = convert("mosi", path, tmp_path / "out", cwd=tmp_path)
    assert refused.returncode == 1
    assert "--pickle" in refused.stderr
    assert "Traceback" not in refused.stderr
    made = convert("mosi", path, tmp_path / "out", "--pickle", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "warning" in made.stderr
    assert "vision (23, 50, 20)" in made.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mosi.pkl", "out"]
    assert np.load(tmp_path / "out" / "train" / "text.npy").shape == (23, 50, 300)
    again = convert("mosi", path, tmp_path / "out", "--pickle", cwd=tmp_path)
    assert again.returncode == 1
    assert "is there already" in again.stderr
