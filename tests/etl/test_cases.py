"""Every golden case (tests/cases/**.yaml, format in its README): given resources, these rows and nothing else.

Cases whose vocabularies do not contradict each other run in one build, each as a site of its own, so that the whole set
takes seconds. The vocabulary is the case's own: neither the shipped one nor the project's code map is loaded.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

import etl.cdm
from etl.landing import Source, land
from etl.mapping.language import Mappings, load_mappings
from etl.mapping.modifiers import Modifier, read_registry
from etl.pipeline import default_mappings
from etl.settings import Settings, SiteSettings
from etl.store import create_work_schema, insert_frame
from etl.transform.transform import compile_mappings, transform
from etl.vocabulary import load_code_maps, load_vocabulary, normalise_code

FOLDER = Path(__file__).parents[1] / "cases"
DERIVED = {"observation_period", "condition_era", "drug_era", "dose_era", "cdm_source", "source_to_concept_map"}
VALID = {"valid_start_date": "19700101", "valid_end_date": "20991231", "invalid_reason": ""}
NO_CONCEPT = {"id": 0, "name": "No matching concept", "domain": "Metadata", "vocabulary": "None", "code": "0"}


@dataclass(frozen=True)
class Case:
    """One golden case; its `name` is the site under which it runs, so that its rows are found again."""

    path: Path
    content: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.relative_to(FOLDER).with_suffix("").as_posix().replace("/", "-")

    @property
    def site(self) -> str:
        return str(self.content.get("site", "SITE9"))

    @property
    def concepts(self) -> list[dict[str, Any]]:
        return self.content.get("vocabulary") or []

    @property
    def data_lock(self) -> date:
        return self.content.get("data_lock", date(2025, 1, 31))

    @property
    def policies(self) -> dict[str, str]:
        """Policies that are not at their default in this case."""
        return self.content.get("policies") or {}

    @cached_property
    def words(self) -> frozenset[str]:
        """Every text in the case, and the units that its texts are aliases of: what could be looked up as a code."""
        texts = {normalise_code(text) for text in _texts([self.content["given"], self.content.get("code_map")])}
        return frozenset(texts | {code for alias, code in unit_aliases() if alias in texts})

    def agrees_with(self, other: "Case") -> bool:
        """Whether neither case is changed by the other's concepts being loaded too."""
        if self.data_lock != other.data_lock or self.policies != other.policies:
            return False
        here, there = ({one["id"]: one for one in case.concepts} for case in (self, other))
        if any(here[key] != there[key] for key in here.keys() & there.keys()):
            return False
        if (here.keys() ^ there.keys()) & ids_used_if_known():
            return False
        codes_here, codes_there = ({(one["vocabulary"], one["code"]): one["id"] for one in case.concepts}
                                   for case in (self, other))  # fmt: skip
        if any(codes_here[key] != codes_there[key] for key in codes_here.keys() & codes_there.keys()):
            return False
        foreign_here = {there[key]["code"] for key in there.keys() - here.keys()}
        foreign_there = {here[key]["code"] for key in here.keys() - there.keys()}
        return not (foreign_here & self.words or foreign_there & other.words)


@dataclass
class Results:
    """What one build wrote, ready to be asked by case."""

    rows: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    owners: dict[int, tuple[str, str]] = field(default_factory=dict)
    outcomes: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)


@cache
def ids_used_if_known() -> frozenset[int]:
    """The concept ids that mapping files use only where the vocabulary has them."""
    files = sorted((default_mappings() / "resources").glob("*.yaml"))
    return frozenset(int(found) for file in files for found in re.findall(r"if_known: (\d+)", file.read_text("utf-8")))


def unit_aliases() -> list[tuple[str, str]]:
    with (default_mappings() / "codes" / "units.csv").open(encoding="utf-8-sig") as lines:
        return [(normalise_code(row["source_code"]), row["target_concept_code"]) for row in csv.DictReader(lines)]


def _texts(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)
    elif isinstance(node, str):
        yield node


def _load_cases() -> list[Case]:
    return [Case(path, yaml.safe_load(path.read_text(encoding="utf-8"))) for path in sorted(FOLDER.rglob("*.yaml"))]


CASES = _load_cases()


