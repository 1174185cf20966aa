"""Worlds: data-generating processes with known factors. Pure sampling, with a generator passed in."""

from mmcl.worlds.base import (
    INTERVENTIONS,
    Batch,
    CountedWorld,
    FactorRole,
    KnownWorld,
    SplitWorld,
    StreamedWorld,
    World,
    content_of,
    part_of,
    world_hash,
)
from mmcl.worlds.classes import ClassValues, class_table
from mmcl.worlds.covariance import wishart_cholesky
from mmcl.worlds.digit_pairs import DigitPairs, DigitPairsWorld, Shared
from mmcl.worlds.drifters import Drifters, DriftersWorld
from mmcl.worlds.gaussian import Gaussian, GaussianWorld, RandomField
from mmcl.worlds.handwritten import handwritten_digits
from mmcl.worlds.latent_variable_model import LatentVariableModel, LatentVariableWorld, Process
from mmcl.worlds.mixing import InvertibleMLP, condition_threshold, draw_mixing
from mmcl.worlds.shared_blocks import SharedBlocks, SharedBlocksWorld
from mmcl.worlds.trifeature import VectorTrifeature, VectorTrifeatureWorld
from mmcl.worlds.trifeature_images import ImageTrifeature, ImageTrifeatureWorld

__all__ = [
    "INTERVENTIONS",
    "Batch",
    "ClassValues",
    "CountedWorld",
    "DigitPairs",
    "DigitPairsWorld",
    "Drifters",
    "DriftersWorld",
    "FactorRole",
    "Gaussian",
    "GaussianWorld",
    "ImageTrifeature",
    "ImageTrifeatureWorld",
    "InvertibleMLP",
    "KnownWorld",
    "LatentVariableModel",
    "LatentVariableWorld",
    "Process",
    "RandomField",
    "Shared",
    "SharedBlocks",
    "SharedBlocksWorld",
    "SplitWorld",
    "StreamedWorld",
    "VectorTrifeature",
    "VectorTrifeatureWorld",
    "World",
    "class_table",
    "condition_threshold",
    "content_of",
    "draw_mixing",
    "handwritten_digits",
    "part_of",
    "wishart_cholesky",
    "world_hash",
]
