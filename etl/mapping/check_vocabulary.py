"""Checks of a mappings folder against a vocabulary: constant concept ids, code lists, code maps, names of domains."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

import etl.cdm
from etl.errors import MappingError, did_you_mean
from etl.mapping.language import ColumnForm, Mappings, ResourceMapping
from etl.vocabulary import SUBSTANCE, load_code_maps

_PLAIN = ("description", "reviewed_by", "reviewed_on", "comment")
_OMOP = (
    "source_code source_concept_id source_vocabulary_id source_code_description target_concept_id "
    "target_vocabulary_id valid_start_date valid_end_date invalid_reason"
).split()
_REQUIRED = {"systems": ("source_code", "target_vocabulary_id"), "units": ("source_code", "target_concept_code")}
_LOOKUP = ("source_code", "target_concept_id")


@dataclass(frozen=True)
class Listed:
    """One row of a code list (`codes/<name>.csv`) with its place."""

    place: str
    values: dict[str, str]

    @property
    def concept_id(self) -> int:
        """The target; 0 where it is no number (which is a fault of its own)."""
        written = self.values["target_concept_id"] or ""
        return int(written) if written.isdigit() else 0


@dataclass(frozen=True)
class _Concept:
    standard: bool
    domain: str


def read_code_lists(folder: Path) -> tuple[dict[str, list[Listed]], list[str]]:
    """The rows of every code list by its name, and the faults: columns, doubled codes, ids that are no number."""
    lists: dict[str, list[Listed]] = {}
    problems: list[str] = []
    for path in sorted((folder / "codes").glob("*.csv")):
        if path.stem.startswith("source_to_concept_map"):
            continue  # read by etl.vocabulary
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            header = list(reader.fieldnames or [])
            rows = [Listed(f"codes/{path.name}:{reader.line_num}", row) for row in reader]
        faults = _header_faults(path, header)
        problems += faults
        lists[path.stem] = [] if faults else rows
        if not faults:
            problems += _row_faults(rows, lookup=path.stem not in _REQUIRED)
    return lists, problems


def _header_faults(path: Path, header: list[str]) -> list[str]:
    needed = _REQUIRED.get(path.stem, _LOOKUP)
    known = [*dict.fromkeys((*needed, *_OMOP, *_PLAIN))]
    missing = [
        f"codes/{path.name}:1: column {name} is missing{did_you_mean(name, header)}"
        for name in needed
        if name not in header
    ]
    return missing + [
        f"codes/{path.name}:1: unknown column {name}{did_you_mean(name, known)}" for name in header if name not in known
    ]


def _row_faults(rows: list[Listed], *, lookup: bool) -> Iterator[str]:
    seen: dict[str, str] = {}
    for row in rows:
        code = row.values["source_code"]
        if code in seen:
            yield f"{row.place}: {code!r} stands twice (the other at {seen[code]})"
        seen.setdefault(code, row.place)
        if None in row.values or None in row.values.values():
            yield f"{row.place}: not as many values as columns"
        elif lookup and not row.values["target_concept_id"].isdigit():
            yield f"{row.place}: target_concept_id {row.values['target_concept_id']!r} is no concept id"


class VocabularyCheck:
    """The faults of a mappings folder that only a vocabulary (schema `vocab` of a connection) can show."""

    def __init__(
        self, vocabulary: duckdb.DuckDBPyConnection, mappings: Mappings, lists: dict[str, list[Listed]]
    ) -> None:
        self.vocabulary = vocabulary
        self.mappings = mappings
        self.lists = lists
        self.problems: list[str] = []
        self.unknown: list[str] = []
        self._known: dict[int, _Concept] = {}

    def run(self) -> list[str]:
        """Every fault found, each with file and line."""
        for mapping in self._variants():
            self._check_domains(mapping)
        self.check_ids()
        self._check_units()
        self._check_code_maps()
        return list(dict.fromkeys([*self.unknown, *self.problems]))

    def check_ids(self) -> None:
        """Notes the ids of mapping files and code lists, which would be written as they are, that are `unknown`, or
        (`problems`) not standard, valid and of the domain that their column takes.
        """
        seen: dict[tuple[str, str, str], None] = {}
        wanted: list[tuple[int, str, str, str]] = []
        for mapping in self._variants():
            for rule in mapping.rules.values():
                table = etl.cdm.TABLES.get(rule.table)
                for name, form in rule.columns.items() if table is not None else ():
                    if table is None or name not in table.columns or table.columns[name].info["fk_table"] != "concept":
                        continue
                    keys = ("rules", rule.name, "columns", name)
                    place = f"{mapping.place(*keys)}: {'.'.join(keys)}"
                    wanted += [(constant, table.name, name, place) for constant in constants(form)]
                    seen |= {(table.name, name, lookup): None for lookup in lookups(form)}
        for table_name, column, lookup in seen:
            wanted += [(row.concept_id, table_name, column, row.place) for row in self.lists.get(lookup, [])]
        self._look_up({concept_id for concept_id, _, _, _ in wanted})
        for one in wanted:
            self._check(*one)

    def _variants(self) -> Iterator[ResourceMapping]:
        yield from self.mappings.base.values()
        for by_resource in self.mappings.by_site.values():
            yield from by_resource.values()

    def _check(self, concept_id: int, table: str, column: str, place: str) -> None:
        if concept_id == 0:
            return  # "no matching concept", said on purpose
        info = etl.cdm.TABLES[table].columns[column].info
        found = self._known.get(concept_id)
        if found is None:
            self.unknown.append(f"{place}: concept {concept_id} is not in the vocabulary")
            return
        if not found.standard and not info["source_concept"]:
            self.problems.append(f"{place}: concept {concept_id} is not standard, {table}.{column} takes no other")
        wanted = str(info["fk_domain"] or "").split(", ")
        if wanted != [""] and found.domain not in wanted:
            message = f"concept {concept_id} is of domain {found.domain}, {table}.{column} asks for {', '.join(wanted)}"
            self.problems.append(f"{place}: {message}")

    def _look_up(self, ids: set[int]) -> None:
        """All of them in one query: a release has millions of concepts."""
        found = self.vocabulary.execute(
            "SELECT concept_id, standard_concept = 'S' AND invalid_reason IS NULL, domain_id FROM vocab.concept "
            f"SEMI JOIN (SELECT unnest({sorted(ids)}::INTEGER[]) AS concept_id) USING (concept_id)"
        ).fetchall()
        self._known = {int(one): _Concept(bool(standard), str(domain)) for one, standard, domain in found}

    def _check_domains(self, mapping: ResourceMapping) -> None:
        """Names of domains and vocabularies that nothing can ever have."""
        domains = self._names("SELECT domain_id FROM vocab.domain UNION SELECT domain_id FROM vocab.concept")
        domains += [*etl.cdm.DOMAIN_TABLES, SUBSTANCE]
        for rule in mapping.rules.values():
            for domain in rule.domains:
                if domain not in domains:
                    place = mapping.place("rules", rule.name, "domain")
                    hint = did_you_mean(domain, domains)
                    self.problems.append(f"{place}: rules.{rule.name}.domain: {domain} is no domain{hint}")
        vocabularies = self._names("SELECT vocabulary_id FROM vocab.vocabulary")
        vocabularies += [row.values["target_vocabulary_id"] for row in self.lists.get("systems", [])]
        for concept in mapping.concepts.values():
            for name in concept.prefer:
                if name != "local" and name not in vocabularies:
                    place = mapping.place("concepts", concept.name, "prefer")
                    hint = did_you_mean(name, [*vocabularies, "local"])
                    self.problems.append(f"{place}: concepts.{concept.name}.prefer: {name} is no vocabulary{hint}")

    def _names(self, query: str) -> list[str]:
        return [str(row[0]) for row in self.vocabulary.execute(query).fetchall()]

    def _check_units(self) -> None:
        units = set(self._names("SELECT concept_code FROM vocab.concept WHERE vocabulary_id = 'UCUM'"))
        for row in self.lists.get("units", []):
            code = row.values["target_concept_code"]
            if code and code not in units:
                hint = did_you_mean(code, sorted(units))
                self.problems.append(f"{row.place}: {code} is no UCUM unit of the vocabulary{hint}")

    def _check_code_maps(self) -> None:
        """Targets of the project's and the sites' code maps; vocabulary None is "meaningless on purpose"."""
        folder = self.mappings.folder
        sites = sorted(path.name for path in (folder / "sites").glob("*") if path.is_dir())
        try:
            unresolved = load_code_maps(self.vocabulary, folder, sites).unresolved
        except MappingError as error:
            self.problems += [problem.replace(f"{folder}/", "") for problem in error.problems]
            return
        self.problems += [str(one).replace(f"{folder}/", "") for one in unresolved]


def check_ids(vocabulary: duckdb.DuckDBPyConnection, mappings: Mappings) -> list[str]:
    """The ids of mapping files and code lists that are not as their columns take them in the loaded vocabulary: not
    standard, not valid, of another domain (f2o-030, -031, -050). A new release may make them so, so they are told.

    Raises MappingError with those that the vocabulary does not have at all: rows would point to nothing.
    """
    lists, faults = read_code_lists(mappings.folder)
    found = VocabularyCheck(vocabulary, mappings, lists)
    found.check_ids()
    if faults or found.unknown:
        raise MappingError(
            f"{mappings.folder}: not as the loaded vocabulary has it", problems=sorted({*faults, *found.unknown})
        )
    return sorted(set(found.problems))


def constants(form: ColumnForm) -> Iterator[int]:
    """The concept ids that stand in a column's form."""
    if isinstance(form, int) and not isinstance(form, bool):
        yield form
    elif isinstance(form, dict):
        inner: list[Any] = [
            form.get("default"),
            form.get("value"),
            form.get("then"),
            form.get("else"),
            *(form.get("first") or []),
        ]
        for one in inner:
            yield from constants(one)


def lookups(form: ColumnForm) -> Iterator[str]:
    """The code lists that a column's form uses."""
    if isinstance(form, dict):
        if "lookup" in form:
            yield str(form["lookup"])
        for one in [form.get("then"), *(form.get("first") or [])]:
            yield from lookups(one)
