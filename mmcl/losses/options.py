"""Checks of config fields that more than one loss shares."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, TypeVar

from mmcl.checks import require, require_choice

Member = TypeVar("Member", bound=Enum)


def require_positive(name: str, value: float) -> None:
    """Raise ``ValueError`` that names the field unless ``value`` is a positive, finite number."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    require(number and math.isfinite(value) and value > 0, name, value, "a finite number > 0")


def as_member(members: type[Member], name: str, value: Any) -> Member:
    """The member itself, or the member of that name; ``ValueError`` lists the names otherwise.

    Hydra hands over members when a schema is merged, and plain strings when a preset is loaded by itself.
    """
    if isinstance(value, members):
        return value
    require_choice(name, value, members.__members__)
    return members[value]
