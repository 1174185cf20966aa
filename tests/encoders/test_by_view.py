"""Encoders of a kind for each view."""

import pytest
import torch

from mmcl.encoders import ByView, Fixed, LeNet


def generator():
    return torch.Generator().manual_seed(0)


def views(side=8, channels=1):
    images = torch.randint(0, 256, (5, channels, side, side), generator=generator(), dtype=torch.uint8)
    return {"image": images, "label": torch.eye(10)[:5]}


@pytest.mark.parametrize(("side", "flat"), [(28, 400), (8, 64)])
def test_lenet_has_lenets_sizes(side, flat):
    """Of 28 x 28 pixels 61,706 parameters, the usual count of LeNet-5 with all channels connected."""
    x = views(side)
    encoders = ByView(10, {"image": LeNet(), "label": Fixed()}).build(x, generator())
    count = sum(p.numel() for p in encoders.parameters())
    assert count == 61_706 - 120 * (400 - flat)
    z = encoders(x)
    assert z["image"].shape == (5, 10)
    assert torch.equal(z["label"], x["label"])


def test_the_same_generator_makes_the_same_encoders():
    made = [ByView(10, {"image": LeNet(), "label": Fixed()}).build(views(), generator()) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*(m.parameters() for m in made), strict=True))


def test_what_does_not_fit_is_refused():
    both = {"image": LeNet(), "label": Fixed()}
    with pytest.raises(
        ValueError, match=r"encoder\.views=\['image'\]: must be those of the data: image, label"
    ):
        ByView(10, {"image": LeNet()}).build(views(), generator())
    with pytest.raises(
        ValueError, match=r"view 'label': shape=\(5, 10\): must be \(rows, encoder.encoding_size=8\)"
    ):
        ByView(8, both).build(views(), generator())
    with pytest.raises(ValueError, match=r"view .image.: shape=.*for LeNet"):
        ByView(10, both).build(views(side=7), generator())
    with pytest.raises(ValueError, match=r"views\.image=7: must be an encoder"):
        ByView(10, {"image": 7})
    with pytest.raises(ValueError, match="encoding_size=0"):
        ByView(0)
