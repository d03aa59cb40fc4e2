"""The summary: sentences that a physician reads in a minute, each made from result tables, with n, interval and "
"unit."""

import re
from collections.abc import Iterator
from html import escape

import polars as pl

from analytics.figures.wording import (
    STRATA,
    Row,
    count,
    endpoint_of,
    hundred,
    in_order,
    interval,
    is_number,
    measure,
    number,
    p_phrase,
    percent,
    plural,
    word,
)
from analytics.report.material import Material, NotComputedError, some, total_of
from analytics.report.response import over_all_sites
from analytics.report.safety import ANY, BY_GRADE, IS_GRADING, SEVERE

_YEAR = 365


def render_summary(material: Material) -> str:
    """The summary as a list of HTML items; a sentence whose table is missing is left out, and the last line says so."""
    items, missing = [], []
    for name, build in (
        ("cohort", _cohort),
        ("response", _response),
        ("MRD", _kept),
        ("event-free survival", _efs),
        ("overall survival", _os),
        ("T cells", _cells),
        ("safety", _safety),
        ("reading", _with_care),
    ):
        try:
            items += [f"<li>{_unbroken(sentence)}</li>" for sentence in build(material)]
        except NotComputedError:
            missing.append(name)
    if missing:
        items.append(f'<li class="absent">Not computed: {", ".join(missing)}.</li>')
    return f'<ul class="summary">{"".join(items)}</ul>'


_WHOLE = re.compile(r"(?:exact )?95% CI [^;),]+|P(?: =| &lt;) [\d.]+|\d+ (?:events?|patients?|pairs|courses)\b")


def _unbroken(html: str) -> str:
    """The sentence with its intervals, P values and counts kept on one line each."""
    return _WHOLE.sub(lambda found: f'<span class="nb">{found.group()}</span>', html)


def _cohort(material: Material) -> Iterator[str]:
    table = material.need("classification", "indication", "state", "stratum", "n")
    parts = [
        f"{count(total_of(table.filter(pl.col('indication') == i)['n']))} {_reason(i)}"
        for i in in_order(table["indication"].to_list(), ("RR", "CR_MRDpos", "CHEMO_DELAY"))
    ]
    hidden = "" if total_of(table["n"]) is not None else " (–: a count too small to be shown)"
    yield (
        f"<strong>{plural(_children(material, table), 'child')}</strong> started blinatumomab: "
        f"{escape(', '.join(parts))}{hidden}.{_courses(material)}{_follow_up(material)}"
    )


def _children(material: Material, table: pl.DataFrame) -> int | None:
    """How many children; from the baseline's denominators where cells of the classification are suppressed."""
    baseline = material.maybe("baseline", "group", "denominator")
    whole = table["n"] if baseline is None else baseline.filter(pl.col("group") == "overall")["denominator"]
    if not table["n"].null_count() or not whole.drop_nulls().len():
        return total_of(table["n"])
    return max(int(size) for size in whole.drop_nulls())


def _with_care(material: Material) -> Iterator[str]:
    """How few events there are, and what the numbers are not."""
    table = material.need("survival_summary", "endpoint", "stratum", "events")
    whole = table.filter((pl.col("stratum") == "all") & pl.col("events").is_not_null())
    events = {row["endpoint"]: row["events"] for row in whole.to_dicts()}
    few = (
        f"{plural(events['EFS'], 'event')} and {plural(events['OS'], 'death')} over all follow-up carry every survival "
        "estimate; "
        if {"EFS", "OS"} <= set(events)
        else ""
    )
    yield (
        f"<strong>Read with care</strong>: {few}strata are prognostic groups, not treatments compared; all definitions "
        'are assumed and can be switched (<a href="#definitions">definitions</a>, '
        '<a href="#sensitivity">sensitivity</a>).'
    )


def _courses(material: Material) -> str:
    table = material.maybe("response", "analysis_id")
    exposure = material.maybe("exposure", "variable", "level", "n", "denominator")
    if exposure is None or table is None:
        return ""
    days = exposure.filter(pl.col("variable").str.contains("(?i)delivered"))
    sizes = days["denominator"].drop_nulls()
    return f" They received <strong>{plural(max(sizes.to_list()), 'course')}</strong>." if sizes.len() else ""


def _follow_up(material: Material) -> str:
    table = material.maybe("survival_summary", "endpoint", "stratum", "measure", "estimate")
    if table is None:
        return ""
    chosen = (pl.col("endpoint") == "OS") & (pl.col("stratum") == "all") & (pl.col("measure") == "median follow-up")
    days = table.filter(chosen)["estimate"].drop_nulls().to_list()
    return f" Median follow-up for survival: {count(days[0])} days (reverse Kaplan–Meier)." if days else ""


def _reason(indication: str) -> str:
    words = {
        "RR": "for relapsed or refractory disease (R/R)",
        "CR_MRDpos": "for MRD positivity in remission",
        "CHEMO_DELAY": "because chemotherapy was delayed",
        "UNKNOWN": "for an unknown reason",
    }
    return words.get(indication, f"for {word(indication)}")


def _response(material: Material) -> Iterator[str]:
    table = over_all_sites(_proportions(material)).filter((pl.col("analysis_id") == "A2") & (pl.col("n") > 0))
    for row in table.to_dicts():
        endpoint = endpoint_of(row["group"])
        called = " (called CR in the paper)" if "clearance" in endpoint else ""
        state = escape(word(row["group"]))
        yield f"Treated in the state {state}: <strong>{endpoint}</strong>{called} in {_share(row)}."


