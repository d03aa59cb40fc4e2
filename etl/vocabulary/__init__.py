"""Vocabularies: Athena folders in, local code maps, systems and unit spellings.

`attach_vocabulary` gives a build schema `vocab` from its cache, which `load_vocabulary` fills once per release;
`load_code_maps` adds what the project and its sites say about codes.
"""

from etl.vocabulary.athena import FolderRelease, Release, load_vocabulary, shipped_folder
from etl.vocabulary.cache import attach_vocabulary
from etl.vocabulary.meanings import SUBSTANCE, find_meanings, routed_by
from etl.vocabulary.preflight import preflight
from etl.vocabulary.source_to_concept_map import CodeMaps, Unresolved, load_code_maps, normalise_code

__all__ = [
    "SUBSTANCE",
    "CodeMaps",
    "FolderRelease",
    "Release",
    "Unresolved",
    "attach_vocabulary",
    "find_meanings",
    "load_code_maps",
    "load_vocabulary",
    "normalise_code",
    "preflight",
    "routed_by",
    "shipped_folder",
]
