"""The notebook runs as a script on a CDM and leaves the figure."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "analytics" / "studies" / "blinatumomab" / "notebook.py"
pytestmark = pytest.mark.skipif(importlib.util.find_spec("marimo") is None, reason="marimo is not installed")


def _run(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BLINA_DATABASE": ""}
    return subprocess.run(
        [sys.executable, NOTEBOOK, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=120,
    )


def test_it_reproduces_the_figure_of_event_free_survival(truth_url, truth_cdm, tmp_path):
    done = _run("--db", truth_url, "--to", str(tmp_path / "efs.svg"))
    assert done.returncode == 0, done.stderr
    figure = (tmp_path / "efs.svg").read_text(encoding="utf-8")
    assert "<svg" in figure


def test_marimo_finds_nothing_to_mend():
    done = subprocess.run(
        [sys.executable, "-m", "marimo", "check", "--strict", str(NOTEBOOK)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_without_a_database_it_stops_quietly():
    done = _run()
    assert (done.returncode, done.stdout) == (0, "")
