"""Tables as text that Markdown's readers draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Lines of ``|`` between cells, the last one ended; ``None`` is an empty cell.

    >>> print(markdown_table(["x", "y"], [[1, None]]), end="")
    | x | y |
    |---|---|
    | 1 |  |
    """
    lines = [columns, *rows]
    text = ["| " + " | ".join("" if cell is None else str(cell) for cell in line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(columns), *text[1:]]) + "\n"
