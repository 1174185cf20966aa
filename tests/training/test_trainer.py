from __future__ import annotations

import platform

import pytest
import torch

from mmcl.training.trainer import Precision, Trainer


@pytest.mark.parametrize(
    ("machine", "capability", "precision", "warned"),
    [
        ("x86_64", "AVX2", Precision.bf16_mixed, True),
        ("x86_64", "AVX512", Precision.bf16_mixed, False),
        ("x86_64", "AVX2", Precision.fp32, False),
        ("arm64", "DEFAULT", Precision.bf16_mixed, False),  # nothing is known of its units
    ],
)
def test_bfloat16_without_units_for_it_is_warned_of(monkeypatch, machine, capability, precision, warned):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    said = Trainer(precision=precision, accelerator="cpu").slow_precision
    assert (said is not None and "take trainer.precision=fp32" in said) == warned
