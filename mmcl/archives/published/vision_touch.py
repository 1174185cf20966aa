"""Vision&Touch, as MultiBench publishes it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mmcl.archives.arrays import Blocks
from mmcl.archives.published.common import Options, Split, finite, pixels, read_hdf5, shaped
from mmcl.errors import UserError

TOUCH = ("image", "proprio", "ee_forces_continuous", "action", "contact")
FORCES = 32
"""The latest readings of the force that a sample has."""


def vision_touch(source: Path, options: Options) -> dict[str, Split]:
    """A folder of ``.h5`` files, each some steps of a robot arm's trajectory; all but the last step of each are
    samples.

    Of step t the image, the arm's position (the first eight values), and tanh of the last 32 forces; the action is that
    of step t + 1, as in the release; labels are of step t + 1: the position's first four values, and whether there is
    contact.

    Departure: whole trajectories are shared out, 7 : 1 : 2, where the release deals out files, so that pieces of one
    trajectory are trained on and tested, and has one set for validation and test. A file's trajectory is what
    ``trajectory`` finds in its name: unless told otherwise what stands before the last number, and before ``_1000``,
    which the published names end in.
    """
    paths = sorted(source.glob("**/*.h5"))
    if not paths:
        raise UserError(f"{source}: no .h5 file in it")
    try:
        pattern = re.compile(options.trajectory)
    except re.error as error:
        raise UserError(f"--trajectory {options.trajectory!r}: no pattern ({error})") from None
    groups: dict[str, list[Path]] = {}
    for path in paths:
        match = pattern.fullmatch(path.stem)
        if match is None or not match.groups():
            raise UserError(
                f"{path}: its name does not fit the pattern {options.trajectory!r}; give one whose first group is the "
                "trajectory: --trajectory PATTERN"
            )
        groups.setdefault(match.group(1), []).append(path)
    names = sorted(groups)
    if len(names) < 3:
        raise UserError(
            f"{source}: {len(paths)} files of {len(names)} trajectories ({', '.join(names)}), too few for three "
            "splits; --trajectory PATTERN says how files are called"
        )
    random.Random(0).shuffle(names)
    n = len(names)
    validation, test = max(1, n // 10), max(1, n // 5)
    parts = {
        "train": names[validation + test :],
        "validation": names[:validation],
        "test": names[validation : validation + test],
    }
    return {
        split: _touch_split([path for name in part for path in groups[name]]) for split, part in parts.items()
    }


def _touch_split(paths: Sequence[Path]) -> Split:
    side, small = _touch(paths[0])["image"].shape[1], []
    for path in paths:
        table = _touch(path)
        image = table.pop("image")  # of all files they need not fit in memory
        shaped(image, (None, side, side, 3), f"{path}, image")
        small.append(table)

    def whole(make: Callable[[dict[str, np.ndarray]], np.ndarray], dtype: type[np.generic]) -> np.ndarray:
        return np.concatenate([make(table) for table in small]).astype(dtype)

    def images() -> Iterator[np.ndarray]:
        return (_touch(path)["image"][:-1].transpose(0, 3, 1, 2) for path in paths)

    # All but the last step of each file; of labels, and of the actions that lead to them, all but the first.
    n = sum(len(table["action"]) - 1 for table in small)
    return {
        "image": Blocks((n, 3, side, side), np.uint8, images),
        "force": whole(lambda t: np.tanh(t["ee_forces_continuous"][:-1, -FORCES:]), np.float32),
        "position": whole(lambda t: t["proprio"][:-1, :8], np.float32),
        "action": whole(lambda t: t["action"][1:], np.float32),
        "next_position": whole(lambda t: t["proprio"][1:, :4], np.float32),
        "contact": whole(_touched, np.int64),
    }


def _touched(table: dict[str, np.ndarray]) -> np.ndarray:
    """Whether a sensor is touched in the step after each."""
    found: np.ndarray = np.max(table["contact"][1:] > 0, axis=tuple(range(1, table["contact"].ndim)))
    return found


def _touch(path: Path) -> dict[str, np.ndarray]:
    table = read_hdf5(path, TOUCH)
    image = shaped(table["image"], (None, None, None, 3), f"{path}, image")
    n, side = image.shape[:2]
    shaped(image, (n, side, side, 3), f"{path}, image")
    table["image"] = pixels(image, f"{path}, image")
    shaped(table["proprio"], (n, None), f"{path}, proprio")
    forces = shaped(table["ee_forces_continuous"], (n, None, 6), f"{path}, ee_forces_continuous")
    shaped(table["action"], (n, None), f"{path}, action")
    if (
        table["contact"].ndim < 1
        or len(table["contact"]) != n
        or n < 2
        or forces.shape[1] < FORCES
        or table["proprio"].shape[1] < 8
    ):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in table.items())
        raise UserError(
            f"{path}: {shapes}; must be 2 steps or more of all, {FORCES} forces and 8 positions in each"
        )
    finite(table["contact"], f"{path}, contact")
    return table
