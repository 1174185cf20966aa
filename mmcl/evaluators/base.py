"""What evaluators take and give: representations with their true factors in, tidy rows out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from mmcl.checks import require, require_choice

INTERVENTIONS = ("none", "permute_content")

Objective = Callable[..., Tensor]
"""``objective(encodings)``, or ``objective(encodings, fresh)`` where its ``needs_fresh_batch`` is true."""


@dataclass(frozen=True)
class Representations:
    """Encodings of ``N`` samples beside the true factors that made them.

    ``z``: name -> ``(N, D)``, floating. ``factors``: name -> ``(N, k)``, one column per component; floating
    means continuous, ``int64`` means discrete (class labels). ``information``: name of a representation -> factor ->
    the bits that the views it is made of tell at most, of the representations and factors where that is known.
    ``covariance``: of the two views' vectors side by side, where they are Gaussian with mean 0 and it is known.
    ``sampled``: the same of the training samples, where there is a finite number of these. ``chooses``: ``(N,)``, bool:
    the samples of the split that chooses the strength of what is fitted, where there is such a split.

    Raises ``ValueError``, naming the tensor, when one is not 2-D, has no column, has another ``N`` or
    another dtype, when ``N < 2``, or when a value is NaN or infinite (it says in how many rows): a score
    from the finite rest would be a score of other samples than those asked for.
    """

    z: dict[str, Tensor]
    factors: dict[str, Tensor]
    information: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    covariance: Tensor | None = None
    sampled: Tensor | None = None
    chooses: Tensor | None = None

    def __post_init__(self) -> None:
        if not self.z:
            raise ValueError("no representation: z is empty")
        n = len(next(iter(self.z.values())))
        for kind, tensors in (("representation", self.z), ("factor", self.factors)):
            for name, tensor in tensors.items():
                _check_tensor(f"{kind} {name!r}", tensor, n, discrete_allowed=kind == "factor")
        if n < 2:
            raise ValueError(f"{n} sample(s): an evaluation needs at least 2")

    def __len__(self) -> int:
        return len(next(iter(self.z.values())))

    def modalities(self) -> list[str]:
        """The representations of one modality: of the names those without a ``+``."""
        return [name for name in self.z if "+" not in name]

    def continuous(self) -> dict[str, Tensor]:
        """The floating factors."""
        return {name: y for name, y in self.factors.items() if y.is_floating_point()}

    def discrete(self) -> dict[str, Tensor]:
        """The ``int64`` factors."""
        return {name: y for name, y in self.factors.items() if not y.is_floating_point()}


def _check_tensor(what: str, tensor: Tensor, n: int, discrete_allowed: bool) -> None:
    if tensor.ndim != 2 or tensor.shape[1] == 0:
        raise ValueError(f"{what} has shape {tuple(tensor.shape)}: must be (N, columns), at least one column")
    if len(tensor) != n:
        raise ValueError(f"{what} has {len(tensor)} rows, the first representation has {n}")
    if tensor.is_floating_point():
        bad = int((~torch.isfinite(tensor)).any(dim=1).sum())
        if bad:
            raise ValueError(f"{what} has NaN or infinite values in {bad} of {n} rows")
    elif not (discrete_allowed and tensor.dtype == torch.int64):
        allowed = "floating or int64" if discrete_allowed else "floating"
        raise ValueError(f"{what} has dtype {tensor.dtype}: must be {allowed}")


@dataclass(frozen=True)
class Row:
    """One measured number.

    ``value``: the score on ``split``. ``chance``: the score of the best constant. ``ceiling``: the score of
    the same predictor fitted from the true content (the reference factors) instead of an encoding; what an
    encoding of content alone could reach, so ``value - ceiling`` is what it leaks beyond that. ``None``: not
    defined. ``n_fit``, ``n_test``: samples that fitted and that scored (``n_fit = 0``: nothing was fitted).

    ``evaluator`` and ``intervention`` are left to ``run_evaluators``, which knows them; an evaluator does
    not.
    """

    split: str
    representation: str
    target: str
    metric: str
    value: float
    chance: float | None
    ceiling: float | None
    n_fit: int
    n_test: int
    evaluator: str = ""
    intervention: str = "none"


class Evaluator(Protocol):
    """Anything with sample sizes, a list of interventions ('none' among them or not), and ``evaluate``."""

    @property
    def n_fit(self) -> int | None: ...

    @property
    def n_test(self) -> int | None: ...

    @property
    def interventions(self) -> list[str]: ...

    def evaluate(
        self,
        fit: Representations,
        test: Representations,
        reference: tuple[str, ...],
        objective: Objective | None,
    ) -> list[Row]:
        """Fit predictors on ``fit``, score them on ``test``; ``reference``: the ceiling's factors, or none."""
        ...


def check_spec(n_fit: int | None, n_test: int | None, interventions: Sequence[str]) -> None:
    """Raise ``ValueError`` naming the field unless sizes are >= 2 and interventions known and unique."""
    require(n_fit is None or n_fit >= 2, "n_fit", n_fit, ">= 2")
    require(n_test is None or n_test >= 2, "n_test", n_test, ">= 2")
    require(len(interventions) > 0, "interventions", list(interventions), "a non-empty list")
    require(
        len(set(interventions)) == len(interventions),
        "interventions",
        list(interventions),
        "without repetition",
    )
    for name in interventions:
        require_choice("interventions", name, INTERVENTIONS)


def check_temperature(temperature: float | None) -> None:
    """Raise ``ValueError`` unless it is > 0, finite or ``None``."""
    require(
        temperature is None or 0 < temperature < math.inf,
        "temperature",
        temperature,
        "> 0 and finite, or null",
    )


def temperature_of(temperature: float | None, objective: Objective | None) -> float:
    """The given one, or ``None``: the ``temperature`` that the trained ``objective`` has; 1 where it has none."""
    return float(getattr(objective, "temperature", 1.0)) if temperature is None else temperature


class WithoutInterventions:
    """An evaluator of samples as they are, with no field for interventions."""

    @property
    def interventions(self) -> list[str]:
        return ["none"]


class NothingFitted(WithoutInterventions):
    """An evaluator that fits nothing: it asks for as few fit samples as representations may have."""

    @property
    def n_fit(self) -> int:
        return 2


@dataclass(frozen=True)
class Predictor:
    """What every evaluator that fits a predictor of the factors is configured by.

    Args:
        n_fit: fresh samples that fit, >= 2 (default: the release's); ``None``: all of a world of given ones.
        n_test: samples that score, likewise.
        interventions: on the samples' content, each evaluated on its own: ``none``, ``permute_content``.
    """

    n_fit: int | None = 20480
    n_test: int | None = 20480
    interventions: list[str] = field(default_factory=lambda: ["none"])

    def __post_init__(self) -> None:
        check_spec(self.n_fit, self.n_test, self.interventions)


def standardiser(fit: Tensor) -> Callable[[Tensor], Tensor]:
    """What :func:`standardise` does to samples, from those that fit alone."""
    fit = fit.double()
    mean, variance = fit.mean(dim=0), fit.var(dim=0, correction=0)
    eps, n = torch.finfo(torch.float64).eps, len(fit)
    # The error bound of a computed variance (scikit-learn's rule): below it, the spread is rounding noise,
    # and dividing by it would blow noise up to a feature.
    constant = variance <= n * eps * variance + (n * mean * eps) ** 2
    scale = torch.where(constant, torch.ones_like(variance), variance.sqrt())
    return lambda x: (x.double() - mean) / scale


def standardise(fit: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both splits ``(N, D)`` in float64, minus the fit split's mean, over its population standard deviation.

    As scikit-learn's ``StandardScaler``: a column that is constant up to rounding keeps its scale. Departure:
    always float64, where scikit-learn keeps float32.

    >>> standardise(torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0]]))[1].item()
    3.0
    """
    scaled = standardiser(fit)
    return scaled(fit), scaled(test)


def reference_inputs(
    fit: Mapping[str, Tensor], test: Mapping[str, Tensor], names: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """The named factors side by side as predictor input: continuous as they are, discrete one-hot per component.

    Classes are those of the fit split; a class met only in the test split is encoded as zeros.
    """
    sides = [_predictor_input(fit[name], test[name]) for name in names]
    left, right = zip(*sides, strict=True)
    return torch.cat(left, dim=1), torch.cat(right, dim=1)


def _predictor_input(fit: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    if fit.is_floating_point():
        return fit, test
    classes = [torch.unique(column) for column in fit.unbind(dim=1)]
    return (
        torch.cat([(fit[:, i, None] == c).double() for i, c in enumerate(classes)], dim=1),
        torch.cat([(test[:, i, None] == c).double() for i, c in enumerate(classes)], dim=1),
    )


def check_splits(fit: Representations, test: Representations, reference: Sequence[str]) -> None:
    """Raise ``ValueError`` when the splits name different tensors or ``reference`` names what is no factor."""
    for kind, ours, theirs in (("z", fit.z, test.z), ("factors", fit.factors, test.factors)):
        if ours.keys() != theirs.keys():
            raise ValueError(f"{kind} differ between fit and test: {sorted(ours)} and {sorted(theirs)}")
    if unknown := [name for name in reference if name not in fit.factors]:
        raise ValueError(f"reference={unknown[0]!r}: must be one of {', '.join(fit.factors)}")


Predict = Callable[[Tensor, Tensor, dict[str, Tensor]], dict[str, Tensor]]
Score = Callable[[Tensor, Tensor], float]


def predictor_rows(
    fit: Representations,
    test: Representations,
    targets: Mapping[str, Tensor],
    reference: tuple[str, ...],
    metric: str,
    predict: Predict,
    constant: Callable[[Tensor], Tensor],
    score: Score,
) -> list[Row]:
    """Rows of one predictor for every representation and every target, with chance and ceiling.

    ``targets``: the fit split's factors to predict, name -> ``(N, k)``. ``predict(x_fit, x_test, targets)``
    gets standardised inputs and returns predictions for ``x_test`` by name. ``constant(y)``: the best
    constant, ``(1, k)``. ``score(y, prediction)``: a float. The ceiling does not depend on the
    representation and is computed once.

    Raises ``ValueError`` when the splits name different tensors or ``reference`` names what is no factor.
    """
    check_splits(fit, test, reference)
    if not targets:
        return []

    device = next(iter(fit.z.values())).device
    y_fit = {name: y.to(device) for name, y in targets.items()}
    y_test = {name: test.factors[name].to(device) for name in targets}

    def scores(x_fit: Tensor, x_test: Tensor) -> dict[str, float]:
        predictions = predict(*standardise(x_fit.to(device), x_test.to(device)), y_fit)
        return {name: score(y_test[name], predictions[name]) for name in y_fit}

    chance = {
        name: score(y_test[name], constant(y_fit[name]).expand_as(y_test[name]).contiguous())
        for name in y_fit
    }
    ceiling: dict[str, float] = {}
    if reference:
        ceiling = scores(*reference_inputs(fit.factors, test.factors, reference))
    rows = []
    for representation in fit.z:
        value = scores(fit.z[representation], test.z[representation])
        rows += [
            Row(
                split="test",
                representation=representation,
                target=name,
                metric=metric,
                value=value[name],
                chance=chance[name],
                ceiling=ceiling.get(name),
                n_fit=len(fit),
                n_test=len(test),
            )
            for name in y_fit
        ]
    for row in rows:
        if not math.isfinite(row.value):
            raise ValueError(f"{metric} of {row.target!r} from {row.representation!r} is {row.value}")
    return rows
