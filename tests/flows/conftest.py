"""The command line in a process of its own, as a user meets it, and one built demo for all tests."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from etl.store import home_of

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "sample_bundles"
Blina = Callable[..., "Ended"]


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout; anything else there is an error."""
        content: dict[str, Any] = json.loads(self.out)
        return content


def blina(*arguments: object, **environment: str) -> Ended:
    """Runs `blina …` and waits for it."""
    kept = {name: value for name, value in os.environ.items() if name != "BLINA_KEY"}
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
    ended = subprocess.run(
        command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, timeout=120, check=False
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture(scope="session")
def site2_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one of the sample hospitals."""
    path = tmp_path_factory.mktemp("site2") / "omop.duckdb"
    ended = blina("build", SAMPLE / "site2", "--settings", SAMPLE / "blina.yaml", "--db", f"duckdb:///{path}")
    assert ended.code == 0, ended.err
    return path


def copy_database(database: Path, to: Path) -> None:
    """A copy of a built DuckDB file with what was received for it, as a hospital would move it."""
    to.write_bytes(database.read_bytes())
    shutil.copytree(home_of(f"duckdb:///{database}").landed, home_of(f"duckdb:///{to}").landed)
