"""The truth as an OMOP CDM, made and derived once; and a builder of small CDMs."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _load(name: str) -> ModuleType:
    """A module beside this file: tests are no package, so it is loaded by its path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


_load("omop_from_truth")
_load("children")


@pytest.fixture(scope="session")
def truth_url(tmp_path_factory):
    return _load("omop_from_truth").build_truth_cdm(tmp_path_factory.mktemp("truth") / "omop.duckdb")


@pytest.fixture(scope="session")
def truth_cdm(truth_url):
    from analytics import open_cdm

    cdm = open_cdm(truth_url)
    yield cdm
    cdm.close()


@pytest.fixture(scope="session")
def derived(truth_cdm):
    from analytics import derive, load_study

    return derive(truth_cdm, load_study())
