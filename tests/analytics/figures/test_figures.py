"""The figures: what their alternative text says, that they are clean SVG, and that odd tables do not break them."""

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest

from analytics import figures
from analytics.figures import Drawing, mrd_change, swimmer
from analytics.statistics.tables import SCHEMAS

TABLES = Path(__file__).parents[1] / "report" / "tables"


def table(name: str) -> pl.DataFrame:
    return pl.read_csv(TABLES / f"{name}.csv", schema=SCHEMAS[name])


def models(*names: str) -> pl.DataFrame:
    return table("models").filter(pl.col("model").is_in(names))


def survival(endpoint: str) -> Drawing:
    return figures.draw_survival(endpoint, *map(table, ("survival_curves", "risk_table", "survival_at", "tests")))


DRAWINGS: dict[str, Callable[[], Drawing]] = {
    "attrition": lambda: figures.draw_attrition(table("attrition")),
    "efs": lambda: survival("EFS"),
    "os": lambda: survival("OS"),
    "incidence": lambda: figures.draw_incidence(table("cumulative_incidence")),
    "forest": lambda: figures.draw_forest(table("models").filter(pl.col("model") == "firth_cox")),
    "forest by site": lambda: figures.draw_site_forest(
        models("firth_logistic_site", "firth_cox_site", "random_effects")
    ),
    "swimmer": lambda: figures.draw_swimmer(table("swimmer")),
    "mrd change": lambda: figures.draw_mrd_change(table("mrd_change")),
    "cytokines": lambda: figures.draw_cytokines(table("cytokine_peaks"), table("cytokine_points")),
    "cytokines without courses": lambda: figures.draw_cytokines(table("cytokine_peaks")),
    "paired": lambda: figures.draw_paired(table("paired")),
    "flow": lambda: figures.draw_flow(table("state_flow")),
    "trajectory": lambda: figures.draw_trajectory(table("cell_trajectory")),
    "replication": lambda: figures.draw_replication(table("published_vs_computed")),
    "replication by site": lambda: figures.draw_site_replication(table("site_prediction")),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_is_wellformed_named_and_free_of_the_outside(name: str) -> None:
    drawing = DRAWINGS[name]()
    root = ElementTree.fromstring(drawing.svg)
    assert root.get("role") == "img"
    title, description = root[0], root[1]
    assert (title.text, description.text) == (drawing.title, drawing.description)
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert "<style" not in drawing.svg
    assert "DejaVu" not in drawing.svg
    assert not re.search(r"https?://(?!www\.w3\.org/)", drawing.svg)
    ids = re.findall(r' id="([^"]+)"', drawing.svg)
    assert all(i.startswith(drawing.name) for i in ids)


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_is_the_same_each_time(name: str) -> None:
    assert DRAWINGS[name]().svg == DRAWINGS[name]().svg


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_colour_follows_the_theme(name: str) -> None:
    svg = DRAWINGS[name]().svg
    loose = [colour for colour in re.findall(r"#[0-9a-f]{6}", svg) if f", {colour})" not in svg]
    assert not loose


def test_survival_says_its_numbers() -> None:
    text = survival("EFS").description
    assert "R/R: 73.3% at 1 year (95% CI 53.7–85.7), 20 of 30 patients at risk, 8 events." in text
    assert "Log-rank P < 0.001 (15 events, 105 patients)." in text


def test_numbers_at_risk_stand_below_the_axis() -> None:
    root = ElementTree.fromstring(survival("OS").svg)
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for shown in ("Patients at risk", "27", "26", "39", "Months since the first infusion of course 1"):
        assert shown in words


def test_attrition_says_what_is_left_and_why() -> None:
    text = DRAWINGS["attrition"]().description
    assert "full analysis set (FAS): 105 patients (2 left out: not a child at the first bag)" in text
    assert "evaluable courses (EVAL): 125 courses;" in text


def test_cumulative_incidence_says_the_year() -> None:
    text = DRAWINGS["incidence"]().description
    assert "R/R: relapse or refractory 23.3% (95% CI 10.3–39.4), death in remission 3.3% (95% CI 0.2–14.5)" in text
    assert "CR-MRDpos: relapse or refractory 13.3% (95% CI 4.2–27.8), death in remission 0.0% (95% CI 0.0–14.8)" in text


def test_paired_says_medians_ranges_and_pairs() -> None:
    assert (
        "CD4+: median 0.35 (range 0.01–1.39) before and 0.47 (range 0.07–2.94) after"
        in DRAWINGS["paired"]().description
    )


def test_one_stratum_without_events_can_be_drawn() -> None:
    curves = table("survival_curves").filter((pl.col("stratum") == "CR_MRDpos") & (pl.col("endpoint") == "OS"))
    drawing = figures.draw_survival("OS", curves, table("risk_table"), table("survival_at"))
    assert "CR-MRDpos: 100.0% at 1 year (95% CI 87.2–100.0)" in drawing.description
    assert "R/R" not in drawing.description


def test_missing_bounds_do_not_break_a_curve() -> None:
    curves = table("survival_curves").with_columns(lower=pl.lit(None, pl.Float64), upper=pl.lit(None, pl.Float64))
    assert "<svg" in figures.draw_survival("EFS", curves, table("risk_table"), table("survival_at")).svg


def test_an_inestimable_model_is_written_not_drawn() -> None:
    models = table("models").head(2)
    empty = [pl.lit(None, pl.Float64).alias(name) for name in ("estimate", "lower", "upper", "p")]
    assert "not estimable" in figures.draw_forest(models.with_columns(empty)).svg


def test_zero_counts_fit_a_logarithmic_axis() -> None:
    paired = table("paired").with_columns(pre_minimum=pl.lit(0.0))
    assert "<svg" in figures.draw_paired(paired).svg


def test_text_of_tables_is_escaped() -> None:
    attrition = table("attrition").with_columns(step=pl.lit("a <b> & c"))
    assert "<b>" not in figures.draw_attrition(attrition).svg


def test_the_swimmer_plot_counts_lanes_and_signs() -> None:
    text = DRAWINGS["swimmer"]().description
    assert "CR-MRDneg, 45 patients" in text
    assert "R/R, 30 patients" in text
    assert "last contact, alive" in text


def test_a_marrow_is_drawn_by_what_it_showed() -> None:
    labels = ("MRD negative", "MRD positive", "blasts ≥ 5%", "MRD unknown", None)
    assert [swimmer.sign_of("marrow", label) for label in labels] == ["MRDneg", "MRDpos", "RR", "marrow", "marrow"]
    assert swimmer.sign_of("event", "relapse") == "event"


def test_mrd_change_says_levels_and_negatives() -> None:
    text = DRAWINGS["mrd change"]().description
    assert "R/R, 11 courses, median level before" in text
    assert "MRD-positive, 40 courses" in text
    assert "MRD-negative, 74 courses" in text


def test_limits_are_arrows_not_dots() -> None:
    row = {"pre": 2.0, "pre_censoring": ">", "post": 0.05, "post_censoring": "<"}
    ends = [mrd_change._end(row, when, 0.01) for when in ("pre", "post")]
    assert [end.marker for end in ends] == ["^", "v"]
    nothing = {"post": None, "post_censoring": "negative"}
    assert mrd_change._end(nothing, "post", 0.01).at < 0.01


def test_cytokine_limits_are_counted() -> None:
    peaks = table("cytokine_peaks").with_columns(n_censored=pl.lit(2, pl.Int64))
    drawing = figures.draw_cytokines(peaks)
    assert "2 given as a limit" in drawing.description
    assert "2 limits" in drawing.svg


def test_the_flow_says_where_the_courses_led_and_its_bands_add_up() -> None:
    text = DRAWINGS["flow"]().description
    assert "R/R before the course, 11 courses: R/R after it 2 (EFS event before any 2), MRD-negative after it 9" in text
    assert "MRD-positive before the course, 40 courses: MRD-positive after it 7" in text
    assert "MRD-negative after it 73" in text


def test_suppressed_groups_are_missed_in_the_flow_not_guessed() -> None:
    hidden = table("state_flow").with_columns(n=pl.when(pl.col("n") >= 5).then("n"))
    text = figures.draw_flow(hidden).description
    assert f"{hidden['n'].null_count()} small groups not shown" in text


def test_suppressed_ranges_leave_the_boxes_of_the_cytokines() -> None:
    bare = table("cytokine_peaks").with_columns(minimum=pl.lit(None, pl.Float64), maximum=pl.lit(None, pl.Float64))
    assert "<svg" in figures.draw_cytokines(bare).svg


def test_the_trajectory_says_medians_days_and_patients() -> None:
    text = DRAWINGS["trajectory"]().description
    assert "CD4+, median (quartiles) in ×10⁹/L, day to 0: 0.35 (0.25–0.52; 95 patients)" in text
    assert "CD19+" in text


def test_every_site_stands_over_its_prediction() -> None:
    text = DRAWINGS["replication by site"]().description
    assert "CR in R/R, All sites: 9/11 (81.8%), own 95% CI 48.2–97.7, predicted 5–11 of 11: compatible" in text
    assert text.count("SITE4") == 3


def test_a_picture_is_made_only_when_it_is_asked_for() -> None:
    assert DRAWINGS["paired"]().png == b""
    with figures.with_pictures():
        assert DRAWINGS["paired"]().png.startswith(b"\x89PNG")


def test_the_forest_by_site_carries_the_mean() -> None:
    text = DRAWINGS["forest by site"]().description
    assert "Non-response (OR): High MRD" in text
    assert "SITE1" in text
    assert "Random-effects mean (n 51, 9 events)" in text
