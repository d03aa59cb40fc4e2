"""The edges of every window and cut-off, one invented child each (PROTOCOL.md sections 5 and 11)."""

from datetime import datetime, time

import polars as pl
import pytest
from children import TABLES, ZERO, Children

from analytics import derive, load_study, open_cdm


def _courses(kids):
    for name, hours in (("gap 3.9 h", 3.9), ("gap 4 h", 4), ("gap 168 h", 168), ("gap 168.1 h", 168.1)):
        child = kids.add(name)
        child.bag(0, 96)
        child.bag(96 + hours, 96)
    child = kids.add("hours in sig")
    for start in (0, 24):
        child.bag(start, 0, sig="持续静脉泵入24小时")
    child = kids.add("no end at all")
    child.bag(0, 0, sig=None)
    child = kids.add("days only")
    for day in (0, 2):
        child.drug("1597258", child.day(day), drug_exposure_end_date=child.day(day + 1), quantity=float(day))
    child = kids.add("order only")
    child.drug("1597258", child.day(0), drug_type_concept_id=32838, drug_exposure_end_date=child.day(28))
    child = kids.add("order beside bags")
    child.course(days=14)
    child.drug("1597258", child.day(-1), drug_type_concept_id=32838, days_supply=28)
    child = kids.add("step at day 8")
    child.bag(0, 168, sig="3.9 ug/24 h")
    child.bag(168, 504, sig="11.7 ug/24 h")
    child = kids.add("dose far off")
    child.bag(0, 672, sig="40 ug/d")
    child = kids.add("dose per m2")
    child.bag(0, 672, sig="15 µg/m²/d")


def _marrows(kids):
    for name, day in (("pre -28", -28), ("pre -29", -29), ("pre +1", 1), ("pre +2", 2)):
        child = kids.add(name)
        child.course()
        child.marrow(day, 2.0, "0.5%")
    for name, day in (("post +21", 21), ("post +22", 22), ("post -7", -7), ("post -8", -8)):
        child = kids.add(name)
        child.course()
        child.marrow(-3, 2.0, "0.5%")
        child.marrow(28 + day, 1.0, "negative")
    child = kids.add("post before next bag")
    child.course()
    child.course(start_day=30)
    child.marrow(-3, 2.0, "0.5%")
    child.marrow(32, 1.0, "negative")
    child = kids.add("day apart")
    child.course()
    child.marrow(-4, 2.0)
    child.marrow(-3, mrd="0.5%")


def _states(kids):
    cases = {
        "state RR": (5.0, "negative"), "state MRDpos": (4.9, "0.01%"), "state MRDneg": (4.9, "<0.01%"),
        "state below": (1.0, "0.009%"), "state bq": (1.0, "阳性，低于定量限"), "state indeterminate": (1.0, "<0.1%"),
        "state unparsed": (1.0, "see report"), "state mrd only": (None, "4.9%"), "state mrd high": (None, "5%"),
        "state level unknown": (1.0, "positive"),
    }  # fmt: skip
    for name, (blasts, mrd) in cases.items():
        child = kids.add(name)
        child.course()
        child.marrow(-3, blasts, mrd)
    child = kids.add("gated")
    child.course()
    child.marrow(-3, 1.0, "0.5%")
    child.marrow(-3, None, "negative", measurement_source_value="MRD CD19-gated")


def _responses(kids):
    for name, counts in (("cr", (1.1, 101.0)), ("anc at limit", (1.0, 101.0)), ("no counts", None)):
        child = kids.add(name)
        child.course()
        child.marrow(-3, 50.0, "50%")
        child.marrow(29, 4.9, "negative")
        if counts:
            child.counts(29, *counts)
    child = kids.add("crh")
    child.course()
    child.marrow(-3, 50.0, "50%")
    child.marrow(29, 1.0, "negative")
    child.counts(29, 0.6, 60.0)
    child = kids.add("rr without post")
    child.course()
    child.marrow(-3, 50.0, "50%")
    child = kids.add("mrdpos without post")
    child.course()
    child.marrow(-3, 1.0, "0.5%")
    child = kids.add("mrdpos post indeterminate")
    child.course()
    child.marrow(-3, 1.0, "0.5%")
    child.marrow(29, 1.0, "<0.1%")
    child = kids.add("refractory then cr")
    for start in (0, 40):
        child.course(start_day=start)
    child.marrow(-3, 50.0, "50%")
    child.marrow(29, 40.0, "40%")
    child.marrow(69, 1.0, "negative")


