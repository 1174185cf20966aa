"""A run's name is what it is: a hash of the config that decides its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SCIENCE = ("seed", "batch_size", "data", "encoder", "loss", "optimizer", "trainer")
"""Top-level config keys that decide the trained weights."""

NOT_SCIENCE = {
    "trainer": (
        "accelerator",
        "devices",
        "num_nodes",
        "encode_rows",
        "threads",
        "steps_per_execution",
        "log_every_n_steps",
        "checkpoint_every_n_steps",
    ),
    "loss": ("tile",),
}
"""What stands inside them, in parts of mmcl, but decides only where and how fast the weights are computed."""

DIGITS = 10


def digest(value: Any) -> str:
    """A short hash of a value made of builtins; the order of mapping keys does not matter.

    >>> digest({"a": 1, "b": 2.0}) == digest({"b": 2.0, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def foreign_callbacks(config: Mapping[str, Any]) -> dict[str, Any]:
    """The callbacks of a config that are a library's, by name."""
    return {
        name: node
        for name, node in (config.get("callbacks") or {}).items()
        if not str(node["_target_"]).startswith("mmcl.")
    }


def science(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved config that decides the trained weights.

    Our own callbacks only watch; a library's may do anything to the weights, so they count.
    """
    found = {
        key: (
            {k: v for k, v in config[key].items() if k not in NOT_SCIENCE[key]}
            if key in NOT_SCIENCE and str(config[key].get("_target_")).startswith("mmcl.")
            else config[key]
        )
        for key in SCIENCE
        if key in config
    }
    foreign = foreign_callbacks(config)
    return {**found, "callbacks": foreign} if foreign else found


def run_key(config: Mapping[str, Any]) -> str:
    """The run's name: the hash of its :func:`science`."""
    return digest(science(config))


def evaluation_key(evaluator: Mapping[str, Any]) -> str:
    """The name of an evaluation: the hash of its evaluator's config. A changed evaluator is a new evaluation."""
    return digest(dict(evaluator))
