"""A patient withdraws and is gone: from every file, from both databases, from releases; nobody else is touched."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from databases import Database

import etl.cdm
from etl import withdraw as module
from etl.errors import CdmError, UsageError, VocabularyError
from etl.landing import Source
from etl.pipeline import build
from etl.settings import Settings
from etl.store import home_of
from etl.store.reading import reading
from etl.store.releases import publish, releases, verify
from etl.withdraw import withdraw

pytestmark = pytest.mark.long

TRACES = ("kind-eins", "Zwiebelfisch", "MRN-4711", "Liese-Lotte", "11111111-2222-3333-4444-555555555555", "kind-alt")
"""What must be nowhere: ids, name parts, identifiers of the one who withdraws."""
URN = "urn:uuid:11111111-2222-3333-4444-555555555555"


def patient(one: str, name: str, number: str, **more: object) -> dict[str, object]:
    names = [{"family": name, "given": ["Liese-Lotte" if name == "Zwiebelfisch" else "Kim"]}]
    return {
        "resourceType": "Patient", "id": one, "birthDate": "2015-03-04", "gender": "female", "name": names,
        "identifier": [{"system": "http://h/mrn", "value": number}],
    } | more  # fmt: skip


def weight(one: str, subject: dict[str, object] | None, **more: object) -> dict[str, object]:
    said = {} if subject is None else {"subject": subject}
    return {
        "resourceType": "Observation", "id": one, "status": "final", "effectiveDateTime": "2024-01-01",
        "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
        "valueQuantity": {"value": 12.5, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"},
    } | said | more  # fmt: skip


def visit(one: str, subject: str) -> dict[str, object]:
    return {
        "resourceType": "Encounter", "id": one, "status": "finished", "subject": {"reference": subject},
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "period": {"start": "2024-01-01", "end": "2024-01-03"},
    }  # fmt: skip


TO_EINS = {"other": {"reference": "Patient/kind-eins"}, "type": "seealso"}
THEIRS: list[dict[str, object]] = [
    patient("kind-eins", "Zwiebelfisch", "MRN-4711"),
    patient("kind-alt", "Zwiebelfisch", "MRN-4712", link=[TO_EINS]),
    visit("v1", "Patient/kind-eins"),
    weight("w-relative", {"reference": "Patient/kind-eins"}),
    weight("w-version", {"reference": "http://h/fhir/Patient/kind-eins/_history/3"}),
    weight("w-linked", {"reference": "Patient/kind-alt"}),
    weight("w-conditional", {"reference": "Patient?identifier=http://h/mrn|MRN-4711"}),
    weight("w-logical", {"identifier": {"system": "http://h/mrn", "value": "MRN-4711"}}),
    weight("w-encounter", None, encounter={"reference": "Encounter/v1"}),
    weight("w-focus", {"reference": "Patient/other"}, focus=[{"reference": "Patient/kind-eins"}]),
    weight("w-contained", {"reference": "#p"}, contained=[
        {"resourceType": "Patient", "id": "p", "identifier": [{"system": "http://h/mrn", "value": "MRN-4711"}]}]),
]  # fmt: skip
OTHERS: list[dict[str, object]] = [
    patient("other", "Anders", "MRN-1"),
    visit("v2", "Patient/other"),
    weight("w-other", {"reference": "Patient/other"}, encounter={"reference": "Encounter/v2"}),
    {"resourceType": "Organization", "id": "org", "name": "Klinik"},
]


def bundle(*resources: dict[str, object]) -> str:
    return json.dumps(
        {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]}
    )


@dataclass(frozen=True)
class Instance:
    """A hospital's instance on one kind of database."""

    database: Database
    folder: Path
    settings: Settings

    def receive(self, name: str, text: str) -> dict[str, int]:
        night = self.folder.parent / "exports" / name
        night.mkdir(parents=True)
        (night / "Liese-Lotte_Zwiebelfisch.json").write_text(text)
        (night / "Zwiebelfisch.pdf").write_text("no FHIR")
        report = build([Source("S", night)], database=self.database.url, settings=self.settings)
        rows = report.counts.filter(report.counts["reason"] == "withdrawn")
        return {**report.totals, "withdrawn": int(rows["n"].sum())}

    def withdraw(self, *people: tuple[str, str]) -> dict[str, Any]:
        done = withdraw(
            list(people),
            database=self.database.url,
            settings=self.settings,
            releases=folder if (folder := self.folder / "releases").exists() else None,
        )
        return json.loads(done.path.with_suffix(".json").read_text())

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        with reading(self.database.url) as connection:
            names = [one for one in etl.cdm.TABLES if one not in {*etl.cdm.VOCABULARY_TABLES, "cdm_source"}]
            return {name: sorted(connection.execute(f"FROM cdm.{name}").fetchall(), key=repr) for name in names}

    def traces(self) -> list[str]:
        """Where a trace is in any byte of any file of the instance, or in any row of the server."""
        texts = {
            str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()
        }
        found = [
            f"{name}: {one}" for name, text in texts.items() for one in TRACES if one.encode() in text or one in name
        ]
        if self.database.kind != "duckdb":
            with reading(self.database.url) as connection:
                for schema, table in connection.execute(
                    "SELECT schema_name, table_name FROM duckdb_tables()"
                ).fetchall():
                    text = str(connection.execute(f'FROM {schema}."{table}"').fetchall())
                    found += [f"{schema}.{table}: {one}" for one in TRACES if one in text]
        return found


