"""The truth is in the FHIR: courses, results, states and dates found again without the renderer and without the ETL.

This is a second, crude reading on purpose; the real derivation is tested end to end.
"""

import re
import unicodedata
from collections import defaultdict
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from .conftest import Delivered, Export

SHANGHAI = ZoneInfo("Asia/Shanghai")
BLINATUMOMAB = {"1597258", "L01FX07", "X0087", "倍利妥", "贝林妥欧单坑", "blinatumomab (BLINCYTO) 35 µg"}
NEGATIVE = {"<0.01%", "<1.0×10^-4", "0.00%", "(-)", "阴性", "未检出", "negative", "neg"}
BLASTS = {"11150-0", "BM01-1", "GS001"}
MRD = {"MRD-FC", "BM01-2", "GS002", "MRD"}
ANTIGEN = {"CD19-BL", "BM01-3", "GS003", "CD19BLAST"}
CELLS = {"8122-4": "CD3", "24467-3": "CD4", "14135-8": "CD8", "8116-6": "CD19"} | {
    "MY003": "CD3", "MY004": "CD4", "MY008": "CD8", "MY019": "CD19"
}  # fmt: skip
OTHERS = {"26881-3": "IL-6", "XB006": "IL-6", "751-8": "ANC", "XCG-NEU": "ANC", "XC002": "ANC"} | {
    "777-3": "PLT", "XCG-PLT": "PLT", "XC010": "PLT", "29463-7": "kg", "VS-WT": "kg", "TZ01": "kg",
    "8302-2": "cm", "VS-HT": "cm", "SG01": "cm",
}  # fmt: skip
PER_10_9 = {"10*9/L": 1, "10^9/L": 1, "G/L": 1, "/uL": 0.001, "10*6/L": 0.001, "个/μL": 0.001}
MARROW = {"119359002", "BM", "骨髓"}

Result = tuple[str, date, float]
"""What (blasts, mrd, CD3 …), on which day, its value."""


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(SHANGHAI).replace(tzinfo=None)


def day(text: str) -> date:
    return local(text).date() if "T" in text else date.fromisoformat(text)


def word(concept: dict[str, Any]) -> str:
    return str(concept["coding"][0]["code"] if "coding" in concept else concept["text"])


@pytest.fixture(scope="module")
def bags(export: Export) -> dict[str, list[tuple[datetime, datetime, float]]]:
    """Start, end and µg/d of every bag that was given, by child and in order."""
    drugs = {(one.site, one.name): one.resource["code"] for one in export.of_type("Medication")}
    found: dict[str, list[tuple[datetime, datetime, float, bool]]] = defaultdict(list)
    for one in export.current("MedicationAdministration"):
        resource = one.resource
        code = resource.get("medicationCodeableConcept") or drug(export, one, drugs)
        if word(code) in BLINATUMOMAB and resource["status"] in ("completed", "stopped"):
            found[export.child(one)].append(span(resource))
    return {child: clipped(sorted(spans)) for child, spans in found.items()}


def clipped(spans: list[tuple[datetime, datetime, float, bool]]) -> list[tuple[datetime, datetime, float]]:
    """Ends cut at the next start; a dose per bag becomes a dose per day."""
    starts = [*(span[0] for span in spans[1:]), spans[-1][1]]
    cut = [
        (start, min(end, following), amount, rate)
        for (start, end, amount, rate), following in zip(spans, starts, strict=True)
    ]
    return [
        (start, end, amount if rate else amount / ((end - start) / timedelta(days=1)))
        for start, end, amount, rate in cut
    ]


def drug(export: Export, one: Delivered, drugs: dict[tuple[str, str], Any]) -> Any:
    reference = one.resource["medicationReference"]["reference"]
    return one.resource["contained"][0]["code"] if reference == "#drug" else drugs[one.site, export.target(reference)]


