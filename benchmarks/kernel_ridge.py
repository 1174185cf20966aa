"""The kernel ridge grid search for several targets: ours against scikit-learn's, target by target."""

from __future__ import annotations

import torch
from ratio import compare
from sklearn.kernel_ridge import KernelRidge as SklearnKernelRidge
from sklearn.model_selection import GridSearchCV

from mmcl.evaluators import KernelRidge, Representations

N = 600
g = torch.Generator().manual_seed(0)
z = torch.randn(2 * N, 5, generator=g, dtype=torch.float64)
factors = {
    f"f{i}": torch.tanh(z @ torch.randn(5, 5, generator=g, dtype=torch.float64))
    + 0.1 * i * torch.randn(2 * N, 5, generator=g, dtype=torch.float64)
    for i in range(5)
}
fit = Representations({"z": z[:N]}, {n: y[:N] for n, y in factors.items()})
test = Representations({"z": z[N:]}, {n: y[N:] for n, y in factors.items()})
ours = KernelRidge(n_fit=N, n_test=N)


def sklearn() -> None:
    search = GridSearchCV(
        SklearnKernelRidge(kernel="rbf"), {"alpha": list(ours.alphas), "gamma": list(ours.gammas)}, cv=3
    )
    for name in factors:
        search.fit(fit.z["z"].numpy(), fit.factors[name].numpy())
        search.predict(test.z["z"].numpy())


compare(
    f"kernel ridge, 5 targets, {N} + {N} samples",
    lambda: ours.evaluate(fit, test, None, None),
    sklearn,
    "GridSearchCV",
    repeats=3,
)
