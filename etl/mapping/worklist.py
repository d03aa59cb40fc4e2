"""The worklist: source codes that no standard concept answers yet, with concepts whose names are like theirs.

The file is Usagi's own save format (OHDSI Usagi, File > Open), so that it opens there as in a spreadsheet; what Usagi
has no column for stands in ADD_INFO columns. Usagi puts a backslash before a quotation mark, a spreadsheet doubles it:
so no cell holds either, and a code that does is spelt out in ADD_INFO:exactCode (percent-encoded).
`etl.mapping.reviewed` takes the reviewed file back.

A source text is no code: what stands in place of one is in the file, which stays with the site, and is never printed.
A result ("text value") may say something about one patient: such a text is listed only when it has no digit of any
script, is short, stands on one line, and came more than once. The rest is counted.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import duckdb
import polars as pl

import etl.cdm
from etl.mapping.candidates import find_candidates
from etl.mapping.language import Concept, Mappings, ResourceMapping, Rule, load_mappings
from etl.store.reading import reading
from etl.vocabulary import normalise_code, shipped_folder
from etl.vocabulary.athena import OWN_IDS_FROM

USAGI = (
    "sourceCode sourceName sourceFrequency sourceAutoAssignedConceptIds {info} matchScore mappingStatus statusSetBy "
    "statusSetOn conceptId conceptName domainId comment"
)
"""Columns of a file that Usagi saves; `{info}` stands for the ADD_INFO columns.

