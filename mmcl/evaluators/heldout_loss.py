"""The training objective on fresh samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from mmcl.checks import require
from mmcl.evaluators.base import Objective, Representations, Row, WithoutInterventions, check_spec


@dataclass(frozen=True)
class HeldoutLoss(WithoutInterventions):
    """Mean of the objective over batches of held-out encodings (metric ``loss``), for both splits.

    The split that fits other predictors is the row ``validation`` (model selection, as in Figure 7 of
    Daunhawer et al., 2023), the other is ``test``. ``batch_size``: >= 2; a contrastive loss depends on it,
    so values are comparable at equal ``batch_size`` only, and a last, smaller batch is left out. ``n_fit``,
    ``n_test``: samples, >= ``batch_size``; ``None``: all that are given. Raises ``ValueError`` naming a bad field.

    An objective whose ``needs_fresh_batch`` is true is given each batch with the next one as its fresh batch.

    Departure: the paper averages over 2,000 samples, here ``n_fit``, so that encodings are shared with the
    other evaluators. ``chance`` is ``None``: the loss of collapsed encodings is known for some objectives
    only (0 for InfoNCE with log-mean). Only without interventions: the objective knows no intervened content.
    """

    n_fit: int | None = 20480
    n_test: int | None = 20480
    batch_size: int = 512

    needs_objective: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_spec(self.n_fit, self.n_test, self.interventions)
        require(self.batch_size >= 2, "batch_size", self.batch_size, ">= 2")
        for name in ("n_fit", "n_test"):
            value = getattr(self, name)
            good = value is None or value >= self.batch_size
            require(good, name, value, f">= batch_size = {self.batch_size}")

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: tuple[str, ...] = (),
        objective: Objective | None = None,
    ) -> list[Row]:
        """Two rows; ``n_fit`` is 0 (nothing is fitted) and ``n_test`` the samples used. Needs ``objective``.

        Raises ``ValueError`` without an objective, with fewer samples than a batch, or for a loss not finite.
        """
        if objective is None:
            raise ValueError("objective=None: must be a function of the encodings, or leave HeldoutLoss out")
        rows = []
        for split, samples in (("validation", fit), ("test", test)):
            batches = len(samples) // self.batch_size
            if batches == 0:
                raise ValueError(f"{len(samples)} {split} samples: must be >= batch_size = {self.batch_size}")
            losses = []
            fresh = bool(getattr(objective, "needs_fresh_batch", False))
            if fresh and batches < 2:
                raise ValueError(
                    f"{len(samples)} {split} samples: must be >= 2 batches of {self.batch_size}, "
                    "as the objective's negatives come from a fresh batch"
                )
            with torch.no_grad():
                for i in range(batches):
                    batch = self._batch(samples, i)
                    # Batches are independent of each other, so the next one serves as this one's fresh batch.
                    losses.append(
                        float(objective(batch, self._batch(samples, (i + 1) % batches)))
                        if fresh
                        else float(objective(batch))
                    )
            value = math.fsum(losses) / batches
            if not math.isfinite(value):
                raise ValueError(f"the objective on the {split} split is {value}")
            rows.append(
                Row(
                    split=split,
                    representation="all",
                    target="objective",
                    metric="loss",
                    value=value,
                    chance=None,
                    ceiling=None,
                    n_fit=0,
                    n_test=batches * self.batch_size,
                )
            )
        return rows

    def _batch(self, samples: Representations, i: int) -> dict[str, torch.Tensor]:
        rows = slice(i * self.batch_size, (i + 1) * self.batch_size)
        return {name: z[rows] for name, z in samples.z.items()}
