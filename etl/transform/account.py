"""What became of everything: the fate of each resource, codes without a concept, references to nothing, notes."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import polars as pl

from etl.sql import quote
from etl.transform.plan import ConceptPlan
from etl.transform.probe import Found
from etl.transform.stage import Stage, coded
from etl.transform.write import elements_table


def _joined(stage: Stage) -> str:
    """What was read and what was found out about it, as in the view, but planned for the columns that are named."""
    return f"{stage.read} JOIN {stage.keys} USING (n)"


def leave_out_the_rowless(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage]) -> None:
    """A resource that no rule gave a row is skipped, with a reason."""
    if not stages:
        return
    without = " UNION ALL ".join(
        f"SELECT {number} AS stage, n FROM {stage.keys} WHERE outcome IS NULL" for number, stage in enumerate(stages)
    )
    work.execute(
        f"""CREATE OR REPLACE TEMP TABLE rowless AS SELECT * FROM ({without}) k
            ANTI JOIN lin.cdm_row r ON r.resource_no = k.n"""
    )
    for (number,) in work.execute("SELECT DISTINCT stage FROM rowless").fetchall():
        work.execute(
            f"UPDATE {stages[number].keys} SET outcome = 'skipped|no rule gives a row' "
            f"WHERE n IN (SELECT n FROM rowless WHERE stage = {number})"
        )


@dataclass(frozen=True)
class _Coded:
    """A coded element by the name that the work list gives it, with the domains that rules take its codes to.

    No domains: the element's codes need no table.
    """

    element: str
    plan: ConceptPlan
    claimed: tuple[str, ...]


def note_unmapped(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage], unfolded: set[tuple[str, str]]) -> None:
    """The work list: source codes of the resources that are kept and became concept 0, with their counts.

    They have no standard concept, or one of a domain that no rule takes. A text value with a digit in it is a result,
    no code; a code that a map sends to "None" has been looked at.
    """
    sources = [(stage, _joined(stage), of) for stage in stages if (of := _of_resources(stage))]
    for stage in stages:
        for each, of in _of_elements(stage).items():
            if (stage.table, each) in unfolded:
                elements = f"(SELECT e.*, k.outcome FROM {elements_table(stage, each)} e JOIN {stage.keys} k USING (n))"
                sources.append((stage, elements, of))
    if not sources:
        return
    claims = {one: number for number, one in enumerate({one.claimed: 0 for _, _, of in sources for one in of})}
    keyed = " UNION ALL ".join(_keyed(stage, source, of, claims) for stage, source, of in sources)
    taken = ", ".join(
        f"({number}, [{', '.join(quote(domain) for domain in domains)}]::VARCHAR[])"
        for domains, number in claims.items()
    )
    work.execute(
        f"""INSERT INTO lin.unmapped
            WITH missing AS (
              SELECT k, claim, vocabulary, coalesce(source_value, code) AS source_code, source_name, code,
                     coalesce(source_value = source_name AND regexp_matches(code, '\\p{{Nd}}'), false) AS is_result
              FROM stage.concepts c, (VALUES {taken}) d (claim, domains)
              WHERE (standard = 0 OR (len(domains) > 0 AND NOT
                     list_has_any(list_transform(targets, lambda one: one.domain), domains)))
                AND NOT EXISTS (SELECT 1 FROM vocab.code_map m WHERE m.source_vocabulary_id = c.vocabulary
                                AND m.source_code = c.code AND m.site IN (c.site, '')
                                AND m.target_vocabulary_id = 'None'))
            SELECT s.n, s.site, s.type, s.element, r.vocabulary, r.source_code, r.source_name, count(*)
            FROM ({keyed}) s JOIN missing r ON r.k = s.k AND r.claim = s.claim
            WHERE NOT (s.is_value AND r.is_result)
            GROUP BY ALL"""
    )


def _of_resources(stage: Stage) -> list[_Coded]:
    """The coded elements of the resource itself."""
    claimed = {
        plan.concepts[plan.rule.concept].column: plan.claimed
        for plan in stage.plan.rules
        if plan.rule.unmapped and plan.rule.concept in plan.concepts
    }
    return [
        _Coded(column.removeprefix("c_"), one, claimed.get(column, ())) for column, one in coded(stage.plan).items()
    ]


def _of_elements(stage: Stage) -> dict[str, list[_Coded]]:
    """Those of the elements of `for_each`, by their column: what several rules read once, where all codes go."""
    found: dict[str, dict[tuple[object, ...], _Coded]] = {}
    for plan in sorted(stage.plan.rules, key=lambda one: not one.rule.unmapped):
        for one in plan.each_concepts.values():
            claimed = plan.claimed if plan.rule.unmapped and plan.rule.concept == one.name else ()
            same = (one.name, one.concept.sources)
            here = found.setdefault(str(plan.each), {})
            here.setdefault(same, _Coded(f"{plan.rule.name}.{one.name}", one, claimed))
    return {each: list(of.values()) for each, of in found.items()}


def _keyed(stage: Stage, source: str, of: Sequence[_Coded], claims: dict[tuple[str, ...], int]) -> str:
    """SELECT of n, site, type, element, is_value, claim and k: the coded elements of the resources that are kept."""
    elements = ", ".join(quote(one.element) for one in of)
    values = ", ".join("true" if one.plan.concept.kind == "value" else "false" for one in of)
    claimed = ", ".join(str(claims[one.claimed]) for one in of)
    keys = ", ".join(f'"{one.plan.key}"' for one in of)
    return (
        f"SELECT n, site, {quote(stage.resource)} AS type, unnest([{elements}]) AS element, unnest([{values}]) AS "
        f"is_value, unnest([{claimed}]) AS claim, unnest([{keys}]) AS k FROM {source} WHERE outcome IS NULL"
    )


def count_outcomes(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage]) -> pl.DataFrame:
    """Outcome of every landed resource, also into `led.resource` and `lin.resource`."""
    if stages:
        all_resources = " UNION ALL ".join(
            f'SELECT site, {quote(stage.resource)} AS type, id, url, version, updated, hash, file, "at", outcome, n '
            f"FROM {_joined(stage)}"
            for stage in stages
        )
        work.execute(
            f"""INSERT INTO led.resource
                SELECT n, site, type, id, url, version, updated, hash, file, "at",
                       CASE WHEN outcome IS NULL THEN 'kept' ELSE split_part(outcome, '|', 1) END,
                       nullif(split_part(outcome, '|', 2), '') FROM ({all_resources})"""
        )
        work.execute(
            """INSERT INTO lin.resource
               SELECT resource_no, site, resource_type, fhir_id, version, updated, f.sha256, "at" FROM led.resource
               LEFT JOIN (SELECT file, any_value(sha256) AS sha256 FROM led.file GROUP BY file) f USING (file)
               WHERE outcome = 'kept'"""
        )
    return work.execute(
        "SELECT site, resource_type, outcome, reason, count(*) AS n FROM led.resource GROUP BY ALL ORDER BY ALL"
    ).pl()


def count_notes(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage], found: Found) -> dict[str, int]:
    """What mapping files ask to be told of kept resources (`report:`), counted: "Patient: deceased without a date"."""
    counts: dict[str, int] = {}
    for stage in stages:
        if "noted" not in stage.plan.expressions or not found.any(stage, "noted"):
            continue
        rows = work.execute(
            f"SELECT note, count(*) FROM (SELECT unnest(noted) AS note FROM {stage.table} WHERE outcome IS NULL) "
            "GROUP BY 1"
        ).fetchall()
        for note, n in rows:
            name = f"{stage.resource}: {note}"
            counts[name] = counts.get(name, 0) + int(n)
    return counts


def count_unresolved(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage]) -> pl.DataFrame:
    """References of kept resources to something that has no row: by site, type and element."""
    sources = []
    for stage in stages:
        pairs = dict.fromkeys(
            (lookup.reference, lookup.table)
            for rule in stage.plan.rules
            for lookup in rule.lookups.values()
            # most visits have no parts: nothing is missing
            if lookup.reference not in stage.plan.referrals and lookup.table != "visit_detail"
        )
        if pairs:
            listed = ", ".join(
                f"{{'element': {quote(name)}, 'table_name': {quote(table)}, 'said': \"r_{name}\" IS NOT NULL, "
                f"'key': \"rk_{name}\"}}"
                for name, table in pairs
            )
            sources.append(
                f"SELECT site, {quote(stage.resource)} AS resource_type, unnest([{listed}]) AS o FROM {_joined(stage)} "
                "WHERE outcome IS NULL"
            )
    nothing = (
        "SELECT NULL::VARCHAR AS site, NULL::VARCHAR AS resource_type, {'element': NULL::VARCHAR, 'table_name': "
        "NULL::VARCHAR, 'said': false, 'key': NULL::BIGINT} AS o WHERE false"
    )
    return work.execute(
        f"""SELECT s.site, s.resource_type, s.o.element AS element, count(*) AS n
            FROM (SELECT * FROM ({" UNION ALL ".join(sources) or nothing}) WHERE o.said) s
            LEFT JOIN stage.ids i ON i.table_name = s.o.table_name AND i.key = s.o.key
            WHERE i.row_id IS NULL GROUP BY ALL ORDER BY ALL"""
    ).pl()
