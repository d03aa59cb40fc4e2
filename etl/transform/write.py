"""Stage 2: the rows of each rule, with their keys and their lineage.

A row's key is a keyed hash of site, resource type, resource id, rule, element and (for a second `Maps to` target) the
target, so that it is the same in every run and on every worker. The first target carries no target in its key: a
reference to the row can be made without knowing its concept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

import etl.cdm
from etl.sql import quote
from etl.transform.concepts import CodedColumn, Route, key_of, route_of
from etl.transform.plan import LAST_VISIT, ConceptPlan, RulePlan, concept_alias
from etl.transform.stage import Stage


@dataclass(frozen=True)
class WrittenRule:
    """One rule's rows: the table `rows` holds them with `_n` (the landed number) and `_lacking` beside `columns`.

    `_lacking` rows have no value where the CDM requires one: they are counted and never leave this table. `key` is the
    column that lineage knows the row by.
    """

    rule_id: int
    stage: Stage
    plan: RulePlan
    rows: str
    key: str
    columns: tuple[str, ...]

    @property
    def cdm_table(self) -> str:
        """The CDM table that the rows are for."""
        return self.plan.rule.table


def elements_table(stage: Stage, each: str) -> str:
    """The table with the elements (`e`) of the stage column that rules with the same `for_each` share."""
    return f'stage."{stage.name}_{each}"'


def each_concepts(stage: Stage, each: str) -> dict[str, ConceptPlan]:
    """The concepts that rules read from these elements, by their place in the element."""
    return {one.column: one for plan in stage.plan.rules if plan.each == each for one in plan.each_concepts.values()}


def unfold_elements(work: duckdb.DuckDBPyConnection, stage: Stage, each: str) -> list[CodedColumn]:
    """Makes the table of a stage column's elements, with the keys of their coding sets; gives back those sets."""
    table = elements_table(stage, each)
    concepts = each_concepts(stage, each)
    keys = "".join(
        f', {key_of(one.concept, f"e.{_quoted([one.column])[0]}")} AS "{one.key}"' for one in concepts.values()
    )
    name, inside = stage.plan.unfolded[each]
    work.execute(
        f"CREATE TABLE {table} AS SELECT *{keys} FROM (SELECT n, site, {inside} AS e, place FROM ("
        f'SELECT n, site, zone, unnest("{each}", recursive := false) AS {name}, '
        f'generate_subscripts("{each}", 1) AS place FROM {stage.table} WHERE outcome IS NULL))'
    )
    return [
        CodedColumn(f'SELECT "{one.key}" AS k, site, e."{one.column}" AS c FROM {table}', one.concept)
        for one in concepts.values()
    ]


def write_rule(
    work: duckdb.DuckDBPyConnection, stage: Stage, plan: RulePlan, rule_id: int, routes: dict[Route, int],
    rows_of: dict[str, WrittenRule], *, indexed: bool, unlisted: bool,
) -> WrittenRule:  # fmt: skip
    """Makes a rule's rows; `rows_of` holds the rules of the type that were written before, for `row_of`.

    `indexed`: whether `index_rows` will be asked for them; `unlisted`: whether any resource has a code for which a
    short list sends to the site's code map.
    """
    rule = plan.rule
    table = f'stage."{stage.name}_rows_{rule.name}"'
    key = etl.cdm.ROW_KEYS.get(rule.table, "_key")
    selected = dict(plan.columns)
    if key != "person_id":
        selected = {key: _key_sql(stage, plan)} | {name: sql for name, sql in selected.items() if name != key}
    elif rule.table == "person":
        selected |= {key: "s.k_person"}
    joins = _joins(stage, plan, routes, rows_of, unlisted=unlisted)
    columns = "".join(f', {sql} AS "{column}"' for column, sql in selected.items())
    landed = "s.n AS _n" + (f", resource_key(s.site, {quote(stage.resource)}, s.id) AS _resource" if indexed else "")
    source = " ".join([f"{stage.narrow(landed, columns, plan.when or '', *joins)} s", *joins])
    required = [name for name in etl.cdm.required_columns(rule.table) if name in selected]
    lacking = " OR ".join(f'"{name}" IS NULL' for name in required) or "false"
    made = work.execute(
        f"CREATE TABLE {table} AS SELECT *, {lacking} AS _lacking FROM ("
        f"SELECT {landed}{columns} FROM {source}{f' WHERE {plan.condition}' if plan.condition else ''})"
    ).fetchone()
    if made == (0,):
        return no_rows(stage, plan, rule_id)
    for column in plan.above:
        work.execute(
            f'UPDATE {table} SET "{column}" = NULL WHERE "{column}" IS NOT NULL '
            f'AND "{column}" NOT IN (SELECT "{key}" FROM {table} WHERE NOT _lacking)'
        )
    return WrittenRule(rule_id, stage, plan, table, key, tuple(name for name in selected if name != "_key"))