Those that Usagi adds by itself are left out, because their words differ from version to version (mappingType).
"""

INFO = "ADD_INFO:"
CANDIDATES = 5
MINIMUM_TEXTS = 2
"""A result text that came less often is not listed."""

_LONGEST_TEXT = 50
_LONGEST_NAME = 255
_RISKY_START = ("=", "+", "-", "@", "'", "\t")
_INFO_COLUMNS = (
    "site",
    "sourceVocabulary",
    "exactCode",
    "element",
    *(f"candidate{n}" for n in range(1, CANDIDATES + 1)),
)


@dataclass(frozen=True)
class Worklist:
    """codes: item, site, source_vocabulary_id, source_code, source_name, n, elements, domains; candidates: see
    `find_candidates`, by item. `left_out`: result texts that are not listed because they may tell of a patient.
    """

    codes: pl.DataFrame
    candidates: pl.DataFrame
    left_out: int


def worklist(
    database: str, site: str | None = None, mappings: Path | None = None, *, rare_texts: bool = False
) -> Worklist:
    """The unmapped codes of a built database, most frequent first, with candidates from its vocabulary.

    `rare_texts` also lists result texts that came only once. Raises CdmError when the database cannot be read,
    MappingError when the mapping files (default: blina's own) cannot.
    """
    targets = _Targets(load_mappings(mappings or shipped_folder().parent))
    with reading(database) as connection:
        rows = _unmapped(connection, site)
        listed = [row for row in rows if targets.may_be_shown(row, MINIMUM_TEXTS if not rare_texts else 1)]
        codes = _by_code(listed, targets)
        named = codes.select("item", pl.col("source_name").alias("name"), "domains")
        return Worklist(codes, find_candidates(connection, named, CANDIDATES), len(rows) - len(listed))


def write_worklist(found: Worklist, path: Path) -> None:
    """Writes the worklist as Usagi saves it: one row per code, UNCHECKED, with the best OMOP candidate as proposal."""
    columns = USAGI.format(info=" ".join(INFO + name for name in _INFO_COLUMNS)).split()
    by_item: dict[int, list[dict[str, object]]] = {}
    for candidate in found.candidates.iter_rows(named=True):
        by_item.setdefault(candidate["item"], []).append(candidate)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, columns, restval="", lineterminator="\n")
        writer.writeheader()
        # Usagi takes neighbours of the same code and name for targets of one code: their names must differ.
        twice = found.codes.filter(pl.struct("source_code", "source_name").is_duplicated())["item"].to_list()
        for code in found.codes.iter_rows(named=True):
            if code["item"] in twice:
                code["source_name"] += f" [{code['site']} {code['source_vocabulary_id']}]"
            writer.writerow(_usagi_row(code, by_item.get(code["item"], [])))


def exact_code(code: str) -> str:
    """A code with a quotation mark or backslash, percent-encoded; empty for any other code."""
    return quote(code) if '"' in code or "\\" in code else ""


def guarded(text: str) -> str:
    """A cell that every program reads alike and none takes for a formula; `unguarded` undoes the latter."""
    text = text.replace('"', "'").replace("\\", "/")
    return f"'{text}" if text.startswith(_RISKY_START) else text


def unguarded(cell: str) -> str:
    """The text of a guarded cell."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_RISKY_START) else cell


def _usagi_row(code: dict[str, object], candidates: list[dict[str, object]]) -> dict[str, object]:
    # Usagi's index has no concepts of one's own: they are told in the candidate columns only.
    known = [one for one in candidates if int(str(one["concept_id"])) < OWN_IDS_FROM]
    best = known[0] if known else {"score": 0, "concept_id": 0, "concept_name": "", "domain_id": ""}
    shown = {
        f"{INFO}candidate{one['rank']}": guarded(
            f"{one['concept_id']} | {one['concept_name']} | {one['domain_id']} | "
            f"{one['vocabulary_id']} {one['concept_code']} | {one['score']}"
        )
        for one in candidates
    }
    return shown | {
        "sourceCode": guarded(str(code["source_code"])),
        "sourceName": guarded(str(code["source_name"])),
        "sourceFrequency": code["n"],
        "sourceAutoAssignedConceptIds": ";".join(str(one["concept_id"]) for one in known),
        f"{INFO}site": code["site"],
        f"{INFO}sourceVocabulary": code["source_vocabulary_id"],
        f"{INFO}exactCode": exact_code(str(code["source_code"])),
        f"{INFO}element": code["elements"],
        "matchScore": best["score"],
        "mappingStatus": "UNCHECKED",
        "statusSetOn": 0,
        "conceptId": best["concept_id"],
        "conceptName": guarded(str(best["concept_name"])),
        "domainId": best["domain_id"],
    }


@dataclass(frozen=True)
class _Row:
    site: str
    resource_type: str
    element: str
    vocabulary: str
    code: str
    name: str
    n: int

    @property
    def is_text(self) -> bool:
        """Whether a text stands in place of a code."""
        return stands_for_a_code(self.code, self.name, self.vocabulary)


def stands_for_a_code(text: str, name: str | None, vocabulary: str | None) -> bool:
    """Whether it is a text: it is its own name, or has none and is more than one word. A unit in one word is a unit."""
    if vocabulary == "UCUM":
        return text == name and len(text.split()) > 1
    if vocabulary and not vocabulary.startswith("BLINA_"):
        return False
    return text == name or (not name and len(text.split()) > 1)


def _unmapped(connection: duckdb.DuckDBPyConnection, site: str | None) -> list[_Row]:
    rows = connection.execute(
        """SELECT site, resource_type, coalesce(element, ''), coalesce(source_vocabulary_id, ''), source_code,
                  coalesce(source_name, ''), sum(n)::BIGINT
           FROM lineage.unmapped WHERE source_code IS NOT NULL AND site = coalesce(?, site)
           GROUP BY ALL ORDER BY ALL""",
        [site],
    ).fetchall()
    return [_Row(*row) for row in rows]


def _by_code(rows: list[_Row], targets: "_Targets") -> pl.DataFrame:
    """One row per site, vocabulary and code: the name seen most often, the sum, all elements and their domains."""
    groups: dict[tuple[str, str, str], list[_Row]] = {}
    for row in rows:
        groups.setdefault((row.site, row.vocabulary, row.code), []).append(row)
    ordered = sorted(groups.items(), key=lambda group: (-sum(row.n for row in group[1]), group[0]))
    return pl.DataFrame(
        [
            {
                "item": item, "site": site, "source_vocabulary_id": vocabulary, "source_code": code,
                "source_name": _name(found), "n": sum(row.n for row in found),
                "elements": ", ".join(sorted({f"{row.resource_type}.{row.element}" for row in found})),
                "domains": list(dict.fromkeys(domain for row in found for domain in targets.domains(row))),
            }
            for item, ((site, vocabulary, code), found) in enumerate(ordered)
        ],
        schema={
            "item": pl.Int64, "site": pl.String, "source_vocabulary_id": pl.String, "source_code": pl.String,
            "source_name": pl.String, "n": pl.Int64, "elements": pl.String, "domains": pl.List(pl.String),
        },
    )  # fmt: skip


def _name(rows: list[_Row]) -> str:
    """The most frequent name on one line; the code where there is none."""
    counts: dict[str, int] = {}
    for row in rows:
        if row.name:
            counts[row.name] = counts.get(row.name, 0) + row.n
    best = min(counts, key=lambda name: (-counts[name], name)) if counts else rows[0].code
    return " ".join(best.split())[:_LONGEST_NAME]


class _Targets:
    """What the mapping does with each element: the domains it takes, and whether it is a result or a code."""

    def __init__(self, mappings: Mappings) -> None:
        self.mappings = mappings

    def may_be_shown(self, row: _Row, minimum: int) -> bool:
        """Whether the worklist may name it: any code, and texts that are no single patient's result."""
        if "\n" in row.code or "\r" in row.code:
            return False  # a narrative; no file of Usagi's can hold it
        if not row.is_text:
            return True
        plain = normalise_code(row.code)
        kind = {concept.kind for _, concept in self._concepts(row)}
        if (kind and "value" not in kind) or self._of_short_list(row):
            return len(plain) <= _LONGEST_NAME
        return row.n >= minimum and len(plain) <= _LONGEST_TEXT and not re.search(r"\d|@", plain)

    def domains(self, row: _Row) -> list[str]:
        """The domains that the element's rules route, and that the CDM asks of the columns it fills."""
        found: list[str] = []
        for mapping, concept in self._concepts(row):
            if concept.kind == "unit":
                return ["Unit"]
            if concept.kind == "value":
                found.append("Meas Value")
            for rule in mapping.rules.values():
                if rule.concept == concept.name:
                    found += rule.domains
                found += _asked_domains(rule, concept.name)
        return list(dict.fromkeys(found))

    def _of_short_list(self, row: _Row) -> bool:
        """Whether it was looked up in a short list, for a column: then the element is named "rule.column"."""
        mapping = self._mapping(row)
        name, _, column = row.element.partition(".")
        return mapping is not None and name in mapping.rules and column in mapping.rules[name].columns

    def _mapping(self, row: _Row) -> ResourceMapping | None:
        """The mapping of the row's resource type at its site."""
        return self.mappings.by_site.get(row.site, {}).get(row.resource_type, self.mappings.base.get(row.resource_type))

    def _concepts(self, row: _Row) -> Iterator[tuple[ResourceMapping, Concept]]:
        """The element's concept in the mapping of its site; named "rule_concept" when a rule has its own."""
        mapping = self._mapping(row)
        if mapping is None:
            return
        if row.element in mapping.concepts:
            yield mapping, mapping.concepts[row.element]
        for rule in mapping.rules.values():
            for concept in rule.concepts.values():
                if row.element in {f"{rule.name}_{concept.name}", f"{rule.name}.{concept.name}"}:
                    yield mapping, concept


def _asked_domains(rule: Rule, concept: str) -> list[str]:
    """The domains of the columns that a rule fills with a concept, unless the rule routes it by domain."""
    table = etl.cdm.TABLES.get(rule.table)
    if table is None or rule.concept == concept:
        return []
    forms = {f"${concept}", f"${concept}.standard"}
    asked = []
    for name, form in rule.columns.items():
        parts = form.get("first", []) if isinstance(form, dict) else [form]
        if name in table.columns and any(isinstance(part, str) and part in forms for part in parts):
            asked += str(table.columns[name].info.get("fk_domain") or "").split(", ")
    return [domain for domain in asked if domain]
