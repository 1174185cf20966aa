"""A run's name is what it is: a hash of the config that decides its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

SCIENCE = (
    "seed",
    "batch_size",
    "start_from",
    "data",
    "encoder",
    "loss",
    "augmentation",
    "optimizer",
    "trainer",
)
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
    "data": ("cache", "workers", "download"),
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


def owner(name: str) -> str:
    """The node whose ``_target_`` says whose class the config value with the dotted ``name`` is of.

    >>> owner("loss.tile"), owner("callbacks.swa.lr"), owner("seed")
    ('loss', 'callbacks.swa', 'seed')
    """
    return ".".join(name.split(".")[: 2 if name.startswith("callbacks.") else 1])


def decides(name: str, target: str) -> bool:
    """Whether the config value with the dotted ``name`` decides the trained weights.

    Our own callbacks only watch; a library's may do anything to the weights, so they count. What a field of a
    library's class means is not known, so all of them count.

    Args:
        name: such as ``loss.tile`` or ``callbacks.swa.lr``.
        target: the ``_target_`` of its :func:`owner`; anything where that has none.
    """
    top, _, rest = name.partition(".")
    ours = target.startswith("mmcl.")
    if top == "callbacks":
        return bool(rest) and not ours
    return top in SCIENCE and not (ours and rest.partition(".")[0] in NOT_SCIENCE.get(top, ()))


def foreign_callbacks(config: Mapping[str, Any]) -> dict[str, Any]:
    """The callbacks of a config that are a library's, by name; ``null`` (``callbacks.progress=null``) is none."""
    nodes = {name: node for name, node in (config.get("callbacks") or {}).items() if node is not None}
    return _decisive("callbacks", nodes)


def _decisive(top: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the weights in the top-level ``node`` of a config."""

    def target(name: str) -> str:
        of = node if name == top else node[name.removeprefix(f"{top}.")]
        return str(of.get("_target_"))

    names = {key: f"{top}.{key}" for key in node}
    return {key: node[key] for key, name in names.items() if decides(name, target(owner(name)))}


def science(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved config that decides the trained weights: the values that :func:`decides` names."""
    found = {
        key: _decisive(key, config[key]) if isinstance(config[key], Mapping) else config[key]
        for key in SCIENCE
        if config.get(key) is not None
    }
    if "start_from" in found:  # a run, wherever it lies, which is called by its key
        found["start_from"] = PurePath(str(found["start_from"])).name
    foreign = foreign_callbacks(config)
    return {**found, "callbacks": foreign} if foreign else found


def run_key(config: Mapping[str, Any]) -> str:
    """The run's name: the hash of its :func:`science`."""
    return digest(science(config))


def evaluation_key(evaluator: Mapping[str, Any]) -> str:
    """The name of an evaluation: the hash of its evaluator's config. A changed evaluator is a new evaluation."""
    return digest(dict(evaluator))


def evaluation_keys(config: Mapping[str, Any]) -> dict[str, str]:
    """The :func:`evaluation_key` of each evaluator of a resolved config, by name."""
    return {name: evaluation_key(node) for name, node in config["evaluator"].items()}
