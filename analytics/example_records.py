"""The words in which an example tells a child's records, and the OMOP rows that each of them becomes.

Every record is a mapping; `day` counts from the first bag. Unknown words are refused, so that a typing error in an
example cannot make it say less than it seems to.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from analytics.invented import Child

Entry = Mapping[str, Any]

DRUGS = {
    "vincristine": "11202", "methotrexate": "6851", "cyclophosphamide": "3002", "cytarabine": "3041",
    "dexamethasone": "3264", "tocilizumab": "612865",
    "imatinib": "282388", "dasatinib": "475342", "ponatinib": "1364347", "acetaminophen": "161",
    "norepinephrine": "7512", "epinephrine": "3992", "dopamine": "3628", "vasopressin": "11149",
}  # fmt: skip
OXYGEN = {
    "nasal cannula": "336623009", "blow-by": "425478008", "mask": "336602003", "non-rebreather": "427591007",
    "Venturi mask": "428285009", "high-flow cannula": "426854004", "CPAP": "467645007", "BiPAP": "425826004",
    "ventilator": "706172005",
}  # fmt: skip
CELLS = {
    "CD3": "8122-4", "CD4": "24467-3", "CD8": "14135-8", "CD19": "8116-6", "CD3 %": "8124-0", "CD8 %": "8101-8",
    "lymphocytes": "731-0", "neutrophils": "26499-4", "platelets": "26515-7", "IL-6": "26881-3", "IL-10": "26848-2",
}  # fmt: skip
CHEMISTRY = {"ALT": "1742-6", "AST": "1920-8", "bilirubin": "1975-2", "creatinine": "2160-0"}
OPERATORS = {"<": "276139006", ">": "276140008"}


def _bag(child: Child, entry: Entry) -> None:
    """A bag: `hour` (or `day`) it starts, `hours` it runs (absent: no end recorded), `says`, `quantity` in µg."""
    hours, sig = entry.get("hours"), entry.get("says", "11.7 ug/d")
    start = entry.get("hour", 24 * entry.get("day", 0))
    more = {"dose_unit_source_value": "ug", "quantity": entry["quantity"]} if "quantity" in entry else {}
    if "visit" in entry:
        day = child.day(int(start // 24))
        more["visit_occurrence_id"] = child.visit(day, day + timedelta(days=entry["visit"]), "IP")
    child.bag(start, 0 if hours is None else hours, sig=sig, **more)


def _order(child: Child, entry: Entry) -> None:
    child.drug(
        "1597258", child.day(entry["day"]), drug_type_concept_id=32838,
        drug_exposure_end_date=child.day(entry.get("until", entry["day"])), days_supply=entry.get("days"),
    )  # fmt: skip


def _course(child: Child, entry: Entry) -> None:
    child.course(entry.get("day", 0), entry.get("days", 28))


def _marrow(child: Child, entry: Entry) -> None:
    """A marrow, or with `from: blood` none: `blasts` in %, `mrd` as written, `method` flow, PCR or NGS, `gated`."""
    day = child.day(entry["day"])
    link = child.specimen(day, {"marrow": "SPEC_MARROW", "blood": "SPEC_BLOOD"}[entry.get("from", "marrow")])
    if "blasts" in entry:
        concept = child.cdm.concept("BLINA", "BM_BLASTS")
        if isinstance(entry["blasts"], str):
            child.measure(concept, day, value_source_value=entry["blasts"], **link)
        else:
            child.number(concept, day, float(entry["blasts"]), "%", **link)
    if "mrd" in entry:
        more: dict[str, Any] = {"measurement_source_value": "MRD CD19-gated"} if entry.get("gated") else {}
        method = str(entry.get("method", "flow")).upper()
        child.measure(
            child.cdm.concept("BLINA", f"MRD_BM_{method}"), day, value_source_value=str(entry["mrd"]),
            unit_source_value=entry.get("unit"), **link, **more,
        )  # fmt: skip


def _laboratory(child: Child, entry: Entry) -> None:
    """Blood values of one draw: `unit` for all; a value may be written "<2.4" or ">5000"."""
    unit, hour = entry.get("unit", "10*9/L"), entry.get("hour_of_day", 7)
    for name, written in entry.items():
        if name in ("day", "unit", "hour_of_day"):
            continue
        operator = OPERATORS.get(str(written)[0])
        more = {"operator_concept_id": child.cdm.concept("SNOMED", operator)} if operator else {}
        own = "%" if name.endswith("%") else unit
        value = float(str(written).lstrip("<>"))
        concept = child.cdm.concept("LOINC", CELLS[name])
        child.number(concept, child.day(entry["day"]), value, own, hour=hour, **more)


def _cd19(child: Child, entry: Entry) -> None:
    child.number(child.cdm.concept("BLINA", "CD19_BLAST_PCT"), child.day(entry["day"]), float(entry["percent"]), "%")


def _genetics(child: Child, entry: Entry) -> None:
    finding = child.cdm.concept("BLINA", f"GEN_{entry['finding']}")
    child.measure(
        child.cdm.concept("BLINA", "GENETICS"), child.day(entry["day"]), value_as_concept_id=finding,
        measurement_source_value=entry.get("method"),
    )  # fmt: skip


def _disease(child: Child, entry: Entry) -> None:
    """`event`: relapse, refractory or remission, by diagnosis code; `words` of the diagnosis."""
    code = {"relapse": "12301000132103", "refractory": "12311000132101", "remission": "91856007"}[entry["event"]]
    child.condition(child.cdm.concept("SNOMED", code), child.day(entry["day"]), entry.get("words", "C91.02"))


def _drug(child: Child, entry: Entry) -> None:
    """A drug of `DRUGS`: `until` a day (absent: one day), `ordered: true` for an order, else it was given."""
    more: dict[str, Any] = {"route_source_value": entry.get("route", "intravenous")}
    if "hour_of_day" in entry:
        more["drug_exposure_start_datetime"] = datetime.combine(child.day(entry["day"]), time(entry["hour_of_day"]))
    if "until" in entry:
        more["drug_exposure_end_date"] = child.day(entry["until"])
    if entry.get("ordered"):
        more["drug_type_concept_id"] = 32838
    child.drug(DRUGS[entry["drug"]], child.day(entry["day"]), **more)


def _planned(child: Child, entry: Entry) -> None:
    reason = child.cdm.concept("BLINA", f"DELAY_{entry['reason']}")
    child.observation("PLANNED_BLOCK", child.day(entry["day"]), qualifier_concept_id=reason)


def _reason(child: Child, entry: Entry) -> None:
    code = f"IND_{entry['reason']}"
    child.observation("BLINA_INDICATION", child.day(entry["day"]), code, value_source_value=entry.get("words", code))


def _toxicity(child: Child, entry: Entry) -> None:
    child.graded(entry["event"], entry["day"], entry.get("grade"), entry.get("system", "ASTCT"))


def _adverse_event(child: Child, entry: Entry) -> None:
    """`event`: febrile neutropenia, seizure, or other words; `grade` of it, if any."""
    known = {"febrile neutropenia": ("SNOMED", "409089005"), "seizure": ("BLINA", "SEIZURE")}
    event = str(entry["event"])
    concept = child.cdm.concept(*known[event]) if event in known else 0
    made = child.condition(concept, child.day(entry["day"]), event)
    if entry.get("grade") is not None:
        child.grade(made, entry["day"], entry["grade"], entry.get("system", "CTCAE"))


def _chemistry(child: Child, entry: Entry) -> None:
    """Liver and kidney values (`CHEMISTRY`) with the laboratory's `upper` limit of normal; may be written ">1000"."""
    for name, code in CHEMISTRY.items():
        if name in entry:
            written = str(entry[name])
            operator = OPERATORS.get(written[0])
            more: dict[str, Any] = {"range_high": float(entry["upper"])} if "upper" in entry else {}
            if operator:
                more["operator_concept_id"] = child.cdm.concept("SNOMED", operator)
            concept = child.cdm.concept("LOINC", code)
            child.number(concept, child.day(entry["day"]), float(written.lstrip("<>")), "U/L", **more)


