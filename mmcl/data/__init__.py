"""Batches for training: streams that are pure functions of (seed, step), and the one LightningDataModule."""

from mmcl.data.stream import BatchStream, StreamingDataModule

__all__ = ["BatchStream", "StreamingDataModule"]
