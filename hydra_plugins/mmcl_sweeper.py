"""Hydra's basic sweeper with the jobs that ``train.py`` has checked, instead of those of the command line.

Here because Hydra takes plugins from the package ``hydra_plugins`` alone.
"""

from __future__ import annotations

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class CheckedJobs(BasicSweeper):
    """Launches :data:`mmcl.sweeps.LAUNCH`."""

    @staticmethod
    def split_arguments(overrides: Any, max_batch_size: int | None) -> list[list[list[str]]]:
        from mmcl.sweeps import LAUNCH

        return list(CheckedJobs.split_overrides_to_chunks(LAUNCH.jobs, LAUNCH.at_once))

    def validate_batch_is_legal(self, batch: list[list[str]]) -> None:
        """Nothing: every job was composed and validated before the first is launched."""
