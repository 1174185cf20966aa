from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from mmcl import losses
from mmcl.losses import Contrastive, Negatives, Normaliser, Reduction, Similarity

PRESETS = sorted((Path(__file__).parents[2] / "conf" / "loss").glob("*.yaml"))
DEFAULTS = Contrastive()
EXPECTED = {
    "info_nce": Contrastive(weight_second_given_first=2.0, weight_first_given_second=0.0),
    "sym_info_nce": DEFAULTS,
    "sym_info_nce_printed": Contrastive(reduction=Reduction.sum, candidate_reduction=Reduction.sum),
    "release_numerical": Contrastive(negatives=Negatives.within_fresh),
    "nt_xent": Contrastive(
        similarity=Similarity.cosine, negatives=Negatives.both, candidate_reduction=Reduction.sum
    ),
    "joint": Contrastive(normaliser=Normaliser.joint),
    "align_max_ent": losses.AlignMaxEnt(),
}  # fmt: skip


def test_every_preset_is_expected():
    assert {path.stem for path in PRESETS} >= set(EXPECTED)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_lists_every_field_merges_with_its_schema_and_runs(path):
    assert path.read_text().startswith("# ")
    preset = OmegaConf.load(path)
    package, _, name = preset.pop("_target_").rpartition(".")
    assert package == "mmcl.losses"
    preset = OmegaConf.merge(
        preset, {"encoding_size": 10} if "encoding_size" in preset else {}
    )  # the encoders'
    schema = getattr(losses, name)
    assert list(preset) == [field.name for field in fields(schema)]
    spec = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), preset))
    assert isinstance(spec, schema)
    if path.stem in EXPECTED:
        assert spec == EXPECTED[path.stem]
    loss = spec.build()
    fused = bool(getattr(spec, "terms", ())) or hasattr(loss, "label")
    names = ("x1", "x2", *(["x1+x2"] if fused else []))
    wanted = (
        loss.wanted(names) if hasattr(loss, "label") else dict.fromkeys(getattr(spec, "draws", (0,)), names)
    )
    z = {
        f"{name}@{draw}" if draw else name: torch.randn(4, 10, requires_grad=True)
        for draw, these in wanted.items()
        for name in these
    }
    second = None
    if hasattr(loss, "label"):
        second = torch.tensor([[0], [1], [0], [1]])
    elif getattr(loss, "needs_fresh_batch", False) or getattr(loss, "needs_views", False):
        second = {name: torch.randn(4, 10) for name in z}
    value = loss(z, second)
    value.backward()
    assert value.ndim == 0
    assert torch.isfinite(value)


def test_a_typo_in_a_preset_fails_the_merge():
    with pytest.raises(Exception, match="temprature"):
        OmegaConf.merge(OmegaConf.structured(Contrastive), {"temprature": 0.1})
