"""Closed forms that results are held against."""

from mmcl.theory.darmois import gaussian_darmois

__all__ = ["gaussian_darmois"]
