"""This instance's settings: who we are, which sites we read, in which time zone.

One YAML file, never merged with another. The key of all ids is the only value that the environment may give instead
(`BLINA_KEY`), so that it need not stand in a file.
"""

import os
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
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


def load_settings(path: Path) -> Settings:
    """The settings in a YAML file. Raises SettingsError with every mistake found."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not YAML ({str(error).splitlines()[0]})") from None
    problems = _problems(content)
    if problems:
        raise SettingsError(f"{path}: these settings cannot be used", problems=problems)
    instance = content.get("instance") or {}
    return Settings(
        name=str(instance.get("name", "blina")),
        abbreviation=str(instance.get("abbreviation", "BLINA"))[:25],
        key=os.environ.get(KEY_VARIABLE) or str(instance.get("key", "")),
        synthetic=bool(instance.get("synthetic", False)),
        data_lock=content.get("data_lock"),
        link_persons_by=tuple(content.get("link_persons_by") or ()),
        landed=path.parent / instance["landed"] if instance.get("landed") else None,
        policies={str(name): str(value) for name, value in (content.get("policies") or {}).items()},
        sites={name: _site(name, one or {}, path.parent) for name, one in (content.get("sites") or {}).items()},
    )


def _site(name: str, content: dict[str, str], base: Path) -> SiteSettings:
    folder = content.get("folder")
    return SiteSettings(
        name=name,
        folder=base / folder if folder else None,
        time_zone=content.get("time_zone", "UTC"),
        decimal_separator=content.get("decimal_separator", "."),
    )


def _problems(content: object) -> list[str]:
    if not isinstance(content, dict):
        return ["the file must be a mapping with the keys " + ", ".join(_TOP)]
    problems = _unknown(content, _TOP, "")
    problems += _unknown(content.get("instance") or {}, _INSTANCE, "instance.")
    if not isinstance((content.get("instance") or {}).get("landed"), str | None):
        problems.append("instance.landed: must be a folder")
    if not isinstance(content.get("data_lock"), date | None):
        problems.append("data_lock: must be a date, YYYY-MM-DD")
    for name, one in (content.get("sites") or {}).items():
        problems += _unknown(one or {}, _SITE, f"sites.{name}.")
        zone = (one or {}).get("time_zone", "UTC")
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError):
            problems.append(f"sites.{name}.time_zone: {zone!r} is no IANA time zone")
        if (one or {}).get("decimal_separator", ".") not in {".", ","}:
            problems.append(f"sites.{name}.decimal_separator: must be '.' or ','")
    return problems


def _unknown(content: dict[str, object], known: tuple[str, ...], prefix: str) -> list[str]:
    return [f"{prefix}{key}: unknown{did_you_mean(str(key), known)}" for key in content if key not in known]