def span(bag: dict[str, Any]) -> tuple[datetime, datetime, float, bool]:
    """Start, end, amount in µg, and whether the amount is per day (else per bag)."""
    dosage = bag["dosage"]
    if "effectivePeriod" in bag:
        start, end = local(bag["effectivePeriod"]["start"]), local(bag["effectivePeriod"]["end"])
    else:
        start = local(bag["effectiveDateTime"])
        end = start + timedelta(hours=float(re.findall(r"[\d.]+", dosage["text"])[0]))
    if "rateQuantity" in dosage:
        return start, end, dosage["rateQuantity"]["value"], True
    if "rateRatio" in dosage:
        return start, end, dosage["rateRatio"]["numerator"]["value"], True
    return start, end, dosage["dose"]["value"], False


def split(spans: list[tuple[datetime, datetime, float]]) -> list[list[tuple[datetime, datetime, float]]]:
    found = [[spans[0]]]
    for one in spans[1:]:
        if one[0] - found[-1][-1][1] > timedelta(hours=168):
            found.append([])
        found[-1].append(one)
    return found


def test_bag_intervals_give_every_course(
    bags: dict[str, list[tuple[datetime, datetime, float]]], courses: list[dict[str, str]]
) -> None:
    found = {}
    for child, spans in bags.items():
        for number, course in enumerate(split(spans), start=1):
            gaps = [late[0] - early[1] for early, late in pairwise(course)]
            paused = sum((gap for gap in gaps if gap >= timedelta(hours=4)), timedelta())
            infused = course[-1][1] - course[0][0] - paused
            found[child, number] = (course[0][0], course[-1][1].date(), infused, paused)
    expected = {
        (row["patient_id"], int(row["course_no"])): (
            datetime.fromisoformat(f"{row['start_date']}T20:00"),
            date.fromisoformat(row["end_date"]),
            timedelta(days=int(row["infusion_days"])),
            timedelta(hours=int(row["interruption_hours"])),
        )
        for row in courses
    }
    assert found == expected


def test_rates_give_the_regimen_with_the_body_surface_of_the_day(
    bags: dict[str, list[tuple[datetime, datetime, float]]],
    courses: list[dict[str, str]],
    results: dict[str, list[Result]],
) -> None:
    regimens = {(row["patient_id"], int(row["course_no"])): row["dose_regimen"] for row in courses}
    for child, spans in bags.items():
        for number, course in enumerate(split(spans), start=1):
            before = course[0][0].date() - timedelta(days=1)
            body = {what: value for what, when, value in results[child] if when == before and what in ("kg", "cm")}
            area = (body["kg"] * body["cm"] / 3600) ** 0.5
            flat = body["kg"] >= 45
            amounts = [round(rate if flat else rate / area) for _, _, rate in (course[0], course[-1])]
            steps = "->".join(str(amount) for amount in dict.fromkeys(amounts))
            assert f"{steps} {'ug/d' if flat else 'ug/m2/d'}" == regimens[child, number]


@pytest.fixture(scope="module")
def results(export: Export) -> dict[str, list[Result]]:
    """Every usable result by child; MRD in %, 0.0 when negative; cells in 10⁹/L."""
    samples = {(one.site, one.name): word(one.resource["type"]) for one in export.of_type("Specimen")}
    reported = {
        (one.site, export.target(result["reference"])): export.target(one.resource["specimen"][0]["reference"])
        for one in export.of_type("DiagnosticReport")
        for result in one.resource["result"]
    }
    found: dict[str, list[Result]] = defaultdict(list)
    for one in export.current("Observation"):
        resource = one.resource
        named = resource.get("specimen", {}).get("reference")
        specimen = export.target(named) if named else reported.get((one.site, one.name))
        blood = specimen is not None and samples[one.site, specimen] not in MARROW
        for part in resource.get("component", [resource]):
            what = kind(word(part["code"]))
            if what and not (what in ("blasts", "mrd") and blood) and value(what, part) is not None:
                found[export.child(one)].append((what, day(resource["effectiveDateTime"]), value(what, part) or 0.0))
    return found


def kind(code: str) -> str | None:
    for name, codes in (("blasts", BLASTS), ("mrd", MRD), ("antigen", ANTIGEN)):
        if code in codes:
            return name
    return CELLS.get(code) or OTHERS.get(code)