def _indications(kids):
    for name, delay in (("delay 14", 14), ("delay 13", 13)):
        child = kids.add(name)
        child.course()
        child.marrow(-3, 1.0, "negative")
        reason = child.cdm.concept("BLINA", "DELAY_INFECTION")
        child.observation("PLANNED_BLOCK", child.day(-delay), qualifier_concept_id=reason)
    child = kids.add("delay after relapse")
    child.course()
    child.relapse(-60)
    child.observation("PLANNED_BLOCK", child.day(-20), qualifier_concept_id=reason)
    child = kids.add("reason against relapse")
    child.course()
    child.relapse(-60)
    child.observation("BLINA_INDICATION", child.day(0), "IND_CHEMO_DELAY", value_source_value="IND3")
    for name, day, route in (
        ("chemo -42", -42, "iv"),
        ("chemo -43", -43, "iv"),
        ("chemo intrathecal", -10, "鞘内注射"),
        ("chemo -1", -1, None),
    ):
        child = kids.add(name)
        child.course()
        child.relapse(-100)
        child.drug("11202", child.day(day), route_source_value=route)
        child.drug("3264", child.day(-5), route_source_value="oral")
    child = kids.add("chemo before relapse")
    child.course()
    child.relapse(-20)
    child.drug("11202", child.day(-30), route_source_value="iv")
    child = kids.add("no drugs before")
    child.course()
    child.relapse(-20)


def _follow_up(kids):
    child = kids.add("relapse at 365")
    child.course()
    child.marrow(-3, 1.0, "0.5%")
    child.relapse(365)
    child.visit(child.day(400), child.day(400))
    child = kids.add("death and relapse on one day")
    child.course()
    child.marrow(-3, 1.0, "0.5%")
    child.relapse(90)
    child.cdm.add("death", person_id=child.person, death_date=child.day(90))
    child = kids.add("contact on day 0 only")
    child.bag(0, 2)
    child = kids.add("death after lock")
    child.course()
    child.visit(child.day(300), child.day(300))
    child.cdm.add("death", person_id=child.person, death_date=child.day(900))
    child = kids.add("visit crosses lock")
    child.course()
    child.visit(child.day(740), child.day(760))
    child = kids.add("visit after lock")
    child.course()
    child.visit(child.day(800), child.day(800))
    child = kids.add("doubtful marrow")
    child.course()
    child.marrow(-3, 1.0, "0.5%")
    child.marrow(100, 10.0)
    child.marrow(110, 1.0)
    child.visit(child.day(200), child.day(200))
    child = kids.add("two doubtful marrows")
    child.course()
    child.marrow(-3, 1.0, "0.5%")
    child.marrow(100, 10.0)
    child.marrow(110, 6.0)
    child.visit(child.day(200), child.day(200))
    child = kids.add("marrow at 25")
    child.course()
    child.marrow(-3, 1.0, "0.5%")
    child.marrow(100, 25.0)
    child.visit(child.day(200), child.day(200))


def _t_cells(kids):
    for name, day in (("post 14", 42), ("post 15", 43), ("post 0", 28)):
        child = kids.add(f"cells {name}")
        child.course()
        child.t_cells(-7, (1.0, 0.5, 0.4))
        child.t_cells(day, (1.2, 0.6, 0.5))
    child = kids.add("cells -8")
    child.course()
    child.t_cells(-8, (1.0, 0.5, 0.4))
    for name, day in (("two before next", 38), ("one before next", 39)):
        child = kids.add(f"cells {name}")
        child.course()
        child.course(start_day=40)
        child.t_cells(day, (1200.0, 600.0, 500.0), "个/μL")
    child = kids.add("cells in %")
    child.course()
    child.t_cells(-3, (60.0, 40.0, 20.0), "%")
    child = kids.add("cells from %")
    child.course()
    for code, percent in (("8124-0", 60.0), ("8101-8", 20.0)):
        child.number(child.cdm.concept("LOINC", code), child.day(-3), percent, "%")
    child.number(child.cdm.concept("LOINC", "731-0"), child.day(-3), 2000.0, "/uL")
    child = kids.add("cells unknown unit")
    child.course()
    child.t_cells(-3, (60.0, 40.0, 20.0), "mg/dL")


