"""Every planted case is in the files, found there without the renderer, as often as truth/README.md says."""

import json
from collections import Counter
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from .conftest import SAMPLE, Export

SHANGHAI = ZoneInfo("Asia/Shanghai")
CHILDREN = {
    "K01": 10, "K02": 11, "K03": 11, "K04": 10, "K05": 11, "K06": 11, "K07": 11, "K08": 5, "K09": 8, "K10": 8,
    "K11": 72, "K12": 20, "K13": 5, "K14": 21, "K15": 8, "K16": 1, "K17": 1, "K18": 2, "K20": 1, "K21": 1,
    "K22": 2, "K23": 1, "K24": 6, "K26": 2, "K27": 1, "K28": 38, "K29": 1, "K30": 1,
}  # fmt: skip


@pytest.mark.parametrize(("rule", "children"), CHILDREN.items())
def test_as_many_children_carry_a_rule_as_the_truth_says(planted: dict[str, Any], rule: str, children: int) -> None:
    assert planted[rule]["children"] == children


def test_every_listed_resource_is_delivered(export: Export, planted: dict[str, Any]) -> None:
    names = {(one.site, one.name) for one in export.delivered}
    for rule, entry in planted.items():
        if rule not in ("K20", "K30"):  # these list files
            listed = {(site, name) for site, found in entry["sites"].items() for name in found["resources"]}
            assert listed <= names, rule


@pytest.mark.parametrize(("rule", "status"), [("K01", "not-done"), ("K02", "entered-in-error"), ("ON_HOLD", "on-hold")])
def test_the_list_holds_all_administrations_of_an_unusual_status(
    export: Export, planted: dict[str, Any], rule: str, status: str
) -> None:
    found = {
        (one.site, one.name) for one in export.of_type("MedicationAdministration") if one.resource["status"] == status
    }
    listed = {(site, name) for site, entry in planted[rule]["sites"].items() for name in entry["resources"]}
    assert found == listed


def test_business_identifiers_repeat_only_as_planted(export: Export, planted: dict[str, Any]) -> None:
    bags = {
        (one.site, one.name): one for one in export.of_type("MedicationAdministration") if "identifier" in one.resource
    }
    numbers = Counter((site, one.resource["identifier"][0]["value"]) for (site, _), one in bags.items())
    assert sum(count - 1 for count in numbers.values()) == planted["K03"]["children"]


def test_the_same_bytes_lie_in_two_files_only_as_planted(export: Export, planted: dict[str, Any]) -> None:
    listed = {(site, name) for site, entry in planted["K04"]["sites"].items() for name in entry["resources"]}
    copies: dict[tuple[str, str], set[str]] = {}
    for one in export.of_type("MedicationAdministration"):
        copies.setdefault((one.site, one.name), set()).add(one.file)
    assert {key for key, files in copies.items() if len(files) == 2} == listed
    contents = {key: set() for key in listed}
    for one in export.of_type("MedicationAdministration"):
        if (one.site, one.name) in listed:
            contents[one.site, one.name].add(json.dumps(one.resource))
    assert all(len(found) == 1 for found in contents.values())


def test_preliminary_results_have_a_later_corrected_version(export: Export) -> None:
    observations = export.of_type("Observation")
    early = [one for one in observations if one.resource["status"] == "preliminary"]
    late = {one.resource["id"]: one for one in observations if one.resource["status"] == "corrected"}
    assert len({one.name for one in early}) == len(late) == CHILDREN["K05"]
    for one in early:
        corrected = late[one.resource["id"].removesuffix("-preliminary")]
        assert one.resource["meta"]["lastUpdated"] < corrected.resource["meta"]["lastUpdated"]
        assert one.resource["effectiveDateTime"] == corrected.resource["effectiveDateTime"]


def test_failed_samples_have_a_reason_and_no_value(export: Export) -> None:
    failed = [one for one in export.current("Observation") if "dataAbsentReason" in json.dumps(one.resource)]
    assert len({export.child(one) for one in failed}) == CHILDREN["K09"]
    assert not any(
        "valueQuantity" in json.dumps(one.resource) or "valueString" in json.dumps(one.resource) for one in failed
    )


