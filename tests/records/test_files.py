import json
import os
import subprocess

import pytest
import torch

from mmcl.records import tensors
from mmcl.records.files import read_csv, write_bytes, write_csv, write_json
from mmcl.records.keys import NOT_SCIENCE, SCIENCE, decides, digest, evaluation_key, owner, run_key
from mmcl.records.lock import LockedError, locked
from mmcl.records.manifest import Manifest, git_state


def test_a_full_disk_leaves_the_old_file_and_no_other(small_disk):
    disk = small_disk("64k")
    path = disk / "file"
    write_bytes(path, b"old")
    with pytest.raises(OSError, match="No space left") as error:
        write_bytes(path, b"x" * 200_000)
    assert str(path) in str(error.value)
    assert path.read_bytes() == b"old"
    assert os.listdir(disk) == ["file"]


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_bytes(tmp_path / "no" / "such" / "folder", b"x")
    with pytest.raises(TypeError):
        write_bytes(tmp_path / "file", "text")
    assert not list(tmp_path.iterdir())


def test_csv_floats_read_back_exactly(tmp_path):
    values = [0.1 + 0.2, 1e-300, float("nan"), -0.0]
    write_csv(tmp_path / "a.csv", ["name", "value"], [{"name": "a,b", "value": v} for v in values])
    back = read_csv(tmp_path / "a.csv")
    assert [r["name"] for r in back] == ["a,b"] * 4
    assert [repr(float(r["value"])) for r in back] == [repr(v) for v in values]


def test_a_csv_row_with_an_unknown_column_is_refused(tmp_path):
    with pytest.raises(ValueError, match="other"):
        write_csv(tmp_path / "a.csv", ["name"], [{"name": 1, "other": 2}])
    assert not list(tmp_path.iterdir())


def test_digests_do_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})
    assert digest([1, 2]) != digest([2, 1])
    assert evaluation_key({"n": 1}) != evaluation_key({"n": 2})


def test_run_keys_see_science_alone():
    ours = {"_target_": "mmcl.some.Part", "x": 1}
    config = dict.fromkeys(SCIENCE, ours)
    assert run_key(config) == run_key({**config, "name": "other", "evaluator": {}})
    for key in SCIENCE:
        assert run_key(config) != run_key({**config, key: {**ours, "x": 2}})
    assert run_key(config) == run_key({**config, "trainer": {**ours, "threads": 4}})
    assert run_key(config) == run_key({**config, "loss": {**ours, "tile": 4}})
    theirs = {"_target_": "library.Loss"}  # what a field of a library's class means is not known
    assert run_key({**config, "loss": {**theirs, "tile": 4}}) != run_key(
        {**config, "loss": {**theirs, "tile": 8}}
    )


def test_the_same_values_decide_in_a_config_and_as_columns():
    """A report pools runs whose columns differ where ``decides`` says no: those are the runs of one key."""
    parts = {
        "loss": {"_target_": "mmcl.losses.Contrastive", "tile": 4, "tau": 0.5},
        "trainer": {"_target_": "mmcl.training.trainer.Trainer", "threads": 2, "max_steps": 9},
        "callbacks": {
            "swa": {"_target_": "lightning.pytorch.callbacks.StochasticWeightAveraging", "lr": 0.1},
            "r2": {"_target_": "mmcl.training.callbacks.OnlineR2", "every": 5},
        },
        "evaluator": {"linear": {"_target_": "mmcl.evaluators.Linear", "n": 1}},
    }
    library = {**parts, "loss": {**parts["loss"], "_target_": "library.Loss"}}
    for config in (parts, library):
        targets = {
            **{top: node.get("_target_", "") for top, node in config.items()},
            **{f"callbacks.{name}": node["_target_"] for name, node in config["callbacks"].items()},
        }
        for top, key in (
            *(("loss", key) for key in ("tile", "tau", "_target_")),
            *(("trainer", key) for key in (*NOT_SCIENCE["trainer"], "max_steps")),
            *(("callbacks", key) for key in ("swa.lr", "r2.every")),
            ("evaluator", "linear.n"),
        ):
            changed = json.loads(json.dumps(config))
            *inner, last = key.split(".")
            node = changed[top]
            for name in inner:
                node = node[name]
            node[last] = "library.Other" if last == "_target_" and top == "loss" else -1
            name = f"{top}.{key}"
            assert decides(name, targets[owner(name)]) is (run_key(changed) != run_key(config)), name
    assert not decides("callbacks", "")  # callbacks: null
    library_callback = "lightning.pytorch.callbacks.StochasticWeightAveraging"
    assert decides("callbacks.swa.lr", library_callback)
    assert not decides("callbacks.r2.every", "mmcl.training.callbacks.OnlineR2")
    changed = {**parts, "callbacks": {"swa": {"_target_": library_callback, "lr": 0.2}}}
    assert run_key(changed) != run_key(parts) != run_key({**parts, "callbacks": {}})


def test_one_process_at_a_time(tmp_path):
    with locked(tmp_path), pytest.raises(LockedError, match="another process"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


MANIFEST = {
    "schema_version": 1,
    "status": "RUNNING",
    "run_key": "a",
    "trained": False,
    "attempts": [],
    "evaluations": {},
    "train_s": 0.0,
}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 99}', "\x00\xff"])
def test_a_bad_manifest_is_named(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"manifest\.json"):
        Manifest.read(tmp_path)


def test_a_manifest_is_on_disk_after_every_change(tmp_path):
    assert Manifest.read(tmp_path) is None
    manifest = Manifest(tmp_path, MANIFEST)
    manifest.update(step=3)
    assert json.loads((tmp_path / "manifest.json").read_text())["step"] == 3
    again = Manifest.read(tmp_path)
    assert again is not None
    assert again.values == manifest.values


def test_tensors_are_read_without_running_code(tmp_path):
    tensors.save(tmp_path / "a.pt", {"x": torch.ones(2)})
    assert torch.equal(tensors.load(tmp_path / "a.pt")["x"], torch.ones(2))

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "evil"),)

    torch.save({"x": Evil()}, tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"b\.pt"):
        tensors.load(tmp_path / "b.pt")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("keep", [0, 10, 400])
def test_a_truncated_file_is_named(tmp_path, keep):
    path = tmp_path / "a.pt"
    tensors.save(path, {"x": torch.ones(200)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"a\.pt: cannot be read"):
        tensors.load(path)


def test_git_state_outside_a_repository_is_empty(tmp_path):
    assert git_state(tmp_path) == {}


def test_git_state_names_the_commit_and_says_whether_files_differ(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, "-C", tmp_path, *arguments], check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-qm", "one")
    assert git_state(tmp_path)["dirty"] is False
    (tmp_path / "file").write_text("2")
    state = git_state(tmp_path)
    assert state["dirty"] is True
    assert len(state["commit"]) == 40


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2.5], "text"])
def test_json_round_trip(tmp_path, value):
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text()) == value
