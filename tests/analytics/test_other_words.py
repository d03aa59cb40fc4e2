"""Texts, units and codes that the four sample hospitals do not write: read where they say enough, else left alone."""

import polars as pl
import pytest
from children import Children

from analytics import derive, load_study
from analytics.blasts import read_blasts
from analytics.doses import daily_dose_ug
from analytics.episodes import OBSERVATION_FIELD, episode_tables
from analytics.mrd import INDETERMINATE, NEGATIVE, POS_BQ, POSITIVE, UNPARSED, parse_mrd
from analytics.written import read_number

STUDY = load_study()
BLASTS = STUDY.get("marrow_blasts.text_patterns")
INADEQUATE = STUDY.get("marrow_inadequate.words")


@pytest.mark.parametrize(
    ("text", "separator", "expected"),
    [
        ("原始+幼稚淋巴细胞占 ２．３％，粒系 45％", ".", (2.3, None)),
        ("红系占25.5%，原幼淋0.5%", ".", (0.5, None)),
        ("原始淋巴细胞 1.0%，幼稚淋巴细胞 2.5%", ".", (3.5, None)),
        ("Erythropoese 21 %, Blasten 2,0 %", ",", (2.0, None)),
        ("Blasten unter 5 %", ",", (5.0, "<")),
        ("<5% blasts, trilineage maturation 60%", ".", (5.0, "<")),
        ("3.5 % lymphoblasts", ".", (3.5, None)),
        ("2.3", ".", (2.3, None)),
        ("红系 25%，粒系 45%", ".", None),
        ("标本稀释, 原始细胞 2%", ".", None),
        ("remission marrow", ".", None),
    ],
)
def test_blasts_are_the_number_beside_their_word(text, separator, expected):
    assert read_blasts(text, BLASTS, INADEQUATE, separator) == expected


@pytest.mark.parametrize(
    ("text", "separator", "expected"),
    [
        ("＜2.44pg/mL", ".", (2.44, "<", "pg/ml")),
        (">5000", ".", (5000.0, ">", None)),
        ("≤0,35 ×10^9/l", ",", (0.35, "<=", "×10^9/l")),
        ("96个/μL", ".", (96.0, None, "个/μl")),
        ("1,234 /uL", ".", (1234.0, None, "/ul")),
        ("0.45 ↓", ".", (0.45, None, None)),
        ("less than 10", ".", (10.0, "<", None)),
        ("0.2-0.4", ".", None),
        ("not done", ".", None),
        ("3 of 10", ".", None),
    ],
)
def test_a_written_number_is_read_with_its_sign_and_unit(text, separator, expected):
    assert read_number(text, separator) == expected


def _mrd(text, separator=".", **more):
    found = parse_mrd(
        text,
        None,
        None,
        None,
        STUDY.get("mrd_parse"),
        cutoff_pct=0.01,
        inadequate=tuple(INADEQUATE),
        decimal_separator=separator,
        **more,
    )
    return found.value, found.operator, found.kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("negative (<0.01%)", (0.01, "<", NEGATIVE)),
        ("阴性，<1×10^-4", (0.01, "<", NEGATIVE)),
        ("negative (<0.1%)", (0.1, "<", INDETERMINATE)),
        ("negative, sensitivity 0.01%", (None, None, NEGATIVE)),
        ("MRD(-)", (None, None, NEGATIVE)),
        ("MRD: 0.02% (flow)", (0.02, "=", POSITIVE)),
        ("阳性(2.3%)", (2.3, "=", POSITIVE)),
        ("positive <0.01%", (None, None, POS_BQ)),
        ("positive, not quantifiable", (None, None, POS_BQ)),
        ("CD19- blasts 0.5%", (None, None, UNPARSED)),
        ("CD19 negative, MRD 0.5%", (0.5, "=", POSITIVE)),
        ("1.0 x 10E-4", (0.01, "=", POSITIVE)),
        ("350 cells/10^6", (0.035, "=", POSITIVE)),
        ("0.02% and 0.5%", (None, None, UNPARSED)),
        ("nachweisbar 0.02%", (None, None, UNPARSED)),
        ("LA11883-8", (None, None, NEGATIVE)),
        ("7.38e-01", (None, None, UNPARSED)),
        ("12 copies", (None, None, UNPARSED)),
    ],
)
def test_mrd_words_beside_numbers(text, expected):
    assert _mrd(text) == expected


@pytest.mark.parametrize(
    ("unit", "percent"),
    [
        ("% of nucleated cells", 3),
        ("10^-4", 0.03),
        ("×10⁻⁴", 0.03),
        ("cells/10^6", 0.0003),
        ("{fraction}", 300),
        ("%", 3),
    ],
)
def test_mrd_units_are_brought_to_percent(unit, percent):
    found = parse_mrd(None, 3.0, unit, None, STUDY.get("mrd_parse"), cutoff_pct=0.01)
    assert found.value == pytest.approx(percent)


def test_by_the_limit_of_detection_whatever_was_found_is_positive():
    assert _mrd("<0.1%", by_lod=True) == (0.1, "<", NEGATIVE)
    assert _mrd("0.003%", by_lod=True) == (0.003, "=", POSITIVE)
    assert _mrd("0%", by_lod=True)[2] == NEGATIVE


