"""The study's definitions: parameters with names, versions and a hash, read from `studies/<study>/study.yaml`.

Nothing that decides a result stands anywhere else. A parameter is named `name@version`; its value is one scalar or a
small mapping. `Study.varied` gives the same study with other values (sensitivity analyses), under another hash.
"""

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from etl.errors import StudyError, did_you_mean
from etl.settings import Settings

STUDIES = Path(__file__).parent / "studies"
"""The folder of the studies that come with blina."""

SET_COLUMNS = ("concept_set", "vocabulary_id", "concept_code", "label", "status", "include_descendants")
SET_STATUS = ("V", "I", "U")


@dataclass(frozen=True)
class Parameter:
    """One definition: its version, its value, the values offered instead, and what it says in words."""

    name: str
    version: int
    value: Any
    alternatives: tuple[Any, ...] = ()
    text: str = ""
    why: str = ""  # why a study that extends another one changed it

    @property
    def key(self) -> str:
        """`name@version`, as reports write it."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Study:
    """A study: its parameters and its concept sets (polars frame with the columns `SET_COLUMNS`)."""

    name: str
    version: str
    title: str
    parameters: Mapping[str, Parameter]
    required_concept_sets: tuple[str, ...]
    members: pl.DataFrame
    folder: Path

    def get(self, path: str) -> Any:
        """The value of a parameter (`"gap_bag_change_h"`) or of a part of it (`"marrow_pre.first_day"`).

        Raises StudyError for a name that is not there.
        """
        name, _, part = path.partition(".")
        parameter = self.parameters.get(name)
        if parameter is None:
            raise StudyError(f"{self.name}: no parameter {name!r}{did_you_mean(name, list(self.parameters))}")
        if not part:
            return parameter.value
        if not isinstance(parameter.value, Mapping) or part not in parameter.value:
            known = list(parameter.value) if isinstance(parameter.value, Mapping) else []
            raise StudyError(f"{self.name}: parameter {name!r} has no {part!r}{did_you_mean(part, known)}")
        return parameter.value[part]

    def rule(self, name: str) -> str:
        """`name@version` of a parameter, the rule id that evidence carries. Raises StudyError for an unknown name."""
        self.get(name)
        return self.parameters[name].key

    def varied(self, values: Mapping[str, Any]) -> "Study":
        """The same study with other values, by the paths of `get`. Raises StudyError for a name or a kind of value."""
        parameters = dict(self.parameters)
        for path, value in values.items():
            self.get(path)
            name, _, part = path.partition(".")
            if part and (wrong := _wrong_value(parameters[name], part, value)):
                raise StudyError(f"{self.name}: {wrong}")
            changed = copy.deepcopy(parameters[name].value)
            if part:
                changed[part] = value
            parameters[name] = replace(parameters[name], value=changed if part else value)
        return replace(self, parameters=parameters)

    def for_settings(self, settings: Settings) -> "Study":
        """The study with the data lock, time zones and decimal separators of this instance's settings (A01).

        What the study says itself (a data lock, the zone of a site) holds.
        """
        values: dict[str, Any] = {}
        if settings.data_lock is not None and self.get("data_lock.date") is None:
            values["data_lock.date"] = settings.data_lock
        zones = {name: site.time_zone for name, site in settings.sites.items()}
        if zones:
            values["time_zone.sites"] = zones | dict(self.get("time_zone.sites"))
        commas = {name: site.decimal_separator for name, site in settings.sites.items()}
        if commas:
            values["mrd_parse.decimal_separator"] = {"default": ".", "sites": commas}
        return self.varied(values)

    def as_recorded(self, settings: pl.DataFrame) -> "Study":
        """The study with the versions and values of a `settings_table` that a run left (`results.study_parameter`).

        Parameters that this version of the study does not have are left out, so that `param_hash` tells.
        """
        parameters = dict(self.parameters)
        for name, number, text in settings.select("name", "version", "value").iter_rows():
            if name in parameters:
                value = json.loads(text)
                if name == "data_lock" and value.get("date"):
                    value["date"] = date.fromisoformat(value["date"])
                parameters[name] = replace(parameters[name], version=int(number), value=value)
        return replace(self, parameters=parameters)

    @property
    def param_hash(self) -> str:
        """Sixteen hex digits that change with every value, version or concept set member."""
        content = {parameter.key: parameter.value for parameter in self.parameters.values()}
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
        return hashlib.sha256((text + self.members.write_csv()).encode()).hexdigest()[:16]

    def settings_table(self) -> pl.DataFrame:
        """The definitions in force: name, version, value (JSON), param_hash."""
        rows = [
            (one.name, str(one.version), json.dumps(one.value, ensure_ascii=False, sort_keys=True, default=str))
            for one in self.parameters.values()
        ]
        table = pl.DataFrame(rows, schema={"name": pl.String, "version": pl.String, "value": pl.String}, orient="row")
        return table.with_columns(param_hash=pl.lit(self.param_hash)).sort("name")


def load_study(study: str | Path = "blinatumomab") -> Study:
    """A study by its name among `STUDIES`, by its folder (with study.yaml), or by any YAML file.

    A file that says `extends: NAME or FILE` needs only what it changes: `parameters: {name: {value: …, why: …}}`; of a
    value with named parts, the parts that change. Its concept sets are those of the study it extends. Raises StudyError
    with every mistake found.
    """
    return _load(_file_of(study), ())


def _file_of(study: str | Path) -> Path:
    path = Path(study)
    if path.is_dir():
        return path / "study.yaml"
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    return STUDIES / str(study) / "study.yaml"


def _load(path: Path, extended_by: tuple[Path, ...]) -> Study:
    content = _content(path)
    if path.resolve() in extended_by:
        raise StudyError(f"{path}: the studies extend one another in a circle")
    if "extends" in content:
        named = str(content["extends"])
        beside = path.parent / named
        base = beside if beside.suffix in (".yaml", ".yml") or (beside / "study.yaml").is_file() else _file_of(named)
        return _extended(_load(_file_of(base), (*extended_by, path.resolve())), content, path)
    if not isinstance(content.get("parameters"), dict):
        raise StudyError(f"{path}: has no parameters")
    members = _members(path.parent / "concept_sets")
    problems = _problems(content, members)
    if problems:
        raise StudyError(f"{path}: these definitions cannot be used", problems=problems)
    return Study(
        name=str(content.get("study", path.parent.name)),
        version=str(content.get("version", "0")),
        title=str(content.get("title", "")),
        parameters={name: _parameter(name, one) for name, one in content["parameters"].items()},
        required_concept_sets=tuple(content.get("required_concept_sets") or ()),
        members=members,
        folder=path.parent,
    )


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = sorted(one.name for one in STUDIES.iterdir() if one.is_dir())
        asked = path.parent.name if path.parent.parent == STUDIES else path.name
        raise StudyError(f"{path}: {error.strerror}{did_you_mean(asked, known)}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: not YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(content, dict):
        raise StudyError(f"{path}: has no parameters")
    return content


_EXTENSION = {"extends", "study", "version", "title", "parameters"}


def _extended(base: Study, content: dict[str, Any], path: Path) -> Study:
    """The base with the changed parameters; each change says why."""
    changes = content.get("parameters") or {}
    problems = [f"unknown key {key!r}{did_you_mean(str(key), sorted(_EXTENSION))}" for key in set(content) - _EXTENSION]
    parameters = dict(base.parameters)
    for name, change in changes.items() if isinstance(changes, dict) else ():
        known = parameters.get(name)
        if known is None:
            problems.append(f"no parameter {name!r}{did_you_mean(str(name), list(parameters))}")
        elif wrong := _wrong_change(name, change, known):
            problems.append(wrong)
        else:
            parameters[name] = _changed(known, change)
    if not isinstance(changes, dict):
        problems.append("`parameters` is no mapping of names")
    problems += _lock_problems(parameters["data_lock"].value if "data_lock" in parameters else None)
    if problems:
        raise StudyError(f"{path}: these changes cannot be used", problems=sorted(problems))
    title, version = str(content.get("title", base.title)), str(content.get("version", base.version))
    name = str(content.get("study", path.stem))
    return replace(base, name=name, version=version, title=title, parameters=parameters)


def _wrong_change(name: str, change: Any, known: Parameter) -> str:
    if not isinstance(change, dict) or "value" not in change:
        return f"parameter {name!r} needs a `value`"
    if unknown := set(change) - {"value", "version", "why"}:
        return f"parameter {name!r} has unknown keys: {', '.join(sorted(unknown))}"
    if not str(change.get("why") or "").strip():
        return f"parameter {name!r} needs a `why`: what is changed must be explained"
    if not isinstance(change.get("version", 1), int):
        return f"parameter {name!r} needs a whole number `version`"
    if not isinstance(known.value, Mapping):
        return f"parameter {name!r} has no parts" if isinstance(change["value"], Mapping) else ""
    if not isinstance(change["value"], Mapping):
        return f"parameter {name!r} has parts: {', '.join(map(str, known.value))}"
    return _wrong_parts(name, change["value"], known)


def _wrong_parts(name: str, parts: Mapping[str, Any], known: Parameter) -> str:
    for part, value in parts.items():
        if part not in known.value:
            return f"parameter {name!r} has no {part!r}{did_you_mean(str(part), list(known.value))}"
        if name != "data_lock" and (wrong := _wrong_value(known, part, value)):
            return wrong
    whole = {**known.value, **parts}
    if "first_day" in whole and "last_day" in whole and whole["first_day"] > whole["last_day"]:
        return f"parameter {name!r}: the window ends ({whole['last_day']}) before it begins ({whole['first_day']})"
    return ""


def _wrong_value(known: Parameter, part: str, value: Any) -> str:
    """What is wrong with the new value of a part: another kind than the old one, or a word that nobody reads."""
    old, where = known.value[part], f"parameter {known.name!r}: {part}"
    if old is None:
        return ""
    if _kind(value) != _kind(old):
        return f"{where} needs {_kind(old)}, not {_kind(value)}"
    words = [old, *known.alternatives]
    if (
        isinstance(old, str)
        and known.alternatives
        and all(isinstance(word, str) for word in words)
        and value not in words
    ):
        return f"{where} must be one of {', '.join(words)}{did_you_mean(value, words)}"
    if part == "label_order" and sorted(map(str, value)) != sorted(old):
        return f"{where} only orders the labels of one day: it must name each of {', '.join(old)}"
    return ""


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", str: "a text", list: "a list", dict: "named parts", type(None): "null"}
    return "a number" if type(value) in (int, float) else kinds.get(type(value), type(value).__name__)


def _changed(known: Parameter, change: dict[str, Any]) -> Parameter:
    value = {**known.value, **change["value"]} if isinstance(known.value, Mapping) else change["value"]
    # a word that is changed may be changed back
    words = [old for old in known.value.values() if isinstance(old, str)] if isinstance(known.value, Mapping) else []
    alternatives = (*known.alternatives, *(words if known.alternatives else ()))
    version = change.get("version", known.version)
    return replace(known, value=value, version=version, alternatives=alternatives, why=str(change["why"]).strip())


def _lock_problems(lock: Any) -> list[str]:
    if isinstance(lock, Mapping) and not isinstance(lock.get("date"), date | None):
        return ["parameter 'data_lock' needs a date (YYYY-MM-DD) or null"]
    return []


def _parameter(name: str, content: dict[str, Any]) -> Parameter:
    return Parameter(
        name=name,
        version=content["version"],
        value=content["value"],
        alternatives=tuple(content.get("alternatives") or ()),
        text=str(content.get("text", "")),
    )


def _problems(content: dict[str, Any], members: pl.DataFrame) -> list[str]:
    problems = []
    for name, one in content["parameters"].items():
        if not isinstance(one, dict) or "value" not in one or not isinstance(one.get("version"), int):
            problems.append(f"parameter {name!r} needs a whole number `version` and a `value`")
        elif unknown := set(one) - {"version", "value", "alternatives", "text"}:
            problems.append(f"parameter {name!r} has unknown keys: {', '.join(sorted(unknown))}")
    named = set(members["concept_set"].unique())
    problems += [
        f"concept set {name!r} is required but no file defines it{did_you_mean(name, sorted(named))}"
        for name in content.get("required_concept_sets") or ()
        if name not in named
    ]
    return problems + _lock_problems((content["parameters"].get("data_lock") or {}).get("value"))


def _members(folder: Path) -> pl.DataFrame:
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise StudyError(f"{folder}: holds no concept sets")
    frames = []
    for path in files:
        frame = pl.read_csv(path, infer_schema=False, encoding="utf8")
        if tuple(frame.columns) != SET_COLUMNS:
            raise StudyError(f"{path}: the columns must be {', '.join(SET_COLUMNS)}")
        if wrong := frame.filter(~pl.col("status").is_in(SET_STATUS))["concept_code"].to_list():
            raise StudyError(f"{path}: status must be one of {', '.join(SET_STATUS)}", problems=wrong)
        frames.append(frame)
    return pl.concat(frames).with_columns(pl.col("include_descendants") == "1").sort(SET_COLUMNS)


def data_lock(study: Study, released: date | None) -> date | None:
    """The last day that counts: the study's own, else the release date of the source (`cdm_source`), else none."""
    configured = study.get("data_lock.date")
    return configured if isinstance(configured, date) else released
