"""Configs as flat columns: dotted names, and values as text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmcl.errors import UserError

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's loader where PyYAML was built with it: ten times as fast, which a sweep of a thousand runs needs."""


def load(text: str) -> Any:
    """The YAML in ``text``, safely. Raises ``yaml.YAMLError``."""
    return yaml.load(text, Loader)


def read_config(path: Path) -> dict[str, str]:
    """The ``config.yaml`` of a run as ``{dotted name: text}``.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        values = load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: missing; copy the whole run directory") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: not valid YAML ({str(error).splitlines()[0]}); copy it from the original run"
        ) from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: not a config; copy it from the original run")
    return dict(_leaves(values, ""))


def _leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, text(value)


def text(value: Any) -> str:
    """A config value as the command line takes it.

    >>> [text(v) for v in (True, None, 0.75, "nt_xent", [5, 5])]
    ['true', 'null', '0.75', 'nt_xent', '[5, 5]']
    """
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def canonical(value: Any) -> str:
    """The same text for values that are equal, however they were written.

    >>> canonical(1), canonical("1.0"), canonical("True"), canonical("nt_xent")
    ('1.0', '1.0', 'true', 'nt_xent')
    """
    written = text(value).strip()
    if written.lower() in ("true", "false", "null"):
        return written.lower()
    try:
        return json.dumps(json.loads(written)) if written.startswith("[") else repr(float(written))
    except ValueError:
        return written


def plain(value: str) -> str:
    """A canonical value as a person writes it.

    >>> plain("2.0"), plain("0.5"), plain("v2.0")
    ('2', '0.5', 'v2.0')
    """
    whole = value.removesuffix(".0")
    return whole if whole.lstrip("-").isdigit() else value


def sort_key(values: Sequence[str]) -> tuple[tuple[bool, float, str], ...]:
    """Orders texts: numbers by size, then all others by letter."""
    return tuple(_sort_key(canonical(value)) for value in values)


def _sort_key(value: str) -> tuple[bool, float, str]:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    return (True, 0.0, value) if math.isnan(number) else (False, number, "")


def from_overrides(overrides: Sequence[str]) -> dict[str, str]:
    """What ``key=value`` overrides say, as ``{key: text}``; what is removed with ``~`` is left out.

    >>> from_overrides(["data.causal=True", "+seed=3"])
    {'data.causal': 'true', 'seed': '3'}
    """
    found = {}
    for override in overrides:
        key, equals, value = override.lstrip("+").partition("=")
        if equals and not key.startswith("~"):
            try:
                found[key] = text(load(value))
            except (yaml.YAMLError, TypeError):
                found[key] = value
    return found
