"""Keys of resources tell apart what hospitals number: short and long ids, the same id in several types and sites."""

import duckdb
import pytest

from etl.transform.macros import create_macros


@pytest.mark.parametrize(
    "ids", ["i::VARCHAR", "'p' || i", "lpad(i::VARCHAR, 12, '0')", "'2024-' || lpad(i::VARCHAR, 14, '0')"]
)
def test_running_numbers_of_several_types_and_sites_have_keys_of_their_own(ids: str) -> None:
    with duckdb.connect() as work:
        create_macros(work, "key")
        found = work.execute(
            f"""SELECT count(*), count(DISTINCT resource_key('SITE' || site, type, {ids}))
                FROM range(4) s(site), unnest(['Patient', 'Observation', 'Encounter', 'Specimen']) t(type),
                     range(50000) r(i)"""
        ).fetchone()
    assert found == (800_000, 800_000)


def test_what_has_no_id_has_no_key() -> None:
    with duckdb.connect() as work:
        create_macros(work, "key")
        found = work.execute("SELECT resource_key('S', 'Patient', NULL), text_key('S', NULL)").fetchone()
    assert found == (None, None)
