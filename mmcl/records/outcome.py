"""What a run came to, in the form in which loggers are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """The end of a run.

    Args:
        step: optimizer steps done.
        summary: name -> score, one for each factor and kind of predictor.
        columns: of ``results.csv``.
        rows: of ``results.csv``, a value for each column, ``None`` where there is none.
        figure: ``figure.png``.
        pictures: name -> file, of those in which the run's samples are shown.
    """

    step: int
    summary: dict[str, float]
    columns: list[str]
    rows: list[list[Any]]
    figure: Path
    pictures: Mapping[str, Path] = field(default_factory=dict)

    @property
    def images(self) -> dict[str, Path]:
        """Name -> file, of the figure and the pictures."""
        return {"figure": self.figure, **{f"pictures/{name}": path for name, path in self.pictures.items()}}
