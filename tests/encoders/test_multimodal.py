"""Backbones, fusion and heads: what an encoding of a set of modalities may depend on, and what it may not."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from mmcl.encoders import Concatenation, Dense, Head, Multimodal, Transformer
from mmcl.encoders.backbones import (
    CausalConvolutions,
    ConvNet,
    Features,
    Recurrent,
    SeriesTransformer,
    Table,
    TorchvisionNet,
    Vector,
    Words,
)
from mmcl.encoders.backbones.images import Trunk
from mmcl.encoders.backbones.positions import sine_positions
from mmcl.encoders.fusion import TransformerFusion
from mmcl.encoders.norms import Norm
from mmcl.encoders.tokens import Tokens, split_series

N = 6


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def series(steps=8, features=3, lengths=(8, 5, 3, 1, 8, 2)):
    """A series of each length, padded with zeros, and the column that says so."""
    x = torch.randn(N, steps, features, generator=g())
    there = (torch.arange(steps) < torch.tensor(lengths)[:, None]).float()[..., None]
    return torch.cat([x * there, there], dim=2)


VIEWS = {
    "table": torch.randn(N, 5, generator=g(1)),
    "series": series(),
    "image": torch.randint(0, 256, (N, 3, 16, 16), generator=g(2), dtype=torch.uint8),
}
BACKBONES = {"table": Table([4]), "series": Recurrent(), "image": ConvNet([4, 8], norm=Norm.group)}
FUSIONS = {
    "transformer": Transformer(blocks=2, heads=2),
    "concatenation": Concatenation(),
    "linear": Dense(),
    "mlp": Dense([7]),
}


def build(fusion="transformer", views=VIEWS, **more):
    spec = Multimodal(8, backbones={n: BACKBONES[n] for n in views}, fusion=FUSIONS[fusion], **more)
    return spec.build(views, g(3)).eval()


def floats(views):
    return {name: x.float() for name, x in views.items()}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_an_encoding_of_a_set_depends_on_its_modalities_alone(fusion):
    encoders = build(fusion, head=Head([], shared=False))
    z = encoders(floats(VIEWS))
    assert list(z) == ["table", "series", "image", "table+series+image"]
    width = 24 if fusion == "concatenation" else 8
    assert [h.shape for h in z.values()] == [(N, 8)] * 3 + [(N, width)]
    for changed in VIEWS:
        others = floats(VIEWS)
        others[changed] = others[changed].flip(0)
        again = encoders(others)
        for name, h in z.items():
            same = torch.allclose(h, again[name], atol=1e-6)
            assert same == (changed not in name.split("+")), (changed, name)


def test_only_wanted_encodings_are_made():
    encoders = build()
    ran = []
    for name, backbone in encoders.backbones.items():
        backbone.register_forward_hook(lambda *_, name=name: ran.append(name))
    assert list(encoders(floats(VIEWS), wanted=["series"])) == ["series"]
    assert ran == ["series"]
    ran.clear()
    encoders(floats(VIEWS))
    assert ran == list(VIEWS)  # once each, although the fusion runs four times


def test_a_lone_view_is_its_own_full_set():
    one = {"table": VIEWS["table"]}
    assert list(build(views=one)(floats(one))) == ["table"]


@pytest.mark.parametrize("blocks", [1, 3])
def test_the_class_token_is_that_of_whole_blocks(blocks):
    """The last block makes no other token; value and gradients are those of the block that makes all."""
    torch.manual_seed(0)
    fusion = TransformerFusion(8, Transformer(blocks=blocks, heads=2))
    there = torch.rand(N, 4, generator=g(4)) > 0.4
    values = torch.randn(N, 4, 8, generator=g(5), requires_grad=True)
    ours = fusion({"x": Tokens(values, there)})
    x = torch.cat([fusion.class_token.expand(N, 1, -1), values], dim=1)
    padded = torch.cat([torch.zeros(N, 1, dtype=torch.bool), ~there], dim=1)
    for block in fusion.blocks:
        x = block(x, src_key_padding_mask=padded)
    whole = fusion.norm(x[:, 0])
    torch.testing.assert_close(ours, whole)
    weights = torch.randn(N, 8, generator=g(6))
    inputs = [values, *fusion.parameters()]
    found = [torch.autograd.grad((z * weights).sum(), inputs) for z in (ours, whole)]
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "backbone", [Recurrent(), SeriesTransformer(blocks=2, heads=2, width=16), Features()], ids=str
)
@pytest.mark.parametrize("fusion", ["transformer", "concatenation"])
def test_padding_changes_nothing(backbone, fusion):
    """More padding, and anything in it: the same encodings, in training's mode as in evaluation's."""
    x = series()
    spec = Multimodal(8, Vector([4]), {"x": backbone}, FUSIONS[fusion], Head([], shared=False))
    encoders = spec.build({"x": x, "v": VIEWS["table"]}, g())
    longer = torch.cat([x, torch.zeros(N, 4, x.shape[2])], dim=1)
    noisy = longer.clone()
    noisy[..., :-1] += 5 * torch.randn(noisy[..., :-1].shape, generator=g()) * (1 - longer[..., -1:])
    for mode in (True, False):
        encoders.train(mode)
        z = [encoders({"x": series_, "v": VIEWS["table"]}) for series_ in (x, longer, noisy)]
        for other in z[1:]:
            for name, h in z[0].items():
                torch.testing.assert_close(h, other[name], atol=1e-5, rtol=1e-5)


def texts(lengths=(3, 6, 6, 1, 4, 5), vocabulary=20):
    x = torch.randint(3, vocabulary, (len(lengths), 6), generator=g(8))
    return x * (torch.arange(6) < torch.tensor(lengths)[:, None])


@pytest.mark.parametrize("fusion", ["transformer", "concatenation"])
def test_behind_the_end_of_a_text_there_is_nothing_and_its_order_counts(fusion):
    spec = Multimodal(
        8, Vector([4]), {"x": Words(2, 2, 16, vocabulary_size=20)}, FUSIONS[fusion], Head([], shared=False)
    )
    x = texts()
    encoders = spec.build({"x": x, "v": VIEWS["table"]}, g())
    longer = torch.cat([x, torch.zeros(N, 3, dtype=torch.int64)], dim=1)
    turned = x.clone()
    turned[1] = x[1].flip(0)
    for mode in (True, False):
        encoders.train(mode)
        z, padded, other = (encoders({"x": words, "v": VIEWS["table"]}) for words in (x, longer, turned))
        for name, h in z.items():
            torch.testing.assert_close(h, padded[name], atol=1e-5, rtol=1e-5)
        assert (z["x"] - other["x"]).abs().amax(dim=1)[1] > 1e-2
        torch.testing.assert_close(z["x"][2:], other["x"][2:], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("sample", "size", "said"),
    [
        (torch.ones(4, 5), 8, "shape="),
        (torch.ones(4, 5, 2, dtype=torch.int64), 8, "shape="),
        (torch.full((4, 5), 20), 8, "vocabulary_size=20: must be > 20"),
        (torch.ones(4, 5, dtype=torch.int64), 9, "encoder.encoding_size=9: must be a multiple of heads=2"),
    ],
)
def test_what_are_no_words_of_the_vocabulary_is_told(sample, size, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        Words(heads=2, vocabulary_size=20).build(sample, size)
    with pytest.raises(ValueError, match="vocabulary_size=2"):
        Words(vocabulary_size=2)


def test_a_series_without_any_step_is_a_number_all_the_same():
    x = series(lengths=(0, 8, 8, 8, 8, 8))
    for backbone in (Recurrent(), SeriesTransformer(blocks=1, heads=2, width=8), Features()):
        encoders = Multimodal(8, backbones={"x": backbone}, fusion=FUSIONS["transformer"]).build(
            {"x": x}, g()
        )
        assert torch.isfinite(encoders(floats({"x": x}))["x"]).all()


def test_order_of_steps_is_seen_with_positions_alone():
    x = series(lengths=(8,) * N)
    shuffled = x[:, torch.randperm(8, generator=g())]
    for positions in (False, True):
        spec = Multimodal(
            8,
            backbones={"x": SeriesTransformer(1, 2, 16, positions=positions)},
            fusion=FUSIONS["transformer"],
        )
        encoders = spec.build({"x": x}, g()).eval()
        same = torch.allclose(encoders({"x": x})["x"], encoders({"x": shuffled})["x"], atol=1e-5)
        assert same != positions


@pytest.mark.parametrize(
    ("backbone", "sample", "tokens"),
    [
        (Vector([5]), torch.randn(4, 3), 1),
        (Table([7, 6]), torch.randn(4, 3), 6),
        (Table([]), torch.randn(4, 3), 3),
        (Features(), torch.randn(4, 3), 1),
        (Features(linear=False), torch.rand(4, 9, 17), 9),
        (Recurrent(), torch.ones(4, 9, 3), 9),
        (SeriesTransformer(1, 4, 8), torch.ones(4, 9, 3), 9),
        (CausalConvolutions(3, 8), torch.ones(4, 8, 3), 8),
        (ConvNet([4, 6, 8]), torch.zeros(4, 3, 16, 16, dtype=torch.uint8), 16),
        (ConvNet([4, 6, 8], stride=4), torch.zeros(4, 3, 32, 32, dtype=torch.uint8), 16),
        (ConvNet([4, 6], pooled=True), torch.zeros(4, 1, 8, 8), 1),
        (TorchvisionNet(Trunk.resnet18), torch.zeros(4, 3, 64, 64, dtype=torch.uint8), 4),
        (TorchvisionNet(Trunk.alexnet), torch.zeros(2, 3, 96, 96, dtype=torch.uint8), 4),
    ],
    ids=lambda x: type(x).__name__ if not isinstance(x, torch.Tensor) else "",
)
def test_tokens_of_a_backbone(backbone, sample, tokens):
    net = backbone.build(sample, 16)
    found = net(sample.float())
    assert found.values.shape == (len(sample), tokens, 16)
    if parameters := list(net.parameters()):
        found.pooled().square().sum().backward()
        assert all(p.grad is not None for p in parameters)


def test_a_causal_convolution_sees_what_is_there_alone():
    x = torch.randn(N, 8, 4, generator=g())
    x[..., -1] = (torch.arange(8) < 5).float()
    net = CausalConvolutions(3, 8).build(x, 16)
    other = x.clone()
    other[:, 5:, :-1] = 9.0
    assert torch.equal(net(x).values, net(other).values)


def test_positions_in_the_plane_by_a_loop():
    found = sine_positions(2, 3, 8)
    for y in range(2):
        for x in range(3):
            row = []
            for at in (x, y):
                for f in (torch.sin, torch.cos):
                    row += [f(torch.tensor(at / 10_000 ** (k / 2))) for k in range(2)]
            torch.testing.assert_close(found[3 * y + x], torch.stack(row))


def test_a_mean_over_the_tokens_that_are_there():
    values, there = split_series(series())
    pooled = Tokens(values, there).pooled()
    for row, length in enumerate((8, 5, 3, 1, 8, 2)):
        torch.testing.assert_close(pooled[row], values[row, :length].mean(dim=0))


@pytest.mark.parametrize("shared", [True, False])
def test_heads_are_applied_by_name(shared):
    head = Head([5, 3], shared=shared).build({"a": 4, "b": 4, "a+b": 4}).eval()
    z = {name: torch.randn(N, 4, generator=g(k)) for k, name in enumerate(("a@1", "b@1", "a+b@1", "a+b@2"))}
    out = head(z)
    assert all(h.shape == (N, 3) for h in out.values())
    again = head({"a@1": z["a@1"], "b@1": z["a@1"]})
    assert torch.equal(again["a@1"], again["b@1"]) == shared
    assert torch.equal(head({"a+b@2": z["a@1"], "a+b": z["a@1"]})["a+b"], head({"a+b@1": z["a@1"]})["a+b@1"])
    assert sum(isinstance(m, nn.BatchNorm1d) for m in head.modules()) == (1 if shared else 3)


def test_no_head_gives_the_encodings_themselves():
    z = {"a": torch.randn(2, 3)}
    assert Head([]).build({"a": 3})(z)["a"] is z["a"]


def test_the_same_seed_makes_the_same_encoders_and_leaves_the_global_state():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one, two = build(), build()
    assert torch.equal(torch.rand(1), expected)
    assert all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )
    # building looks at the data, and leaves no trace of that in BatchNorm
    made = Multimodal(8, ConvNet([4])).build({"i": VIEWS["image"]}, g())
    assert made.backbones["i"].net[2].num_batches_tracked == 0
    assert made.training


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Multimodal(6, fusion=Transformer(heads=4)), "encoding_size=6: must be a multiple of fusion.heads=4"),
        (lambda: Multimodal(8, backbones={"z": Vector()}).build(VIEWS, g()), "encoder.backbones='z': must be views of"),
        (lambda: Multimodal(8).build({"i": VIEWS["image"]}, g()), r"view 'i': shape='\(6, 3, 16, 16\), torch.uint8'"),
        (lambda: Multimodal(8).build({"w": torch.ones(6, 3).long()}, g()), "view 'w': .*int64.* floating"),
        (lambda: Multimodal(8).build({"a+b": VIEWS["table"]}, g()), r"view='a\+b': must be a name without"),
        (lambda: Multimodal(8, fusion=Vector()), "fusion=.*: must be a fusion"),
        (lambda: Multimodal(8, backbone={"a": Vector()}), "backbone=.*: must be a backbone"),
        (lambda: Multimodal(8, ConvNet()).build({"t": VIEWS["table"]}, g()), r"view 't': shape=\(6, 5\)"),
        (lambda: Multimodal(8, ConvNet([4] * 9)).build({"i": VIEWS["image"]}, g()), "fewer for images of 16 pixels"),
        (lambda: Multimodal(8, ConvNet([4] * 4, stride=8)).build({"i": VIEWS["image"]}, g()), "images of 16 pixels"),
        (lambda: ConvNet(stride=3), "stride=3: must be 1 or even"),
        (lambda: Multimodal(8, TorchvisionNet()).build({"i": VIEWS["image"]}, g()), "ConvNet"),
        (lambda: Multimodal(8, CausalConvolutions()).build({"s": VIEWS["series"]}, g()), "steps=8: must be 32"),
        (lambda: Multimodal(7, SeriesTransformer(heads=5), fusion=Concatenation()).build({"s": VIEWS["series"]}, g()),
         "encoder.encoding_size=7: must be a multiple of heads=5"),
        (lambda: build("concatenation"), "encoder.head.shared=True: must be false for encodings of sizes"),
        (lambda: Head([0]), r"head.widths=\[0\]"),
    ],
)  # fmt: skip
def test_what_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()