def _vitals(child: Child, entry: Entry) -> None:
    """`temperature` in °C (or `fahrenheit`), `systolic` pressure in mmHg; `unit: none` leaves the units out."""
    for name, code, unit in (
        ("temperature", "8310-5", "Cel"), ("fahrenheit", "8310-5", "[degF]"), ("systolic", "8480-6", "mm[Hg]"),
    ):  # fmt: skip
        if name in entry:
            unit = "" if entry.get("unit") == "none" else unit
            child.number(child.cdm.concept("LOINC", code), child.day(entry["day"]), float(entry[name]), unit)


def _oxygen(child: Child, entry: Entry) -> None:
    """Oxygen `by` a device of `OXYGEN`, by `something` or `room air`; its `flow` in L/min; its share in `percent`."""
    first, last = child.day(entry["day"]), child.day(entry.get("until", entry["day"]))
    for name, code, unit in (("flow", "3151-8", "L/min"), ("percent", "3150-0", "%")):
        if name in entry:
            child.number(child.cdm.concept("LOINC", code), first, float(entry[name]), unit)
    if entry.get("by") == "something":
        child.cdm.add(
            "procedure_occurrence", person_id=child.person, procedure_date=first, procedure_end_date=last,
            procedure_concept_id=child.cdm.concept("SNOMED", "57485005"),
        )  # fmt: skip
    elif entry.get("by") == "room air":
        child.observation("ROOM_AIR", first)
    elif "by" in entry:
        child.cdm.add(
            "device_exposure", person_id=child.person, device_exposure_start_date=first,
            device_exposure_end_date=last, device_concept_id=child.cdm.concept("SNOMED", OXYGEN[entry["by"]]),
        )  # fmt: skip


