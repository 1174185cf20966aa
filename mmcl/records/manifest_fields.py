"""What stands in a ``manifest.json``, checked once: no reader meets a field that is not what it takes it for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

Kind = tuple[Callable[[Any], bool], str]
"""Whether a value is right, and what it must be."""


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types) and not isinstance(value, bool)


def _is_moment(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _is_list_of(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(isinstance(v, kind) for v in value)


def _is_git_state(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("commit", ""), str)


def _is_node_of_nodes(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(v, dict) for v in value.values())


NUMBER: Kind = (_is(int, float), "a number")
COUNT: Kind = (_is(int), "a whole number")
TEXT: Kind = (_is(str), "text")
NODE: Kind = (_is(dict), "keys with values")
GIT: Kind = (_is_git_state, "the state of a repository")

REQUIRED = ("status", "run_key", "trained", "attempts", "evaluations", "train_s")
FIELDS: dict[str, Kind] = {
    "status": TEXT,
    "run_key": TEXT,
    "error": (_is(str, type(None)), "text or null"),
    "trained": (lambda value: isinstance(value, bool), "true or false"),
    "attempts": (_is_list_of(dict), "a list of attempts"),
    "evaluations": (_is_node_of_nodes, "evaluators with keys and values"),
    "steps_done": COUNT,
    "train_s": NUMBER,
    "peak_memory_bytes": COUNT,
}
ATTEMPT: dict[str, Kind] = {
    "started": (_is_moment, "a moment, such as 2026-01-31T12:00:00+00:00"),
    "overrides": (_is_list_of(str), "a list of overrides"),
    "wall_s": NUMBER,
    "git": GIT,
    "versions": NODE,
}
EVALUATION: dict[str, Kind] = {"key": TEXT, "seconds": NUMBER, "git": GIT}


def fault_of(manifest: Mapping[str, Any]) -> str | None:
    """The first field that is missing or not what it must be, in words; ``None``: there is none."""
    return next(_faults(manifest), None)


def _faults(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield from _faults_of("", manifest, FIELDS, REQUIRED)
    for n, attempt in enumerate(manifest["attempts"]):
        yield from _faults_of(f"attempts[{n}].", attempt, ATTEMPT)
    for name, made in manifest["evaluations"].items():
        yield from _faults_of(f"evaluations.{name}.", made, EVALUATION, ("key", "seconds"))


def _faults_of(
    where: str, node: Mapping[str, Any], fields: Mapping[str, Kind], required: Sequence[str] = ()
) -> Iterator[str]:
    for name in required:
        if name not in node:
            yield f"{where}{name}: missing"
    for name, (is_right, what) in fields.items():
        if name in node and not is_right(node[name]):
            yield f"{where}{name}={node[name]!r}: must be {what}"
