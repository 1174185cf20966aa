"""A whole run in this process: train, evaluate, records, and every way in which its files can be wrong."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from mmcl.records.files import read_csv

SMOKE = ("experiment=smoke", "callbacks=[online_r2]", "callbacks.online_r2.every_n_steps=20")


def only(pattern):
    found = list(Path.cwd().glob(pattern))
    assert len(found) == 1, found
    return found[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished smoke run, made once; tests copy it."""
    from mmcl import cli
    from mmcl.config.compose import compose_one
    from mmcl.config.schema import validate_train
    from mmcl.experiment import train

    assert cli
    config = validate_train(compose_one("train", list(SMOKE)))
    run_dir = tmp_path_factory.mktemp("finished") / config.run_key
    train(config, run_dir, list(SMOKE))
    return run_dir


@pytest.fixture
def run_dir(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "runs" / "smoke" / finished.name))


def test_a_run_leaves_its_records(cli):
    result = cli("train.py", *SMOKE)
    assert result.code == 0, result.err
    run = only("runs/smoke/*")
    present = {p.name for p in run.iterdir()}
    expected = {
        "config.yaml",
        "manifest.json",
        "metrics.csv",
        "results.csv",
        "world.pt",
        "encoders.pt",
        "figure.png",
    }
    assert expected <= present
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "COMPLETED"
    assert manifest["run_key"] == run.name
    assert manifest["seed"] == 0
    (attempt,) = manifest["attempts"]
    assert attempt["overrides"] == list(SMOKE)
    assert attempt["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert attempt["threads"] >= 1
    assert len(manifest["world_sha256"]) == 64
    assert manifest["steps_per_s"] > 0
    assert manifest["peak_memory_bytes"] > 1e7
    assert manifest["error"] is None
    metrics = pd.read_csv(run / "metrics.csv")
    assert list(metrics[metrics.name == "loss"].step) == list(range(5, 41, 5))
    assert list(metrics[metrics.name == "content_r2"].step) == [20, 40]
    for word in ("content c", "style s", "modality-specific m", "0.99 ± 0.00", "results.csv", "figure.png"):
        assert word in result.out
    assert (run / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_checkpoint_holds_no_code(run_dir):
    checkpoint = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 40
    torch.load(run_dir / "world.pt", weights_only=True)
    torch.load(run_dir / "encoders.pt", weights_only=True)


def test_results_have_a_row_for_every_encoding_and_factor(run_dir):
    results = pd.read_csv(run_dir / "results.csv", dtype={"run_key": str})
    assert list(results.columns) == [
        "run_key", "seed", "evaluator", "evaluation_key", "split", "representation", "intervention",
        "target", "metric", "value", "chance", "ceiling", "n_fit", "n_test",
    ]  # fmt: skip
    factors = {"content", "style.x1", "style.x2", "modality_specific.x1", "modality_specific.x2"}
    for evaluator in ("linear", "kernel_ridge"):
        part = results[results.evaluator == evaluator]
        assert set(zip(part.representation, part.target, strict=True)) == {
            (z, f) for z in ("x1", "x2") for f in factors
        }
        assert part.ceiling.notna().all()
        assert part.chance.abs().max() < 0.2
    cut = results[results.evaluator == "kernel_ridge_intervention"]
    assert set(cut.intervention) == {"permute_content"}
    assert {"content", "content_intervened"} <= set(cut.target)
    assert set(results[results.metric == "loss"].split) == {"validation", "test"}
    assert set(results.run_key) == {run_dir.name}


def test_a_finished_run_is_not_run_again_unless_forced(cli, run_dir):
    before = {p: p.stat().st_mtime_ns for p in (run_dir / "encoders.pt", run_dir / "results.csv")}
    assert cli("train.py", *SMOKE).code == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert len(json.loads((run_dir / "manifest.json").read_text())["attempts"]) == 1
    old = torch.load(run_dir / "encoders.pt", weights_only=True)
    assert cli("train.py", *SMOKE, "force=true").code == 0
    assert (run_dir / "encoders.pt").stat().st_mtime_ns != before[run_dir / "encoders.pt"]
    new = torch.load(run_dir / "encoders.pt", weights_only=True)
    for name, value in old["encoders"].items():
        assert torch.equal(value, new["encoders"][name]), "the same command gives the same weights"


def test_a_changed_evaluator_alone_is_run_again(cli, run_dir):
    weights = (run_dir / "encoders.pt").stat().st_mtime_ns
    old = pd.read_csv(run_dir / "results.csv")
    result = cli("train.py", *SMOKE, "evaluator.linear.n_fit=64")
    assert result.code == 0, result.err
    new = pd.read_csv(run_dir / "results.csv")
    assert (run_dir / "encoders.pt").stat().st_mtime_ns == weights
    assert set(new[new.evaluator == "linear"].n_fit) == {64}
    assert set(new[new.evaluator == "linear"].evaluation_key) != set(
        old[old.evaluator == "linear"].evaluation_key
    )
    pd.testing.assert_frame_equal(
        new[new.evaluator != "linear"].reset_index(drop=True),
        old[old.evaluator != "linear"].reset_index(drop=True),
    )


def test_evaluate_reproduces_results_exactly_from_the_directory_alone(cli, run_dir, tmp_path):
    moved = tmp_path / "elsewhere" / "copy"
    shutil.copytree(run_dir, moved)
    shutil.rmtree(run_dir)
    before = (moved / "results.csv").read_bytes()
    (moved / "results.csv").unlink()
    shutil.rmtree(moved / "checkpoints")
    (moved / "metrics.csv").unlink()
    assert cli("evaluate.py", f"run_dir={moved}").code == 0
    assert (moved / "results.csv").read_bytes() == before
    result = cli("evaluate.py", f"run_dir={moved}")
    assert "reproduced exactly" in result.out


def test_evaluate_takes_other_evaluators_and_keeps_the_rows_of_the_rest(cli, run_dir):
    old = pd.read_csv(run_dir / "results.csv")
    result = cli("evaluate.py", f"run_dir={run_dir}", "evaluator=[linear]", "evaluator.linear.n_fit=32")
    assert result.code == 0, result.err
    new = pd.read_csv(run_dir / "results.csv")
    assert set(new.evaluator) == set(old.evaluator)
    assert set(new[new.evaluator == "linear"].n_fit) == {32}
    rest = [t[t.evaluator != "linear"].reset_index(drop=True) for t in (old, new)]
    pd.testing.assert_frame_equal(*rest)


def test_a_command_with_fewer_evaluators_forgets_none(cli, run_dir):
    before = (run_dir / "results.csv").read_bytes()
    assert cli("train.py", *SMOKE, "evaluator=[linear]").code == 0
    assert (run_dir / "results.csv").read_bytes() == before
    result = cli("evaluate.py", f"run_dir={run_dir}")
    assert "reproduced exactly" in result.out


def test_an_evaluator_that_fails_keeps_the_rows_of_those_before_it(cli, run_dir, monkeypatch):
    from mmcl.evaluators import KernelRidge

    def out_of_memory(self, *_):
        raise MemoryError("no memory")

    (run_dir / "results.csv").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(KernelRidge, "evaluate", out_of_memory)
        fails(cli("evaluate.py", f"run_dir={run_dir}"), "no memory")
    assert set(pd.read_csv(run_dir / "results.csv").evaluator) == {"linear"}


def change_manifest(run_dir, **changes):
    path = run_dir / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_an_evaluation_names_the_code_that_made_it(run_dir, monkeypatch):
    from mmcl import experiment
    from mmcl.records import manifest as records

    before = (run_dir / "results.csv").read_bytes()
    asked = []
    state = {"commit": "e" * 40, "dirty": False}
    monkeypatch.setattr(records, "git_state", lambda folder: asked.append(folder) or state)
    experiment.evaluate(run_dir, None)
    evaluations = json.loads((run_dir / "manifest.json").read_text())["evaluations"]
    assert len(evaluations) > 1
    assert all(made["git"] == state for made in evaluations.values())
    assert len(asked) == 1
    assert (run_dir / "results.csv").read_bytes() == before


def test_a_run_that_failed_in_evaluation_is_finished_once_its_own_evaluators_are_current(cli, run_dir):
    table = pd.read_csv(run_dir / "results.csv", dtype=str, keep_default_na=False)
    own = list(dict.fromkeys(table.evaluator))
    manifest = json.loads((run_dir / "manifest.json").read_text())
    kept = {name: made for name, made in manifest["evaluations"].items() if name == own[0]}
    table[table.evaluator == own[0]].to_csv(run_dir / "results.csv", index=False)
    change_manifest(run_dir, status="FAILED", error="it broke", evaluations=kept)
    assert cli("evaluate.py", f"run_dir={run_dir}", "evaluator=[mlp]", "evaluator.mlp.n_fit=64").code == 0
    assert json.loads((run_dir / "manifest.json").read_text())["status"] == "FAILED"  # others are missing
    result = cli("mmcl", "evaluate", str(run_dir.parent))
    assert result.code == 0, result.err
    manifest = json.loads((run_dir / "manifest.json").read_text())
    assert (manifest["status"], manifest["error"]) == ("COMPLETED", None)


def test_what_another_process_did_to_a_run_meanwhile_is_not_undone(run_dir, monkeypatch):
    """The manifest is read when the run is held, not before."""
    import contextlib

    from mmcl import experiment

    @contextlib.contextmanager
    def held(folder):
        change_manifest(folder, ended="by the other process")
        yield

    monkeypatch.setattr(experiment, "locked", held)
    experiment.evaluate(run_dir, None)
    assert json.loads((run_dir / "manifest.json").read_text())["ended"] == "by the other process"


def test_a_folder_of_no_run_is_left_without_a_lock(cli, tmp_path):
    assert cli("evaluate.py", f"run_dir={tmp_path}").code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_makes_a_run_for_each_job_and_a_failed_one_hides_no_other(cli):
    result = cli(
        "train.py",
        "-m",
        *SMOKE,
        "seed=0,1",
        "optimizer.adam_lr=0.003,1e30",
        "trainer.log_every_n_steps=1",
        "evaluator=[linear]",
    )
    assert result.code == 1
    states = sorted(
        json.loads(p.read_text())["status"] for p in Path.cwd().glob("multirun/smoke/*/manifest.json")
    )
    assert states == ["COMPLETED", "COMPLETED", "FAILED", "FAILED"]
    assert result.err.strip().splitlines()[-1].startswith("error: 2 run(s) of 4 are not done")
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    "override",
    [
        "loss=release_numerical",
        "loss=nt_xent",
        "loss=align_max_ent",
        "loss.learned_temperature=true",
        "trainer.precision=bf16_mixed",
        "trainer.precision=bf16_mixed optimizer=adam trainer.gradient_clip_val=1.0",
        "optimizer=adam",
        "optimizer=adamw",
        "data.modality_specific_sizes=[2,2,2]",
        "data.content_classes=3",
        "data.style_classes=3",
        "data.modality_specific_sizes=[0,0]",
        "logger=[none]",
        "+callbacks.lr={_target_:lightning.pytorch.callbacks.Timer,verbose:false}",
    ],
)
def test_every_part_trains_and_is_evaluated(cli, override):
    result = cli(
        "train.py",
        *SMOKE,
        "trainer.max_steps=5",
        "evaluation.n_fit=64",
        "evaluation.n_test=64",
        *override.split(),
    )
    assert result.code == 0, result.err
    results = pd.read_csv(only("runs/smoke/*/results.csv"))
    assert results.value.notna().all()
    if "classes" in override:
        assert {"accuracy", "r2"} <= set(results.metric)


def test_the_original_setting_trains(cli):
    result = cli(
        "train.py",
        *SMOKE,
        "data=numerical_original",
        "data.condition_ratio=0.2",
        "data.condition_draws=50",
        "encoder.shared=true",
    )
    assert result.code == 0, result.err
    assert "Table 1a" in result.out


# Bad input: one line that names the place and the remedy, exit code not 0, nothing half-written.


def fails(result, *words):
    assert result.code != 0
    assert "Traceback" not in result.err
    line = result.err.strip().splitlines()[-1]
    assert line.startswith("error: "), result.err
    for word in words:
        assert word in line, (word, line)


def test_a_missing_run_directory(cli):
    fails(cli("evaluate.py", "run_dir=runs/none"), "runs/none", "no run there")
    assert not list(Path.cwd().iterdir())


def test_no_run_directory_at_all(cli):
    fails(cli("evaluate.py"), "run_dir", "run_dir=runs/EXPERIMENT/KEY")


def test_evaluate_refuses_unknown_keys(cli, run_dir):
    fails(cli("evaluate.py", f"run_dir={run_dir}", "+typo=1"), "typo", "evaluator")
    fails(
        cli("evaluate.py", f"run_dir={run_dir}", "evaluator=[linear]", "+evaluator.linear.typo=1"),
        "typo",
        "n_fit",
    )


def test_a_run_that_has_not_been_trained(cli, run_dir):
    manifest = json.loads((run_dir / "manifest.json").read_text())
    (run_dir / "manifest.json").write_text(
        json.dumps({**manifest, "trained": False, "status": "INTERRUPTED"})
    )
    before = (run_dir / "results.csv").read_bytes()
    fails(cli("evaluate.py", f"run_dir={run_dir}"), "INTERRUPTED", "train command again")
    assert (run_dir / "results.csv").read_bytes() == before


@pytest.mark.parametrize("name", ["world.pt", "encoders.pt", "config.yaml"])
@pytest.mark.parametrize("fault", ["missing", "truncated", "other"])
def test_damaged_files_of_a_run(cli, run_dir, name, fault):
    path = run_dir / name
    if fault == "missing":
        path.unlink()
    elif fault == "truncated":
        path.write_bytes(path.read_bytes()[: 60 if name == "config.yaml" else -200])
    else:
        path.write_bytes(b"[" if name == "config.yaml" else b"not a tensor file")
    before = (run_dir / "results.csv").read_bytes()
    fails(cli("evaluate.py", f"run_dir={run_dir}"), name)
    assert (run_dir / "results.csv").read_bytes() == before


def test_a_world_that_is_not_the_runs_own(cli, run_dir):
    world = torch.load(run_dir / "world.pt", weights_only=True)
    name = sorted(world)[-1]
    world[name] = world[name] + 1e-3
    torch.save(world, run_dir / "world.pt")
    fails(cli("evaluate.py", f"run_dir={run_dir}"), "world.pt", "hash differs", "train again")


def test_encoding_in_parts_is_the_same_run(cli, run_dir):
    result = cli("train.py", *SMOKE, "trainer.encode_rows=10", "loss.tile=8", "output=parts")
    assert result.code == 0, result.err
    parts = only("parts/smoke/*")
    assert parts.name == run_dir.name
    for ours, whole in zip(read_csv(parts / "metrics.csv"), read_csv(run_dir / "metrics.csv"), strict=True):
        assert (ours["step"], ours["name"]) == (whole["step"], whole["name"])
        # Rounding grows from step to step, the faster for Muon's bfloat16; 15 steps of it stay small.
        if ours["name"] == "loss" and int(ours["step"]) <= 15:
            assert float(ours["value"]) == pytest.approx(float(whole["value"]), abs=1e-3)


@pytest.mark.parametrize(
    "override", ["seed=0", "optimizer=adam trainer.precision=bf16_mixed trainer.gradient_clip_val=0.5"]
)
def test_steps_taken_together_are_the_same_run(cli, override):
    runs = []
    for together in (1, 7):
        output = f"output=together{together}"
        result = cli("train.py", *SMOKE, *override.split(), f"trainer.steps_per_execution={together}", output)
        assert result.code == 0, result.err
        runs.append(only(f"together{together}/smoke/*"))
    apart, together = runs
    assert apart.name == together.name
    hashes = [json.loads((run / "manifest.json").read_text())["encoders_sha256"] for run in runs]
    assert hashes[0] == hashes[1]
    every = {row["step"]: row["value"] for row in read_csv(apart / "metrics.csv") if row["name"] == "loss"}
    seen = [row for row in read_csv(together / "metrics.csv") if row["name"] == "loss"]
    # Rows are due at 5, 10, ..., 40; the loop returns at multiples of 7, and at the end.
    assert [int(row["step"]) for row in seen] == [7, 14, 21, 28, 35, 40]
    assert seen[-1]["value"] == every["40"]


def test_a_run_of_a_version_with_other_evaluators_is_found_and_evaluated(cli, run_dir):
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    config["evaluator"]["kernel_ridge"]["n_select"] = None
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    fails(cli("evaluate.py", f"run_dir={run_dir}"), "config.yaml", "n_select", "evaluator=[...]")
    assert cli("evaluate.py", f"run_dir={run_dir}", "evaluator=[linear]").code == 0
    assert cli("train.py", *SMOKE).code == 0, "the same command finds the finished run"
    assert cli("evaluate.py", f"run_dir={run_dir}").code == 0, "and has brought its evaluators up to date"


def test_lightnings_callbacks_see_every_step(cli):
    timer = "+callbacks.timer={_target_:lightning.pytorch.callbacks.Timer,verbose:false}"
    result = cli("train.py", *SMOKE, timer, "trainer.steps_per_execution=2")
    fails(result, "trainer.steps_per_execution=2", "callbacks.timer")


def test_a_run_of_a_version_with_fewer_fields_is_still_read(cli, run_dir):
    from mmcl.records.keys import run_key

    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    del (
        config["encoder"]["bound"],
        config["loss"]["tile"],
        config["evaluator"]["kernel_ridge"]["screen_fraction"],
    )
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    manifest = json.loads((run_dir / "manifest.json").read_text())
    manifest["run_key"] = run_key(config)
    (run_dir / "manifest.json").write_text(json.dumps(manifest))
    before = read_csv(run_dir / "results.csv")
    assert cli("evaluate.py", f"run_dir={run_dir}").code == 0
    # Evaluations are named after what this version does, screen_fraction included, not after what the old config said.
    assert read_csv(run_dir / "results.csv") == [{**row, "run_key": manifest["run_key"]} for row in before]


def test_encoders_that_are_not_the_runs_own(cli, run_dir):
    state = torch.load(run_dir / "encoders.pt", weights_only=True)
    name, value = next(iter(state["encoders"].items()))
    torch.save({**state, "encoders": {**state["encoders"], name: value + 1e-3}}, run_dir / "encoders.pt")
    fails(cli("evaluate.py", f"run_dir={run_dir}"), "encoders.pt", "its hash differs")


@pytest.mark.parametrize(
    ("group", "key", "value"), [("data", "style_change_prob", 0.5), ("encoder", "widths", [8])]
)
def test_a_config_that_is_not_the_runs_own(cli, run_dir, group, key, value):
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    config[group][key] = value
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    fails(cli("evaluate.py", f"run_dir={run_dir}"), run_dir.name, "leave config.yaml as it was written")


def test_two_runs_in_one_directory(cli, run_dir):
    before = (run_dir / "manifest.json").read_bytes()
    fails(
        cli("train.py", *SMOKE, "seed=1", f"hydra.run.dir={run_dir}"), run_dir.name, "a directory of its own"
    )
    fails(cli("train.py", *SMOKE, "seed=1", f"hydra.run.dir={run_dir}", "force=true"), run_dir.name)
    assert (run_dir / "manifest.json").read_bytes() == before


def test_force_forgets_the_runs_own_files_and_no_others(cli, run_dir):
    (run_dir / "notes.txt").write_text("mine")
    assert cli("train.py", *SMOKE, "force=true", "evaluator=[linear]").code == 0
    assert (run_dir / "notes.txt").read_text() == "mine"
    assert set(pd.read_csv(run_dir / "results.csv").evaluator) == {"linear"}


def test_force_does_not_throw_away_an_unfinished_run(cli, run_dir):
    manifest = json.loads((run_dir / "manifest.json").read_text())
    (run_dir / "manifest.json").write_text(json.dumps({**manifest, "trained": False, "status": "RUNNING"}))
    checkpoint = run_dir / "checkpoints" / "last.ckpt"
    before = checkpoint.stat().st_mtime_ns
    assert cli("train.py", *SMOKE, "force=true").code == 0
    assert checkpoint.stat().st_mtime_ns == before, (
        "it went on from its last checkpoint, where nothing was left to do"
    )


def test_a_config_of_a_run_may_not_name_other_code(cli, run_dir):
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    config["encoder"]["_target_"] = "os.system"
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    fails(cli("evaluate.py", f"run_dir={run_dir}"), "os.system", "refused")


def test_a_truncated_checkpoint(cli, run_dir):
    manifest = json.loads((run_dir / "manifest.json").read_text())
    (run_dir / "manifest.json").write_text(json.dumps({**manifest, "trained": False, "status": "RUNNING"}))
    path = run_dir / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:1000])
    fails(cli("train.py", *SMOKE), "last.ckpt", "damaged", "delete it")


