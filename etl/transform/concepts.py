"""Source codes to concepts, once per distinct coding set.

One source coding is chosen per element: one that leads to a standard concept before one that does not, then by the
mapping's vocabulary priority, then the more specific before its parent, then `userSelected`, then the order written
(DECISIONS 4). A code map of the site goes
before the vocabulary's own `Maps to`, because somebody reviewed it for this hospital.
"""

import csv
from pathlib import Path

import duckdb
import polars as pl

from etl.errors import MappingError
from etl.mapping.fhirpath_sql import quote
from etl.mapping.language import Concept
from etl.store import insert_frame
from etl.vocabulary import normalise_code

_COLUMNS = (
    "k UBIGINT, standard BIGINT, source BIGINT, source_value VARCHAR, source_name VARCHAR, vocabulary VARCHAR, "
    "code VARCHAR, domain VARCHAR, targets STRUCT(id BIGINT, domain VARCHAR)[], value BIGINT, unit_default BIGINT, "
    "unit_default_source VARCHAR"
)

_TEXT = 1_000_000
"""The place of a text among the codings of a set: after all of them."""


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


def resolve_concept(work: duckdb.DuckDBPyConnection, table: str, sets: str, concept: Concept) -> None:
    """Creates `table`, one row per distinct coding set of `sets` (a SELECT of site and c), keyed by hash(site, c)."""
    work.execute(
        f"CREATE OR REPLACE TEMP TABLE sets AS SELECT hash(site, c) AS k, site, c FROM "
        f"(SELECT DISTINCT site, c FROM ({sets}) WHERE c IS NOT NULL)"
    )
    clash = work.execute("SELECT count(*) - count(DISTINCT k) FROM sets").fetchone()
    if clash and clash[0]:
        raise MappingError(f"{concept.name}: two coding sets share a hash; nothing was written")
    _candidates(work, concept)
    _resolve_candidates(work)
    _find_parents(work)
    prefer = _preference(concept)
    work.execute(f"CREATE OR REPLACE TABLE {table} ({_COLUMNS})")
    work.execute(
        f"""INSERT INTO {table} BY NAME
            SELECT k, coalesce(targets[1].id, 0) AS standard, coalesce(source_id, 0) AS source,
                   raw AS source_value, name AS source_name, vocabulary_id AS vocabulary, code,
                   targets[1].domain AS domain, coalesce(targets, []) AS targets, value_id AS value,
                   unit_id AS unit_default, unit_code AS unit_default_source
            FROM (SELECT *, row_number() OVER (PARTITION BY k ORDER BY (len(targets) > 0) DESC NULLS LAST,
                         place = {_TEXT}, {prefer}, has_child, coalesce("user", false) DESC, place) AS choice
                  FROM (SELECT r.*, EXISTS (SELECT 1 FROM children c WHERE c.k = r.k AND c.place = r.place) AS has_child
                        FROM resolved r))
            WHERE choice = 1"""
    )


def _find_parents(work: duckdb.DuckDBPyConnection) -> None:
    """`children`: candidates beside which a more specific one stands in the same set (f2o-036)."""
    work.execute(
        """CREATE OR REPLACE TEMP TABLE children AS
           WITH several AS (SELECT k, place, targets[1].id AS id FROM resolved
                            WHERE len(targets) > 0 QUALIFY count(*) OVER (PARTITION BY k) > 1)
           SELECT DISTINCT a.k, a.place FROM several a JOIN several b ON b.k = a.k AND b.id != a.id
           JOIN vocab.concept_ancestor r ON r.ancestor_concept_id = a.id AND r.descendant_concept_id = b.id"""
    )


def _is_vocabulary(name: str) -> str:
    return "starts_with(vocabulary_id, 'BLINA_')" if name == "local" else f"vocabulary_id = {quote(name)}"


def _preference(concept: Concept) -> str:
    """SQL of a coding's rank: as listed, then vocabularies that are not listed, then local codes (DECISIONS 4)."""
    listed = [name for name in concept.prefer if name != "local" or name != concept.prefer[-1]]
    cases = " ".join(f"WHEN {_is_vocabulary(name)} THEN {rank}" for rank, name in enumerate(listed))
    return f"CASE {cases} WHEN {_is_vocabulary('local')} THEN {len(listed) + 1} ELSE {len(listed)} END"


