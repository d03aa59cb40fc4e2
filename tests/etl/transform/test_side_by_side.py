"""Statements side by side: one answer per item in their order, faults told, every connection in UTC."""

from collections.abc import Iterator

import duckdb
import pytest

from etl.transform.side_by_side import FEW, SideBySide


@pytest.fixture(params=[1, 3])
def work(request: pytest.FixtureRequest) -> Iterator[duckdb.DuckDBPyConnection]:
    """A work database with so many threads."""
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"SET threads = {request.param}; SET TimeZone = 'Asia/Tokyo'")
        yield connection


def test_answers_come_in_the_order_of_the_items(work: duckdb.DuckDBPyConnection) -> None:
    def make(connection: duckdb.DuckDBPyConnection, number: int) -> int:
        connection.execute(f"CREATE TABLE t{number} AS SELECT {number} AS n")
        return number * 10

    assert SideBySide(work).each([3, 1, 2], make) == [30, 10, 20]
    assert work.execute("SELECT n FROM t1 UNION ALL FROM t2 UNION ALL FROM t3 ORDER BY 1").fetchall() == [
        (1,),
        (2,),
        (3,),
    ]


def test_every_connection_has_the_time_zone_of_the_work_database(work: duckdb.DuckDBPyConnection) -> None:
    def zone(connection: duckdb.DuckDBPyConnection, _: int) -> object:
        return connection.execute("SELECT current_setting('TimeZone')").fetchone()

    assert SideBySide(work).each([1, 2, 3], zone) == [("Asia/Tokyo",)] * 3


def test_a_fault_is_raised(work: duckdb.DuckDBPyConnection) -> None:
    def fail(connection: duckdb.DuckDBPyConnection, number: int) -> None:
        connection.execute("SELECT 1" if number == 1 else "SELECT error('no')")

    with pytest.raises(duckdb.InvalidInputException):
        SideBySide(work).each([1, 2, 3], fail)


def test_after_a_fault_nothing_more_is_begun() -> None:
    begun = []

    def fail(connection: duckdb.DuckDBPyConnection, number: int) -> None:
        begun.append(number)
        connection.execute("SELECT error('no')")

    with duckdb.connect(":memory:") as connection:
        connection.execute("SET threads = 2")
        with pytest.raises(duckdb.InvalidInputException):
            SideBySide(connection).each(range(1000), fail)
    assert len(begun) < 1000


@pytest.mark.parametrize("size", [0, FEW + 1])
def test_steps_give_their_answers_in_order_and_the_threads_are_as_before(
    work: duckdb.DuckDBPyConnection, size: int
) -> None:
    def threads(connection: duckdb.DuckDBPyConnection) -> object:
        found = connection.execute("SELECT current_setting('threads')").fetchone()
        return found and found[0]

    before = threads(work)
    hands = SideBySide(work, size)
    assert hands.together(threads, lambda _: "second") == [1 if size == 0 else before, "second"]
    assert threads(work) == before
