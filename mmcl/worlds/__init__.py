"""Worlds: data-generating processes with known factors. Pure sampling, with a generator passed in."""

from mmcl.worlds.base import Batch, FactorRole, World, world_hash
from mmcl.worlds.classes import ClassValues, class_table
from mmcl.worlds.covariance import wishart_cholesky
from mmcl.worlds.latent_variable_model import INTERVENTIONS, LatentVariableModel, LatentVariableWorld, Process
from mmcl.worlds.mixing import InvertibleMLP, condition_threshold, draw_mixing

__all__ = [
    "INTERVENTIONS",
    "Batch",
    "ClassValues",
    "FactorRole",
    "InvertibleMLP",
    "LatentVariableModel",
    "LatentVariableWorld",
    "Process",
    "World",
    "class_table",
    "condition_threshold",
    "draw_mixing",
    "wishart_cholesky",
    "world_hash",
]
