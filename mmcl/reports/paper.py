"""The papers' printed values, found by a run's config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class PaperRow:
    """A row of a paper's table: where it stands, and (mean, standard deviation) for each role of a factor."""

    table: str
    values: Mapping[str, tuple[float, float]]

    def text(self, role: str) -> str:
        """``0.99 ± 0.00``, or a dash where the paper has no value."""
        if role not in self.values:
            return "–"
        mean, spread = self.values[role]
        return f"{mean:.2f} ± {spread:.2f}"


@cache
def _tables() -> list[dict[str, Any]]:
    tables: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "paper.yaml").read_text())
    return tables


def find(data: Mapping[str, Any]) -> PaperRow | None:
    """The row for a numerical world's config, or ``None`` where the paper has no such setting."""
    wanted = {
        "change": data.get("style_change_prob"),
        "statistical": data.get("statistical"),
        "causal": data.get("causal"),
    }
    sizes = data.get("modality_specific_sizes")
    usual = (
        data.get("content_size") == data.get("style_size") == 5
        and sizes in ([5, 5], [0, 0])
        and data.get("process") == "asymmetric"
        and not any(data.get(f"{role}_classes") for role in ("content", "style", "modality_specific"))
    )
    if not usual:
        return None
    setting = {"original": bool(data.get("shared_mixing")), "modality_specific": sizes == [5, 5]}
    for table in _tables():
        if table["setting"] == setting:
            for row in table["rows"]:
                if all(row[key] == value for key, value in wanted.items()):
                    values = {k: (v[0], v[1]) for k, v in row.items() if isinstance(v, list)}
                    return PaperRow(table["table"], values)
    return None
