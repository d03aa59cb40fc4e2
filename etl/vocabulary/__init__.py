"""Vocabularies: Athena folders in, local code maps, systems and unit spellings.

`load_vocabulary` fills schema `vocab`; `load_code_maps` adds what the project and its sites say about codes.
"""

from etl.vocabulary.athena import FolderRelease, Release, load_vocabulary, shipped_folder
from etl.vocabulary.preflight import preflight
from etl.vocabulary.source_to_concept_map import CodeMaps, Unresolved, load_code_maps, normalise_code

__all__ = [
    "CodeMaps",
    "FolderRelease",
    "Release",
    "Unresolved",
    "load_code_maps",
    "load_vocabulary",
    "normalise_code",
    "preflight",
    "shipped_folder",
]