def value(what: str, part: dict[str, Any]) -> float | None:
    if "valueQuantity" in part:
        quantity = part["valueQuantity"]
        if what == "mrd":
            return 0.0 if quantity.get("comparator") == "<" else float(quantity["value"])
        return round(quantity["value"] * PER_10_9[quantity["unit"]], 4) if what in CELLS.values() else quantity["value"]
    text = unicodedata.normalize("NFKC", part.get("valueString", ""))
    if not text:
        return None
    if what == "mrd" and text in NEGATIVE:
        return 0.0
    amount = float(re.split(r"[%×]", text)[0])
    return amount * 0.01 if text.endswith("×10^-4") else amount if text.endswith("%") else amount * 100


def test_marrow_windows_give_blasts_and_mrd_before_and_after(
    courses: list[dict[str, str]], results: dict[str, list[Result]]
) -> None:
    starts: dict[str, list[date]] = defaultdict(list)
    for row in courses:
        starts[row["patient_id"]].append(date.fromisoformat(row["start_date"]))
    for row in courses:
        start, end = date.fromisoformat(row["start_date"]), date.fromisoformat(row["end_date"])
        marrows: dict[date, dict[str, float]] = defaultdict(dict)
        for what, when, found in results[row["patient_id"]]:
            if what in ("blasts", "mrd"):
                marrows[when][what] = found
        before = max(when for when in marrows if -28 <= (when - start).days <= 1)
        limit = min([later for later in starts[row["patient_id"]] if later > start], default=date.max)
        after = min(when for when in marrows if 0 <= (when - end).days <= 21 and (when - limit).days <= 1)
        first = starts[row["patient_id"]][0]
        assert (after - first).days == int(row["assessment_day"])
        for side, when in (("pre", before), ("post", after)):
            assert marrows[when]["blasts"] == float(row[f"blasts_{side}_pct"])
            assert marrows[when]["mrd"] == pytest.approx(float(row[f"mrd_{side}_pct"]), rel=0.005, abs=1e-9)


def test_every_laboratory_row_is_in_the_fhir_with_its_value(
    labs: list[dict[str, str]], results: dict[str, list[Result]]
) -> None:
    found = {child: set(rows) for child, rows in results.items()}
    for row in labs:
        if row["analyte"] in ("BM_blasts", "MRD_flow_BM"):
            continue
        scale = PER_10_9[row["unit"]] if row["analyte"].startswith("CD") else 1
        expected = round(float(row["value_num"]) * scale, 4)
        assert (row["analyte"], date.fromisoformat(row["date"]), expected) in found[row["patient_id"]]


def test_both_cd19_variables_have_the_rows_of_the_truth(
    courses: list[dict[str, str]], results: dict[str, list[Result]]
) -> None:
    firsts = [row for row in courses if row["course_no"] == "1"]
    for what, column, limit in (("antigen", "cd19_loss_complete", 20), ("CD19", "cd19_loss_2missing", 0.01)):
        truth = {row["patient_id"]: row[column] for row in firsts if row[column]}
        found = {
            child: str(int(amount < limit))
            for child, rows in results.items()
            for name, _, amount in rows
            if name == what
        }
        assert found == truth


def test_eighty_five_children_have_a_tcell_pair(
    courses: list[dict[str, str]], results: dict[str, list[Result]]
) -> None:
    starts = {(row["patient_id"], row["course_no"]): date.fromisoformat(row["start_date"]) for row in courses}
    pairs = 0
    for row in courses:
        if row["course_no"] == "1":
            start, end = date.fromisoformat(row["start_date"]), date.fromisoformat(row["end_date"])
            following = starts.get((row["patient_id"], "2"), date.max) - timedelta(days=2)
            days = [when for what, when, _ in results[row["patient_id"]] if what == "CD3"]
            before = any(-7 <= (when - start).days <= 0 for when in days)
            pairs += before and any(end <= when <= min(end + timedelta(days=14), following) for when in days)
    assert pairs == 85


