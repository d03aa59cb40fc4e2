"""A site's own cut of its Athena download: the rows that its data, its code maps and the mapping need.

A build with the cut gives the same clinical rows as one with the whole download, and needs a small part of its time and
memory. Codes that the data does not hold yet are not in it: cut again before a new delivery, or name them in `codes`.

What is kept: concepts of the codes used, of the code maps, of the mapping's constants, and of the vocabulary that
comes with blina; what these map to (`Maps to`, `Maps to value`); all ancestors of all of these, ingredients among them;
the small vocabularies of the CDM itself, and the concepts of the vocabulary, domain, class and relationship tables. Of
the other tables, the rows whose two ends are kept. Rows are copied as they are written.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

import etl.cdm
from etl.errors import VocabularyError, did_you_mean
from etl.mapping.language import ColumnForm, load_mappings
from etl.store.reading import reading
from etl.store.work import insert_frame
from etl.vocabulary.athena import athena_files, raw_rows, shipped_folder
from etl.vocabulary.scratch import scratch_database
from etl.vocabulary.source_to_concept_map import normalise_code
from etl.vocabulary.tables import KEYS, TABLES

SMALL_VOCABULARIES = (
    "None", "CDM", "Type Concept", "Gender", "Race", "Ethnicity", "Visit", "Episode", "Episode Type", "UCUM",
)  # fmt: skip
"""Kept whole: few rows, and any delivery may need another of them."""

_ENDS = {
    "concept_relationship": ("concept_id_1", "concept_id_2"),
    "concept_ancestor": ("ancestor_concept_id", "descendant_concept_id"),
    "drug_strength": ("drug_concept_id", "ingredient_concept_id"),
    "concept_synonym": ("concept_id", "concept_id"),
}
_NAMED_BY = {
    "vocabulary": "vocabulary_concept_id",
    "domain": "domain_concept_id",
    "concept_class": "concept_class_concept_id",
    "relationship": "relationship_concept_id",
}
Code = tuple[str, str]
"""A vocabulary and a code of it."""


@dataclass(frozen=True)
class Subset:
    """The folder that was written, and the rows kept of each table, with the rows that the whole download has."""

    folder: Path
    rows: dict[str, tuple[int, int]]


def write_subset(
    athena: Path, out: Path, *, database: str | None = None, codes: Path | None = None,
    mappings: Path | None = None, concept_ids: Iterable[int] = (),
) -> Subset:  # fmt: skip
    """Writes the cut of the Athena folder `athena` into the folder `out`, in Athena's own layout.

    The codes used are those of a database that blina built, of a CSV file (vocabulary_id, concept_code) or of both.
    `concept_ids` are kept as well, e.g. those of a study's concept sets. Raises VocabularyError for a folder or file of
    codes that cannot be used, CdmError for a database that cannot be read.
    """
    if database is None and codes is None:
        raise VocabularyError("nothing says which codes are used: name a database or a file of codes")
    if out.exists() and (out.resolve() == athena.resolve() or any(out.iterdir())):
        raise VocabularyError(f"{out}: is not empty; name a new folder for the cut")
    files = athena_files(athena)
    folder = mappings or shipped_folder().parent
    with scratch_database() as work:
        work.execute("CREATE TABLE used_id (concept_id BIGINT)")
        work.execute("CREATE TABLE used_code (vocabulary_id VARCHAR, concept_code VARCHAR)")
        work.execute("CREATE TABLE seen_value (concept_code VARCHAR)")
        if database is not None:
            _note_database(work, database)
        if codes is not None:
            _note_codes(work, _read_codes(codes))
        _note_codes(work, _mapped_codes(folder))
        _note_ids(work, [*concept_ids, *_constants(folder)])
        _keep(work, files, _coded_vocabularies(work, folder))
        return Subset(out, _write(work, files, out))


# --- what is used ----------------------------------------------------------------------------------------------


def _note_ids(work: duckdb.DuckDBPyConnection, ids: Iterable[int]) -> None:
    insert_frame(work, "used_id", pl.DataFrame({"concept_id": sorted(set(ids))}, schema={"concept_id": pl.Int64}))


def _note_codes(work: duckdb.DuckDBPyConnection, codes: Iterable[Code]) -> None:
    rows = sorted(set(codes))
    schema = {"vocabulary_id": pl.String, "concept_code": pl.String}
    insert_frame(work, "used_code", pl.DataFrame(rows, schema=schema, orient="row"))


def _note_database(work: duckdb.DuckDBPyConnection, database: str) -> None:
    """Every concept id that the CDM holds, every unmapped code, and every source value that may be a code."""
    ids, values = [], []
    for name, table in etl.cdm.TABLES.items():
        if name in etl.cdm.VOCABULARY_TABLES:
            continue
        for column in table.columns:
            if column.name.endswith("concept_id"):
                ids.append(f'SELECT "{column.name}" AS one FROM cdm."{name}"')
            if column.name.endswith("source_value"):
                values.append(f'SELECT "{column.name}" AS one FROM cdm."{name}"')
    with reading(database) as connection:
        found = [
            connection.execute(f"SELECT DISTINCT one FROM ({' UNION ALL '.join(parts)}) WHERE one IS NOT NULL").pl()
            for parts in (ids, values)
        ]
        unmapped = connection.execute("SELECT DISTINCT source_vocabulary_id, source_code FROM lineage.unmapped").pl()
    _note_ids(work, found[0]["one"].to_list())
    seen = {normalise_code(one) for one in found[1]["one"]} | set(found[1]["one"])
    insert_frame(work, "seen_value", pl.DataFrame({"concept_code": sorted(seen)}, schema={"concept_code": pl.String}))
    _note_codes(work, ((home, normalise_code(code)) for home, code in unmapped.drop_nulls().iter_rows()))


def _read_codes(path: Path) -> list[Code]:
    """The codes of a CSV file; OMOP's names of the columns or those of a code map."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            header = list(reader.fieldnames or [])
            home, code = (
                next((name for name in names if name in header), names[0])
                for names in (("vocabulary_id", "source_vocabulary_id"), ("concept_code", "source_code"))
            )
            missing = [name for name in (home, code) if name not in header]
            if missing:
                problems = [f"{path}:1: column {name} is missing{did_you_mean(name, header)}" for name in missing]
                raise VocabularyError(f"{path}: these codes cannot be used", problems=problems)
            return [(row[home].strip(), normalise_code(row[code])) for row in reader if row[home] and row[code]]
    except OSError as error:
        raise VocabularyError(f"{path}: cannot be read ({error.strerror})") from None


