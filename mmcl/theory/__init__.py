"""Closed forms and exact optima that results are held against."""

from mmcl.theory.broja import ConvergenceError
from mmcl.theory.darmois import gaussian_darmois
from mmcl.theory.gaussian import Canonical, GaussianPair, Tilt
from mmcl.theory.pid import Decomposition, decompose, entropy, informations, mutual_information, optimum
from mmcl.theory.tilting import (
    Optimum,
    Tilting,
    conditional_loss,
    conditional_optimum,
    joint_loss,
    joint_optimum,
)

__all__ = [
    "Canonical",
    "ConvergenceError",
    "Decomposition",
    "GaussianPair",
    "Optimum",
    "Tilt",
    "Tilting",
    "conditional_loss",
    "conditional_optimum",
    "decompose",
    "entropy",
    "gaussian_darmois",
    "informations",
    "joint_loss",
    "joint_optimum",
    "mutual_information",
    "optimum",
]
