"""From what stands on the command line to sources and settings: which folder is which site, and which key makes ids."""

import os
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from etl.errors import SettingsError, SourceError, UsageError, did_you_mean
from etl.landing.files import Source, find_files
from etl.settings import KEY_VARIABLE, Settings, load_settings, site_name_fault
from etl.store import home_of

SETTINGS_FILE = "blina.yaml"
DEFAULT_SITE = "SITE"


@dataclass(frozen=True)
class Instance:
    """What a build reads, with which settings, and what the user should know of them."""

    settings: Settings
    sources: tuple[Source, ...]
    notes: tuple[str, ...] = ()


def find_instance(
    paths: Sequence[Path], *, site: str | None, settings: Path | None, database: str, landed: Path | None = None
) -> Instance:
    """Sources and settings of a build.

    Settings: the given file, else `blina.yaml` in the one folder given, else none (site "SITE", UTC, an own key).
    `landed`: the folder for what a database on a server receives, before the one of the settings.
    Sites: with `site` all paths are its; a folder that holds the sites' folders means all of them; a path inside a
    site's folder is that site's. Raises SourceError, SettingsError, UsageError.
    """
    if site is not None and (wrong := site_name_fault(site)):
        raise UsageError(f"--site: {wrong}")
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise SourceError("these paths do not exist", problems=missing)
    file = settings or _beside(paths)
    if file is None:
        sources = _with_files([Source(site or DEFAULT_SITE, path) for path in paths])
        told = _look_into(sources)
        chosen, notes = _without_file(database, landed)
        return Instance(chosen, sources, (*notes, *told))
    loaded = _from_file(file, landed)
    if site is not None and loaded.sites and site not in loaded.sites:
        raise SettingsError(f"{file}: knows no site {site!r}{did_you_mean(site, list(loaded.sites))}")
    sources = _with_files([source for path in paths for source in _sources(path, site, loaded)])
    return Instance(loaded, sources, (f"settings: {file}", *_look_into(sources)))


def find_settings(settings: Path | None, database: str, landed: Path | None = None) -> Settings:
    """The settings of an instance that is there already: of the given file, else the defaults with the kept key.

    Raises SettingsError when there is no key: a new one would make other ids.
    """
    if settings is not None:
        return _from_file(settings, landed)
    home = home_of(database, landed)
    if not os.environ.get(KEY_VARIABLE) and not home.key.is_file():
        raise SettingsError(f"{home.key}: there is no key here; name the settings file (--settings), or {KEY_VARIABLE}")
    return _without_file(database, landed)[0]


def _from_file(file: Path, landed: Path | None) -> Settings:
    loaded = load_settings(file)
    if not loaded.key:
        raise SettingsError(f"{file}: no key for the ids: set instance.key, or {KEY_VARIABLE} in the environment")
    return replace(loaded, landed=landed) if landed is not None else loaded


def _with_files(sources: Sequence[Source]) -> tuple[Source, ...]:
    """The sources, each once; a build from nothing would empty the database, so it is refused."""
    once = tuple(dict.fromkeys(sources))
    if not find_files(once, 1)[0]:
        problems = [str(one.path) for one in once]
        raise SourceError("nothing to read here: no .json, .ndjson, .jsonl or .gz file", problems=problems)
    return once


def _look_into(sources: Sequence[Source]) -> tuple[str, ...]:
    """What reading the folders would pass over without a word: linked folders are told, closed ones refused.

    No name below a source is told: hospitals put patients' names there.
    """
    notes, closed = [], []
    for source in sources:
        faults: list[OSError] = []
        linked = sum(
            os.path.islink(os.path.join(folder, name))
            for folder, names, _ in os.walk(source.path, onerror=faults.append)
            for name in names
        )
        if linked:
            notes.append(f"{source.path}: {linked:,} linked folders in it are not followed; name them beside it")
        if faults and source.path.is_dir():
            closed.append(
                f"{source.path}: {len(faults):,}; `find {shlex.quote(str(source.path))} ! -readable` lists them"
            )
    if closed:
        raise SourceError("folders that this user may not read", problems=closed)
    return tuple(notes)


def _beside(paths: Sequence[Path]) -> Path | None:
    """The settings file in a folder given."""
    found = [path / SETTINGS_FILE for path in paths if (path / SETTINGS_FILE).is_file()]
    if len(found) > 1:
        raise UsageError(f"several folders have a {SETTINGS_FILE}: name one with --settings")
    return found[0] if found else None


def _sources(path: Path, site: str | None, settings: Settings) -> list[Source]:
    if site is not None or not settings.sites:
        return [Source(site or DEFAULT_SITE, path)]
    here = path.resolve()
    folders = {name: one.folder.resolve() for name, one in settings.sites.items() if one.folder}
    owners = [name for name, folder in folders.items() if here.is_relative_to(folder)]
    if owners:
        return [Source(owners[0], path)]
    below = [name for name, folder in folders.items() if folder.is_relative_to(here) and folder.exists()]
    if not below:
        known = ", ".join(settings.sites)
        raise UsageError(f"{path}: in no site's folder; say --site with one of {known}")
    # As the user wrote it where that is possible: names in reports and rejects stay short.
    return [Source(name, path / folders[name].relative_to(here)) for name in below]


def _without_file(database: str, landed: Path | None) -> tuple[Settings, tuple[str, ...]]:
    if key := os.environ.get(KEY_VARIABLE):
        return Settings(key=key, landed=landed), (f"no settings file: UTC, key from {KEY_VARIABLE}",)
    home = home_of(database, landed)
    file = home.key
    if file.is_file():
        return Settings(key=_read_key(file), landed=landed), (f"no settings file: UTC, key from {file}",)
    if home.in_use():
        raise SettingsError(
            f"{home.database} is there but its key {file} is not: with another key all ids would change; "
            f"restore it, or give the key in {KEY_VARIABLE}"
        )
    key = secrets.token_urlsafe(32)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(key + "\n")
    except OSError as error:
        raise SettingsError(f"{file}: the new key cannot be written ({error.strerror})") from None
    return Settings(key=key, landed=landed), (
        f"no settings file: UTC, a new key for the ids in {file} (keep it secret, and keep it: without it ids change)",
    )


def _read_key(file: Path) -> str:
    try:
        key = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file}: the key cannot be read ({type(error).__name__})") from None
    if not key:
        raise SettingsError(f"{file}: the key is empty")
    return key
