"""Athena vocabulary folders in: schema `vocab` of the work database.

An Athena file is tab-separated, has no quoting and a header in lower case, whatever its name `.csv` suggests. Codes are
text: `08`, `NA`, `null` and `None` are real. Empty means NULL, and NULL only: a loader that keeps '' finds no valid
relationship at all. Folders are appended: what an earlier folder defines (a real release), a later one (the project's
own concepts) never changes.
"""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import duckdb

from etl.errors import VocabularyError, did_you_mean
from etl.store.work import insert_rows
from etl.vocabulary.meanings import make_meanings
from etl.vocabulary.tables import CREATE, KEYS, ORDER, TABLES, Column

OWN_IDS_FROM = 2_000_000_000
"""Concept ids from here on are local (HL7 FHIR-to-OMOP f2o-039)."""

RELEASE_LIMIT = 20
"""Characters of cdm_source.vocabulary_version."""


@dataclass(frozen=True)
class FolderRelease:
    """One loaded folder: its release (None when its VOCABULARY file says nothing), concepts read and concepts added."""

    folder: Path
    version: str | None
    concepts_read: int
    concepts_added: int


@dataclass(frozen=True)
class Release:
    """What was loaded. `version` (≤ 20 characters) is that of the first folder which states one (f2o-040).

    A release from the cache (etl.vocabulary.cache) also has the fingerprint of its content, and what `preflight` says.
    """

    version: str
    folders: tuple[FolderRelease, ...]
    fingerprint: str = ""
    problems: tuple[str, ...] = ()

    @property
    def concepts(self) -> int:
        """Concepts in schema `vocab`."""
        return sum(folder.concepts_added for folder in self.folders)


def shipped_folder() -> Path:
    """The folder of the vocabulary that comes with blina: the study's verified facts and the project's own concepts."""
    with as_file(files("mappings") / "vocabulary") as folder:
        return Path(folder)


def load_vocabulary(connection: duckdb.DuckDBPyConnection, folders: Sequence[Path]) -> Release:
    """The release loaded from `folders` into schema `vocab`, which is made anew.

    Each folder holds CONCEPT.csv (or .csv.gz) and any of the other Athena files. A later folder adds only concepts
    whose (vocabulary_id, concept_code) is not there yet; where it had its own id for such a code, its relationships
    move to the id that is there. Raises VocabularyError with every fault found in a file, by file and line.
    """
    if not folders:
        raise VocabularyError("no vocabulary folder given")
    sources = [(Path(folder), athena_files(Path(folder))) for folder in folders]
    connection.execute("CREATE SCHEMA IF NOT EXISTS vocab")
    for statement in CREATE:
        connection.execute(statement)
    loaded = [_load_folder(connection, folder, found) for folder, found in sources]
    make_meanings(connection)
    connection.execute(
        "CREATE OR REPLACE TABLE vocab.loaded_folder "
        "(position INTEGER, version VARCHAR, concepts_read BIGINT, concepts BIGINT)"
    )
    rows = [(n, one.version, one.concepts_read, one.concepts_added) for n, one in enumerate(loaded)]
    insert_rows(connection, "vocab.loaded_folder", rows)
    return Release(release_of(loaded), tuple(loaded))


def release_of(loaded: Sequence[FolderRelease]) -> str:
    """The release that the first folder which states one states."""
    return next((one.version for one in loaded if one.version), "")[:RELEASE_LIMIT]


def athena_files(folder: Path) -> dict[str, Path]:
    """The Athena files of a folder, by table; all faults of the folder and of its headers are raised together."""
    if not folder.is_dir():
        raise VocabularyError(f"{folder}: no such vocabulary folder")
    # Compared in upper case: some mirrors unpack Athena files in lower case.
    present = {path.name.upper(): path for path in sorted(folder.iterdir()) if path.is_file()}
    found = {
        table: present[name]
        for table in TABLES
        for name in (f"{table.upper()}.CSV", f"{table.upper()}.CSV.GZ")
        if name in present
    }
    problems = [] if "concept" in found else [f"{folder}: CONCEPT.csv is missing"]
    for table, path in found.items():
        header = _header(path)
        problems += [
            f"{path}:1: column {column.name} is missing{did_you_mean(column.name, header)}"
            for column in TABLES[table]
            if column.name not in header
        ]
    if problems:
        raise VocabularyError(f"{folder}: this vocabulary folder cannot be used", problems=problems)
    return found


