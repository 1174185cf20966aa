from __future__ import annotations

import itertools
import math
import random

import pytest
import torch

from mmcl.losses import (
    Contrastive,
    Negatives,
    Normaliser,
    Reduction,
    Similarity,
    candidate_count,
    contrastive_loss,
    contrastive_pair,
)
from tests.losses.naive import naive_pair

BOTH, SECOND_GIVEN_FIRST, FIRST_GIVEN_SECOND, UNEVEN = (
    {"weight_second_given_first": first, "weight_first_given_second": second}
    for first, second in ((1.0, 1.0), (2.0, 0.0), (0.0, 2.0), (0.5, 1.25))
)
GRID = [
    {
        "similarity": similarity,
        "lp_exponent": 3.0,
        "temperature": temperature,
        "negatives": negatives,
        "positive_in_denominator": positive,
        **weights,
        "reduction": reduction,
        "candidate_reduction": candidate_reduction,
        "normaliser": normaliser,
        "alignment_weight": 2.5 if weights is UNEVEN else 1.0,
    }
    for similarity, (
        temperature,
        weights,
    ), negatives, positive, reduction, candidate_reduction, normaliser in (
        itertools.product(
            Similarity,
            ((1.0, BOTH), (0.7, SECOND_GIVEN_FIRST), (0.7, FIRST_GIVEN_SECOND), (1.3, UNEVEN)),
            Negatives,
            (True, False),
            Reduction,
            Reduction,
            Normaliser,
        )
    )
]


def sample(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def four(rows: int = 4, fresh_rows: int = 3, width: int = 2, **kwargs) -> tuple[torch.Tensor, ...]:
    return tuple(
        sample(n, width, seed=seed, **kwargs) for seed, n in enumerate([rows, rows, fresh_rows, fresh_rows])
    )


def value_and_gradients(loss, inputs, **options):
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    value = loss(*inputs, **options)
    value.backward()
    return value.detach(), [x.grad if x.grad is not None else torch.zeros_like(x) for x in inputs]


def name_of(options: dict) -> str:
    return "-".join(str(getattr(v, "name", v)) for v in options.values())


@pytest.mark.parametrize("negatives", Negatives)
@pytest.mark.parametrize("similarity", Similarity)
def test_the_whole_grid_equals_plain_loops_in_value_and_gradient(similarity, negatives):
    cells = [o for o in GRID if o["similarity"] is similarity and o["negatives"] is negatives]
    assert len(cells) == 64
    for options in cells:
        expected, expected_gradients = value_and_gradients(naive_pair, four(), **options)
        for tile in (None, 3):
            found, found_gradients = value_and_gradients(contrastive_pair, four(), **options, tile=tile)
            torch.testing.assert_close(
                found, expected, rtol=1e-10, atol=1e-10, msg=lambda m, o=options: name_of(o) + m
            )
            for a, b in zip(found_gradients, expected_gradients, strict=True):
                torch.testing.assert_close(
                    a, b, rtol=1e-9, atol=1e-9, msg=lambda m, o=options: name_of(o) + m
                )


def test_eq_2_by_hand():
    # h1 = 0, 1, 3 and h2 = 0, 2, 3. Squared distances of h1_i (rows) to h2_j (columns): 0 4 9 / 1 1 4 / 9 1
    # 0.   -log(1 / (1 + e^-4 + e^-9))               = log(1.0184390) = 0.0182711   -log(e^-1 / (e^-1 + e^-1
    # + e^-4)) = 1 + log(0.7540745)     = 0.7177359   -log(1 / (e^-9 + e^-1 + 1))               =
    # log(1.3680029) = 0.3133519
    h1, h2 = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [2.0], [3.0]])
    sums = {"reduction": Reduction.sum, "candidate_reduction": Reduction.sum}
    printed = contrastive_pair(h1, h2, **sums, **SECOND_GIVEN_FIRST)
    assert printed.item() == pytest.approx(0.0182711 + 0.7177359 + 0.3133519, abs=3e-6)
    ours = contrastive_pair(h1, h2, **SECOND_GIVEN_FIRST)
    assert ours.item() == pytest.approx((0.0182711 + 0.7177359 + 0.3133519) / 3 - 1.0986123, abs=3e-6)


