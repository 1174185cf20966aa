"""Batches and the hash of a world's state."""

from __future__ import annotations

import pytest
import torch

from mmcl.worlds import Batch, world_hash


def state() -> dict[str, torch.Tensor]:
    return {"a": torch.arange(6, dtype=torch.float64).reshape(2, 3), "b": torch.zeros(2)}


def test_rows_are_the_same_rows_of_everything() -> None:
    batch = Batch({"x1": torch.arange(8.0).reshape(4, 2)}, {"content": torch.arange(4)[:, None]})
    part = batch.rows(slice(1, 3))
    assert (len(batch), len(part)) == (4, 2)
    assert part.views["x1"].tolist() == [[2.0, 3.0], [4.0, 5.0]]
    assert part.factors["content"].tolist() == [[1], [2]]


def test_batch_refuses_unequal_rows_and_no_views() -> None:
    with pytest.raises(ValueError, match=r"rows=.*'content': 3"):
        Batch({"x1": torch.zeros(4, 2)}, {"content": torch.zeros(3, 1)})
    with pytest.raises(ValueError, match="views"):
        Batch({}, {"content": torch.zeros(3, 1)})


def test_hash_ignores_order_and_memory_layout() -> None:
    a, b = state()["a"], state()["b"]
    assert world_hash({"b": b, "a": a}) == world_hash({"a": a, "b": b})
    assert world_hash({"a": a.mT.contiguous().mT, "b": b}) == world_hash(state())
    assert len(world_hash({})) == 64


def test_hash_changes_with_value_name_dtype_shape_and_set() -> None:
    one_value = state()
    one_value["a"][1, 2] += 1e-15 * 8
    assert not torch.equal(one_value["a"], state()["a"])
    renamed = {"a": state()["a"], "c": state()["b"]}
    retyped = {**state(), "b": torch.zeros(2, dtype=torch.int32)}  # the same bytes
    reshaped = {**state(), "a": state()["a"].reshape(3, 2)}
    more = {**state(), "c": torch.zeros(0)}
    hashes = {world_hash(s) for s in (state(), one_value, renamed, retyped, reshaped, more)}
    assert len(hashes) == 6
