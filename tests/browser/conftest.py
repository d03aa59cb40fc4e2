"""The browser as a fixture, started for each file: while it runs, nothing else in the process may use asyncio."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium; the tests that ask for it are skipped with the reason where there is none."""
    spec = importlib.util.spec_from_file_location("browser_of_the_tests", Path(__file__).with_name("browser.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.open_browser() as started:
        yield started
