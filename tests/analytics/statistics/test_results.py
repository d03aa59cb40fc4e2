"""The results as files, as one long table, and with the small counts taken out."""

import json
import re
from pathlib import Path

import jsonschema_rs
import polars as pl
import pytest

from analytics.results import LAYOUTS, LONG_COLUMNS, all_results, json_schema, summarised_result, write_results
from analytics.statistics.tables import CONTAINS_INDIVIDUALS, SCHEMAS, tidy
from analytics.suppression import CURVES, RULES, SUPPRESSED, WITHHELD, suppress
from etl.errors import StudyError

Tables = dict[str, pl.DataFrame]


@pytest.fixture(scope="module")
def everything(truth: Tables) -> Tables:
    return all_results(truth, {"statistics": {"permutations": 100, "bootstrap": 50, "concordance_bootstrap": 5}})


@pytest.fixture(scope="module")
def released(everything: Tables) -> Tables:
    return suppress(everything, 5)


def test_every_table_has_a_place_in_the_long_table_and_a_rule_for_small_counts() -> None:
    assert set(LAYOUTS) == set(SCHEMAS) - {"settings", *CONTAINS_INDIVIDUALS} | {"derived_vs_computed"}
    assert set(RULES) | set(CURVES) == set(SCHEMAS) - {"settings", *WITHHELD}
    for name, layout in LAYOUTS.items():
        columns = SCHEMAS["published_vs_computed" if name == "derived_vs_computed" else name]
        used = {layout.variable, layout.level, *layout.group, *layout.strata, *layout.additional} - {None}
        assert used <= set(columns), name


def test_the_long_table_has_the_omopgenerics_columns_and_keeps_every_value(everything: Tables) -> None:
    long = summarised_result(everything, "synthetic cohort")
    assert tuple(long.columns) == LONG_COLUMNS
    assert long.select("estimate_value", "variable_name").null_count().row(0) == (0, 0)
    for result_id, name in enumerate((n for n in LAYOUTS if n in everything), start=1):
        layout, table = LAYOUTS[name], everything[name]
        used = {layout.variable, layout.level, *layout.group, *layout.strata, *layout.additional}
        values = sum(table.height - table[c].null_count() for c in table.columns if c not in used)
        part = long.filter((pl.col("result_id") == result_id) & (pl.col("variable_name") != "settings"))
        assert part.height == values, name


def test_every_result_carries_its_settings(everything: Tables) -> None:
    settings = summarised_result(everything, "x", 5).filter(pl.col("variable_name") == "settings")
    assert settings["result_id"].n_unique() == len(LAYOUTS)
    named = settings.filter(pl.col("result_id") == 1)
    found = dict(zip(named["estimate_name"], named["estimate_value"], strict=True))
    assert found["min_cell_count"] == "5"
    assert found["param_hash"] == everything["settings"]["param_hash"][0]


def test_the_long_table_passes_the_checks_of_omopgenerics(everything: Tables) -> None:
    """What `newSummarisedResult` refuses: empty keys, names unlike their levels, other types, repeated rows."""
    long = summarised_result(everything, "synthetic cohort")
    keys = [c for c in LONG_COLUMNS if c not in ("variable_level", "estimate_value")]
    assert long.select(keys).null_count().sum_horizontal().item() == 0
    for kind in ("group", "strata", "additional"):
        names, levels = long[f"{kind}_name"].str.split(" &&& "), long[f"{kind}_level"].str.split(" &&& ")
        assert (names.list.len() == levels.list.len()).all(), kind
        assert names.explode().str.contains(r"^[a-z][a-z0-9_]*$").all(), kind
        both = (long[f"{kind}_name"] == "overall") & (long[f"{kind}_level"] != "overall")
        assert not both.any(), kind
    assert set(long["estimate_type"]) <= {"integer", "numeric", "character", "percentage"}
    assert long["estimate_name"].str.contains(r"^[a-z][a-z0-9_]*$").all()
    whole = long.filter(pl.col("estimate_type") == "integer")["estimate_value"]
    assert whole.str.contains(r"^-?\d+$").all()
    numbers = long.filter(pl.col("estimate_type").is_in(["numeric", "percentage"]))["estimate_value"]
    assert numbers.cast(pl.Float64, strict=True).is_finite().all()
    assert long.drop("estimate_value").is_unique().all()
    settings = long.filter((pl.col("variable_name") == "settings") & (pl.col("result_id") == 1))
    needed = {"result_type", "package_name", "package_version", "group", "strata", "additional", "min_cell_count"}
    assert needed <= set(settings["estimate_name"])


