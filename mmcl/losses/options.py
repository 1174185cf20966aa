"""Config fields that more than one part of an objective has, and their checks."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, TypeVar

from mmcl.checks import require, require_choice

Member = TypeVar("Member", bound=Enum)


class Negatives(Enum):
    """Where the negatives of the anchor h1_i come from; K rows a batch, M rows in the fresh batch.

    * ``cross``: h2_j, j != i, the other modality of the same batch (Eq. 2 and 4); K - 1 of them
    * ``within``: h1_j, j != i, the anchor's own modality; K - 1
    * ``within_fresh``: h1'_j, all j, the own modality of an independent batch (the authors' release); M
    * ``both``: h2_j and h1_j, j != i (NT-Xent, Chen et al., 2020); 2K - 2
    """

    cross = "cross"
    within = "within"
    within_fresh = "within_fresh"
    both = "both"


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
