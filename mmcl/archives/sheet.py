"""A sheet of samples: what an archive's pairs look like."""

from __future__ import annotations

import csv
import errno
import textwrap
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mmcl.archives.layout import SPLITS, Kind, Layout, kind_of
from mmcl.errors import UserError
from mmcl.records.files import read_csv

COLUMNS = 7


def sheet(root: Path, path: Path, rows: int = 2) -> None:
    """Draw pairs of the archive in ``root`` into ``path`` (a PNG or PDF).

    Of image/text pairs each column is a shape, with its first ``rows`` >= 1 pairs (the paper's Figures 2 and 4); of
    image pairs a column is a pair, one image over the other, ``rows`` times (Figure 9).

    Raises ``UserError`` where there is no archive, or too few pairs of a shape.
    """
    folder = next((root / split for split in SPLITS if kind_of(root / split)), None)
    kind = kind_of(folder) if folder else None
    if folder is None or kind is None:
        raise UserError(f"{root}: no archive; mmcl data generate {root} makes one")
    try:
        _draw(folder, kind, path, rows)
    except (LookupError, ValueError, OSError, csv.Error) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise
        raise UserError(f"{folder}: damaged ({error}); mmcl data verify {root} says where") from error


def _draw(folder: Path, kind: Kind, path: Path, rows: int) -> None:
    view = next(iter(kind.folders))
    factors = read_csv(folder / f"latents_{view}.csv")
    layout = Layout(kind, folder, len(factors))
    chosen = _by_shape(factors, rows, folder) if kind is Kind.image_text else _in_order(factors, rows, folder)
    lines = layout.text.read_text().split("\n") if kind is Kind.image_text else []
    across = len(kind.folders)
    figure = Figure(
        figsize=(1.5 * COLUMNS, 2.0 * rows if lines else 1.55 * rows * across), layout="constrained"
    )
    axes = figure.subplots(rows * across, COLUMNS, squeeze=False)
    for row, indices in enumerate(chosen):
        for column, index in enumerate(indices):
            for k, name in enumerate(kind.folders):
                axis = axes[row * across + k, column]
                axis.imshow(np.asarray(Image.open(layout.image(name, index))), interpolation="nearest")
                axis.set_axis_off()
                if lines:
                    text = textwrap.fill(lines[index], 31)
                    axis.text(0.5, -0.04, text, transform=axis.transAxes, ha="center", va="top", fontsize=5.6)
    figure.savefig(path, dpi=150)


def _by_shape(factors: list[dict[str, str]], rows: int, folder: Path) -> list[list[int]]:
    """For each row, the index of a pair of each shape."""
    found: list[list[int]] = [[] for _ in range(COLUMNS)]
    for index, row in enumerate(factors):
        found[int(row["object_shape"])].append(index)
    if min(map(len, found)) < rows:
        raise UserError(
            f"{folder}: has fewer than {rows} pairs of a shape; draw fewer rows, or make more pairs"
        )
    return [[of_shape[k] for of_shape in found] for k in range(rows)]


def _in_order(factors: list[dict[str, str]], rows: int, folder: Path) -> list[list[int]]:
    if len(factors) < rows * COLUMNS:
        raise UserError(
            f"{folder}: has fewer than {rows * COLUMNS} pairs; draw fewer rows, or make more pairs"
        )
    return [list(range(COLUMNS * k, COLUMNS * (k + 1))) for k in range(rows)]
