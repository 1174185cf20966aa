"""Contrastive learning of samples and their labels is classification: Baptista et al. (2025), Proposition 6.1."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from mmcl.losses import contrastive
from mmcl.losses.similarity import Similarity


def loss(h, labels, of_label, of_image):
    """The conditional loss of inner products, of encodings h and one-hot labels."""
    one_hot = torch.eye(h.shape[1], dtype=h.dtype)[labels]
    return contrastive.contrastive_pair(
        h,
        one_hot,
        similarity=Similarity.inner_product,
        weight_second_given_first=of_label,
        weight_first_given_second=of_image,
    )


def data(n, classes, seed=0):
    g = torch.Generator().manual_seed(seed)
    h = torch.randn(n, classes, generator=g, dtype=torch.float64).requires_grad_()
    return h, torch.randint(classes, (n,), generator=g)


def test_of_the_label_given_the_image_it_is_cross_entropy_with_the_batchs_frequencies_as_prior():
    """loss(h) = CE(h + log p) - H(p) with p the labels' frequencies in the batch; the same gradient."""
    h, labels = data(40, 5)
    p = torch.bincount(labels, minlength=5).double() / 40
    ours = loss(h, labels, 2.0, 0.0)
    theirs = cross_entropy(h + p.log(), labels) + (p * p.log()).sum()
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-12)
    gradients = [torch.autograd.grad(x, h)[0] for x in (ours, theirs)]
    assert torch.allclose(*gradients, atol=1e-14)


def test_with_as_many_of_each_label_it_is_cross_entropy_less_log_classes():
    h, _ = data(40, 5)
    labels = torch.arange(40) % 5
    ours, theirs = loss(h, labels, 2.0, 0.0), cross_entropy(h, labels) - torch.log(torch.tensor(5.0)).double()
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-7)
    gradients = [torch.autograd.grad(x, h)[0] for x in (ours, theirs)]
    assert torch.allclose(*gradients, atol=1e-14)


def test_of_the_image_given_the_label_it_is_not():
    """It leaves a constant added to a label's column alone, which cross-entropy does not."""
    h, labels = data(40, 5)
    h = h.detach()
    shift = torch.arange(5, dtype=torch.float64)
    assert float(loss(h + shift, labels, 0.0, 2.0)) == pytest.approx(
        float(loss(h, labels, 0.0, 2.0)), abs=1e-12
    )
    assert abs(float(loss(h + shift, labels, 2.0, 0.0)) - float(loss(h, labels, 2.0, 0.0))) > 0.1
