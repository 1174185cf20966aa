"""Encoders: one module for each modality, shared or distinct. Knows only torch."""

from mmcl.encoders.base import Encoders
from mmcl.encoders.mlp import MLP, mlp

__all__ = ["MLP", "Encoders", "mlp"]
