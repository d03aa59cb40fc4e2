"""The work database: what it holds, by the number of workers and the size of what was landed."""

from pathlib import Path

import pytest

from etl.workplace import make_room, work_database


@pytest.mark.parametrize(
    ("workers", "size", "megabytes"),
    [
        (1, 0, 320),
        (2, 0, 380),
        (1, 2_000_000_000, 320),  # enough for it, so it stays flat until there
        (1, 4_000_000_000, 640),
        (2, 4_000_000_000, 760),
        (1, 100_000_000_000, 960),  # never more
    ],
)
def test_memory_grows_with_workers_and_with_millions_of_resources(
    workers: int, size: int, megabytes: int, tmp_path: Path
) -> None:
    with work_database(tmp_path, workers) as work:
        make_room(work, workers, size)
        found = work.execute("SELECT current_setting('threads'), current_setting('memory_limit')").fetchone()
        tenths = megabytes * 10_000_000 // 2**20  # DuckDB tells whole tenths of MiB
        assert found == (workers, f"{tenths / 10} MiB")
