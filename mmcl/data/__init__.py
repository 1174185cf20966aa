"""Batches for training: streams that are pure functions of (seed, step), the one LightningDataModule, given pairs."""

from mmcl.data.archive import Archive
from mmcl.data.arrays import ArrayFolder
from mmcl.data.pairs import Pairs
from mmcl.data.shards import Shards
from mmcl.data.stream import BatchStream, StreamingDataModule

__all__ = ["Archive", "ArrayFolder", "BatchStream", "Pairs", "Shards", "StreamingDataModule"]
