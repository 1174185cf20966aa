"""Evaluators on a small world of known answers, through run_evaluators; the held-out loss."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from mmcl.evaluators import (
    Evaluator,
    HeldoutLoss,
    KernelRidge,
    LinearRegression,
    Probe,
    Representations,
    Retrieval,
    Row,
    run_evaluators,
)
from mmcl.evaluators.run import rows_at_a_time

N_FIT, N_TEST = 500, 400


@dataclass
class Samples:
    views: dict[str, Tensor]
    factors: dict[str, Tensor]
    chooses: Tensor | None = None


class World:
    """Two linear views of (content, style, modality-specific), style caused by content, R^2(s | c) = 0.9."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(0)
        self.mixing = {m: torch.linalg.qr(torch.randn(6, 6, generator=g))[0] for m in ("image", "text")}
        self.calls: list[tuple[int, str, str | None]] = []

    def sample(self, n: int, split: str, intervention: str | None) -> Samples:
        self.calls.append((n, split, intervention))
        g = torch.Generator().manual_seed({"validation": 1, "test": 2}[split])
        content = torch.randn(n, 2, generator=g)
        style = 3 * content + torch.randn(n, 2, generator=g)
        own = {m: torch.randn(n, 2, generator=g) for m in self.mixing}
        factors = {"content": content, "style": style} | {f"specific_{m}": own[m] for m in own}
        if intervention == "permute_content":
            content = content[torch.randperm(n, generator=g)]
            factors["content_intervened"] = content
        views = {m: torch.cat([content, style, own[m]], dim=1) @ a for m, a in self.mixing.items()}
        return Samples(views, factors)

    def encode_content(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        return {m: (x @ self.mixing[m].T)[:, :2] for m, x in views.items()}

    def encode_style(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        return {m: (x @ self.mixing[m].T)[:, 2:4] for m, x in views.items()}


def table(rows: list[Row]) -> dict[tuple[str, str, str], Row]:
    keyed = {(r.evaluator, r.intervention, r.target): r for r in rows if r.representation == "image"}
    assert len(keyed) * 2 == len(rows)
    return keyed


def evaluators() -> dict[str, Evaluator]:
    both = ["none", "permute_content"]
    return {
        "linear": LinearRegression(N_FIT, N_TEST, both),
        "kernel_ridge": KernelRidge(N_FIT, N_TEST, both, alphas=[1.0, 0.01], gammas=[0.01, 0.2]),
    }


def test_intervention_separates_encoded_from_inferred() -> None:
    world = World()
    content = table(run_evaluators(evaluators(), world.encode_content, world.sample))
    style = table(run_evaluators(evaluators(), world.encode_style, world.sample))
    for name in ("linear", "kernel_ridge"):
        # Without an intervention, encoded content predicts style, and no better than content itself does.
        row = content[name, "none", "style"]
        assert row.value == pytest.approx(0.9, abs=0.03)
        assert row.value == pytest.approx(row.ceiling, abs=0.005)
        # With it, only the content that made the views is there.
        assert content[name, "permute_content", "content_intervened"].value > 0.99
        assert content[name, "permute_content", "content"].value == pytest.approx(0, abs=0.05)
        assert content[name, "permute_content", "style"].value == pytest.approx(0, abs=0.05)
        assert content[name, "permute_content", "style"].ceiling == pytest.approx(0, abs=0.05)
        assert content[name, "none", "specific_image"].value == pytest.approx(0, abs=0.05)
        # An encoder of style is told apart: it knows the original content only.
        assert style[name, "permute_content", "style"].value > 0.99
        assert style[name, "permute_content", "content"].value > 0.8
        assert style[name, "permute_content", "content_intervened"].value == pytest.approx(0, abs=0.05)


def test_encodings_are_shared_chunked_and_without_gradients() -> None:
    world = World()
    sizes: list[int] = []
    weight = torch.eye(6, requires_grad=True)

    def encode(views: dict[str, Tensor]) -> dict[str, Tensor]:
        sizes.append(len(views["image"]))
        z = {m: x @ weight for m, x in views.items()}
        assert not z["image"].requires_grad
        return z

    progress: list[tuple[int, int, str]] = []
    rows = run_evaluators(
        {"a": LinearRegression(300, 200), "b": LinearRegression(300, 200), "c": LinearRegression(300, 100)},
        encode,
        world.sample,
        chunk=128,
        on_progress=lambda *args: progress.append(args),
    )
    assert world.calls == [(300, "validation", None), (200, "test", None), (100, "test", None)]
    assert sizes == [128, 128, 44, 128, 72, 100]
    assert progress == [(0, 3, "a (none)"), (1, 3, "b (none)"), (2, 3, "c (none)"), (3, 3, "done")]
    first, second = ([r for r in rows if r.evaluator == name] for name in "ab")
    assert first == [replace(r, evaluator="a") for r in second]


def test_without_content_there_is_no_ceiling_but_an_intervention_must_name_its_content() -> None:
    world = World()

    def nameless(n: int, split: str, intervention: str | None) -> Samples:
        samples = world.sample(n, split, intervention)
        return Samples(samples.views, {"style": samples.factors["style"]})

    rows = run_evaluators({"linear": LinearRegression(50, 50)}, world.encode_content, nameless)
    assert all(row.ceiling is None for row in rows)
    with pytest.raises(ValueError, match="no factor 'content_intervened'"):
        run_evaluators(
            {"linear": LinearRegression(50, 50, ["permute_content"])}, world.encode_content, nameless
        )


def test_a_broken_encoder_or_sampler_is_named() -> None:
    world = World()

    def broken(views: dict[str, Tensor]) -> dict[str, Tensor]:
        return {m: torch.full((len(x), 2), float("nan")) for m, x in views.items()}

    with pytest.raises(
        ValueError, match="representation 'image' has NaN or infinite values in 50 of 50 rows"
    ):
        run_evaluators({"linear": LinearRegression(50, 50)}, broken, world.sample)
    with pytest.raises(ValueError, match=r"sample\(50, 'validation', 'none'\) gave 49"):
        run_evaluators(
            {"linear": LinearRegression(50, 50)},
            world.encode_content,
            lambda n, split, intervention: world.sample(n - 1, split, intervention),
        )


def squared_distance(z: dict[str, Tensor]) -> Tensor:
    # Depends on the batch as a whole, as a contrastive loss does.
    return (z["image"] - z["text"]).square().sum() / z["image"].std()


def test_heldout_loss_is_the_mean_over_full_batches() -> None:
    world = World()
    spec = HeldoutLoss(n_fit=70, n_test=45, batch_size=20)
    rows = run_evaluators({"loss": spec}, world.encode_content, world.sample, squared_distance)
    for row, (split, n, batches) in zip(rows, [("validation", 70, 3), ("test", 45, 2)], strict=True):
        z = world.encode_content(world.sample(n, split, None).views)
        losses = [
            float(squared_distance({m: h[20 * i : 20 * i + 20] for m, h in z.items()}))
            for i in range(batches)
        ]
        assert row == Row(
            split=split,
            representation="all",
            target="objective",
            metric="loss",
            value=pytest.approx(sum(losses) / batches),
            chance=None,
            ceiling=None,
            n_fit=0,
            n_test=20 * batches,
            evaluator="loss",
            intervention="none",
        )


def test_heldout_loss_refuses_what_it_cannot_measure() -> None:
    samples = Representations({"image": torch.ones(8, 2), "text": torch.ones(8, 2)}, {})
    with pytest.raises(ValueError, match="objective=None"):
        HeldoutLoss(batch_size=4).evaluate(samples, samples)
    with pytest.raises(ValueError, match="8 validation samples: must be >= batch_size = 16"):
        HeldoutLoss(batch_size=16).evaluate(samples, samples, (), squared_distance)
    with pytest.raises(ValueError, match="validation split is nan"):
        HeldoutLoss(batch_size=4).evaluate(samples, samples, (), squared_distance)  # 0 / 0


def test_an_objective_with_fresh_negatives_gets_the_next_batch():
    class Objective:
        needs_fresh_batch = True

        def __call__(self, z, fresh):
            return z["a"].mean() + 100 * fresh["a"].mean()

    z = torch.arange(6, dtype=torch.float64)[:, None]
    samples = Representations({"a": z}, {"content": z})
    rows = HeldoutLoss(n_fit=6, n_test=6, batch_size=2).evaluate(samples, samples, (), Objective())
    # batches (0,1), (2,3), (4,5): means .5, 2.5, 4.5, each once as the batch and once as the fresh one
    assert [row.value for row in rows] == pytest.approx([2.5 + 250, 2.5 + 250])
    with pytest.raises(ValueError, match="2 batches"):
        HeldoutLoss(n_fit=4, n_test=4, batch_size=4).evaluate(samples, samples, (), Objective())


@pytest.mark.parametrize(
    ("values", "rows"), [(15, 4096), (3 * 64 * 64, 2730), (3 * 224 * 224, 222), (2**26, 1)]
)
def test_large_views_are_encoded_few_at_a_time(values: int, rows: int) -> None:
    assert rows_at_a_time(values) == rows


def test_a_projected_evaluator_is_given_projections_of_the_same_encodings() -> None:
    world, encoded = World(), []

    def sample(n: int, split: str, intervention: str | None) -> Samples:
        found = world.sample(n, split, intervention)
        sign = (found.factors["content"][:, :1] > 0).long()
        return Samples(found.views, {"sign": sign})

    def encode(views: dict[str, Tensor]) -> dict[str, Tensor]:
        encoded.append(len(views["image"]))
        return world.encode_content(views)

    def project(z: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.zeros_like(h) for name, h in z.items()}

    both = {
        name: Probe(60, 60, penalties=[0.01], projected=name == "projected")
        for name in ("plain", "projected")
    }
    rows = run_evaluators(both, encode, sample, project=project)
    scores = {
        name: [row.value for row in rows if row.evaluator == name and row.metric == "balanced_accuracy"]
        for name in both
    }
    assert min(scores["plain"]) > 0.8
    assert set(scores["projected"]) == {0.5}
    assert encoded == [60, 60]  # once each
    with pytest.raises(ValueError, match="nothing that projects"):
        run_evaluators(both, encode, sample)
    search = {name: Retrieval(60, [1], projected=name == "projected") for name in both}
    rows = run_evaluators(search, encode, sample, project=project)
    found = {
        name: [r.value for r in rows if (r.evaluator, r.metric) == (name, "recall_at_1")] for name in both
    }
    assert found["projected"] == pytest.approx([1 / 60] * len(found["projected"]))
    assert min(found["plain"]) > 0.5
    with pytest.raises(
        ValueError, match="projected=True: the objective compares no two modalities, but only"
    ):
        run_evaluators(search, encode, sample, project=lambda z: {"both": torch.cat(list(z.values()), dim=1)})


def test_samples_that_choose_are_told_to_evaluators() -> None:
    world, seen = World(), []

    def sample(n: int, split: str, intervention: str | None) -> Samples:
        return replace(world.sample(n, split, intervention), chooses=torch.arange(n) % 3 == 0)

    class Looking(Probe):
        def evaluate(self, fit, test, reference=(), objective=None):  # type: ignore[no-untyped-def]
            seen.append(fit.chooses)
            return []

    run_evaluators({"looking": Looking(9, 9)}, world.encode_content, sample)
    assert seen[0].tolist() == [i % 3 == 0 for i in range(9)]