def _header(path: Path) -> list[str]:
    with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as lines:
        first = lines.readline().decode("utf-8-sig", errors="replace")
    return [name.strip().lower() for name in first.rstrip("\r\n").split("\t")]


def _load_folder(connection: duckdb.DuckDBPyConnection, folder: Path, found: dict[str, Path]) -> FolderRelease:
    """One folder read into `incoming_*` tables, checked as a whole, then added to schema `vocab`."""
    problems: list[str] = []
    for table in TABLES:
        problems += _read(connection, table, found.get(table))
    if problems:
        raise VocabularyError(f"{folder}: this vocabulary folder cannot be used", problems=problems)
    _add_concepts(connection, folder)
    _add_links(connection)
    for table in ("vocabulary", "domain", "concept_class", "relationship"):
        _add_new_keys(connection, table)
    read, added = _row(connection, "SELECT (SELECT count(*) FROM incoming_concept), (SELECT count(*) FROM new_concept)")
    version = connection.execute(
        "SELECT vocabulary_version FROM incoming_vocabulary WHERE vocabulary_id = 'None'"
    ).fetchone()
    for name in (*(f"incoming_{table}" for table in TABLES), "new_concept", "replaced"):
        connection.execute(f"DROP TABLE {name}")
    return FolderRelease(folder, version[0] if version else None, int(read), int(added))


def _read(connection: duckdb.DuckDBPyConnection, table: str, path: Path | None) -> list[str]:
    """Fills `incoming_<table>` with typed columns; the faults found, at most ten of each kind."""
    columns = TABLES[table]
    if path is None:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE incoming_{table} AS FROM vocab.{table} LIMIT 0")
        return []
    raw = raw_rows(path)
    typed = ", ".join(f"{_cast(column)} AS {column.name}" for column in columns)
    try:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE incoming_{table} AS SELECT {typed} FROM {raw}")
        faults = _faults(connection, table, path, raw)
    except duckdb.InvalidInputException as error:
        return [f"{path}: not a tab-separated UTF-8 file ({_place(error)})"]
    return faults


