"""The study report in headless Chromium with the network blocked: quiet, readable at every width, accessible."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
from playwright.sync_api import Browser, Page

from analytics.report import ReportMeta, write_report
from analytics.statistics.tables import SCHEMAS

pytestmark = pytest.mark.browser

TABLES = Path(__file__).parents[1] / "analytics" / "report" / "tables"
Scheme = Literal["light", "dark"]


@dataclass
class Visit:
    """An opened page with everything that it asked for and complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tables = {path.stem: pl.read_csv(path, schema=SCHEMAS.get(path.stem)) for path in TABLES.glob("*.csv")}
    meta = ReportMeta(
        synthetic=True,
        run_id="run-1",
        software="blina 0.1.0",
        mapping_sha="0123456789abcdef" * 4,
        cdm_name="BLINA-SAMPLE",
        data_lock=date(2025, 1, 31),
        created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
    return write_report(tables, meta, tmp_path_factory.mktemp("report") / "report.html")


def visit(browser: Browser, path: Path, width: int, scheme: Scheme = "light", **options: Any) -> Iterator[Visit]:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, **options
    )
    seen = Visit(context.new_page())
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    seen.page.on("console", lambda message: seen.complaints.append(message.text))
    seen.page.on("pageerror", lambda error: seen.complaints.append(error.message))
    seen.page.goto(path.as_uri())
    yield seen
    context.close()


@pytest.fixture(scope="module")
def wide(browser: Browser, report: Path) -> Iterator[Visit]:
    yield from visit(browser, report, 1440)


@pytest.fixture(scope="module")
def narrow(browser: Browser, report: Path) -> Iterator[Visit]:
    yield from visit(browser, report, 390)


@pytest.fixture(scope="module")
def dark(browser: Browser, report: Path) -> Iterator[Visit]:
    yield from visit(browser, report, 1440, "dark")


def test_no_request_leaves_and_nothing_is_complained_about(wide: Visit, report: Path) -> None:
    outside = [url for url in wide.requests if url != report.as_uri() and not url.startswith("data:")]
    assert outside == []
    assert wide.complaints == []


@pytest.mark.parametrize("width", [1440, 820, 390, 320])
def test_the_page_never_scrolls_sideways(browser: Browser, report: Path, width: int) -> None:
    for seen in visit(browser, report, width):
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


def test_wide_content_scrolls_inside_its_box_and_by_keyboard(narrow: Visit) -> None:
    boxes = narrow.page.evaluate(
        "[...document.querySelectorAll('.scroll')].map(b => [b.scrollWidth > b.clientWidth, b.tabIndex,"
        " getComputedStyle(b).overflowX])"
    )
    assert any(scrolls for scrolls, _, _ in boxes)
    assert all(index == 0 and overflow == "auto" for _, index, overflow in boxes)


def test_headings_are_in_order(wide: Visit) -> None:
    levels = wide.page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_figure_has_a_name_and_numbers_in_words(wide: Visit) -> None:
    figures = wide.page.evaluate(
        "[...document.querySelectorAll('svg')].map(s => [s.getAttribute('role'), s.getAttribute('aria-labelledby')"
        ".split(' ').map(i => document.getElementById(i).textContent)])"
    )
    assert len(figures) == 14
    for role, (title, description) in figures:
        assert role == "img"
        assert title
        assert any(letter.isdigit() for letter in description)


OVERLAPS = """() => {
  const found = [];
  for (const svg of document.querySelectorAll('svg.plot')) {
    const texts = [...svg.querySelectorAll('text')].filter(t => t.textContent.trim());
    const boxes = texts.map(t => t.getBoundingClientRect());
    const frame = svg.getBoundingClientRect();
    boxes.forEach((a, i) => {
      if (a.left < frame.left - 1 || a.right > frame.right + 1 || a.top < frame.top - 1 || a.bottom > frame.bottom + 1)
        found.push('outside: ' + texts[i].textContent);
      boxes.slice(i + 1).forEach((b, j) => {
        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (across > 1 && down > 3) found.push(texts[i].textContent + ' / ' + texts[i + 1 + j].textContent);
      });
    });
  }
  return found;
}"""


def test_no_text_of_a_figure_overlaps_another_or_leaves_the_figure(wide: Visit) -> None:
    assert wide.page.evaluate(OVERLAPS) == []


CONTRAST = """() => {
  const rgb = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const ground = e => { for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
  const low = [];
  for (const e of document.querySelectorAll('body *')) {
    if (e.closest('svg') || e.matches('.skip')) continue;
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const a = light(rgb(getComputedStyle(e).color)), b = light(ground(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low.push(e.tagName + ' ' + ratio.toFixed(2) + ' ' + e.textContent.slice(0, 30));
  }
  return low;
}"""


@pytest.mark.parametrize("scheme", ["wide", "dark"])
def test_text_has_contrast_in_light_and_dark(scheme: str, request: pytest.FixtureRequest) -> None:
    assert request.getfixturevalue(scheme).page.evaluate(CONTRAST) == []


def test_figures_follow_the_dark_theme(wide: Visit, dark: Visit) -> None:
    ink = "getComputedStyle(document.querySelector('svg.plot text')).fill"
    assert wide.page.evaluate(ink) == "rgb(27, 31, 36)"
    assert dark.page.evaluate(ink) == "rgb(231, 234, 238)"


def test_the_skip_link_and_the_contents_work_by_keyboard(browser: Browser, report: Path) -> None:
    for seen in visit(browser, report, 1440):
        seen.page.keyboard.press("Tab")
        assert seen.page.evaluate("document.activeElement.textContent") == "Skip to the summary"
        assert seen.page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
        seen.page.keyboard.press("Enter")
        assert seen.page.evaluate("location.hash") == "#summary"
        targets = seen.page.evaluate(
            "[...document.querySelectorAll('nav a')].map(a => !!document.querySelector(a.hash))"
        )
        assert len(targets) == 12
        assert all(targets)


def test_tables_have_row_and_column_heads(wide: Visit) -> None:
    heads = wide.page.evaluate(
        "[...document.querySelectorAll('table')].map(t => [...t.querySelectorAll('th')].every(h => h.scope))"
    )
    assert len(heads) > 10
    assert all(heads)


def test_axe_finds_nothing_serious(wide: Visit, dark: Visit, narrow: Visit) -> None:
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.skip("axe-core is not installed (package axe-playwright-python)")
    script = (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")
    for seen in (wide, dark, narrow):
        seen.page.evaluate(script)
        result = seen.page.evaluate("axe.run(document)")
        assert len(result["passes"]) > 15
        found = [f"{v['impact']} {v['id']}: {v['nodes'][0]['html'][:120]}" for v in result["violations"]]
        assert [line for line in found if line.startswith(("serious", "critical", "moderate"))] == []


def test_it_prints_without_cut_tables_or_navigation(wide: Visit, tmp_path: Path) -> None:
    pdf = wide.page.pdf(path=tmp_path / "report.pdf", format="A4", prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF")
    wide.page.emulate_media(media="print")
    wide.page.set_viewport_size({"width": 688, "height": 1000})  # A4 less its margins, at 96 dpi
    hidden = wide.page.evaluate("getComputedStyle(document.querySelector('nav')).display")
    cut = wide.page.evaluate(
        "[...document.querySelectorAll('.block')].filter(b => b.querySelector('.scroll').scrollWidth > 690)"
        ".map(b => b.id + ' ' + b.querySelector('.scroll').scrollWidth)"
    )
    wide.page.emulate_media(media="screen")
    wide.page.set_viewport_size({"width": 1440, "height": 900})
    assert hidden == "none"
    assert cut == []
