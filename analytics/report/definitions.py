"""Definitions in force (table S): each in words, with its value; the words and patterns that read sources apart."""

import json
import re
from html import escape
from typing import Any

import polars as pl

from analytics.figures.wording import Row, sentence, spell
from analytics.report.material import Material, Section
from analytics.report.tables import Column, html_table

_PATTERN_SIGNS = ("(?i)", "\\", "^")
_SOURCE_RULES = (
    "words",
    "_analytes",
    "cytokine",
    "last_contact",
    "_percent",
    "inpatient",
    "units_cells",
    "exposure_type",
)
_GRADES = ("crs_astct", "crs_ctcae")
"""Long, but what a physician asks for."""
_STATISTICS = "statistics."
_LONG = 320
_SHORT = {
    "pct": "%",
    "anc": "neutrophils",
    "plt": "platelets",
    "ug": "µg",
    "lod": "detection limit",
    "mrd": "MRD",
    "cd19": "CD19",
    "crs": "CRS",
    "astct": "ASTCT",
    "ctcae": "CTCAE",
    "icans": "ICANS",
    "efs": "EFS",
    "cr": "CR",
    "crh": "CRh",
    "rr": "R/R",
    "ball": "B-ALL",
    "fas": "FAS",
    "hsct": "HSCT",
    "cart": "CAR-T",
    "bq": "below quantification",
    "tcell": "T-cell",
    "bcell": "B-cell",
}
"""Parts of parameter names as they are written."""

_STATISTICS_WORDS = {
    "statistics.blasts_from_pct": "Marrow blasts, %, from which a marrow counts as disease in figures",
    "statistics.bootstrap": "Resamples of the bootstrap over patients",
    "statistics.concordance_bootstrap": "Resamples for the optimism of the C-index",
    "statistics.confidence": "Confidence level of every interval",
    "statistics.horizon_days": "Day of truncation, of the restricted mean and of the 1-year estimates",
    "statistics.landmark_days": "Landmark of the transplant and CAR-T models, days from the first bag",
    "statistics.mrd_cutoff_alternative_pct": "Other MRD cut-off, %, of sensitivity analysis S7",
    "statistics.mrd_cutoff_pct": "MRD cut-off, %, of S3 and of the marrow after a course",
    "statistics.new_site_sizes": "Sizes of a new cohort for the prediction intervals",
    "statistics.permutations": "Permutations of the log-rank test",
    "statistics.reporting_precision": "Precision to which T-cell differences are rounded before ranking, 10*9/L",
    "statistics.risk_table_days": "Days of the numbers at risk",
    "statistics.seed": "Seed of permutations and bootstraps",
    "statistics.short_course_days": "Delivered days up to which a course is short (S5)",
    "statistics.survival_days": "Days of the fixed survival estimates (6, 12 and 24 months)",
    "statistics.trajectory_days": "Last days of the spans of the cell counts by day",
}
"""The parameters of the statistics in words."""

_UNITS = {
    "pct": "%", "d": " days", "days": " days", "h": " h", "hours": " h", "kg": " kg", "years": " years",
    "celsius": " °C", "mmhg": " mmHg",
}  # fmt: skip
"""Last parts of parameter names that are the unit of a number."""


def definitions(material: Material) -> str:
    """What a physician or a statistician asks for: windows, cut-offs, choices."""
    rows = [_row(row, material) for row in _settings(material).to_dicts() if not _reads_sources(row)]
    note = (
        "Every definition is assumed (<code>name@version</code>): the paper’s own are not known. Each can be switched "
        "in the study’s parameter file. Windows include both ends; days count from the day that the definition names."
    )
    return material.table("Definitions in force", _table(rows), [note])


def reading_rules(material: Material) -> str:
    """What a data manager asks for: words, patterns, concept sets and unit factors."""
    rows = [_row(row, material) for row in _settings(material).to_dicts() if _reads_sources(row)]
    if not rows:
        return ""
    note = "Patterns are regular expressions; CS_ names a concept set of the study."
    return material.table("Words, patterns, concept sets and units in force", _table(rows), [note])


def _settings(material: Material) -> pl.DataFrame:
    return material.need("settings", "name", "version", "value")


def _table(rows: list[dict[str, Any]]) -> str:
    columns = [Column("name", "Definition", "left"), Column("text", "Meaning", "left")]
    columns.append(Column("value", "Value in force", "left"))
    return html_table(rows, columns if any(row["text"] for row in rows) else [columns[0], columns[2]], stub="name")


def _row(row: Row, material: Material) -> dict[str, Any]:
    name, value = str(row["name"]), readable(str(row["value"] or ""))
    rule = f"{name}@{row['version']}" if row["version"] else name
    meaning = str(row.get("text") or material.meta.definitions.get(name) or _STATISTICS_WORDS.get(name, ""))
    return {"name": rule, "text": sentence(meaning), "value": value}


def _reads_sources(row: Row) -> bool:
    """Whether a setting holds patterns, words, codes or unit factors rather than a definition of the study."""
    name, value = str(row["name"]), str(row["value"] or "")
    if name.startswith(_STATISTICS) or name in _GRADES:
        return False
    return name.endswith(_SOURCE_RULES) or len(value) > _LONG or any(sign in value for sign in _PATTERN_SIGNS)


def readable(value: str) -> str:
    """A parameter's value without JSON's signs: "first day −28; last day 1"; text that is no JSON stays."""
    try:
        return _plain(json.loads(value))
    except json.JSONDecodeError:
        return value


