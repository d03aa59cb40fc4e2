"""Landed resources to OMOP rows: reads every type, finds persons and references, resolves codes, writes by rule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial

import duckdb
import polars as pl

import etl.cdm
from etl.errors import MappingError
from etl.landing import Landed
from etl.mapping.language import Mappings
from etl.settings import Settings
from etl.sql import quote
from etl.store import insert_frame
from etl.transform.account import (
    count_notes,
    count_outcomes,
    count_unresolved,
    leave_out_the_rowless,
    note_unmapped,
)
from etl.transform.concepts import (
    CodedColumn,
    Route,
    key_of,
    load_lookups,
    load_systems_and_units,
    resolve_concepts,
    route_of,
    route_targets,
)
from etl.transform.links import note_identities, note_references
from etl.transform.macros import create_macros, say_data_until
from etl.transform.persons import map_persons
from etl.transform.plan import RulePlan, followed_column
from etl.transform.planner import Planner
from etl.transform.probe import Found, look
from etl.transform.references import index_targets, levels, read_references, resolve_references
from etl.transform.rule_planner import RulePlanner
from etl.transform.side_by_side import SideBySide
from etl.transform.stage import Stage, coded, read_stage, settle_versions, supersede_by_identifier
from etl.transform.told import note_unlisted, tell_of_codes
from etl.transform.write import (
    WrittenRule,
    fill_tables,
    index_rows,
    no_rows,
    note_last_visits,
    unfold_elements,
    write_precision,
    write_rule,
)


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
            planner.guarded(("fields", follow.name), partial(other.serve_follow, follow.paths))
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
    *,
    everything: bool = False,
) -> Transformed:
    """Fills `out.*` and `lin.*` of the work database, which must have the work schema and schema `vocab`.

    Rules that no resource asks for are not run, unless `everything` is to be run, to see whether it runs.
    """
    work.execute("CREATE SCHEMA IF NOT EXISTS stage")
    zones = {settings.site(site).time_zone for stage in stages for site in stage.sites}
    create_macros(work, settings.key, zones)
    load_systems_and_units(work, mappings.folder)
    work.execute(
        "CREATE TABLE stage.deleted (site VARCHAR, resource_type VARCHAR, id VARCHAR, n BIGINT, updated VARCHAR)"
    )
    if landed.deleted.height:
        insert_frame(work, "stage.deleted", landed.deleted)
    present = [stage for stage in stages if landed.shards.get(stage.resource)]
    sizes = landed.sizes()
    large = _largest_first(present, sizes)
    hands = SideBySide(work, sum(sizes.values()))

    def read(connection: duckdb.DuckDBPyConnection, stage: Stage) -> None:
        progress(f"read {stage.resource}")
        read_stage(connection, stage, landed.shards[stage.resource], settings)

    def resolve(connection: duckdb.DuckDBPyConnection, stage: Stage) -> None:
        progress(f"map {stage.resource}")
        resolve_references(connection, stage, present)
        _follow(connection, stage, present, everything=everything)
        if stage.plan.mapping.unique_by:
            supersede_by_identifier(connection, stage)

    hands.each(large, read)
    settle_versions(work, present, deleted=landed.deleted.height > 0)
    until = settings.data_lock or today()
    say_data_until(work, until)
    index_targets(work, present)
    map_persons(work, [stage for stage in present if stage.resource == "Patient"], settings.link_persons_by)
    read_references(work, present)
    read_by_others = {referral.referrer for stage in present for referral in stage.plan.referrals.values()}
    hands.each([stage for stage in large if stage.resource not in read_by_others], resolve)
    hands.each([stage for stage in large if stage.resource in read_by_others], resolve)
    found = look(work, present, everything=everything)
    progress("resolve codes")
    unfolded, routes, routed = _resolve(work, present, found)
    writing = _Writing(found, routes, routed, _note_rules(work, stages, mappings.sha), _looked_up(stages), progress)
    for level in levels(present):
        for rules in hands.each(_largest_first(level, sizes), writing.write):
            writing.written += rules
    (incomplete, reversed_ends), *_ = hands.together(
        partial(fill_tables, written=writing.written),
        partial(note_references, stages=present),
        partial(note_identities, stages=present),
        partial(write_precision, written=writing.written, partial=found.partial(present)),
    )
    leave_out_the_rowless(work, present)
    outcomes, unresolved, *_ = hands.together(
        partial(count_outcomes, stages=present),
        partial(count_unresolved, stages=present),
        partial(note_unmapped, stages=present, unfolded=unfolded),
        partial(note_unlisted, stages=present, found=found),
        _keep_imputed_dates_in_life,
    )
    return Transformed(
        outcomes=outcomes,
        incomplete_rows=incomplete,
        reversed_ends=reversed_ends,
        noted=dict(sorted((count_notes(work, present, found) | tell_of_codes(work, present)).items())),
        data_until=until,
        unresolved_references=unresolved,
    )


def _resolve(
    work: duckdb.DuckDBPyConnection, stages: Sequence[Stage], found: Found
) -> tuple[set[tuple[str, str]], dict[Route, int], set[int]]:
    """Resolves all codes; gives back the elements that there are, the number of each route, and those with targets."""
    columns = [
        CodedColumn(f'SELECT "{one.key}" AS k, site, "{column}" AS c FROM {stage.read}', one.concept)
        for stage in stages
        for column, one in coded(stage.plan).items()
    ]
    unfolded = set()
    routes: dict[Route, int] = {}
    for stage in stages:
        for each in dict.fromkeys(plan.each for plan in stage.plan.rules if plan.each):
            if found.any(stage, f"each {each}"):
                unfolded.add((stage.table, each))
                columns += unfold_elements(work, stage, each)
        for plan in stage.plan.rules:
            route = route_of(plan)
            if route:
                routes.setdefault(route, len(routes))
    resolve_concepts(work, columns)
    return unfolded, routes, route_targets(work, list(routes))


def _looked_up(stages: Sequence[Stage]) -> set[str]:
    """The CDM tables whose rows any rule of any mapping refers to."""
    return {lookup.table for stage in stages for plan in stage.plan.rules for lookup in plan.lookups.values()}


@dataclass
class _Writing:
    """The writing of all rules, type by type: what is known before, and what earlier levels have written."""

    found: Found
    routes: dict[Route, int]
    routed: set[int]
    rule_ids: dict[tuple[str, str], int]
    looked_up: set[str]
    progress: Callable[[str], None]
    written: list[WrittenRule] = field(default_factory=list)

    def write(self, work: duckdb.DuckDBPyConnection, stage: Stage) -> list[WrittenRule]:
        """Writes the rows of all rules of a type, those that others take rows of (`row_of`) first."""
        self.progress(f"write {stage.resource}")
        rows_of: dict[str, WrittenRule] = {}
        waiting = list(stage.plan.rules)
        while waiting:
            plan = next((one for one in waiting if all(link in rows_of for link in one.links)), None)
            if plan is None:
                names = ", ".join(one.rule.name for one in waiting)
                raise MappingError(f"{stage.resource}: the rules {names} wait for each other's rows (row_of)")
            waiting.remove(plan)
            rows_of[plan.rule.name] = self._write_rule(work, stage, plan, rows_of)
        return list(rows_of.values())

    def _write_rule(
        self, work: duckdb.DuckDBPyConnection, stage: Stage, plan: RulePlan, rows_of: dict[str, WrittenRule]
    ) -> WrittenRule:
        rule_id = self.rule_ids[stage.table, plan.rule.name]
        if not self.found.fires(stage, plan, self.routes, self.routed):
            return no_rows(stage, plan, rule_id)
        indexed = not plan.each and plan.rule.table in self.looked_up
        unlisted = self.found.unlisted(stage, plan)
        if plan.reads_last_visit:
            note_last_visits(work, self.written)
        done = write_rule(work, stage, plan, rule_id, self.routes, rows_of, indexed=indexed, unlisted=unlisted)
        if indexed and done.rows:
            index_rows(work, done, parts=self.found.any(stage, "parts"))
        return done


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
                  WHERE p.table_name = '{table}' AND p.column_name = '{column}' AND p.precision IN ('year', 'month')) b
                WHERE b.row_id = out.{table}.{etl.cdm.KEYS[table]} AND out.{table}."{column}" < b.birth
                  AND date_trunc(b.precision, b.birth) = date_trunc(b.precision, out.{table}."{column}")"""
        )


