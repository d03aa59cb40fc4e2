"""What a build tells of codes beside its rows: those of short lists that nobody knows, cut ones, targets left out."""

from collections.abc import Sequence

import duckdb

from etl.sql import quote
from etl.transform.plan import FAN_OUT_TABLES
from etl.transform.probe import Found
from etl.transform.stage import Stage, coded


def note_unlisted(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage], found: Found) -> None:
    """The work list, too: codes of short lists (`lookup` with `local: true`) that neither list nor site's map knows.

    What somebody wrote in place of a code is its own name, as everywhere on the work list.
    """
    codes = []
    for stage in stages:
        for plan in stage.plan.rules:
            # a rule that writes where another one could not reads the codes that the other has noted
            if plan.each or plan.unless or not found.unlisted(stage, plan):
                continue
            for one in plan.unlisted:
                element = quote(f"{plan.rule.name}.{one.column}")
                codes.append(
                    f"SELECT s.n, s.site, {quote(stage.resource)} AS type, {element} AS element, {one.given} AS code, "
                    f"{one.words} AS words FROM {stage.narrow('s.n, s.site', one.test, one.words, plan.when or '')} s "
                    f"WHERE {one.test}{f' AND ({plan.when})' if plan.when else ''}"
                )
    if codes:
        work.execute(
            f"""INSERT INTO lin.unmapped
                SELECT n, site, type, element, 'BLINA_' || site, code, words, count(*)
                FROM ({" UNION ALL ".join(codes)}) s
                WHERE NOT EXISTS (SELECT 1 FROM vocab.code_map m WHERE m.site = s.site AND m.source_code = s.code
                                  AND m.source_vocabulary_id = 'BLINA_' || s.site)
                GROUP BY ALL"""
        )


def tell_of_codes(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage]) -> dict[str, int]:
    """Codes of kept resources that were cut at the length of a source value, and those of which one of several
    targets was taken, counted by what is told of them."""
    asked = work.execute(
        "SELECT 1 FROM stage.concepts WHERE length(source_value) > 50 OR len(targets) > 1 LIMIT 1"
    ).fetchone()
    sources = [
        f'SELECT {quote(f"{stage.resource}: {note}")} AS note, "{key}" AS k, {domains} AS domains '
        f"FROM {stage.read} JOIN {stage.keys} USING (n) WHERE outcome IS NULL"
        for stage in (stages if asked else ())
        for key, note, domains in _told(stage)
    ]
    if not sources:
        return {}
    told = work.execute(
        f"""SELECT s.note, count(*) FROM ({" UNION ALL ".join(sources)}) s JOIN stage.concepts r USING (k)
            WHERE CASE WHEN s.domains IS NULL THEN length(r.source_value) > 50
                  ELSE len(list_filter(r.targets, lambda o: list_contains(s.domains, o.domain))) > 1 END
            GROUP BY 1"""
    ).fetchall()
    return {str(note): int(n) for note, n in told}


def _told(stage: Stage) -> list[tuple[str, str, str]]:
    """(key column, what is told, SQL of the domains that a table takes; NULL where the length is asked), each once."""
    found = [
        (one.key, "a source code was cut to 50 characters", "NULL::VARCHAR[]") for one in coded(stage.plan).values()
    ]
    for plan in stage.plan.rules:
        concept = plan.concepts.get(plan.rule.concept or "")
        if concept and plan.rule.domains and plan.rule.table not in FAN_OUT_TABLES:
            domains = f"[{', '.join(quote(domain) for domain in plan.rule.domains)}]"
            note = f"of several standard concepts of a code the lowest was taken for {plan.rule.table}"
            found.append((concept.key, note, domains))
    return list({(key, note): (key, note, domains) for key, note, domains in found}.values())
