"""Small sweeps on disk: run directories of known values, without training."""

from __future__ import annotations

import csv
import json

import yaml

COLUMNS = (
    "run_key", "seed", "evaluator", "evaluation_key", "split", "representation", "intervention", "target", "metric",
    "value", "chance", "ceiling", "n_fit", "n_test",
)  # fmt: skip
CONTENT = {0: 0.90, 1: 0.92, 2: 0.97}
"""The content score of each seed: mean 0.93, sample standard deviation 0.0360555."""


def key_of(causal, seed):
    return f"{'b' if causal else 'a'}{seed:09d}"


def overrides_of(causal, seed):
    return ["experiment=tiny", f"data.causal={str(causal).lower()}", f"seed={seed}"]


def score_rows(key, seed, content, style=0.1):
    """Two encodings and three factors. The mean over own encodings is ``content`` and ``style``."""
    values = {
        ("x1", "content"): content - 0.01,
        ("x2", "content"): content + 0.01,
        ("x1", "style.x1"): style - 0.05,
        ("x2", "style.x2"): style + 0.05,
        ("x2", "style.x1"): 9.0,  # another modality's: not counted
    }
    return [
        dict(
            zip(
                COLUMNS,
                (key, seed, "ridge", "e1", "test", z, "none", target, "r2", value, 0.0, 0.5, 8, 8),
                strict=True,
            )
        )
        for (z, target), value in values.items()
    ]


def write_run(
    sweep, causal, seed, *, status="COMPLETED", content=None, commit="c" * 40, error=None, key=None, **more
):
    """A run directory; ``more`` replaces top-level config values."""
    key = key or key_of(causal, seed)
    folder = sweep / key
    folder.mkdir(parents=True)
    config = {
        "name": "tiny",
        "seed": seed,
        "batch_size": 4,
        "data": {"_target_": "mmcl.worlds.Tiny", "causal": causal, "style_change_prob": 1.0, "sizes": [5, 5]},
        "evaluator": {"ridge": {"alphas": [1.0]}},
        **more,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    manifest = {
        "schema_version": 1,
        "run_key": key,
        "seed": seed,
        "status": status,
        "trained": status == "COMPLETED",
        "error": error,
        "attempts": [
            {
                "overrides": overrides_of(causal, seed),
                "threads": 2,
                "wall_s": 10.0 + seed,
                "versions": {"torch": "2.9"},
                "git": {"commit": commit, "dirty": False},
            }
        ],
        "steps_done": 7,
        "train_s": 8.0,
        "evaluations": {"ridge": {"key": "e1", "seconds": 1.5}},
        "peak_memory_bytes": 2**30,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if status == "COMPLETED":
        rows = score_rows(key, seed, CONTENT.get(seed, 0.9) if content is None else content)
        write_rows(folder / "results.csv", rows)
    return folder


def write_rows(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_launch(sweep, runs):
    launches = {key_of(c, s): overrides_of(c, s) for c, s in runs}
    sweep.mkdir(parents=True, exist_ok=True)
    (sweep / "sweep.json").write_text(json.dumps({"schema_version": 1, "runs": launches}))


def write_sweep(sweep, skip=()):
    """Two settings of three seeds; those in ``skip`` are expected but not there."""
    runs = [(causal, seed) for causal in (True, False) for seed in (2, 0, 1)]
    write_launch(sweep, runs)
    for causal, seed in runs:
        if (causal, seed) not in skip:
            write_run(sweep, causal, seed)
    return sweep
