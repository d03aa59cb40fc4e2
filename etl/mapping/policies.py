"""Contested decisions as switches: `mappings/policies.yaml` names them, the settings choose, mapping entries obey.

A `skip` or `reject` entry or a rule may carry `policy: {name: value}` (or a list of values): it counts only while the
setting has one of these values. The choice is recorded with the run, so that nobody has to guess (HL7 f2o-061, -102).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from etl.errors import did_you_mean
from etl.mapping.files import Loader

FILE = "policies.yaml"


def choose_policies(folder: Path, chosen: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """Every policy of the folder with the value in force; unknown names and values are added to `problems`."""
    path = folder / FILE
    if not path.is_file():
        known: dict[str, dict[str, Any]] = {}
    else:
        known = yaml.load(path.read_text(encoding="utf-8"), Loader) or {}  # noqa: S506  a safe loader
    values = {}
    for name, policy in known.items():
        options = [str(option) for option in policy.get("options", [])]
        values[name] = str(chosen.get(name, policy.get("default")))
        if values[name] not in options:
            problems.append(f"{FILE}: {name}: {values[name]!r} is no option{did_you_mean(values[name], options)}")
    for name in chosen:
        if name not in known:
            problems.append(f"policies: {name} is unknown{did_you_mean(name, list(known))}")
    return values


def apply_policies(
    content: dict[str, Any], values: Mapping[str, str], where: str, problems: list[str]
) -> dict[str, Any]:
    """A mapping file's content without the entries that the policies in force switch off, and without `policy` keys."""
    result = dict(content)
    for key in ("skip", "reject"):
        if isinstance(content.get(key), list):
            kept = [entry for entry in content[key] if _holds(entry, values, where, problems)]
            result[key] = [_plain(entry) for entry in kept]
    if isinstance(content.get("rules"), dict):
        result["rules"] = {
            name: _plain(rule) for name, rule in content["rules"].items() if _holds(rule, values, where, problems)
        }
    return result


def _holds(entry: object, values: Mapping[str, str], where: str, problems: list[str]) -> bool:
    if not isinstance(entry, dict) or "policy" not in entry:
        return True
    wanted = entry["policy"]
    if not isinstance(wanted, dict):
        problems.append(f"{where}: policy must be {{name: value}}")
        return True
    for name, value in wanted.items():
        if name not in values:
            problems.append(f"{where}: policy {name!r} is not in {FILE}{did_you_mean(str(name), list(values))}")
            return True
        allowed = [str(one) for one in value] if isinstance(value, list) else [str(value)]
        if values[name] not in allowed:
            return False
    return True


def _plain(entry: Any) -> Any:
    return {key: value for key, value in entry.items() if key != "policy"} if isinstance(entry, dict) else entry
