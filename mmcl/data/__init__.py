"""Batches for training: streams that are pure functions of (seed, step), the one LightningDataModule, given data."""

from mmcl.data.archive import Archive
from mmcl.data.arrays import ArrayFolder
from mmcl.data.digits import Digits, DigitSet
from mmcl.data.finite import Finite, FiniteWorld
from mmcl.data.pairs import Pairs
from mmcl.data.shards import Shards
from mmcl.data.stream import BatchStream, StreamingDataModule

__all__ = [
    "Archive",
    "ArrayFolder",
    "BatchStream",
    "DigitSet",
    "Digits",
    "Finite",
    "FiniteWorld",
    "Pairs",
    "Shards",
    "StreamingDataModule",
]