def no_rows(stage: Stage, plan: RulePlan, rule_id: int) -> WrittenRule:
    """The answer of a rule that gave no row, or that none of the resources can fire."""
    return WrittenRule(rule_id, stage, plan, "", etl.cdm.ROW_KEYS.get(plan.rule.table, "_key"), ())


def _joins(
    stage: Stage, plan: RulePlan, routes: dict[Route, int], rows_of: dict[str, WrittenRule], *, unlisted: bool
) -> list[str]:  # fmt: skip
    """What a rule's rows are joined from, beside the resource: elements, targets, concepts, references, other rows."""
    joins = []
    keys = {one.name: f's."{one.key}"' for one in plan.concepts.values()}
    if plan.each:
        joins.append(f"JOIN {elements_table(stage, plan.each)} el ON el.n = s.n")
        keys |= {one.name: f'el."{one.key}"' for one in plan.each_concepts.values()}
    route = route_of(plan)
    if route:
        key = keys[str(plan.rule.concept)]
        at = f"coalesce({key}, 0)" if route.unmapped else key
        joins.append(f"JOIN stage.routes t ON t.route = {routes[route]} AND t.k = {at}")
    said = " ".join([*plan.columns.values(), plan.when or ""])
    for name, key in keys.items():
        if f"{concept_alias(name)}." in said:
            joins.append(f"LEFT JOIN stage.concepts {concept_alias(name)} ON {concept_alias(name)}.k = {key}")
    joins += [
        f"LEFT JOIN stage.ids {alias} ON {alias}.table_name = {quote(lookup.table)} "
        f'AND {alias}.key = s."rk_{lookup.reference}"'
        for alias, lookup in plan.lookups.items()
    ]
    mapped = _SITE_CODES if unlisted else "(SELECT NULL AS site, NULL AS code, NULL::BIGINT AS concept_id WHERE false)"
    joins += [
        f"LEFT JOIN {mapped} u_{number} ON u_{number}.site = s.site AND u_{number}.code = {one.given}"
        for number, one in enumerate(plan.unlisted)
    ]
    if LAST_VISIT in said:
        joins.append("LEFT JOIN stage.last_visits lv ON lv.person_id = s.k_person")
    return joins + [_link(number, rows_of[link]) for number, link in enumerate(plan.links)]


_SITE_CODES = """(SELECT site, source_code AS code, min(target_concept_id) AS concept_id FROM vocab.code_map
    WHERE source_vocabulary_id = 'BLINA_' || site AND target_concept_id != 0 GROUP BY ALL)"""


def _link(number: int, other: WrittenRule) -> str:
    rows = "SELECT NULL::BIGINT AS _n, NULL::BIGINT AS row_id WHERE false"
    if other.rows:
        rows = f'SELECT _n, min("{other.key}") AS row_id FROM {other.rows} WHERE NOT _lacking GROUP BY _n'
    return f"LEFT JOIN ({rows}) l_{number} ON l_{number}._n = s.n"


