"""The published aggregates beside what this cohort gives, read from the result tables only.

Rules (PROTOCOL section 10): a match means equal at the printed number of decimals, rounded half away from zero on the
exact value. P values are never targets (R4). Nothing here says "replicated", "reproduced" or "confirmed", and an
assumed definition is never called the paper's.
"""

import json
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl

from analytics.statistics.prediction import prediction_interval
from analytics.statistics.tables import tidy
from etl.errors import StudyError

SYNTHETIC_SENTENCE = (
    "the software returns the planted values of a synthetic cohort constructed to match published aggregates;"
    " this tests software and is not evidence"
)
COMPARISON_SENTENCE = (
    "agreement at the printed decimals is a description; published P values are not targets, and all definitions are"
    " assumed because the full text was not available"
)
YES, NO, NOT_COMPUTABLE = "yes", "no", "not computable"
PUBLISHED = Path(__file__).parent / "studies" / "blinatumomab" / "published.json"

Tables = Mapping[str, pl.DataFrame]
Number = Fraction | float | int | None


def load_published(path: Path = PUBLISHED) -> dict[str, Any]:
    """The published aggregates. Raises StudyError if the file cannot be read or has no entries."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: cannot be read ({type(error).__name__})") from None
    if not isinstance(content, dict) or not isinstance(content.get("published"), list):
        raise StudyError(f"{path}: has no list 'published'")
    return content


def rounded(value: Fraction | float | int, decimals: int) -> str:
    """The value at so many decimals, half away from zero.

    A fraction is rounded on its exact value. A float is first taken at 12 decimals, so that 0.345, which binary cannot
    hold, counts as the tie it is.
    """
    if isinstance(value, Fraction):
        exact = Decimal(value.numerator) / Decimal(value.denominator)
    else:
        exact = Decimal(str(round(float(value), 12)))
    found = exact.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)
    return str(abs(found) if found == 0 else found)


def row_of(table: pl.DataFrame, **where: object) -> dict[str, Any] | None:
    """The one row of the table with these values, or None if there is none; two rows are an error of this program."""
    found = table.filter(*(pl.col(name) == value for name, value in where.items()))
    if found.height > 1:
        raise ValueError(f"{found.height} rows where one was expected: {', '.join(where)}")
    return found.row(0, named=True) if found.height else None


def _value(table: pl.DataFrame, column: str, **where: object) -> Any:
    row = row_of(table, **where)
    return None if row is None else row[column]


def _classified(tables: Tables, **where: str) -> int:
    table = tables["classification"]
    return int(table.filter(*(pl.col(name) == value for name, value in where.items()))["n"].sum())


def _level(tables: Tables, variable: str, level: str, group: str = "overall") -> Any:
    return _value(tables["baseline"], "n", variable=variable, level=level, group=group)


def _share(tables: Tables, analysis: str, group: str) -> Fraction | None:
    row = row_of(tables["response"], analysis_id=analysis, group=group, site="all")
    return Fraction(100 * row["k"], row["n"]) if row and row["n"] else None


def _test(tables: Tables, analysis: str, test: str, starts: str = "") -> Any:
    found = tables["tests"].filter(
        (pl.col("analysis_id") == analysis) & (pl.col("test") == test) & pl.col("comparison").str.starts_with(starts)
    )
    return found["p"][0] if found.height == 1 else None


def _cox_p(tables: Tables, term: str) -> Any:
    return _value(tables["models"], "p", model="cox", outcome="EFS", coding="nested", term=term)


def _cells(tables: Tables, analyte: str, window: str) -> list[Number]:
    row = row_of(tables["paired"], analyte=analyte) or {}
    return [row.get(f"{window}_{name}") for name in ("median", "minimum", "maximum")]


def _one_year(tables: Tables, endpoint: str, stratum: str) -> list[Number]:
    row = row_of(tables["survival_at"], endpoint=endpoint, stratum=stratum, time=365.0) or {}
    return [None if row.get(name) is None else 100 * row[name] for name in ("survival", "se")]


_STRATUM = {"NEG": "CR_MRDneg", "MRD": "CR_MRDpos", "RR": "RR"}
Reader = Callable[[Tables], list[Number]]

READERS: dict[str, tuple[str, Reader]] = {
    "PUB-N-PAT": ("patient", lambda t: [_classified(t)]),
    "PUB-N-SITE": (
        "site",
        lambda t: [t["baseline"].filter((pl.col("variable") == "site") & (pl.col("group") == "overall")).height],
    ),
    "PUB-IND-RR": ("patient", lambda t: [_classified(t, indication="RR")]),
    "PUB-IND-MRD": ("patient", lambda t: [_classified(t, indication="CR_MRDpos")]),
    "PUB-IND-DELAY": ("patient", lambda t: [_classified(t, indication="CHEMO_DELAY")]),
    "PUB-RR-DIRECT": ("patient", lambda t: [_level(t, "burden_reduction_chemo", "0", "RR")]),
    "PUB-RR-BURDEN": ("patient", lambda t: [_level(t, "burden_reduction_chemo", "1", "RR")]),
    "PUB-STATE-RR": ("patient", lambda t: [_classified(t, state="RR")]),
    "PUB-STATE-MRD": ("patient", lambda t: [_classified(t, state="MRDpos")]),
    "PUB-CR-RR": ("patient", lambda t: [_share(t, "A2", "RR")]),
    "PUB-CR-MRD": ("patient", lambda t: [_share(t, "A2", "MRDpos")]),
    "PUB-CR-P": ("patient", lambda t: [_test(t, "A2", "Fisher exact, two-sided")]),
    "PUB-NEG-COURSES": ("course", lambda t: [_value(t["response"], "n", analysis_id="A3", site="all")]),
    "PUB-NEG-KEPT": ("course", lambda t: [_value(t["response"], "k", analysis_id="A3", site="all")]),
    "PUB-UNI-CYTO": (
        "patient",
        lambda t: [_value(t["predictors"], "fisher_p", factor="poor_cytogenetics", coding="nested")],
    ),
    "PUB-UNI-BCR": ("patient", lambda t: [_value(t["predictors"], "fisher_p", factor="bcr_abl1", coding="nested")]),
    "PUB-COX-MRD": ("patient", lambda t: [_cox_p(t, "high_mrd")]),
    "PUB-COX-BCR": ("patient", lambda t: [_cox_p(t, "bcr_abl1")]),
    "PUB-COX-CYTO": ("patient", lambda t: [_cox_p(t, "poor_cytogenetics")]),
    "PUB-EFS-P": ("patient", lambda t: [_test(t, "A5", "log-rank", "EFS")]),
    "PUB-OS-P": ("patient", lambda t: [_test(t, "A5", "log-rank", "OS")]),
}
for _analyte in ("CD3", "CD4", "CD8"):
    READERS |= {
        f"PUB-T-{_analyte}-PRE": ("patient (course 1)", lambda t, a=_analyte: _cells(t, a, "pre")),  # type: ignore[misc]
        f"PUB-T-{_analyte}-POST": ("patient (course 1)", lambda t, a=_analyte: _cells(t, a, "post")),  # type: ignore[misc]
        f"PUB-T-{_analyte}-P": ("patient (course 1)", lambda t, a=_analyte: [_value(t["paired"], "p", analyte=a)]),  # type: ignore[misc]
    }
for _endpoint in ("EFS", "OS"):
    for _short, _long in _STRATUM.items():
        READERS[f"PUB-{_endpoint}1Y-{_short}"] = (
            "patient",
            lambda t, e=_endpoint, s=_long: _one_year(t, e, s),  # type: ignore[misc]
        )

CD19 = {
    "peripheral B-cell loss, cd19_bcell_loss@1": "cd19_loss_2missing",
    "antigen loss on blasts, cd19_antigen_loss@1": "cd19_loss_complete",
}
QUANTITIES = {"PUB-CR-MRD": "MRD clearance (called CR in the paper) in CR-MRDpos"}
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def as_printed(entry: Mapping[str, Any], values: list[Number]) -> str | None:
    """The computed values in the words of the printed ones: each printed number replaced by ours at its decimals.

    "97.8% ± 2.2%" gets two values, "0.96 (0.03–3.79)" three, "100%" one, "4 affiliations" one. None if a value that
    the print needs is missing.
    """
    printed = str(entry["value_printed"])
    places = list(_NUMBER.finditer(printed))
    wanted = values[: len(places)]
    if len(wanted) < len(places) or any(value is None for value in wanted):
        return None
    text, end = "", 0
    for place, value in zip(places, wanted, strict=True):
        decimals = len(place.group().partition(".")[2])
        assert value is not None  # looked at above
        text += printed[end : place.start()] + rounded(value, decimals)
        end = place.end()
    return text + printed[end:]


def _row(entry: Mapping[str, Any], unit: str, values: list[Number], notes: list[str | None]) -> dict[str, object]:
    computed = as_printed(entry, values)
    match = NOT_COMPUTABLE if computed is None else YES if computed == entry["value_printed"] else NO
    said = [entry.get("note") and f"published: {entry['note']}", *notes]
    if entry.get("attainable") not in (None, "attainable"):
        said.append(f"attainability: {entry['attainable']}")
    return {
        "id": entry["id"], "quantity": QUANTITIES.get(entry["id"], entry["quantity"]), "unit_of_analysis": unit,
        "published": entry["value_printed"], "computed": computed, "match": match,
        "note": "; ".join(text for text in said if text) or None,
    }  # fmt: skip


# the published proportions as counts (derived by arithmetic), for the prediction intervals of rule R1 and R2
_COUNTS = {
    "PUB-CR-RR": (9, 11, "A2", "RR"),
    "PUB-CR-MRD": (33, 40, "A2", "MRDpos"),
    "PUB-NEG-KEPT": (73, 74, "A3", "MRDneg"),
}


def site_prediction(tables: Tables, confidence: float = 0.95) -> pl.DataFrame:
    """F10 by site: each site's count beside the beta-binomial prediction for its size, from the published proportion.

    Only proportions: the counts of a site's survival strata are complete only where nobody is censored (rule R2).
    """
    titles = {"PUB-CR-RR": "CR in R/R", "PUB-CR-MRD": "MRD clearance in CR-MRDpos (called CR in the paper)",
              "PUB-NEG-KEPT": "MRD kept negative (courses)"}  # fmt: skip
    rows: list[dict[str, object]] = []
    for identifier, (k, n, analysis, group) in _COUNTS.items():
        chosen = (pl.col("analysis_id") == analysis) & (pl.col("group") == group) & (pl.col("n") > 0)
        for row in tables["response"].filter(chosen).iter_rows(named=True):
            low, high = prediction_interval(k, n, row["n"], confidence)
            rows.append({
                "id": identifier, "quantity": titles[identifier], "site": row["site"], "basis": f"{k}/{n}",
                "k": row["k"], "n": row["n"], "percent": row["percent"], "cp_lower": row["cp_lower"],
                "cp_upper": row["cp_upper"], "lower": low, "upper": high,
                "verdict": "compatible" if low <= row["k"] <= high else "not compatible",
                "method": "95% beta-binomial prediction (Jeffreys) from the published proportion, for the site's n",
            })  # fmt: skip
    return tidy("site_prediction", rows)


def _rule_notes(entry: Mapping[str, Any], tables: Tables) -> list[str | None]:
    """What the replication rules R1–R5 say about an entry."""
    identifier = str(entry["id"])
    if identifier in _COUNTS:
        k, n, analysis, group = _COUNTS[identifier]
        return [_prediction_note(k, n, row_of(tables["response"], analysis_id=analysis, group=group, site="all"))]
    if entry["unit"] == "p-value":
        notes: list[str | None] = [_method_note(identifier, tables), "R4: a published P value is not a target"]
        if identifier.startswith("PUB-COX"):
            notes.append(_coding_note(tables))
        if identifier.startswith("PUB-UNI-") and identifier != "PUB-UNI-CD19":
            notes.append(_univariate_note(identifier, tables))
        return notes
    if "1Y-" in identifier:
        endpoint, short = identifier.removeprefix("PUB-").split("1Y-")
        row = row_of(tables["survival_at"], endpoint=endpoint, stratum=_STRATUM[short], time=365.0)
        return [_survival_note(row)]
    return []


def _method_note(identifier: str, tables: Tables) -> str | None:
    """Method, n, events and horizon of an own P value: no P stands without them (PROTOCOL 10.3)."""
    if identifier.startswith("PUB-COX"):
        row = row_of(tables["models"], model="cox", outcome="EFS", coding="nested", term="high_mrd")
        return None if row is None else f"own: {row['method']}; n {row['n']}, {row['events']} EFS events, all follow-up"
    if identifier.startswith("PUB-T-"):
        row = row_of(tables["paired"], analyte=identifier.split("-")[2])
        return None if row is None else f"own: {row['method']}; {row['n_pairs']} pairs"
    if identifier in ("PUB-EFS-P", "PUB-OS-P"):
        found = tables["tests"].filter(
            (pl.col("analysis_id") == "A5")
            & (pl.col("test") == "log-rank")
            & pl.col("comparison").str.starts_with(identifier.split("-")[1])
        )
        rows = list(found.iter_rows(named=True))
        return f"own: log-rank, n {rows[0]['n']}, {rows[0]['events']} events, all follow-up" if rows else None
    if identifier == "PUB-CR-P":
        row = row_of(tables["tests"], analysis_id="A2")
        return None if row is None else f"own: {row['test']}; n {row['n']}, {row['events']} responses"
    return "own: Fisher exact, two-sided, courses given for disease"


def _prediction_note(k: int, n: int, row: Mapping[str, Any] | None) -> str | None:
    if row is None or not row["n"]:
        return None
    low, high = prediction_interval(k, n, row["n"])
    verdict = "compatible" if low <= row["k"] <= high else "not compatible"
    return (
        f"R1: {row['k']} of {row['n']} is {verdict} with the 95% beta-binomial prediction {low}-{high} from the derived"
        f" count {k}/{n}; own 95% CI {row['cp_lower']:.1f}-{row['cp_upper']:.1f}%"
    )


def _survival_note(row: Mapping[str, Any] | None) -> str | None:
    if row is None or row["lower"] is None or row["upper"] is None:
        return None
    limits = f"{100 * row['lower']:.1f}-{100 * row['upper']:.1f}%"
    return f"R2: own 95% CI {limits} ({row['ci_method']}), {row['at_risk']} at risk on day 365, n {row['n']}"


def _coding_note(tables: Tables) -> str:
    """R5: the same factor under the exclusive coding, by the Firth model."""
    part = tables["models"].filter(
        (pl.col("model") == "firth_cox") & (pl.col("outcome") == "EFS") & (pl.col("coding") == "exclusive")
    )
    texts = [
        f"{row['term']} HR {row['estimate']:.2f} ({row['lower']:.2f}-{row['upper']:.2f})"
        for row in part.iter_rows(named=True)
        if None not in (row["estimate"], row["lower"], row["upper"])
    ]
    return "R5: shown is the nested coding, EFS (assumed); exclusive coding, Firth: " + (", ".join(texts) or "none")


def _univariate_note(identifier: str, tables: Tables) -> str | None:
    factor = "bcr_abl1" if identifier == "PUB-UNI-BCR" else "other_poor"
    p = _value(tables["predictors"], "fisher_p", factor=factor, coding="exclusive")
    return None if p is None else f"R5: Fisher test, nested coding (assumed); exclusive coding, {factor}: P {p:.2g}"


def _cd19_rows(entry: Mapping[str, Any], tables: Tables) -> list[dict[str, object]]:
    """Both readings of "CD19+ B-cell loss"; neither is called the paper's."""
    rows: list[dict[str, object]] = []
    for reading, factor in CD19.items():
        found = row_of(tables["predictors"], factor=factor) or {}
        counts = (
            f"{found['nonresponse_exposed']}/{found['nonresponse_total']} vs"
            f" {found['response_exposed']}/{found['response_total']}, Fisher"
            if found
            else None
        )
        notes = [f"reading: {reading} (assumed)", counts, *_rule_notes(entry, tables)]
        row = _row(entry, "patient", [found.get("fisher_p")], notes)
        identifier = entry["id"] if not rows else f"{entry['id']}-OTHER-READING"  # an id names one row
        rows.append(row | {"id": identifier, "quantity": f"{entry['quantity']}: {reading.partition(',')[0]}"})
    return rows


def published_vs_computed(tables: Tables, published: Mapping[str, Any] | Path | None = None) -> pl.DataFrame:
    """Each published entry with the value of this cohort as the paper would print it, whether they agree, and notes.

    `match` is yes, no or "not computable". The CD19 entry has two rows, one per
    reading; the second one's id ends in -OTHER-READING. `published` is the content of
    published.json, its path, or None for the one of the study. Raises StudyError for an entry nobody knows to compute.
    """
    content = published if isinstance(published, Mapping) else load_published(published or PUBLISHED)
    unknown = [e["id"] for e in content["published"] if e["id"] not in READERS and e["id"] != "PUB-UNI-CD19"]
    if unknown:
        raise StudyError("published entries without a rule", problems=unknown)
    rows: list[dict[str, object]] = []
    for entry in content["published"]:
        if entry["id"] == "PUB-UNI-CD19":
            rows += _cd19_rows(entry, tables)
            continue
        unit, read = READERS[entry["id"]]
        rows.append(_row(entry, unit, read(tables), _rule_notes(entry, tables)))
    return tidy("published_vs_computed", rows)