def test_an_output_that_is_a_file(cli, tmp_path):
    (tmp_path / "taken").write_text("mine")
    fails(cli("train.py", *SMOKE, "output=taken"), "output=taken", "cannot be written")
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_disk_without_room(cli, small_disk):
    small_disk("4k")
    fails(cli("train.py", *SMOKE, "output=disk"), "disk", "No space left")


@pytest.mark.parametrize("size", ["48k", "96k", "160k"])
def test_a_disk_that_fills_up_while_the_run_writes(cli, small_disk, size):
    """Whatever write it is that fails, the run says so, leaves no temporary file, and ends well with more room."""
    folder = small_disk(size)
    fails(cli("train.py", *SMOKE, "output=disk"), "no space left", "the same command goes on")
    left = [
        p
        for p in folder.rglob("*")
        if p.name.endswith(".tmp") or p.name.startswith((".probe", ".metrics", ".manifest"))
    ]
    assert not left
    subprocess.run(["mount", "-o", "remount,size=16m", folder], check=True)
    result = cli("train.py", *SMOKE, "output=disk")
    assert result.code == 0, result.err
    run = only("disk/smoke/*")
    steps = [int(r["step"]) for r in read_csv(run / "metrics.csv") if r["name"] == "loss"]
    assert steps == list(range(5, 41, 5))