def _toxicity(kids):
    for name, day in (("crs day 14", 14), ("crs day 15", 15)):
        child = kids.add(name)
        child.course()
        made = child.condition(child.cdm.concept("BLINA", "CRS"), child.day(day), "D89.832")
        child.observation("GRADE_2", child.day(day), observation_event_id=made, obs_event_field_concept_id=1147127)
    child = kids.add("crs ungraded")
    child.course()
    child.condition(child.cdm.concept("BLINA", "CRS"), child.day(3), "CRS")
    child = kids.add("steroids")
    child.course()
    for hour in (19, 7):
        at = datetime.combine(child.day(0), time(hour))
        child.drug("3264", child.day(0), drug_exposure_start_datetime=at, sig=str(hour))
    made = child.condition(child.cdm.concept("BLINA", "CRS"), child.day(5), "CRS")
    child.observation("GRADE_1", child.day(5), observation_event_id=made, obs_event_field_concept_id=1147127)
    for day in (3, 7, 9):
        child.drug("3264", child.day(day))
    child = kids.add("never inpatient")
    child.bag(0, 672)


def _population(kids):
    from datetime import date

    child = kids.add("adult", born=date(2005, 1, 10))
    child.course()
    for name, day in (("no b-all", None), ("late b-all", 31), ("b-all in time", 30)):
        child = kids.add(name)
        child.course()
        rows = kids.cdm.rows["condition_occurrence"]
        kids.cdm.rows["condition_occurrence"] = [row for row in rows if row["person_id"] != child.person]
        if day is not None:
            child.condition(kids.cdm.concept("SNOMED", "277571004"), child.day(day), "C91.00")
    child = kids.add("almost adult", born=date(2005, 1, 12))
    child.course()


@pytest.fixture(scope="module")
def children(tmp_path_factory):
    kids = Children()
    for add in (_courses, _marrows, _states, _responses, _indications, _follow_up, _t_cells, _toxicity, _population):
        add(kids)
    cdm = open_cdm(kids.cdm.write(tmp_path_factory.mktemp("children") / "omop.duckdb", tables=TABLES))
    yield kids.numbers, derive(cdm, load_study())
    cdm.close()


@pytest.fixture
def course(children):
    def find(name, number=1):
        numbers, derived = children
        rows = derived.courses.filter((pl.col("person_id") == numbers[name]) & (pl.col("course_no") == number))
        return rows.row(0, named=True)

    return find


@pytest.fixture
def patient(children):
    def find(name):
        numbers, derived = children
        return derived.patients.filter(pl.col("person_id") == numbers[name]).row(0, named=True)

    return find


@pytest.mark.parametrize(
    ("name", "n_courses", "interruption"),
    [("gap 3.9 h", 1, 0), ("gap 4 h", 1, 4), ("gap 168 h", 1, 168), ("gap 168.1 h", 2, 0)],
)
def test_a_gap_changes_the_bag_interrupts_or_ends_the_course(course, patient, name, n_courses, interruption):
    assert patient(name)["n_courses"] == n_courses
    assert course(name)["interruption_hours"] == interruption


def test_the_hours_in_the_text_end_a_bag_without_an_end(course):
    assert course("hours in sig")["infusion_days"] == 2
    assert course("no end at all")["infusion_days"] == 1


def test_bags_known_to_the_day_are_compared_in_days(course):
    assert course("days only")["interruption_hours"] == 24
    assert course("days only")["infusion_days"] == 2


def test_orders_count_only_without_any_administration(course):
    assert course("order only")["infusion_days"] == 28
    assert course("order beside bags")["infusion_days"] == 14
    assert (course("order beside bags")["planned_days"], course("order beside bags")["complete"]) == (28, 0)


def test_the_regimen_is_told_in_nominal_doses(course):
    assert course("step at day 8")["dose_regimen"] == "5->15 ug/m2/d"
    assert course("step at day 8")["step_dose"] == 1
    assert course("dose per m2")["dose_regimen"] == "15 ug/m2/d"
    assert course("dose far off")["dose_regimen"] == "51.2 ug/m2/d"