@pytest.mark.parametrize("weights", [BOTH, SECOND_GIVEN_FIRST])
def test_printed_is_k_times_ours_plus_log_k(weights):
    rows = 7
    pair = (sample(rows, 3), sample(rows, 3, seed=1))
    ours, ours_gradients = value_and_gradients(contrastive_pair, pair, **weights)
    printed, printed_gradients = value_and_gradients(
        contrastive_pair, pair, **weights, reduction=Reduction.sum, candidate_reduction=Reduction.sum
    )
    torch.testing.assert_close(printed, rows * (ours + math.log(rows)))
    for a, b in zip(printed_gradients, ours_gradients, strict=True):
        torch.testing.assert_close(a, rows * b)


def test_candidate_counts():
    counts = {
        (negatives.name, positive): candidate_count(5, negatives, positive, fresh_rows=3)
        for negatives in Negatives
        for positive in (True, False)
    }
    assert counts == {
        ("cross", True): 5, ("cross", False): 4,
        ("within", True): 5, ("within", False): 4,
        ("within_fresh", True): 4, ("within_fresh", False): 3,
        ("both", True): 9, ("both", False): 8,
    }  # fmt: skip


@pytest.mark.parametrize("negatives", Negatives)
@pytest.mark.parametrize("similarity", Similarity)
def test_invariances(similarity, negatives):
    options = {"similarity": similarity, "lp_exponent": 1.0, "negatives": negatives}
    h1, h2, f1, f2 = four(rows=6, fresh_rows=5, width=3)
    loss = contrastive_pair(h1, h2, f1, f2, **options)

    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(contrastive_pair(h1[order], h2[order], f1, f2, **options), loss)
    torch.testing.assert_close(contrastive_pair(h2, h1, f2, f1, **options), loss)

    transforms = {
        "translation": lambda x: x + torch.tensor([3.0, -1.0, 2.0], dtype=x.dtype),
        "rotation": lambda x: x @ torch.linalg.qr(sample(3, 3, seed=9)).Q,
        "scale": lambda x: 2.5 * x,
    }
    holds = {
        Similarity.negative_squared_euclidean: {"translation", "rotation"},
        Similarity.negative_lp: {"translation"},
        Similarity.cosine: {"rotation", "scale"},
        Similarity.inner_product: {"rotation"},
    }[similarity]
    for name, move in transforms.items():
        moved = contrastive_pair(*(move(x) for x in (h1, h2, f1, f2)), **options)
        assert torch.isclose(moved, loss, rtol=1e-9) == (name in holds), name


def test_one_sided_losses_depend_on_the_order():
    h1, h2 = sample(6, 3), sample(6, 3, seed=1)
    a, b = (contrastive_pair(*pair, **SECOND_GIVEN_FIRST) for pair in ((h1, h2), (h2, h1)))
    assert not torch.isclose(a, b)
    torch.testing.assert_close(contrastive_pair(h1, h2, **FIRST_GIVEN_SECOND), b)
    torch.testing.assert_close(contrastive_pair(h1, h2), (a + b) / 2)


@pytest.mark.parametrize("similarity", Similarity)
def test_the_lower_limit_is_minus_log_k(similarity):
    for seed in range(5):
        loss = contrastive_pair(sample(8, 3, seed=seed), sample(8, 3, seed=seed + 50), similarity=similarity)
        assert loss >= -math.log(8)
    separated = 40.0 * torch.eye(8, dtype=torch.float64)
    loss = contrastive_pair(separated, separated, similarity=similarity, temperature=0.01)
    assert loss.item() == pytest.approx(-math.log(8), abs=1e-12)


@pytest.mark.parametrize("negatives", Negatives)
@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("similarity", [Similarity.negative_squared_euclidean, Similarity.negative_lp])
def test_identical_rows_give_zero_and_no_gradient(similarity, positive, negatives):
    rows = torch.tensor([[0.3, -7.1, 1e4]]).repeat(9, 1)
    options = {"similarity": similarity, "negatives": negatives, "positive_in_denominator": positive}
    loss, gradients = value_and_gradients(contrastive_pair, [rows] * 4, **options)
    assert abs(loss.item()) < 5e-7  # log of the count, rounded to float32 twice
    assert all(gradient.abs().max() < 1e-3 for gradient in gradients)


EXTREMES = {
    "identical": torch.ones(6, 3),
    "zero": torch.zeros(6, 3),
    "some zero": torch.cat([torch.zeros(3, 3), sample(3, 3, dtype=torch.float32)]),
    "large": 1e4 * sample(6, 3, dtype=torch.float32),
    "tiny": 1e-20 * sample(6, 3, dtype=torch.float32),
}


