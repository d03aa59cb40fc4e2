"""Whether a CDM can answer the study, before anything is derived: a list that a person can read."""

from dataclasses import dataclass

import polars as pl

from analytics.cdm import Cdm, number_list
from analytics.concept_sets import ConceptSets, resolve_concept_sets
from analytics.records import COLUMNS
from analytics.study import Study

OK, WARNING, MISSING = "ok", "warning", "missing"
NEEDED = (
    "person", "drug_exposure", "condition_occurrence", "measurement", "observation", "visit_occurrence",
    "procedure_occurrence", "care_site",
)  # fmt: skip
WISHED = ("death", "specimen", "cdm_source")
KEYS = (
    "person_id", "drug_concept_id", "drug_source_concept_id", "drug_type_concept_id", "drug_exposure_start_date",
    "drug_exposure_start_datetime", "visit_occurrence_id", "condition_concept_id", "condition_source_concept_id",
    "measurement_concept_id", "value_as_concept_id",
)  # fmt: skip
"""Columns without which not even these checks can be asked; any other that lacks is read as NULL."""


@dataclass(frozen=True)
class StudyCheck:
    """What was looked for. `lines`: check, status (ok, warning, missing), n, detail; one row per check."""

    lines: pl.DataFrame

    @property
    def can_answer(self) -> bool:
        """Whether nothing is missing; warnings cost some of the results."""
        return self.lines.filter(pl.col("status") == MISSING).is_empty()


def check_study(cdm: Cdm, study: Study) -> StudyCheck:
    """Looks for tables, vocabulary, concept sets, bags, B-ALL, marrows, deaths and follow-up; raises nothing for them.

    Raises CdmError only when the database itself refuses to answer.
    """
    lines = _tables(cdm)
    lines += [*_columns(cdm), _vocabulary(cdm)]
    if any(status == MISSING for _, status, _, _ in lines):
        return _finished(lines)
    sets = resolve_concept_sets(cdm, study, strict=False)
    lines += _concept_sets(sets, study) + _content(cdm, sets, study) + _follow_up(cdm, sets, study)
    return _finished(lines)


_Line = tuple[str, str, int | None, str]


def _finished(lines: list[_Line]) -> StudyCheck:
    schema = {"check": pl.String, "status": pl.String, "n": pl.Int64, "detail": pl.String}
    return StudyCheck(pl.DataFrame(lines, schema=schema, orient="row"))


def _tables(cdm: Cdm) -> list[_Line]:
    lines: list[_Line] = []
    for table in NEEDED:
        there = cdm.has(table)
        lines.append((f"table {table}", OK if there else MISSING, None, "" if there else f"not in schema {cdm.schema}"))
    lines += [
        (f"table {table}", OK if cdm.has(table) else WARNING, None, "" if cdm.has(table) else "not there")
        for table in WISHED
    ]
    return lines


def _columns(cdm: Cdm) -> list[_Line]:
    lines: list[_Line] = []
    for table, names in COLUMNS.items():
        there = cdm.columns.get((cdm.schema.lower(), table))
        lacking = [name for name in names if there is not None and name not in there]
        if lacking:
            status = MISSING if set(lacking) & set(KEYS) else WARNING
            lines.append((f"columns of {table}", status, len(lacking), "not there: " + ", ".join(lacking)))
    return lines


def _vocabulary(cdm: Cdm) -> _Line:
    there = [cdm.has(table, schema=cdm.vocabulary_schema) for table in ("concept", "concept_ancestor")]
    if not there[0]:
        return "vocabulary", MISSING, None, f"no table concept in schema {cdm.vocabulary_schema}"
    if not there[1]:
        return "vocabulary", WARNING, None, "no concept_ancestor: concept sets stand without descendants"
    return "vocabulary", OK, None, ""


def _concept_sets(sets: ConceptSets, study: Study) -> list[_Line]:
    lines: list[_Line] = []
    for name in study.required_concept_sets:
        found = len(sets.ids(name))
        lines.append((f"concept set {name}", OK if found else MISSING, found, "" if found else "resolves to nothing"))
    named = study.members["concept_set"].unique().sort().to_list()
    empty = [name for name in named if not sets.ids(name) and name not in study.required_concept_sets]
    detail = ", ".join(empty)
    lines.append(
        ("other concept sets", WARNING if empty else OK, len(named) - len(empty), f"empty: {detail}" if empty else "")
    )
    unresolved = sets.unresolved.height
    told = f"{unresolved} of {sets.members.height} codes; rows with these are not recognised" if unresolved else ""
    lines.append(("members not in this vocabulary", WARNING if unresolved else OK, unresolved, told))
    return lines


