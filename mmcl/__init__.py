"""Experiments that test claims about multimodal contrastive learning."""

__version__ = "0.1.0"