def _key_sql(stage: Stage, plan: RulePlan) -> str:
    parts = ["el.place" if plan.each else "0"]
    if plan.rule.concept and plan.rule.domains:
        parts.append("CASE WHEN t.place = 1 THEN '' ELSE CAST(t.id AS VARCHAR) END")
    return (
        f"row_key(s.site, {quote(stage.resource)}, s.id, {quote(plan.rule.name)}, concat_ws('/', {', '.join(parts)}))"
    )


_THERE = "s.newest AND s.fate IS DISTINCT FROM 'skipped|deleted at the source'"
"""Whether a resource says what it is part of. One that has no row (cancelled, say) does: its own parts need the way."""


def index_rows(work: duckdb.DuckDBPyConnection, done: WrittenRule, *, parts: bool) -> None:
    """Makes the rows findable for references from other resources; a part of a visit counts to its whole visit.

    `parts`: whether any resource of the type says that it is a part of another one.
    """
    stage, kind = done.stage, quote(done.stage.resource)
    if done.cdm_table == "visit_occurrence" and parts:  # a part that is a visit of its own counts to no whole one
        work.execute(
            "DELETE FROM stage.ids WHERE table_name = 'visit_occurrence' "
            f"AND key IN (SELECT _resource FROM {done.rows} WHERE NOT _lacking)"
        )
    work.execute(
        f'INSERT INTO stage.ids SELECT {quote(done.cdm_table)}, _resource, min("{done.key}") '
        f"FROM {done.rows} WHERE NOT _lacking GROUP BY _resource"
    )
    own = own_reference(stage)
    if done.cdm_table == "visit_occurrence" and own is not None and parts:
        work.execute(
            f"""INSERT INTO stage.ids
                WITH RECURSIVE parts AS (
                  SELECT resource_key(s.site, {kind}, s.id) AS key, s."rk_{own}" AS above FROM {stage.table} s
                  WHERE s."rk_{own}" IS NOT NULL AND {_THERE}
                ), chain AS (
                  SELECT key, above, 1 AS level FROM parts
                  UNION ALL
                  SELECT c.key, p.above, c.level + 1 FROM chain c JOIN parts p ON p.key = c.above WHERE c.level < 20)
                SELECT 'visit_occurrence', c.key, any_value(i.row_id) FROM chain c
                JOIN stage.ids i ON i.table_name = 'visit_occurrence' AND i.key = c.above
                WHERE NOT EXISTS (SELECT 1 FROM stage.ids o WHERE o.table_name = 'visit_occurrence' AND o.key = c.key)
                GROUP BY c.key"""
        )


def own_reference(stage: Stage) -> str | None:
    """The reference of a type to another resource of the type (Encounter.partOf)."""
    return next((one.name for one in stage.plan.references.values() if one.to == (stage.resource,)), None)


# --- from the rules' rows to the tables of the CDM ---------------------------------------------------------------


def fill_tables(work: duckdb.DuckDBPyConnection, written: Sequence[WrittenRule]) -> tuple[int, int]:
    """Fills `out.*` and `lin.cdm_row` with all rules' rows; gives back how many lacked a value, and reversed ends."""
    filled = [one for one in written if one.rows]
    if not filled:
        return 0, 0
    lineage = " UNION ALL ".join(
        f'SELECT {quote(one.cdm_table)}, "{one.key}", {one.rule_id}, _n FROM {one.rows} '
        f'WHERE NOT _lacking AND "{one.key}" IS NOT NULL'
        for one in filled
    )
    work.execute(f"INSERT INTO lin.cdm_row {lineage}")
    for table in dict.fromkeys(one.cdm_table for one in filled):
        rules = [one for one in filled if one.cdm_table == table]
        columns = dict.fromkeys(column for one in rules for column in one.columns)
        mended = {end: sql for start, end, sql in _ends(table) if start in columns and end in columns}
        rows = " UNION ALL BY NAME ".join(
            f"SELECT {', '.join(_quoted(one.columns))} FROM {one.rows} WHERE NOT _lacking" for one in rules
        )
        selected = ", ".join(f'{mended.get(column, _quoted([column])[0])} AS "{column}"' for column in columns)
        work.execute(f"INSERT INTO out.{table} BY NAME SELECT {selected} FROM ({rows})")
    return _counted(work, filled)


