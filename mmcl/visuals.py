"""The pictures of a run: its test samples' neighbours, draws, predicted factors and maps, from views and encodings."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mmcl.evaluators.base import standardise
from mmcl.evaluators.generation import weights_of_others
from mmcl.evaluators.kernel_ridge import predict_kernel_ridge
from mmcl.evaluators.networks import predict_labels
from mmcl.evaluators.retrieval import similarities
from mmcl.evaluators.ridge import KernelRidge
from mmcl.evaluators.run import encode_in_chunks
from mmcl.pictures import (
    Shown,
    draw_classes,
    draw_draws,
    draw_maps,
    draw_neighbours,
    draw_predictions,
)
from mmcl.records.files import write_bytes
from mmcl.worlds import Batch, FactorRole

MAPPED = 8
"""Factors that a map has columns for, at most."""


def draw_pictures(
    folder: Path,
    fit: Batch,
    test: Batch,
    roles: Mapping[str, FactorRole],
    encode: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    words: tuple[str, ...],
    similarity: str,
    lp_exponent: float,
    temperature: float,
    show: Callable[[str, Tensor], Shown | None],
) -> list[Path]:
    """Write the pictures that samples can be shown in, into ``folder``, which is made.

    ``maps.png`` always, without factors in one colour; ``neighbours.png`` and ``draws.png`` where several views can be
    shown, and with discrete factors ``classes.png``; ``predictions.png`` where one can be and has factors. What can be
    shown are images (uint8, ``(n, C, H, W)``), texts (int64, ``(n, L)``, numbers of ``words``), and what the world
    itself shows.

    Args:
        fit: samples that predictors are fitted on.
        test: samples that are shown.
        roles: of their factors.
        similarity: by which neighbours are near, one of ``retrieval.SIMILARITIES``; ``lp_exponent`` is its p.
        temperature: by which draws are weighted.
        show: a view's name and values to how its samples are shown, or ``None``.
    """
    z_fit, z = (encode_in_chunks(encode, batch.views) for batch in (fit, test))
    shown = {}
    for view, x in test.views.items():
        found = show(view, x)
        found = _shown(x, words) if found is None else found
        if found is not None:
            shown[view] = found
    figures = {"maps": draw_maps({k: v.cpu().numpy() for k, v in z.items()}, _columns(test.factors))}
    if len(shown) > 1:
        between = {
            (a, b): similarities(z[a], z[b], similarity, lp_exponent).cpu() for a, b in permutations(shown, 2)
        }
        logits = {pair: x / temperature for pair, x in between.items()}
        figures["neighbours"] = draw_neighbours(shown, {pair: x.numpy() for pair, x in between.items()})
        figures["draws"] = draw_draws(shown, {pair: x.softmax(dim=1).numpy() for pair, x in logits.items()})
        if classes := _classes(test.factors):
            # The query's own partner has its class for sure: the others say what the model has learned.
            others = {pair: weights_of_others(x, 0).numpy() for pair, x in logits.items()}
            figures["classes"] = draw_classes(shown, others, classes)
    if shown and fit.factors:
        predicted = {view: predicted_factors(view, z_fit[view], z[view], fit, test, roles) for view in shown}
        figures["predictions"] = draw_predictions(shown, predicted)
    files = {folder / f"{name}.png": as_png(figure) for name, figure in figures.items()}
    folder.mkdir(exist_ok=True)
    for path, data in files.items():
        write_bytes(path, data)
    return list(files)


def as_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def _shown(x: Tensor, words: tuple[str, ...]) -> Shown | None:
    if x.ndim == 4 and x.dtype == torch.uint8 and x.shape[1] in (1, 3):
        return np.asarray(x.cpu())
    if x.ndim == 2 and x.dtype == torch.int64 and words:
        return [_sentence(row, words) for row in x.tolist()]
    return None


def _sentence(numbers: list[int], words: tuple[str, ...]) -> str:
    """The words up to the end of a text (number 1), written as people do."""
    text = " ".join(words[i] for i in numbers[: numbers.index(1) if 1 in numbers else None])
    return re.sub(r'" ([^"]*) "', r'"\1"', re.sub(r" ([.,:;!?])", r"\1", text))


def _classes(factors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The discrete factors of one component."""
    found = {n: y[:, 0] for n, y in factors.items() if not y.is_floating_point() and y.shape[1] == 1}
    return {n: y.cpu().numpy() for n, y in list(found.items())[:MAPPED]}


def _columns(factors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The components of factors by name, the first of each before the second."""
    most = max((y.shape[1] for y in factors.values()), default=0)
    found = {
        f"{name} {i + 1}" if y.shape[1] > 1 else name: y[:, i].cpu().numpy()
        for i in range(most)
        for name, y in factors.items()
        if i < y.shape[1]
    }
    return dict(list(found.items())[:MAPPED])


def predicted_factors(
    view: str, z_fit: Tensor, z_test: Tensor, fit: Batch, test: Batch, roles: Mapping[str, FactorRole]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The view's own factors of one component: true, and predicted as ``mlp`` and ``kernel_ridge`` do.

    A relation of several views (role ``synergy``) is no view's own.
    """
    names = [
        n
        for n, y in fit.factors.items()
        if y.shape[1] == 1
        and n in roles
        and roles[n].modality in (None, view)
        and roles[n].role not in ("synergy", "label")
    ]
    x_fit, x_test = standardise(z_fit.cpu(), z_test.cpu())
    whole = [n for n in names if not fit.factors[n].is_floating_point()]
    real = [n for n in names if n not in whole]
    guessed: dict[str, Tensor] = {}
    if whole:
        with torch.enable_grad():
            labels = predict_labels(x_fit, x_test, [fit.factors[n][:, 0] for n in whole], 100, 50, 0)
        guessed.update(zip(whole, labels, strict=True))
    if real:
        targets = {n: fit.factors[n] for n in real}
        found = predict_kernel_ridge(x_fit, x_test, targets, grid=KernelRidge().grid)
        guessed.update({n: y[:, 0] for n, y in found.items()})
    return {n: (test.factors[n][:, 0].numpy(), guessed[n].cpu().numpy()) for n in names}
