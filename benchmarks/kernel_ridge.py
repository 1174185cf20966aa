"""Kernel ridge with the release's grid: ours, for all factors at once, against scikit-learn's, factor by factor."""

from __future__ import annotations

from functools import partial

import torch
from measure import Row, peak_memory, ratio, report, times

from mmcl.evaluators import KernelRidge, Representations

PAPER = 20480
CHOOSING = 4096
SIZES = (768, 1536)


def samples(n: int) -> tuple[Representations, Representations]:
    """Two encodings and five factors of five dimensions, from well predicted to not at all."""
    g = torch.Generator().manual_seed(0)
    content, other = (torch.randn(2 * n, 5, generator=g) for _ in range(2))
    z = {
        name: torch.tanh(content @ torch.randn(5, 5, generator=g)) + 0.05 * torch.randn(2 * n, 5, generator=g)
        for name in ("x1", "x2")
    }
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


def ours(n: int) -> None:
    KernelRidge(n_fit=n, n_test=n, n_select=CHOOSING).evaluate(*samples(n), "content", None)


def sklearn(n: int) -> None:
    """The same table: both encodings, and the ceilings from the content."""
    from sklearn.kernel_ridge import KernelRidge as Theirs
    from sklearn.model_selection import GridSearchCV
    from sklearn.preprocessing import StandardScaler

    fit, test = samples(n)
    grid = {"alpha": KernelRidge().alphas, "gamma": KernelRidge().gammas}
    inputs = [*((fit.z[k], test.z[k]) for k in fit.z), (fit.factors["content"], test.factors["content"])]
    for x_fit, x_test in inputs:
        scaler = StandardScaler().fit(x_fit.numpy())
        for name, y in fit.factors.items():
            search = GridSearchCV(Theirs(kernel="rbf"), grid, cv=3).fit(
                scaler.transform(x_fit.numpy()), y.numpy()
            )
            search.score(scaler.transform(x_test.numpy()), test.factors[name].numpy())


def evaluation(n: int):
    return partial(ours, n)


def main() -> None:
    medians = {}
    for n in SIZES:
        taken = times(partial(ours, n), partial(sklearn, n), repeats=3 if n > 1000 else 5)
        row = ratio(
            f"kernel ridge, two encodings, {n} + {n} samples",
            taken[0],
            "scikit-learn's GridSearchCV",
            taken[1],
        )
        medians[n] = row.other or 0.0
        report(row)
    small, large = SIZES
    # Between the two sizes its time grows as their ratio to this power; at the paper's size it goes to the third,
    # which Cholesky needs, so that this is a lower bound of what it would take.
    power = float(
        torch.log(torch.tensor(medians[large] / medians[small])) / torch.log(torch.tensor(large / small))
    )
    at_paper = medians[large] * (PAPER / large) ** min(power, 3.0)
    taken = times(partial(ours, PAPER), repeats=1, warmup=0)[0]
    report(
        Row(
            f"kernel ridge, two encodings, {PAPER} + {PAPER} samples, choosing on {CHOOSING}",
            "ms",
            taken[0],
            f"scikit-learn choosing on all, extrapolated by n^{min(power, 3.0):.1f} from {large}",
            at_paper,
            taken[0] / at_paper,
        ),
        Row("its peak memory", "MB", peak_memory(partial(evaluation, PAPER)), "over importing torch"),
    )


if __name__ == "__main__":
    main()