def _mapped_codes(folder: Path) -> Iterator[Code]:
    """Sources and targets of all code maps and lists, units, and the concepts that come with blina."""
    for path in (*folder.glob("codes/*.csv"), *folder.glob("sites/*/codes/*.csv")):
        for row in _rows(path):
            target = row.get("target_concept_code") or ""
            if target:
                yield row.get("target_vocabulary_id") or "UCUM", target
            if row.get("source_vocabulary_id") and row.get("source_code"):
                yield row["source_vocabulary_id"], normalise_code(row["source_code"])
            if row.get("unit_default"):
                yield "UCUM", row["unit_default"]
    # A real release goes before the concepts of blina, so the cut must hold what the release has of them.
    with (shipped_folder() / "CONCEPT.csv").open(encoding="utf-8-sig", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield row["vocabulary_id"], row["concept_code"]


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines))


def _constants(folder: Path) -> Iterator[int]:
    """The concept ids that mapping files and code lists name."""
    mappings = load_mappings(folder)
    variants = [*mappings.base.values(), *(one for site in mappings.by_site.values() for one in site.values())]
    for mapping in variants:
        for rule in mapping.rules.values():
            for column, form in rule.columns.items():
                if column.endswith("concept_id"):
                    yield from _numbers(form)
    for path in (*folder.glob("codes/*.csv"), *folder.glob("sites/*/codes/*.csv")):
        for row in _rows(path):
            yield from (int(row[name]) for name in row if name.endswith("concept_id") and row[name].isdigit())


def _numbers(form: ColumnForm | list[ColumnForm]) -> Iterator[int]:
    if isinstance(form, int) and not isinstance(form, bool):
        yield form
    parts = form.values() if isinstance(form, dict) else form if isinstance(form, list) else ()
    for part in parts:
        yield from _numbers(part)


