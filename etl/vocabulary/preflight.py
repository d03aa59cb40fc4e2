"""What is wrong with a vocabulary, before any patient data is read.

`preflight` looks at the loaded schema `vocab` (a build warns with it); `check_vocabulary` looks at Athena folders
themselves (`blina vocabulary check`), where the faults are that loading would hide.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from etl.errors import VocabularyError
from etl.store.reading import reading
from etl.vocabulary.athena import RELEASE_LIMIT, Release, athena_files, load_vocabulary, raw_rows, shipped_folder
from etl.vocabulary.scratch import scratch_database

REQUIRED_VOCABULARIES = ("None", "BLINA", "CDM", "Gender", "LOINC", "RxNorm", "SNOMED", "Type Concept", "UCUM", "Visit")
"""Without these no load makes sense: a missing vocabulary shows only as missing `Maps to` later."""

STUDY_VOCABULARIES = (
    "ATC", "Cancer Modifier", "CVX", "HemOnc", "ICD10CM", "ICDO3", "LOINC", "NDC", "OMOP Genomic", "RxNorm", "SNOMED",
    "UCUM",
)  # fmt: skip
"""What to tick at Athena for the blinatumomab study (shared/vocabulary/README.md)."""

OWN_RELEASE = "BLINA"
"""How the release of the shipped folder starts; it stands beside any other release."""

_FLAGS = {
    ("concept", "standard_concept"): ("S", "C"),
    ("concept", "invalid_reason"): ("D", "U"),
    ("concept_relationship", "invalid_reason"): ("D", "U"),
}
"""The only words of these columns; anything else is how some program wrote NULL or an empty text."""


@dataclass(frozen=True)
class Checked:
    """What `check_vocabulary` found: the release, the concepts of the folders, and the problems, one line each."""

    release: str
    concepts: int
    problems: tuple[str, ...]

    def refuse(self) -> None:
        """Raises VocabularyError with every problem; does nothing when there is none."""
        if self.problems:
            raise VocabularyError("this vocabulary cannot be used as it is", problems=self.problems)


def check_vocabulary(
    folders: Sequence[Path], *, database: str | None = None, required: Sequence[str] = STUDY_VOCABULARIES
) -> Checked:
    """The problems of Athena folders: missing vocabularies, flags that are no flags, a release that is missing, mixed
    or not the one recorded, names that Athena left empty, links to concepts that are not there.

    With `database`, also the vocabularies that its unmapped codes ask for, and the release that it was built with.
    Raises VocabularyError when a folder cannot be read at all.
    """
    problems: list[str] = []
    downloaded: set[str] = set()
    for folder in folders:
        files = athena_files(Path(folder))
        problems += _folder_problems(files)
        downloaded |= _vocabularies(files)
    # Asked of the download alone: the few concepts that come with blina would hide that a vocabulary is missing.
    problems += [_MISSING.format(one) for one in required if one not in downloaded]
    with scratch_database() as work:
        release = load_vocabulary(work, [*folders, shipped_folder()])
        problems += preflight(work)
        if database is not None:
            problems += _data_problems(work, release, database)
    concepts = sum(one.concepts_read for one in release.folders[:-1])
    return Checked(release.version, concepts, tuple(dict.fromkeys(problems)))


def preflight(connection: duckdb.DuckDBPyConnection, required: Sequence[str] = REQUIRED_VOCABULARIES) -> list[str]:
    """The problems of schema `vocab`, one line each; empty when it can be used.

    Missing vocabularies, a missing concept 0, an empty or mixed release (f2o-040), '' where NULL is meant, CPT4 without
    names, and standard concepts that do not map to themselves.
    """
    present = {one for (one,) in connection.execute("SELECT DISTINCT vocabulary_id FROM vocab.concept").fetchall()}
    problems = [_MISSING.format(one) for one in required if one not in present]
    if not _count(connection, "vocab.concept WHERE concept_id = 0"):
        problems.append("concept 0 (No matching concept) is missing")
    problems += _release_problems(connection)
    for table, column in _FLAGS:
        empty = _count(connection, f"vocab.{table} WHERE {column} = ''")
        if empty:
            problems.append(f"{table}: {empty} rows have an empty text as {column} instead of NULL")
    problems += [
        f"{vocabulary}: {n} concepts without a name{_CPT4 if vocabulary == 'CPT4' else ''}"
        for vocabulary, n in connection.execute(
            """SELECT vocabulary_id, count(*) FROM vocab.concept WHERE coalesce(trim(concept_name), '') = ''
               GROUP BY vocabulary_id ORDER BY 1"""
        ).fetchall()
    ]
    unmapped = _count(
        connection,
        """(FROM vocab.concept WHERE standard_concept = 'S' AND invalid_reason IS NULL AND concept_id NOT IN (
            SELECT concept_id_1 FROM vocab.concept_relationship
            WHERE relationship_id = 'Maps to' AND concept_id_1 = concept_id_2 AND invalid_reason IS NULL))""",
    )
    if unmapped:
        problems.append(f"{unmapped} standard concepts do not map to themselves: CONCEPT_RELATIONSHIP is incomplete")
    return problems


_MISSING = "vocabulary {!r} has no concept: download it from Athena"
_CPT4 = ": run the tool that comes with the Athena download (cpt.bat or cpt.sh)"


def _release_problems(connection: duckdb.DuckDBPyConnection) -> list[str]:
    versions = [one for (one,) in connection.execute("SELECT version FROM vocab.loaded_folder").fetchall()]
    stated = {one for one in versions if one and not one.startswith(OWN_RELEASE)}
    if len(stated) > 1:
        return [f"the folders are of different releases: {', '.join(sorted(stated))}"]
    if not any(versions):
        return ["no release: the row 'None' of VOCABULARY.csv is missing or empty"]
    return []


# --- the folders themselves ------------------------------------------------------------------------------------


def _vocabularies(files: dict[str, Path]) -> set[str]:
    with duckdb.connect() as work:
        return {
            one
            for (one,) in work.execute(
                f"SELECT DISTINCT vocabulary_id FROM {raw_rows(files['concept'])} WHERE vocabulary_id IS NOT NULL"
            ).fetchall()
        }


def _folder_problems(files: dict[str, Path]) -> Iterator[str]:
    with scratch_database() as work:
        for table, note in {
            "concept_relationship": "no code maps to a standard concept without it",
            "concept_ancestor": "drug eras and concept sets with descendants need it",
            "vocabulary": "it says which release this is",
        }.items():
            if table not in files:
                yield f"{files['concept'].parent}: {table.upper()}.csv is missing: {note}"
        if "vocabulary" in files:
            yield from _release_row(work, files["vocabulary"])
        for (table, column), words in _FLAGS.items():
            if table in files:
                yield from _flag_problems(work, files[table], column, words)
        yield from _link_problems(work, files)


def _release_row(work: duckdb.DuckDBPyConnection, path: Path) -> Iterator[str]:
    found = work.execute(
        f"SELECT vocabulary_version FROM {raw_rows(path)} WHERE vocabulary_id = 'None' AND vocabulary_version <> ''"
    ).fetchone()
    if found is None:
        yield f"{path}: the row 'None' states no release (vocabulary_version)"
    elif len(found[0]) > RELEASE_LIMIT:
        yield f"{path}: the release {found[0]!r} has more than {RELEASE_LIMIT} characters; CDM_SOURCE takes no more"


def _flag_problems(work: duckdb.DuckDBPyConnection, path: Path, column: str, words: tuple[str, ...]) -> Iterator[str]:
    allowed = ", ".join(f"'{word}'" for word in words)
    rows = work.execute(
        f"""SELECT {column}, count(*) FROM {raw_rows(path)} WHERE {column} NOT IN ({allowed}) GROUP BY 1
            ORDER BY 2 DESC LIMIT 5"""
    ).fetchall()
    for value, n in rows:
        yield f"{path}: {column} is {value!r} in {n} rows; only {', '.join(words)} or nothing at all is right there"


def _link_problems(work: duckdb.DuckDBPyConnection, files: dict[str, Path]) -> Iterator[str]:
    """Rows that point to a concept that is not in the folder, or map to one that is not standard."""
    work.execute(
        f"""CREATE TABLE known AS SELECT TRY_CAST(concept_id AS BIGINT) AS id, standard_concept AS standard,
            invalid_reason AS invalid FROM {raw_rows(files["concept"])}
            WHERE TRY_CAST(concept_id AS BIGINT) IS NOT NULL"""
    )
    for table, (one, two) in {
        "concept_relationship": ("concept_id_1", "concept_id_2"),
        "concept_ancestor": ("ancestor_concept_id", "descendant_concept_id"),
    }.items():
        if table not in files:
            continue
        broken = _count(
            work,
            f"""(FROM {raw_rows(files[table])} WHERE TRY_CAST({one} AS BIGINT) NOT IN (SELECT id FROM known)
                  OR TRY_CAST({two} AS BIGINT) NOT IN (SELECT id FROM known))""",
        )
        if broken:
            yield f"{files[table]}: {broken} rows name a concept that CONCEPT.csv does not have"
    if "concept_relationship" in files:
        wrong = _count(
            work,
            f"""(SELECT 1 FROM {raw_rows(files["concept_relationship"])} AS r
                 JOIN known ON id = TRY_CAST(concept_id_2 AS BIGINT)
                 WHERE relationship_id = 'Maps to' AND r.invalid_reason IS NULL
                   AND (standard IS DISTINCT FROM 'S' OR invalid IS NOT NULL))""",
        )
        if wrong:
            yield f"{files['concept_relationship']}: {wrong} `Maps to` rows lead to a concept that is not standard"


# --- what the data asks for ------------------------------------------------------------------------------------


def _data_problems(work: duckdb.DuckDBPyConnection, release: Release, database: str) -> Iterator[str]:
    present = {one for (one,) in work.execute("SELECT DISTINCT vocabulary_id FROM vocab.concept").fetchall()}
    with reading(database) as connection:
        asked = connection.execute(
            """SELECT source_vocabulary_id, count(DISTINCT source_code), sum(n)::BIGINT FROM lineage.unmapped
               WHERE NOT starts_with(source_vocabulary_id, 'BLINA_') GROUP BY 1 ORDER BY 3 DESC, 1"""
        ).fetchall()
        recorded = connection.execute("SELECT vocabulary_version FROM cdm.cdm_source").fetchone()
    for vocabulary, codes, n in asked:
        if vocabulary not in present:
            yield f"vocabulary {vocabulary!r} is missing, and {codes} codes of the data ({n} times) are of it"
    if recorded and recorded[0] != release.version:
        yield f"the database was built with release {recorded[0]!r}, these folders are {release.version!r}"


def _count(connection: duckdb.DuckDBPyConnection, source: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {source}").fetchone()
    assert row is not None  # count(*) always gives a row
    return int(row[0])