def _groups(cases: list[Case]) -> list[list[Case]]:
    """The cases in as few groups as a greedy choice finds, whose vocabularies go together."""
    groups: list[list[Case]] = []
    for case in sorted(cases, key=lambda one: -len(one.concepts)):
        home = next((group for group in groups if all(case.agrees_with(other) for other in group)), None)
        if home is None:
            groups.append([case])
        else:
            home.append(case)
    return groups


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = ["\t".join(rows[0]), *("\t".join(str(value) for value in row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_vocabulary(folder: Path, cases: list[Case]) -> Path:
    """The concepts of all cases as an Athena folder; a standard concept maps to itself."""
    folder.mkdir(parents=True)
    concepts = {one["id"]: one for case in cases for one in case.concepts} | {0: NO_CONCEPT}
    _write_table(
        folder / "CONCEPT.csv",
        [
            {"concept_id": one["id"], "concept_name": one["name"], "domain_id": one["domain"],
             "vocabulary_id": one["vocabulary"], "concept_class_id": one.get("class") or "Undefined",
             "standard_concept": one.get("standard") or "", "concept_code": one["code"], **VALID}
            for one in concepts.values()
        ],
    )  # fmt: skip
    links = [
        {"concept_id_1": one["id"], "concept_id_2": target, "relationship_id": "Maps to", **VALID}
        for one in concepts.values()
        for target in one.get("maps_to") or ([one["id"]] if one.get("standard") == "S" else [])
    ]
    links += [
        {"concept_id_1": one["id"], "concept_id_2": target, "relationship_id": "Maps to value", **VALID}
        for one in concepts.values()
        for target in one.get("maps_to_value") or []
    ]
    if links:
        _write_table(folder / "CONCEPT_RELATIONSHIP.csv", links)
    return folder


def _write_code_maps(folder: Path, cases: list[Case]) -> Path:
    for case in [one for one in cases if one.content.get("code_map")]:
        codes = {one["id"]: (one["vocabulary"], one["code"]) for one in case.concepts}
        path = folder / "sites" / case.name / "codes" / "source_to_concept_map.csv"
        path.parent.mkdir(parents=True)
        with path.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow(
                "source_code source_vocabulary_id target_vocabulary_id target_concept_code unit_default".split()
            )
            for row in case.content["code_map"]:
                for target in row["targets"]:
                    vocabulary = row.get("vocabulary", f"BLINA_{case.name}")
                    writer.writerow([row["code"], vocabulary, *codes[target], row.get("unit_default", "")])
    return folder


def _land(folder: Path, cases: list[Case], mapped: set[str]) -> Any:
    sources = []
    for case in cases:
        place = folder / "given" / case.name
        place.mkdir(parents=True)
        lines = "".join(json.dumps(one, ensure_ascii=False, default=str) + "\n" for one in case.content["given"])
        (place / "given.ndjson").write_text(lines, encoding="utf-8")
        sources.append(Source(case.name, place))
    return land(sources, folder / "landed", mapped)


def _with_case_sites(mappings: Mappings, cases: list[Case]) -> Mappings:
    """Each case gets the overrides of the site that it names, and the modifier extensions that it declares."""
    by_site = {case.name: dict(mappings.by_site.get(case.site, {})) for case in cases}
    for case in cases:
        declared = read_registry(case.content.get("modifiers") or {}, {}, case.name, faults := [])
        assert not faults
        for name in mappings.base:
            known = tuple(Modifier(url, one["means"], one.get("reason", "")) for url, one in declared.on(name).items())
            if known:
                by_site[case.name][name] = by_site[case.name].get(name, mappings.base[name]).understanding(known)
    return replace(mappings, by_site=by_site)


def _run(folder: Path, cases: list[Case], mappings: Mappings) -> Results:
    """One build of all cases, in a work database."""
    sites = {case.name: SiteSettings(case.name, time_zone=case.content.get("time_zone", "UTC")) for case in cases}
    settings = Settings(key="golden cases", data_lock=cases[0].data_lock, sites=sites)
    landed = _land(folder, cases, set(mappings.base))
    with duckdb.connect(str(folder / "work.duckdb")) as work:
        work.execute("SET TimeZone = 'UTC'")
        create_work_schema(work)
        load_vocabulary(work, [_write_vocabulary(folder / "vocabulary", cases)])
        load_code_maps(work, _write_code_maps(folder / "codes", cases), list(sites))
        insert_frame(work, "led.file", landed.files)
        rules = _with_case_sites(mappings, cases)
        done = transform(work, compile_mappings(rules, list(sites)), landed, rules, settings)
        results = Results()
        for case in cases:
            results.outcomes[case.name] = {"skipped": Counter(), "rejected": Counter()}
        for counts in (landed.counts.filter(landed.counts["outcome"] != "landed"), done.outcomes):
            for site, _, outcome, reason, n in counts.select("site", "resource_type", "outcome", "reason", "n").rows():
                if outcome != "kept":
                    results.outcomes[site][outcome][reason] += n
        _collect_rows(work, cases, results)
        return results


def _collect_rows(work: duckdb.DuckDBPyConnection, cases: list[Case], results: Results) -> None:
    """Rows of `out`, by case and table, by way of lineage."""
    results.rows = {case.name: {} for case in cases}
    for table in etl.cdm.TABLES:
        if table in DERIVED or table in etl.cdm.VOCABULARY_TABLES:
            continue
        key = etl.cdm.ROW_KEYS.get(table)
        if key is None:
            assert work.execute(f"SELECT count(*) FROM out.{table}").fetchone() == (0,), f"{table} has no row key"
            continue
        found = work.execute(
            f"""SELECT r.site, r.fhir_id, u.rule, o.* FROM out.{table} o
                LEFT JOIN lin.cdm_row c ON c.table_name = '{table}' AND c.row_id = o.{key}
                LEFT JOIN lin.resource r USING (resource_no) LEFT JOIN lin.rule u USING (rule_id)"""
        )
        names = [one[0] for one in found.description]
        for site, fhir_id, rule, *values in found.fetchall():
            row = dict(zip(names[3:], values, strict=True))
            results.rows[site].setdefault(table, []).append(row)
            if table != "death":  # its row id is the person's
                results.owners[row[key]] = (fhir_id, rule)


def mappings_for(group: list[Case]) -> Mappings:
    """The mapping files under the policies of a group's cases."""
    return load_mappings(default_mappings(), group[0].policies)


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results | Exception]:
    """The results by case name; a group that fails to build fails its own cases only."""
    answers: dict[str, Results | Exception] = {}
    for group in _groups(CASES):
        answer: Results | Exception
        try:
            answer = _run(tmp_path_factory.mktemp("cases"), group, mappings_for(group))
        except Exception as error:
            answer = error
        answers |= dict.fromkeys((case.name for case in group), answer)
    return answers


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(
        ({name: _plain(value) for name, value in sorted(row.items()) if value is not None} for row in rows), key=repr
    )


def _with_references(row: dict[str, Any], case: Case, results: Results, with_rule: set[str]) -> dict[str, Any]:
    """Keys as `ref:<id>` (or `ref:<id>#<rule>` where the case says so), the case's site as its real name."""
    shown = {}
    for name, value in row.items():
        if isinstance(value, int) and value in results.owners and name.endswith("_id"):
            fhir_id, rule = results.owners[value]
            exact = f"ref:{fhir_id}#{rule}"
            value = exact if exact in with_rule else f"ref:{fhir_id}"
        shown[name] = value.replace(case.name, case.site) if isinstance(value, str) else value
    return shown


def _differences(actual: dict[str, list[dict[str, Any]]], wanted: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What is not as the case says, a line each: table, row, column, wanted, written."""
    lines = []
    for table in sorted(actual.keys() | wanted.keys()):
        written, listed = actual.get(table, []), wanted.get(table, [])
        if len(written) != len(listed):
            lines.append(f"{table}: {len(listed)} rows wanted, {len(written)} written: {written}")
            continue
        for number, (row, want) in enumerate(zip(written, listed, strict=True), 1):
            names = [name for name in row.keys() | want.keys() if row.get(name) != want.get(name)]
            lines += [
                f"{table}[{number}].{name}: {want.get(name)!r} wanted, {row.get(name)!r} written" for name in names
            ]
    return lines


@pytest.mark.parametrize("case", [pytest.param(case, id=case.content.get("title", case.name)) for case in CASES])
def test_case(case: Case, results: dict[str, Results | Exception]) -> None:
    found = results[case.name]
    if isinstance(found, Exception):
        raise found
    expected = case.content.get("expect") or {}
    with_rule = {text for text in _texts(expected) if text.startswith("ref:") and "#" in text}
    assert set(expected) <= set(etl.cdm.TABLES), f"{case.path}: no CDM table"
    actual = {
        table: _ordered([_with_references(row, case, found, with_rule) for row in rows])
        for table, rows in found.rows[case.name].items()
    }
    wanted = {table: _ordered(rows) for table, rows in expected.items() if rows}
    assert not _differences(actual, wanted), case.path
    outcomes = found.outcomes[case.name]
    assert dict(outcomes["skipped"]) == (case.content.get("skip") or {}), case.path
    assert dict(outcomes["rejected"]) == (case.content.get("reject") or {}), case.path


def test_titles_are_told_apart() -> None:
    titles = Counter(case.content["title"] for case in CASES)
    assert [title for title, times in titles.items() if times > 1] == []