def test_percentages_stand_beside_absolute_counts(export: Export) -> None:
    pairs = {"8117-4": "8116-6", "8124-0": "8122-4"}
    at: dict[str, set[tuple[str, str]]] = {}
    for one in export.current("Observation"):
        code = one.resource["code"]["coding"][0]["code"]
        at.setdefault(code, set()).add((export.child(one), one.resource["effectiveDateTime"]))
    for percent, absolute in pairs.items():
        assert at[percent]
        assert at[percent] <= at[absolute]


def test_contacts_after_the_last_one_are_planned_or_bills(export: Export, patients: dict[str, dict[str, str]]) -> None:
    for one in export.of_type("Encounter", "ChargeItem", "Claim"):
        resource = one.resource
        last = date.fromisoformat(patients[export.child(one)]["last_contact_date"])
        when = (
            resource["period"]["end"]
            if "period" in resource
            else resource.get("occurrenceDateTime") or resource["created"]
        )
        bill = resource["resourceType"] != "Encounter"
        assert (local_day(when) > last) == (bill or resource["status"] == "planned")


def test_the_second_record_is_replaced_by_the_first(export: Export) -> None:
    old = next(one.resource for one in export.of_type("Patient") if one.resource["id"] == "P031-B")
    assert old["link"][0]["type"] == "replaced-by"
    assert export.target(old["link"][0]["other"]["reference"]) == "Patient/P031"
    assert not any(number["system"] == "urn:blina:study-number" for number in old["identifier"])
    subjects = [
        export.target(one.resource["subject"]["reference"]) for one in export.of_type("Observation", "Condition")
    ]
    assert subjects.count("Patient/P031-B") > 1
    assert subjects.count("Patient/P031") > 1


def test_one_page_is_gb18030_and_holds_the_child_it_should() -> None:
    odd = []
    for path in (SAMPLE / "site3").iterdir():
        try:
            path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            odd.append(path)
    assert [path.name for path in odd] == ["MedicationAdministration-001.json"]
    page = json.loads(odd[0].read_bytes().decode("gb18030"))
    assert sum("/Patient/P100" in json.dumps(entry) for entry in page["entry"]) > 40


def test_a_page_points_to_one_delivered_before_it() -> None:
    links = {}
    for number in (1, 2):
        bundle = json.loads((SAMPLE / "site3" / f"Observation-{number:03d}.json").read_text(encoding="utf-8"))
        links[number] = {link["relation"]: link["url"] for link in bundle["link"]}
    assert links[2]["next"] == links[1]["self"]


def test_site4_times_are_utc_and_fall_on_the_day_before(export: Export) -> None:
    """K19: laboratory samples of 07:00 local are 23:00Z of the day before."""
    samples = [one.resource for one in export.of_type("Observation") if one.site == "SITE4"]
    times = {one["effectiveDateTime"][10:] for one in samples if "T" in one["effectiveDateTime"]}
    assert times == {"T23:00:00Z"}


@pytest.mark.parametrize(("child", "end"), [
    ("P026", "2024-04-28T02:00"), ("P100", "2022-04-15T02:00"), ("P036", "2022-09-06T02:00"),
    ("P047", "2023-08-04T02:00"), ("P080", "2023-05-07T02:00"), ("P067", "2023-10-03T02:00"),
])  # fmt: skip
def test_courses_with_an_interruption_end_after_midnight(export: Export, child: str, end: str) -> None:
    """K24: 20:00 and 6 h or 30 h are 02:00 of the end day, local."""
    bags = [one.resource for one in export.current("MedicationAdministration") if export.child(one) == child]
    ends = {bag_end(bag).isoformat() for bag in bags if "-bag-" in bag["id"] and bag["status"] != "not-done"}
    assert f"{end}:00" in ends


def bag_end(bag: dict[str, Any]) -> datetime:
    if "effectivePeriod" in bag:
        return local(bag["effectivePeriod"]["end"])
    hours = float(bag["dosage"]["text"].removeprefix("持续静脉泵入").split("小时")[0])
    return local(bag["effectiveDateTime"]) + timedelta(hours=hours)


def local(instant: str) -> datetime:
    return datetime.fromisoformat(instant).astimezone(SHANGHAI).replace(tzinfo=None)


def local_day(when: str) -> date:
    return local(when).date() if "T" in when else date.fromisoformat(when)
