"""TensorBoard: the learning curve and the results as event files in the run's directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcl.errors import UserError
from mmcl.records.markdown import markdown_table
from mmcl.records.outcome import Outcome
from mmcl.training.loggers import LoggedRun, RunLogger


class TensorBoardLogger(RunLogger):
    """Writes event files into ``folder``; steps count the optimizer steps done, as in ``metrics.csv``."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._writer: Any = None

    @property
    def name(self) -> str:
        return "tensorboard"

    def start(self, step: int | None) -> None:
        """Open an event file; what earlier ones hold beyond ``step`` is trained again, and hidden by TensorBoard.

        Raises:
            UserError: the package ``tensorboard`` is missing.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError(
                "logger=tensorboard: the package tensorboard is not installed; "
                "install it with pip install 'mmcl[tensorboard]', or choose another logger"
            ) from None
        self._writer = SummaryWriter(str(self.folder), purge_step=None if step is None else step + 1)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        assert step is not None
        if self._writer is None:
            return
        for name, value in metrics.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, step + 1)

    def log_outcome(self, outcome: Outcome) -> None:
        if self._writer is None:
            return
        import numpy as np
        from PIL import Image

        for name, value in outcome.summary.items():
            self._writer.add_scalar(name, value, outcome.step)
        self._writer.add_text("results", markdown_table(outcome.columns, outcome.rows), outcome.step)
        for name, path in outcome.images.items():
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            self._writer.add_image(name, pixels, outcome.step, dataformats="HWC")

    def close(self, failed: bool) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


@dataclass(frozen=True)
class TensorBoardConf:
    """Config of :class:`TensorBoardLogger`: event files under ``tensorboard/`` in the run's directory."""

    def build(self, run: LoggedRun) -> TensorBoardLogger:
        return TensorBoardLogger(run.run_dir / "tensorboard")
