"""CRS graded anew from what is charted (`crs_astct@1`, `crs_ctcae@1`), where a CRS is recorded and never without.

The grade is that of the worst day. What is not charted is never taken as absent: the grade is then missing, or a lower
limit that says so.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from analytics.concept_sets import ConceptSets
from analytics.concomitant import drug_in, premedication
from analytics.crs_signs import FEVER, LOW, on_days, read_signs
from analytics.findings import Findings
from analytics.records import Records
from analytics.study import Study

SYSTEMS = {"astct": "ASTCT", "ctcae": "CTCAE"}
"""The systems in which signs are graded: part of the parameter's name, and the name among `grading_system`."""
EXACT, AT_LEAST, NOT_RECORDED, NO_FEVER, DEATH = "exact", "at least", "not recorded", "no fever recorded", "death"
"""What a grade from signs rests on: everything needed is charted; a part is not, so that the grade is a lower limit;
too little is charted for any grade; the temperature is charted, and no fever; a recorded grade 5."""
REGRADED = (EXACT, AT_LEAST, DEATH)
_KEYS = ["person_id", "course_no"]
_HIGHEST = 4
_DEADLY = 5


def derive_regraded(
    courses: pl.DataFrame, windows: pl.DataFrame, events: pl.DataFrame, bags: pl.DataFrame, records: Records,
    sets: ConceptSets, study: Study, findings: Findings,
) -> pl.DataFrame:  # fmt: skip
    """person_id, course_no, and for each of `SYSTEMS` `crs_astct` (grade or null) and `crs_astct_basis`.

    One row per course with a CRS record. `windows`: person_id, course_no, first, last; `events`: the CRS records within
    them with date and grade (a grade of 0 is no CRS); `courses`: with site; `bags`: with start.
    """
    crs = events.filter((pl.col("grade") != 0).fill_null(value=True))
    days = _days(windows, crs, study)
    signs = read_signs(courses, records, sets, study, findings)
    charted = on_days(days, signs)
    told = _told(days, courses, signs, records, sets, study)
    relief = _relief(days, charted, crs, bags, records, sets, study)
    deaths = crs.filter(pl.col("grade") == _DEADLY).select(_KEYS).unique()
    found = days.select(_KEYS).unique(maintain_order=True)
    for name in SYSTEMS:
        rule = study.get(f"crs_{name}")
        graded = _graded_days(days, charted, relief, rule)
        worst = _worst(graded, told, deaths, name)
        _record(worst, charted, name, study, findings)
        found = found.join(worst.drop("date"), on=_KEYS, how="left")
    return found


def _days(windows: pl.DataFrame, crs: pl.DataFrame, study: Study) -> pl.DataFrame:
    """person_id, course_no, date: the days around the CRS records of a course, within the window of `crs@1`."""
    before, after = study.get("crs_signs.days_before"), study.get("crs_signs.days_after")
    offsets = pl.DataFrame({"offset": list(range(-before, after + 1))}, schema={"offset": pl.Int32})
    around = windows.join(crs.select(*_KEYS, record="date"), on=_KEYS).join(offsets, how="cross")
    around = around.with_columns(date=pl.col("record") + pl.duration(days=pl.col("offset")))
    return (
        around.filter(pl.col("date").is_between("first", "last")).select(*_KEYS, "date").unique().sort(*_KEYS, "date")
    )


def _told(
    days: pl.DataFrame, courses: pl.DataFrame, signs: pl.DataFrame, records: Records, sets: ConceptSets, study: Study
) -> pl.DataFrame:
    """person_id, course_no, oxygen_told, vasopressors_told: whether no row of these means that there was none."""
    sites = courses.select("person_id", "site").unique("person_id")
    hospitals = signs.join(sites, on="person_id")
    silent = study.get("crs_signs.silent_hospital_is_missing")

    def told(sign: str) -> pl.Expr:
        known = hospitals.filter(pl.col("sign") == sign)["site"].drop_nulls().unique()
        return pl.col("site").is_in(known.implode()).fill_null(value=False) | pl.lit(not silent)

    # A child whose other drugs are charted would have its vasopressors charted, too.
    others = records.drugs.filter(
        ~drug_in(sets, "CS_BLINATUMOMAB"),
        pl.col("drug_type_concept_id").is_in(study.get("exposure_type.administration_type_concept_ids")),
    ).select("person_id", date="drug_exposure_start_date")
    charted = days.join(others, on=["person_id", "date"], how="semi").select(_KEYS).unique()
    charted = charted.with_columns(own=pl.lit(value=True))
    found = days.select(_KEYS).unique(maintain_order=True).join(sites, on="person_id", how="left")
    found = found.join(charted, on=_KEYS, how="left")
    return found.select(
        *_KEYS, oxygen_told=told("oxygen"),
        vasopressors_told=told("vasopressor") | pl.col("own").fill_null(value=False),
    )  # fmt: skip


