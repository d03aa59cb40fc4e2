"""Headless Chromium for the tests: found on the machine, or playwright's own, or the reason why there is none."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def executable() -> str | None:
    """The path of a Chromium on this machine (BLINA_CHROMIUM names another one); None if there is none."""
    named = os.environ.get("BLINA_CHROMIUM")
    found = named or shutil.which("/usr/bin/chromium") or next(filter(None, map(shutil.which, NAMES)), None)
    return found if found and Path(found).exists() else None


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless Chromium; skips the test with the reason where none can be started."""
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=executable(), args=list(ARGUMENTS))
        except Error as reason:
            pytest.skip(f"no Chromium (install Debian's chromium or playwright's): {reason.message.splitlines()[0]}")
        try:
            yield browser
        finally:
            browser.close()
