"""Encoders: one module for each modality, shared or distinct. Knows only torch."""

from mmcl.encoders.base import Encoders
from mmcl.encoders.by_view import ByView, Fixed, LeNet
from mmcl.encoders.fusion import Concatenation, Dense, Transformer
from mmcl.encoders.heads import Head, Heads
from mmcl.encoders.image_text import ImageTextEncoders
from mmcl.encoders.images import ImageNet
from mmcl.encoders.linear import Linear
from mmcl.encoders.mlp import MLP, mlp
from mmcl.encoders.multimodal import Multimodal, MultimodalEncoders
from mmcl.encoders.texts import TextNet
from mmcl.encoders.trajectories import Trajectories
from mmcl.encoders.whiten import Whiten

__all__ = [
    "MLP",
    "ByView",
    "Concatenation",
    "Dense",
    "Encoders",
    "Fixed",
    "Head",
    "Heads",
    "ImageNet",
    "ImageTextEncoders",
    "LeNet",
    "Linear",
    "Multimodal",
    "MultimodalEncoders",
    "TextNet",
    "Trajectories",
    "Transformer",
    "Whiten",
    "mlp",
]
