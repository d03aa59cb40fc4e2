"""Mapping files are read by libyaml where there is one; a machine without it reads the same."""

from pathlib import Path

import pytest
import yaml

from etl.mapping import files
from etl.mapping.files import read_mapping_files
from etl.pipeline import default_mappings


def test_both_readers_give_the_same_values_and_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    problems: list[str] = []
    quick = read_mapping_files(default_mappings(), problems)
    monkeypatch.setattr(files, "Loader", yaml.SafeLoader)
    assert read_mapping_files(default_mappings(), problems) == quick
    assert problems == []
    assert len(quick) > 25


@pytest.mark.parametrize("loader", [files.Loader, yaml.SafeLoader])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("resource: Patient\nfields: {a: [1, 2\nrules: {}\n", "patient.yaml:3"),
        ("resource: Patient\nfields:\n  a: {path: id}\n  a: {path: id}\n", "patient.yaml:4: fields.a stands twice"),
        ("- resource\n", "patient.yaml:1: must be a mapping"),
        ("", "patient.yaml:1: must be a mapping"),
        ("resource: Patient\nfields: !!python/object:os.system {}\n", "patient.yaml:2"),
    ],
)
def test_a_fault_of_yaml_has_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loader: type, text: str, told: str
) -> None:
    monkeypatch.setattr(files, "Loader", loader)
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "patient.yaml").write_text(text, encoding="utf-8")
    problems: list[str] = []
    read_mapping_files(tmp_path, problems)
    assert problems, "nothing was found"
    assert problems[0].startswith(told)
