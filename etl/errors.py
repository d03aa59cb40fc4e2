"""The error tree. Every error a user can meet is one of these; each ends the command with its exit code.

BlinaError                1   something blina itself got wrong
├── UsageError            2   the command line
├── SettingsError        10   this site's settings
├── MappingError         11   a mapping file, a code map, a site override
├── SourceError          12   the FHIR input as a whole (a folder that is not there, nothing to read)
├── VocabularyError      13   the Athena folder or a concept that must be there
├── CdmError             14   the OMOP database
├── QualityGateError     15   the quality gate refused the CDM
├── StudyError           16   the study's definitions, or a CDM that cannot answer it
├── LockError            17   another run holds the lock
└── UpstreamError        18   a server or the network

Bad rows never raise: they are counted and written to the rejects. Messages name files, places and codes, never a
patient's values.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import ClassVar


class BlinaError(Exception):
    """An error with a message for the person at the keyboard, and the exit code of the command."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, problems: Sequence[str] = ()) -> None:
        """`problems` lists every mistake found, one line each; the message stands above them."""
        self.problems = tuple(problems)
        super().__init__("\n".join([message, *(f"  - {problem}" for problem in self.problems)]))


class UsageError(BlinaError):
    """The command line asks for something that does not exist."""

    exit_code = 2


class SettingsError(BlinaError):
    """A settings file that cannot be used."""

    exit_code = 10


class MappingError(BlinaError):
    """A mapping file, code map or site override that the checker refuses."""

    exit_code = 11


class SourceError(BlinaError):
    """FHIR input that cannot be read at all."""

    exit_code = 12


class VocabularyError(BlinaError):
    """A vocabulary folder that cannot be used."""

    exit_code = 13


class CdmError(BlinaError):
    """The OMOP database cannot be opened, created or written."""

    exit_code = 14


class QualityGateError(BlinaError):
    """The quality gate refused the CDM; the study is not run."""

    exit_code = 15


class StudyError(BlinaError):
    """The study's definitions are wrong, or the CDM cannot answer it."""

    exit_code = 16


class LockError(BlinaError):
    """Another run holds the lock on the database."""

    exit_code = 17


class UpstreamError(BlinaError):
    """A server that blina asks does not answer."""

    exit_code = 18


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A hint such as " (did you mean 'person'?)", or an empty text when nothing is near."""
    near = get_close_matches(word, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