@pytest.mark.parametrize(
    ("sig", "per_day"),
    [
        ("15 µg/m²/24h i.v.", 15),
        ("15 ug/m2/(24.h)", 15),
        ("15 ug/(m2.d)", 15),
        ("5μg/m2/天", 5),
        ("15 Mikrogramm", None),
        ("0,5 µg/kg/Tag", 15),
        ("28 mcg per day", 28),
        ("9 ug over 24 h", 9),
        ("28微克/日", 28),
        ("0.028 mg/d", 28),
        ("5 mL/h", None),
    ],
)
def test_rates_are_read_as_they_are_written(sig, per_day):
    row = pl.DataFrame({"sig": [sig], "bsa_m2": [1.0], "weight_kg": [30.0], "quantity": [None]}).with_columns(
        pl.col("quantity").cast(pl.Float64),
        dose_unit_source_value=pl.lit(None, dtype=pl.String),
        start_at=pl.datetime(2023, 1, 1),
        end_at=pl.datetime(2023, 1, 2),
    )
    assert row.select(dose=daily_dose_ug(STUDY))["dose"][0] == per_day


@pytest.fixture(scope="module")
def told():
    """Children of single rules, derived once by the study and once without Down syndrome and by the assay's limit."""
    kids = Children(STUDY)
    _write(kids)
    with kids.cdm.in_memory() as cdm:
        lod = STUDY.varied({"mrd_positive.by_lod": True})
        down = STUDY.varied({"fas.down_syndrome": False})
        return kids.numbers, {name: derive(cdm, one) for name, one in (("", STUDY), ("lod", lod), ("down", down))}


def _write(kids):
    concept = kids.cdm.concept
    child = kids.add("a test that gave no answer")
    child.course()
    child.measure(concept("BLINA", "GEN_BCR_ABL1"), child.day(-30), value_source_value="检测失败")
    child = kids.add("a test that says yes")
    child.course()
    child.measure(concept("BLINA", "GEN_BCR_ABL1"), child.day(-30), value_source_value="Positive")
    child = kids.add("a share of cells")
    child.course()
    child.number(concept("BLINA", "GEN_KMT2A"), child.day(-30), 92.0, "%")
    child = kids.add("a transplant that is told of")
    child.course()
    child.observation(
        "FOLLOWUP_STATUS", child.day(90), value_as_concept_id=concept("SNOMED", "234336002"), value_source_value="HSCT"
    )
    child = kids.add("Down syndrome")
    child.course()
    child.condition(concept("BLINA", "DOWN_SYNDROME"), child.day(-900), "Q90.9")
    child = kids.add("below 0.1 %")
    child.course()
    child.marrow(-3, 1.0, "<0.1%")
    child = kids.add("0.003 %")
    child.course()
    child.marrow(-3, 1.0, "0.003%")
    child = kids.add("counts under a code of shares")
    child.course()
    child.number(concept("LOINC", "8124-0"), child.day(-1), 800.0, "/uL")
    child = kids.add("shares under a code of counts")
    child.course()
    child.number(concept("LOINC", "8122-4"), child.day(-1), 40.0, "%")
    child.number(concept("LOINC", "731-0"), child.day(-1), 2.0, "10*9/L")
    child = kids.add("MRD alone after RR")
    child.course()
    child.marrow(-3, 60.0, "50%")
    child.marrow(29, mrd="negative")


def _of(told, name, which="", frame="patients"):
    numbers, derived = told
    return getattr(derived[which], frame).filter(pl.col("person_id") == numbers[name])


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a test that gave no answer", "UNKNOWN"),
        ("a test that says yes", "BCR::ABL1"),
        ("a share of cells", "KMT2A-r"),
    ],
)
def test_a_genetic_test_says_its_finding_only_when_its_answer_is_yes(told, name, subtype):
    assert _of(told, name)["genetic_subtype"].to_list() == [subtype]


def test_a_transplant_that_is_only_told_of_counts_and_stands_in_the_episode(told):
    assert _of(told, "a transplant that is told of")["hsct_day"].to_list() == [90]
    events = episode_tables(told[1][""])["episode_event"]
    assert events.filter(pl.col("episode_event_field_concept_id") == OBSERVATION_FIELD).height == 1


def test_children_with_down_syndrome_can_be_left_out(told):
    assert _of(told, "Down syndrome").height == 1
    assert _of(told, "Down syndrome", "down").height == 0
    steps = told[1]["down"].attrition.filter(pl.col("reason") == "Down syndrome")
    assert steps["excluded"].to_list() == [1]


@pytest.mark.parametrize(
    ("name", "by_cutoff", "by_lod"), [("below 0.1 %", "UNKNOWN", "MRDneg"), ("0.003 %", "MRDneg", "MRDpos")]
)
def test_the_assays_own_limit_can_decide_what_is_positive(told, name, by_cutoff, by_lod):
    assert _of(told, name)["pre_course1_state"].to_list() == [by_cutoff]
    assert _of(told, name, "lod")["pre_course1_state"].to_list() == [by_lod]


@pytest.mark.parametrize(
    ("name", "value"), [("counts under a code of shares", 0.8), ("shares under a code of counts", 0.8)]
)
def test_the_unit_decides_what_a_result_is(told, name, value):
    assert _of(told, name, frame="lab_windows")["value"].to_list() == [value]
    assert _of(told, name, frame="lab_points").select("day", "value").rows() == [(-1, value)]


def test_a_marrow_with_mrd_only_tells_a_remission(told):
    course = _of(told, "MRD alone after RR", frame="courses")
    assert course.select("state_pre", "response_cr").rows() == [("RR", 1)]