def _largest_first(stages: Sequence[Stage], sizes: dict[str, int]) -> list[Stage]:
    """The order in which the types keep several hands busy to the end; `sizes`: bytes by resource type."""
    return sorted(stages, key=lambda stage: -sizes[stage.resource])


def today() -> date:
    """The day, in UTC, until which data without a lock reaches."""
    return datetime.now(UTC).date()


def number_rules(stages: Sequence[Stage]) -> dict[tuple[str, str], int]:
    """The number of each rule by stage table and name; the same for the same mapping and sites, whatever came."""
    names = [(stage.table, plan.rule.name) for stage in stages for plan in stage.plan.rules]
    return {name: number for number, name in enumerate(names, start=1)}


def _note_rules(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage], sha: str) -> dict[tuple[str, str], int]:
    """Numbers the rules, also into `lin.rule`."""
    numbers = number_rules(stages)
    rows = ", ".join(
        f"({numbers[stage.table, plan.rule.name]}, {quote(stage.resource)}, {quote(plan.rule.name)}, "
        f"{quote(plan.rule.table)}, {quote(sha)})"
        for stage in stages
        for plan in stage.plan.rules
    )
    if rows:
        work.execute(f"INSERT INTO lin.rule VALUES {rows}")
    return numbers


def _follow(work: duckdb.DuckDBPyConnection, stage: Stage, stages: Sequence[Stage], *, everything: bool) -> None:
    """Coding sets of concepts that are read from a referenced or contained resource."""
    for concept in [one for one in stage.plan.concepts.values() if one.follows]:
        for name in concept.follows:
            asked = work.execute(f'SELECT 1 FROM {stage.read} WHERE "r_{name}" IS NOT NULL LIMIT 1').fetchone()
            if not asked and not everything:
                continue
            follow = stage.plan.follows[name]
            others = " UNION ALL ".join(
                f"SELECT resource_key(site, {quote(follow.to)}, id) AS key, "
                f'"{followed_column(follow.paths)}" AS c FROM {other.read} WHERE newest'
                for other in stages
                if other.resource == follow.to
            )
            nothing = "SELECT NULL::BIGINT AS key, NULL::coding_set AS c WHERE false"
            work.execute(
                f"""UPDATE {stage.read} SET "{concept.column}" = v.c, "{concept.key}" = v.k FROM (
                      SELECT n, c, {key_of(concept.concept, "c")} AS k FROM (
                        SELECT s.n, s.site, coalesce(s."{concept.column}", {follow.contained}, o.c) AS c
                        FROM {stage.table} s
                        LEFT JOIN ({others or nothing}) o ON o.key = s."rk_{name}"
                        WHERE s."r_{name}" IS NOT NULL)) v
                    WHERE v.n = {stage.read}.n"""
            )
        if concept.late:
            work.execute(
                f"""UPDATE {stage.read} SET "{concept.column}" = "{concept.late}",
                      "{concept.key}" = {key_of(concept.concept, f'"{concept.late}"')}
                    WHERE "{concept.column}" IS NULL AND "{concept.late}" IS NOT NULL"""
            )
