"""Encoders: one module for each modality, shared or distinct. Knows only torch."""

from mmcl.encoders.base import Encoders
from mmcl.encoders.image_text import ImageTextEncoders
from mmcl.encoders.images import ImageNet
from mmcl.encoders.mlp import MLP, mlp
from mmcl.encoders.texts import TextNet
from mmcl.encoders.whiten import Whiten

__all__ = ["MLP", "Encoders", "ImageNet", "ImageTextEncoders", "TextNet", "Whiten", "mlp"]