def _candidates(work: duckdb.DuckDBPyConnection, concept: Concept) -> None:
    """`candidates`: every coding of every set, and the text as a local code."""
    local = "'BLINA_' || site"
    # The text beside a coded value is what somebody wrote about the patient; beside a code of a test it names the test.
    name = "coding.display" if concept.kind == "value" else "coalesce(coding.display, text)"
    without_system = quote(concept.vocabulary) if concept.vocabulary else local
    text_vocabulary = local
    if concept.kind == "unit":
        without_system = text_vocabulary = "'UCUM'"
    work.execute(
        f"""CREATE OR REPLACE TEMP TABLE candidates AS
            SELECT k, site, place, raw, raw AS code, name, "user", is_text,
                   CASE WHEN is_text THEN {text_vocabulary} WHEN a.system IS NULL THEN {without_system}
                        ELSE coalesce(v.vocabulary_id, {local}) END AS vocabulary_id
            FROM (SELECT k, site, place, coding.system AS system, coding.code AS raw,
                         {name} AS name, coding."user" AS "user", false AS is_text
                  FROM (SELECT k, site, c.text AS text, unnest(c.codings) AS coding,
                               generate_subscripts(c.codings, 1) AS place FROM sets)
                  UNION ALL
                  SELECT k, site, {_TEXT}, NULL, c.text, c.text, false, true FROM sets WHERE c.text IS NOT NULL) a
            LEFT JOIN stage.systems v ON v.system = a.system"""
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
    if concept.kind == "unit":
        work.execute(
            """UPDATE candidates SET code = a.code FROM stage.unit_aliases a
               WHERE a.alias = candidates.code AND candidates.vocabulary_id = 'UCUM' AND NOT EXISTS (
                 SELECT 1 FROM vocab.concept c WHERE c.vocabulary_id = 'UCUM' AND c.concept_code = candidates.code)"""
        )


def _resolve_candidates(work: duckdb.DuckDBPyConnection) -> None:
    """`resolved`: candidates with their source concept and standard targets (sorted by id)."""
    work.execute(
        """CREATE OR REPLACE TEMP TABLE resolved AS
           WITH mapped AS (
             SELECT d.vocabulary_id, d.code, d.site, m.target_concept_id, m.unit_default, m.site AS by_site
             FROM (SELECT DISTINCT site, vocabulary_id, code FROM candidates) d
             JOIN vocab.code_map m ON m.source_vocabulary_id = d.vocabulary_id AND m.source_code = d.code
              AND m.site IN (d.site, '')
             QUALIFY rank() OVER (PARTITION BY d.site, d.vocabulary_id, d.code ORDER BY (m.site = '')) = 1),
           by_map AS (
             SELECT m.site, m.vocabulary_id, m.code, any_value(m.unit_default) AS unit_code,
                    list_sort(list(DISTINCT {'id': t.concept_id::BIGINT, 'domain': t.domain_id})
                              FILTER (t.concept_id IS NOT NULL)) AS targets
             FROM mapped m LEFT JOIN vocab.concept t ON t.concept_id = m.target_concept_id AND t.concept_id != 0
             GROUP BY ALL),
           sources AS (
             SELECT d.vocabulary_id, d.code, min(c.concept_id) AS source_id
             FROM (SELECT DISTINCT vocabulary_id, code FROM candidates WHERE NOT is_text OR vocabulary_id = 'UCUM') d
             JOIN vocab.concept c ON c.vocabulary_id = d.vocabulary_id AND c.concept_code = d.code
             GROUP BY ALL),
           by_vocabulary AS (
             SELECT s.vocabulary_id, s.code, s.source_id,
                    list_sort(list(DISTINCT {'id': t.concept_id::BIGINT, 'domain': t.domain_id})
                              FILTER (r.relationship_id = 'Maps to' AND t.standard_concept = 'S')) AS targets,
                    min(t.concept_id) FILTER (r.relationship_id = 'Maps to value') AS value_id
             FROM sources s
             LEFT JOIN vocab.concept_relationship r ON r.concept_id_1 = s.source_id AND r.invalid_reason IS NULL
              AND r.relationship_id IN ('Maps to', 'Maps to value')
             LEFT JOIN vocab.concept t ON t.concept_id = r.concept_id_2 AND t.invalid_reason IS NULL
             GROUP BY ALL),
           itself AS (
             SELECT s.vocabulary_id, s.code, [{'id': c.concept_id::BIGINT, 'domain': c.domain_id}] AS targets
             FROM sources s JOIN vocab.concept c ON c.concept_id = s.source_id
             WHERE c.standard_concept = 'S' AND c.invalid_reason IS NULL)
           SELECT a.k, a.place, a.raw, a.name, a."user", a.vocabulary_id, a.code, v.source_id, v.value_id,
                  CASE WHEN len(m.targets) > 0 THEN m.targets WHEN len(v.targets) > 0 THEN v.targets ELSE i.targets END
                    AS targets,
                  m.unit_code, u.concept_id AS unit_id
           FROM candidates a
           LEFT JOIN by_map m ON m.site = a.site AND m.vocabulary_id = a.vocabulary_id AND m.code = a.code
           LEFT JOIN by_vocabulary v ON v.vocabulary_id = a.vocabulary_id AND v.code = a.code
           LEFT JOIN itself i ON i.vocabulary_id = a.vocabulary_id AND i.code = a.code
           LEFT JOIN vocab.concept u ON u.vocabulary_id = 'UCUM' AND u.concept_code = m.unit_code"""
    )