def _content(cdm: Cdm, sets: ConceptSets, study: Study) -> list[_Line]:
    drug = _in(sets, ("drug_concept_id", "drug_source_concept_id"), "CS_BLINATUMOMAB")
    types = number_list(study.get("exposure_type.administration_type_concept_ids"))
    bags = cdm.count("drug_exposure", where=f"({drug}) AND drug_type_concept_id IN ({types})")
    taken = {name: number_list(study.get(f"exposure_type.{name}_type_concept_ids")) for name in ("order", "other")}
    lesser = ", ".join(taken.values())
    orders = cdm.count("drug_exposure", where=f"({drug}) AND drug_type_concept_id IN ({lesser})")
    unread = cdm.count("drug_exposure", where=f"({drug}) AND drug_type_concept_id NOT IN ({types}, {lesser})")
    timed = cdm.count(
        "drug_exposure", "drug_exposure_start_datetime", where=f"({drug}) AND drug_type_concept_id IN ({types})"
    )
    placed = cdm.count("drug_exposure", "visit_occurrence_id", where=f"({drug}) AND drug_type_concept_id IN ({types})")
    ball = cdm.count(
        "condition_occurrence",
        "DISTINCT person_id",
        where=_in(sets, ("condition_concept_id", "condition_source_concept_id"), "CS_BALL"),
    )
    blasts = cdm.count("measurement", where=_in(sets, ("measurement_concept_id",), "CS_MARROW_BLASTS"))
    mrd = cdm.count("measurement", where=_in(sets, ("measurement_concept_id",), *study.get("mrd_method.order")))
    return [
        (
            "bags of blinatumomab",
            OK if bags else (WARNING if orders else MISSING),
            bags,
            _bag_detail(bags, orders, unread),
        ),
        *([_unread_types(cdm, drug, f"{types}, {lesser}", unread)] if unread else []),
        _share("bags with a time", timed, bags, "courses are cut by days, not hours"),
        _share("bags with a visit", placed, bags, "their site is unknown"),
        ("persons with B-ALL", OK if ball else MISSING, ball, "" if ball else "no condition in CS_BALL"),
        ("marrow blasts", OK if blasts else WARNING, blasts, "" if blasts else "states come from MRD alone"),
        ("marrow MRD", OK if mrd else WARNING, mrd, "" if mrd else "no state can be told from another but RR"),
    ]


def _bag_detail(bags: int, orders: int, unread: int) -> str:
    if bags:
        return ""
    said = f"only {orders} records that are no administrations (orders, dispenses): exposure by them, grade B"
    return said if orders else "no record of blinatumomab" + (" of a type that the study reads" if unread else "")


def _unread_types(cdm: Cdm, drug: str, read: str, n: int) -> _Line:
    """Records of a type that no list of `exposure_type` names: nobody would notice that they are left out."""
    where = f"({drug}) AND drug_type_concept_id NOT IN ({read})"
    found = cdm.read("drug_exposure", ["drug_type_concept_id"], where=where)["drug_type_concept_id"].unique().sort()
    ids = ", ".join(str(one) for one in found)
    return "blinatumomab of other types", WARNING, n, f"drug_type_concept_id {ids}: left out; add them to exposure_type"


def _share(check: str, n: int, of: int, cost: str) -> _Line:
    if not of:
        return check, WARNING, 0, "there is no bag"
    return check, OK if n == of else WARNING, n, "" if n == of else f"of {of}; without one {cost}"


def _follow_up(cdm: Cdm, sets: ConceptSets, study: Study) -> list[_Line]:
    deaths = cdm.count("death")
    dead = cdm.count("observation", where=_in(sets, ("value_as_concept_id",), "CS_FU_DEAD"))
    visits = cdm.count("visit_occurrence")
    released = cdm.read("cdm_source", ["source_release_date"]).height
    has_lock = study.get("data_lock.date") is not None or released > 0
    return [
        (
            "source of deaths",
            OK if deaths or dead else WARNING,
            deaths + dead,
            "" if deaths or dead else "no death is known",
        ),
        ("follow-up visits", OK if visits else WARNING, visits, "" if visits else "last contact from other records"),
        ("data lock", OK if has_lock else WARNING, None, "" if has_lock else "neither in the study nor in cdm_source"),
    ]


def _in(sets: ConceptSets, columns: tuple[str, ...], *names: str) -> str:
    listed = number_list(sets.ids(*names))
    return " OR ".join(f"{column} IN ({listed})" for column in columns)
