"""What is wrong with a loaded vocabulary, before any patient data is read."""

from collections.abc import Sequence

import duckdb

REQUIRED_VOCABULARIES = ("None", "BLINA", "CDM", "Gender", "LOINC", "RxNorm", "SNOMED", "Type Concept", "UCUM", "Visit")
"""Without these no load makes sense: a missing vocabulary shows only as missing `Maps to` later."""

OWN_RELEASE = "BLINA"
"""How the release of the shipped folder starts; it stands beside any other release."""


def preflight(connection: duckdb.DuckDBPyConnection, required: Sequence[str] = REQUIRED_VOCABULARIES) -> list[str]:
    """The problems of schema `vocab`, one line each; empty when it can be used.

    Missing vocabularies, a missing concept 0, an empty or mixed release (f2o-040), '' where NULL is meant, and standard
    concepts that do not map to themselves.
    """
    present = {one for (one,) in connection.execute("SELECT DISTINCT vocabulary_id FROM vocab.concept").fetchall()}
    problems = [f"vocabulary {one!r} has no concept: download it from Athena" for one in required if one not in present]
    if not _count(connection, "vocab.concept WHERE concept_id = 0"):
        problems.append("concept 0 (No matching concept) is missing")
    problems += _release_problems(connection)
    for table in ("concept", "concept_relationship"):
        empty = _count(connection, f"vocab.{table} WHERE invalid_reason = ''")
        if empty:
            problems.append(f"{table}: {empty} rows have an empty text as invalid_reason instead of NULL")
    empty = _count(connection, "vocab.concept WHERE standard_concept = ''")
    if empty:
        problems.append(f"concept: {empty} rows have an empty text as standard_concept instead of NULL")
    unmapped = _count(
        connection,
        """(FROM vocab.concept WHERE standard_concept = 'S' AND invalid_reason IS NULL AND concept_id NOT IN (
            SELECT concept_id_1 FROM vocab.concept_relationship
            WHERE relationship_id = 'Maps to' AND concept_id_1 = concept_id_2 AND invalid_reason IS NULL))""",
    )
    if unmapped:
        problems.append(f"{unmapped} standard concepts do not map to themselves: CONCEPT_RELATIONSHIP is incomplete")
    return problems


def _release_problems(connection: duckdb.DuckDBPyConnection) -> list[str]:
    versions = [one for (one,) in connection.execute("SELECT version FROM vocab.loaded_folder").fetchall()]
    stated = {one for one in versions if one and not one.startswith(OWN_RELEASE)}
    if len(stated) > 1:
        return [f"the folders are of different releases: {', '.join(sorted(stated))}"]
    if not any(versions):
        return ["no release: the row 'None' of VOCABULARY.csv is missing or empty"]
    return []


def _count(connection: duckdb.DuckDBPyConnection, source: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {source}").fetchone()
    assert row is not None  # count(*) always gives a row
    return int(row[0])