@pytest.mark.parametrize(
    ("name", "state"), [("pre -28", "MRDpos"), ("pre -29", "UNKNOWN"), ("pre +1", "MRDpos"), ("pre +2", "UNKNOWN")]
)
def test_the_marrow_before_lies_in_its_window(course, name, state):
    assert course(name)["state_pre"] == state


@pytest.mark.parametrize(("name", "day"), [("post +21", 49), ("post +22", None), ("post -7", 21), ("post -8", None)])
def test_the_marrow_after_lies_in_its_window(course, name, day):
    assert course(name)["assessment_day"] == day


def test_the_marrow_after_never_lies_in_the_next_course(course):
    assert course("post before next bag")["assessment_day"] is None


def test_blasts_and_mrd_one_day_apart_are_one_marrow_of_the_later_day(course):
    one = course("day apart")
    assert (one["state_pre"], one["blasts_pre_pct"], one["mrd_pre_pct"]) == ("MRDpos", 2.0, 0.5)


@pytest.mark.parametrize(
    ("name", "state", "mrd"),
    [
        ("state RR", "RR", 0.0),
        ("state MRDpos", "MRDpos", 0.01),
        ("state MRDneg", "MRDneg", 0.0),
        ("state below", "MRDneg", 0.009),
        ("state bq", "MRDneg", None),
        ("state indeterminate", "UNKNOWN", None),
        ("state unparsed", "UNKNOWN", None),
        ("state mrd only", "MRDpos", 4.9),
        ("state mrd high", "RR", 5.0),
        ("state level unknown", "MRDpos", None),
        ("gated", "MRDpos", 0.5),
    ],
)
def test_the_state_follows_blasts_and_mrd(course, name, state, mrd):
    assert (course(name)["state_pre"], course(name)["mrd_pre_pct"]) == (state, mrd)


def test_mrd_is_high_from_one_percent_and_unknown_without_a_number(patient):
    assert [patient(name)["high_mrd_ge1pct"] for name in ("state RR", "state mrd only", "state MRDpos")] == [1, 1, 0]
    assert patient("state level unknown")["high_mrd_ge1pct"] is None


@pytest.mark.parametrize(
    ("name", "response", "negative"),
    [
        ("cr", 1, 1),
        ("anc at limit", 0, 1),
        ("no counts", 1, 1),
        ("rr without post", None, None),
        ("mrdpos without post", 0, None),
        ("mrdpos post indeterminate", None, None),
        ("state MRDneg", None, None),
    ],
)
def test_the_response_follows_the_state(course, name, response, negative):
    assert (course(name)["response_cr"], course(name)["mrd_neg_post"]) == (response, negative)


def test_the_depth_of_a_remission_is_listed(children):
    numbers, derived = children
    names = {number: name for name, number in numbers.items()}
    depths = {
        names[person]: depth for person, depth in derived.course_times.select("person_id", "cr_depth").iter_rows()
    }
    assert [depths[name] for name in ("cr", "crh", "anc at limit", "no counts", "mrdpos without post")] == [
        "CR",
        "CRh",
        "CRh",
        None,
        None,
    ]


def test_a_later_remission_means_the_child_was_not_refractory(patient):
    assert patient("refractory then cr")["efs_event"] == 0


@pytest.mark.parametrize(
    ("name", "indication"),
    [
        ("delay 14", "CHEMO_DELAY"),
        ("delay 13", "UNKNOWN"),
        ("delay after relapse", "RR"),
        ("reason against relapse", "CHEMO_DELAY"),
        ("state MRDpos", "CR_MRDpos"),
    ],
)
def test_the_indication_follows_its_order_of_rules(patient, name, indication):
    assert patient(name)["indication"] == indication


@pytest.mark.parametrize(
    ("name", "reduced"),
    [
        ("chemo -42", 1),
        ("chemo -43", 0),
        ("chemo intrathecal", 0),
        ("chemo -1", 1),
        ("chemo before relapse", 0),
        ("no drugs before", None),
        ("state MRDpos", 0),
    ],
)
def test_burden_reduction_is_systemic_and_after_the_relapse(patient, name, reduced):
    assert patient(name)["burden_reduction_chemo"] == reduced