def test_levels_that_belong_together_are_joined(everything: Tables) -> None:
    long = summarised_result({"classification": everything["classification"]}, "x")
    assert "state &&& stratum" in long["strata_name"].to_list()
    assert "MRDneg &&& CR_MRDneg" in long["strata_level"].to_list()


def test_files_are_written_and_the_json_fits_its_schema(everything: Tables, tmp_path: Path) -> None:
    written = write_results(everything, tmp_path, cdm_name="synthetic cohort", synthetic=True)
    assert all(path.name.startswith("synthetic_") for path in written)
    assert pl.read_parquet(tmp_path / "synthetic_models.parquet").equals(everything["models"])
    text = pl.read_csv(tmp_path / "synthetic_response.csv")
    assert text.columns == everything["response"].columns
    document = json.loads((tmp_path / "synthetic_results.json").read_text())
    jsonschema_rs.validate(json_schema(), document)
    assert document["synthetic"] is True
    stored = json.loads((tmp_path / "synthetic_results.schema.json").read_text())
    assert stored == json_schema()


def test_a_document_with_another_column_does_not_fit(everything: Tables, tmp_path: Path) -> None:
    write_results({"safety": everything["safety"]}, tmp_path, cdm_name="x")
    document = json.loads((tmp_path / "results.json").read_text())
    document["tables"]["safety"][0]["person_id"] = 1
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(json_schema(), document)


def test_no_small_count_is_released(released: Tables) -> None:
    for name, rule in RULES.items():
        for column in rule.counts:
            small = released[name].filter(pl.col(column).is_between(1, 4))
            assert small.is_empty(), f"{name}.{column}"
        for part, whole in rule.complements:
            gap = released[name].filter((pl.col(whole) - pl.col(part)).is_between(1, 4))
            assert gap.is_empty(), f"{name}: {whole} - {part}"


def test_a_hidden_row_tells_nothing_but_that_it_is_hidden(everything: Tables, released: Tables) -> None:
    rows = released["models"].filter(pl.col("note") == SUPPRESSED)
    assert rows.height
    assert rows.select("estimate", "lower", "upper", "p", "coef", "se", "n", "events").null_count().row(0) == (
        (rows.height,) * 8
    )
    assert rows.height < everything["models"].height


def test_one_hidden_level_takes_a_neighbour_with_it(released: Tables) -> None:
    for table, partition in (("safety", ["event", "unit_of_analysis"]), ("response", ["analysis_id", "group"])):
        rule = RULES[table]
        for _, part in released[table].group_by(partition):
            rows = [row for row in part.iter_rows(named=True) if not rule.total(row)]
            hidden = [row for row in rows if row[rule.counts[0]] is None]
            left = [row for row in rows if row[rule.counts[0]]]
            assert len(hidden) != 1 or not left


def test_single_values_are_never_released(released: Tables) -> None:
    assert released["paired"]["pre_minimum"].null_count() == released["paired"].height
    assert released["baseline"]["maximum"].null_count() == released["baseline"].height