def _inner(value: object) -> str:
    """A nested mapping in brackets, so that its parts are not read as those of the outer one."""
    return f"({_plain(value)})" if isinstance(value, dict) else _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(_pair(str(key), inner) for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_inner(inner) for inner in value) or "none"
    if value is None or isinstance(value, bool):
        return {None: "not set", True: "yes", False: "no"}[value]
    return str(value).replace("-", "−", 1) if isinstance(value, int | float) else str(value)


def _pair(key: str, value: object) -> str:
    """A part and its value: "first day −28"; a unit at the end of the name follows the number: "from 0.01%"."""
    *words, last = key.split("_")
    if words and last in _UNITS and isinstance(value, int | float) and not isinstance(value, bool):
        return f"{_key('_'.join(words))} {_plain(value)}{_UNITS[last]}"
    return f"{_key(key)} {_inner(value)}"


def _key(key: str) -> str:
    """The name of a part in words: "anc_above" as "neutrophils above"; a unit or a concept set stays."""
    if not key.islower() or "/" in key:
        return key
    parts = (part.upper() if re.fullmatch(r"m[123]", part) else _SHORT.get(part, part) for part in key.split("_"))
    return spell(" ".join(parts))


_SENTENCES = (
    (
        "Patients: age below {fas.age_below_years} years at the first bag, B-ALL recorded up to "
        "{ball.days_after_first_bag} days after it."
    ),
    (
        "Bags are joined to courses: gaps below {gap_bag_change_h} h are bag changes, gaps of more than "
        "{gap_new_course_d} days start a new course."
    ),
    (
        "Marrow before a course: last adequate one from day {marrow_pre.first_day} to day {marrow_pre.last_day} of its "
        "first bag; after it: first from day {marrow_post.first_day} to day {marrow_post.last_day} after its end, else "
        "the last from day {marrow_post.else_first_day} to day {marrow_post.else_last_day}."
    ),
    "MRD is positive from {mrd_positive.from_pct}%; high MRD is from {high_mrd.from_pct}% before course 1.",
    (
        "Complete remission in the state R/R: blasts below {m_class.m2_from_pct}%, neutrophils above {cr.anc_above} "
        "and platelets above {cr.plt_above} ×10⁹/L from day {cr.first_day} to day {cr.last_day} of that marrow."
    ),
    "Chemotherapy delay: at least {chemo_delay.from_days} days between the planned block and the first bag.",
    (
        "T cells: last value from day {tcell_pre.first_day} to day {tcell_pre.last_day} before, first value up to day "
        "{tcell_post.days_after_end} after the end of course 1."
    ),
    (
        "Survival horizon: {statistics.horizon_days} days; landmark: {statistics.landmark_days} days; "
        "{statistics.permutations} permutations, {statistics.bootstrap} bootstrap resamples, seed {statistics.seed}."
    ),
    "Data lock: {data_lock.date}.",
)
"""The methods in words; a sentence whose parameters this run does not know is left out."""


def methods_text(material: Material) -> str:
    """The methods as prose, every number from the parameters in force."""
    known = _values(_settings(material))
    said = []
    for pattern in _SENTENCES:
        names = re.findall(r"{([^}]+)}", pattern)
        if all(known.get(name) is not None for name in names):
            said.append(re.sub(r"{([^}]+)}", lambda found: _plain(known[found.group(1)]), pattern))
    return f'<p class="lead">{escape(" ".join(said))}</p>' if said else ""


def _values(settings: pl.DataFrame) -> dict[str, object]:
    """The parameters by `name` and `name.part`."""
    known: dict[str, object] = {}
    for row in settings.to_dicts():
        try:
            value = json.loads(str(row["value"] or "null"))
        except json.JSONDecodeError:
            value = row["value"]
        known[str(row["name"])] = value
        if isinstance(value, dict):
            known |= {f"{row['name']}.{part}": inner for part, inner in value.items()}
    return known


def methods(material: Material) -> str:
    """The statistical methods, from the tables' own method columns."""
    sources = (
        ("Survival", "survival_summary"),
        ("Models", "models"),
        ("Paired values", "paired"),
        ("Cytokines", "cytokines"),
        ("Rates", "rates"),
        ("Prediction", "prediction"),
    )
    rows = [row for topic, name in sources for row in _methods_of(material, topic, name)]
    columns = [Column("topic", "Analysis", "left"), Column("text", "Method", "left")]
    fixed = (
        "Proportions: Clopper–Pearson and Wilson intervals. Survival: Kaplan–Meier, Greenwood standard error, log-log "
        "interval; cumulative incidence: Aalen–Johansen. All tests are two-sided; intervals are 95%; estimation comes "
        "first, P values are described. Sensitivity analyses use the methods of the analysis that they repeat; S14: "
        "Cox with left truncation. Missing values are a level of their own or are counted, never imputed."
    )
    return material.table("Statistical methods", html_table(rows, columns, stub="topic"), [fixed])


def _methods_of(material: Material, topic: str, name: str) -> list[dict[str, Any]]:
    table = material.maybe(name, "method")
    if table is None:
        return []
    plain = (str(text).split("; p_correction")[0] for text in table["method"].drop_nulls())
    texts = [sentence(text) for text in dict.fromkeys(plain)]
    return [{"topic": topic, "text": f"{text}."} for text in texts]


DEFINITIONS = Section(
    "definitions",
    "Definitions and methods",
    (
        ("Methods in words", methods_text),
        ("Methods", methods),
        ("Definitions in force", definitions),
        ("Reading rules", reading_rules),
    ),
)
