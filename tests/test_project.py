"""What the project promises about itself: its names, its files, what a wheel carries."""

import subprocess
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("mappings", "etl", "analytics", "flows")


def test_no_other_distribution_owns_one_of_our_top_level_names() -> None:
    owners = packages_distributions()
    assert all(set(owners.get(name, [])) <= {"blina"} for name in PACKAGES)


def test_the_packages_cannot_be_uploaded_by_accident() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "Private :: Do Not Upload" in project["classifiers"]
    assert project["scripts"] == {"blina": "flows.cli:main"}


def test_the_files_that_a_stranger_looks_for_are_there() -> None:
    names = ("LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "GLOSSARY.md", "uv.lock")
    assert all((ROOT / name).stat().st_size > 0 for name in names)
    assert "### Mapping" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_a_wheel_would_carry_every_data_file() -> None:
    """hatchling takes what git tracks below the packages; data that nobody added would be missing at a site."""
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard", *PACKAGES], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    ignored = subprocess.run(
        ["git", "ls-files", "--others", "--ignored", "--exclude-standard", *PACKAGES],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert not [name for name in ignored if not name.endswith((".pyc", ".pyo")) and "__pycache__" not in name]
