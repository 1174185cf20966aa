"""Representations, standardisation, the reference factor, rows."""

from __future__ import annotations

import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mmcl.evaluators import LinearRegression, Representations
from mmcl.evaluators.base import reference_inputs, standardise


def test_not_finite_values_are_refused_by_name_and_number() -> None:
    z = torch.zeros(6, 2)
    bad = z.clone()
    bad[1, 0], bad[4] = float("nan"), float("inf")
    with pytest.raises(ValueError, match=r"representation 'hz2' has NaN or infinite values in 2 of 6 rows"):
        Representations({"hz1": z, "hz2": bad}, {"content": z})
    with pytest.raises(ValueError, match=r"factor 'style' .* 2 of 6"):
        Representations({"hz1": z}, {"style": bad})


@pytest.mark.parametrize(
    ("z", "factors", "message"),
    [
        ({}, {}, "no representation"),
        ({"h": torch.zeros(1, 2)}, {}, "at least 2"),
        ({"h": torch.zeros(4)}, {}, r"'h' has shape \(4,\)"),
        ({"h": torch.zeros(4, 0)}, {}, "'h' has shape"),
        ({"h": torch.zeros(4, 2)}, {"c": torch.zeros(5, 2)}, "factor 'c' has 5 rows"),
        ({"h": torch.zeros(4, 2, dtype=torch.int64)}, {}, "'h' has dtype torch.int64"),
        ({"h": torch.zeros(4, 2)}, {"c": torch.zeros(4, 2, dtype=torch.int32)}, "'c' has dtype torch.int32"),
    ],
)
def test_malformed_tensors_are_refused_by_name(
    z: dict[str, Tensor], factors: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Representations(z, factors)


def test_standardise_is_standard_scaler_with_constant_columns_kept() -> None:
    torch.manual_seed(0)
    fit, test = torch.randn(50, 3).double() * 4 + 7, torch.randn(20, 3).double()
    fit[:, 1], test[:, 1] = 0.1, 0.3
    scaler = StandardScaler().fit(fit.numpy())
    ours = standardise(fit, test)
    for split, expected in zip(ours, (fit, test), strict=True):
        torch.testing.assert_close(split, torch.from_numpy(scaler.transform(expected.numpy())))


def test_discrete_reference_is_one_hot_per_component_and_new_classes_are_zeros() -> None:
    fit, test = torch.tensor([[0, 5], [2, 5], [0, 7]]), torch.tensor([[2, 6]])
    one_hot, one_hot_test = reference_inputs({"c": fit}, {"c": test}, ["c"])
    assert one_hot.tolist() == [[1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]]
    assert one_hot_test.tolist() == [[0, 1, 0, 0]]


def test_several_reference_factors_stand_side_by_side() -> None:
    fit = {
        "shape": torch.tensor([[0], [1]]),
        "place": torch.tensor([[0.25], [0.5]]),
        "other": torch.zeros(2, 3),
    }
    test = {name: y[:1] for name, y in fit.items()}
    x, x_test = reference_inputs(fit, test, ("shape", "place"))
    assert x.tolist() == [[1, 0, 0.25], [0, 1, 0.5]]
    assert x_test.tolist() == [[1, 0, 0.25]]


def test_splits_must_name_the_same_things_and_reference_must_exist() -> None:
    a = Representations({"h": torch.randn(9, 2)}, {"c": torch.randn(9, 1)})
    b = Representations({"h": torch.randn(9, 2)}, {"s": torch.randn(9, 1)})
    with pytest.raises(ValueError, match="factors differ"):
        LinearRegression().evaluate(a, b, (), None)
    with pytest.raises(ValueError, match="reference='content'"):
        LinearRegression().evaluate(a, a, ("content",), None)
