"""Range checks with messages for people. Knows nothing of the rest; every room may use it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def require(condition: bool, name: str, value: Any, allowed: str) -> None:
    """Raise ``ValueError("<name>=<value>: must be <allowed>")`` unless ``condition`` holds.

    >>> require(False, "temperature", -1.0, "> 0")
    Traceback (most recent call last):
    ...
    ValueError: temperature=-1.0: must be > 0
    """
    if not condition:
        raise ValueError(f"{name}={value!r}: must be {allowed}")


def require_share(name: str, value: float) -> None:
    """Raise ``ValueError`` that names the field unless ``value``, a share or probability, is in [0, 1]."""
    require(0 <= value <= 1, name, value, "in [0, 1]")


def require_view_names(names: Iterable[str]) -> None:
    """Raise ``ValueError`` for a view's name that would mean something else among encodings: ``x1+x2``, ``x1@1``."""
    for name in names:
        good = not set("+@") & set(name) and name not in ("each", "other", "all", "first")
        require(
            good,
            "view",
            name,
            "a name without '+' and '@', and not each, other, all or first: encodings are called so",
        )


def require_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise ``ValueError`` that lists the choices unless ``value`` is one of them."""
    choices = tuple(choices)
    require(value in choices, name, value, "one of " + ", ".join(map(str, choices)))
