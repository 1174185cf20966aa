"""What differs between the runs of a sweep, as a person would name it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmcl.reports.configs import REMOVED, leaves, parse_overrides, text

Value = str | int | float | bool | None

UNSET = "default"
"""Value of a key in a run that neither overrides it nor tells what it is."""

NOT_SHOWN = {"seed", "force", "output"}
"""The seed has a column of its own; the others say where and whether a run is written, not what it is."""


@dataclass(frozen=True)
class RunConfig:
    """What is known of one run: the overrides of its launch, and its resolved config if it has begun."""

    overrides: Sequence[str]
    config: Mapping[str, Any] | None


@dataclass(frozen=True)
class Swept:
    """``keys`` that differ between the runs, and for each run their values in that order."""

    keys: list[str]
    values: list[tuple[Value, ...]]

    @property
    def labels(self) -> list[str]:
        """The last part of each key, or the whole key where two end alike."""
        short = [key.rpartition(".")[2] for key in self.keys]
        return [s if short.count(s) == 1 else key for s, key in zip(short, self.keys, strict=True)]


def shown(value: Any) -> Value:
    """A config value as it is shown and compared: 1.0 as 1, a list as a person would write it in an override.

    >>> shown(1.0), shown([5, 5]), shown(0.25), shown(None)
    (1, '[5,5]', 0.25, None)
    """
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            return str(value)
        return int(value) if value.is_integer() and abs(value) < 1e15 else value
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, list):
        return "[" + ",".join(text(shown(part)) for part in value) + "]"
    return json.dumps(value, default=str, separators=(",", ":"))


def same(value: Value) -> str:
    """Text that is equal for equal values only; ``True`` and ``1`` are two."""
    return json.dumps(value)


def compare(runs: Sequence[RunConfig]) -> Swept:
    """The keys that differ between ``runs``, seed apart, in the order in which the launches name them.

    First come the overrides that differ: they are what the person chose, so a sweep over ``loss=a,b`` is one key and
    not the dozen values that change with it. Then come values that differ between runs whose overrides are alike,
    such as a default that was edited between two launches. So what differs is either shown or decided by what is shown.
    """
    named = [
        {key: "removed" if value is REMOVED else shown(value) for key, value in said.items()}
        for said in (parse_overrides(run.overrides) for run in runs)
    ]
    flat = [
        None if run.config is None else {name: shown(value) for name, value in leaves(run.config)}
        for run in runs
    ]
    groups = [_groups(run.config) for run in runs]
    keys: list[str] = []
    columns: list[list[Value]] = []
    for key in dict.fromkeys(key for overrides in named for key in overrides):
        column = [_value(key, *known) for known in zip(named, flat, groups, strict=True)]
        if key not in NOT_SHOWN and len({same(value) for value in column}) > 1:
            keys.append(key)
            columns.append(column)
    for key in _unexplained(columns, flat):
        if key not in keys:
            keys.append(key)
            columns.append([UNSET if known is None else known.get(key) for known in flat])
    values = [tuple(column[i] for column in columns) for i in range(len(runs))]
    return Swept(keys, values)


def _groups(config: Mapping[str, Any] | None, prefix: str = "") -> set[str]:
    """The keys of a config that hold a mapping: an override of one chooses a whole group."""
    found: set[str] = set()
    for key, value in (config or {}).items():
        if isinstance(value, Mapping):
            found |= {f"{prefix}{key}", *_groups(value, f"{prefix}{key}.")}
    return found


def _value(key: str, named: Mapping[str, Value], flat: Mapping[str, Value] | None, groups: set[str]) -> Value:
    if flat is not None and key in flat:
        return flat[key]
    if key in named:
        return named[key]
    # A config that has no such key at all has no value; one that was not read, or a group, has its default.
    return None if flat is not None and "." in key and key not in groups else UNSET


def _unexplained(columns: Sequence[Sequence[Value]], flat: Sequence[Mapping[str, Value] | None]) -> list[str]:
    """Config values that differ between runs with the same values in ``columns``."""
    first: dict[tuple[str, ...], Mapping[str, Value]] = {}
    differing: dict[str, None] = {}
    for i, known in enumerate(flat):
        if known is None:
            continue
        reference = first.setdefault(tuple(same(column[i]) for column in columns), known)
        if reference is not known and reference != known:
            for key in {**reference, **known}:
                if reference.get(key) != known.get(key):
                    differing[key] = None
    return [key for key in differing if key not in NOT_SHOWN]
