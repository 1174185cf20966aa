"""How a class index enters a computation that works on real numbers."""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor

from mmcl.checks import require


class ClassValues(Enum):
    """How a class of a discrete factor enters the mixing and the causal map (the paper does not say).

    scaled: evenly spaced values with zero mean and unit variance under uniform classes;
    index: the class index as a number; one_hot: one input per class, so that the dimension grows.
    """

    scaled = "scaled"
    index = "index"
    one_hot = "one_hot"


def class_table(classes: int, values: ClassValues) -> Tensor:
    """The numbers that stand for each class: (classes, width) float32, width 1 or, for one-hot, ``classes``.

    For ``scaled``, class i of k becomes (i - (k - 1) / 2) / sqrt((k^2 - 1) / 12): mean 0 and variance 1 over
    uniform classes. Raises ``ValueError`` unless classes >= 2.

    >>> class_table(2, ClassValues.scaled).flatten().tolist()
    [-1.0, 1.0]
    """
    require(classes >= 2, "classes", classes, ">= 2")
    if values is ClassValues.one_hot:
        return torch.eye(classes, dtype=torch.float32)
    index = torch.arange(classes, dtype=torch.float64)[:, None]
    if values is ClassValues.scaled:
        index = (index - (classes - 1) / 2) / ((classes**2 - 1) / 12) ** 0.5
    return index.float()