@pytest.fixture
def instance(database: Database, tmp_path: Path) -> Instance:
    folder = tmp_path / "instance"
    folder.mkdir()
    if database.kind == "duckdb":
        made = Instance(Database(f"duckdb:///{folder / 'omop.duckdb'}"), folder, Settings(key="k"))
    else:
        made = Instance(database, folder, Settings(key="k", landed=folder))
    return made


@pytest.fixture
def filled(instance: Instance) -> Instance:
    """Two nights, with a release after each; the second night sends by URN."""
    instance.receive("night1", bundle(*THEIRS, *OTHERS))
    publish(instance.database.url, instance.folder / "releases")
    by_urn = {"resource": patient("kind-eins", "Zwiebelfisch", "MRN-4711"), "fullUrl": URN}
    more = {"resource": weight("w-urn", {"reference": URN}), "fullUrl": "urn:uuid:99999999-2222-3333-4444-555555555555"}
    gone = {"request": {"method": "DELETE", "url": "Patient/kind-alt"}}
    instance.receive("night2", json.dumps({"resourceType": "Bundle", "type": "history", "entry": [by_urn, more, gone]}))
    publish(instance.database.url, instance.folder / "releases")
    return instance


@pytest.fixture
def one_night(tmp_path: Path) -> Instance:
    """The first night on DuckDB, for what does not depend on the database."""
    folder = tmp_path / "instance"
    folder.mkdir()
    made = Instance(Database(f"duckdb:///{folder / 'omop.duckdb'}"), folder, Settings(key="k"))
    made.receive("night1", bundle(*THEIRS, *OTHERS))
    return made


def alone(tmp_path: Path) -> Instance:
    """What an instance would hold that never received them."""
    folder = tmp_path / "alone"
    folder.mkdir()
    made = Instance(Database(f"duckdb:///{folder / 'omop.duckdb'}"), folder, Settings(key="k"))
    made.receive("alone", bundle(*OTHERS))
    return made


def test_nothing_of_a_withdrawn_patient_is_left_and_the_others_stay(filled: Instance, tmp_path: Path) -> None:
    assert len({trace.split(": ")[1] for trace in filled.traces()}) == len(TRACES)
    certificate = filled.withdraw(("S", "kind-eins"))
    assert filled.traces() == []
    assert filled.rows() == alone(tmp_path).rows()
    assert certificate["landed_resources_removed"] == {"Patient": 3, "Encounter": 1, "Observation": 9}
    assert certificate["rows_removed"]["cdm.person"] == 1
    assert certificate["rows_after"]["cdm.person"] == 1
    assert certificate["patients_listed"] == len(certificate["withdrawn_patients"]) == 1


