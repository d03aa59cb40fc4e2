"""Stage 2: the rows of each rule, with their keys and their lineage.

A row's key is a keyed hash of site, resource type, resource id, rule, element and (for a second `Maps to` target) the
target, so that it is the same in every run and on every worker. The first target carries no target in its key: a
reference to the row can be made without knowing its concept.
"""

from dataclasses import dataclass

import duckdb

import etl.cdm
from etl.mapping.fhirpath_sql import quote
from etl.transform.concepts import resolve_concept
from etl.transform.plan import FAN_OUT_TABLES, ConceptPlan, RulePlan
from etl.transform.stage import Stage


@dataclass(frozen=True)
class WrittenRule:
    """One rule's rows: `table` holds them with `_n` (the landed number) beside the CDM columns."""

    rule_id: int
    rule: str
    cdm_table: str
    rows: str
    incomplete: int
    reversed_ends: int = 0


def elements_table(stage: Stage, plan: RulePlan) -> str:
    """The table with the elements of a `for_each` rule."""
    return f'stage."{stage.table.removeprefix("stage.")}_{plan.rule.name}_elements"'


def concept_table(stage: Stage, plan: RulePlan, concept: ConceptPlan) -> str:
    """The table with the resolved coding sets of a concept that a `for_each` rule reads from its elements."""
    return f'stage."{stage.table.removeprefix("stage.")}_{plan.rule.name}_{concept.column}"'


def attach_concepts(work: duckdb.DuckDBPyConnection, stage: Stage) -> dict[str, str]:
    """Resolves the concepts of the resource grain; gives back the resolved table of each stage column."""
    plan = stage.plan
    concepts = {one.column: one for one in plan.concepts.values()}
    for rule in plan.rules:
        concepts |= {one.column: one for one in rule.concepts.values()}
    tables = {}
    for column, one in concepts.items():
        table = f'stage."{stage.table.removeprefix("stage.")}_{column}"'
        resolve_concept(
            work, table, f'SELECT site, "{column}" AS c FROM {stage.table} WHERE outcome IS NULL', one.concept
        )
        tables[column] = table
    return tables


def write_rule(
    work: duckdb.DuckDBPyConnection, stage: Stage, plan: RulePlan, rule_id: int, concept_tables: dict[str, str],
    rows_of: dict[str, str],
) -> WrittenRule:  # fmt: skip
    """Appends a rule's rows to `out.*` and `lin.cdm_row`; gives back where they stand with their landed numbers."""
    name = stage.table.removeprefix("stage.")
    table = f'stage."{name}_rows_{plan.rule.name}"'
    if not _has_targets(work, plan, concept_tables):
        work.execute(f"CREATE TABLE {table} (_n BIGINT, _key BIGINT)")
        return WrittenRule(rule_id, plan.rule.name, plan.rule.table, table, 0)
    source, joins = _source(work, stage, plan, name, concept_tables)
    joins += _references(plan)
    joins += [
        f"LEFT JOIN (SELECT _n, min(_key) AS row_id FROM {rows_of[link]} GROUP BY _n) l_{number} ON l_{number}._n = s.n"
        for number, link in enumerate(plan.links)
    ]
    key = etl.cdm.KEYS.get(plan.rule.table)
    selected = {column: sql for column, sql in plan.columns.items() if column != key}
    person = "s.k_person" if plan.rule.table == "person" else _key_sql(stage, plan)
    if key:
        selected = {key: person, **selected}
    elif plan.rule.table in etl.cdm.ROW_KEYS:
        person = plan.columns[etl.cdm.ROW_KEYS[plan.rule.table]]
    columns = "".join(f', {sql} AS "{column}"' for column, sql in selected.items())
    conditions = " AND ".join(filter(None, ("s.outcome IS NULL", plan.when, plan.unless)))
    work.execute(
        f"CREATE TABLE {table} AS SELECT s.n AS _n, {person} AS _key{columns} FROM {source} {' '.join(joins)} "
        f"WHERE {conditions}"
    )
    incomplete = _drop_incomplete(work, table, plan.rule.table)
    reversed_ends = _mend_ends(work, table, plan.rule.table)
    work.execute(f"INSERT INTO out.{plan.rule.table} BY NAME SELECT * EXCLUDE (_n, _key) FROM {table}")
    work.execute(
        f"INSERT INTO lin.cdm_row SELECT {quote(plan.rule.table)}, _key, {rule_id}, _n FROM {table} "
        "WHERE _key IS NOT NULL"
    )
    _write_precision(work, stage, plan, table)
    if not plan.rule.for_each:
        _index_rows(work, stage, plan, table)
    return WrittenRule(rule_id, plan.rule.name, plan.rule.table, table, incomplete, reversed_ends)