@pytest.mark.parametrize("negatives", Negatives)
@pytest.mark.parametrize("similarity", Similarity)
@pytest.mark.parametrize("extreme", EXTREMES)
def test_extreme_rows_are_finite_in_value_and_gradient(extreme, similarity, negatives):
    rows = EXTREMES[extreme]
    for positive, p in itertools.product((True, False), (0.5, 1.0, 2.0, 3.0)):
        loss, gradients = value_and_gradients(
            contrastive_pair,
            [rows, rows.flip(0), rows, rows],
            similarity=similarity,
            lp_exponent=p,
            negatives=negatives,
            positive_in_denominator=positive,
        )
        assert torch.isfinite(loss)
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("negatives", Negatives)
def test_a_large_offset_does_not_cost_precision(negatives):
    inputs = [1e4 + x for x in four(rows=32, fresh_rows=32, width=5, dtype=torch.float32)]
    found, gradients = value_and_gradients(contrastive_pair, inputs, negatives=negatives)
    truth, true_gradients = value_and_gradients(
        contrastive_pair, [x.double() for x in inputs], negatives=negatives
    )
    torch.testing.assert_close(found.double(), truth, rtol=1e-5, atol=1e-5)
    for a, b in zip(gradients, true_gradients, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("negatives", Negatives)
@pytest.mark.parametrize("similarity", Similarity)
def test_bfloat16_and_autocast_still_compute_in_float32(similarity, negatives):
    rounded = [x.bfloat16() for x in four(rows=16, fresh_rows=16, width=4, dtype=torch.float32)]
    options = {"similarity": similarity, "negatives": negatives}
    truth = contrastive_pair(*(x.float() for x in rounded), **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results = [
            contrastive_pair(*rounded, **options),
            contrastive_pair(*(x.float() for x in rounded), **options),
        ]
    for result in results:
        assert result.dtype == torch.float32
        torch.testing.assert_close(result, truth, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("negatives", Negatives)
@pytest.mark.parametrize("weights", [BOTH, SECOND_GIVEN_FIRST])
def test_three_modalities_are_the_mean_of_their_pairs_in_insertion_order(weights, negatives):
    z = {name: sample(5, 2, seed=i) for i, name in enumerate(["text", "audio", "image"])}
    fresh = {name: sample(4, 2, seed=i + 10) for i, name in enumerate(["image", "text", "audio"])}
    options = {**weights, "negatives": negatives}
    pairs = [("text", "audio"), ("text", "image"), ("audio", "image")]
    expected = sum(contrastive_pair(z[a], z[b], fresh[a], fresh[b], **options) for a, b in pairs) / 3
    torch.testing.assert_close(contrastive_loss(z, fresh, **options), expected)


@pytest.mark.parametrize("negatives", Negatives)
@pytest.mark.parametrize("positive", [True, False])
def test_gradcheck_with_a_temperature(positive, negatives):
    inputs = tuple(x.requires_grad_() for x in four())
    tau = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)

    def loss(*args):
        return contrastive_pair(
            *args[:4], temperature=args[4], negatives=negatives, positive_in_denominator=positive
        )

    assert torch.autograd.gradcheck(loss, (*inputs, tau))


def test_errors_say_what_is_wrong():
    h = sample(4, 2)
    cases = [
        (lambda: contrastive_loss({"image": h}), "at least 2 modalities"),
        (lambda: contrastive_loss({"image": h, "text": h[:3]}), "'image' has 4 and 'text' has 3"),
        (
            lambda: contrastive_loss({"image": h, "text": h[:, :1]}),
            "'image' has 2 dimensions and 'text' has 1",
        ),
        (
            lambda: contrastive_loss({"image": h, "text": h[0]}),
            r"'text' has shape \(2,\): encodings must be 2-D",
        ),
        (lambda: contrastive_loss({"image": h[:0], "text": h[:0]}), "at least one row"),
        (lambda: contrastive_loss({"image": h.int(), "text": h.int()}), "dtype"),
        (lambda: contrastive_pair(h, h, negatives=Negatives.within_fresh), "needs a fresh batch"),
        (lambda: contrastive_pair(h, h, h, negatives=Negatives.within_fresh), "'h2' has none"),
        (lambda: contrastive_pair(h, h, h[:, :1], h, negatives=Negatives.within_fresh), "widths differ"),
        (lambda: contrastive_pair(h, h, temperature=0.0), "temperature=0.0"),
        (lambda: contrastive_pair(h, h, lp_exponent=math.nan), "lp_exponent=nan"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("negatives", [Negatives.cross, Negatives.within, Negatives.both])
def test_one_row_is_refused_where_it_leaves_no_negatives(negatives, positive):
    h = sample(1, 2)
    with pytest.raises(ValueError, match="batch size of at least 2"):
        contrastive_pair(h, h, negatives=negatives, positive_in_denominator=positive)


def test_one_row_is_fine_against_a_fresh_batch_and_one_sided_needs_one_fresh_modality():
    h = sample(1, 2)
    loss = contrastive_pair(
        h, h, sample(3, 2, seed=1), negatives=Negatives.within_fresh, **SECOND_GIVEN_FIRST
    )
    assert torch.isfinite(loss)


# --- the config and the module


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *itertools.product(
            ("temperature", "lp_exponent", "temperature_min", "temperature_max", "alignment_weight"),
            (0.0, -1.0, math.nan, math.inf, "warm"),
        ),
        *itertools.product(
            ("similarity", "negatives", "reduction", "candidate_reduction", "normaliser"), ("typo", 3)
        ),
        *itertools.product(
            ("weight_second_given_first", "weight_first_given_second"), (-1.0, math.nan, math.inf, "more")
        ),
        *itertools.product(("alignment_ramp",), (-0.1, 1.1, math.nan)),
        ("temperature_max", 0.001),
    ],
)
def test_bad_config_values_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"^{field}="):
        Contrastive(**{field: value})


def test_a_learned_temperature_must_start_in_its_range():
    with pytest.raises(ValueError, match=r"^temperature=200.0: must be in \[temperature_min=0.01"):
        Contrastive(temperature=200.0, learned_temperature=True)
    assert Contrastive(temperature=200.0).build().temperature == 200.0


def test_names_of_members_are_taken():
    assert Contrastive(negatives="both") == Contrastive(negatives=Negatives.both)  # type: ignore[arg-type]


@pytest.mark.parametrize("negatives", Negatives)
def test_the_module_is_the_function(negatives):
    spec = Contrastive(negatives=negatives, temperature=0.5, similarity=Similarity.cosine)
    loss = spec.build()
    assert spec.needs_fresh_batch == loss.needs_fresh_batch == (negatives is Negatives.within_fresh)
    assert not list(loss.parameters())
    h1, h2, f1, f2 = four()
    expected = contrastive_pair(
        h1, h2, f1, f2, negatives=negatives, temperature=0.5, similarity=Similarity.cosine
    )
    fresh = {"a": f1, "b": f2} if loss.needs_fresh_batch else None
    torch.testing.assert_close(loss({"a": h1, "b": h2}, fresh), expected)


def test_the_module_asks_for_a_missing_fresh_batch():
    h = sample(4, 2)
    loss = Contrastive(negatives=Negatives.within_fresh).build()
    with pytest.raises(ValueError, match="fresh batch"):
        loss({"a": h, "b": h})


def test_learned_temperature_gradient_equals_a_finite_difference():
    z = {"a": sample(6, 3), "b": sample(6, 3, seed=1)}
    loss = Contrastive(temperature=0.5, learned_temperature=True).build()
    loss(z).backward()
    assert loss.log_temperature is not None
    step = 1e-5
    values = [contrastive_loss(z, temperature=0.5 * math.exp(s)).item() for s in (step, -step)]
    assert loss.log_temperature.grad.item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


@pytest.mark.parametrize(("log_value", "bound"), [(10.0, 2.0), (-10.0, 0.5)])
def test_a_learned_temperature_is_held_in_its_range_and_can_come_back(log_value, bound):
    loss = Contrastive(learned_temperature=True, temperature_min=0.5, temperature_max=2.0).build()
    assert loss.log_temperature is not None
    loss.log_temperature.data.fill_(log_value)
    assert loss.temperature == pytest.approx(bound)
    z = {"a": sample(6, 3), "b": sample(6, 3, seed=1)}
    value = loss(z)
    torch.testing.assert_close(value, contrastive_loss(z, temperature=bound), rtol=1e-6, atol=1e-6)
    value.backward()
    assert loss.log_temperature.item() == pytest.approx(math.log(bound))
    assert loss.log_temperature.grad.item() != 0.0


def test_a_learned_temperature_stays_in_float32():
    loss = Contrastive(temperature=0.07, learned_temperature=True).build()
    before = loss.log_temperature
    loss.bfloat16()
    assert loss.log_temperature is before
    assert before.dtype == torch.float32
    assert loss.temperature == pytest.approx(0.07, rel=1e-6)


def test_random_points_of_the_grid_through_the_spec():
    for options in random.Random(0).sample(GRID, 20):
        h1, h2, f1, f2 = four()
        found = Contrastive(**options).build()({"a": h1, "b": h2}, {"a": f1, "b": f2})
        torch.testing.assert_close(found, contrastive_pair(h1, h2, f1, f2, **options))


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0, 1e3])
@pytest.mark.parametrize("outlier", [False, True])
@pytest.mark.parametrize("excluded", [False, True])
def test_one_exponential_for_both_directions_is_exact_also_where_columns_underflow(scale, outlier, excluded):
    # An outlying partner makes a column whose logits all lie far below their rows' largest.
    h1, h2 = scale * sample(9, 3), scale * sample(9, 3, seed=1)
    if outlier:
        h2[4] += 1e4
    h1, h2 = (h.requires_grad_() for h in (h1, h2))
    loss = contrastive_pair(h1, h2, positive_in_denominator=not excluded)
    s = -(h1[:, None] - h2[None]).square().sum(dim=2)
    masked = s.masked_fill(torch.eye(9, dtype=torch.bool), -math.inf) if excluded else s
    count = 8 if excluded else 9
    rows, columns = masked.logsumexp(dim=1), masked.logsumexp(dim=0)
    expected = (0.5 * (rows + columns) - s.diagonal()).mean() - math.log(count)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    for got, want in zip(
        torch.autograd.grad(loss, [h1, h2]), torch.autograd.grad(expected, [h1, h2]), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-9)


