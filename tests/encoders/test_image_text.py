import pytest
import torch

from mmcl.encoders import ImageNet, ImageTextEncoders, TextNet
from mmcl.encoders.images import Pixels
from mmcl.encoders.norms import Norm, freeze_statistics
from mmcl.encoders.texts import PooledText, ReleasedText
from mmcl.training.module import check_processes, check_rows_are_independent, encode


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=6, size=32, channels=3):
    return torch.randint(256, (n, channels, size, size), generator=g(), dtype=torch.uint8)


def words(n=6, length=12, high=50):
    found = torch.randint(3, high, (n, length), generator=g(1))
    found[:, length // 2 :] = 0
    found[:, length // 2] = 1
    return found


def test_pixels_have_mean_0_and_variance_1():
    x = images(40) // 2 + 20
    out = Pixels(x)(x)
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(dim=(0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)
    flat = torch.full((2, 3, 4, 4), 7, dtype=torch.uint8)
    assert (Pixels(flat)(flat) == 0).all()


@pytest.mark.parametrize(
    ("image", "size"), [(ImageNet.small, 32), (ImageNet.small, 64), (ImageNet.resnet18, 40)]
)
@pytest.mark.parametrize("text", [TextNet.pooled])
def test_each_view_has_an_encoder_of_its_kind(image, size, text):
    views = {"image": images(size=size), "text": words()}
    encoders = ImageTextEncoders(encoding_size=3, image=image, text=text).build(views, g())
    z = encoders(views)
    assert {name: tuple(h.shape) for name, h in z.items()} == {"image": (6, 3), "text": (6, 3)}
    assert all(h.dtype == torch.float32 and torch.isfinite(h).all() for h in z.values())
    # Floats of the same numbers, as training gives them, are encoded alike.
    again = encoders({name: x.float() for name, x in views.items()})
    for name, h in z.items():
        torch.testing.assert_close(again[name], h, rtol=1e-4, atol=1e-5)
    sum(h.square().sum() for h in z.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in encoders.parameters())


def test_weights_are_the_generators_and_the_global_state_stays():
    views = {"image": images(), "text": words()}
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two, other = (ImageTextEncoders().build(views, g(seed)).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one)


def test_two_views_of_images_may_share_an_encoder():
    views = {"image1": images(), "image2": images() // 2}
    encoders = ImageTextEncoders(shared=True).build(views, g())
    assert len({id(p) for p in encoders.parameters()}) == len(list(encoders.encoders["shared"].parameters()))
    with pytest.raises(ValueError, match=r"encoder\.shared=true: needs views of one size"):
        ImageTextEncoders(shared=True).build({"image1": images(), "image2": images(size=64)}, g())


def test_where_an_object_is_can_be_told_from_the_small_networks_features():
    """The last convolution's output is flattened, so a shift of the image is not lost in a mean."""
    x = torch.zeros(2, 3, 64, 64)
    x[0, :, 4:12, 4:12] = 255
    x[1, :, 52:60, 52:60] = 255
    encoder = ImageTextEncoders().build({"image": x}, g()).eval()
    a, b = encoder({"image": x})["image"]
    assert (a - b).abs().max() > 1e-3


def test_the_pooled_text_does_not_see_padding():
    encoder = PooledText(60, 4, 16)
    x = words(length=12)
    longer = torch.cat([x, torch.zeros(6, 9, dtype=torch.int64)], dim=1)
    shorter = x[:, :7]  # six words and the end
    for other in (longer, shorter):
        torch.testing.assert_close(encoder(other), encoder(x), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(encoder(words(high=20)), encoder(x))
    assert torch.isfinite(encoder(torch.zeros(2, 5, dtype=torch.int64))).all()
    assert encoder(torch.tensor([[5]])).shape == (1, 4)


def test_the_pooled_text_sees_the_order_of_words():
    encoder = PooledText(60, 4, 16)
    x = torch.tensor([[5, 6, 7, 8, 1], [8, 7, 6, 5, 1]])
    a, b = encoder(x)
    assert (a - b).abs().max() > 1e-3


@pytest.mark.parametrize("length", [24, 31])
def test_the_released_text_takes_24_to_31_words(length):
    encoder = ReleasedText(60, 5)
    assert encoder(words(length=length)).shape == (6, 5)
    # An embedding, three convolutions with BatchNorm, a linear layer of 4800 inputs.
    assert (
        sum(p.numel() for p in encoder.parameters())
        == 60 * 128
        + (16 * 25 + 25 + 50)
        + (25 * 16 * 50 + 50 + 100)
        + (50 * 16 * 100 + 100 + 200)
        + 4800 * 5
        + 5
    )


@pytest.mark.parametrize("length", [23, 32])
def test_another_length_is_refused(length):
    with pytest.raises(
        ValueError, match=rf"texts have {length} words, must have 24 to 31; use encoder\.text=pooled"
    ):
        ReleasedText(60, 5)(words(length=length))


@pytest.mark.parametrize(
    ("views", "said"),
    [
        ({"image": images(size=40)}, r"images are 40 x 40, must have sides of 32 or more, multiples of 16"),
        ({"image": images(size=16)}, r"images are 16 x 16"),
        ({"text": words(high=5000)}, r"vocabulary_size=1024: must be > "),
        ({"x": torch.zeros(3, 4)}, r"view x=.*: must be images \(n, C, H, W\) or words \(n, L\)"),
    ],
)
def test_views_that_do_not_fit_are_named(views, said):
    with pytest.raises(ValueError, match=said):
        ImageTextEncoders().build(views, g())


@pytest.mark.parametrize("field", ["encoding_size", "image_width", "text_width", "vocabulary_size"])
def test_values_out_of_range_are_named(field):
    with pytest.raises(ValueError, match=f"{field}=0: must be >= "):
        ImageTextEncoders(**{field: 0})


def test_other_channels_than_three():
    for net in ImageNet:
        views = {"image": images(channels=1)}
        assert ImageTextEncoders(image=net).build(views, g())(views)["image"].shape == (6, 4)


@pytest.mark.parametrize("norm", [Norm.frozen, Norm.group])
@pytest.mark.parametrize(
    ("image", "text"), [(ImageNet.small, TextNet.released), (ImageNet.resnet18, TextNet.pooled)]
)
def test_without_batch_statistics_a_row_is_encoded_alike_in_any_batch(image, text, norm):
    views = {"image": images(8), "text": words(8, length=25)}
    encoders = ImageTextEncoders(image=image, text=text, norm=norm).build(views, g()).train()
    whole = encoders(views)
    part = encoders({name: x[3:5] for name, x in views.items()})
    for name, z in whole.items():
        torch.testing.assert_close(part[name], z[3:5], rtol=1e-4, atol=1e-4)
    check_rows_are_independent(encoders, 4)
    check_processes(encoders, 2, "cpu")
    with pytest.raises(ValueError, match=r"trainer\.devices=2: on a CPU .*BatchNorm2d.*encoder\.norm=frozen"):
        check_processes(ImageTextEncoders(image=image, text=text).build(views, g()), 2, "cpu")
    with pytest.raises(ValueError, match=r"trainer\.encode_rows=4"):
        check_rows_are_independent(ImageTextEncoders(image=image, text=text).build(views, g()), 4)


def test_frozen_statistics_are_those_of_the_sample_and_stay():
    x = images(40).float()
    sample = torch.randn(64, 5, 3, 3, generator=g()) * 4 + 7
    net = torch.nn.Sequential(Norm.frozen.layer(5), torch.nn.Conv2d(5, 6, 1), Norm.frozen.layer(6))
    freeze_statistics(net, sample)
    out = net.train()(sample)
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(dim=(0, 2, 3), correction=0), torch.ones(6), atol=1e-3, rtol=0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net(sample * 3 + 1)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    # At the start it is BatchNorm: of the same weights, in the same batch.
    frozen, batch = (
        ImageTextEncoders(norm=norm).build({"image": x}, g()).train()({"image": x})["image"]
        for norm in (Norm.frozen, Norm.batch)
    )
    torch.testing.assert_close(frozen, batch, rtol=1e-3, atol=1e-4)


def test_gradients_of_frozen_statistics_are_those_of_the_whole_batch_in_parts():
    views = {"image": images(12).double(), "text": words(12, length=25)}
    encoders = ImageTextEncoders(text=TextNet.released, norm=Norm.frozen).build(views, g()).double().train()
    gradients = []
    for rows in (None, 5):
        encoders.zero_grad()
        z = encode(encoders, views, rows)
        (z["image"] @ z["text"].T).logsumexp(dim=1).sum().backward()
        gradients.append([p.grad.clone() for p in encoders.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
