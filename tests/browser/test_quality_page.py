"""The quality page in headless Chromium: no request, no console error, filters that work, nothing cut off."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from etl.cdm import TABLES, create_table
from etl.quality import check, judge, write_reports

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with failed, passed and not applicable checks: a CDM with one table missing."""
    folder = tmp_path_factory.mktemp("quality")
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA cdm")
        for table in TABLES.values():
            connection.execute(create_table(table, "cdm", required=False))
        connection.execute("DROP TABLE cdm.note")
        connection.execute("INSERT INTO cdm.person (person_id) VALUES (1), (1)")
        frame = check(connection, "run-1", results_schema=None)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    write_reports(frame, judge(frame), folder / "q.json", folder / "q.html", "Quality of a broken CDM", made_at=moment)
    return folder / "q.html"


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_asks_for_nothing_and_fits(
    page_file: Path, browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    requests: list[str] = []
    trouble: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.goto(page_file.as_uri())
    assert requests == [page_file.as_uri()]
    assert trouble == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title() == "Quality of a broken CDM"
    page.screenshot(path=tmp_path / "page.png")
    page.close()


def test_failed_checks_stand_first_with_words_and_numbers(page_file: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    assert "Gate shut" in page.text_content(".gate")
    sections = page.locator("main section").all_text_contents()
    assert any("The table of the CDM is not there." in text and "note" in text for text in sections)
    assert page.evaluate("getComputedStyle(document.querySelector('tbody .number')).textAlign") == "right"
    unnamed = page.evaluate("[...document.querySelectorAll('table')].filter((one) => !one.caption).length")
    assert unnamed == 0
    page.close()


def test_the_filters_show_what_is_asked_for(page_file: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    visible = page.locator("#every tbody tr:visible")
    total = page.locator("#every tbody tr").count()
    assert 0 < visible.count() < total  # not applicable checks are hidden at first
    page.select_option("#by-status", "failed")
    assert {row.get_attribute("data-status") for row in visible.all()} == {"failed"}
    page.select_option("#by-status", "")
    page.select_option("#by-table", "person")
    page.fill("#by-text", "isPrimaryKey")
    assert visible.count() == 1
    assert page.text_content("#shown").startswith("1 of ")
    page.close()


def test_without_script_every_check_is_there(page_file: Path, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.locator("#every tbody tr:visible").count() == page.locator("#every tbody tr").count()
    assert not page.locator("#filters").is_visible()
    context.close()
