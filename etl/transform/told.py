"""What a build tells of codes beside its rows: those of short lists that nobody knows, cut ones, targets left out."""

import duckdb

from etl.mapping.fhirpath_sql import quote
from etl.transform.plan import FAN_OUT_TABLES, RulePlan
from etl.transform.stage import Stage


def note_unlisted(work: duckdb.DuckDBPyConnection, stage: Stage, plan: RulePlan) -> None:
    """The work list, too: codes of short lists (`lookup` with `local: true`) that neither list nor site's map knows."""
    for one in plan.unlisted if not (plan.each or plan.unless) else ():
        listed = ", ".join(quote(code) for code in one.listed)
        work.execute(
            f"""INSERT INTO lin.unmapped
                SELECT s.site, {quote(stage.resource)}, {quote(f"{plan.rule.name}.{one.column}")}, 'BLINA_' || s.site,
                       {one.given}, NULL, count(*)
                FROM {stage.table} s
                WHERE s.outcome IS NULL AND {one.given} NOT IN ({listed}) AND ({plan.when or "true"})
                  AND NOT EXISTS (SELECT 1 FROM vocab.code_map m WHERE m.site = s.site AND m.source_code = {one.given}
                                  AND m.source_vocabulary_id = 'BLINA_' || s.site)
                GROUP BY ALL"""
        )


def tell_of_codes(work: duckdb.DuckDBPyConnection, stage: Stage, concept_tables: dict[str, str]) -> None:
    """`stage.told`: codes cut at the length of a source value, and codes of which one of several targets is taken."""
    told: dict[tuple[str, str], tuple[str, str]] = {}
    for column, table in concept_tables.items():
        told[table, "a source code was cut to 50 characters"] = (column, "length(r.source_value) > 50")
    for plan in stage.plan.rules:
        concept = plan.concepts.get(plan.rule.concept or "")
        if concept and plan.rule.domains and plan.rule.table not in FAN_OUT_TABLES:
            domains = ", ".join(quote(domain) for domain in plan.rule.domains)
            several = f"len(list_filter(r.targets, lambda o: o.domain IN ({domains}))) > 1"
            note = f"of several standard concepts of a code the lowest was taken for {plan.rule.table}"
            told[concept_tables[concept.column], note] = (concept.column, several)
    for (table, note), (column, condition) in told.items():
        if work.execute(f"SELECT 1 FROM {table} r WHERE {condition} LIMIT 1").fetchone():
            work.execute(
                f"""INSERT INTO stage.told SELECT {quote(f"{stage.resource}: {note}")}, count(*) FROM {stage.table} s
                    JOIN {table} r ON r.k = hash(s.site, s."{column}") WHERE s.outcome IS NULL AND {condition}"""
            )
