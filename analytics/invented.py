"""Invented children as OMOP rows: the study's own examples and the tests are told with them, never with patients.

Concept ids are made up here, so that no rule can rely on known ones; codes are those of the study's concept sets.
"""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from analytics.cdm import Cdm
from analytics.study import Study, load_study
from etl.cdm import TABLES, column_types, create_table

UNITS = ("%", "1", "10*9/L", "/uL", "10*6/L", "pg/mL", "kg", "cm", "Cel", "mm[Hg]", "L/min")
LOCK = date(2025, 1, 31)
ZERO = date(2023, 1, 10)
"""The day of the first bag of every invented child; its first bag starts at `START`."""
START = datetime.combine(ZERO, time(20))
READ = frozenset(
    "person care_site cdm_source drug_exposure condition_occurrence observation measurement specimen "
    "procedure_occurrence device_exposure visit_occurrence death concept concept_ancestor".split()
)
"""The tables that the study reads."""
SPECIMEN_FIELD, CONDITION_FIELD = 1147049, 1147127


class CdmBuilder:
    """Collects OMOP rows and writes them as a DuckDB database."""

    def __init__(self, study: Study | None = None) -> None:
        """`study`: whose verified concept sets make the vocabulary; by default blinatumomab."""
        self.rows: dict[str, list[dict[str, object]]] = {}
        self.concepts: dict[tuple[str, str], int] = {}
        self.next_id = 10_000_000_000_000_000
        members = (study or load_study()).members.filter(pl.col("status") == "V")
        known = members.select("vocabulary_id", "concept_code", "label").unique(
            ["vocabulary_id", "concept_code"], maintain_order=True
        )
        for vocabulary, code, label in [*known.iter_rows(), *(("UCUM", unit, unit) for unit in UNITS)]:
            number = 50_000_000 + 3 * len(self.concepts) + (2_000_000_000 if vocabulary == "BLINA" else 0)
            self.concepts[vocabulary, code] = number
            self.rows.setdefault("concept", []).append(
                {"concept_id": number, "concept_name": label, "domain_id": "x", "vocabulary_id": vocabulary,
                 "concept_class_id": "x", "standard_concept": "S", "concept_code": code,
                 "valid_start_date": date(1970, 1, 1), "valid_end_date": date(2099, 12, 31)}
            )  # fmt: skip

    def concept(self, vocabulary: str, code: str) -> int:
        """The made-up id of a code of the study's concept sets."""
        return self.concepts[vocabulary, code]

    def add(self, table: str, **values: object) -> int:
        """A row with the next id; returns the id."""
        self.next_id += 7
        key = f"{table}_id"
        if key in column_types(table) and key not in values:
            values[key] = self.next_id
        self.rows.setdefault(table, []).append(values)
        return self.next_id

    def fill(self, connection: duckdb.DuckDBPyConnection, tables: frozenset[str] | None = None) -> None:
        """Writes the rows into schema `cdm` of a connection; all tables of the CDM, or only `tables`."""
        connection.execute("CREATE SCHEMA cdm")
        for name, table in TABLES.items():
            if tables is not None and name not in tables:
                continue
            connection.execute(create_table(table, "cdm", required=False))
            if rows := self.rows.get(name):
                connection.register("frame", pl.DataFrame(rows, infer_schema_length=None))
                connection.execute(f"INSERT INTO cdm.{name} BY NAME SELECT * FROM frame")
                connection.unregister("frame")

    def write(self, path: Path, *, tables: frozenset[str] | None = None) -> str:
        """The URL of a DuckDB file with schema `cdm`."""
        with duckdb.connect(path) as connection:
            self.fill(connection, tables)
        return f"duckdb:///{path}"

    def in_memory(self) -> Cdm:
        """A CDM that is gone when it is closed."""
        engine = create_engine("duckdb:///:memory:", poolclass=StaticPool)
        with engine.connect() as connection:
            self.fill(connection.connection.driver_connection, READ)  # type: ignore[arg-type]
        return Cdm(engine)