def test_some_direction_must_have_a_weight():
    for make in (Contrastive, lambda **weights: contrastive_pair(sample(3, 2), sample(3, 2), **weights)):
        with pytest.raises(ValueError, match=r"^weight_second_given_first=0.0: must be > 0 where"):
            make(weight_second_given_first=0.0, weight_first_given_second=0.0)


@pytest.mark.parametrize("negatives", Negatives)
@pytest.mark.parametrize("similarity", Similarity)
def test_the_conditional_loss_is_at_most_the_joint_one(similarity, negatives):
    """Theorem 3.10 of Baptista et al. (2025): Jensen's inequality, for any encodings."""
    for seed in range(20):
        rows = [sample(n, 3, seed=4 * seed + i) * (0.1 + seed) for i, n in enumerate((6, 6, 5, 5))]
        options = {"similarity": similarity, "negatives": negatives, "temperature": 0.5}
        conditional, joint = (contrastive_pair(*rows, **options, normaliser=n) for n in Normaliser)
        assert conditional <= joint + 1e-12
    same = torch.ones(4, 3, dtype=torch.float64)  # equal where every anchor's sum is the same
    conditional, joint = (
        contrastive_pair(same, same, same, same, **options, normaliser=n) for n in Normaliser
    )
    torch.testing.assert_close(conditional, joint)