def _relief(
    days: pl.DataFrame, charted: pl.DataFrame, crs: pl.DataFrame, bags: pl.DataFrame, records: Records,
    sets: ConceptSets, study: Study,
) -> pl.DataFrame:  # fmt: skip
    """person_id, course_no, relief: the first day of a drug that takes the fever away, from the onset of the CRS on."""
    fevers = charted.filter(pl.col("sign") == "temperature", pl.col("kind") == FEVER).select(*_KEYS, "date")
    onset = pl.concat([fevers, crs.select(*_KEYS, "date")]).group_by(_KEYS).agg(onset=pl.col("date").min())
    given = records.drugs.filter(
        drug_in(sets, *study.get("crs_signs.relief")),
        pl.col("drug_type_concept_id").is_in(study.get("exposure_type.administration_type_concept_ids")),
    )
    steroids = given.filter(drug_in(sets, "CS_STEROID"))
    given = given.join(premedication(steroids, bags, study), on="drug_exposure_id", how="anti")
    doses = given.select("person_id", date="drug_exposure_start_date")
    treated = days.join(doses, on=["person_id", "date"], how="semi").join(onset, on=_KEYS)
    return treated.filter(pl.col("date") >= pl.col("onset")).group_by(_KEYS).agg(relief=pl.col("date").min())


def _graded_days(
    days: pl.DataFrame, charted: pl.DataFrame, relief: pl.DataFrame, rule: Mapping[str, Any]
) -> pl.DataFrame:
    """The days with grade (0: nothing that is graded), counts (whether the day is CRS at all), open (it may be more).

    Beside them what is known of the day: charted, measured (a temperature), fever, pressed (a pressure).
    """
    sign, kind = pl.col("sign"), pl.col("kind")
    is_pressor = sign == "vasopressor"
    oxygen = pl.when(sign == "oxygen").then(
        kind.replace_strict(dict(rule["oxygen"].items()), default=None, return_dtype=pl.Int32)
    )
    by_day = charted.with_columns(oxygen=oxygen).group_by(*_KEYS, "date").agg(
        charted=pl.lit(value=True),
        measured=(sign == "temperature").any(),
        fever=(kind == FEVER).any(),
        pressed=(sign == "pressure").any(),
        low=(kind == LOW).any(),
        pressor=is_pressor.any(),
        several=kind.filter(is_pressor & ~kind.is_in(rule["not_counted"])).n_unique() > 1,
        oxygen=pl.col("oxygen").max(),
        sure=pl.col("oxygen").filter(~kind.is_in(rule["at_least"])).max(),
    )  # fmt: skip
    flags = ["charted", "measured", "fever", "pressed", "low", "pressor", "several"]
    known = days.join(by_day, on=[*_KEYS, "date"], how="left").join(relief, on=_KEYS, how="left")
    known = known.with_columns(pl.col(flags).fill_null(value=False), pl.col("oxygen", "sure").fill_null(0))
    grade = pl.max_horizontal(
        pl.when("fever").then(rule["fever"]),
        pl.when("low").then(rule["hypotension"]),
        pl.when("pressor").then(rule["vasopressor"]),
        pl.when("several").then(rule["several_vasopressors"]),
        pl.col("oxygen"),
    )
    relieved = (pl.col("date") >= pl.col("relief")).fill_null(value=False)
    without = ~pl.col("fever") & ~relieved if rule["fever_needed"] else pl.lit(value=False)
    return known.with_columns(
        grade=grade.cast(pl.Int8),
        counts=~(without & pl.col("measured")),
        open=(pl.col("oxygen") > pl.col("sure")) | without,
    )