def _has_targets(work: duckdb.DuckDBPyConnection, plan: RulePlan, concept_tables: dict[str, str]) -> bool:
    """Whether any code of these resources leads to a domain that this rule takes."""
    concept = plan.concepts.get(plan.rule.concept or "")
    if concept is None or not plan.rule.domains or plan.rule.unmapped:
        return True
    domains = ", ".join(quote(domain) for domain in plan.rule.domains)
    found = work.execute(
        f"SELECT 1 FROM {concept_tables[concept.column]} "
        f"WHERE len(list_filter(targets, lambda o: o.domain IN ({domains}))) > 0 LIMIT 1"
    ).fetchone()
    return found is not None


def _source(
    work: duckdb.DuckDBPyConnection, stage: Stage, plan: RulePlan, name: str, concept_tables: dict[str, str]
) -> tuple[str, list[str]]:
    """FROM clause: resource rows, their elements, the concepts, and the routed targets."""
    joins = []
    source = f"{stage.table} s"
    if plan.each:
        elements = elements_table(stage, plan)
        work.execute(
            f'CREATE TABLE {elements} AS SELECT n, site, unnest("{plan.each}", recursive := false) AS e, '
            f'generate_subscripts("{plan.each}", 1) AS place FROM {stage.table} WHERE outcome IS NULL'
        )
        source += f" JOIN {elements} el ON el.n = s.n"
        for concept in plan.each_concepts.values():
            table = concept_table(stage, plan, concept)
            resolve_concept(work, table, f'SELECT site, e."{concept.column}" AS c FROM {elements}', concept.concept)
            joins.append(_concept_join(concept, table, f'e."{concept.column}"'))
    for concept in plan.concepts.values():
        joins.append(_concept_join(concept, concept_tables[concept.column], f's."{concept.column}"'))
    if plan.rule.concept and plan.rule.domains:
        joins.append(_targets(plan))
    return source, joins


def _concept_join(concept: ConceptPlan, table: str, column: str) -> str:
    absent = "NULL" if concept.concept.kind in {"unit", "value"} else "0"
    parts = (
        f"CASE WHEN {column} IS NULL THEN {absent} ELSE r.standard END AS standard, "
        "coalesce(r.source, 0) AS source, r.source_value, r.source_name, r.domain, r.value, r.unit_default, "
        "r.unit_default_source, r.targets"
    )
    return (
        f"LEFT JOIN {table} r_{concept.name} ON {column} IS NOT NULL AND r_{concept.name}.k = hash(s.site, {column}) "
        f'CROSS JOIN LATERAL (SELECT {parts.replace("r.", f"r_{concept.name}.")}) "c_{concept.name}"'
    )


def _targets(plan: RulePlan) -> str:
    """The targets that this rule's table takes; a row without any standard concept goes to the `unmapped` rule."""
    rule = plan.rule
    whole = f'coalesce("c_{rule.concept}".targets, [])'
    mine = f"list_filter({whole}, lambda o: o.domain IN ({', '.join(quote(domain) for domain in rule.domains)}))"
    if rule.table not in FAN_OUT_TABLES:
        mine = f"{mine}[1:1]"
    if rule.unmapped:
        claimed = ", ".join(quote(domain) for domain in plan.claimed)
        none = f"len(list_filter({whole}, lambda o: o.domain IN ({claimed}))) = 0"
        mine = f"CASE WHEN {none} THEN [{{'id': 0::BIGINT, 'domain': NULL::VARCHAR}}] ELSE {mine} END"
    return (
        f"CROSS JOIN LATERAL (SELECT unnest({mine}) AS target, generate_subscripts({mine}, 1) AS place) tt "
        "CROSS JOIN LATERAL (SELECT tt.target.id AS id, tt.place AS place) t"
    )


def _key_sql(stage: Stage, plan: RulePlan) -> str:
    parts = ["el.place" if plan.each else "0"]
    if plan.rule.concept and plan.rule.domains:
        parts.append("CASE WHEN t.place = 1 THEN '' ELSE CAST(t.id AS VARCHAR) END")
    return (
        f"row_key(s.site, {quote(stage.resource)}, s.id, {quote(plan.rule.name)}, concat_ws('/', {', '.join(parts)}))"
    )


def _references(plan: RulePlan) -> list[str]:
    return [
        f"LEFT JOIN stage.ids {alias} ON {alias}.table_name = {quote(lookup.table)} AND {alias}.site = s.site "
        f'AND {alias}.type = s."rt_{lookup.reference}" AND {alias}.id = s."ri_{lookup.reference}"'
        for alias, lookup in plan.lookups.items()
    ]


