"""MIMIC-III, as MultiBench prepares it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

from mmcl.archives.pickles import load_pickle
from mmcl.archives.published.common import Options, Split, entry, finite, shaped
from mmcl.checks import require
from mmcl.errors import UserError


def mimic(source: Path, options: Options) -> dict[str, Split]:
    """A pickle with 24 hourly values of 12 series, five features, and codes, of each of N stays.

    The samples of the splits are the release's (shuffled by Python's generator with the seed 10: a tenth for
    validation, a tenth for the test). What is no number is 0. Departure: values are standardised by training's mean and
    deviation, where the release takes all samples'.
    """
    table, place = load_pickle(source, trusted=options.pickle), str(source)
    series = shaped(entry(table, "ep_tdata", place), (None, 24, 12), f"{place}, ep_tdata").astype(np.float64)
    n = len(series)
    features = shaped(entry(table, "adm_features_all", place), (n, 5), f"{place}, adm_features_all")
    label = _mimic_label(table, place, n, options.task)
    order = list(range(n))
    random.Random(10).shuffle(order)
    rows = {"validation": order[: n // 10], "test": order[n // 10 : n // 5], "train": order[n // 5 :]}
    if min(map(len, rows.values())) < 1:
        raise UserError(f"{place}: {n} samples are too few for three splits")

    def scaled(x: np.ndarray) -> np.ndarray:
        x = np.where(np.isfinite(x), x, 0.0)
        known = x[rows["train"]].reshape(-1, x.shape[-1])
        spread = known.std(axis=0)
        return ((x - known.mean(axis=0)) / np.where(spread > 0, spread, 1.0)).astype(np.float32)

    arrays = {"table": scaled(features.astype(np.float64)), "series": scaled(series), "label": label}
    return {
        split: {name: array[rows[split]] for name, array in arrays.items()}
        for split in ("train", "validation", "test")
    }


def _mimic_label(table: Any, place: str, n: int, task: str) -> np.ndarray:
    if task == "mortality":
        # Death within 1, 2, 3 days, a week, a year, as the first of columns 1 to 5 that is set; 0: none.
        where = f"{place}, adm_labels_all"
        ends = finite(shaped(entry(table, "adm_labels_all", place), (n, 6), where), where)[:, 1:] > 0
        return np.where(ends.any(axis=1), ends.argmax(axis=1) + 1, 0).astype(np.int64)
    codes = shaped(entry(table, "y_icd9", place), (n, None), f"{place}, y_icd9")
    good = task.isdecimal() and int(task) < codes.shape[1]
    require(
        good, "task", task, f"mortality, or the number of a group of codes from 0 to {codes.shape[1] - 1}"
    )
    return (finite(codes[:, int(task)], f"{place}, y_icd9, group {task}") > 0).astype(np.int64)
