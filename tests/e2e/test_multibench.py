"""The presets of published sets, end to end on small files of the same schemas: convert, train two epochs, evaluate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mmcl.archives.arrays import write_arrays
from mmcl.archives.published import Options, read_set
from mmcl.config.compose import CONF
from mmcl.records import tensors
from tests.archives import published_sets as sets
from tests.conftest import ROOT, process

pytestmark = pytest.mark.slow

N = 48
BATCH = 16
FILMS = [f"{i:07}" for i in range(N)]
MEMES = [*map(str, range(60)), *map(str, range(1000, 1030))]


def affect(name):
    sizes = sets.AFFECT["mosi" if name.startswith("mos") else "ur_funny"]
    path = sets.write_pickle(Path("set.pkl"), sets.affect_tables(N, steps=12, sizes=sizes))
    return path, Options(pickle=True)


def with_features(path, ids, width=768):
    return path, Options(
        features={
            "image": sets.write_features(Path("image.npz"), ids, 3, width),
            "text": sets.write_features(Path("text.npz"), ids, 4, width, there=True, seed=1),
        }
    )


SETS = {
    "mosi": affect,
    "mosei": affect,
    "ur_funny": affect,
    "mustard": affect,
    "mimic": lambda _: (sets.write_pickle(Path("im.pk"), sets.mimic_table(N)), Options(pickle=True)),
    "vision_touch": lambda _: (sets.write_touch(Path("touch"), trajectories=4), Options()),
    "av_mnist": lambda _: (sets.write_av_mnist(Path("av"), N), Options()),
    "mm_imdb": lambda _: with_features(sets.write_mm_imdb(Path("films"), N), FILMS),
    "hateful_memes": lambda _: with_features(sets.write_memes(Path("memes")), MEMES),
}

SPLITS = ("train", "validation", "test")
SMALL = "encoder.encoding_size=64"
THREE = "data.views=[vision,text,audio]"


def test_every_preset_is_here():
    presets = {path.stem for path in (CONF / "experiment" / "multibench").glob("*.yaml")}
    variants = {"vision_touch_contact", "vision_touch_contact_two", "ur_funny_three"}
    assert presets - {"base", *variants} == set(SETS)


def convert(name):
    source, options = SETS[name](name)
    write_arrays(Path("data") / name, read_set(name, source, options), {})


def run(cli, experiment, *overrides):
    fast = ("trainer.steps_per_execution=1", "trainer.log_every_n_steps=1", f"batch_size={BATCH}")
    done = cli("train.py", f"experiment=multibench/{experiment}", *fast, *overrides, "output=out")
    assert done.code == 0, done.err
    (path,) = Path.cwd().glob(f"out/multibench/{experiment}/*/results.csv")
    return pd.read_csv(path)


@pytest.mark.parametrize(
    ("experiment", "method", "views", "more"),
    [
        ("mosi", "comm", 2, ()),
        ("mosei", "cross_self", 2, ()),
        ("ur_funny_three", "comm", 3, ()),
        ("mustard", "cmc", 3, (THREE,)),
        ("mimic", "comm", 2, (SMALL,)),
        ("vision_touch", "comm", 2, (SMALL,)),
        ("vision_touch_contact", "comm", 3, (SMALL,)),
        ("vision_touch_contact_two", "cross", 2, (SMALL,)),
        ("av_mnist", "comm", 2, ()),
        ("mm_imdb", "comm", 2, ()),
        ("mm_imdb", "slip", 2, ()),
        ("hateful_memes", "comm", 2, ()),
    ],
)
def test_two_epochs_and_an_evaluation(cli, experiment, method, views, more):
    name = next(name for name in sorted(SETS, key=len, reverse=True) if experiment.startswith(name))
    convert(name)
    evaluator = "linear,linear_squared_error" if experiment == "vision_touch" else "probe_linear"
    rows = run(cli, experiment, f"method={method}", "trainer.max_steps=8", f"evaluator=[{evaluator}]", *more)
    assert sorted(name.count("+") for name in rows.representation.unique()) == [0] * views + [views - 1]
    assert rows.value.notna().all()
    labels = {split: len(np.load(next(Path("data", name, split).glob("[cl]*.npy")))) for split in SPLITS}
    assert set(rows.n_fit) == {labels["train"] + labels["validation"]}  # all that is given
    assert set(rows.n_test) == {labels["test"]}
    published = {"mm_imdb": {"f1_macro", "f1_weighted"}, "vision_touch": {"mean_squared_error"}}
    assert published.get(experiment, {"balanced_accuracy"}) <= set(rows.metric)


@pytest.mark.parametrize(
    ("sweep", "experiments", "methods", "reports"),
    [
        (
            "multibench",
            ("mosi", "mimic", "vision_touch", "vision_touch_contact_two"),
            ("cross", "cross_self", "comm"),
            {
                "multibench": {"MOSI", "MIMIC", "Vision&Touch, contact"},
                "multibench_position": {"squared error"},
            },
        ),
        (
            "multibench_three",
            ("ur_funny_three", "vision_touch_contact"),
            ("comm",),
            {"multibench_three": {"UR-FUNNY", "Vision&Touch, contact"}},
        ),
        (
            "multibench_films",
            ("mm_imdb",),
            ("slip", "comm"),
            {"multibench_films": {"weighted F1", "macro F1"}},
        ),
    ],
)
def test_a_papers_table_is_filled_by_its_sweep(tmp_path, monkeypatch, sweep, experiments, methods, reports):
    """Sets and methods that were not run leave their cells empty."""
    monkeypatch.chdir(tmp_path)
    for name in {experiment.split("_three")[0].split("_contact")[0] for experiment in experiments}:
        convert(name)
    names = ",".join(f"multibench/{experiment}" for experiment in experiments)
    short = ("trainer.max_steps=1", "trainer.steps_per_execution=1", f"batch_size={BATCH}")
    train = ("-m", f"sweep={sweep}", f"experiment={names}", f"method={','.join(methods)}", "seed=0", *short)
    for command in (
        (str(ROOT / "train.py"), *train, "hydra/launcher=basic"),
        ("-m", "mmcl", "collect", f"multirun/{sweep}", "-o", "found"),
        *(("-m", "mmcl", "report", name, "found", "--allow-missing") for name in reports),
    ):
        done = process(*command, cwd=tmp_path, OMP_NUM_THREADS="1")
        _, said = done.communicate(timeout=580)
        assert done.returncode == 0, said
    for name, columns in reports.items():
        cells = pd.read_csv(tmp_path / "found" / "report" / name / "table.csv")
        filled = cells[cells.n > 0]
        assert set(filled.column) == columns
        assert len(filled) == len(methods) * len(columns)
        assert filled.paper_mean.notna().all()


@pytest.mark.parametrize(
    ("name", "more", "told"),
    [
        ("mosi", (), ()),
        ("mosi", (), ("method=supervised",)),
        ("mm_imdb", (), ()),
        ("vision_touch", (SMALL,), ()),
    ],
)
def test_fine_tuning_begins_with_a_runs_encoders(cli, name, more, told):
    """SupCon, the cross-entropy of classes and of each genre, the squared error of a position: by their presets."""
    convert(name)
    evaluator = "linear" if name == "vision_touch" else "probe_linear"
    run(cli, name, "trainer.max_steps=3", f"evaluator=[{evaluator}]", *more)
    (first,) = Path("out/multibench", name).iterdir()
    begun = tensors.load(first / "encoders.pt")["encoders"]
    rows = run(
        cli, f"tuned/{name}", f"start_from={first}", "trainer.max_steps=1", "optimizer.lr=1e-30",
        "optimizer.weight_decay=0", f"evaluator=[{evaluator}]", *more, *told,
    )  # fmt: skip
    assert rows.value.notna().all()
    (tuned,) = Path("out/multibench/tuned", name).iterdir()
    ended = tensors.load(tuned / "encoders.pt")["encoders"]
    for part, values in begun.items():
        # The head belongs to the objective; a residual network's statistics go on.
        going_on = name == "vision_touch" and part.endswith(
            ("running_mean", "running_var", "num_batches_tracked")
        )
        if not part.startswith("project.") and not going_on:
            assert torch.equal(values, ended[part]), part


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("data.folder=data/none",), "no such folder"),
        (("data.views=[vision,smell]",), "smell.npy: missing"),
        (("encoder.encoding_size=42",), "heads"),
        (("evaluation.n_fit=100000",), "n=100000: must be <= "),
        (("method=sup_con", "loss.label=mood"), "loss.label='mood': must be one of label"),
        (("method=supervised", "loss.kind=numbers"), "components of continuous values"),
        (
            ("method=supervised", "evaluator=[heldout_loss]", "evaluation.n_fit=20", "evaluation.n_test=20"),
            "the label 'label'",
        ),
        (("start_from=out/0123456789",), "no run there that has been trained"),
        (("start_from=out/best",), "must be a run's own folder"),
    ],
)
def test_what_does_not_fit_is_a_line(cli, overrides, said):
    convert("mosi")
    done = cli(
        "train.py", "experiment=multibench/mosi", f"batch_size={BATCH}", "trainer.max_steps=1", *overrides
    )
    assert done.code in (1, 2)
    assert said in done.err
    assert "Traceback" not in done.err