@pytest.mark.parametrize(
    ("name", "event", "days"),
    [
        ("relapse at 365", "relapse", 365),
        ("death and relapse on one day", "death_in_remission", 90),
        ("contact on day 0 only", "", 0),
        ("doubtful marrow", "", 200),
        ("two doubtful marrows", "relapse", 100),
        ("marrow at 25", "relapse", 100),
    ],
)
def test_event_free_survival_ends_at_the_first_event(patient, name, event, days):
    assert (patient(name)["efs_event_type"], patient(name)["efs_days"]) == (event, days)


@pytest.mark.parametrize(
    ("name", "event", "day"),
    [("death after lock", 0, 300), ("visit crosses lock", 0, 752), ("visit after lock", 0, 28)],
)
def test_nothing_after_the_data_lock_counts(patient, name, event, day):
    one = patient(name)
    assert (one["os_event"], (one["last_contact_date"] - ZERO).days) == (event, day)


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("cells post 14", ["post", "pre"]),
        ("cells post 15", ["pre"]),
        ("cells post 0", ["post", "pre"]),
        ("cells -8", []),
        ("cells two before next", ["post"]),
        ("cells in %", []),
        ("cells from %", ["pre"]),
        ("cells unknown unit", []),
    ],
)
def test_t_cells_are_taken_from_their_windows(children, name, windows):
    numbers, derived = children
    mine = derived.lab_windows.filter(
        (pl.col("person_id") == numbers[name]) & (pl.col("course_no") == 1) & (pl.col("analyte") == "CD3")
    )
    assert mine["window"].sort().to_list() == windows


def test_a_draw_on_the_day_before_the_next_bag_is_its_baseline(children):
    numbers, derived = children
    mine = derived.lab_windows.filter(pl.col("person_id") == numbers["cells one before next"])
    assert mine.select("course_no", "window").unique().rows() == [(2, "pre")]
    assert mine["value"].to_list() == [1.2, 0.6, 0.5]


def test_a_percentage_becomes_a_count_with_the_lymphocytes_of_its_draw(children):
    numbers, derived = children
    mine = derived.lab_windows.filter(pl.col("person_id") == numbers["cells from %"])
    assert dict(mine.select("analyte", "value").iter_rows()) == {"CD3": 1.2, "CD8": 0.4}
    counted = derived.counters.filter((pl.col("counter") == "dq_abs_from_pct") & (pl.col("site") == "all"))
    assert counted["n"].to_list() == [2]


def test_a_percentage_on_an_absolute_code_is_counted_not_read(children):
    _, derived = children
    of_all = dict(derived.counters.filter(pl.col("site") == "all").select("counter", "n").iter_rows())
    assert (of_all["dq_code_unit_conflict"], of_all["dq_unit_unknown"]) == (3, 3)


def test_toxicity_is_graded_in_its_window(course):
    assert [course(name)["crs_grade"] for name in ("crs day 14", "crs day 15", "crs ungraded")] == [2, 0, None]
    assert course("never inpatient")["crs_grade"] is None


def test_steroids_are_premedication_treatment_or_unclear(children):
    _, derived = children
    counted = derived.counters.filter((pl.col("counter") == "dq_steroid_role_unclear") & (pl.col("site") == "all"))
    others = 4  # the oral doses of the children whose burden reduction is asked for, five days before the first bag
    assert counted.select("n", "denominator").row(0) == (1 + others, 5 + others)


def test_the_full_analysis_set_is_children_only(children):
    numbers, derived = children
    persons = derived.patients["person_id"].to_list()
    assert numbers["adult"] not in persons
    assert numbers["almost adult"] in persons
    steps = derived.attrition.filter(pl.col("unit") == "patient").head(6)
    assert steps["excluded"].to_list() == [0, 1, 0, 0, 1, 1]
    assert (steps["n"].shift(1) - steps["excluded"] == steps["n"]).all()
    assert numbers["late b-all"] not in persons


def test_every_derived_number_is_without_the_row_order(children, tmp_path):
    _, derived = children
    kids = Children()
    for add in (_courses, _marrows, _states, _responses, _indications, _follow_up, _t_cells, _toxicity, _population):
        add(kids)
    for rows in kids.cdm.rows.values():
        rows.reverse()
    cdm = open_cdm(kids.cdm.write(tmp_path / "omop.duckdb", tables=TABLES))
    again = derive(cdm, load_study())
    cdm.close()
    assert again.patients.equals(derived.patients)
    assert again.courses.equals(derived.courses)
    assert again.lab_windows.equals(derived.lab_windows)
