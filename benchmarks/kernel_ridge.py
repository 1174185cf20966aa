"""Kernel ridge with the release's grid: ours, for all factors at once, against scikit-learn's, factor by factor."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from measure import Row, peak_memory, ratio, report, times
from torch import Tensor

from mmcl.evaluators import KernelRidge, Representations
from mmcl.evaluators.base import standardise

PAPER, BOTH = 20480, ("x1", "x2")
SMALL, ONE = 768, ("x1",)


def samples(n: int, names: tuple[str, ...]) -> tuple[Representations, Representations]:
    """Encodings and five factors of five dimensions, from well predicted to not at all.

    The encodings are the content through a smooth map, and a little noise: what the quick recipe's are like.
    """
    g = torch.Generator().manual_seed(0)
    content, other = (torch.randn(2 * n, 5, generator=g) for _ in range(2))

    def encoding() -> Tensor:
        rotation = torch.linalg.qr(torch.randn(5, 5, generator=g)).Q
        bent = content @ rotation + 0.5 * torch.tanh(content @ torch.randn(5, 5, generator=g))
        return bent + 0.05 * torch.randn(2 * n, 5, generator=g)

    z = {name: encoding() for name in names}
    factors = {
        "content": content,
        "style.x1": content @ torch.randn(5, 5, generator=g) + other,
        "style.x2": content @ torch.randn(5, 5, generator=g) + 2 * torch.randn(2 * n, 5, generator=g),
        "modality_specific.x1": torch.randn(2 * n, 5, generator=g),
        "modality_specific.x2": torch.randn(2 * n, 5, generator=g),
    }
    rows = slice(0, n), slice(n, 2 * n)
    fit, test = (
        Representations({k: v[r] for k, v in z.items()}, {k: v[r] for k, v in factors.items()}) for r in rows
    )
    return fit, test


def ours(n: int, names: tuple[str, ...]) -> None:
    KernelRidge(n_fit=n, n_test=n).evaluate(*samples(n, names))


def timed(path: str) -> object:
    """For a fresh process: the evaluation, whose milliseconds go to a file."""

    def work() -> None:
        began = time.perf_counter()
        ours(PAPER, BOTH)
        with open(path, "w") as file:
            file.write(str(1e3 * (time.perf_counter() - began)))

    return work


def sklearn(n: int, names: tuple[str, ...]) -> None:
    """The same scores."""
    from sklearn.kernel_ridge import KernelRidge as Theirs
    from sklearn.model_selection import GridSearchCV

    fit, test = samples(n, names)
    grid = {"alpha": KernelRidge().alphas, "gamma": KernelRidge().gammas}
    for name in fit.z:
        x, x_test = (x.numpy() for x in standardise(fit.z[name], test.z[name]))
        for factor, y in fit.factors.items():
            search = GridSearchCV(Theirs(kernel="rbf"), grid, cv=3).fit(x, y.numpy())
            search.score(x_test, test.factors[factor].numpy())


def one_fit(n_fit: int, n_score: int) -> None:
    """One of the fits that scikit-learn's search is made of, and its score."""
    from sklearn.kernel_ridge import KernelRidge as Theirs

    fit, _ = samples(n_fit + n_score, ONE)
    x, _ = standardise(fit.z["x1"], fit.z["x1"])
    y = fit.factors["content"].numpy()
    model = Theirs(kernel="rbf", alpha=0.01, gamma=0.2).fit(x[:n_fit].numpy(), y[:n_fit])
    model.score(x[n_fit:].numpy(), y[n_fit:])


def main() -> None:
    taken = times(partial(ours, SMALL, ONE), partial(sklearn, SMALL, ONE), repeats=5, warmup=0)
    report(
        ratio(
            f"kernel ridge, one encoding, five factors, {SMALL} + {SMALL} samples",
            taken[0],
            "scikit-learn's GridSearchCV",
            taken[1],
        )
    )
    # The search fits each of 16 settings on each of 3 folds, for 5 factors of 2 encodings, and the best again on all.
    fits = 16 * 3 * 5 * 2
    fold = PAPER * 2 // 3
    single = times(partial(one_fit, fold, PAPER - fold), repeats=1, warmup=0)[0][0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ms"
        memory = peak_memory(partial(timed, str(path)))
        whole = float(path.read_text())
    report(
        Row(
            f"kernel ridge, two encodings, five factors, {PAPER} + {PAPER} samples",
            "ms",
            whole,
            f"scikit-learn: {fits} fits, one of which was measured ({single / 1000:.1f} s)",
            fits * single,
            whole / (fits * single),
        ),
        Row("its peak memory", "MB", memory, "over importing torch"),
    )


if __name__ == "__main__":
    main()