def _drop_incomplete(work: duckdb.DuckDBPyConnection, table: str, cdm_table: str) -> int:
    """Rows that lack what the CDM requires are not written; gives back how many."""
    have = {row[0] for row in work.execute(f"DESCRIBE {table}").fetchall()}
    lacking = " OR ".join(f'"{name}" IS NULL' for name in etl.cdm.required_columns(cdm_table) if name in have)
    if not lacking:
        return 0
    found = work.execute(f"SELECT count(*) FROM {table} WHERE {lacking}").fetchone()
    if found and found[0]:
        work.execute(f"DELETE FROM {table} WHERE {lacking}")
    return int(found[0]) if found else 0


def _mend_ends(work: duckdb.DuckDBPyConnection, table: str, cdm_table: str) -> int:
    """Ends before their start: a required one becomes the start, another one is left out; gives back how many.

    Nobody can say which of the two dates is wrong; the start stays, and the count is reported (DECISIONS 18).
    """
    have = {row[0] for row in work.execute(f"DESCRIBE {table}").fetchall()}
    found = 0
    start, end = etl.cdm.EVENT_DATES.get(cdm_table, ("", None))
    for first, last in ((start, end), (f"{start}time", f"{end}time")):
        if first not in have or last not in have:
            continue
        better = f'"{first}"' if last in etl.cdm.required_columns(cdm_table) else "NULL"
        changed = work.execute(
            f'UPDATE {table} SET "{last}" = {better} WHERE "{last}" < "{first}" RETURNING 1'
        ).fetchall()
        found = max(found, len(changed))
    return found


def _write_precision(work: duckdb.DuckDBPyConnection, stage: Stage, plan: RulePlan, table: str) -> None:
    """Dates that the source gave only as year or month: how precise they were, outside the CDM."""
    for column, (field, source) in plan.precisions.items():
        text = source.removeprefix("s.")
        work.execute(
            f"""INSERT INTO lin.precision
                SELECT {quote(plan.rule.table)}, r._key, {quote(column)}, fhir_precision(s.{text}, s.zone),
                       {quote(field)}
                FROM {table} r JOIN {stage.table} s ON s.n = r._n
                WHERE length(s.{text}) < 10 AND r._key IS NOT NULL"""
        )


def _index_rows(work: duckdb.DuckDBPyConnection, stage: Stage, plan: RulePlan, table: str) -> None:
    """Makes the rows findable for references from other resources; a part of a visit counts to its whole visit."""
    cdm_table = plan.rule.table
    if cdm_table == "visit_occurrence":  # a part that is a visit of its own no longer counts to the whole one
        work.execute(
            f"DELETE FROM stage.ids WHERE table_name = {quote(cdm_table)} AND type = {quote(stage.resource)} "
            f"AND (site, id) IN (SELECT (s.site, s.id) FROM {table} r JOIN {stage.table} s ON s.n = r._n)"
        )
    work.execute(
        f"INSERT INTO stage.ids SELECT {quote(cdm_table)}, s.site, {quote(stage.resource)}, s.id, min(r._key) "
        f"FROM {table} r JOIN {stage.table} s ON s.n = r._n GROUP BY s.site, s.id"
    )
    own = next((one.name for one in stage.plan.references.values() if one.to == (stage.resource,)), None)
    if cdm_table == "visit_occurrence" and own is not None:
        work.execute(
            f"""INSERT INTO stage.ids
                WITH RECURSIVE chain AS (
                  SELECT s.site, s.id, s."ri_{own}" AS above, 1 AS level FROM {stage.table} s
                  WHERE s."ri_{own}" IS NOT NULL AND s.outcome IS NULL
                  UNION ALL
                  SELECT c.site, c.id, s."ri_{own}", c.level + 1 FROM chain c
                  JOIN {stage.table} s ON s.site = c.site AND s.id = c.above
                  WHERE s."ri_{own}" IS NOT NULL AND c.level < 20)
                SELECT 'visit_occurrence', c.site, {quote(stage.resource)}, c.id, any_value(i.row_id) FROM chain c
                JOIN stage.ids i ON i.table_name = 'visit_occurrence' AND i.site = c.site
                  AND i.type = {quote(stage.resource)} AND i.id = c.above
                WHERE NOT EXISTS (SELECT 1 FROM stage.ids o WHERE o.table_name = 'visit_occurrence' AND o.site = c.site
                                  AND o.type = {quote(stage.resource)} AND o.id = c.id)
                GROUP BY c.site, c.id"""
        )