def test_curve_steps_hold_enough_events_and_leavers(released: Tables) -> None:
    assert released["survival_curves"].height
    for (_, _), curve in released["survival_curves"].group_by("endpoint", "stratum", maintain_order=True):
        assert not curve["events"].is_between(1, 4).any()
        assert not curve["censored"].is_between(1, 4).any()
        assert not curve["at_risk"].is_between(1, 4).any()
        gaps = -curve["at_risk"].diff().drop_nulls()
        assert (gaps >= 5).all()


def test_steps_in_time_and_away_from_the_primary_analysis_are_not_small(released: Tables) -> None:
    shown = released["risk_table"].drop_nulls("at_risk").sort("endpoint", "stratum", "time")
    for column in ("at_risk", "cumulative_events", "cumulative_censored"):
        steps = shown.select(pl.col(column).diff().abs().over("endpoint", "stratum")).to_series().drop_nulls()
        assert not steps.is_between(1, 4).any(), column
    table = released["sensitivity"].drop_nulls("n")
    key = ["endpoint", "stratum", "quantity"]
    primary = table.filter(pl.col("analysis_id") == "primary")
    both = table.join(primary, on=key, suffix="_primary", nulls_equal=True)
    for column in ("n", "events"):
        assert both.filter((pl.col(column) - pl.col(f"{column}_primary")).abs().is_between(1, 4)).is_empty()


def hidden_strata(table: pl.DataFrame, keys: list[str], count: str = "n") -> list[tuple[int, int, bool]]:
    """Of every part: strata hidden, strata shown with somebody in them, whether the total is shown."""
    found = []
    for _, part in table.group_by(keys):
        strata, whole = part.filter(pl.col("stratum") != "all"), part.filter(pl.col("stratum") == "all")
        hidden = strata[count].null_count()
        found.append((hidden, strata.filter(pl.col(count) > 0).height, whole[count].null_count() < whole.height))
    return found


def test_no_stratum_can_be_worked_out_from_all_strata_together(released: Tables) -> None:
    for name, keys in (("survival_at", ["endpoint", "time"]), ("survival_summary", ["endpoint", "measure"])):
        parts = hidden_strata(released[name], keys)
        assert any(hidden for hidden, _, _ in parts), name
        assert all(hidden != 1 or not total for hidden, _, total in parts), name


def test_the_fixed_days_and_the_risk_table_hide_the_same_strata(released: Tables) -> None:
    both = released["survival_at"].join(released["risk_table"], on=["endpoint", "stratum", "time"], suffix="_risk")
    assert both.height
    assert (both["at_risk"].is_null() == both["at_risk_risk"].is_null()).all()
    shown = released["survival_at"].drop_nulls("n")
    assert not (shown["n"] - shown["at_risk"] - shown["events"]).is_between(1, 4).any()  # those censored before


def test_pairs_of_strata_do_not_give_a_hidden_stratum_away(released: Tables, everything: Tables) -> None:
    summary = released["survival_summary"]
    hidden = {(r["endpoint"], r["stratum"]) for r in summary.iter_rows(named=True) if r["n"] is None}
    assert hidden
    for row in released["tests"].filter(pl.col("test").str.contains("pairwise")).iter_rows(named=True):
        endpoint, compared = row["comparison"].split(": ")
        if any((endpoint, stratum) in hidden for stratum in compared.split(" vs ")):
            assert row["n"] is row["events"] is row["statistic"] is None
    counts = released["tests"].filter(pl.col("test") == "cause-specific count")
    kept = everything["tests"].filter(pl.col("test") == "cause-specific count")
    assert counts["events"].null_count() > kept["events"].is_between(1, 4).sum()  # with what would give them away