class PersonRows:
    """Adds the rows of one person; dates are told in days from `zero`."""

    cdm: CdmBuilder
    person: int
    site: str
    zero: date
    site_ids: Mapping[str, int]

    def day(self, offset: int) -> date:
        """The date so many days from the first bag."""
        return self.zero + timedelta(days=offset)

    def visit(self, first: date, last: date, code: str = "OP", **more: object) -> int:
        """A visit, IP or OP."""
        concept = self.cdm.concept("Visit", "IP") if code == "IP" else 9202
        return self.cdm.add(
            "visit_occurrence", person_id=self.person, visit_concept_id=concept, visit_start_date=first,
            visit_end_date=last, care_site_id=self.site_ids[self.site], **more,
        )  # fmt: skip

    def condition(self, concept: int, day: date, value: str, **more: object) -> int:
        """A diagnosis."""
        return self.cdm.add(
            "condition_occurrence", person_id=self.person, condition_concept_id=concept, condition_start_date=day,
            condition_source_value=value, **more,
        )  # fmt: skip

    def observation(self, code: str, day: date, value: str | None = None, **more: object) -> int:
        """An observation with a BLINA code and, if given, a BLINA code as its value."""
        if value is not None:
            more["value_as_concept_id"] = self.cdm.concept("BLINA", value)
        return self.cdm.add(
            "observation", person_id=self.person, observation_concept_id=self.cdm.concept("BLINA", code),
            observation_date=day, **more,
        )  # fmt: skip

    def measure(self, concept: int, day: date, hour: float | None = 7, **more: Any) -> int:
        """A measurement in the morning."""
        moment = None if hour is None else datetime.combine(day, datetime.min.time()) + timedelta(hours=hour)
        return self.cdm.add(
            "measurement", person_id=self.person, measurement_concept_id=concept, measurement_date=day,
            measurement_datetime=moment, **more,
        )  # fmt: skip

    def number(self, concept: int, day: date, value: float, unit: str, **more: Any) -> int:
        """A measurement with a number."""
        known = self.cdm.concepts.get(("UCUM", unit))
        return self.measure(
            concept, day, value_as_number=value, unit_concept_id=known, unit_source_value=unit,
            value_source_value=str(value), **more,
        )  # fmt: skip

    def specimen(self, day: date, code: str = "SPEC_MARROW") -> dict[str, Any]:
        """A specimen; gives the columns that link a measurement to it."""
        made = self.cdm.add(
            "specimen", person_id=self.person, specimen_concept_id=self.cdm.concept("BLINA", code), specimen_date=day
        )
        return {"measurement_event_id": made, "meas_event_field_concept_id": SPECIMEN_FIELD}

    def drug(self, code: str, day: date, **more: object) -> int:
        """An administration of a RxNorm ingredient."""
        values: dict[str, object] = {
            "drug_exposure_start_date": day, "drug_exposure_end_date": day, "drug_type_concept_id": 32818, **more,
        }  # fmt: skip
        return self.cdm.add(
            "drug_exposure", person_id=self.person, drug_concept_id=self.cdm.concept("RxNorm", code), **values
        )


