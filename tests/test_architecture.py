"""Which way imports run: docs/architecture.md draws it, this holds it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mmcl"

# room -> the parts of mmcl and the heavy libraries that it may import
BASE = {"checks"}
ALLOWED: dict[str, set[str]] = {
    "checks": set(),
    "cores": set(),
    "errors": set(),
    "random": {"torch", "numpy"},
    "worlds": BASE | {"torch", "numpy", "scipy", "sklearn", "rendering"},
    "rendering": BASE | {"numpy", "matplotlib", "errors"},
    "archives": BASE | {"numpy", "matplotlib", "errors", "records", "rendering"},
    "augmentations": BASE | {"torch", "torchvision"},
    "encoders": BASE | {"torch", "torchvision"},
    "theory": BASE | {"torch"},
    "losses": BASE | {"torch"},
    "evaluators": BASE | {"torch", "numpy", "sklearn", "theory"},
    "records": {"torch", "errors"},
    "data": BASE | {
        "torch", "torchvision", "numpy", "lightning", "rich", "errors", "worlds", "random", "archives",
    },
    "training": BASE | {
        "torch", "numpy", "lightning", "rich", "errors", "worlds", "random", "encoders", "augmentations", "losses",
        "evaluators", "records", "cores",
        "wandb",
    },
    "reports": {"errors", "records", "numpy", "pandas", "matplotlib", "plotly", "rich", "yaml"},
    "config": BASE | {"errors", "records", "hydra", "omegaconf"},
    "experiment": {
        "torch", "lightning", "yaml", "rich", "omegaconf", "checks", "errors", "random", "config", "data", "worlds",
        "training", "theory", "evaluators", "records", "visuals",
    },
    "sweeps": {"errors", "config", "records", "cores"},
    "jobs": {"errors", "config", "experiment", "reports", "records", "training", "hydra", "omegaconf"},
    "pictures": BASE | {"numpy", "matplotlib", "sklearn"},
    "visuals": {"torch", "numpy", "matplotlib", "evaluators", "pictures", "records", "worlds"},
    "plane": {"torch", "numpy", "losses", "theory", "pictures", "records", "visuals"},
    "supervised": {"torch", "data", "encoders", "evaluators"},
    "commands": {
        "torch", "data", "plane", "supervised", "errors", "cli", "config", "experiment", "reports", "records",
        "archives", "cores", "rich",
    },
    "cli": {"errors", "config", "jobs", "sweeps", "reports", "records", "training", "hydra"},
    "__main__": {"commands"},
    "__init__": set(),
}  # fmt: skip
LIBRARIES = {
    "torch", "numpy", "scipy", "sklearn", "lightning", "hydra", "omegaconf", "pandas", "matplotlib", "rich", "yaml",
    "wandb", "torchvision", "plotly",
}  # fmt: skip
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which room is meant"
            base = node.module or ""
            names = [f"{base}.{a.name}" for a in node.names] if base == "mmcl" else [base]
        for name in names:
            parts = name.split(".")
            if parts[0] == "mmcl":
                found.add(parts[1])
            elif parts[0] in LIBRARIES:
                found.add(parts[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert imports(path) - {room} <= ALLOWED[room]


def test_the_reader_of_imports_sees_them():
    assert imports(PACKAGE / "cli.py") >= {"errors", "jobs", "reports"}
    assert imports(PACKAGE / "training" / "module.py") >= {"lightning", "encoders", "worlds"}


def test_only_config_builds_objects_with_hydra():
    users = [p for p in FILES if "hydra.utils" in p.read_text()]
    assert [str(p.relative_to(PACKAGE)) for p in users] == ["config/targets.py"]


def test_the_drawn_rooms_are_the_rooms_there_are():
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    for room in ALLOWED:
        if not room.startswith("__"):
            assert f"`{room}`" in page, room
