"""Landed resources to OMOP rows: reads every type, finds persons and references, resolves codes, writes by rule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial

import duckdb
import polars as pl

import etl.cdm
from etl.errors import MappingError
from etl.landing import Landed
from etl.mapping.fhirpath_sql import quote
from etl.mapping.language import Mappings
from etl.settings import Settings
from etl.store import insert_frame
from etl.transform.concepts import load_lookups, load_systems_and_units
from etl.transform.macros import create_macros, say_data_until
from etl.transform.persons import map_persons
from etl.transform.plan import Plan, followed_column
from etl.transform.planner import Planner
from etl.transform.references import index_targets, processing_order, resolve_references
from etl.transform.rule_planner import RulePlanner
from etl.transform.stage import Stage, read_stage, supersede_by_identifier
from etl.transform.told import note_unlisted, tell_of_codes
from etl.transform.write import WrittenRule, attach_concepts, concept_table, elements_table, write_rule


@dataclass(frozen=True)
class Transformed:
    """What became of the landed resources: outcomes by site, type and reason; rows that lacked a required value."""

    outcomes: pl.DataFrame
    incomplete_rows: int
    reversed_ends: int
    noted: dict[str, int]
    data_until: date
    unresolved_references: pl.DataFrame


def compile_mappings(
    mappings: Mappings, sites: Sequence[str], lookups: dict[str, dict[str, int]] | None = None
) -> list[Stage]:
    """The plan of every resource type and site group. Raises MappingError with every fault of every file.

    `lookups` are the code lists by name, read from the mappings folder when not given.
    """
    lookups = load_lookups(mappings.folder) if lookups is None else lookups
    planners: list[tuple[str, tuple[str, ...], Planner]] = []
    for resource in mappings.base:
        for names, mapping in mappings.variants(resource, tuple(sites)).items():
            planner = Planner(mapping, lookups)
            planner.build()
            planners.append((resource, names, planner))
    for _, _, planner in planners:
        _link(planner, planners)
    for _, _, planner in planners:
        for rule in planner.mapping.rules.values():
            made = planner.guarded(("rules", rule.name), RulePlanner(planner, rule).build)
            if made:
                planner.plan.rules.append(made)
    problems = [problem for _, _, planner in planners for problem in planner.problems]
    if problems:
        raise MappingError("the mapping files cannot be used", problems=sorted(dict.fromkeys(problems)))
    counts: dict[str, int] = {}
    stages = []
    for resource, names, planner in planners:
        number = counts[resource] = counts.get(resource, -1) + 1
        stages.append(Stage(resource, f"stage.{resource}_{number}", names, planner.plan))
    return stages


def _link(planner: Planner, planners: Sequence[tuple[str, tuple[str, ...], Planner]]) -> None:
    """Has other types read what this one follows references to, or takes from them."""
    for follow in planner.plan.follows.values():
        served = [other for resource, _, other in planners if resource == follow.to]
        if not served:
            planner.problem(("fields", follow.name), f"{follow.to} has no mapping file, so it cannot be followed")
        for other in served:
            planner.guarded(("fields", follow.name), partial(other.serve_follow, follow.path))
    for referral in planner.plan.referrals.values():
        served = [other for resource, _, other in planners if resource == referral.referrer]
        if not served:
            planner.problem(("fields", referral.name), f"{referral.referrer} has no mapping file")
        for other in served:
            planner.guarded(("fields", referral.name), partial(other.serve_referral, referral))


def transform(
    work: duckdb.DuckDBPyConnection,
    stages: Sequence[Stage],
    landed: Landed,
    mappings: Mappings,
    settings: Settings,
    progress: Callable[[str], None] = lambda _: None,
) -> Transformed:
    """Fills `out.*` and `lin.*` of the work database, which must have the work schema and schema `vocab`."""
    work.execute("CREATE SCHEMA IF NOT EXISTS stage")
    create_macros(work, settings.key)
    load_systems_and_units(work, mappings.folder)
    work.execute("CREATE TABLE stage.deleted (site VARCHAR, resource_type VARCHAR, id VARCHAR, before_n BIGINT)")
    insert_frame(work, "stage.deleted", landed.deleted)
    work.execute("CREATE TABLE stage.told (note VARCHAR, n BIGINT)")
    present = [stage for stage in stages if landed.shards.get(stage.resource)]
    for stage in present:
        progress(f"read {stage.resource}")
        read_stage(work, stage, landed.shards[stage.resource], settings)
    until = settings.data_lock or datetime.now(UTC).date()
    say_data_until(work, until)
    index_targets(work, present)
    map_persons(work, [stage for stage in present if stage.resource == "Patient"], settings.link_persons_by)
    by_type: dict[str, list[Plan]] = {}
    for stage in present:
        by_type.setdefault(stage.resource, []).append(stage.plan)
    written: list[WrittenRule] = []
    rule_ids = _number_rules(work, present, mappings.sha)
    for resource in _references_last(processing_order(by_type), present):
        for stage in (one for one in present if one.resource == resource):
            progress(f"map {resource}")
            resolve_references(work, stage, present)
            _follow(work, stage, present)
    for resource in processing_order(by_type):
        for stage in (one for one in present if one.resource == resource):
            progress(f"write {resource}")
            written += _write(work, stage, rule_ids)
    _keep_imputed_dates_in_life(work)
    return Transformed(
        outcomes=_outcomes(work, present),
        incomplete_rows=sum(one.incomplete for one in written),
        reversed_ends=sum(one.reversed_ends for one in written),
        noted=_noted(work, present),
        data_until=until,
        unresolved_references=_unresolved(work, present),
    )


def _noted(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage]) -> dict[str, int]:
    """What mapping files ask to be told of kept resources (`report:`), counted: "Patient: deceased without a date"."""
    counts: dict[str, int] = {}
    for stage in stages:
        if "noted" not in stage.plan.expressions:
            continue
        rows = work.execute(
            f"SELECT note, count(*) FROM (SELECT unnest(noted) AS note FROM {stage.table} WHERE outcome IS NULL) "
            "GROUP BY 1"
        ).fetchall()
        for note, n in rows:
            name = f"{stage.resource}: {note}"
            counts[name] = counts.get(name, 0) + int(n)
    for name, n in work.execute("SELECT note, sum(n)::BIGINT FROM stage.told GROUP BY 1").fetchall():
        counts[str(name)] = int(n)
    return dict(sorted(counts.items()))


def _keep_imputed_dates_in_life(work: duckdb.DuckDBPyConnection) -> None:
    """A date known to the year or month only must not fall before the birth by its imputation (DECISIONS 40)."""
    places = work.execute("SELECT DISTINCT table_name, column_name FROM lin.precision").fetchall()
    births = "make_date(year_of_birth, coalesce(month_of_birth, 1), coalesce(day_of_birth, 1))"
    for table, column in places:
        if not column.endswith("_date") or table in {"person", "death"}:
            continue
        work.execute(
            f"""UPDATE out.{table} SET "{column}" = b.birth FROM (
                  SELECT p.row_id, p.precision, o.person_id, {births} AS birth FROM lin.precision p
                  JOIN out.{table} o ON o.{etl.cdm.KEYS[table]} = p.row_id JOIN out.person USING (person_id)
                  WHERE p.table_name = '{table}' AND p.column_name = '{column}') b
                WHERE b.row_id = out.{table}.{etl.cdm.KEYS[table]} AND out.{table}."{column}" < b.birth
                  AND date_trunc(b.precision, b.birth) = date_trunc(b.precision, out.{table}."{column}")"""
        )


def _references_last(order: list[str], present: Sequence[Stage]) -> list[str]:
    """Types whose stage tables others still read while they resolve come last."""
    read_by_others = {r.referrer for stage in present for r in stage.plan.referrals.values()}
    return sorted(order, key=lambda kind: kind in read_by_others)


def _number_rules(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage], sha: str) -> dict[tuple[str, str], int]:
    numbers: dict[tuple[str, str], int] = {}
    for stage in stages:
        for plan in stage.plan.rules:
            numbers[stage.table, plan.rule.name] = len(numbers) + 1
            work.execute(
                "INSERT INTO lin.rule VALUES (?, ?, ?, ?, ?)",
                [len(numbers), stage.resource, plan.rule.name, plan.rule.table, sha],
            )
    return numbers


def _follow(work: duckdb.DuckDBPyConnection, stage: Stage, stages: Sequence[Stage]) -> None:
    """Coding sets of concepts that are read from a referenced or contained resource."""
    for concept in [one for one in stage.plan.concepts.values() if one.follows]:
        for name in concept.follows:
            follow = stage.plan.follows[name]
            others = " UNION ALL ".join(
                f'SELECT site, id, "{followed_column(follow.path)}" AS c FROM {other.read} WHERE newest'
                for other in stages
                if other.resource == follow.to
            )
            nothing = "SELECT NULL::VARCHAR AS site, NULL::VARCHAR AS id, NULL::coding_set AS c WHERE false"
            work.execute(
                f"""UPDATE {stage.read} SET "{concept.column}" = v.c FROM (
                      SELECT s.n, coalesce(s."{concept.column}", {follow.contained}, o.c) AS c FROM {stage.table} s
                      LEFT JOIN ({others or nothing}) o ON o.site = s.site AND o.id = s."ri_{name}"
                        AND s."rt_{name}" = {quote(follow.to)}
                      WHERE s."r_{name}" IS NOT NULL) v
                    WHERE v.n = {stage.read}.n"""
            )


def _write(work: duckdb.DuckDBPyConnection, stage: Stage, rule_ids: dict[tuple[str, str], int]) -> list[WrittenRule]:
    if stage.plan.mapping.unique_by:
        supersede_by_identifier(work, stage)
    concept_tables = attach_concepts(work, stage)
    written: list[WrittenRule] = []
    rows_of: dict[str, str] = {}
    waiting = list(stage.plan.rules)
    while waiting:
        plan = next((one for one in waiting if all(link in rows_of for link in one.links)), None)
        if plan is None:
            names = ", ".join(one.rule.name for one in waiting)
            raise MappingError(f"{stage.resource}: the rules {names} wait for each other's rows (row_of)")
        waiting.remove(plan)
        done = write_rule(work, stage, plan, rule_ids[stage.table, plan.rule.name], concept_tables, rows_of)
        rows_of[plan.rule.name] = done.rows
        if any(one.rule.unless_row_of == plan.rule.name for one in stage.plan.rules):
            done = replace(done, incomplete=0)  # another rule writes what this one could not
        written.append(done)
    _leave_out_the_rowless(work, stage, written)
    _note_unmapped(work, stage, concept_tables)
    tell_of_codes(work, stage, concept_tables)
    return written


def _leave_out_the_rowless(work: duckdb.DuckDBPyConnection, stage: Stage, written: Sequence[WrittenRule]) -> None:
    """A resource that no rule gave a row is skipped, with a reason; its tables of rows are no longer needed."""
    having = " UNION ".join(f"SELECT _n FROM {one.rows}" for one in written) or "SELECT NULL AS _n WHERE false"
    work.execute(
        f"UPDATE {stage.keys} SET outcome = 'skipped|no rule gives a row' WHERE outcome IS NULL AND n NOT IN ({having})"
    )
    for one in written:
        work.execute(f"DROP TABLE {one.rows}")


def _note_unmapped(work: duckdb.DuckDBPyConnection, stage: Stage, concept_tables: dict[str, str]) -> None:
    """The work list: source codes of the resources that are kept without a standard concept, with their counts."""
    values = {one.column for one in stage.plan.concepts.values() if one.concept.kind == "value"}
    claimed = {
        plan.concepts[plan.rule.concept].column: plan.claimed
        for plan in stage.plan.rules
        if plan.rule.unmapped and plan.rule.concept in plan.concepts
    }
    for column, table in concept_tables.items():
        source = f'SELECT n, site, outcome, "{column}" AS c FROM {stage.table}'
        one = _Coded(column.removeprefix("c_"), source, table, column in values, claimed.get(column, ()))
        _note_one(work, stage, one)
    seen: set[tuple[object, ...]] = set()
    for plan in sorted(stage.plan.rules, key=lambda one: not one.rule.unmapped):
        for concept in plan.each_concepts.values():
            same = (plan.rule.for_each, concept.name, concept.concept.sources)  # rules of one element share its codes
            if same in seen:
                continue
            seen.add(same)
            elements = elements_table(stage, plan)
            source = (
                f'SELECT n, site, k.outcome, e."{concept.column}" AS c FROM {elements} JOIN {stage.keys} k USING (n)'
            )
            name, is_value = f"{plan.rule.name}.{concept.name}", concept.concept.kind == "value"
            taken = plan.claimed if plan.rule.unmapped and plan.rule.concept == concept.name else ()
            _note_one(work, stage, _Coded(name, source, concept_table(stage, plan, concept), is_value, taken))
        note_unlisted(work, stage, plan)


@dataclass(frozen=True)
class _Coded:
    """A coded element: its name, the SELECT of its coding sets, their resolved table, the domains that rules take."""

    element: str
    source: str
    table: str
    is_value: bool
    claimed: tuple[str, ...]


def _note_one(work: duckdb.DuckDBPyConnection, stage: Stage, one: _Coded) -> None:
    """What became concept 0: no standard concept, or one of a domain that no rule takes.

    A text value with a digit in it is a result, no code; a code that a map sends to "None" has been looked at.
    """
    domains = ", ".join(quote(domain) for domain in one.claimed)
    homeless = f"len(list_filter(r.targets, lambda o: o.domain IN ({domains}))) = 0" if domains else "false"
    has_digit = r"r.source_value = r.source_name AND regexp_matches(r.code, '\p{Nd}')"
    result = has_digit if one.is_value else "false"
    work.execute(
        f"""INSERT INTO lin.unmapped
            SELECT s.site, {quote(stage.resource)}, {quote(one.element)}, r.vocabulary,
                   coalesce(r.source_value, r.code), r.source_name, count(*)
            FROM ({one.source}) s JOIN {one.table} r ON r.k = hash(s.site, s.c)
            WHERE s.outcome IS NULL AND (r.standard = 0 OR {homeless}) AND NOT ({result})
              AND NOT EXISTS (SELECT 1 FROM vocab.code_map m WHERE m.source_vocabulary_id = r.vocabulary
                              AND m.source_code = r.code AND m.site IN (s.site, '') AND m.target_vocabulary_id = 'None')
            GROUP BY ALL"""
    )


def _outcomes(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage]) -> pl.DataFrame:
    """Outcome of every landed resource, also into `led.resource` and `lin.resource`."""
    for stage in stages:
        work.execute(
            f"""INSERT INTO led.resource
                SELECT site, {quote(stage.resource)}, id, version, updated, hash, file, "at",
                       CASE WHEN outcome IS NULL THEN 'kept' ELSE split_part(outcome, '|', 1) END,
                       nullif(split_part(outcome, '|', 2), '') FROM {stage.table}"""
        )
        work.execute(
            f"""INSERT INTO lin.resource
                SELECT n, site, {quote(stage.resource)}, id, version, updated, f.sha256, "at" FROM {stage.table} s
                LEFT JOIN (SELECT file, any_value(sha256) AS sha256 FROM led.file GROUP BY file) f USING (file)
                WHERE outcome IS NULL"""
        )
    return work.execute(
        "SELECT site, resource_type, outcome, reason, count(*) AS n FROM led.resource GROUP BY ALL ORDER BY ALL"
    ).pl()


def _unresolved(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage]) -> pl.DataFrame:
    """References of kept resources to something that has no row: by site, type and element."""
    counts = []
    for stage in stages:
        for rule in stage.plan.rules:
            for lookup in rule.lookups.values():
                one = f"""SELECT s.site, {quote(stage.resource)} AS resource_type, {quote(lookup.reference)} AS element,
                                 count(*) AS n
                          FROM {stage.table} s
                          LEFT JOIN stage.ids i ON i.table_name = {quote(lookup.table)} AND i.site = s.site
                            AND i.type = s."rt_{lookup.reference}" AND i.id = s."ri_{lookup.reference}"
                          WHERE s.outcome IS NULL AND i.row_id IS NULL AND s."{"r_" + lookup.reference}" IS NOT NULL
                          GROUP BY s.site"""
                detail = lookup.table == "visit_detail"  # most visits have no parts: nothing is missing
                if lookup.reference not in stage.plan.referrals and not detail and one not in counts:
                    counts.append(one)
    nothing = (
        "SELECT NULL::VARCHAR AS site, NULL::VARCHAR AS resource_type, NULL::VARCHAR AS element, 0 AS n WHERE false"
    )
    return work.execute(f"SELECT * FROM ({' UNION ALL '.join(counts) or nothing}) WHERE n > 0 ORDER BY ALL").pl()