def _procedure(child: Child, entry: Entry) -> None:
    vocabulary, code = {"HSCT": ("SNOMED", "234336002"), "CAR-T": ("BLINA", "CART_INFUSION")}[entry["what"]]
    child.cdm.add(
        "procedure_occurrence", person_id=child.person, procedure_date=child.day(entry["day"]),
        procedure_concept_id=child.cdm.concept(vocabulary, code), procedure_source_value=entry.get("words"),
    )  # fmt: skip


def _visit(child: Child, entry: Entry) -> None:
    first, last = child.day(entry["day"]), child.day(entry.get("until", entry["day"]))
    more = {"discharged_to_source_value": "exp"} if entry.get("died") else {}
    child.visit(first, last, entry.get("kind", "OP"), **more)


def _death(child: Child, entry: Entry) -> None:
    child.cdm.add("death", person_id=child.person, death_date=child.day(entry["day"]))


def _follow_up(child: Child, entry: Entry) -> None:
    child.observation("FOLLOWUP_STATUS", child.day(entry["day"]), f"FU_{entry['says'].upper()}")


WRITERS: dict[str, tuple[Callable[[Child, Entry], None], frozenset[str]]] = {
    name: (write, frozenset(words.split()))
    for name, write, words in (
        ("bags", _bag, "day hour hours says quantity visit"),
        ("orders", _order, "day until days"),
        ("courses", _course, "day days"),
        ("marrows", _marrow, "day blasts mrd unit method from gated"),
        ("blood", _laboratory, "day unit hour_of_day"),
        ("cd19_on_blasts", _cd19, "day percent"),
        ("genetics", _genetics, "day finding method"),
        ("disease", _disease, "day event words"),
        ("drugs", _drug, "day until drug route hour_of_day ordered"),
        ("planned_blocks", _planned, "day reason"),
        ("reasons", _reason, "day reason words"),
        ("toxicity", _toxicity, "day event grade system"),
        ("adverse_events", _adverse_event, "day event grade system"),
        ("chemistry", _chemistry, f"day upper {' '.join(CHEMISTRY)}"),
        ("vitals", _vitals, "day temperature fahrenheit systolic unit"),
        ("oxygen", _oxygen, "day until by flow percent"),
        ("procedures", _procedure, "day what words"),
        ("visits", _visit, "day until kind died"),
        ("deaths", _death, "day"),
        ("follow_up", _follow_up, "day says"),
    )
}
"""What a child's records are called: the writer, and the words that one record may use."""
CHILD = frozenset("born site diagnosed weight height".split())


def problems_of(child: object) -> list[str]:
    """What is wrong with a child as written in an example; empty when it can be made."""
    if not isinstance(child, Mapping):
        return ["`child` is no mapping"]
    problems = [f"a child has no {word!r}" for word in child if word not in {*CHILD, *WRITERS}]
    for name in set(child) & set(WRITERS):
        known = WRITERS[name][1] | (set(CELLS) if name == "blood" else set())
        if not isinstance(child[name], Sequence) or isinstance(child[name], str):
            problems.append(f"{name}: is no list")
            continue
        for entry in child[name]:
            if not isinstance(entry, Mapping):
                problems.append(f"{name}: {entry!r} is no mapping")
            else:
                problems += [f"{name}: has no {word!r}" for word in entry if word not in known]
    return problems


def about(child: Mapping[str, Any]) -> dict[str, Any]:
    """The words about the child itself, as `Child` takes them."""
    own = {word: child[word] for word in CHILD if word in child}
    if isinstance(own.get("born"), str):
        own["born"] = date.fromisoformat(own["born"])
    return own


def write_child(child: Child, told: Mapping[str, Any]) -> None:
    """Adds all records of a child. Raises KeyError for a code word that is not there (`vincristin`)."""
    for name, (write, _) in WRITERS.items():
        for entry in told.get(name, ()):
            write(child, entry)
