"""Probes of discrete factors whose splits have one role each: fit, choose within it, and score once."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations, islice

import torch
from torch import Tensor

from mmcl.checks import require, require_choice
from mmcl.evaluators.base import (
    Objective,
    Predictor,
    Representations,
    Row,
    check_splits,
    reference_inputs,
    standardiser,
)
from mmcl.evaluators.networks import ROWS, Networks, train
from mmcl.evaluators.scores import auroc, balanced_accuracy, f1_scores, information_bits
from mmcl.evaluators.softmax_regression import TOLERANCE, Problems, Solutions, solve

log = logging.getLogger(__name__)

KINDS = ("linear", "mlp", "bilinear")
METRICS = ("balanced_accuracy", "auroc", "bits")
MULTILABEL = ("f1_macro", "f1_weighted")
"""Also of a factor of several components that are 1 or 0: labels of which a sample has any number."""

CHOICE_TOLERANCE = 1e-4
"""Of the gradient where penalties are compared: scikit-learn's. What is scored is solved to
:data:`~mmcl.evaluators.softmax_regression.TOLERANCE`, or to the next of products."""

PRODUCTS_TOLERANCE = 1e-5
"""Thousands of products separate nearly any classes, and the last steps of a weak penalty are hundreds: within 5e-7
nats of the smallest at the penalty 1e-4."""

RANK_TOLERANCE = 1e-12
"""Principal components of less than that share of the largest variance are rounding of float32 encodings."""

LEARNING_RATE = 1e-2
"""Of the networks, a third of :mod:`~mmcl.evaluators.networks`' own, which is too much for hundreds of inputs."""

VALUES = 2**25
"""Logits at a time, memory only: 268 MB."""

Inputs = tuple[Tensor, ...]
"""One representation ``(N, D)``, or the two whose products are taken."""

Logits = Callable[[Inputs], list[Tensor]]
"""Of each component the logits ``(N, K)`` of the classes that it has in the fit split."""


@dataclass(frozen=True)
class Axes:
    """Samples ``(N, D)``, standardised, as the principal components ``(N, r)`` of those that fitted.

    ``share``: how much of the standardised samples' variance the components have.
    """

    scaled: Callable[[Tensor], Tensor]
    axes: Tensor
    share: float

    def __call__(self, x: Tensor) -> Tensor:
        return self.scaled(x) @ self.axes

    def leading(self, count: int, x: Tensor) -> Axes:
        """The first ``count`` components; ``x``: the samples that fitted."""
        kept = self.axes[:, :count]
        share = float((self.scaled(x) @ kept).square().sum() / self(x).square().sum().clamp(min=1e-300))
        return Axes(self.scaled, kept, share)


def principal_axes(x: Tensor) -> Axes:
    """The components of ``x: (N, D)`` by variance, without those that have none."""
    scaled = standardiser(x)
    z = scaled(x)
    variances, axes = torch.linalg.eigh(z.T @ z / len(z))
    kept = variances > max(RANK_TOLERANCE * float(variances[-1]), torch.finfo(z.dtype).tiny)
    return Axes(scaled, axes[:, kept].flip(1), 1.0)