def test_a_small_stratum_is_hidden_in_every_table_with_the_next_smallest(truth: Tables) -> None:
    positives = truth["patients"].filter(pl.col("km_stratum") == "CR_MRDpos")["person_id"].sort()
    fewer = truth["patients"].filter(~pl.col("person_id").is_in(positives[3:].implode()))
    cohort = truth | {"patients": fewer}
    for name in ("courses", "lab_windows"):
        cohort[name] = truth[name].filter(pl.col("person_id").is_in(fewer["person_id"].implode()))
    out = suppress(all_results(cohort, {"statistics": {"permutations": 9, "concordance_bootstrap": 0}}), 5)
    for name in ("survival_curves", "cumulative_incidence"):
        assert set(out[name]["stratum"]) == {"CR_MRDneg"}, name
    for name, count in (("survival_at", "n"), ("survival_summary", "n"), ("risk_table", "at_risk")):
        shown = out[name].drop_nulls(count).filter(pl.col("stratum") != "all")
        assert set(shown["stratum"]) <= {"CR_MRDneg"}, name
    sizes = out["baseline"].filter((pl.col("variable") == "km_stratum") & (pl.col("group") == "overall"))
    assert set(sizes.drop_nulls("n")["level"]) <= {"CR_MRDneg"}


def test_a_hidden_group_cannot_be_taken_from_all_groups_together(released: Tables, everything: Tables) -> None:
    small = everything["baseline"].filter(pl.col("n").is_between(1, 4))
    assert small.height
    for _, part in released["baseline"].group_by("variable", "level"):
        groups = part.filter(pl.col("group") != "overall")
        overall = part.filter(pl.col("group") == "overall")
        if groups["n"].null_count() == 1 and overall["n"].null_count() == 0:
            left = int(overall["n"][0]) - int(groups["n"].sum())
            assert not 1 <= left <= 4, part.row(0)


def test_a_hidden_response_stands_in_no_other_table(released: Tables, everything: Tables) -> None:
    known = everything["response"].filter((pl.col("site") == "all") & pl.col("analysis_id").is_in(["A2", "A3"]))
    shown = released["response"].filter((pl.col("site") == "all") & pl.col("analysis_id").is_in(["A2", "A3"]))
    hidden = known.filter(shown["k"].is_null())
    assert set(hidden["group"]) == {"RR", "MRDneg"}
    assert released["tests"].filter(pl.col("analysis_id") == "A2")["events"].null_count() == 1
    for group, k, n in hidden.select("group", "k", "n").iter_rows():
        pooled, varied = pl.col("outcome") == f"response, {group}", pl.col("stratum") == group
        for table, of in (("models", pooled), ("sensitivity", varied & (pl.col("endpoint") == "response"))):
            again = released[table].filter(of & (pl.col("events") == k) & (pl.col("n") == n))
            assert again.is_empty(), (table, group)


def test_patients_by_number_of_courses_cannot_be_worked_out_from_the_number_of_courses(released: Tables) -> None:
    rows = released["exposure"].filter(pl.col("variable") == "courses per patient")
    assert rows["n"].null_count() >= 3  # with two unknown the numbers of patients and of courses tell both


def test_p_values_and_odds_ratios_of_hidden_factors_are_not_released(released: Tables) -> None:
    hidden = set(released["predictors"].filter(pl.col("response_total").is_null())["factor"])
    assert hidden
    fisher = released["sensitivity"].filter(pl.col("quantity").is_in([f"Fisher P {factor}" for factor in hidden]))
    assert fisher.height
    assert fisher["p"].null_count() == fisher.height
    by_site = released["models"].filter(pl.col("model") == "firth_logistic_site")
    assert by_site["estimate"].null_count() == by_site.height


def test_few_events_after_a_fixed_day_are_not_what_is_left_of_all_events(released: Tables, everything: Tables) -> None:
    log_rank = released["tests"].filter((pl.col("test") == "log-rank") & pl.col("events").is_not_null())
    for comparison, events in log_rank.select("comparison", "events").iter_rows():
        shown = released["survival_at"].filter(
            (pl.col("endpoint") == comparison.partition(":")[0]) & (pl.col("stratum") == "all")
        )
        assert not (events - shown["events"].drop_nulls()).is_between(1, 4).any(), comparison
    hidden = everything["survival_at"].filter(released["survival_at"]["events"].is_null())
    same = hidden.select("endpoint", "stratum", estimate="survival")
    again = released["sensitivity"].drop_nulls("estimate").join(same, on=["endpoint", "stratum", "estimate"])
    assert again.is_empty()


