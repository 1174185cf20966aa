"""Augmentations: random changes of a sample that leave its label, for objectives that contrast two draws of it."""

from mmcl.augmentations.base import Augment, Numbers
from mmcl.augmentations.images import ImageAugmentation
from mmcl.augmentations.texts import WordMask
from mmcl.augmentations.vectors import DropAndNoise

__all__ = ["Augment", "DropAndNoise", "ImageAugmentation", "Numbers", "WordMask"]
