"""Affect: MOSI, MOSEI, UR-FUNNY, MUsTARD, as MultiBench publishes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmcl.archives.arrays import THERE
from mmcl.archives.pickles import load_pickle
from mmcl.archives.published.common import Options, Split, entry, finite, part, shaped
from mmcl.errors import UserError

SPLITS = {"train": "train", "valid": "validation", "test": "test"}
"""The published names, and ours."""


def affect(source: Path, options: Options, *, score: bool) -> dict[str, Split]:
    """A pickle ``{split: {vision, audio, text: (N, T, d), labels: (N, 1, 1)}}``.

    Samples without text are left out. A text that does not fill its T steps stands at their end: all modalities, which
    are aligned, are moved to the front alike. Sound of minus infinity (silence) is 0. The class is whether the label is
    above 0; ``score`` keeps the label itself too.
    """
    found = {}
    tables = load_pickle(source, trusted=options.pickle)
    for theirs, ours in SPLITS.items():
        place = f"{source}, split {theirs}"
        table = part(tables, theirs, str(source), "split ")
        text = shaped(entry(table, "text", place), (None, None, None), f"{place}, text")
        n, steps = text.shape[:2]
        series = {"text": text}
        for view in ("vision", "audio"):
            series[view] = shaped(entry(table, view, place), (n, steps, None), f"{place}, {view}")
        series["audio"] = np.where(np.isneginf(series["audio"]), 0, series["audio"])
        labels = entry(table, "labels", place)
        if labels.ndim < 1 or len(labels) != n or labels.size != n or labels.dtype.kind not in "biuf":
            raise UserError(f"{place}, labels: has shape {labels.shape}, {labels.dtype}; must be {n} numbers")
        labels = finite(labels.reshape(n), f"{place}, labels")
        said = (text != 0).any(axis=2)
        kept = said.any(axis=1)
        if not kept.any():
            raise UserError(f"{place}: no sample of it has a text")
        first = said.argmax(axis=1)[kept]
        places = first[:, None] + np.arange(steps)
        there = places < steps
        split: Split = {}
        for view, values in series.items():
            moved = np.take_along_axis(values[kept], places.clip(max=steps - 1)[..., None], axis=1)
            split[view] = np.where(there[..., None], moved, 0).astype(np.float32)
            split[view + THERE] = there
        split["label"] = (labels[kept] > 0).astype(np.int64)
        if score:
            split["score"] = labels[kept].astype(np.float32)
        found[ours] = split
    return found
