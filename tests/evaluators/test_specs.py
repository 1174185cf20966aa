"""Specs refuse bad values, the YAML files say every field, and importing costs no scikit-learn."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

import mmcl.evaluators
from mmcl.evaluators import (
    DirectionRidge,
    HeldoutLoss,
    KernelRidge,
    LinearRegression,
    LogisticRegression,
    MLPClassifier,
    Probe,
    SharedDimension,
)

CONFIGS = Path(__file__).parents[2] / "conf" / "evaluator"
EXPECTED = {
    "linear": ("linear", LinearRegression()),
    "kernel_ridge": ("kernel_ridge", KernelRidge()),
    "intervention": ("kernel_ridge_intervention", KernelRidge(interventions=["permute_content"])),
    "directions": ("directions", DirectionRidge()),
    "logistic": ("logistic", LogisticRegression()),
    "mlp": ("mlp", MLPClassifier()),
    "probe_linear": ("probe_linear", Probe()),
    "probe_weighted": ("probe_weighted", Probe(class_weighted=True)),
    "probe_mlp": ("probe_mlp", Probe(kind="mlp", penalties=[0.01, 0.001, 0.0001])),
    "probe_bilinear": ("probe_bilinear", Probe(kind="bilinear", penalties=[1.0, 0.1, 0.01, 0.001, 0.0001])),
    "heldout_loss": ("heldout_loss", HeldoutLoss()),
    "shared_dimension": ("shared_dimension", SharedDimension()),
}


@pytest.mark.parametrize("file", EXPECTED)
def test_config_says_every_field_at_its_default(file: str) -> None:
    name, spec = EXPECTED[file]
    config: dict[str, dict[str, Any]] = yaml.safe_load((CONFIGS / f"{file}.yaml").read_text())
    assert list(config) == [name]
    entry = config[name]
    assert entry.pop("_target_") == f"mmcl.evaluators.{type(spec).__name__}"
    assert set(entry) == {f.name for f in fields(spec)}
    # A value that the run's config fills in (${...}) is checked where configs are composed.
    filled_in = {k for k, v in entry.items() if isinstance(v, str) and v.startswith("${")}
    entry |= {k: getattr(spec, k) for k in filled_in}
    assert getattr(mmcl.evaluators, type(spec).__name__)(**entry) == spec
    assert entry == asdict(spec)
    for f in fields(spec):
        value, default = entry[f.name], getattr(spec, f.name)
        assert type(value) is type(default), f"{f.name}: Hydra keeps the type the YAML has"


def test_gammas_are_the_released_grid() -> None:
    assert KernelRidge().gammas == pytest.approx([10 ** (-2 + 4 * k / 3) for k in range(4)], rel=1e-12)


@pytest.mark.parametrize(
    ("spec", "values", "message"),
    [
        (LinearRegression, {"n_fit": 1}, "n_fit=1: must be >= 2"),
        (LinearRegression, {"n_test": 1}, "n_test=1: must be >= 2"),
        (LinearRegression, {"interventions": []}, r"interventions=\[\]: must be a non-empty list"),
        (LinearRegression, {"interventions": ["none", "none"]}, "interventions=.*without repetition"),
        (
            LogisticRegression,
            {"interventions": ["swap"]},
            "interventions='swap': must be one of none, permute",
        ),
        (LogisticRegression, {"max_iter": 0}, "max_iter=0: must be >= 1"),
        (MLPClassifier, {"hidden_size": 0}, "hidden_size=0"),
        (MLPClassifier, {"epochs": 0}, "epochs=0"),
        (MLPClassifier, {"probe_seed": -1}, "probe_seed=-1"),
        (KernelRidge, {"alphas": []}, r"alphas=\[\]"),
        (KernelRidge, {"alphas": [1.0, 0.0]}, r"alphas=\[1.0, 0.0\]"),
        (KernelRidge, {"gammas": [-1.0]}, r"gammas=\[-1.0\]"),
        (KernelRidge, {"gammas": [float("nan")]}, r"gammas=\[nan\]"),
        (KernelRidge, {"folds": 1}, "folds=1: must be >= 2"),
        (KernelRidge, {"folds": 4, "n_fit": 7}, "n_fit=7: must be >= 2 \\* folds = 8"),
        (KernelRidge, {"chunk": 0}, "chunk=0"),
        (Probe, {"kind": "svm"}, "kind='svm': must be one of linear, mlp, bilinear"),
        (Probe, {"penalties": []}, r"penalties=\[\]"),
        (Probe, {"penalties": [0.1, 0.0]}, r"penalties=\[0.1, 0.0\]"),
        (Probe, {"targets": []}, r"targets=\[\]: must be different names, or null"),
        (Probe, {"targets": ["a", "a"]}, "targets=.*different names"),
        (Probe, {"held_out": 1.0}, r"held_out=1.0: must be in \(0, 1\)"),
        (Probe, {"hidden_size": 0}, "hidden_size=0"),
        (Probe, {"max_features": 0}, "max_features=0"),
        (Probe, {"probe_seed": -1}, "probe_seed=-1"),
        (SharedDimension, {"n_fit": 2}, "n_fit=2: must be >= 3"),
        (HeldoutLoss, {"batch_size": 1}, "batch_size=1"),
        (HeldoutLoss, {"n_test": 100}, "n_test=100: must be >= batch_size = 512"),
    ],
)
def test_bad_values_are_refused_by_field(spec: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec(**values)


@pytest.mark.parametrize(
    "module",
    [
        "base",
        "scores",
        "kernel_ridge",
        "classifiers",
        "directions",
        "shared_dimension",
        "probes",
        "softmax_regression",
    ],
)
def test_doctests(module: str) -> None:
    result = doctest.testmod(
        importlib.import_module(f"mmcl.evaluators.{module}"), extraglobs={"torch": __import__("torch")}
    )
    assert result.attempted > 0
    assert result.failed == 0


def test_import_is_light() -> None:
    heavy = ("sklearn", "lightning", "hydra")
    code = f"import sys, mmcl.evaluators; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
