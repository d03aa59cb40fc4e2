"""Every part of every parameter of study.yaml is read by the code that it decides; the others would be a lie."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from analytics import all_results, check_study, derive, derive_variants, load_study, open_cdm
from analytics.mrd import parse_mrd
from analytics.study import Study


class Watched(dict[str, Any]):
    """A mapping that remembers which of its parts were asked for."""

    def __init__(self, name: str, values: dict[str, Any], asked: set[str]) -> None:
        super().__init__({part: _watched(f"{name}.{part}", value, asked) for part, value in values.items()})
        self.name, self.asked = name, asked

    def __deepcopy__(self, memo: dict[int, Any]) -> "Watched":
        """To copy a definition, as a variant does, is not to use it."""
        return Watched(
            self.name, {part: copy.deepcopy(dict.__getitem__(self, part), memo) for part in [*self]}, self.asked
        )

    def __getitem__(self, part: str) -> Any:
        self.asked.add(f"{self.name}.{part}")
        return super().__getitem__(part)

    def get(self, part: str, default: Any = None) -> Any:
        self.asked.add(f"{self.name}.{part}")
        return super().get(part, default)

    def items(self) -> Any:
        self.asked.update(f"{self.name}.{part}" for part in self)
        return super().items()

    def values(self) -> Any:
        self.asked.update(f"{self.name}.{part}" for part in self)
        return super().values()

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()


def _watched(name: str, value: Any, asked: set[str]) -> Any:
    return Watched(name, value, asked) if isinstance(value, dict) else value


def _watch(study: Study) -> tuple[Study, set[str], set[str]]:
    """The study under watch, what is asked for, and the name of every part (one level deep)."""
    asked: set[str] = set()
    parameters = {name: replace(one, value=_watched(name, one.value, asked)) for name, one in study.parameters.items()}
    parts = {
        f"{name}.{part}" if part else name
        for name, one in study.parameters.items()
        for part in (one.value if isinstance(one.value, dict) else [""])
    }
    return replace(study, parameters=parameters), asked, parts


def test_every_part_of_every_parameter_is_read(truth_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study()
    idle = replace(study.parameters["fas"], value={**study.parameters["fas"].value, "idle": 1})
    watched, asked, parts = _watch(replace(study, parameters={**study.parameters, "fas": idle}))
    whole, shown = set[str](), study.settings_table()
    get = Study.get

    def remembering(self: Study, path: str) -> Any:
        whole.add(path)
        return get(self, path)

    monkeypatch.setattr(Study, "get", remembering)
    # To print all definitions is not to use them.
    monkeypatch.setattr(Study, "param_hash", study.param_hash)
    monkeypatch.setattr(Study, "settings_table", lambda _: shown)
    with open_cdm(truth_url) as cdm:
        check_study(cdm, watched)
        derived = derive(cdm, watched)
        # Words beside a number, which the truth does not hold.
        assert parse_mrd("MRD: 0.02%", None, None, None, watched.get("mrd_parse"), cutoff_pct=0.01).value == 0.02
        all_results(derived, watched, variants=derive_variants(cdm, watched))
    asked |= whole
    # A list that is taken whole is read; a mapping must be read part by part. The idle one shows that this is seen.
    assert sorted(parts - asked) == ["fas.idle"]
