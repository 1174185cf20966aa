"""Which columns of somebody's own pairs are factors, and of what role."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmcl.archives.columns import Column
from mmcl.checks import require
from mmcl.worlds import FactorRole
from mmcl.worlds.base import Role


@dataclass(frozen=True)
class Named:
    """A factor as the config names it.

    Fields:
        name: of the factor: ``COLUMN`` for content, ``COLUMN.VIEW`` for the others.
        column: that it is read from.
        role, view: see :class:`~mmcl.worlds.FactorRole`.
    """

    name: str
    column: str
    role: Role
    view: str | None


def named_factors(
    content: Sequence[str], style: Sequence[str], modality_specific: Sequence[str], views: Sequence[str]
) -> list[Named]:
    """The factors that a config names.

    Args:
        content: columns.
        style, modality_specific: ``COLUMN.VIEW`` each.
        views: those that there are.

    Raises:
        ValueError: a factor without one of these views, or one that is named twice.
    """
    for column in content:
        require(bool(column) and "." not in column, "content", column, "the name of a column, without a dot")
    found = [Named(column, column, "content", None) for column in content]
    roles: tuple[tuple[Role, Sequence[str]], ...] = (
        ("style", style),
        ("modality_specific", modality_specific),
    )
    for role, names in roles:
        for name in names:
            column, _, view = name.rpartition(".")
            allowed = f"COLUMN.VIEW, with one of the views {', '.join(views)} and no other dot"
            require(bool(column) and "." not in column and view in views, role, name, allowed)
            found.append(Named(name, column, role, view))
    for field, names in (("factors", [f.name for f in found]), ("columns", [f.column for f in found])):
        require(len(set(names)) == len(names), field, names, "named once each")
    return found


def check_views(images: Sequence[str], texts: Sequence[str]) -> None:
    """Raise ``ValueError`` unless there are two views or more, each named once, at least one of them an image's."""
    names = [*images, *texts]
    require(len(names) >= 2, "images and texts", names, "two views or more")
    require(len(set(names)) == len(names), "images and texts", names, "named once each")
    for name in names:
        require(
            bool(name) and "/" not in name and "." not in name, "views", name, "without a dot and a slash"
        )


class Factors:
    """The factors of all splits: kinds and classes as training has them.

    Args:
        named: the factors.
        cells: split -> column -> its distinct cells -> where one of them stands, for messages; ``train`` is among the
            splits.

    Raises:
        UserError: cells that are no factor, see :class:`~mmcl.archives.columns.Column`.
    """

    def __init__(self, named: Sequence[Named], cells: Mapping[str, Mapping[str, Mapping[str, str]]]) -> None:
        self._columns: dict[str, Column] = {}
        self.roles: dict[str, FactorRole] = {}
        for factor in named:
            column = Column.of(factor.column, cells["train"][factor.column])
            self._columns[factor.name] = column
            classes = None
            for split in cells.values():
                distinct = split[factor.column]
                values = column.values(list(distinct), list(distinct.values()))
                if column.classes is not None:
                    unknown = bool((values == len(column.classes)).any())
                    classes = max(classes or 0, len(column.classes) + unknown)
            self.roles[factor.name] = FactorRole(factor.role, factor.view, classes)

    def of(self, cells: Mapping[str, Sequence[str]], where: Sequence[str]) -> dict[str, Tensor]:
        """Factors of pairs whose ``cells`` are given by column: name -> ``(n, 1)``, float32, or int64 for classes."""
        return {
            name: torch.from_numpy(column.values(cells[column.name], where))[:, None]
            for name, column in self._columns.items()
        }


def distinct(cells: Iterable[str], where: Iterable[str]) -> dict[str, str]:
    """Each distinct cell, and where it stands first."""
    found: dict[str, str] = {}
    for cell, place in zip(cells, where, strict=True):
        found.setdefault(cell, place)
    return found