# --- what is kept ----------------------------------------------------------------------------------------------


def _keep(work: duckdb.DuckDBPyConnection, files: dict[str, Path], vocabularies: list[str]) -> None:
    """`kept`: the ids of the concepts of the cut; `vocabularies` are those that source values may be codes of."""
    small = ", ".join(f"'{name}'" for name in SMALL_VOCABULARIES)
    systems = ", ".join(f"'{name}'" for name in vocabularies)
    work.execute(
        f"""CREATE TABLE kept AS
            SELECT DISTINCT concept_id::BIGINT AS concept_id FROM {raw_rows(files["concept"])} AS c
            WHERE concept_id::BIGINT IN (FROM used_id) OR vocabulary_id IN ({small})
               OR (vocabulary_id, concept_code) IN (SELECT (vocabulary_id, concept_code) FROM used_code)
               OR (vocabulary_id IN ({systems}) AND concept_code IN (FROM seen_value))"""
    )
    for table, column in _NAMED_BY.items():
        if table in files:
            _add(work, files, f"SELECT {column}::BIGINT AS concept_id FROM {raw_rows(files[table])}")
    if "concept_relationship" in files:
        work.execute(
            f"""CREATE TABLE leads AS
                SELECT concept_id_1::BIGINT AS one, concept_id_2::BIGINT AS two
                FROM {raw_rows(files["concept_relationship"])}
                WHERE relationship_id IN ('Maps to', 'Maps to value') AND concept_id_1 <> concept_id_2"""
        )
        while _add(work, files, "SELECT two AS concept_id FROM leads WHERE one IN (FROM kept)"):
            pass
    if "concept_ancestor" in files:
        _add(
            work, files,
            f"""SELECT ancestor_concept_id::BIGINT AS concept_id FROM {raw_rows(files["concept_ancestor"])}
                WHERE descendant_concept_id::BIGINT IN (FROM kept)""",
        )  # fmt: skip


def _coded_vocabularies(work: duckdb.DuckDBPyConnection, folder: Path) -> list[str]:
    """The vocabularies that source values may be codes of: those of the code systems, of the maps, and of the data."""
    systems = {row["target_vocabulary_id"] for row in _rows(folder / "codes" / "systems.csv")}
    used = work.execute("SELECT DISTINCT vocabulary_id FROM used_code").fetchall()
    return sorted(name for name in systems | {name for (name,) in used} if name and "'" not in name)


def _add(work: duckdb.DuckDBPyConnection, files: dict[str, Path], ids: str) -> int:
    """Adds the concepts of a SELECT of concept_id that the download has; how many were new."""
    added = work.execute(
        f"""INSERT INTO kept SELECT DISTINCT concept_id FROM ({ids})
            WHERE concept_id NOT IN (FROM kept)
              AND concept_id IN (SELECT concept_id::BIGINT FROM {raw_rows(files["concept"])})"""
    ).fetchone()
    return int(added[0]) if added else 0


# --- what is written -------------------------------------------------------------------------------------------


def _write(work: duckdb.DuckDBPyConnection, files: dict[str, Path], out: Path) -> dict[str, tuple[int, int]]:
    """Writes each file sorted by its key, so that the same cut gives the same bytes; rows kept and rows there."""
    out.mkdir(parents=True, exist_ok=True)
    counts = {}
    for table, path in files.items():
        source = raw_rows(path)
        ends = ("concept_id", "concept_id") if table == "concept" else _ENDS.get(table)
        where = f"WHERE {' AND '.join(f'{end}::BIGINT IN (FROM kept)' for end in dict.fromkeys(ends))}" if ends else ""
        columns = ", ".join(column.name for column in TABLES[table])
        rows = work.execute(f"SELECT {columns} FROM {source} {where} ORDER BY {', '.join(KEYS[table])}").pl()
        rows.write_csv(out / f"{table.upper()}.csv", separator="\t", quote_style="never")
        whole = work.execute(f"SELECT count(*) FROM {source}").fetchone()
        counts[table] = (rows.height, int(whole[0]) if whole else 0)
    return counts