class Child(PersonRows):
    """One child with B-ALL, 20 kg and 110 cm, in remission by default; every method adds OMOP rows."""

    def __init__(
        self, cdm: CdmBuilder, number: int, *, born: date = date(2018, 5, 1), site: str = "SITE1",
        diagnosed: int | None = -200, weight: float = 20.0, height: float = 110.0,
    ) -> None:  # fmt: skip
        """`diagnosed`: day of the B-ALL diagnosis, None for none; weight in kg, height in cm, the day before day 0."""
        self.cdm, self.n, self.person, self.site, self.zero = cdm, number, number, site, ZERO
        self.site_ids = {"SITE1": 101, "SITE2": 102}
        cdm.add("person", person_id=number, gender_concept_id=8507, year_of_birth=born.year,
                month_of_birth=born.month, day_of_birth=born.day)  # fmt: skip
        if diagnosed is not None:
            self.condition(cdm.concept("SNOMED", "277571004"), self.day(diagnosed), "C91.00")
        self.number(cdm.concept("LOINC", "29463-7"), self.day(-1), weight, "kg")
        self.number(cdm.concept("LOINC", "8302-2"), self.day(-1), height, "cm")

    def bag(self, start_hour: float, hours: float, *, sig: str | None = "11.7 ug/d", **more: object) -> int:
        """A bag that starts so many hours after the first one and runs so long."""
        start = START + timedelta(hours=start_hour)
        end = start + timedelta(hours=hours)
        values = {
            "drug_exposure_start_datetime": start, "drug_exposure_end_date": end.date(),
            "drug_exposure_end_datetime": end, "sig": sig, "quantity": 10.0 + start_hour, **more,
        }  # fmt: skip
        return self.drug("1597258", start.date(), **values)

    def course(self, start_day: int = 0, days: int = 28) -> None:
        """One long bag and the hospital stay around it."""
        visit = self.visit(self.day(start_day), self.day(start_day + days), "IP")
        self.bag(24 * start_day, 24 * days, visit_occurrence_id=visit)

    def marrow(self, day: int, blasts: float | None = None, mrd: str | None = None, **more: Any) -> None:
        """A marrow with blasts in % and flow MRD as the laboratory wrote it."""
        link = self.specimen(self.day(day))
        if blasts is not None:
            self.number(self.cdm.concept("BLINA", "BM_BLASTS"), self.day(day), blasts, "%", **link)
        if mrd is not None:
            self.measure(
                self.cdm.concept("BLINA", "MRD_BM_FLOW"), self.day(day), value_source_value=mrd, **link, **more
            )

    def t_cells(self, day: int, values: tuple[float, float, float], unit: str = "10*9/L") -> None:
        """CD3, CD4 and CD8 of one draw."""
        for code, value in zip(("8122-4", "24467-3", "14135-8"), values, strict=True):
            self.number(self.cdm.concept("LOINC", code), self.day(day), value, unit)

    def counts(self, day: int, anc: float, platelets: float) -> None:
        """Neutrophils and platelets, 10*9/L."""
        self.number(self.cdm.concept("LOINC", "26499-4"), self.day(day), anc, "10*9/L")
        self.number(self.cdm.concept("LOINC", "26515-7"), self.day(day), platelets, "10*9/L")

    def relapse(self, day: int) -> None:
        """A recorded relapse."""
        self.condition(self.cdm.concept("SNOMED", "12301000132103"), self.day(day), "C91.02")

    def graded(self, event: str, day: int, grade: int | None, system: str = "ASTCT") -> None:
        """CRS or ICANS; without a grade if it is None."""
        made = self.condition(self.cdm.concept("BLINA", event), self.day(day), event)
        if grade is not None:
            self.grade(made, day, grade, system)

    def grade(self, condition: int, day: int, grade: int, system: str) -> None:
        """The grade of a diagnosis, linked to it."""
        self.observation(
            f"GRADE_{grade}", self.day(day), observation_event_id=condition, observation_source_value=f"{system} grade",
            obs_event_field_concept_id=CONDITION_FIELD,
        )  # fmt: skip


class Children:
    """Numbered children by name in one CdmBuilder."""

    def __init__(self, study: Study | None = None) -> None:
        """An empty CDM of two hospitals with the data lock `LOCK`."""
        self.cdm = CdmBuilder(study)
        self.numbers: dict[str, int] = {}
        for number, site in ((101, "SITE1"), (102, "SITE2")):
            self.cdm.add("care_site", care_site_id=number, care_site_source_value=site)
        self.cdm.add("cdm_source", cdm_source_name="children", source_release_date=LOCK)

    def add(self, name: str, **more: object) -> Child:
        """The next child; `more` as for `Child`."""
        self.numbers[name] = len(self.numbers) + 1
        return Child(self.cdm, self.numbers[name], **more)  # type: ignore[arg-type]
