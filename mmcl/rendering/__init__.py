"""Scenes of known factors, made from nothing: Multimodal3DIdent's image/text pairs, and pairs of images."""

from mmcl.rendering.colours import HueMode, light_rgb, named_colour, object_rgb, palettes
from mmcl.rendering.latents import SHAPES, SPLITS, ImagePairs, ImageText
from mmcl.rendering.text import describe

__all__ = [
    "SHAPES",
    "SPLITS",
    "HueMode",
    "ImagePairs",
    "ImageText",
    "describe",
    "light_rgb",
    "named_colour",
    "object_rgb",
    "palettes",
]