def features(inputs: Inputs, max_features: int, name: str) -> Callable[[Inputs], Tensor]:
    """What a logistic probe of ``inputs``, the fit split's, is linear in: ``(N, F)``, float64.

    Of one representation its standardised columns, turned to principal components, which no L2 penalty sees. Of two,
    a and b, turned likewise: a, b and their products ``a_i b_j``, where there are more of these than ``max_features``
    of the leading components alone (logged).
    """
    sides = [principal_axes(x) for x in inputs]
    if len(sides) == 1:
        return lambda inputs: sides[0](inputs[0])
    sizes = [side.axes.shape[1] for side in sides]
    if math.prod(sizes) > max_features:
        root = math.isqrt(max_features)
        # A small half stays whole and leaves more of the products to the other.
        counts = [min(size, max(root, max_features // max(1, min(sizes)))) for size in sizes]
        if min(sizes) > root:
            counts = [root, root]
        sides = [side.leading(n, x) for side, n, x in zip(sides, counts, inputs, strict=True)]
        shares = " and ".join(f"{side.share:.1%}" for side in sides)
        log.warning(
            "%s: %d x %d products are more than max_features=%d: %d and %d leading principal components, of %s of "
            "the variance, stand for the two",
            name, *sizes, max_features, *counts, shares,
        )  # fmt: skip

    def products(inputs: Inputs) -> Tensor:
        a, b = (side(x) for side, x in zip(sides, inputs, strict=True))
        return torch.cat([a, b, (a[:, :, None] * b[:, None, :]).flatten(1)], dim=1)

    centre = products(inputs).mean(dim=0)
    return lambda inputs: products(inputs).sub_(centre)


def hold_out(labels: Tensor, fraction: float, seed: int, at_least: int = 0) -> Tensor:
    """A mask ``(N,)`` of the samples that choose: of each class ``fraction``, rounded, but not all it has.

    ``at_least``: so many of each class even where the fraction is less.

    >>> hold_out(torch.tensor([0, 0, 0, 0, 1]), 0.5, seed=0).long().sum().item()
    2
    """
    g = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=g).to(labels.device)
    held = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
    for c in torch.unique(labels):
        own = order[labels[order] == c]
        held[own[: min(max(round(fraction * len(own)), at_least), len(own) - 1)]] = True
    return held


def choosing(
    labels: Tensor, fraction: float, seed: int, chooses: Tensor | None = None, at_least: int = 0
) -> Tensor:
    """A mask ``(N,)`` of the samples that choose: those of ``chooses``, ``(N,)``, and else of :func:`hold_out`.

    Of ``chooses`` those whose class other samples have too: what nothing else has can not be learned, whatever the
    strength, and fits with the rest. Where that leaves none, :func:`hold_out` again.
    """
    if chooses is not None:
        mask = chooses.to(labels.device)
        held = mask & torch.isin(labels, labels[~mask])
        if bool(held.any()):
            return held
    return hold_out(labels, fraction, seed, at_least)


def sample_weights(target: Tensor, rows: Tensor, balanced: bool) -> Tensor:
    """Weights ``(N,)`` of sum 1 of the samples in the mask ``rows``: equal, or the same in total for each class there.

    All zeros where no sample is in ``rows``.
    """
    weight = rows.double()
    if balanced:
        weight = weight / torch.bincount(target, weights=weight).clamp(min=1)[target]
    return weight / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


@dataclass(frozen=True)
class Labels:
    """The components to predict, of the fit split.

    ``classes``: those of each component, sorted. ``target``: ``(N, C)``, their places. ``held``: ``(N, C)``, the
    samples that choose.
    """

    classes: list[Tensor]
    target: Tensor
    held: Tensor

    @staticmethod
    def of(columns: Sequence[Tensor], fraction: float, seed: int, chooses: Tensor | None = None) -> Labels:
        """The samples that choose are those of :func:`choosing`."""
        found = [torch.unique(y, return_inverse=True) for y in columns]
        target = torch.stack([places for _, places in found], dim=1)
        held = torch.stack([choosing(y, fraction, seed, chooses) for y in target.unbind(1)], dim=1)
        return Labels([classes for classes, _ in found], target, held)

    def __len__(self) -> int:
        return len(self.classes)

    def weights(self, rows: Tensor, balanced: bool) -> Tensor:
        """``(N, C)``, of each component the weights of the samples in its column of ``rows``."""
        both = zip(self.target.unbind(1), rows.unbind(1), strict=True)
        return torch.stack([sample_weights(target, mask, balanced) for target, mask in both], dim=1)

    @property
    def counts(self) -> Tensor:
        """The number of classes of each component."""
        return torch.tensor([len(classes) for classes in self.classes], device=self.target.device)

    def groups(self, values: int) -> Iterator[Labels]:
        """Some components at a time, ``values`` numbers for each."""
        size = max(1, VALUES // values)
        for first in range(0, len(self), size):
            part = slice(first, first + size)
            yield Labels(self.classes[part], self.target[:, part], self.held[:, part])


@dataclass(frozen=True)
class Probe(Predictor):
    """How well a classifier predicts each discrete factor from each representation, with splits of one role each.

    The FIT split fits. A part of it chooses the penalty by the cross-entropy of probes fitted on the rest; the chosen
    one is fitted again on all of it. That part is the validation split where there is one (``fit.chooses``),
    and else ``held_out`` of each class. The TEST split is looked at once, by the scores.

    * ``linear``: multinomial logistic regression (:mod:`~mmcl.evaluators.softmax_regression`) of the standardised
      representation. Convex and solved to a gradient of norm 1e-6, so its result is the optimum, not a solver's.
    * ``mlp``: one hidden layer of ``hidden_size`` ReLU units (:mod:`~mmcl.evaluators.networks`), of which the held-out
      part also chooses after how many of the ``epochs`` it stops.
    * ``bilinear``: as linear, of the products of two modalities' representations and of these themselves; one
      representation ``x1*x2`` for every unordered pair. Single modalities are those with no ``+`` in their names. More
      than ``max_features`` products: of the leading principal components (:func:`features`).

    Rows, each the mean over a factor's components:

    * ``balanced_accuracy``: the mean of the recalls of the classes that the test split has. Chance: 1 / classes.
    * ``auroc``: one class against the rest, mean over classes (:func:`~mmcl.evaluators.scores.auroc`). Chance: 0.5.
    * ``bits``: entropy of the test labels minus the cross-entropy there, a held-out lower bound, in expectation, on the
      information that the representation has of the factor (:func:`~mmcl.evaluators.scores.information_bits`).
      Chance: 0, of the test split's own frequencies; a probe may have less. With ``class_weighted`` the probabilities
      are those of classes that are equally frequent; for this metric they are corrected by the fit split's
      frequencies, as p(y | z) is proportional to the weighted one times p(y). The bound holds for any probabilities,
      but without that it would say nothing.

    Of a factor of several components, all of them 1 or 0, labels of which a sample may have any number, also

    * ``f1_macro``, ``f1_weighted``: of the more probable of both values of each label
      (:func:`~mmcl.evaluators.scores.f1_scores`). Chance: of all labels for all, the best constant.

    Where Y depends on neither X1 nor X2 alone, no column of [f(X1), g(X2)] is correlated with Y, whatever f and g are,
    and the best logistic regression has zero weights: no bits, and where one class is more frequent than the others it
    predicts that one, a balanced accuracy of 1 / classes. That is a fact of the concatenation; products or a hidden
    layer are needed. (Of equally frequent classes the largest probability is an accident of the sample.)

    Unusual labels. A class of the test split that the fit split lacks is never predicted; its samples and those of
    others like it have the probability 1 / (n_fit + 1) in all, shared out evenly. A factor with one class in the
    fit split has that as its prediction. With one class in the test split the area is 0.5. A class of one sample is not
    held out; where no class has two for it, the strongest penalty is taken (and all epochs). A constant representation
    predicts the classes' frequencies.

    What chooses is drawn by sample. Where samples are pairs of fewer pictures, that part shares pictures with the rest,
    and weak penalties and late epochs look better there than on other pictures; the test split is not touched by that.

    Args:
        n_fit, n_test, interventions: see :class:`~mmcl.evaluators.base.Predictor`.
        kind: ``linear``, ``mlp`` or ``bilinear``.
        class_weighted: every class has the same total weight in what is minimised, here and in the choice.
        targets: discrete factors; ``None``: all.
        penalties: on half the squared norm of the weights (not the intercepts), beside the mean cross-entropy in nats:
            > 0. scikit-learn's C is 1 / (n_fit penalty), for two classes 2 / (n_fit penalty).
        held_out: the share that chooses where no split does, in (0, 1).
        hidden_size, epochs: of ``mlp``, >= 1.
        max_features: products of ``bilinear``, >= 1.
        probe_seed: of the held-out part, and of ``mlp``'s initial weights and batches; in ``[0, 2^32)``.
        projected: what is probed: what the objective compared, behind the projection heads, instead of the encodings
            (:func:`~mmcl.evaluators.run.run_evaluators`).

    Raises ``ValueError`` naming a bad field, a target that is no discrete factor, and for ``bilinear`` when there are
    not two single modalities. Source: linear probes of CoMM (Dufumier et al., 2025), whose own choose on the balanced
    accuracy; bits: the variational bound of Barber and Agakov (2003).
    """

    kind: str = "linear"
    class_weighted: bool = False
    targets: list[str] | None = None
    penalties: list[float] = field(default_factory=lambda: [1.0, 0.1, 0.01, 0.001, 0.0001, 0.00001])
    held_out: float = 0.2
    hidden_size: int = 100
    epochs: int = 50
    max_features: int = 4096
    probe_seed: int = 0
    projected: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("kind", self.kind, KINDS)
        values = list(self.penalties)
        finite = all(0 < value < float("inf") for value in values)
        require(bool(values) and finite, "penalties", values, "a non-empty list of finite numbers > 0")
        if self.targets is not None:
            names = list(self.targets)
            require(
                len(names) > 0 and len(set(names)) == len(names), "targets", names, "different names, or null"
            )
        require(0 < self.held_out < 1, "held_out", self.held_out, "in (0, 1)")
        for name in ("hidden_size", "epochs", "max_features"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        require(0 <= self.probe_seed < 2**32, "probe_seed", self.probe_seed, "in [0, 2^32)")

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: tuple[str, ...] = (),
        objective: Objective | None = None,
    ) -> list[Row]:
        """A row per metric, representation and discrete factor (none: no row, no cost); no use of ``objective``.

        The ceiling is that of the same probe of the reference factors, one-hot (``bilinear``: of their products); of
        ``bits``, where that is known, what the views tell of the factor at most: ``test.information``.
        """
        check_splits(fit, test, reference)
        names = self._targets(fit)
        if not names:
            return []
        device = next(iter(fit.z.values())).device
        y_fit = {name: fit.factors[name].to(device) for name in names}
        y_test = {name: test.factors[name].to(device) for name in names}

        def scores(x_fit: Inputs, x_test: Inputs, what: str) -> dict[str, dict[str, float]]:
            columns = [column for y in y_fit.values() for column in y.unbind(dim=1)]
            logits = self.fit([x.to(device) for x in x_fit], columns, what, fit.chooses)
            return self._scores(logits(tuple(x.to(device) for x in x_test)), y_fit, y_test)

        ceiling: dict[str, dict[str, float]] = {}
        if reference:
            sides = reference_inputs(fit.factors, test.factors, reference)
            a, b = ((x, x) if self.kind == "bilinear" else (x,) for x in sides)
            ceiling = scores(a, b, "+".join(reference))
        rows = []
        for representation, parts in self._inputs(fit).items():
            known = test.information.get(representation.replace("*", "+"), {})
            x_fit, x_test = (tuple(side.z[part] for part in parts) for side in (fit, test))
            found = scores(x_fit, x_test, representation)
            rows += [
                Row(
                    split="test",
                    representation=representation,
                    target=name,
                    metric=metric,
                    value=found[name][metric],
                    chance=_chance(metric, y_test[name]),
                    ceiling=known[name]
                    if metric == "bits" and name in known
                    else ceiling.get(name, {}).get(metric),
                    n_fit=len(fit),
                    n_test=len(test),
                )
                for name in names
                for metric in found[name]
            ]
        return rows

    def fit(
        self,
        inputs: Sequence[Tensor],
        columns: Sequence[Tensor],
        name: str = "probe",
        chooses: Tensor | None = None,
    ) -> Logits:
        """The probe of each of ``columns``, labels ``(N,)``, fitted on ``inputs``; ``name`` stands in what is logged,
        and ``chooses``, ``(N,)``, are the samples that choose, instead of a random part.

        It gives the logits of other inputs (of ``class_weighted`` those of equally frequent classes), and has seen
        nothing but its arguments.
        """
        labels = Labels.of(columns, self.held_out, self.probe_seed, chooses)
        inputs = tuple(inputs)
        if self.kind == "mlp":
            return self._fit_networks(inputs, labels)
        return self._fit_logistic(inputs, labels, name)

    def _targets(self, fit: Representations) -> list[str]:
        known = fit.discrete()
        for name in self.targets or ():
            require_choice("targets", name, known)
        return list(known if self.targets is None else self.targets)

    def _inputs(self, fit: Representations) -> Mapping[str, tuple[str, ...]]:
        """Name of each representation -> those that it is made of."""
        if self.kind != "bilinear":
            return {name: (name,) for name in fit.z}
        single = fit.modalities()
        if len(single) < 2:
            raise ValueError(
                f"kind='bilinear': needs the representations of two modalities, there are {', '.join(fit.z)}; "
                "choose linear or mlp"
            )
        return {f"{a}*{b}": (a, b) for a, b in combinations(single, 2)}

    @property
    def _descending(self) -> list[float]:
        """Penalties, the strongest first: of equals the first is taken."""
        return sorted(self.penalties, reverse=True)

    def _fit_logistic(self, inputs: Inputs, labels: Labels, name: str) -> Logits:
        mapped = features(inputs, self.max_features, name)
        x = mapped(inputs)
        rest = math.prod(x.shape[1:])
        widest = int(labels.counts.max())
        found = [
            (len(group), self._chosen(x, group, name))
            for group in labels.groups(max(len(x), rest) * widest * len(self.penalties))
        ]
        counts = labels.counts.tolist()

        def logits(inputs: Inputs) -> list[Tensor]:
            parts = []
            for rows in zip(*(x.split(ROWS) for x in inputs), strict=True):
                z = mapped(rows)
                parts.append([c for _, solutions in found for c in solutions.logits(z).unbind(dim=2)])
            columns = [torch.cat(column) for column in zip(*parts, strict=True)]
            return [column[:, :count] for column, count in zip(columns, counts, strict=True)]

        return logits

    def _chosen(self, x: Tensor, labels: Labels, name: str) -> Solutions:
        """The solutions on all of ``x`` at the penalties that the held-out samples choose."""
        penalties = torch.tensor(self._descending, dtype=x.dtype, device=x.device)
        whole = Problems(
            labels.target,
            labels.weights(torch.ones_like(labels.held), self.class_weighted),
            labels.counts,
            penalties[:1].expand(len(labels)),
        )
        start = None
        if len(penalties) > 1:
            # Component by component, the penalties of each side by side.
            component = torch.arange(len(labels), device=x.device).repeat_interleave(len(penalties))
            tried = Problems(
                labels.target[:, component],
                labels.weights(~labels.held, self.class_weighted)[:, component],
                labels.counts[component],
                penalties.repeat(len(labels)),
            )
            solutions = solve(x, tried, CHOICE_TOLERANCE)
            losses = self._held_out_losses(x, labels, solutions).view(len(labels), len(penalties))
            best = losses.argmin(dim=1)
            whole = Problems(whole.target, whole.weight, whole.classes, penalties[best])
            start = solutions.part(torch.arange(len(labels), device=x.device) * len(penalties) + best)
        tolerance = PRODUCTS_TOLERANCE if self.kind == "bilinear" else TOLERANCE
        result = solve(x, whole, tolerance, start=start)
        if not bool(result.solved.all()):
            log.warning("probe of %s: %d of %d not solved", name, int((~result.solved).sum()), len(labels))
        return result

    def _held_out_losses(self, x: Tensor, labels: Labels, solutions: Solutions) -> Tensor:
        """The cross-entropy on the held-out samples of each component, a row for each: 0 where it has none."""
        weight = labels.weights(labels.held, self.class_weighted)
        each = solutions.intercepts.shape[1] // len(labels)
        losses = []
        for i in range(len(labels)):
            rows = labels.held[:, i]
            own = solutions.part(torch.arange(i * each, (i + 1) * each, device=x.device))
            logits = own.logits(x[rows])[:, : len(labels.classes[i])]
            right = logits.log_softmax(dim=1).gather(
                1, labels.target[rows, i][:, None, None].expand(-1, 1, each)
            )
            losses.append(-(right[:, 0] * weight[rows, i][:, None]).sum(dim=0))
        return torch.stack(losses)

    def _fit_networks(self, inputs: Inputs, labels: Labels) -> Logits:
        scaled = standardiser(inputs[0])
        x = scaled(inputs[0]).float()
        penalties = self._descending
        unknown = torch.arange(int(labels.counts.max()), device=x.device) >= labels.counts[:, None]
        component = torch.arange(len(labels), device=x.device).repeat_interleave(len(penalties))
        weight = labels.weights(~labels.held, self.class_weighted)
        judged = labels.weights(labels.held, self.class_weighted)
        # The first that is the best: the strongest penalty; all epochs where nothing is held out.
        best = [(math.inf, penalties[0], self.epochs)] * len(labels)
        epochs = partial(
            train, x, hidden=self.hidden_size, epochs=self.epochs, seed=self.probe_seed, rate=LEARNING_RATE
        )
        tried = epochs(
            target=labels.target.T[component],
            unknown=unknown[component],
            weight=weight.T[component].float() * len(x),
            penalty=torch.tensor(penalties, device=x.device).repeat(len(labels)),
        )
        for epoch, networks in enumerate(tried, 1):
            for j, i in enumerate(component.tolist()):
                rows = labels.held[:, i]
                if bool(rows.any()):
                    right = networks.logits(j, x[rows]).double().log_softmax(dim=1)
                    right = right.gather(1, labels.target[rows, i][:, None])[:, 0]
                    loss = float(-(right * judged[rows, i]).sum())
                    best[i] = min(best[i], (loss, penalties[j % len(penalties)], epoch), key=lambda b: b[0])
        weight = labels.weights(torch.ones_like(labels.held), self.class_weighted)
        chosen: dict[int, Networks] = {}
        whole = epochs(
            target=labels.target.T,
            unknown=unknown,
            weight=weight.T.float() * len(x),
            penalty=torch.tensor([penalty for _, penalty, _ in best], device=x.device),
        )
        for epoch, networks in enumerate(whole, 1):
            chosen |= {i: networks.part([i]) for i, (_, _, stop) in enumerate(best) if stop == epoch}
            if len(chosen) == len(labels):
                break
        counts = labels.counts.tolist()

        def logits(inputs: Inputs) -> list[Tensor]:
            z = scaled(inputs[0]).float()
            return [chosen[i].logits(0, z)[:, :count].double() for i, count in enumerate(counts)]

        return logits

    def _scores(
        self, logits: Sequence[Tensor], y_fit: Mapping[str, Tensor], y_test: Mapping[str, Tensor]
    ) -> dict[str, dict[str, float]]:
        """Factor -> metric -> mean over its components."""
        remaining = iter(logits)
        found = {}
        for name, y in y_fit.items():
            own = list(islice(remaining, y.shape[1]))
            columns = zip(y.unbind(dim=1), y_test[name].unbind(dim=1), own, strict=True)
            each = [component_scores(*column, self.class_weighted) for column in columns]
            found[name] = {metric: sum(s[metric] for s in each) / len(each) for metric in METRICS}
            if _is_multilabel(y) and _is_multilabel(y_test[name]):
                both = zip(y.unbind(dim=1), own, strict=True)
                predicted = [column.unique()[x.argmax(dim=1)] for column, x in both]
                scores = f1_scores(y_test[name], torch.stack(predicted, dim=1))
                found[name] |= dict(zip(MULTILABEL, scores, strict=True))
        return found


def _is_multilabel(y: Tensor) -> bool:
    return y.shape[1] > 1 and bool(((y == 0) | (y == 1)).all())


def component_scores(y_fit: Tensor, y: Tensor, logits: Tensor, weighted: bool) -> dict[str, float]:
    """Metric -> score of ``logits: (N, K)`` of the K sorted classes of ``y_fit``, on the labels ``y: (N,)``.

    ``weighted``: they are the logits of classes that are equally frequent.
    """
    classes, counts = torch.unique(y_fit, return_counts=True)
    everything = torch.unique(torch.cat([classes, y]))
    seen = torch.isin(everything, classes)
    places = torch.searchsorted(everything, y.contiguous())
    # Of one against the rest the log-odds: a probability of many nines would be rounded to a tie.
    odds = logits.new_zeros(len(y), len(everything))
    odds[:, seen] = _against_the_rest(logits)
    prior = counts.double().log() if weighted else 0.0
    probabilities = (logits + prior).log_softmax(dim=1)
    unseen = len(everything) - len(classes)
    if unseen:
        left = 1 / (len(y_fit) + 1)
        padded = logits.new_full(odds.shape, math.log(left / unseen))
        padded[:, seen] = probabilities + math.log1p(-left)
        probabilities = padded
    return {
        "balanced_accuracy": balanced_accuracy(y, classes[logits.argmax(dim=1)]),
        "auroc": auroc(places, odds),
        "bits": information_bits(places, probabilities),
    }


def _against_the_rest(logits: Tensor) -> Tensor:
    """``log p_c / (1 - p_c)`` of each class, ``(N, K)``; of a single class 0."""
    k = logits.shape[1]
    if k == 1:
        return torch.zeros_like(logits)
    rest = [torch.cat([logits[:, :c], logits[:, c + 1 :]], dim=1).logsumexp(dim=1) for c in range(k)]
    return logits - torch.stack(rest, dim=1)


def _chance(metric: str, y: Tensor) -> float:
    """Of the best constant, mean over components."""
    if metric in MULTILABEL:
        return f1_scores(y, torch.ones_like(y))[MULTILABEL.index(metric)]
    if metric != "balanced_accuracy":
        return {"auroc": 0.5, "bits": 0.0}[metric]
    shares = [1 / len(torch.unique(column)) for column in y.unbind(dim=1)]
    return sum(shares) / len(shares)
