"""AV-MNIST, as MultiBench publishes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmcl.archives.published.common import Options, Split, open_numpy, pixels, whole
from mmcl.errors import UserError


def av_mnist(source: Path, options: Options) -> dict[str, Split]:
    """A folder of ``.npy`` files: written and spoken digits, 28 x 28 and 112 x 112, from 0 to 255.

    The last twelfth of the training samples is for validation, as in the release.
    """

    def load(name: str) -> np.ndarray:
        found = open_numpy(source / name)
        if (
            not isinstance(found, np.ndarray)
            or found.ndim < 1
            or found.dtype.kind not in "iuf"
            or not found.size
        ):
            raise UserError(f"{source / name}: must be one array of numbers, with a row or more")
        return found

    def picture(name: str, side: int) -> np.ndarray:
        x = load(name)
        if x.size != len(x) * side * side:
            raise UserError(
                f"{source / name}: has shape {x.shape}, {x.dtype}; must be n pictures of {side} x {side}"
            )
        return pixels(x, str(source / name)).reshape(-1, 1, side, side)

    def labels(name: str) -> np.ndarray:
        y = load(name)
        column = y.reshape(-1) if y.size == len(y) else y
        return whole(column, (None,), str(source / name))

    found = {}
    for split in ("train", "test"):
        arrays = {
            "image": picture(f"image/{split}_data.npy", 28),
            "audio": picture(f"audio/{split}_data.npy", 112),
            "label": labels(f"{split}_labels.npy"),
        }
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise UserError(f"{source}, {split}: of different lengths: {lengths}")
        found[split] = arrays
    n = len(found["train"]["label"])
    kept = n - max(1, n // 12)
    train, validation = (
        {k: v[part] for k, v in found["train"].items()} for part in (slice(kept), slice(kept, None))
    )
    return {"train": {**train}, "validation": {**validation}, "test": {**found["test"]}}
