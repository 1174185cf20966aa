"""Encoders that begin with another run's weights."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from mmcl.errors import UserError
from mmcl.records.manifest import Manifest
from mmcl.records.weights import read_weights


def begin_with(encoders: nn.Module, run_dir: Path) -> None:
    """Give ``encoders`` the weights of a finished run's, and those of its projection heads that fit.

    Raises ``UserError`` for a folder without a finished run, or with encoders of another kind.
    """
    place = f"start_from={run_dir}"
    manifest = Manifest.read(run_dir)
    if manifest is None or not manifest.values["trained"]:
        raise UserError(
            f"{place}: no run there that has been trained; name a folder such as runs/EXPERIMENT/KEY"
        )
    if manifest.values["run_key"] != run_dir.name:
        raise UserError(
            f"{place}: holds run {manifest.values['run_key']}, and is not called so; give the folder its run's name"
        )
    theirs = read_weights(run_dir, manifest)["encoders"]
    ours = encoders.state_dict()
    fitting = {
        name: values for name, values in theirs.items() if name in ours and ours[name].shape == values.shape
    }
    differing = [
        name for name in {**ours, **theirs} if not name.startswith("project.") and name not in fitting
    ]
    if differing:
        raise UserError(
            f"{place}: its encoders are others than this run's (first difference: {differing[0]}); choose data and "
            "encoder as in its config.yaml"
        )
    encoders.load_state_dict(ours | fitting)
