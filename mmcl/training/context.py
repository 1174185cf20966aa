"""What callbacks are built from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmcl.worlds import World


@dataclass(frozen=True)
class Context:
    """The run that a callback is part of."""

    run_dir: Path
    world: World
    seed: int
