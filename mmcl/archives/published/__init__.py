"""Published multimodal sets as folders of arrays (:mod:`mmcl.archives.arrays`): MultiBench's, MM-IMDb, Hateful Memes.

What each reader does to its set is said where it does it. In all of them

* a step of a series that is not there is zero, and the array ``NAME.there`` says so (the release pads without that);
* nothing is fitted on validation or test samples, and no sample is in two splits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from mmcl.archives.published.affect import affect
from mmcl.archives.published.av_mnist import av_mnist
from mmcl.archives.published.common import Options, Split, finite
from mmcl.archives.published.features import hateful_memes, mm_imdb
from mmcl.archives.published.mimic import mimic
from mmcl.archives.published.vision_touch import vision_touch
from mmcl.checks import require_choice
from mmcl.errors import UserError

SETS: dict[str, Callable[[Path, Options], dict[str, Split]]] = {
    "mosi": partial(affect, score=True),
    "mosei": partial(affect, score=True),
    "ur_funny": partial(affect, score=False),
    "mustard": partial(affect, score=False),
    "mimic": mimic,
    "vision_touch": vision_touch,
    "av_mnist": av_mnist,
    "mm_imdb": mm_imdb,
    "hateful_memes": hateful_memes,
}
"""Name -> reader of ``(its published file or folder, options)``."""


def read_set(name: str, source: Path, options: Options) -> dict[str, Split]:
    """Split -> name -> array, of the set ``name`` in its published form.

    Raises:
        ValueError: a set that there is not, or an option out of range.
        UserError: a file that is missing or damaged, or of another form, or a view or label that holds NaN or infinity.
    """
    require_choice("set", name, SETS)
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    splits = SETS[name](source, options)
    for split, arrays in splits.items():
        for array_name, array in arrays.items():
            if isinstance(array, np.ndarray) and array.dtype.kind == "f":
                # Hours later training would refuse them.
                finite(array, f"{source}, {split}, {array_name} (of the samples that are kept)")
    return splits