def raw_rows(path: Path) -> str:
    """The DuckDB table function that reads every column of a file as text, '' as NULL."""
    columns = ", ".join(f"{_quoted(name)}: 'VARCHAR'" for name in _header(path))
    return (
        f"read_csv({_quoted(str(path))}, auto_detect=false, header=true, delim='\t', quote='', escape='', "
        f"nullstr='', columns={{{columns}}})"
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _cast(column: Column) -> str:
    if column.kind == "DATE":
        return f"try_strptime({column.name}, ['%Y%m%d', '%Y-%m-%d'])::DATE"
    if column.kind == "VARCHAR":
        return column.name
    return f"TRY_CAST({column.name} AS {column.kind})"


def _faults(connection: duckdb.DuckDBPyConnection, table: str, path: Path, raw: str) -> list[str]:
    """Values that are missing or not of the column's type, and doubled keys."""
    columns = TABLES[table]
    missing = [column.name for column in columns if column.required]
    counts = ", ".join(
        f"count(*) FILTER ({column.name} IS NULL)" for column in columns if column.required or column.kind != "VARCHAR"
    )
    suspects = [column for column in columns if column.required or column.kind != "VARCHAR"]
    nulls = _row(connection, f"SELECT {counts} FROM incoming_{table}")
    problems: list[str] = []
    for column, null_count in zip(suspects, nulls, strict=True):
        if not null_count:
            continue
        bad = f"{column.name} IS NULL" if column.name in missing else "false"
        wrong = f"{bad} OR ({column.name} IS NOT NULL AND {_cast(column)} IS NULL)"
        problems += [
            f"{path}:{line}: {column.name} is missing or no {column.kind}" for line in _lines(connection, raw, wrong)
        ]
    key = ", ".join(KEYS[table])
    doubled = connection.execute(
        f"SELECT {key} FROM incoming_{table} GROUP BY ALL HAVING count(*) > 1 LIMIT 10"
    ).fetchall()
    problems += [f"{path}: more than one row for {key} = {', '.join(map(str, row))}" for row in doubled]
    return problems


def _lines(connection: duckdb.DuckDBPyConnection, raw: str, wrong: str) -> list[int]:
    """The lines of a file where a condition holds, at most ten; only here does the order of reading matter."""
    kept = connection.execute("SELECT current_setting('preserve_insertion_order')").fetchone()
    connection.execute("SET preserve_insertion_order = true")
    rows = connection.execute(
        f"SELECT line FROM (SELECT row_number() OVER () + 1 AS line, * FROM {raw}) WHERE {wrong} LIMIT 10"
    ).fetchall()
    connection.execute(f"SET preserve_insertion_order = {str(kept[0]).lower() if kept else 'true'}")
    return [line for (line,) in rows]


def _add_concepts(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Adds concepts not there yet; leaves `new_concept` and `replaced` (own id → id that is there) behind."""
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE replaced AS
           SELECT incoming.concept_id AS old_id, present.concept_id AS new_id
           FROM incoming_concept AS incoming JOIN vocab.concept AS present USING (vocabulary_id, concept_code)
           QUALIFY row_number() OVER (PARTITION BY incoming.concept_id
                                      ORDER BY present.invalid_reason NULLS FIRST, present.concept_id) = 1"""
    )
    clashes = connection.execute(
        f"""SELECT incoming.concept_id, incoming.vocabulary_id, present.vocabulary_id
           FROM incoming_concept AS incoming JOIN vocab.concept AS present USING (concept_id)
           WHERE concept_id >= {OWN_IDS_FROM} AND (incoming.vocabulary_id, incoming.concept_code)
                                   <> (present.vocabulary_id, present.concept_code) LIMIT 20"""
    ).fetchall()
    if clashes:
        raise VocabularyError(
            f"{folder}: own concept ids that another folder already uses",
            problems=[f"concept_id {one}: {mine} here, {theirs} there" for one, mine, theirs in clashes],
        )
    # An id that is there under another code is the same concept (ids below two billion are OMOP's): the first stays.
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE new_concept AS
           FROM incoming_concept ANTI JOIN vocab.concept USING (vocabulary_id, concept_code)"""
    )
    connection.execute("DELETE FROM new_concept WHERE concept_id IN (SELECT concept_id FROM vocab.concept)")
    connection.execute(f"INSERT INTO vocab.concept BY NAME FROM new_concept {in_order('concept')}")


def _add_links(connection: duckdb.DuckDBPyConnection) -> None:
    """Adds relationships, ancestors, synonyms and strengths of this folder's new concepts, with replaced ids."""
    for table, (one, two) in {
        "concept_relationship": ("concept_id_1", "concept_id_2"),
        "concept_ancestor": ("ancestor_concept_id", "descendant_concept_id"),
        "drug_strength": ("drug_concept_id", "ingredient_concept_id"),
    }.items():
        # What a concept of an earlier folder maps to is that folder's business: its `Maps to` is never extended.
        also = "OR (two.concept_id IS NOT NULL AND relationship_id NOT IN ('Maps to', 'Maps to value'))"
        either = {"concept_relationship": also, "concept_ancestor": "OR two.concept_id IS NOT NULL"}.get(table, "")
        connection.execute(
            f"""INSERT INTO vocab.{table} BY NAME
                SELECT incoming.* REPLACE (coalesce(r1.new_id, incoming.{one}) AS {one},
                                           coalesce(r2.new_id, incoming.{two}) AS {two})
                FROM incoming_{table} AS incoming
                LEFT JOIN replaced AS r1 ON r1.old_id = incoming.{one}
                LEFT JOIN replaced AS r2 ON r2.old_id = incoming.{two}
                LEFT JOIN new_concept AS one ON one.concept_id = incoming.{one}
                LEFT JOIN new_concept AS two ON two.concept_id = incoming.{two}
                WHERE one.concept_id IS NOT NULL {either} {in_order(table)}"""
        )
    connection.execute(
        "INSERT INTO vocab.concept_synonym BY NAME "
        f"FROM incoming_concept_synonym SEMI JOIN new_concept USING (concept_id) {in_order('concept_synonym')}"
    )


def in_order(table: str) -> str:
    """The order in which rows lie, so that looking up a few of them reads only where they can be."""
    return f"ORDER BY {', '.join(ORDER[table])}"


def _add_new_keys(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    key = KEYS[table][0]
    connection.execute(f"INSERT INTO vocab.{table} BY NAME FROM incoming_{table} ANTI JOIN vocab.{table} USING ({key})")


def _row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None  # an aggregate always gives a row
    return row


def _place(error: duckdb.Error) -> str:
    """The first line of DuckDB's message, which names the line of the file but quotes none of it."""
    return str(error).splitlines()[0]
