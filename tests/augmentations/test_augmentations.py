"""Augmentations: what they leave, how often they do what, and that processes draw what one would."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.transforms.v2 import functional as vision

from mmcl.augmentations import Augment, DropAndNoise, ImageAugmentation, Numbers, WordMask

CPU = torch.device("cpu")
OFF = {
    "area": [1.0, 1.0], "flip": 0.0, "jitter": 1.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0,
    "grayscale": 0.0, "blur": 0.0,
}  # fmt: skip


def numbers(n, seed=0, rows=None):
    return Numbers(torch.Generator().manual_seed(seed), n, rows or slice(0, n), CPU)


def images(n=8, size=16, seed=0):
    return torch.randint(0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(seed)).float()


def series(n=8, steps=10):
    x = torch.randn(n, steps, 3, generator=torch.Generator().manual_seed(1))
    x[..., -1] = (torch.arange(steps) < 7).float()
    x[:, 7:, :-1] = 0.0
    return x


EVERYTHING = {
    "vector": (DropAndNoise(), torch.randn(8, 5)),
    "series": (DropAndNoise(0.8, True, 0.5, 0.1, 0.5), series()),
    "image": (ImageAugmentation(), images()),
    "text": (WordMask(0.5), torch.arange(40).reshape(8, 5)),
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_rows_of_a_process_are_rows_of_the_whole_and_the_argument_stays(name):
    change, x = EVERYTHING[name]
    before = x.clone()
    whole = change(x, numbers(8))
    assert torch.equal(x, before)
    assert whole.shape == x.shape
    assert whole.dtype == x.dtype
    assert not torch.equal(whole, x)
    parts = [change(x[rows], numbers(8, rows=rows)) for rows in (slice(0, 3), slice(3, 8))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-6, atol=1e-4)
    assert torch.equal(change(x, numbers(8)), whole)
    assert not torch.equal(change(x, numbers(8, seed=1)), whole)


@pytest.mark.parametrize("up_to", [False, True])
def test_as_much_is_dropped_as_is_said(up_to):
    """Of 40,000 ones a share of 0.4 (0.2 on average, where it is drawn) x 0.5: within 5 standard deviations."""
    n, d = 4000, 10
    x = torch.ones(n, d)
    found = DropAndNoise(0.4, up_to, 0.5, 0.0)(x, numbers(n))
    dropped = (found == 0).float()
    share = 0.5 * (0.2 if up_to else 0.4)
    # rows are independent of each other, the features of one are not
    assert dropped.mean().item() == pytest.approx(
        share, abs=5 * dropped.mean(dim=1).std().item() / math.sqrt(n)
    )
    untouched = (dropped.sum(dim=1) == 0).float().mean().item()
    expected = 0.5 + 0.5 * (0.6**10 if not up_to else (1 - 0.6**11) / (0.4 * 11))
    assert untouched == pytest.approx(expected, abs=5 * math.sqrt(0.25 / n))


def test_noise_has_its_deviation_and_its_share():
    n = 4000
    found = DropAndNoise(0.0, noise=0.3, noise_probability=0.25)(torch.zeros(n, 10), numbers(n))
    noisy = (found != 0).any(dim=1)
    assert noisy.float().mean().item() == pytest.approx(0.25, abs=5 * math.sqrt(0.1875 / n))
    # 10,000 values: the standard deviation's own error is 0.3 / sqrt(20,000)
    assert found[noisy].std().item() == pytest.approx(0.3, abs=5 * 0.3 / math.sqrt(2e4))


def test_of_a_series_whole_steps_are_dropped_and_padding_stays():
    x = series(200)
    found = DropAndNoise(0.5, noise=0.0)(x, numbers(200))
    assert torch.equal(found[..., -1], x[..., -1])
    gone = (found[:, :7, :-1] == 0).all(dim=2)
    assert torch.equal(gone, (found[:, :7, :-1] == 0).any(dim=2))
    assert 0.4 < gone.float().mean() < 0.6  # 1,400 steps, 7 standard deviations
    noisy = DropAndNoise(0.0, noise=1.0)(x, numbers(200))
    assert torch.equal(noisy[:, 7:], x[:, 7:])


def test_masked_words():
    x = torch.randint(0, 50, (400, 20), generator=torch.Generator().manual_seed(0))
    found = WordMask(0.3, unknown=1, special=3)(x, numbers(400))
    assert torch.equal(found[x < 3], x[x < 3])
    changed = (found != x)[x >= 3]
    assert (found[found != x] == 1).all()
    assert changed.float().mean().item() == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / 7500))


def test_nothing_is_done_where_nothing_is_asked_for():
    x = images()
    torch.testing.assert_close(ImageAugmentation(**OFF)(x, numbers(8)), x, atol=1e-3, rtol=0)


def test_a_flip_is_a_flip():
    x = images()
    found = ImageAugmentation(**(OFF | {"flip": 1.0}))(x, numbers(8))
    torch.testing.assert_close(found, x.flip(-1), atol=1e-2, rtol=0)


def test_a_crop_is_torchvisions_crop_resized():
    """The map from a crop's place to its pixels, against torchvision's, from crops that lie on whole pixels."""
    x = images(n=400)
    found = ImageAugmentation(**(OFF | {"area": [0.25, 0.25]}))(x, numbers(400))
    # the same numbers, in the order in which they are drawn
    drawn = numbers(400)
    drawn.uniform()
    ratio = drawn.uniform(low=math.log(3 / 4), high=math.log(4 / 3)).exp()
    width, height = 0.5 * ratio.sqrt(), 0.5 / ratio.sqrt()
    left, top = (drawn.uniform() * (1 - side) for side in (width, height))
    for k in range(400):
        assert 0 <= left[k] <= 1 - width[k]
        grid_y = (top[k] + height[k] * (torch.arange(16) + 0.5) / 16) * 16 - 0.5
        grid_x = (left[k] + width[k] * (torch.arange(16) + 0.5) / 16) * 16 - 0.5
        expected = _bilinear(x[k], grid_y, grid_x)
        torch.testing.assert_close(found[k], expected, atol=0.02, rtol=0)


def _bilinear(image, ys, xs):
    ys, xs = ys.clamp(0, 15), xs.clamp(0, 15)
    y0, x0 = ys.floor().long().clamp(max=14), xs.floor().long().clamp(max=14)
    wy, wx = (ys - y0)[:, None], (xs - x0)[None]
    rows = image[:, y0] * (1 - wy) + image[:, y0 + 1] * wy
    return rows[..., x0] * (1 - wx) + rows[..., x0 + 1] * wx


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colours_are_changed_as_torchvision_does(name):
    x = images()
    found = ImageAugmentation(**(OFF | {name: 0.4}))(x, numbers(8))
    adjust = getattr(vision, f"adjust_{name}")
    for k in range(8):
        errors = {
            round(f, 3): (adjust(x[k] / 255, f) * 255 - found[k]).abs().max().item()
            for f in torch.linspace(0.6, 1.4, 801).tolist()
        }
        assert min(errors.values()) < 0.3  # for one factor of the range, of which the nearest is 0.0005 away


def test_grey_and_hue():
    x = images()
    grey = ImageAugmentation(**(OFF | {"grayscale": 1.0}))(x, numbers(8))
    torch.testing.assert_close(grey, vision.rgb_to_grayscale(x, 3), atol=1e-3, rtol=0)
    turned = ImageAugmentation(**(OFF | {"hue": 0.5}))(x, numbers(8))
    torch.testing.assert_close(turned.amax(dim=1), x.amax(dim=1), atol=0.05, rtol=0)  # the value stays
    assert (turned - x).abs().mean() > 5


def test_a_blur_keeps_the_mean_and_smooths():
    x = images(size=64)
    found = ImageAugmentation(**(OFF | {"blur": 1.0, "blur_sigma": [3.5, 3.5]}))(
        x, numbers(8)
    )  # 1 pixel of 64
    assert found.mean().item() == pytest.approx(x.mean().item(), abs=0.5)
    # White noise blurred by a Gaussian of sigma = 1 pixel keeps 1 / (4 pi) of its variance.
    inner = found[..., 4:-4, 4:-4]
    assert inner.var().item() == pytest.approx(x.var().item() / (4 * math.pi), rel=0.1)


def test_each_view_has_its_own_and_others_stay():
    views = {"a": torch.ones(4, 3), "b": torch.ones(4, 3), "c": images(4)}
    found = Augment(views={"a": DropAndNoise(1.0, noise=0.0)})(views, numbers(4))
    assert torch.equal(found["a"], torch.zeros(4, 3))
    assert found["b"] is views["b"]
    found = Augment(DropAndNoise(1.0, noise=0.0), {"c": ImageAugmentation()})(views, numbers(4))
    assert torch.equal(found["b"], torch.zeros(4, 3))
    assert found["c"].shape == views["c"].shape


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DropAndNoise(drop=1.5), r"drop=1.5: must be in \[0, 1\]"),
        (lambda: DropAndNoise(noise=-1.0), "noise=-1.0"),
        (lambda: DropAndNoise()(images(), numbers(8)), r"shape='\(8, 3, 16, 16\)"),
        (lambda: DropAndNoise()(torch.ones(8, 3).long(), numbers(8)), "int64'"),
        (lambda: Augment(default="noise"), "default='noise': must be an augmentation"),
        (lambda: ImageAugmentation(area=[0.5, 0.2]), r"area=\[0.5, 0.2\]"),
        (lambda: ImageAugmentation(area=[0.5, 1.2]), "at most 1"),
        (lambda: ImageAugmentation(hue=0.7), "hue=0.7"),
        (lambda: ImageAugmentation()(torch.ones(3, 4), numbers(3)), r"shape=\(3, 4\)"),
        (lambda: WordMask(2.0), "probability=2.0"),
        (lambda: WordMask()(torch.ones(2, 3), numbers(2)), "dtype=torch.float32"),
        (lambda: Augment(views={"z": WordMask()}).check({"a": 1}), "augmentation.views=.z.: must be views of the data"),
    ],
)  # fmt: skip
def test_what_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()
