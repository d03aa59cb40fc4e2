"""A site that asked for the texts of documents has them in NOTE, and nowhere else: not in a report, list or message."""

import base64
import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import duckdb
import pytest

from etl.explain import explain_row
from etl.landing import Source
from etl.mapping.worklist import worklist
from etl.pipeline import build
from etl.settings import Settings
from etl.store import database_path

WORDS = "Mrs Lindqvist came with fever"


@pytest.fixture(scope="module")
def built(hospital: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The database of two documents, one in an unreadable form, and all that the build said."""
    folder = tmp_path_factory.mktemp("notes")
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    person = {"reference": "Patient/p1"}
    resources: list[dict[str, Any]] = [{"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "2015"}]
    for number, charset in enumerate(("utf-8", "utf-16-be")):  # no UTF-16 without surplus: the second has an odd byte
        data = base64.b64encode(WORDS.encode(charset) + (b"\x00" if number else b"")).decode()
        resources.append({
            "resourceType": "DocumentReference", "id": f"t{number}", "status": "current", "subject": person,
            "type": {"coding": [{"system": "http://loinc.org", "code": "34108-1"}]}, "date": "2022-01-05T08:00:00Z",
            "content": [{"attachment": {"contentType": f"text/plain; charset={charset}", "data": data}}],
        })  # fmt: skip
    source = folder / "fhir"
    source.mkdir()
    (source / "all.ndjson").write_text("".join(json.dumps(one) + "\n" for one in resources))
    url = f"duckdb:///{folder / 'omop.duckdb'}"
    settings = Settings(key="k", policies={"notes": "inline_text"})
    report = build(
        [Source("SITE9", source)],
        database=url, settings=settings, vocabulary=[hospital.athena], rejects=folder / "rejects", progress=said.append,
    )  # fmt: skip
    logging.getLogger().removeHandler(handler)
    said.append(json.dumps(report.as_dict(), default=str))
    said += [path.read_text() for path in (folder / "rejects").rglob("*") if path.is_file()]
    return url, "\n".join(said)


def test_the_text_is_in_note_and_nothing_that_the_build_said_has_it(built: tuple[str, str]) -> None:
    url, said = built
    with duckdb.connect(str(database_path(url)), read_only=True) as connection:
        assert connection.execute("SELECT note_text FROM cdm.note").fetchall() == [(WORDS,)]
        tables = connection.execute(
            "SELECT schema_name, table_name, column_name FROM duckdb_columns() WHERE data_type = 'VARCHAR'"
        ).fetchall()
        holding = [
            (schema, table)
            for schema, table, column in tables
            if connection.execute(
                f"""SELECT count(*) FROM "{schema}"."{table}" WHERE contains("{column}", 'Lindqvist')"""
            ).fetchone()
            != (0,)
        ]
    assert holding == [("cdm", "note")]
    assert "no rule gives a row" in said  # the document that could not be decoded is counted
    assert "Lindqvist" not in said
    assert base64.b64encode(WORDS.encode()).decode()[:20] not in said


def test_explain_never_shows_it_and_reads_the_policies_of_the_build(built: tuple[str, str]) -> None:
    with duckdb.connect(str(database_path(built[0])), read_only=True) as connection:
        (number,) = connection.execute("SELECT note_id FROM cdm.note").fetchone() or (0,)
    for values in (False, True):
        text = explain_row(built[0], "note", number, values=values)
        assert "rule    note, document_reference.yaml:" in text
        assert "Lindqvist" not in text
    assert f"note_text = ({len(WORDS)} characters, never shown)" in text
    assert "2022-01-05" in text


def test_the_work_list_has_the_kind_of_document_only(built: tuple[str, str]) -> None:
    shown = worklist(built[0], rare_texts=True)
    listed = json.dumps([dataclasses.asdict(shown)], default=lambda frame: frame.write_json())
    assert "34108-1" in listed
    assert "Lindqvist" not in listed


def test_without_the_policy_no_text_is_anywhere(hospital: Any, tmp_path: Path) -> None:
    source = tmp_path / "fhir"
    source.mkdir()
    data = base64.b64encode(WORDS.encode()).decode()
    document = {
        "resourceType": "DocumentReference", "id": "t", "status": "current", "subject": {"reference": "Patient/p1"},
        "date": "2022-01-05T08:00:00Z", "content": [{"attachment": {"contentType": "text/plain", "data": data}}],
    }  # fmt: skip
    (source / "all.ndjson").write_text(json.dumps(document) + "\n")
    url = f"duckdb:///{tmp_path / 'omop.duckdb'}"
    build([Source("SITE9", source)], database=url, settings=Settings(key="k"), vocabulary=[hospital.athena])
    with duckdb.connect(str(database_path(url)), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM cdm.note").fetchone() == (0,)