def test_a_read_only_folder(cli, small_disk):
    small_disk("64k", "ro")
    fails(cli("train.py", *SMOKE, "output=disk"), "disk", "Read-only", "output=FOLDER")


def test_a_run_that_diverges_says_so_and_what_to_do(cli):
    result = cli("train.py", *SMOKE, "optimizer.adam_lr=1e30", "trainer.log_every_n_steps=1")
    fails(result, "diverged", "optimizer.lr")
    manifest = json.loads(only("runs/smoke/*/manifest.json").read_text())
    assert manifest["status"] == "FAILED"
    assert "diverged" in manifest["error"]


def test_two_processes_in_one_run(cli, run_dir):
    from mmcl.records.lock import locked

    before = {p: p.read_bytes() for p in run_dir.iterdir() if p.is_file()}
    with locked(run_dir):
        fails(cli("train.py", *SMOKE), "another process")
        fails(cli("evaluate.py", f"run_dir={run_dir}"), "another process")
    assert {p: p.read_bytes() for p in run_dir.iterdir() if p.is_file()} == before


def test_evaluation_larger_than_allowed_is_refused_before_training(cli):
    fails(cli("train.py", *SMOKE, "evaluator.kernel_ridge.folds=1"), "folds")
    assert not os.listdir()


def test_a_callback_for_a_factor_that_is_not_there(cli):
    fails(
        cli("train.py", *SMOKE, "callbacks.online_r2.factor=contnt"), "callbacks.online_r2.factor", "content"
    )
