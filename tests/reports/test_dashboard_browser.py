"""The dashboard as a person uses it: in a real browser, from a file, without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from mmcl.records.sweep import expect
from mmcl.reports.dashboard import dashboard
from tests.reports.dashboard_jobs import NOW, Job, config, grid, write_job

pytestmark = pytest.mark.slow
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
VISIBLE = "#runs tbody tr.run:not([hidden])"
HOSTILE = "<b>bold</b></script><script>document.title='broken'</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        if "CI" in os.environ:
            pytest.fail("CI must have Chromium: make test-browser-deps")
        pytest.skip("no Chromium here (make test-browser-deps installs it)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium refuses its own sandbox to root, which CI is; the only page it opens is ours.
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def view(browser) -> Iterator:
    """``view(path)`` opens a page as a file; at the end nothing was complained about or fetched."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))

    def open_page(path: Path):
        page.goto(path.resolve().as_uri())
        page.wait_for_selector("#factors .main-svg", state="attached")
        return page

    yield open_page
    assert complaints == []
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == requests[:1]
    assert requests[0].startswith("file://")
    page.close()


def cells(page, column: int) -> list[str]:
    """The text of a column in the rows that are shown."""
    rows = f"[...document.querySelectorAll('{VISIBLE}')]"
    return page.evaluate(f"{rows}.map(row => row.cells[{column}].textContent)")


def write(page, words: str, runs: int) -> None:
    """Type into the filter box, and wait until ``runs`` of the 200 runs are left."""
    page.fill("#text", words)
    page.locator("#count", has_text=f"{runs} of 200 runs").wait_for()
    assert len(cells(page, 0)) == runs


def drawn(page, plot: str) -> str:
    """What a plot shows, as text that changes when it does."""
    return page.evaluate(
        f"JSON.stringify(document.getElementById('{plot}').data.map(t => [t.name, t.x, t.y]))"
        f" + document.getElementById('{plot}').layout.yaxis.title?.text"
        f" + document.getElementById('{plot}').layout.xaxis.title?.text"
    )


def points(page) -> set[int]:
    """The places of the runs that have a point in the plot of scores."""
    return set(page.evaluate("document.getElementById('factors').data.flatMap(t => t.customdata || [])"))


def shoot(page, path: Path) -> None:
    page.screenshot(path=path, full_page=True)
    with Image.open(path) as image:
        fewer = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)  # a third of the size
    fewer.save(path, optimize=True)


def test_filters_sorting_and_plots_of_200_runs(view, tmp_path):
    jobs = grid(tmp_path / "demo", 200)
    path, _ = dashboard(tmp_path / "demo", now=NOW)
    copied = tmp_path / "elsewhere" / "page.html"
    copied.parent.mkdir()
    shutil.copy(path, copied)
    page = view(copied)

    assert len(cells(page, 0)) == 200
    assert page.inner_text("#count") == "200 of 200 runs"
    assert "175 done, 5 running, 5 failed, 5 interrupted, 5 stale, 5 missing" in page.inner_text("#about")
    assert (
        page.evaluate("document.getElementById('curves').data.filter(t => t.mode === 'lines').length") == 20
    )
    # Set DASHBOARD_PNG=docs/dashboard.png to renew the picture in the documentation.
    picture = Path(os.environ.get("DASHBOARD_PNG", tmp_path / "dashboard.png"))
    shoot(page, picture)
    assert 20_000 < picture.stat().st_size < 300_000
    # No button of Plotly's uploads anything.
    titles = page.evaluate("[...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)")
    assert sorted(set(titles)) == [
        "Autoscale", "Download plot as a PNG", "Pan", "Reset axes", "Zoom", "Zoom in", "Zoom out",
    ]  # fmt: skip
    # Nothing is wider than the page: the table fits at 1400 px.
    for part in ("document.documentElement", "document.getElementById('scroll')"):
        assert page.evaluate(f"{part}.scrollWidth <= {part}.clientWidth"), part

    before = drawn(page, "curves"), drawn(page, "factors")
    wanted = {
        i for i, j in enumerate(jobs) if {"data.style_change_prob=0.1", "loss=nt_xent"} <= {*j.overrides}
    }
    write(page, "style_change_prob=0.1 nt_xent", len(wanted))
    assert set(cells(page, 1)) == {jobs[i].key for i in wanted}
    assert points(page) == {i for i in wanted if jobs[i].state == "done"}
    assert drawn(page, "curves") != before[0]
    assert drawn(page, "factors") != before[1]

    write(page, "seed=1 data.causal=true", 10)
    assert set(cells(page, 2)) == {"1"}
    write(page, "", 200)

    page.click("button.state.failed")
    assert cells(page, 0) == ["failed"] * 5
    assert points(page) == set()
    assert "no scores" in page.text_content("#factors")
    page.click("button.state.running")
    assert sorted(cells(page, 0)) == ["failed"] * 5 + ["running"] * 5
    page.click("button:has-text('all 200')")
    assert len(cells(page, 0)) == 200
    assert (drawn(page, "curves"), drawn(page, "factors")) == before

    page.click("th button:has-text('content')")
    scores = [float(text) for text in cells(page, 6) if text]
    assert len(scores) == 175
    assert scores == sorted(scores)
    assert cells(page, 6)[175:] == [""] * 25, "runs without a score come last"
    page.click("th button:has-text('content')")
    assert [float(text) for text in cells(page, 6) if text] == scores[::-1]
    assert cells(page, 6)[175:] == [""] * 25
    page.click("th button:has-text('style_change_prob')")
    assert [float(text) for text in cells(page, 3)] == sorted(float(text) for text in cells(page, 3))

    page.select_option("#metric", "content_r2")
    assert drawn(page, "curves") != before[0]
    page.select_option("#against", label="causal")
    against = drawn(page, "factors")
    assert against != before[1]
    page.select_option("#score", label="linear predictor")
    assert drawn(page, "factors") != against


