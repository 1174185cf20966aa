"""What the README shows is what was collected and measured."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def tables(text):
    return [line for line in text.splitlines() if line.startswith("|")]


RESULTS = sorted((ROOT / "results").glob("*/README.md"))


@pytest.mark.parametrize(
    "source",
    [
        "results/table1/report/table1a/table.md",
        "results/table1/report/table1b/table.md",
        "benchmarks/results.md",
    ],
)
def test_tables_are_those_that_the_commands_wrote(source):
    lines = tables((ROOT / source).read_text())
    assert lines
    shown = tables((ROOT / "README.md").read_text())
    assert [line for line in lines if line not in shown] == []


@pytest.mark.parametrize("page", RESULTS, ids=lambda page: page.parent.name)
def test_a_result_shows_the_tables_of_its_reports(page):
    written = {
        line for source in (ROOT / "results").glob("*/report/*/*.md") for line in tables(source.read_text())
    }
    shown = tables(page.read_text())
    assert shown
    assert [line for line in shown if line not in written] == []


def test_the_index_of_results_names_every_page():
    index = (ROOT / "results" / "README.md").read_text()
    assert [page.parent.name for page in RESULTS if f"({page.parent.name}/README.md)" not in index] == []


def test_links_lead_somewhere():
    for page in (
        "README.md",
        "results/README.md",
        *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))),
        *(str(page.relative_to(ROOT)) for page in RESULTS),
    ):
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", (ROOT / page).read_text()):
            if "://" not in target:
                assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