def _worst(graded: pl.DataFrame, told: pl.DataFrame, deaths: pl.DataFrame, name: str) -> pl.DataFrame:
    """person_id, course_no, date of the worst day, `crs_<name>`, `crs_<name>_basis`."""
    counted = graded.filter("counts", pl.col("grade") > 0)
    worst = counted.sort("grade", "date", descending=[True, False]).unique(_KEYS, keep="first", maintain_order=True)
    opened = counted.group_by(_KEYS).agg(may_be_more=pl.col("open").any())
    known = graded.group_by(_KEYS).agg(pl.col("charted", "measured", "fever", "pressed").any())
    found = known.join(worst.select(*_KEYS, "date", "grade"), on=_KEYS, how="left").join(opened, on=_KEYS, how="left")
    found = found.join(told, on=_KEYS, how="left")
    dead = deaths.with_columns(dead=pl.lit(value=True))
    found = found.join(dead, on=_KEYS, how="left").with_columns(pl.col("dead").fill_null(value=False))
    grade = pl.col("grade")
    complete = (
        (grade >= _HIGHEST)
        | (pl.col("oxygen_told") & pl.col("vasopressors_told") & ~pl.col("may_be_more"))
    )  # fmt: skip
    # Fever alone is what every CRS has: without a pressure nothing tells grade 1 from 2.
    enough = (grade > 1) | pl.col("pressed")
    basis = (
        pl.when("dead").then(pl.lit(DEATH))
        .when(grade.is_null() & pl.col("measured") & ~pl.col("fever")).then(pl.lit(NO_FEVER))
        .when(~enough.fill_null(value=False) | grade.is_null()).then(pl.lit(NOT_RECORDED))
        .when(complete).then(pl.lit(EXACT)).otherwise(pl.lit(AT_LEAST))
    )  # fmt: skip
    found = found.with_columns(basis.alias(f"crs_{name}_basis"))
    value = pl.when("dead").then(_DEADLY).when(pl.col(f"crs_{name}_basis").is_in(REGRADED)).then(grade)
    return found.select(*_KEYS, "date", value.cast(pl.Int8).alias(f"crs_{name}"), f"crs_{name}_basis")


def _record(worst: pl.DataFrame, charted: pl.DataFrame, name: str, study: Study, findings: Findings) -> None:
    """The evidence (B: derived) of a grade: the rows of its worst day that are out of the ordinary; the counters."""
    field, basis = f"crs_{name}", pl.col(f"crs_{name}_basis")
    regraded = worst.filter(basis.is_in([EXACT, AT_LEAST]))
    reading = study.get("crs.reading")
    signs = charted.join(regraded, on=[*_KEYS, "date"], how="semi")
    telling = signs.filter(~pl.col("kind").is_in(["none", "normal"]))
    for (source_table,), rows in telling.group_by("source_table", maintain_order=True):
        for one in (field, "crs_grade") if reading == name else (field,):
            findings.evidence(
                rows, table="study_course", field=one, rule=study.rule(field), grade="B",
                source_table=str(source_table), source_id="source_id", key=("person_id", "course_no"),
            )  # fmt: skip
    findings.count(f"dq_crs_regraded_{name}", worst.filter(basis.is_in(REGRADED)), worst)
    findings.count(f"dq_crs_no_fever_{name}", worst.filter(basis == NO_FEVER), worst)
    findings.count(f"dq_crs_at_least_{name}", worst.filter(basis == AT_LEAST), worst.filter(basis.is_in(REGRADED)))


def chosen_grade(recorded: pl.Expr, reading: str, study: Study) -> pl.Expr:
    """The CRS grade of a course by `crs.reading`, given that as recorded: of columns `crs_astct`, `recorded_astct`, ….

    A course without a CRS (grade 0, or nobody could have seen it) is the same in every reading.
    """
    if reading == "recorded":
        return recorded
    rule, basis = study.get(f"crs_{reading}"), pl.col(f"crs_{reading}_basis")
    counts = basis != AT_LEAST if not rule["lower_limit_counts"] else pl.lit(value=True)
    options = {"signs": pl.when(counts).then(f"crs_{reading}"), "recorded": pl.col(f"recorded_{reading}")}
    return pl.when(basis.is_null()).then(recorded).otherwise(pl.coalesce(options[one] for one in rule["order"]))
