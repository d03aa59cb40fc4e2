"""One OMOP row explained: row → resource → rule of each column in words → concept chain.

The way back from a row leads to a patient. What is printed by default is what a data manager may pass on: opaque ids,
paths, rules, codes that a vocabulary or a code map knows. Values of the row, FHIR ids and other source texts are
printed only when asked for (`values`).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

import etl.cdm
from etl.errors import UsageError, did_you_mean
from etl.explain_derived import DERIVED, explain_derived
from etl.mapping.language import ColumnForm, Mappings, ResourceMapping, Rule, load_mappings
from etl.mapping.words import FormWords
from etl.store.reading import reading
from etl.vocabulary import normalise_code, shipped_folder

_CODE_LENGTH = 50
_NEVER_SHOWN = frozenset({"note_text"})
"""Columns whose value is not even shown where values are asked for: a whole document names people."""


@dataclass(frozen=True)
class _Origin:
    """A resource and the rule that made the row from it."""

    site: str
    resource_type: str
    fhir_id: str
    version: str
    updated: str
    file: str
    at: str
    resource_no: int
    rule: str
    mapping_sha: str


def explain_row(
    database: str, table: str, row_id: int | str, mappings: Path | None = None, *, values: bool = False
) -> str:
    """Where a row of the CDM comes from, in words, several lines. `row_id` is what etl.cdm.ROW_KEYS names.

    `mappings` is the folder that the database was built with (default: blina's own); `values` also prints the row's
    values, source texts and the FHIR id. Raises UsageError for a table or row that is not there, CdmError for a
    database that blina did not build, MappingError for mapping files that cannot be read.
    """
    name = table.lower().removeprefix("cdm.")
    if name not in etl.cdm.TABLES:
        raise UsageError(f"{table}: no such table in the OMOP CDM{did_you_mean(name, list(etl.cdm.TABLES))}")
    if name not in etl.cdm.ROW_KEYS or name in etl.cdm.VOCABULARY_TABLES:
        raise UsageError(f"{name}: its rows have no id of their own to explain; they come from {_giver(name)}")
    try:
        number = int(row_id)
    except ValueError:
        raise UsageError(f"{etl.cdm.ROW_KEYS[name]} is a whole number") from None
    with reading(database) as connection:
        row = _row(connection, name, number)
        head = [f"{name} {number}"]
        if name in DERIVED:
            return "\n".join([*head, "", *explain_derived(connection, name, row)])
        return "\n".join([*head, *_Explanation(connection, name, row, mappings, values).lines()])


def _giver(table: str) -> str:
    if table in etl.cdm.VOCABULARY_TABLES:
        return "the vocabulary folder (Athena) or mappings/vocabulary"
    return {
        "cdm_source": "the settings file and the build itself",
        "source_to_concept_map": "the code maps in mappings",
        "episode_event": "the study, which links each episode to the rows that it was derived from",
        "cohort": "the study",
    }.get(table, "the build itself")


def _row(connection: duckdb.DuckDBPyConnection, table: str, number: int) -> dict[str, Any]:
    found = connection.execute(f'FROM cdm."{table}" WHERE {etl.cdm.ROW_KEYS[table]} = ?', [number]).fetchone()
    if found is None:
        raise UsageError(f"{table} has no row {number}{_elsewhere(connection, number)}")
    return dict(zip((one[0] for one in connection.description or ()), found, strict=True))


def _elsewhere(connection: duckdb.DuckDBPyConnection, number: int) -> str:
    """A hint when another table has a row of this id: ids of blina's are unique over all tables."""
    tables = connection.execute(
        "SELECT DISTINCT table_name FROM lineage.cdm_row WHERE row_id = ? ORDER BY 1", [number]
    ).fetchall()
    return f" (did you mean {' or '.join(repr(one) for (one,) in tables)}?)" if tables else ""


class _Explanation:
    """The explanation of a row that a rule made from a resource."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: str,
        row: dict[str, Any],
        folder: Path | None,
        values: bool,
    ) -> None:
        self.connection = connection
        self.table = table
        self.row = row
        self.values = values
        self.mappings = _mappings_of(connection, folder or shipped_folder().parent)

    def lines(self) -> Iterator[str]:
        """All lines."""
        origins = self._origins()
        if not origins:
            yield "no lineage: the build did not note where this row comes from"
        for origin in origins:
            yield ""
            yield from self._resource(origin)
            mapping = self.mappings.by_site.get(origin.site, {}).get(origin.resource_type) or self.mappings.base.get(
                origin.resource_type
            )
            rule = mapping.rules.get(origin.rule) if mapping else None
            if mapping is None or rule is None:
                yield f"rule {origin.rule}: is not in {self.mappings.folder} (the mapping has changed since the build)"
                continue
            yield ""
            yield from self._rule(mapping, rule)
            yield ""
            yield from self._chains(origin, rule)

    def _origins(self) -> list[_Origin]:
        key = self.row[etl.cdm.ROW_KEYS[self.table]]
        rows = self.connection.execute(
            """SELECT r.site, r.resource_type, coalesce(r.fhir_id, ''), coalesce(r.version, ''),
                      coalesce(r.updated, ''), coalesce(r.file_sha256, ''), coalesce(r."at"::VARCHAR, ''),
                      r.resource_no, l.rule, coalesce(l.mapping_sha, '')
               FROM lineage.cdm_row c JOIN lineage.rule l USING (rule_id) JOIN lineage.resource r USING (resource_no)
               WHERE c.table_name = ? AND c.row_id = ? ORDER BY r.site, r.resource_no, l.rule_id""",
            [self.table, key],
        ).fetchall()
        return [_Origin(*row) for row in rows]

    def _resource(self, origin: _Origin) -> Iterator[str]:
        shown = origin.fhir_id if self.values else f"no. {origin.resource_no} (its id: --values)"
        version = f", version {origin.version}" if origin.version else ""
        yield f"from    {origin.site}: {origin.resource_type} {shown}{version}"
        updated = f", last updated {origin.updated}" if origin.updated and self.values else ""
        yield f"in      file sha256 {origin.file[:16]}…, entry or line {origin.at}{updated}"
        others = self.connection.execute(
            """SELECT c.table_name, l.rule, count(*) FROM lineage.cdm_row c JOIN lineage.rule l USING (rule_id)
               WHERE c.resource_no = ? AND NOT (c.table_name = ? AND c.row_id = ?) GROUP BY ALL ORDER BY ALL""",
            [origin.resource_no, self.table, self.row[etl.cdm.ROW_KEYS[self.table]]],
        ).fetchall()
        if others:
            yield f"also    {', '.join(f'{n} in {table} (rule {rule})' for table, rule, n in others)}"
        if origin.mapping_sha != self.mappings.sha:
            yield "note    the mapping files have changed since this build; the rules below are the present ones"

    # --- the rule ----------------------------------------------------------------------------------------------

    def _rule(self, mapping: ResourceMapping, rule: Rule) -> Iterator[str]:
        words = FormWords(mapping, rule, self._names(rule))
        yield f"rule    {rule.name}, {_place(mapping.place('rules', rule.name))}: {_plain(words.rule(rule))}"
        for one in words.conditions(rule):
            yield f"  %{one.name} means: {one.why}: {one.path}"
        precisions = self._precisions()
        empty = []
        for column, form in rule.columns.items():
            if self.row.get(column) is None:
                empty.append(column)
                continue
            said = words.column(form, column)
            parts = [said.words, f"from {said.path}" if said.path else "", self._list(said.lookup)]
            value = f" = {self._value(column)}" if self.values else ""
            precision = f" (the source gave only the {precisions[column]})" if column in precisions else ""
            yield f"  {column}{value}: {_plain('; '.join(filter(None, parts)))}{precision}"
        key = etl.cdm.KEYS.get(self.table)
        if key and key not in rule.columns:
            yield f"  {key}: a number made with the instance's key from site, resource, rule and element"
        if empty:
            yield f"  without value here: {', '.join(empty)}"

    def _value(self, column: str) -> object:
        value = self.row[column]
        return f"({len(str(value))} characters, never shown)" if column in _NEVER_SHOWN else value

    def _list(self, lookup: str) -> str:
        """`[gender](../codes/gender.csv)` of a review sheet as a file name."""
        names = [part.partition("]")[0].strip("[ ") for part in lookup.split(",") if part]
        return f"code list {', '.join(f'mappings/codes/{name}.csv' for name in names)}" if names else ""

    def _precisions(self) -> dict[str, str]:
        rows = self.connection.execute(
            'SELECT column_name, "precision" FROM lineage.precision WHERE table_name = ? AND row_id = ?',
            [self.table, self.row[etl.cdm.ROW_KEYS[self.table]]],
        ).fetchall()
        return dict(rows)

    def _names(self, rule: Rule) -> dict[int, str]:
        """Names of the concepts that the rule gives as constants."""
        constants = sorted({number for form in rule.columns.values() for number in _constants(form)})
        rows = self.connection.execute(
            "SELECT concept_id, concept_name FROM cdm.concept WHERE list_contains(?, concept_id)", [constants]
        ).fetchall()
        return dict(rows)

    # --- concepts ----------------------------------------------------------------------------------------------

    def _chains(self, origin: _Origin, rule: Rule) -> Iterator[str]:
        """source value → source concept → how → standard concept → domain → table, for each coded column."""
        yield "concepts"
        for column in etl.cdm.TABLES[self.table].columns:
            name = column.name
            number = self.row.get(name)
            if not name.endswith("_concept_id") or name.endswith("_source_concept_id") or number is None:
                continue
            stem = name.removesuffix("_concept_id").removesuffix("_as")
            source = self.row.get(f"{stem}_source_value")
            source_id = self.row.get(f"{stem}_source_concept_id") or 0
            yield f"  {name}: {' → '.join(filter(None, self._steps(origin, rule, name, source, source_id)))}"

    def _steps(self, origin: _Origin, rule: Rule, name: str, source: object, source_id: int) -> Iterator[str]:
        number = self.row[name]
        if source is not None:
            yield self._source(str(source), source_id, number, origin.site)
        if source_id and source_id != number:
            yield self._concept(source_id)
        lists = dict.fromkeys(_code_lists(rule.columns.get(name)))
        if lists:
            yield f"code list {', '.join(f'mappings/codes/{one}.csv' for one in lists)}"
        elif source is not None and number:
            yield self._how(str(source), source_id, number, origin.site)
        yield self._concept(number) if number else _without(rule, name)
        if number and name in _routing(rule):
            yield f"table {self.table}"

    def _source(self, value: str, source_id: int, target: int, site: str) -> str:
        """The source value, if a vocabulary or a code map knows it: then it is a code, and no one patient's words."""
        known = source_id != 0 or self.values or bool(self._map(value, site))
        known = known or bool(
            self.connection.execute(
                """SELECT 1 FROM cdm.concept WHERE concept_id = ? AND concept_code = ?
                   UNION SELECT 1 FROM lineage.unmapped
                   WHERE site = ? AND source_code = ? AND NOT starts_with(source_vocabulary_id, 'BLINA_')""",
                [target, value, site, value],
            ).fetchone()
        )
        return f"source {value!r}" if known else "source text (hidden: --values)"

    def _concept(self, concept_id: int) -> str:
        found = self.connection.execute(
            """SELECT vocabulary_id, concept_code, concept_name, domain_id, standard_concept FROM cdm.concept
               WHERE concept_id = ?""",
            [concept_id],
        ).fetchone()
        if found is None:
            return f"{concept_id} (not in the loaded vocabulary)"
        vocabulary, code, name, domain, standard = found
        kind = "standard" if standard == "S" else "source"
        return f"{kind} concept {concept_id} {vocabulary} {code} {name or ''} [{domain}]"

    def _map(self, value: str, site: str) -> list[tuple[str, int]]:
        """Rows of the code maps for a source value: (source vocabulary, target), the site's own first."""
        code = normalise_code(value)[:_CODE_LENGTH]
        return self.connection.execute(
            """SELECT source_vocabulary_id, target_concept_id FROM cdm.source_to_concept_map
               WHERE source_code = ? AND (source_vocabulary_id = ? OR NOT starts_with(source_vocabulary_id, 'BLINA_'))
               ORDER BY source_vocabulary_id <> ?, 1, 2""",
            [code, f"BLINA_{site}", f"BLINA_{site}"],
        ).fetchall()

    def _how(self, value: str, source_id: int, target: int, site: str) -> str:
        """Which map leads from the source to a concept; empty when nothing was noted."""
        for vocabulary, mapped in self._map(value, site):
            if mapped == target:
                return f"code map of {vocabulary}"
        if source_id == target:
            return "is standard itself"
        kinds = self.connection.execute(
            """SELECT relationship_id FROM cdm.concept_relationship WHERE concept_id_1 = ? AND concept_id_2 = ?
               AND invalid_reason IS NULL AND relationship_id IN ('Maps to', 'Maps to value') ORDER BY 1""",
            [source_id, target],
        ).fetchall()
        if not kinds and not source_id:
            # A unit's spelling, or a code whose own concept the table has no column for.
            return "its code, or its spelling in mappings/codes/units.csv" if self._is_unit(target) else "its code"
        return " and ".join(kind for (kind,) in kinds)

    def _is_unit(self, concept_id: int) -> bool:
        query = "SELECT 1 FROM cdm.concept WHERE concept_id = ? AND domain_id = 'Unit'"
        return self.connection.execute(query, [concept_id]).fetchone() is not None


def _mappings_of(connection: duckdb.DuckDBPyConnection, folder: Path) -> Mappings:
    """The mapping files under the policies of the last run: rules that are off by default may have made the row."""
    mappings = load_mappings(folder)
    found = connection.execute("SELECT arg_max(policies, run_id) FROM ledger.run").fetchone()
    recorded = json.loads(found[0]) if found and found[0] else {}
    chosen = {name: str(recorded[name]) for name in mappings.policies if name in recorded}
    return mappings if chosen.items() <= mappings.policies.items() else load_mappings(folder, chosen)


def _constants(form: ColumnForm) -> Iterator[int]:
    if isinstance(form, bool):
        return
    if isinstance(form, int):
        yield form
    parts: list[Any] = list(form.values()) if isinstance(form, dict) else []
    while parts:
        part = parts.pop()
        if isinstance(part, dict | list):
            parts += part.values() if isinstance(part, dict) else part
        elif isinstance(part, int) and not isinstance(part, bool):
            yield part


def _routing(rule: Rule) -> Iterator[str]:
    """The columns that hold the concept by which the rule routes."""
    forms = (f"${rule.concept}.standard", f"${rule.concept}")
    return (name for name, form in rule.columns.items() if rule.concept and form in forms)


def _code_lists(form: ColumnForm) -> Iterator[str]:
    """The names of the code lists in which a column's form looks, in the order in which they are asked."""
    if isinstance(form, dict):
        if "lookup" in form:
            yield str(form["lookup"])
        for inner in (*(form.get("first") or ()), *(form.get(key) for key in ("value", "then", "default", "else"))):
            yield from _code_lists(inner)


def _without(rule: Rule, column: str) -> str:
    routed = column in _routing(rule)
    return "0: no standard concept, on the work list" if routed else "0: no matching concept"


def _place(place: str) -> str:
    return Path(place).name if "/" in place else place


def _plain(words: str) -> str:
    return words.replace("`", "")
