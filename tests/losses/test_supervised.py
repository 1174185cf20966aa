"""Objectives that are told labels, against loops and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mmcl.losses import SupCon, Supervised, supervised_contrast


def by_loops(z, labels, tau):
    z = [row / row.norm() for row in z]
    n, losses = len(z), []
    for a in range(n):
        others = [p for p in range(n) if p != a and labels[p] == labels[a]]
        if not others:
            continue
        total = sum(math.exp(float(z[a] @ z[b]) / tau) for b in range(n) if b != a)
        losses.append(-sum(float(z[a] @ z[p]) / tau - math.log(total) for p in others) / len(others))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("tau", [0.07, 1.0])
@pytest.mark.parametrize("classes", [2, 3, 20])  # of 20, some rows are alone
def test_supervised_contrast_by_loops(tau, classes):
    random = torch.Generator().manual_seed(classes)
    z = torch.randn(12, 5, dtype=torch.float64, generator=random)
    labels = torch.randint(classes, (12,), generator=random)
    assert supervised_contrast(z, labels, tau).item() == pytest.approx(by_loops(z, labels, tau), rel=1e-12)


def test_its_gradient():
    random = torch.Generator().manual_seed(0)
    z = torch.randn(8, 3, dtype=torch.float64, generator=random, requires_grad=True)
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 5])
    torch.autograd.gradcheck(lambda z: supervised_contrast(z, labels, 0.3), z)


def test_of_samples_that_are_all_different_it_is_nt_xent_of_the_two_draws():
    from mmcl.losses import Negatives, Similarity, contrastive_pair
    from mmcl.losses.contrastive import Reduction

    random = torch.Generator().manual_seed(1)
    first, second = torch.randn(2, 7, 4, dtype=torch.float64, generator=random)
    loss = SupCon(temperature=0.2).build()
    found = loss({"x1+x2@1": first, "x1+x2@2": second}, torch.arange(7)[:, None])
    known = contrastive_pair(
        first, second, similarity=Similarity.cosine, temperature=0.2, negatives=Negatives.both,
        candidate_reduction=Reduction.sum,
    )  # fmt: skip
    assert found.item() == pytest.approx(known.item(), rel=1e-12)


def test_rows_without_another_of_their_label_are_left_out_and_give_no_nan():
    z = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = supervised_contrast(z, torch.arange(3), 0.1)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(z.grad).all()


def test_all_modalities_together_are_compared():
    names = ["a", "b", "c", "a+b+c"]
    assert SupCon().build().wanted(names) == {1: ("a+b+c",), 2: ("a+b+c",)}
    assert Supervised().build().wanted(names) == {1: ("a+b+c",)}
    assert Supervised(augmented=False).build().wanted(names) == {0: ("a+b+c",)}
    assert SupCon().build().wanted(["a"]) == {1: ("a",), 2: ("a",)}
    with pytest.raises(ValueError, match="encoder=multimodal"):
        Supervised().build().wanted(["a", "b"])


def test_supervised_kinds_are_torchs_losses():
    random = torch.Generator().manual_seed(2)
    z = torch.randn(6, 4, generator=random)
    cases = {
        "classes": (torch.randint(3, (6, 1), generator=random), lambda x, y: F.cross_entropy(x, y[:, 0])),
        "binary": (
            torch.randint(2, (6, 3), generator=random),
            lambda x, y: -(y * x.sigmoid().log() + (1 - y) * (1 - x.sigmoid()).log()).mean(),
        ),
        "numbers": (torch.randn(6, 3, generator=random), lambda x, y: (x - y).square().mean()),
    }
    for kind, (labels, known) in cases.items():
        loss = Supervised(kind=kind, outputs=3, encoding_size=4).build()
        x = z @ loss.predict.weight.T + loss.predict.bias
        assert loss({"x@1": z}, labels).item() == pytest.approx(known(x, labels).item(), rel=1e-5), kind


def test_a_loss_under_autocast_is_of_full_precision():
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(3)).bfloat16()
    labels = torch.tensor([[0], [1]] * 3)
    for loss in (SupCon().build(), Supervised(encoding_size=4).build()):
        rows = {f"x@{draw}": z for draw in loss.spec.draws}
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = loss(rows, labels)
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(
            loss({n: h.float() for n, h in rows.items()}, labels).item(), rel=1e-6
        )


@pytest.mark.parametrize(
    ("spec", "components", "classes", "said"),
    [
        (SupCon(), 2, 2, "one component of classes"),
        (SupCon(), 1, None, "one component of classes"),
        (Supervised(outputs=2), 1, 3, "at most loss.outputs=2 classes; it has 1 component.s., of 3 classes"),
        (Supervised(outputs=3), 2, 3, "one component"),
        (Supervised(kind="binary", outputs=3), 2, 2, "3 components of two classes"),
        (Supervised(kind="numbers", outputs=4), 4, 2, "4 components of continuous"),
    ],
)
def test_labels_of_another_kind_are_refused(spec, components, classes, said):
    with pytest.raises(ValueError, match=said):
        spec.check(components, classes)


def test_bad_fields_and_widths_are_refused():
    with pytest.raises(ValueError, match="temperature"):
        SupCon(temperature=0.0)
    with pytest.raises(ValueError, match="outputs=1: must be >= 2 classes"):
        Supervised(outputs=1)
    with pytest.raises(ValueError, match=r"loss\.encoding_size=64: must be the encoders', 4"):
        Supervised().build()({"x@1": torch.zeros(2, 4)}, torch.zeros(2, 1, dtype=torch.long))
