"""The examples of analytics/README.md run as they stand there."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from analytics import load_study
from analytics.statistics.tables import SCHEMAS

README = (Path(__file__).parents[2] / "analytics" / "README.md").read_text(encoding="utf-8")


def test_the_python_examples_run_one_after_the_other(truth_url, truth_cdm, tmp_path, monkeypatch):
    shutil.copy(truth_url.removeprefix("duckdb:///"), tmp_path / "omop.duckdb")
    monkeypatch.chdir(tmp_path)
    known = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "analytics/README.md", "exec"), known)
    assert known["found"].rows.height


def test_the_file_of_changes_is_a_study(tmp_path):
    (content,) = (block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "extends" in block)
    (tmp_path / "mine.yaml").write_text(content, encoding="utf-8")
    assert load_study(tmp_path / "mine.yaml").get("mrd_positive.from_pct") == 0.1
    assert set(yaml.safe_load(content)["parameters"]) == {"mrd_positive", "gap_bag_change_h"}


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_table_is_in_the_list(name):
    listed = re.findall(r"^\| ([a-z_, ]+?) \|", README, re.MULTILINE)
    named = {word for line in listed for word in line.split(", ")} | set(re.findall(r"`([a-z_]+)`", README))
    assert name in named