def test_what_comes_later_of_a_withdrawn_patient_is_skipped_and_counted(filled: Instance, tmp_path: Path) -> None:
    filled.withdraw(("S", "kind-eins"))
    again = filled.receive("night3", bundle(*THEIRS, *OTHERS))
    assert again["withdrawn"] == 3 + 1 + 9  # the same bytes came before: the file is not read again
    late = weight("w-late", {"reference": URN})
    more = filled.receive("night4", bundle(*reversed(THEIRS), late, weight("w-new", {"reference": "Patient/other"})))
    assert more["withdrawn"] == again["withdrawn"] + len(THEIRS) + 1
    assert more["landed"] == more["kept"] + more["skipped"] + more["rejected"]
    assert filled.traces() == []
    expected = alone(tmp_path)
    expected.receive("new", bundle(weight("w-new", {"reference": "Patient/other"})))
    assert filled.rows() == expected.rows()


def test_releases_stay_whole_and_lose_only_the_patient(filled: Instance) -> None:
    names = [one.name for one in releases(filled.folder / "releases")]
    certificate = filled.withdraw(("S", "kind-eins"))
    left = releases(filled.folder / "releases")
    assert [one.name for one in left] == names
    assert [one["rewritten"] for one in certificate["releases"]] == [True, True]
    for release in left:
        verify(release)
        with duckdb.connect(str(release.database), read_only=True) as connection:
            assert connection.execute("SELECT count(*) FROM cdm.person").fetchone() == (1,)
            assert connection.execute("SELECT count(*) FROM cdm.measurement").fetchone() == (1,)
            assert release.manifest["rows"]["cdm.person"] == 1


@pytest.mark.parametrize("step", ["_exchange", "_leave_ledger", "_refuse_left"])
def test_a_withdrawal_that_was_interrupted_is_finished_by_the_next(
    filled: Instance, step: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, step, stop)
        with pytest.raises(KeyboardInterrupt):
            filled.withdraw(("S", "kind-eins"))
    certificate = filled.withdraw(("S", "kind-eins"))
    assert filled.traces() == []
    assert filled.rows() == alone(tmp_path).rows()
    assert certificate["landed_resources_removed"] == {"Patient": 3, "Encounter": 1, "Observation": 9}
    assert certificate["rows_removed"]["cdm.person"] == 1


def test_a_withdrawal_refuses_what_would_change_others(one_night: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    before = one_night.rows()
    with pytest.raises(UsageError, match="nobody"):
        one_night.withdraw()

    class Other:
        version = "another release"

    with monkeypatch.context() as patched:
        patched.setattr(module, "load_vocabulary", lambda *_: Other())
        with pytest.raises(VocabularyError, match="another release"):
            one_night.withdraw(("S", "kind-eins"))
    assert one_night.rows() == before


def test_files_that_killed_runs_left_beside_the_database_go_too(one_night: Instance) -> None:
    home = home_of(one_night.database.url, one_night.settings.landed)
    left = home.folder / f"{home.work_prefix}killed"
    shutil.copytree(home.landed, left)
    one_night.withdraw(("S", "kind-eins"))
    assert not left.exists()
    assert one_night.traces() == []


def test_a_list_that_cannot_be_read_stops_the_build(one_night: Instance) -> None:
    one_night.withdraw(("S", "kind-eins"))
    (home_of(one_night.database.url, one_night.settings.landed).withdrawn / "list.json").write_text("{")
    with pytest.raises(CdmError, match="cannot be read"):
        one_night.receive("night5", bundle(*THEIRS))