def test_the_last_clinical_record_is_the_last_contact_or_the_death(
    export: Export, patients: dict[str, dict[str, str]]
) -> None:
    last: dict[str, date] = defaultdict(lambda: date.min)
    for one in export.current("Encounter", "Observation", "Condition", "Procedure", "MedicationAdministration"):
        resource = one.resource
        if resource["status"] in ("planned", "on-hold") if "status" in resource else False:
            continue
        when = (
            resource.get("period", {}).get("end") or resource.get("effectiveDateTime") or resource.get("onsetDateTime")
        )
        when = when or resource.get("performedDateTime") or resource.get("effectivePeriod", {}).get("end")
        last[export.child(one)] = max(last[export.child(one)], day(when))
    for child, row in patients.items():
        dead = row["os_event"] == "1"
        expected = date.fromisoformat(row["last_contact_date"])
        assert last[child] <= expected if dead else last[child] == expected


def test_every_death_has_its_date_in_the_place_the_site_keeps_it(
    export: Export, patients: dict[str, dict[str, str]]
) -> None:
    found = {}
    for one in export.of_type("Patient"):
        if len(one.resource.get("deceasedDateTime", "")) >= 10:
            found[one.resource["id"]] = day(one.resource["deceasedDateTime"])
    for one in export.of_type("Encounter"):
        if "hospitalization" in one.resource:
            found[export.child(one)] = day(one.resource["period"]["end"])
    for one in export.of_type("Observation"):
        if word(one.resource["code"]) == "FU-STATUS" and word(one.resource["valueCodeableConcept"]) == "dead":
            found[export.child(one)] = day(one.resource["effectiveDateTime"])
    dead = {
        child: date.fromisoformat(row["last_contact_date"]) for child, row in patients.items() if row["os_event"] == "1"
    }
    assert found == dead
    assert [one.resource["deceasedDateTime"] for one in export.of_type("Patient") if one.resource["id"] == "P045"] == [
        "2022-05"
    ]


def test_persons_are_those_of_the_truth(export: Export, patients: dict[str, dict[str, str]]) -> None:
    found = {one.resource["id"]: one for one in export.current("Patient")}
    assert set(found) == set(patients) | {"P031-B", "P091-S1"}
    for child, row in patients.items():
        resource = found[child].resource
        assert (found[child].site, resource["birthDate"]) == (row["site"], row["birth_date"])
        assert resource["gender"] == {"M": "male", "F": "female"}[row["sex"]]


def test_blocks_delayed_by_two_weeks_belong_to_the_children_with_delayed_chemotherapy(
    export: Export, patients: dict[str, dict[str, str]]
) -> None:
    delayed, short = set(), set()
    for one in export.current("CarePlan", "ServiceRequest"):
        detail = one.resource["activity"][0]["detail"] if "activity" in one.resource else one.resource
        if detail["status"] in ("on-hold", "cancelled", "revoked"):
            planned = detail.get("scheduledPeriod") or detail["occurrencePeriod"]
            first = date.fromisoformat(patients[export.child(one)]["first_blina_date"])
            enough = (first - date.fromisoformat(planned["start"])).days >= 14
            (delayed if enough else short).add(export.child(one))
    assert delayed == {child for child, row in patients.items() if row["indication"] == "CHEMO_DELAY"}
    assert short == {child for child, row in patients.items() if row["indication"] == "CR_MRDpos"}


def test_transplants_and_cells_have_their_days(export: Export, patients: dict[str, dict[str, str]]) -> None:
    found: dict[str, dict[str, int]] = {"hsct_day": {}, "cart_day": {}}
    for one in export.current("Procedure", "MedicationAdministration"):
        resource = one.resource
        code = word(resource.get("code") or resource.get("medicationCodeableConcept") or {"text": ""})
        name = "hsct_day" if code in ("234336002", "HSCT-ALLO", "41.0x") else "cart_day" if cells(code) else None
        if name:
            child = export.child(one)
            first = date.fromisoformat(patients[child]["first_blina_date"])
            number = (day(resource.get("performedDateTime") or resource["effectiveDateTime"]) - first).days
            found[name][child] = min(number, found[name].get(child, number))
    for name, days in found.items():
        assert days == {child: int(row[name]) for child, row in patients.items() if row[name]}


def cells(code: str) -> bool:
    return code in ("1986438", "CART") or "CAR-T" in code
