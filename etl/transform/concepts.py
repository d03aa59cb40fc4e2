"""Source codes to concepts, once per distinct coding set.

One source coding is chosen per element: one that leads to a standard concept before one that does not, a code before
the text, then by the mapping's vocabulary priority, then the more specific before its parent, then `userSelected`, then
the order written (DECISIONS 4). A code map of the site goes before the vocabulary's own `Maps to`, because somebody
reviewed it for this hospital.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

from etl.errors import MappingError
from etl.mapping.language import Concept
from etl.sql import quote
from etl.store import insert_frame
from etl.transform.plan import FAN_OUT_TABLES, RulePlan, way_of
from etl.vocabulary import find_meanings, normalise_code, routed_by

_TEXT = 1_000_000
"""The place of a text among the codings of a set: after all of them."""


@dataclass(frozen=True)
class CodedColumn:
    """Coding sets to resolve: SELECT of `k` (their key), `site` and `c`, and the concept that says how."""

    sets: str
    concept: Concept


@dataclass(frozen=True)
class Route:
    """Which targets of a concept a rule's table takes."""

    way: str
    domains: tuple[str, ...]
    first_only: bool
    unmapped: bool
    claimed: tuple[str, ...]


def load_lookups(folder: Path) -> dict[str, dict[str, int]]:
    """The small code lists `mappings/codes/*.csv` (source_code → target_concept_id), by file name."""
    return {
        file.stem: {row["source_code"]: int(row["target_concept_id"]) for row in rows}
        for file in sorted((folder / "codes").glob("*.csv"))
        for rows in [_rows(file)]
        if rows and "target_concept_id" in rows[0] and "target_vocabulary_id" not in rows[0]
    }


