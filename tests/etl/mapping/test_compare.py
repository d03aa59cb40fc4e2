"""`show` tells where each line comes from; `diff` tells what changed between two folders."""

import shutil
from pathlib import Path

import pytest

from etl.errors import MappingError
from etl.mapping.compare import diff_mappings, show_mapping


def _lines(text: str) -> dict[str, tuple[str, str]]:
    rows = [line.split(maxsplit=2) for line in text.splitlines()[1:]]
    return {key: (place, value) for place, key, value in rows}


def test_show_tells_the_file_of_each_line(ground) -> None:
    ground.write(
        "sites/S1/observation.yaml",
        "extends: observation\nwhy: another laboratory\n"
        "skip:\n  - {when: \"status = 'preliminary'\", reason: not final}\n"
        "rules: {measurement: {columns: {measurement_type_concept_id: 32817}}}\n",
    )
    shown = _lines(show_mapping("observation", "S1", ground.folder))
    assert shown["rules.measurement.columns.measurement_type_concept_id"] == ("S1/observation.yaml:5", "32817")
    assert shown["rules.measurement.columns.person_id"] == ("observation.yaml:19", "$person")
    assert shown["skip.1"][0] == "S1/observation.yaml:4"
    assert shown["skip.2"][0] == f"observation.yaml:{ground.line('resources/observation.yaml', 'cancelled')}"


def test_show_without_override_is_the_base_file(ground) -> None:
    assert show_mapping("Observation", "S2", ground.folder) == show_mapping("observation", None, ground.folder)


def test_show_of_an_unknown_resource_is_refused_with_a_hint(ground) -> None:
    with pytest.raises(MappingError, match="did you mean 'observation'"):
        show_mapping("observatoin", None, ground.folder)


def test_diff_tells_added_removed_and_changed(ground, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(ground.folder, other, ignore=shutil.ignore_patterns("other"))
    assert diff_mappings(ground.folder, other) == []
    path = other / "resources" / "observation.yaml"
    path.write_text(
        path.read_text().replace("type_concept_id: 32856", "type_concept_id: 32817").replace("require: [start]\n", "")
    )
    (other / "codes" / "gender.csv").write_text("source_code,target_concept_id,comment\nmale,8507,\nother,0,\n")
    assert diff_mappings(ground.folder, other) == [
        "- codes/gender.csv 'female': target_concept_id=8532",
        "+ codes/gender.csv 'other': target_concept_id=0",
        "- observation.yaml require: [start]",
        "~ observation.yaml rules.measurement.columns.measurement_type_concept_id: 32856 → 32817",
    ]
