"""A short campaign, so that the long one (tests/crash/campaign.py) can be run at any time."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from etl.store import steps

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def test_a_short_campaign_ends_with_every_database_whole_and_prints_its_count() -> None:
    command = [sys.executable, "-m", "tests.crash.campaign", "--only", "duckdb", "--times", "1", "--random", "5"]
    ended = subprocess.run([*command, "--pipelines", "1"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = re.search(r"processes killed: (\d+), at (\d+) named places", ended.stdout)
    assert found is not None
    assert int(found[1]) >= int(found[2]) == len([name for name in steps.NAMES if not name.startswith("postgres:")])


def test_a_campaign_finds_a_torn_database() -> None:
    """The ledger is written outside the transaction: a kill between the two must be found out."""
    code = (
        "from tests.crash import campaign; import etl.store.duckdb_store as store\n"
        "from contextlib import nullcontext\n"
        "store._transaction = lambda connection: nullcontext()\n"
        "with campaign.grounds(['duckdb']) as (ground,):\n"
        "    try:\n"
        "        campaign.try_build(ground, 'duckdb: tables replaced', 0.0)\n"
        "    except campaign.DifferentError as error:\n"
        "        print('found' if 'torn' in str(error) else error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.stdout.strip().endswith("found"), ended.stderr