def note_last_visits(work: duckdb.DuckDBPyConnection, written: Sequence[WrittenRule]) -> None:
    """Makes `stage.last_visits` (person_id, day) from the finished rows of the rules that write visits."""
    visits = [one.rows for one in written if one.cdm_table == "visit_occurrence" and one.rows]
    rows = " UNION ALL ".join(f"SELECT person_id, visit_start_date FROM {table} WHERE NOT _lacking" for table in visits)
    nothing = "SELECT NULL::BIGINT AS person_id, NULL::DATE AS visit_start_date WHERE false"
    work.execute(
        f"CREATE TABLE IF NOT EXISTS stage.last_visits AS SELECT person_id, max(visit_start_date) AS day "
        f"FROM ({rows or nothing}) GROUP BY person_id"
    )


def _quoted(names: Sequence[str]) -> list[str]:
    return [f'"{name}"' for name in names]


def _ends(table: str) -> list[tuple[str, str, str]]:
    """(start, end, SQL of the end): before its start a required end becomes the start, another one is left out.

    Nobody can say which of the two dates is wrong; the start stays, and the count is reported (DECISIONS 18).
    """
    start, end = etl.cdm.EVENT_DATES.get(table, ("", None))
    if end is None:
        return []
    required = etl.cdm.required_columns(table)
    pairs = ((start, end), (f"{start}time", f"{end}time"))
    better = {last: f'"{first}"' if last in required else "NULL" for first, last in pairs}
    return [
        (first, last, f'CASE WHEN "{last}" < "{first}" THEN {better[last]} ELSE "{last}" END') for first, last in pairs
    ]


def _counted(work: duckdb.DuckDBPyConnection, written: Sequence[WrittenRule]) -> tuple[int, int]:
    """Rows that lack what the CDM requires, and rows whose end stands before their start."""
    counts = []
    for one in written:
        pairs = [(start, end) for start, end, _ in _ends(one.cdm_table) if {start, end} <= set(one.columns)]
        found = [f'count(*) FILTER (NOT _lacking AND "{end}" < "{start}")' for start, end in pairs]
        ends = f"greatest({', '.join(found)})" if found else "0"
        # another rule writes what a rule named by `unless_row_of` could not
        stood_in = any(other.rule.unless_row_of == one.plan.rule.name for other in one.stage.plan.rules)
        lacking = "0" if stood_in else "count(*) FILTER (_lacking)"
        counts.append(f"SELECT {lacking} AS lacking, {ends} AS ends FROM {one.rows}")
    row = work.execute(f"SELECT sum(lacking), sum(ends) FROM ({' UNION ALL '.join(counts)})").fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def write_precision(
    work: duckdb.DuckDBPyConnection, written: Sequence[WrittenRule], partial: set[tuple[str, str]]
) -> None:
    """How precise dates were that the source gave as year or month only, and times without offset; outside the CDM.

    `partial`: the (stage table, field) pairs in which there is any such date.
    """
    selects = []
    for one in written:
        for column, (field, source) in one.plan.precisions.items():
            if one.rows and (one.stage.table, field) in partial:
                selects.append(
                    f'SELECT {quote(one.cdm_table)}, r."{one.key}", {quote(column)}, fhir_precision({source}, s.zone), '
                    f"{quote(field)} FROM {one.rows} r JOIN {one.stage.read} s ON s.n = r._n "
                    f"WHERE NOT r._lacking AND (length({source}) < 10 OR fhir_without_zone({source})) "
                    f'AND r."{one.key}" IS NOT NULL'
                )
    if selects:
        work.execute(f"INSERT INTO lin.precision {' UNION ALL '.join(selects)}")