def test_a_row_gives_its_command(view, tmp_path):
    grid(tmp_path / "demo", 20)
    page = view(dashboard(tmp_path / "demo", now=NOW)[0])
    row = page.locator(VISIBLE).first
    command = row.get_attribute("title").split("\n")[1]
    assert command.startswith("python train.py -m experiment=numerical/quick data.style_change_prob=0.1")
    row.click()
    assert page.inner_text("tr.detail code") == command
    page.click("tr.detail button")
    page.wait_for_selector("tr.detail button:has-text('copied')")
    row.click()
    assert page.locator("tr.detail").count() == 0
    # The same for a point of the plot.
    assert command in page.evaluate(
        "document.getElementById('factors').data.flatMap(t => t.text || [])[0].replaceAll('<br>', ' ')"
    )
    page.evaluate("document.getElementById('factors').emit('plotly_click', {points: [{customdata: 2}]})")
    assert page.locator("tr.detail").count() == 1


def test_values_of_runs_are_text_and_nothing_else(view, tmp_path):
    folder = tmp_path / "demo"
    for i, name in enumerate((HOSTILE, "harmless")):
        job = Job(f"run{i}", [f"name={name}", "seed=0"], config(name=name), error=HOSTILE)
        write_job(folder, job)
    page = view(dashboard(folder, now=NOW)[0])
    assert page.title() == "demo · mmcl"
    assert sorted(cells(page, 3)) == sorted([HOSTILE, "harmless"])
    page.locator(VISIBLE).first.click()
    assert page.locator("#runs b, #curves b, #factors b").count() == 0
    assert "<b>" in page.text_content("#curves .legend")
    assert page.locator("#curves .legend tspan[style*='bold']").count() == 0
    assert "<b>bold</b></script>" in page.text_content("#factors .xaxislayer-above")


def test_quotes_hold_a_value_with_spaces_together(view, tmp_path):
    for i, name in enumerate(("my run", "my other run")):
        write_job(tmp_path / "demo", Job(f"run{i}", [f"name={name}", "seed=0"], config(name=name)))
    page = view(dashboard(tmp_path / "demo", now=NOW)[0])
    for words, runs in (('name="my run"', 1), ("name=my run", 0), ('"other run"', 1), ("my run", 2)):
        page.fill("#text", words)
        page.locator("#count", has_text=f"{runs} of 2 runs").wait_for()


def test_a_sweep_that_has_only_been_launched(view, tmp_path):
    expect(tmp_path, {"a": ["seed=0"], "b": ["seed=1"]})
    page = view(dashboard(tmp_path, now=NOW)[0])
    assert cells(page, 0) == ["missing", "missing"]
    assert "no curves" in page.text_content("#curves")
    assert "no scores" in page.text_content("#factors")
