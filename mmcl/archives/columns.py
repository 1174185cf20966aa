"""From cells of text to a factor: classes, or a continuous value."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmcl.errors import UserError

WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


@dataclass(frozen=True)
class Column:
    """What a column of training holds.

    Fields:
        name: the column's.
        classes: its distinct values, whole numbers in their order or texts in alphabetical order; ``None``: it is
            continuous.
    """

    name: str
    classes: tuple[str, ...] | None

    @classmethod
    def of(cls, name: str, cells: Mapping[str, str]) -> Column:
        """Whole numbers and texts are classes, other numbers are continuous.

        Args:
            name: the column's.
            cells: its distinct cells -> where one of them stands, for messages.

        Raises:
            UserError: an empty, NaN or infinite cell, numbers and texts in one column, or one value alone.

        >>> Column.of("size", {"10": "line 2", "9": "line 3"}).classes
        ('9', '10')
        >>> Column.of("size", {"10": "line 2", "9.5": "line 3"}).classes is None
        True
        """
        for cell, where in cells.items():
            check_cell(name, cell, where)
        distinct = sorted({cell.strip() for cell in cells})
        numbers = [cell for cell in distinct if _number(cell) is not None]
        if numbers and len(numbers) < len(distinct):
            text, where = next((c, w) for c, w in cells.items() if _number(c) is None)
            raise UserError(
                f"{where}, column {name}: {text!r} is no number, where other rows have such as {numbers[0]!r}; write "
                "numbers in all rows, or in none"
            )
        if len(distinct) < 2:
            raise UserError(f"column {name}: is {distinct[0]!r} in all of training; leave it out")
        if not numbers:
            return cls(name, tuple(distinct))
        if all(WHOLE.fullmatch(cell) for cell in distinct):
            return cls(name, tuple(sorted({str(int(cell)) for cell in distinct}, key=int)))
        return cls(name, None)

    def values(self, cells: Sequence[str], where: Sequence[str]) -> np.ndarray:
        """``(n,)``: float32, or int64, the number of the class; one more for those that training has not.

        Args:
            cells: of the column.
            where: where each of them stands, for messages.

        Raises:
            UserError: a cell of a continuous column that is no finite number.
        """
        if self.classes is not None:
            places = {name: place for place, name in enumerate(self.classes)}
            return np.array([places.get(_plain(cell), len(places)) for cell in cells], dtype=np.int64)
        for cell, place in zip(cells, where, strict=True):
            check_cell(self.name, cell, place)
            if _number(cell) is None:
                raise UserError(
                    f"{place}, column {self.name}: {cell!r} is no number, where training has numbers"
                )
        return np.array([float(cell) for cell in cells], dtype=np.float32)


def check_cell(name: str, cell: str, where: str) -> None:
    """Raise ``UserError`` for an empty cell, and for a NaN or infinite one."""
    number = _number(cell)
    if not cell.strip() or (number is not None and not math.isfinite(number)):
        what = f"{cell!r} is no value" if cell.strip() else "empty"
        raise UserError(f"{where}, column {name}: {what}; fill it, or take the row out")


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _plain(cell: str) -> str:
    """A cell as :class:`Column` names its class: 07 is 7."""
    cell = cell.strip()
    return str(int(cell)) if WHOLE.fullmatch(cell) else cell
