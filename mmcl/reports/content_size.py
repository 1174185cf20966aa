"""Estimating the number of content factors from runs that differ in their encoding size, without any factor's value.

Daunhawer et al. (2023), B.2 and Figure 7, propose the elbow of the validation loss by eye. Here are rules in its place,
as scores like others: how often is each right, over worlds whose number of content factors is known?
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import pandas as pd

from mmcl.errors import UserError

SIZE, TRUTH = "encoder.encoding_size", "data.content_size"
"""The columns of the encoding size, and of what is to be found."""

HALF = 0.5


def knee(losses: Mapping[int, float]) -> int:
    """The size at which the curve lies furthest below the chord from its first point to its last.

    The loss is scaled to [0, 1] between its ends, as is the size (Satopää et al., 2011, for a decreasing convex curve
    without smoothing). Ties go to the smaller size.

    >>> knee({1: 0.0, 2: -1.0, 3: -2.0, 4: -2.1, 5: -2.2})
    3
    """
    sizes = sorted(losses)
    first, last = losses[sizes[0]], losses[sizes[-1]]
    if len(sizes) < 3 or first == last:
        return sizes[0]

    def below(size: int) -> float:
        across = (size - sizes[0]) / (sizes[-1] - sizes[0])
        return (first - losses[size]) / (first - last) - across

    return max(sizes, key=lambda size: (round(below(size), 12), -size))


def half_gain(losses: Mapping[int, float]) -> int:
    """The first size after which one dimension more gains less than half of what those so far did on average.

    What k dimensions gain is the loss of collapsed encodings, 0 with log-mean over candidates, minus theirs. Sizes must
    be consecutive from 1; without a size that ends it, the largest.

    >>> half_gain({1: -1.0, 2: -2.0, 3: -2.9, 4: -3.1})
    3
    """
    sizes = sorted(losses)
    for size, larger in pairwise(sizes):
        if losses[size] - losses[larger] < HALF * -losses[size] / size:
            return size
    return sizes[-1]


def largest_gap(correlations: Sequence[float]) -> int:
    """The number of correlations before the largest fall of the information −½ log(1 − r²) from one to the next.

    >>> largest_gap([0.999, 0.998, 0.8, 0.7])
    2
    """
    nats = [-0.5 * math.log(max(1 - r * r, 1e-12)) for r in sorted(correlations, reverse=True)]
    falls = [a - b for a, b in pairwise(nats)]
    return falls.index(max(falls)) + 1 if falls else len(nats)


def count_above(correlations: Sequence[float], least: float) -> int:
    """How many correlations are at least ``least``.

    >>> count_above([0.99, 0.96, 0.9], 0.95)
    2
    """
    return sum(r >= least for r in correlations)


OF_LOSSES: Mapping[str, Callable[[Mapping[int, float]], int]] = {
    "loss: knee": knee,
    "loss: half gain": half_gain,
}
OF_CORRELATIONS: Mapping[str, Callable[[Sequence[float]], int]] = {
    "rank: largest gap": largest_gap,
    "rank: r ≥ 0.95": lambda found: count_above(found, 0.95),
}
INTRINSIC = "intrinsic dimension"


def estimates(world: pd.DataFrame) -> dict[str, int]:
    """What each estimator says of one world: ``world`` has the scores of its runs, one for each encoding size.

    The validation loss over all sizes; held-out canonical correlations and the intrinsic dimension of the largest
    encoding, mean over the modalities. Estimators whose scores are not there are left out.
    """
    needed = world[world.metric.isin(["loss", "canonical_correlation", "intrinsic_dimension"])]
    for score in needed[~needed.value.map(math.isfinite)].itertuples():
        raise UserError(
            f"derive: content_size: {score.metric} is {score.value} (run {score.run_key}); look at that run"
        )
    found: dict[str, int] = {}
    losses = world[world.metric.eq("loss") & world.split.eq("validation")]
    curve = {int(size): float(value) for size, value in zip(losses[SIZE], losses.value, strict=True)}
    if len(curve) > 1:
        found |= {name: rule(curve) for name, rule in OF_LOSSES.items()}
    widest = world[world[SIZE].astype(int).eq(world[SIZE].astype(int).max())]
    correlations = widest[
        widest.metric.eq("canonical_correlation") & widest.target.str.startswith("shared_cc")
    ]
    if len(correlations):
        means = list(correlations.groupby("target").value.mean())
        found |= {name: rule(means) for name, rule in OF_CORRELATIONS.items()}
    dimensions = widest[widest.metric.eq("intrinsic_dimension")].value
    if len(dimensions):
        found[INTRINSIC] = round(float(dimensions.mean()))
    return found


def content_size_scores(scores: pd.DataFrame, runs: pd.DataFrame, config: Sequence[str]) -> pd.DataFrame:
    """Rows for every world and estimator: metrics ``estimate`` and ``right`` (1 or 0), target the estimator's name.

    Args:
        scores: as in ``results.csv``, with numbers as ``value``.
        runs: as in ``runs.csv``.
        config: its columns of config values. Runs of one world agree in all but the encoding size, seed included.

    Returns:
        Rows with the columns of ``scores``, evaluator ``content_size``, of the run with the largest encoding.

    Raises:
        UserError: a config does not say the encoding size or the number of content factors, a world lacks a size that
            others have, or a score that is needed is not a finite number.
    """
    for column in (SIZE, TRUTH):
        if column not in config:
            raise UserError(f"derive: content_size: the runs have no {column}; leave derive out")
    varying = [c for c in config if runs[c].nunique() > 1 and c not in (SIZE, TRUTH)]
    whole = scores.merge(runs[["run_key", SIZE, TRUTH, *varying]], on="run_key")
    everywhere = set(whole[SIZE])
    rows = []
    for _, world in whole.groupby(["seed", TRUTH, *varying], sort=False):
        if absent := sorted(everywhere - set(world[SIZE]), key=int):
            raise UserError(
                f"derive: content_size: seed {world.seed.iloc[0]} with {TRUTH}={world[TRUTH].iloc[0]} has no finished "
                f"run of {SIZE}={', '.join(absent)}, which others have; make it and collect again"
            )
        sizes = world[SIZE].astype(int)
        widest = world[sizes.eq(sizes.max())].iloc[0]
        truth = int(widest[TRUTH])
        for name, estimate in estimates(world).items():
            shared = dict.fromkeys(scores.columns, "") | {
                "run_key": widest.run_key,
                "seed": widest.seed,
                "evaluator": "content_size",
                "split": "test",
                "representation": "all",
                "intervention": "none",
                "target": name,
                "chance": math.nan,
                "ceiling": math.nan,
            }
            rows.append({**shared, "metric": "estimate", "value": float(estimate)})
            rows.append({**shared, "metric": "right", "value": float(estimate == truth)})
    return pd.DataFrame(rows, columns=list(scores.columns))
