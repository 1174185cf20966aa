"""Classifiers with one hidden layer: ours, all components as one, against scikit-learn's, one after the other."""

from __future__ import annotations

import torch
from measure import ratio, report, times

from mmcl.evaluators.base import standardise
from mmcl.evaluators.networks import predict_labels

SAMPLES, COMPONENTS = 2048, 15


def main() -> None:
    from sklearn.neural_network import MLPClassifier

    g = torch.Generator().manual_seed(0)
    latents = torch.randn(2 * SAMPLES, 5, generator=g)
    z = torch.tanh(latents @ torch.randn(5, 5, generator=g))
    x, x_test = standardise(z[:SAMPLES], z[SAMPLES:])
    labels = [
        (latents @ torch.randn(5, 4, generator=g) + torch.randn(2 * SAMPLES, 4, generator=g)).argmax(dim=1)
        for _ in range(COMPONENTS)
    ]

    def ours() -> None:
        predict_labels(x, x_test, [y[:SAMPLES] for y in labels], hidden=100, epochs=50, seed=0)

    def theirs() -> None:
        # One of them; all take as long.
        MLPClassifier(max_iter=1000, random_state=0).fit(x.numpy(), labels[0][:SAMPLES].numpy()).predict(
            x_test.numpy()
        )

    taken = times(ours, theirs, repeats=5)
    report(
        ratio(
            f"{COMPONENTS} classifiers with one hidden layer, {SAMPLES} + {SAMPLES} samples",
            taken[0],
            f"scikit-learn's MLPClassifier, {COMPONENTS} times one",
            [COMPONENTS * ms for ms in taken[1]],
        )
    )


if __name__ == "__main__":
    main()