def test_the_joint_loss_by_hand():
    # s = -d^2: the pairs of h1 = 0, 1 and h2 = 0, 2 are 0, -4 / -1, -1. The positives are 0 and -1.
    h1, h2 = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]])
    expected = 0.5 + math.log((1 + math.exp(-4) + 2 * math.exp(-1)) / 4)
    for weights in (BOTH, SECOND_GIVEN_FIRST, FIRST_GIVEN_SECOND):
        found = contrastive_pair(h1, h2, normaliser=Normaliser.joint, **weights)
        assert found.item() == pytest.approx(expected, abs=1e-6)


def test_the_weight_of_the_alignment_multiplies_the_positives_term_alone():
    h1, h2, *_ = four()
    alignment = (h1 - h2).square().sum(dim=1).mean() / 0.7
    plain, heavy = (contrastive_pair(h1, h2, temperature=0.7, alignment_weight=w) for w in (1.0, 3.0))
    assert heavy.item() == pytest.approx((plain + 2 * alignment).item())
    # Aligned encodings pay nothing for it: what minimises the loss among them does not depend on the weight.
    plain, heavy = (contrastive_pair(h1, h1, alignment_weight=w) for w in (1.0, 3.0))
    assert heavy.item() == plain.item()


def test_the_weight_grows_geometrically_over_its_part_of_training():
    loss = Contrastive(alignment_weight=8.0, alignment_ramp=0.6).build()
    assert loss.alignment_weight == 8.0  # what is not in training is at its end
    seen = []
    for loss.progress in (0.0, 0.2, 0.4, 0.6, 0.9):
        seen.append(loss.alignment_weight)
    assert seen == pytest.approx([1.0, 2.0, 4.0, 8.0, 8.0])
    h1, h2, *_ = four()
    loss.progress = 0.2
    assert loss({"a": h1, "b": h2}).item() == contrastive_pair(h1, h2, alignment_weight=2.0).item()
    constant = Contrastive(alignment_weight=8.0).build()
    constant.progress = 0.0
    assert constant.alignment_weight == 8.0
