"""Whether this machine can run blina: one finding per thing that experience says goes wrong."""

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from etl.errors import BlinaError, CdmError, VocabularyError
from etl.store.place import beside
from flows.quiet import OFF
from flows.results_store import last_run

_FREE_BYTES = 2 * 2**30
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
_ATHENA = ("CONCEPT.csv", "CONCEPT_RELATIONSHIP.csv", "CONCEPT_ANCESTOR.csv", "VOCABULARY.csv")


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `exit_code` is what the command ends with when it is not ok."""

    what: str
    ok: bool
    detail: str
    exit_code: int = BlinaError.exit_code


def examine(database: str | None, vocabulary: Path | None) -> list[Finding]:
    """All findings; the database and the vocabulary folder only when they are named."""
    findings = [_python(), _libraries(), _disk(database), _telemetry(), _browser()]
    if database is not None:
        findings.append(_database(database))
    if vocabulary is not None:
        findings.append(_vocabulary(vocabulary))
    return findings


def _python() -> Finding:
    ok = (3, 11) <= sys.version_info[:2] < (3, 14)
    return Finding("python", ok, f"{sys.version.split()[0]} (3.11 to 3.13 are supported)")


def _libraries() -> Finding:
    """Every library that blina names is there in a version that it allows."""
    from packaging.requirements import Requirement

    wrong, shown = [], []
    for line in requires("blina") or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        shown.append(f"{requirement.name} {found}")
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} is not {requirement.specifier}")
    return Finding("libraries", not wrong, "; ".join(wrong) or ", ".join(sorted(shown)))


def _disk(database: str | None) -> Finding:
    folder = beside(database).resolve() if database else Path.cwd()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    ok = free >= _FREE_BYTES and os.access(folder, os.W_OK)
    writable = "" if os.access(folder, os.W_OK) else ", not writable"
    return Finding("disk", ok, f"{free / 2**30:.1f} GB free at {folder}{writable}", CdmError.exit_code)


def _telemetry() -> Finding:
    on = [name for name, value in OFF.items() if os.environ.get(name) != value]
    return Finding("telemetry", not on, "off" if not on else f"not off: {', '.join(on)}")


def _browser() -> Finding:
    """Chromium is only wanted by tests: its absence is told, not blamed."""
    found = next((path for name in _CHROMIUM if (path := shutil.which(name))), None)
    return Finding("browser", True, found or "no Chromium: tests that open pages will be skipped")


def _database(database: str) -> Finding:
    try:
        run = last_run(database)
    except CdmError as error:
        return Finding("database", False, str(error), error.exit_code)
    return Finding("database", True, f"last build {run['run_id']}" if run else "readable; blina has not built it")


def _vocabulary(folder: Path) -> Finding:
    """Looks into the folder itself: Athena's files are big, loading them is the build's work."""
    missing = [name for name in _ATHENA if not (folder / name).is_file()]
    detail = f"{folder}: " + (f"lacks {', '.join(missing)}" if missing else "the files are there")
    return Finding("vocabulary", not missing, detail, VocabularyError.exit_code)
