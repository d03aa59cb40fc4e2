"""This instance's settings: who we are, which sites we read, in which time zone.

One YAML file, never merged with another. The key of all ids is the only value that the environment may give instead
(`BLINA_KEY`), so that it need not stand in a file.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from etl.errors import SettingsError, did_you_mean

KEY_VARIABLE = "BLINA_KEY"
"""The environment variable that holds the secret key of all ids."""


@dataclass(frozen=True)
class SiteSettings:
    """One hospital: its name (the namespace of its ids), where its files lie, and how it writes time and numbers."""

    name: str
    folder: Path | None = None
    time_zone: str = "UTC"
    decimal_separator: str = "."

    @property
    def local_vocabulary(self) -> str:
        """The vocabulary id of this site's local codes, as in its source_to_concept_map."""
        return f"BLINA_{self.name}"


@dataclass(frozen=True)
class Settings:
    """Everything about this instance that is not code, mapping or vocabulary."""

    name: str = "blina"
    abbreviation: str = "BLINA"
    key: str = ""
    synthetic: bool = False
    data_lock: date | None = None
    link_persons_by: tuple[str, ...] = ()
    landed: Path | None = None
    policies: dict[str, str] = field(default_factory=dict)
    sites: dict[str, SiteSettings] = field(default_factory=dict)

    def site(self, name: str) -> SiteSettings:
        """The settings of a site; a site that the file does not name gets the defaults (UTC, decimal point)."""
        return self.sites.get(name) or SiteSettings(name)


_TOP = ("instance", "data_lock", "link_persons_by", "policies", "sites")
_INSTANCE = ("name", "abbreviation", "key", "synthetic", "landed")
_SITE = ("folder", "time_zone", "decimal_separator")
_MAPPINGS = ("instance", "policies", "sites")
_NAME = re.compile(r"[^\W_][^/\\\x00-\x1f]*")


def load_settings(path: Path) -> Settings:
    """The settings in a YAML file. Raises SettingsError with every mistake found."""
    content, twice = _read(path)
    problems = twice + _problems(content, path.parent)
    if problems:
        raise SettingsError(f"{path}: these settings cannot be used", problems=problems)
    instance = content.get("instance") or {}
    return Settings(
        name=str(instance.get("name", "blina")),
        abbreviation=str(instance.get("abbreviation", "BLINA"))[:25],
        key=os.environ.get(KEY_VARIABLE) or str(instance.get("key") or ""),
        synthetic=bool(instance.get("synthetic", False)),
        data_lock=content.get("data_lock"),
        link_persons_by=tuple(content.get("link_persons_by") or ()),
        landed=path.parent / instance["landed"] if instance.get("landed") else None,
        policies={str(name): str(value) for name, value in (content.get("policies") or {}).items()},
        sites={name: _site(name, one or {}, path.parent) for name, one in (content.get("sites") or {}).items()},
    )


def site_name_fault(name: object) -> str | None:
    """What is wrong with the name of a site; None: nothing. It names folders, so it must not lead out of them."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return None
    return f"{name!r} is no name of a site: a letter or digit first, no slash; in quotes if it is a number or yes/no"


def _site(name: str, content: dict[str, str], base: Path) -> SiteSettings:
    folder = content.get("folder")
    return SiteSettings(
        name=name,
        folder=base / folder if folder else None,
        time_zone=content.get("time_zone", "UTC"),
        decimal_separator=content.get("decimal_separator", "."),
    )


def _read(path: Path) -> tuple[Any, list[str]]:
    """The content of a YAML file, and the keys that stand in it twice: YAML's readers take the last one silently."""
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        twice = list(_twice(node, ""))
        return (loader.construct_document(node) if node else None) or {}, twice
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not UTF-8; save it in that encoding") from None
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"{path}{_line(error)}: not YAML ({getattr(error, 'problem', error)})") from None


def _line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _twice(node: yaml.Node | None, prefix: str) -> Iterator[str]:
    seen: set[str] = set()
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        name = f"{prefix}{key.value}"
        if name in seen:
            yield f"{name}: stands twice (again in line {key.start_mark.line + 1})"
        seen.add(name)
        yield from _twice(value, f"{name}.")


def _problems(content: object, base: Path) -> list[str]:
    if not isinstance(content, dict):
        return ["the file must be a mapping with the keys " + ", ".join(_TOP)]
    problems = _unknown(content, _TOP, "")
    parts = {name: content.get(name) or {} for name in _MAPPINGS}
    for name in [name for name, part in parts.items() if not isinstance(part, dict)]:
        problems.append(f"{name}: must be a mapping (`name: value` below it, indented)")
        parts[name] = {}
    problems += _instance_problems(parts["instance"])
    lock, links = content.get("data_lock"), content.get("link_persons_by") or []
    if not isinstance(lock, date | None) or isinstance(lock, datetime):
        problems.append("data_lock: must be a date, YYYY-MM-DD")
    if not isinstance(links, list) or not all(isinstance(one, str) for one in links):
        problems.append("link_persons_by: must be a list of identifier systems: [system, …]")
    for name, one in parts["sites"].items():
        problems += _site_problems(name, one or {})
    return problems or _shared_folders(parts["sites"], base)


def _instance_problems(instance: dict[str, Any]) -> list[str]:
    problems = _unknown(instance, _INSTANCE, "instance.")
    if not isinstance(instance.get("landed"), str | None):
        problems.append("instance.landed: must be a folder")
    if not isinstance(instance.get("synthetic"), bool | None):
        problems.append("instance.synthetic: must be true or false, without quotes")
    for name in ("name", "abbreviation", "key"):
        if not isinstance(instance.get(name), str | int | None):
            problems.append(f"instance.{name}: must be a text")
    return problems


def _site_problems(name: object, one: object) -> list[str]:
    at = f"sites.{name}"
    wrong = site_name_fault(name)
    problems = [f"{at}: {wrong}"] if wrong else []
    if not isinstance(one, dict):
        return [*problems, f"{at}: must be a mapping with {', '.join(_SITE)}"]
    problems += _unknown(one, _SITE, f"{at}.")
    if not isinstance(one.get("folder"), str | None):
        problems.append(f"{at}.folder: must be one folder")
    zone = one.get("time_zone", "UTC")
    if not _is_zone(zone):
        problems.append(f"{at}.time_zone: {zone!r} is no IANA time zone, such as Asia/Shanghai")
    if one.get("decimal_separator", ".") not in [".", ","]:
        problems.append(f"{at}.decimal_separator: must be '.' or ','")
    return problems


def _is_zone(zone: object) -> bool:
    try:
        return isinstance(zone, str) and ZoneInfo(zone) is not None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False


def _shared_folders(sites: dict[str, dict[str, str] | None], base: Path) -> list[str]:
    """Folders that two sites have in common: every file in them would count once for each site."""
    folders = {name: (base / one["folder"]).resolve() for name, one in sites.items() if one and one.get("folder")}
    return [
        f"sites.{name}.folder: is, or lies in, the folder of {other}; each file belongs to one site"
        for at, (name, folder) in enumerate(folders.items())
        for before, (other, its) in enumerate(folders.items())
        if folder.is_relative_to(its) and (folder != its or before < at) and name != other
    ]


def _unknown(content: dict[str, Any], known: tuple[str, ...], prefix: str) -> list[str]:
    return [f"{prefix}{key}: unknown{did_you_mean(str(key), known)}" for key in content if key not in known]
