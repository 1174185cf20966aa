"""What the README shows is what was collected and measured."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def tables(text):
    return [line for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize(
    ("source", "page"),
    [
        ("results/table1/report/table1a/table.md", "README.md"),
        ("results/table1/report/table1b/table.md", "README.md"),
        ("results/table1/report/table1a/table.md", "results/table1/README.md"),
        ("results/table1/report/table1b/table.md", "results/table1/README.md"),
        ("results/numerical_quick/report/numerical_quick/table.md", "results/numerical_quick/README.md"),
        ("results/table1/report/table1_symmetric/table.md", "results/table1/README.md"),
        ("results/table4/report/table4b/table.md", "results/table4/README.md"),
        ("results/figure7a/report/figure7a/table.md", "results/figure7a/README.md"),
        ("benchmarks/results.md", "README.md"),
    ],
)
def test_tables_are_those_that_the_commands_wrote(source, page):
    lines = tables((ROOT / source).read_text())
    assert lines
    shown = tables((ROOT / page).read_text())
    assert [line for line in lines if line not in shown] == []


def test_links_lead_somewhere():
    for page in (
        "README.md",
        "docs/architecture.md",
        "docs/dashboard.md",
        "docs/data.md",
        "docs/extending.md",
        "docs/results.md",
        "results/numerical_quick/README.md",
        "results/table1/README.md",
        "results/table4/README.md",
        "results/figure7a/README.md",
        "docs/recipe.md",
        "docs/reproduce.md",
        "docs/performance.md",
        "docs/wandb.md",
        "docs/slurm.md",
        "docs/gpu.md",
    ):
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", (ROOT / page).read_text()):
            if "://" not in target:
                assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