def test_differences_between_sites_are_withheld(released: Tables, everything: Tables) -> None:
    assert "site_balance" in everything
    assert "site_balance" not in released


def test_a_hidden_step_of_the_attrition_cannot_be_subtracted() -> None:
    steps = [("persons in the CDM", 40, 0), ("with a B-ALL record", 38, 2), ("FAS", 30, 8)]
    rows = [{"step": step, "unit": "patient", "n": n, "excluded": out} for step, n, out in steps]
    shown = suppress({"attrition": tidy("attrition", rows)}, 5)["attrition"]
    assert shown["n"][:1].is_null().all() or shown["n"][2] is None or shown["excluded"][2] is None


def test_nothing_of_a_study_of_few_children_is_released() -> None:
    rows = [{"step": "FAS", "unit": "patient", "n": 3, "excluded": 0}]
    with pytest.raises(StudyError, match="fewer than 5 children"):
        suppress({"attrition": tidy("attrition", rows)}, 5)


def test_the_rate_of_an_event_known_of_few_courses_goes_with_its_count() -> None:
    head = {"event": "ICANS", "unit_of_analysis": "course", "n": 0}
    grades = [head | {"grade": grade, "denominator": 2} for grade in (*"012345", "any (>= 1)", ">= 3")]
    missing = head | {"grade": "missing", "n": 58, "denominator": 60}
    rate = {"event": "ICANS", "grade": ">= 3", "events": 0, "infusion_days": 56.0, "rate_per_100_days": 0.0}
    shown = suppress({"safety": tidy("safety", [*grades, missing]), "rates": tidy("rates", [rate])}, 5)
    assert shown["rates"]["infusion_days"].to_list() == [None]


def test_a_missing_grade_cannot_be_taken_from_the_denominators() -> None:
    counts = {"0": 20, "1": 12, "2": 6, "3": 0, "4": 0, "5": 0, "any (>= 1)": 18, ">= 3": 0, "missing": 2}
    head = {"event": "CRS", "unit_of_analysis": "course"}
    rows = [head | {"grade": grade, "n": n, "denominator": 38} for grade, n in counts.items()]
    rows[-1]["denominator"] = 40
    shown = suppress({"safety": tidy("safety", rows)}, 5)["safety"]
    assert shown["denominator"].null_count() == shown.height


def test_no_note_with_a_figure_is_released(released: Tables) -> None:
    for name, table in released.items():
        if "note" in table.columns:
            assert not table["note"].drop_nulls().str.contains(r"\d").any(), name


def test_texts_that_repeat_counts_are_withheld(released: Tables) -> None:
    assert not set(WITHHELD) & set(released)
    hidden = released["prediction"].filter(pl.col("k").is_null())
    assert hidden.height
    assert hidden["basis"].null_count() == hidden.height


def test_without_a_minimum_the_tables_stay_as_they_are(everything: Tables) -> None:
    assert all(suppress(everything, 0)[name].equals(table) for name, table in everything.items())
    with pytest.raises(StudyError):
        suppress(everything, -1)


def test_a_table_without_a_rule_is_not_released(everything: Tables) -> None:
    with pytest.raises(StudyError, match="patients"):
        suppress({"patients": everything["safety"]}, 5)


def test_no_result_names_a_person(everything: Tables) -> None:
    for name, table in everything.items():
        assert "person_id" not in table.columns
        for column in table.select(pl.col(pl.String)).iter_columns():
            assert not any(re.fullmatch(r"P\d{3}", value) for value in column.drop_nulls()), name
