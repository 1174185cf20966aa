"""Encoders: one module for each modality, shared or distinct. Knows only torch."""

from mmcl.encoders.base import Encoders
from mmcl.encoders.mlp import MLP, mlp
from mmcl.encoders.whiten import Whiten

__all__ = ["MLP", "Encoders", "Whiten", "mlp"]