def _kept(material: Material) -> Iterator[str]:
    table = over_all_sites(_proportions(material)).filter((pl.col("analysis_id") == "A3") & (pl.col("n") > 0))
    for row in table.to_dicts():
        yield f"Given in MRD-negative remission: <strong>MRD stayed negative</strong> in {_share(row)}."


def _share(row: Row) -> str:
    limits = interval(row["cp_lower"], row["cp_upper"])
    counts = f"<strong>{count(row['k'])} of {plural(row['n'], escape(row['unit_of_analysis']))}</strong>"
    return f"{counts} ({percent(row['percent'])}; exact 95% CI {limits})"


def _proportions(material: Material) -> pl.DataFrame:
    return material.need(
        "response",
        *("analysis_id group site k n percent cp_lower cp_upper unit_of_analysis").split(),
    )


def _efs(material: Material) -> Iterator[str]:
    yield _survival(material, "EFS")


def _os(material: Material) -> Iterator[str]:
    yield _survival(material, "OS")


def _survival(material: Material, endpoint: str) -> str:
    table = material.need(
        "survival_at",
        *("endpoint stratum time survival lower upper n events").split(),
    )
    table = table.filter((pl.col("endpoint") == endpoint) & (pl.col("time") == _YEAR) & pl.col("stratum").is_in(STRATA))
    if table.is_empty():
        raise NotComputedError(f"survival_at holds no {endpoint} at day {_YEAR}")
    parts = []
    for stratum in in_order(table["stratum"].to_list()):
        row = table.filter(pl.col("stratum") == stratum).row(0, named=True)
        limits = interval(hundred(row["lower"]), hundred(row["upper"]))
        size = f"{plural(row['events'], 'event')} in {plural(row['n'], 'patient')}"
        parts.append(
            f'<span class="nb">{escape(word(stratum))}</span> '
            f"<strong>{percent(hundred(row['survival']))}</strong> (95% CI {limits}; {size})"
        )
    return f"<strong>1-year {word(endpoint).lower()}</strong>: {', '.join(parts)}{_log_rank(material, endpoint)}."


def _log_rank(material: Material, endpoint: str) -> str:
    tests = material.maybe("tests", "comparison", "test", "p", "n", "events", "horizon")
    if tests is None:
        return ""
    rows = tests.filter(
        pl.col("comparison").str.starts_with(endpoint) & (pl.col("test") == "log-rank") & pl.col("horizon").is_null()
    ).to_dicts()
    if not rows:
        return ""
    size = f"{plural(rows[0]['events'], 'event')} in {plural(rows[0]['n'], 'patient')}, all follow-up"
    # a count that is suppressed hides its P value, too: that one may well be estimable
    missing = rows[0]["p"] is None and rows[0]["n"] is not None
    return f"; log-rank {'P not estimable' if missing else escape(p_phrase(rows[0]['p']))} ({size})"


def _cells(material: Material) -> Iterator[str]:
    table = material.need(
        "paired",
        *("analyte unit n_pairs pre_median post_median shift shift_lower shift_upper p").split(),
    )
    parts = [
        f"{escape(str(row['analyte']))}+ {measure(row['pre_median'])} → {measure(row['post_median'])} (shift "
        f"{number(row['shift'], 2)}, 95% CI {interval(row['shift_lower'], row['shift_upper'], 2)}, "
        f"{escape(p_phrase(row['p']))}, {plural(row['n_pairs'], 'pair')})"
        for row in some(table.filter(pl.col("n_pairs") > 0), "pair").to_dicts()
    ]
    unit = escape(word(table["unit"][0]))
    yield f"<strong>T cells</strong> before → after course 1, median, {unit}, Wilcoxon signed rank: {'; '.join(parts)}."


def _safety(material: Material) -> Iterator[str]:
    table = material.need("safety", "event", "grade", "unit_of_analysis", "n", "denominator").filter(~IS_GRADING)
    table = table.filter(pl.col("unit_of_analysis") == "course")
    parts, others = [], []
    for event in table["event"].unique(maintain_order=True).to_list():
        rows = {r["grade"]: r for r in table.filter(pl.col("event") == event).to_dicts()}
        some, severe = rows.get(ANY), rows.get(SEVERE)
        if some is None or severe is None or not some["denominator"]:
            continue
        if event not in BY_GRADE:
            others.append(event)
            continue
        shown = percent(100 * some["n"] / some["denominator"]) if is_number(some["n"]) else "–"
        parts.append(
            f"{escape(str(event))} of any grade in {count(some['n'])} of {plural(some['denominator'], 'course')} "
            f"({shown}), grade 3 or higher in {count(severe['n'])}"
        )
    if not parts:
        raise NotComputedError("safety holds no graded course")
    if table.filter(pl.col("event").is_in(BY_GRADE).not_()).is_empty():
        rest = "Other adverse events were not derived."
    elif others:
        rest = f"Of the other adverse events {escape(', '.join(others))} are recorded; see the table."
    else:
        rest = "Other adverse events are not recorded in these data, which is not the same as none."
    yield f"<strong>Safety</strong>: {'; '.join(parts)}. {rest}"