def load_systems_and_units(work: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """`stage.systems` (system URI → vocabulary) and `stage.unit_aliases` (spelling → UCUM code)."""
    work.execute("CREATE TABLE stage.systems (system VARCHAR, vocabulary_id VARCHAR)")
    work.execute("CREATE TABLE stage.unit_aliases (alias VARCHAR, code VARCHAR)")
    systems = _rows(folder / "codes" / "systems.csv")
    units = _rows(folder / "codes" / "units.csv")
    if systems:
        rows = {"system": [row["source_code"] for row in systems]}
        rows["vocabulary_id"] = [row["target_vocabulary_id"] for row in systems]
        insert_frame(work, "stage.systems", pl.DataFrame(rows))
    if units:
        rows = {"alias": [normalise_code(row["source_code"]) for row in units]}
        rows["code"] = [row["target_concept_code"] for row in units]
        insert_frame(work, "stage.unit_aliases", pl.DataFrame(rows))


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return list(csv.DictReader(lines))
    except OSError as error:
        raise MappingError(f"{file}: cannot be read ({error.strerror})") from None


def key_of(concept: Concept, column: str) -> str:
    """SQL of the key of a coding set, NULL where there is none: a hash of the site, the set, and how it is resolved."""
    return f"CASE WHEN {column} IS NOT NULL THEN hash(site, {quote(way_of(concept))}, {column}) END"


def resolve_concepts(work: duckdb.DuckDBPyConnection, columns: Sequence[CodedColumn]) -> None:
    """Creates `stage.concepts`: one row per distinct coding set, by its key `k`, with the concepts found for it.

    All columns of all types at once: what differs between them is the way, a row of `ways`.
    """
    ways = {way_of(one.concept): one.concept for one in columns}
    numbers = {way: number for number, way in enumerate(ways)}
    _say_ways(work, list(ways.values()))
    sources = " UNION ALL ".join(
        f"SELECT k, site, c, {numbers[way_of(one.concept)]} AS way FROM ({one.sets}) WHERE k IS NOT NULL"
        for one in columns
    )
    nothing = (
        "SELECT NULL::UBIGINT AS k, NULL::VARCHAR AS site, NULL::coding_set AS c, NULL::INTEGER AS way WHERE false"
    )
    work.execute(f"CREATE OR REPLACE TEMP TABLE sets AS SELECT DISTINCT k, site, c, way FROM ({sources or nothing})")
    clash = work.execute("SELECT count(*) - count(DISTINCT k) + count(*) FILTER (k = 0) FROM sets").fetchone()
    if clash and clash[0]:
        raise MappingError("two coding sets share a hash; nothing was written")
    _candidates(work)
    _resolve_candidates(work)
    _find_parents(work)
    work.execute(
        f"""CREATE TABLE stage.concepts AS
            SELECT k, way, site, coalesce(targets[1].id, 0) AS standard, coalesce(source_id, 0)::BIGINT AS source,
                   raw AS source_value, name AS source_name, vocabulary_id AS vocabulary, code,
                   targets[1].domain AS domain, coalesce(targets, []) AS targets, value_id::BIGINT AS value,
                   unit_id::BIGINT AS unit_default, unit_code AS unit_default_source
            FROM (SELECT *, row_number() OVER (PARTITION BY k ORDER BY (len(targets) > 0) DESC NULLS LAST,
                         place = {_TEXT}, {_PREFERENCE}, has_child, coalesce("user", false) DESC, place) AS choice
                  FROM (SELECT r.*, w.prefer, EXISTS (SELECT 1 FROM children c WHERE c.k = r.k AND c.place = r.place)
                               AS has_child
                        FROM resolved r JOIN ways w USING (way)))
            WHERE choice = 1"""
    )


_PREFERENCE = """coalesce(least(nullif(list_position(prefer, vocabulary_id), 0),
                 CASE WHEN starts_with(vocabulary_id, 'BLINA_') THEN nullif(list_position(prefer, 'local'), 0) END),
                 len(prefer) + 1 + starts_with(vocabulary_id, 'BLINA_')::INTEGER)"""
"""The place of a vocabulary in the mapping's order: as listed, then those not listed, then local ones (DECISIONS 4)."""


def _say_ways(work: duckdb.DuckDBPyConnection, concepts: Sequence[Concept]) -> None:
    """`ways`: how concepts are resolved, one row per way."""
    work.execute(
        "CREATE OR REPLACE TEMP TABLE ways (way INTEGER, name VARCHAR, kind VARCHAR, vocabulary VARCHAR, "
        "prefer VARCHAR[])"
    )
    if concepts:
        rows = ", ".join(
            f"({number}, {quote(way_of(one))}, {quote(one.kind)}, "
            f"{quote(one.vocabulary) if one.vocabulary else 'NULL'}, {_texts(_listed(one))})"
            for number, one in enumerate(concepts)
        )
        work.execute(f"INSERT INTO ways VALUES {rows}")


def _listed(concept: Concept) -> Sequence[str]:
    """The vocabularies in the mapping's order; `local` at its end is where local codes stand anyway."""
    return concept.prefer[:-1] if concept.prefer[-1:] == ("local",) else concept.prefer


def route_of(plan: RulePlan) -> Route | None:
    """How a rule's concept is routed; None for a rule that takes its resources whatever their codes say."""
    rule = plan.rule
    if not rule.concept or not rule.domains:
        return None
    concept = (plan.concepts.get(rule.concept) or plan.each_concepts[rule.concept]).concept
    first_only = rule.table not in FAN_OUT_TABLES
    claimed = plan.claimed if rule.unmapped else ()
    return Route(way_of(concept), rule.domains, first_only, rule.unmapped, claimed)


def route_targets(work: duckdb.DuckDBPyConnection, routes: Sequence[Route]) -> set[int]:
    """Creates `stage.routes`: the targets (id, place) of each route's coding sets; gives back the routes that have any.

    A set of which no rule takes a target goes, as concept 0, to the route that is `unmapped`; there, key 0 stands for
    no set at all.
    """
    work.execute("CREATE TABLE stage.routes (route INTEGER, k UBIGINT, id BIGINT, place BIGINT)")
    if not routes:
        return set()
    rows = ", ".join(
        f"({number}, {quote(one.way)}, {_texts(one.domains)}, {one.first_only}, {one.unmapped}, {_texts(one.claimed)})"
        for number, one in enumerate(routes)
    )
    work.execute(
        f"""INSERT INTO stage.routes
            WITH wanted (route, name, domains, first_only, unmapped, claimed) AS (VALUES {rows}),
            taken AS (
              SELECT route, k,
                     CASE WHEN unmapped AND len(list_filter(targets, lambda o: list_contains(claimed, o.domain))) = 0
                       THEN [{{'id': 0::BIGINT, 'domain': NULL::VARCHAR}}]
                       ELSE list_filter(targets, lambda o: list_contains(domains, o.domain)) END AS mine, first_only
              FROM wanted JOIN ways USING (name) JOIN stage.concepts USING (way))
            SELECT route, k, target.id, place
            FROM (SELECT route, k, first_only, unnest(mine) AS target, generate_subscripts(mine, 1) AS place FROM taken)
            WHERE place = 1 OR NOT first_only"""
    )
    found = {route for (route,) in work.execute("SELECT DISTINCT route FROM stage.routes").fetchall()}
    without = ", ".join(f"({number}, 0, 0, 1)" for number, one in enumerate(routes) if one.unmapped)
    if without:
        work.execute(f"INSERT INTO stage.routes VALUES {without}")
    return found


def _texts(texts: Sequence[str]) -> str:
    return f"[{', '.join(quote(one) for one in texts)}]::VARCHAR[]"


def _find_parents(work: duckdb.DuckDBPyConnection) -> None:
    """`children`: candidates beside which a more specific one stands in the same set (f2o-036)."""
    work.execute(
        """CREATE OR REPLACE TEMP TABLE children AS
           WITH several AS (SELECT k, place, targets[1].id AS id FROM resolved
                            WHERE len(targets) > 0 QUALIFY count(*) OVER (PARTITION BY k) > 1)
           SELECT DISTINCT a.k, a.place FROM several a JOIN several b ON b.k = a.k AND b.id != a.id
           JOIN vocab.concept_ancestor r ON r.ancestor_concept_id = a.id AND r.descendant_concept_id = b.id"""
    )


def _candidates(work: duckdb.DuckDBPyConnection) -> None:
    """`candidates`: every coding of every set, and the text as a local code."""
    # The text beside a coded value is what somebody wrote about the patient; beside a code of a test it names the test.
    work.execute(
        f"""CREATE OR REPLACE TEMP TABLE candidates AS
            SELECT k, way, site, place, raw, raw AS code, name, "user", is_text,
                   CASE WHEN (is_text OR a.system IS NULL) AND kind = 'unit' THEN 'UCUM'
                        WHEN is_text THEN 'BLINA_' || site
                        WHEN a.system IS NULL THEN coalesce(a.vocabulary, 'BLINA_' || site)
                        ELSE coalesce(v.vocabulary_id, 'BLINA_' || site) END AS vocabulary_id
            FROM (SELECT k, way, site, kind, vocabulary, place, coding.system AS system, coding.code AS raw,
                         CASE WHEN kind = 'value' THEN coding.display ELSE coalesce(coding.display, text) END AS name,
                         coding."user" AS "user", false AS is_text
                  FROM (SELECT k, way, site, kind, vocabulary, c.text AS text, unnest(c.codings) AS coding,
                               generate_subscripts(c.codings, 1) AS place FROM sets JOIN ways USING (way))
                  UNION ALL
                  SELECT k, way, site, kind, vocabulary, {_TEXT}, NULL, c.text, c.text, false, true
                  FROM sets JOIN ways USING (way) WHERE c.text IS NOT NULL) a
            LEFT JOIN stage.systems v ON v.system = rtrim(a.system, '/')"""
    )
    odd = work.execute(
        "SELECT DISTINCT code FROM candidates WHERE regexp_matches(code, '[^\\x20-\\x7E]') OR code != trim(code)"
    ).fetchall()
    if odd:
        work.execute("CREATE OR REPLACE TEMP TABLE spellings (code VARCHAR, plain VARCHAR)")
        codes = [code for (code,) in odd]
        plain = [normalise_code(code) for code in codes]
        insert_frame(work, "spellings", pl.DataFrame({"code": codes, "plain": plain}))
        work.execute("UPDATE candidates SET code = s.plain FROM spellings s WHERE s.code = candidates.code")
    work.execute(
        """UPDATE candidates SET code = a.code FROM stage.unit_aliases a
           WHERE a.alias = candidates.code AND candidates.vocabulary_id = 'UCUM'
             AND candidates.way IN (SELECT way FROM ways WHERE kind = 'unit') AND NOT EXISTS (
               SELECT 1 FROM vocab.concept c WHERE c.vocabulary_id = 'UCUM' AND c.concept_code = candidates.code)"""
    )


def _resolve_candidates(work: duckdb.DuckDBPyConnection) -> None:
    """`resolved`: candidates with their source concept and standard targets (sorted by id).

    A code of a known system that neither a map nor the vocabulary answers is also looked for among the local codes that
    the site has mapped: sites map what they see, whatever the project calls its system.
    """
    coded = "FROM candidates WHERE NOT is_text OR vocabulary_id = 'UCUM'"
    find_meanings(work, f"SELECT vocabulary_id, code AS concept_code {coded}", "meanings")
    work.execute(
        f"""CREATE OR REPLACE TEMP TABLE resolved AS
           WITH mapped AS (
             SELECT d.vocabulary_id, d.code, d.site, m.target_concept_id, m.unit_default, m.site AS by_site
             FROM (SELECT site, vocabulary_id, code FROM candidates
                   UNION SELECT site, 'BLINA_' || site, code FROM candidates WHERE vocabulary_id <> 'UCUM') d
             JOIN vocab.code_map m ON m.source_vocabulary_id = d.vocabulary_id AND m.source_code = d.code
              AND m.site IN (d.site, '')
             QUALIFY rank() OVER (PARTITION BY d.site, d.vocabulary_id, d.code ORDER BY (m.site = '')) = 1),
           by_map AS (
             SELECT m.site, m.vocabulary_id, m.code, any_value(m.unit_default) AS unit_code,
                    list_sort(list(DISTINCT {{'id': t.concept_id::BIGINT, 'domain': {routed_by("t")}}})
                              FILTER (t.concept_id IS NOT NULL)) AS targets
             FROM mapped m LEFT JOIN vocab.concept t ON t.concept_id = m.target_concept_id AND t.concept_id != 0
             GROUP BY ALL)
           SELECT a.k, a.way, a.site, a.place, a.raw, a.name, a."user", a.vocabulary_id, a.code, v.source_id,
                  v.value_id, CASE WHEN len(m.targets) > 0 THEN m.targets WHEN len(v.targets) > 0 THEN v.targets
                                   ELSE l.targets END AS targets,
                  m.unit_code, u.concept_id AS unit_id
           FROM candidates a
           LEFT JOIN by_map m ON m.site = a.site AND m.vocabulary_id = a.vocabulary_id AND m.code = a.code
           LEFT JOIN meanings v ON v.vocabulary_id = a.vocabulary_id AND v.concept_code =
             CASE WHEN NOT a.is_text OR a.vocabulary_id = 'UCUM' THEN a.code END
           LEFT JOIN by_map l ON l.site = a.site AND l.vocabulary_id = 'BLINA_' || a.site
             AND l.code = CASE WHEN a.vocabulary_id <> 'UCUM' THEN a.code END
           LEFT JOIN vocab.concept u ON u.vocabulary_id = 'UCUM' AND u.concept_code = m.unit_code"""
    )
