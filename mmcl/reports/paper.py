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
    tables: list[dict[str, Any]] = yaml.safe_load(
        (Path(__file__).parent / "paper.yaml").read_text(encoding="utf-8")
    )
    return tables


USUAL = {
    "content_size": 5,
    "style_size": 5,
    "content_classes": None,
    "style_classes": None,
    "modality_specific_classes": None,
    "content_std": 1.0,
    "style_std": 1.0,
    "modality_specific_std": 1.0,
    "style_change_std": 1.0,
    "process": "asymmetric",
    "mixing_layers": 3,
}
"""What all rows of the tables have in common, as far as the paper says."""


def find(config: Mapping[str, Any]) -> PaperRow | None:
    """The row for a run's resolved config, or ``None`` where the paper has no such setting."""
    data, encoder = config["data"], config["encoder"]
    sizes = data.get("modality_specific_sizes")
    original = bool(data.get("shared_mixing"))
    if (
        any(data.get(key) != value for key, value in USUAL.items())
        or sizes not in ([5, 5], [0, 0])
        or encoder.get("encoding_size") != 5
        or encoder.get("shared") != original  # B.1: one encoder where f_1 = f_2, distinct ones otherwise
    ):
        return None
    wanted = {
        "change": data["style_change_prob"],
        "statistical": data["statistical"],
        "causal": data["causal"],
    }
    setting = {"original": original, "modality_specific": sizes == [5, 5]}
    for table in _tables():
        if table["setting"] == setting:
            for row in table["rows"]:
                if all(row[key] == value for key, value in wanted.items()):
                    values = {k: (v[0], v[1]) for k, v in row.items() if isinstance(v, list)}
                    return PaperRow(table["table"], values)
    return None
