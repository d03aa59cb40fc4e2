"""The rows of an increment in the place of the old ones, in DuckDB: what `DuckDBStore.apply` does in its transaction.

`chg.gone` names the old rows of the CDM (table_name, row_id), `chg.numbers` the landed numbers of what is touched,
`chg.touched` its keys, `chg.patients` the Patients of it ("site|id"), `chg.persons` whose derived rows are made anew.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
from sqlalchemy import Table

import etl.cdm
from etl.errors import CdmError
from etl.store import steps
from etl.store.sources import OF_STUDIES, SCHEMAS, Place, content_hash, count, counts, is_vocabulary, typed_columns
from etl.store.store import Written

DERIVED = ("observation_period", "condition_era", "drug_era")
"""Tables of which whole persons are replaced."""

LINEAGE: dict[str, str] = {
    "resource": "resource_no IN (SELECT n FROM {chg}numbers)",
    "cdm_row": "resource_no IN (SELECT n FROM {chg}numbers)",
    "unmapped": "resource_no IN (SELECT n FROM {chg}numbers)",
    "reference": "resource_no IN (SELECT n FROM {chg}numbers)",
    "precision": "concat_ws('|', table_name, row_id) IN (SELECT concat_ws('|', table_name, row_id) FROM {chg}gone)",
    "person_source": "concat_ws('|', site, fhir_id) IN (SELECT patient FROM {chg}patients)",
    "identifier": "resource_key IN (SELECT key FROM {chg}touched)",
    "row_of": "resource_key IN (SELECT key FROM {chg}touched)",
}
"""Which rows of the lineage go; those of schema `lin` come in their place. `{chg}` stands before the sets' names."""

SETS: dict[str, str] = {
    "gone": "SELECT table_name, row_id FROM chg.gone",
    "numbers": "SELECT n FROM chg.numbers",
    "persons": "SELECT person_id FROM chg.persons",
    "touched": "SELECT key FROM chg.touched",
    "patients": "SELECT patient FROM chg.patients",
}
"""The sets that the conditions read, as queries on the work database."""


def old_rows(table: str) -> str | None:
    """Which rows of a CDM table go, as a condition on the table; None when an increment never changes it."""
    if table in DERIVED:
        return "person_id IN (SELECT person_id FROM {chg}persons)"
    if table == "cdm_source":
        return "true"
    if is_vocabulary(table) or table not in etl.cdm.ROW_KEYS or ("cdm", table) in OF_STUDIES:
        return None
    return f"{etl.cdm.ROW_KEYS[table]} IN (SELECT row_id FROM {{chg}}gone WHERE table_name = '{table}')"


def places() -> Iterator[tuple[Place, str, str]]:
    """Every table that an increment exchanges rows of: its place, where the new rows are, and which old rows go."""
    for table in etl.cdm.TABLES:
        condition = old_rows(table)
        if condition is not None:
            yield ("cdm", table), f"out.{table}", condition
    for table, condition in LINEAGE.items():
        yield ("lineage", table), f"lin.{table}", condition


def upsets_studies(written: Sequence[Written]) -> bool:
    """Whether rows changed from which a study may have derived its own."""
    return any(one.replaced and one.schema == "cdm" and one.table != "cdm_source" for one in written)


def exchange(work: duckdb.DuckDBPyConnection, target: str) -> list[Written]:
    """Exchanges the rows inside the open transaction of `work`; `target` is the attached database."""
    changes = [_Change(target, place, source, condition.format(chg="chg.")) for place, source, condition in places()]
    rows = counts(work, [relation for one in changes for relation in (one.source, one.old, one.whole)])
    written = [one.make(work, rows) for one in changes]
    steps.reached("duckdb: rows exchanged")
    if upsets_studies(written):
        for schema, table in OF_STUDIES:  # a study's rows follow from rows that are no longer there
            work.execute(f'DELETE FROM {target}.{schema}."{table}"')
            written.append(Written(schema, table, 0, replaced=True))
    return written


@dataclass(frozen=True)
class _Change:
    """What is exchanged in one table: the rows of `source` for those that a condition names."""

    target: str
    place: Place
    source: str
    condition: str

    @property
    def whole(self) -> str:
        schema, name = self.place
        return f'{self.target}.{schema}."{name}"'

    @property
    def old(self) -> str:
        return f"(FROM {self.whole} WHERE {self.condition})"

    def make(self, work: duckdb.DuckDBPyConnection, rows: dict[str, int]) -> Written:
        """`rows`: how many each relation had before."""
        schema, name = self.place
        table, come, go = SCHEMAS[schema][name], rows[self.source], rows[self.old]
        if come == go and (come == 0 or content_hash(work, table, self.source) == content_hash(work, table, self.old)):
            return Written(schema, name, rows[self.whole], replaced=False)
        if go:
            work.execute(f"DELETE FROM {self.whole} WHERE {self.condition}")
        if come:
            work.execute(f"INSERT INTO {self.whole} SELECT {typed_columns(table)} FROM {self.source}")
            _refuse_taken_keys(work, table, self.whole, self.source, come)
        return Written(schema, name, rows[self.whole] - go + come, replaced=True)


def _refuse_taken_keys(work: duckdb.DuckDBPyConnection, table: Table, whole: str, source: str, come: int) -> None:
    keys = [column.name for column in table.primary_key.columns]
    if len(keys) == 1 and count(work, f"(FROM {whole} SEMI JOIN {source} USING ({keys[0]}))") != come:
        raise CdmError(f"{table.name}: new rows have keys of rows that stay; nothing was written")
