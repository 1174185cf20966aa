"""What every loss asks of its encodings: checks with messages for people, precision, pairs of modalities."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor


def full_precision(*rows: Tensor) -> tuple[Tensor, ...]:
    """The same tensors in their common floating dtype, which is at least float32.

    float16 and bfloat16 become float32, because log-sum-exp of a few thousand terms needs more than 8 bits of
    mantissa; float64 stays float64, and drags the others along.
    """
    dtype = torch.float32
    for tensor in rows:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return tuple(tensor.to(dtype) for tensor in rows)


def check_encodings(z: Mapping[str, Tensor], *, one_width: bool = True) -> None:
    """Raise ``ValueError`` unless ``z`` holds two or more floating ``(K, D)`` matrices of one K and, if ``one_width``,
    one D."""
    if len(z) < 2:
        raise ValueError(f"a contrastive loss needs at least 2 modalities, got {len(z)}: {list(z)}")
    first, *_ = z
    for name, rows in z.items():
        check_matrix(name, rows)
        if rows.shape[0] != z[first].shape[0]:
            raise ValueError(
                f"row counts differ: {first!r} has {z[first].shape[0]} and {name!r} has {rows.shape[0]}; "
                "row i of every modality must come from the same sample"
            )
        if one_width:
            check_same_width(first, z[first], name, rows)


def check_matrix(name: str, rows: Tensor) -> None:
    """Raise ``ValueError`` unless ``rows`` is a floating ``(K, D)`` matrix with K, D > 0."""
    if rows.ndim != 2:
        raise ValueError(f"{name!r} has shape {tuple(rows.shape)}: encodings must be 2-D, (rows, dimensions)")
    if 0 in rows.shape:
        raise ValueError(
            f"{name!r} has shape {tuple(rows.shape)}: there must be at least one row and dimension"
        )
    if not rows.is_floating_point():
        raise ValueError(f"{name!r} has dtype {rows.dtype}: encodings must be real floating-point numbers")


def check_same_width(first: str, a: Tensor, second: str, b: Tensor) -> None:
    """Raise ``ValueError`` unless both matrices have the same number of columns."""
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"widths differ: {first!r} has {a.shape[1]} dimensions and {second!r} has {b.shape[1]}; "
            "give both encoders the same encoding size"
        )


def unordered_pairs(z: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """All pairs of names, in insertion order: the first of a pair was inserted before the second.

    >>> unordered_pairs({"image": torch.zeros(1), "text": torch.zeros(1), "audio": torch.zeros(1)})
    [('image', 'text'), ('image', 'audio'), ('text', 'audio')]
    """
    return list(combinations(z, 2))
