"""What a build stands on before it reads a file: a work database with the vocabulary and the sites' maps of codes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from etl.mapping.check_vocabulary import check_ids
from etl.mapping.language import Mappings
from etl.store import Home, create_work_schema
from etl.vocabulary import CodeMaps, Release, attach_vocabulary, load_code_maps, shipped_folder
from etl.workplace import Clock, work_database

MORE_ROOM = 6
"""Times the usual memory, for the second try of a run whose first one did not find room."""


@dataclass(frozen=True)
class Ground:
    """A work database, the vocabulary in it, and what the sites' maps hold."""

    work: duckdb.DuckDBPyConnection
    release: Release
    code_maps: CodeMaps


@contextmanager
def prepared_ground(
    folder: Path, home: Home, rules: Mappings, sites: Sequence[str], vocabulary: Sequence[Path], clock: Clock,
    workers: int, times: int = 1,
) -> Iterator[Ground]:  # fmt: skip
    """A work database beside the database of `home`, spilling to `folder`; `times` the usual memory.

    Raises VocabularyError when the vocabulary cannot be read, MappingError when it lacks ids that the mappings write;
    each with every fault at once.
    """
    with work_database(folder, workers, times) as work:
        create_work_schema(work)
        with clock("load vocabulary"):
            release = attach_vocabulary(work, [*vocabulary, shipped_folder()], home.vocabulary)
            release = replace(release, problems=(*release.problems, *check_ids(work, rules)))
            code_maps = load_code_maps(work, rules.folder, sites)
            work.execute("INSERT INTO out.source_to_concept_map BY NAME FROM vocab.source_to_concept_map")
        yield Ground(work, release, code_maps)
