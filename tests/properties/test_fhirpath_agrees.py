"""The SQL of the FHIRPath subset gives what FHIRPath gives: against fhirpathpy on real resources, and HL7's own tests.

An expression that the mapping language does not have is refused with a PathError; whatever it accepts must agree.
"""

import json
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import fhirpathpy
import pytest
from fhirpathpy.models import models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.mapping.fhirpath_sql import FUNCTIONS, PathError, PathSyntaxError, Translator, Value, quote

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "sample_bundles").glob("site*/*.json"))
SHARED = Path("/work/shared/data")
OFFICIAL = SHARED / "fhirpath-r4" / "tests-fhir-r4.xml"
REFUSED = (PathError, PathSyntaxError)


# --- evaluation by both ------------------------------------------------------------------------------------------


def by_sql(expressions: Sequence[str], resources: Sequence[dict[str, Any]], folder: Path) -> list[list[list[Any]]]:
    """The collections that our SQL gives: one list per resource, of one list of values per expression."""
    translator = Translator(resources[0]["resourceType"])
    columns = ", ".join(f"{_as_list(translator.translate(one))} AS c{n}" for n, one in enumerate(expressions))
    path = folder / "resources.ndjson"
    path.write_text("".join(json.dumps({"n": n, "r": one}) + "\n" for n, one in enumerate(resources)))
    structure = translator.need.sql_type() if translator.need.children else "JSON"
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT {columns} FROM read_json({quote(str(path))}, format = 'newline_delimited', "
            f"columns = {{'n': 'BIGINT', 'r': {quote(structure)}}}) ORDER BY n"
        ).fetchall()
    return [[[_plain(value) for value in values or ()] for values in row] for row in found]


def _as_list(value: Value) -> str:
    return value.sql if value.many else f"CASE WHEN ({value.sql}) IS NOT NULL THEN [{value.sql}] ELSE [] END"


def by_fhirpathpy(expression: str, resource: dict[str, Any]) -> list[Any]:
    return [_plain(one) for one in fhirpathpy.evaluate(resource, expression, {"resource": resource}, models["r4"])]


def _plain(value: Any) -> Any:
    """Numbers as float, complex values only as such: their members are compared by the paths that read them."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        return float(value)
    if isinstance(value, str):
        return "complex" if value.startswith(("{", "[")) else value
    return "complex"


def same(ours: list[Any], theirs: list[Any]) -> bool:
    if len(ours) != len(theirs):
        return False
    return all(
        math.isclose(one, other, rel_tol=1e-9) if isinstance(one, float) and isinstance(other, float) else one == other
        for one, other in zip(ours, theirs, strict=True)
    )


# --- HL7's tests -------------------------------------------------------------------------------------------------


def official_tests() -> Iterator[tuple[str, str, str, str, bool, list[tuple[str, str]]]]:
    """(name, input, expression, invalid, predicate, outputs) of each test."""
    for test in ElementTree.parse(OFFICIAL).iter("test"):
        expression = test.find("expression")
        assert expression is not None
        outputs = [(one.get("type", ""), one.text or "") for one in test.findall("output")]
        yield (
            test.get("name", ""), test.get("inputfile", ""), expression.text or "", expression.get("invalid", ""),
            test.get("predicate") == "true", outputs,
        )  # fmt: skip


def _expected(kind: str, text: str) -> Any:
    if kind == "boolean":
        return text == "true"
    if kind in {"integer", "decimal"}:
        return float(text)
    return text.removeprefix("@") if kind in {"date", "dateTime"} else text
