"""Image/text pairs from nothing: made, learned from and evaluated, and held to what was learned from."""

import subprocess
import sys

import pandas as pd
import pytest

from mmcl.archives.generate import Recipe, generate
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def call(folder, script, *words):
    command = [sys.executable, str(ROOT / script), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)


def test_a_run_on_an_archive(tmp_path):
    pairs = {"train": 300, "val": 60, "test": 60}
    assert generate(tmp_path / "data/smoke", Recipe(pairs=pairs, size=32), processes=1)
    done = call(tmp_path, "train.py", "experiment=image_text/smoke")
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.glob("runs/image_text/smoke/*")
    rows = pd.read_csv(run / "results.csv")
    assert set(rows.representation) == {"image", "text", "factors.image", "factors.text"}
    scores = rows[rows.evaluator == "mlp"].set_index(["representation", "target"]).value
    # Place is content, and learned first; 60 pairs that tell nothing have an accuracy above 0.56 once in 10,000 times.
    assert scores["image", "object_xpos"] > 0.56
    assert scores["text", "object_xpos"] > 0.56
    # A text's phrasing says nothing of the image's colours, nor the other way round: every factor from every encoding.
    assert len(scores) == 2 * 5
    # A text's words for the colour and the place tell of the hue, as far as 60 pairs can teach it.
    told = rows[rows.evaluator == "other_factors"].set_index(["representation", "target"]).value
    assert told["factors.text", "object_color.image"] > 0.3
    found = rows[rows.evaluator == "retrieval"].set_index(["representation", "target", "metric"])
    assert set(found.index.get_level_values(2)) == {
        "recall_at_1",
        "recall_at_5",
        "recall_at_10",
        "median_rank",
    }
    assert found.loc[("image", "text", "recall_at_10"), "chance"] == pytest.approx(10 / 60)
    assert {path.stem for path in (run / "pictures").iterdir()} == {
        "maps",
        "neighbours",
        "draws",
        "classes",
        "predictions",
    }
    again = call(tmp_path, "train.py", "experiment=image_text/smoke")
    assert again.returncode == 0, again.stderr
    # Other pairs in the same folder are not those that the run was trained with.
    line = tmp_path / "data/smoke/test/SHA256SUMS"
    line.write_text(line.read_text().replace("0", "1", 1))
    other = call(tmp_path, "evaluate.py", f"run_dir={run}")
    assert other.returncode == 1
    assert "its split test is not the one that this run was trained with" in other.stderr
    assert "Traceback" not in other.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("data.folder=nowhere",),
            "nowhere/train: no split of an archive; nowhere has none: mmcl data generate or",
        ),
        (
            ("evaluation.n_test=61",),
            "n=61: must be <= 60, the pairs of test: set evaluation.n_fit, n_test and pictures to that",
        ),
        (("encoder.vocabulary_size=20",), "vocabulary_size=20: must be > "),
        (
            ("encoder.text=released", "data.text_length=12"),
            "texts have 12 words, must have 24 to 31; use encoder.text=pooled",
        ),
    ],
)
def test_what_does_not_fit_is_a_line(tmp_path, words, said):
    pairs = {"train": 80, "val": 60, "test": 60}
    assert generate(tmp_path / "data/smoke", Recipe(pairs=pairs, size=32, samples=1), processes=1)
    done = call(tmp_path, "train.py", "experiment=image_text/smoke", *words)
    assert done.returncode == 1, done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr
