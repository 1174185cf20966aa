"""Run several evaluators on one encoder: sample, encode, cache, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from mmcl.evaluators.base import Evaluator, Objective, Representations, Row

# The factors that made the views, from which the ceiling is predicted, under each intervention.
REFERENCES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"none": ("content",), "permute_content": ("content_intervened",)}
)


class BatchLike(Protocol):
    """Samples: views and factors by name, each with as many rows as were asked for."""

    @property
    def views(self) -> Mapping[str, Tensor]: ...

    @property
    def factors(self) -> Mapping[str, Tensor]: ...

    @property
    def chooses(self) -> Tensor | None: ...


Sample = Callable[[int | None, str, str | None], BatchLike]
Encode = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def rows_at_a_time(values: int) -> int:
    """4,096 rows, or fewer of large views: 2^25 values.

    Those are 222 images of 224 x 224 pixels, of which the output of ResNet-18's first convolution takes 0.7 GB.

    >>> rows_at_a_time(15), rows_at_a_time(3 * 224 * 224)
    (4096, 222)
    """
    return max(1, min(4096, 2**25 // values))


def encode_in_chunks(
    encode: Encode, views: Mapping[str, Tensor], chunk: int | None = None
) -> dict[str, Tensor]:
    """``encode`` applied to ``chunk`` rows of all views at a time, without gradients; name -> ``(N, D)``.

    ``chunk``: ``None`` for :func:`rows_at_a_time` of the largest view.
    """
    n = len(next(iter(views.values())))
    chunk = chunk or rows_at_a_time(max(view[0].numel() for view in views.values()))
    with torch.no_grad():
        parts = [
            encode({name: view[i : i + chunk] for name, view in views.items()}) for i in range(0, n, chunk)
        ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def run_evaluators(
    evaluators: Mapping[str, Evaluator],
    encode: Encode,
    sample: Sample,
    objective: Objective | None = None,
    chunk: int | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
    on_rows: Callable[[str, list[Row]], None] | None = None,
    references: Mapping[str, tuple[str, ...]] = REFERENCES,
    device: torch.device | str = "cpu",
    project: Encode | None = None,
    information: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
    covariance: Tensor | None = None,
    sampled: Tensor | None = None,
) -> list[Row]:
    """All rows of all evaluators, named after their keys.

    ``sample(n, split, intervention)`` gives ``n`` samples, or with ``None`` all there are; ``split`` is 'validation'
    (fits the predictors) or 'test' (scores them), ``intervention`` is ``None`` where there is none. It is called once
    for each ``(n, split, intervention)``, and the encodings are shared among evaluators. ``encode`` maps views to
    encodings; eval mode and moving views to the encoder's device are the caller's. ``chunk``: rows encoded
    at a time, see :func:`encode_in_chunks`. ``on_progress(done, total, what)`` is called before each evaluation
    and once at the end. ``on_rows(name, rows)`` is given all rows of each evaluator as soon as it has ended.
    ``references``: intervention -> factors for the ceiling; without these factors there is no ceiling, except
    that an intervention must say what it made the views from. ``device``: where encodings are kept and
    predictors are computed (float64, so not 'mps'). ``project`` maps encodings to what the objective compared, for
    evaluators that are ``projected``. ``information``, ``covariance`` and ``sampled``: what is known of the law
    where nothing intervenes, see ``Representations``.

    Raises ``ValueError`` when ``sample`` gives another number of rows, an intervention lacks its factor, an evaluator
    is ``projected`` and there is no ``project``, or encodings are not finite (see ``Representations``).
    """
    cache: dict[tuple[int | None, str, str, bool], Representations] = {}

    def representations(
        n: int | None, split: str, intervention: str, projected: bool = False
    ) -> Representations:
        key = (n, split, intervention, projected)
        if projected and key not in cache:
            if project is None:
                raise ValueError("projected=True: there is nothing that projects encodings")
            plain = representations(n, split, intervention)
            with torch.no_grad():
                cache[key] = replace(plain, z=project(plain.z))
        if key not in cache:
            batch = sample(n, split, None if intervention == "none" else intervention)
            z = {name: h.to(device) for name, h in encode_in_chunks(encode, batch.views, chunk).items()}
            factors = {name: y.to(device) for name, y in batch.factors.items()}
            law = (information, covariance, sampled) if intervention == "none" else ({}, None, None)
            result = Representations(z, factors, *law, chooses=batch.chooses)
            if n is not None and len(result) != n:
                raise ValueError(f"sample({n}, {split!r}, {intervention!r}) gave {len(result)} encodings")
            cache[key] = result
        return cache[key]

    total = sum(len(e.interventions) for e in evaluators.values())
    done = 0
    rows: list[Row] = []
    for name, evaluator in evaluators.items():
        own: list[Row] = []
        for intervention in evaluator.interventions:
            if on_progress is not None:
                on_progress(done, total, f"{name} ({intervention})")
            projected = bool(getattr(evaluator, "projected", False))
            fit = representations(evaluator.n_fit, "validation", intervention, projected)
            test = representations(evaluator.n_test, "test", intervention, projected)
            reference = references.get(intervention, ())
            if missing := [name for name in reference if name not in fit.factors]:
                if intervention != "none":
                    raise ValueError(
                        f"intervention {intervention!r}: the samples have no factor {missing[0]!r}"
                    )
                reference = ()
            found = evaluator.evaluate(fit, test, reference, objective)
            own += [replace(row, evaluator=name, intervention=intervention) for row in found]
            done += 1
        if on_rows is not None:
            on_rows(name, own)
        rows += own
    if on_progress is not None:
        on_progress(total, total, "done")
    return rows
