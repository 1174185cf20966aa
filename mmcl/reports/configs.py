"""Configs as flat columns: dotted names, and values as text; and what overrides say of them."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmcl.errors import UserError

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's loader where PyYAML was built with it: ten times as fast, which a sweep of a thousand runs needs."""


def load(text: str) -> Any:
    """The YAML in ``text``, safely. Raises ``yaml.YAMLError``."""
    return yaml.load(text, Loader)


def load_config(path: Path) -> dict[str, Any]:
    """The ``config.yaml`` of a run.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is damaged.
    """
    try:
        values = load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"not valid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict):
        raise ValueError("not a config")
    return values


def read_config(path: Path) -> dict[str, str]:
    """The ``config.yaml`` of a run as ``{dotted name: text}``.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        return {name: text(value) for name, value in leaves(load_config(path))}
    except FileNotFoundError:
        raise UserError(f"{path}: missing; copy the whole run directory") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}; copy it from the original run") from None


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``a.b.c`` and its value for everything in a config that is not a mapping."""
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from leaves(value, f"{name}.")
        else:
            yield name, value


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


HASHES = ("run_key", "evaluation_key")
"""Columns whose values are hashes, of which some look like numbers: 12e4567890 is not infinity."""


def canonical_of(column: str, value: Any) -> str:
    """The :func:`canonical` value of a column; a hash stays as it is."""
    return text(value) if column in HASHES else canonical(value)


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


REMOVED = object()
"""What an override ``~key`` makes of it."""


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """``key -> value`` of overrides, of which the last one of a key counts; Hydra's own are left out.

    >>> parse_overrides(["seed=1", "+loss.x=1e-3", "data=numerical", "hydra.job.num=3"])
    {'seed': 1, 'loss.x': 0.001, 'data': 'numerical'}
    """
    found: dict[str, Any] = {}
    for override in overrides:
        key, equals, value = override.lstrip("+~").partition("=")
        if key != "hydra" and not key.startswith("hydra."):
            found[key] = REMOVED if override.startswith("~") else parse(value) if equals else ""
    return found


WORDS = {"true": True, "false": False, "null": None}
INTEGER = re.compile(r"[+-]?(0|[1-9](_?\d)*)")
FLOAT = re.compile(
    r"[+-]?(\d(_?\d)*\.(\d(_?\d)*)?|\.\d(_?\d)*|\d(_?\d)*(?=e))(e[+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE
)


def parse(text: str) -> Any:
    """The value of an override as Hydra reads it, whose grammar is neither YAML's nor JSON's.

    >>> [parse(v) for v in ("True", "1e-3", "on", "1:30", "007", "'x y'", "[relu,[1, 2.0]]", "{a:1}")]
    [True, 0.001, 'on', '1:30', '007', 'x y', ['relu', [1, 2.0]], {'a': 1}]
    """
    text = text.strip()
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if INTEGER.fullmatch(text):
        return int(text)
    if FLOAT.fullmatch(text):
        return float(text)
    ends = text[:1] + text[-1:] if len(text) > 1 else ""
    if ends in ("''", '""'):
        return text[1:-1].replace("\\" + ends[0], ends[0])
    if ends == "[]":
        return [parse(part) for part in _parts(text[1:-1])]
    if ends == "{}":
        pairs = [part.partition(":") for part in _parts(text[1:-1])]
        return {str(parse(key)): parse(value) for key, _, value in pairs}
    return text


def _parts(text: str) -> list[str]:
    """``text`` at the commas that stand in no brackets or quotes."""
    parts, depth, quote = [""], 0, ""
    for c in text:
        if quote:
            quote = "" if c == quote and not parts[-1].endswith("\\") else quote
        elif c in "'\"":
            quote = c
        else:
            depth += (c in "[{(") - (c in "]})")
        if c == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += c
    return parts if text.strip() else []


def train_command(overrides: Sequence[str] | None, *, multirun: bool) -> str:
    """The command that makes a run; ``multirun``: in its sweep's folder. Empty where nothing says its overrides."""
    if overrides is None:
        return ""
    return shlex.join(["python", "train.py", *(["-m"] if multirun else []), *overrides])
