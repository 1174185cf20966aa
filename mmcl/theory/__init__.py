"""Closed forms and exact optima that results are held against."""

from mmcl.theory.broja import ConvergenceError
from mmcl.theory.darmois import gaussian_darmois
from mmcl.theory.pid import Decomposition, decompose, entropy, informations, mutual_information, optimum

__all__ = [
    "ConvergenceError",
    "Decomposition",
    "decompose",
    "entropy",
    "gaussian_darmois",
    "informations",
    "mutual_information",
    "optimum",
]
