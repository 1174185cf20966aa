"""Backbones: encoders of one modality that give tokens, or one vector, to a fusion."""

from mmcl.encoders.backbones.images import ConvNet, TorchvisionNet
from mmcl.encoders.backbones.series import CausalConvolutions, Recurrent, SeriesTransformer
from mmcl.encoders.backbones.vectors import Features, Table, Vector
from mmcl.encoders.backbones.words import Words

__all__ = [
    "CausalConvolutions",
    "ConvNet",
    "Features",
    "Recurrent",
    "SeriesTransformer",
    "Table",
    "TorchvisionNet",
    "Vector",
    "Words",
]
