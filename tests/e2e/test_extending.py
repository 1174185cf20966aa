"""docs/extending.md, done to the letter in a copy of the project."""

import re
import shlex
import shutil

import pandas as pd
import pytest

from tests.conftest import ROOT, process

BLOCK = re.compile(r"```(\w+) (run|file=(\S+))\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    copy = tmp_path_factory.mktemp("project")
    for name in ("mmcl", "conf"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", copy)
    return copy


def run(project, *arguments):
    child = process(*arguments, cwd=project, PYTHONPATH=str(project))
    out, err = child.communicate(timeout=300)
    return child.returncode, out, err


@pytest.mark.slow
def test_the_page_works_as_it_stands(project):
    commands = []
    for _, kind, path, text in BLOCK.findall((ROOT / "docs" / "extending.md").read_text()):
        if kind == "run":
            commands += [shlex.split(line) for line in text.strip().splitlines()]
            continue
        assert not (project / path).exists(), "a new part is a new file"
        (project / path).write_text(text)
    assert len(commands) == 1
    for command in commands:
        assert command[0] == "python"
        code, out, err = run(project, *command[1:])
        assert code == 0, out + err
    results = pd.read_csv(next(project.glob("runs/rotation/*/results.csv")))
    assert set(results.evaluator) == {"linear", "effective_rank"}
    # The views are noisy rotations of the content, so linear encoders of its size keep it.
    content = results[(results.evaluator == "linear") & (results.target == "content")]
    assert content.value.min() > 0.9
    ranks = results[results.evaluator == "effective_rank"].value
    assert ranks.between(1.5, 2.0001).all()

    code, _, err = run(project, "-m", "mmcl", "check", "data=rotation", "data.nosie=1")
    assert code == 2
    assert "data.nosie: unknown key; did you mean noise?" in err
    code, _, err = run(project, "-m", "mmcl", "check", "data=rotation", "data.noise=-1")
    assert "data.noise=-1.0: must be >= 0" in err
