"""scikit-learn's handwritten digits."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
def handwritten_digits() -> tuple[Tensor, Tensor]:
    """Pixels in [0, 1], ``(1797, 64)`` float32: 8 x 8 in rows from the top, 17 levels of grey; digits ``(1797,)``.

    Source: E. Alpaydin and C. Kaynak (1998), "Optical Recognition of Handwritten Digits", UCI (the test set).
    """
    from sklearn.datasets import load_digits  # slow to import, and little needs it

    pixels, digits = load_digits(return_X_y=True)
    return torch.from_numpy(pixels).float() / 16, torch.from_numpy(digits).long()
