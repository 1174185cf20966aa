"""Batches for training: streams that are pure functions of (seed, step), the one LightningDataModule, and archives."""

from mmcl.data.archive import Archive, ArchiveWorld
from mmcl.data.stream import BatchStream, StreamingDataModule

__all__ = ["Archive", "ArchiveWorld", "BatchStream", "StreamingDataModule"]
