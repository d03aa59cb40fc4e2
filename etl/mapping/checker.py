"""Refuses mappings that cannot be right, before any data is read: `python -m etl.mapping.checker [folder]`.

All faults come at once, each with file and line and, where a word is nearly right, "did you mean". What is refused:
unknown elements, keys, tables, columns, lists, domains; choice types without `ofType`; paths over repeating elements;
values of the wrong kind; required columns left out; concepts that are unknown, not standard or of another domain; site
overrides that change nothing or do not say why; two rules for one row; codes without concept that nobody takes.
The program (not the function) also refuses a `structure.txt` that is not what the `fhir.resources` models say.
"""

import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import duckdb

from etl.errors import MappingError
from etl.landing import land
from etl.mapping.check_forms import FormCheck
from etl.mapping.check_vocabulary import Listed, VocabularyCheck, read_code_lists
from etl.mapping.language import Mappings, read_mappings
from etl.settings import Settings
from etl.store import create_work_schema
from etl.transform.transform import compile_mappings, transform
from etl.vocabulary import load_vocabulary, shipped_folder


def check_mappings(folder: Path, vocabulary: duckdb.DuckDBPyConnection | None = None) -> None:
    """Nothing, when the mappings below `folder` can be used; else raises MappingError with every fault.

    `vocabulary` is a connection with schema `vocab` filled (etl.vocabulary.load_vocabulary); the vocabulary that comes
    with blina is loaded when none is given. Its code map tables are replaced by those of `folder`.
    """
    problems = find_problems(folder, vocabulary)
    if problems:
        raise MappingError(f"{folder}: {len(problems)} fault(s) in the mappings", problems=problems)


def find_problems(folder: Path, vocabulary: duckdb.DuckDBPyConnection | None = None) -> list[str]:
    """Every fault of the mappings below `folder`, "file:line: where: what", in order of file and line."""
    if not (folder / "resources").is_dir():
        raise MappingError(f"{folder}: no mappings folder (it has no resources/)")
    mappings, problems = read_mappings(folder)
    lists, list_problems = read_code_lists(folder)
    problems += list_problems
    problems += _compile_problems(mappings, _sites(folder), lists)
    for mapping in mappings.base.values():
        problems += FormCheck(mapping).run()
    for by_resource in mappings.by_site.values():
        for mapping in by_resource.values():
            problems += FormCheck(mapping).run()
    if vocabulary is not None:
        problems += VocabularyCheck(vocabulary, mappings, lists).run()
    else:
        with duckdb.connect() as shipped:
            load_vocabulary(shipped, [shipped_folder()])
            problems += VocabularyCheck(shipped, mappings, lists).run()
            if not problems:
                problems += _run_on_nothing(shipped, mappings, _sites(folder))
    return sorted(dict.fromkeys(problems), key=_in_order)


def _sites(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in (folder / "sites").glob("*") if path.is_dir()))


def _compile_problems(mappings: Mappings, sites: tuple[str, ...], lists: dict[str, list[Listed]]) -> list[str]:
    """What the compiler refuses: for each site's mappings, and for a site without overrides."""
    ids = {name: [row for row in rows if "target_concept_id" in row.values] for name, rows in lists.items()}
    lookups = {name: {row.values["source_code"]: row.concept_id for row in rows} for name, rows in ids.items()}
    try:
        compile_mappings(mappings, [*sites, ""], lookups)
    except MappingError as error:
        return list(error.problems)
    return []


def _run_on_nothing(work: duckdb.DuckDBPyConnection, mappings: Mappings, sites: tuple[str, ...]) -> list[str]:
    """What the database refuses of the compiled SQL: every statement runs once, on landed files without a line."""
    with tempfile.TemporaryDirectory() as folder:
        nothing = Path(folder) / "nothing.ndjson"
        landed = land([], Path(folder) / "landed", set(mappings.base))
        nothing.touch()
        try:
            create_work_schema(work)
            landed = replace(landed, shards={one: [nothing] for one in mappings.base})
            transform(
                work, compile_mappings(mappings, [*sites, ""]), landed, mappings, Settings(key="check"), everything=True
            )
        except duckdb.Error as error:
            return [f"{mappings.folder}:1: the compiled mappings do not run: {str(error).splitlines()[0]}"]
    return []


def _in_order(problem: str) -> tuple[str, int, str]:
    match = re.match(r"([^:\s]+):(\d+)", problem)
    return (match.group(1), int(match.group(2)), problem) if match else ("", 0, problem)


def main(arguments: list[str]) -> int:
    """Checks a mappings folder (default: the one that comes with blina) and writes the faults; gives the exit code."""
    folder = Path(arguments[0]) if arguments else shipped_folder().parent
    try:
        check_mappings(folder)
    except MappingError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{folder}: no fault found\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
