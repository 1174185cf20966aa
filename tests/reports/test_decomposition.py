"""Bits decomposed: the parts of known informations, as rows of a report, and what cannot be."""

import doctest
import math

import numpy as np
import pandas as pd
import pytest
import torch

from mmcl.errors import UserError
from mmcl.records.files import write_csv
from mmcl.reports import decomposition
from mmcl.reports.collect import collect
from mmcl.reports.decomposition import atoms, decomposition_scores
from mmcl.reports.report import make_report
from mmcl.theory import decompose, informations
from mmcl.worlds import DigitPairs, ImageTrifeature, Shared, VectorTrifeature
from tests.reports.sweeps import COLUMNS, key_of, write_run
from tests.reports.test_report import write_spec

NAMES = ["redundant", "unique x1", "unique x2", "synergistic"]


def test_doctest():
    assert doctest.testmod(decomposition).failed == 0


@pytest.mark.parametrize("bias", [0.0, 0.3, 0.75, 0.99, 1.0])
@pytest.mark.parametrize(
    "model",
    [
        VectorTrifeature(levels=10),
        ImageTrifeature(levels=7, size=32, renders=1),
        *(DigitPairs(share=share) for share in Shared),
    ],
    ids=["trifeature", "trifeature_images", *(f"digits, {share.value}" for share in Shared)],
)
def test_of_every_world_of_classes_it_is_the_exact_one(model, bias):
    """Of Bertschinger et al. (2014), which needs the joint law: this one has the three informations alone."""
    laws = model.draw(torch.Generator().manual_seed(3)).laws(bias)
    for name, law in laws.items():
        exact = decompose(law)
        expected = [exact.redundancy, exact.unique1, exact.unique2, exact.synergy]
        assert atoms(*informations(law)) == pytest.approx(expected, abs=1e-6), name


def test_it_is_not_the_exact_one_of_every_law():
    """Two independent bits of which the label is the pair: nothing is redundant; the least of the two is 1 bit."""
    law = torch.zeros(2, 2, 4)
    for a in range(2):
        for b in range(2):
            law[a, b, 2 * a + b] = 0.25
    assert decompose(law).redundancy == pytest.approx(0.0, abs=1e-7)
    assert atoms(*informations(law)) == (1.0, 0.0, 0.0, 1.0)


def bits(key, values, target="match", ceilings=(math.nan,) * 3, evaluator="probe_mlp"):
    rows = zip(("x1", "x2", "x1+x2"), values, ceilings, strict=True)
    return [
        dict.fromkeys(COLUMNS, "")
        | {
            "run_key": key,
            "seed": 0,
            "evaluator": evaluator,
            "evaluation_key": "e1",
            "split": "test",
            "representation": z,
            "intervention": "none",
            "target": target,
            "metric": "bits",
            "value": value,
            "chance": 0.0,
            "ceiling": ceiling,
        }
        for z, value, ceiling in rows
    ]


def test_each_probe_and_label_is_decomposed_by_itself():
    rows = bits("a", (3.0, 1.0, 3.5), "texture.x1", (3.25, 1.25, 3.25))
    rows += bits("a", (0.0, -0.125, 0.25)) + bits("b", (0.5, 0.5, 0.5), evaluator="probe_linear")
    rows += [{**row, "metric": "auroc"} for row in rows]
    found = decomposition_scores(pd.DataFrame(rows))
    assert list(found.columns) == list(COLUMNS)
    assert set(found.metric) == {"decomposition"}
    assert set(found.chance) == {0.0}
    by = {
        (key, evaluator, target): group
        for (key, evaluator, target), group in found.groupby(["run_key", "evaluator", "target"])
    }
    texture = by["a", "probe_mlp", "texture.x1"]
    assert list(texture.representation) == NAMES
    assert list(texture.value) == [1.0, 2.0, 0.0, 0.5]
    assert list(texture.ceiling) == [1.25, 2.0, 0.0, 0.0]
    assert list(by["a", "probe_mlp", "match"].value) == [0.0, 0.0, 0.0, 0.25]  # no bound is below 0
    assert by["a", "probe_mlp", "match"].ceiling.isna().all()
    assert list(by["b", "probe_linear", "match"].value) == [0.5, 0.0, 0.0, 0.0]
    assert len(by) == 3


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_nan_is_in_no_number(which):
    """``min`` and ``max`` of a NaN depend on where it stands."""
    values = [1.0, 2.0, 3.0]
    values[which] = math.nan
    assert np.isnan(decomposition_scores(pd.DataFrame(bits("a", values))).value.to_numpy(float)).all()


def test_where_nothing_can_be_decomposed_it_says_so():
    rows = [row for row in bits("a", (1, 2, 3)) if row["representation"] != "x1+x2"]
    with pytest.raises(UserError, match="derive: decomposition: no probe has bits of two encodings"):
        decomposition_scores(pd.DataFrame(rows))


def test_a_report_shows_the_parts_beside_the_exact_ones(tmp_path):
    sweep = tmp_path / "sweep"
    for seed in (0, 1):
        folder = write_run(sweep, False, seed)
        rows = bits(key_of(False, seed), (0.25, 0.5, 1.0 + seed), ceilings=(0.5, 0.5, 2.0))
        write_csv(folder / "results.csv", COLUMNS, [{**row, "seed": seed} for row in rows])
    out = tmp_path / "out"
    collect([sweep]).write(out)
    spec = write_spec(
        tmp_path / "spec.yaml",
        derive="decomposition",
        filter={"metric": "decomposition"},
        aggregate="none",
        rows={"by": ["target"]},
        columns={"by": ["representation"], "entries": [{"at": name, "label": name} for name in NAMES]},
        seeds=2,
        statistic="mean",
        paper=None,
        ceiling=True,
        chance=True,
        figure={"kind": "none"},
    )
    cells = {c.column.label: c for c in make_report(spec, out).grid.cells.values()}
    assert [cells[name].values for name in NAMES] == [[0.25, 0.25], [0, 0], [0.25, 0.25], [0.5, 1.5]]
    assert [cells[name].mean_of("ceiling") for name in NAMES] == [0.5, 0, 0, 1.5]
    assert [cells[name].mean_of("chance") for name in NAMES] == [0, 0, 0, 0]
