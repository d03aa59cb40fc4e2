"""Two sets of definitions on one CDM: what a changed definition does to attrition and to every estimate.

Both studies are derived and analysed alike; rows are matched by what they are about (the key columns of
`results.LAYOUTS`). Day-by-day curves are left out: `survival_at`, `risk_table` and `survival_summary` say the same in
fewer rows. So are tables that repeat others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import polars as pl

from analytics.cdm import Cdm
from analytics.derive import Derived, derive
from analytics.results import JOINED, LAYOUTS, all_results, schema_of
from analytics.statistics.tables import REAL, TEXT
from analytics.study import Study

ROWS = {
    "analysis": pl.String, "row": pl.String, "column": pl.String, "a": pl.String, "b": pl.String,
    "difference": pl.Float64,
}  # fmt: skip
LEFT_OUT = ("survival_curves", "cumulative_incidence", "published_vs_computed", "derived_vs_computed", "site_balance")
FIRST = ("attrition", "classification", "response", "survival_at", "survival_summary", "tests", "models", "paired")
"""What a reader looks at first; the other tables follow in their own order."""
SAID_IN_WORDS = ("note", "method", "ci_method", "basis", "unit", "reason")
MOVED = {
    "patients": ("indication", "pre_course1_state", "km_stratum", "genetic_subtype", "efs_event_type", "os_event",
                 "tki"),
    "courses": ("state_pre", "response_cr", "mrd_neg_post", "evaluable", "complete", "crs_grade", "icans_grade"),
}  # fmt: skip
"""The classifications whose changes are counted, by frame."""
_KEYS = {"patients": ["person_id"], "courses": ["person_id", "course_no"]}
TOLERANCE = 1e-9
NOT_THERE = "–"


@dataclass(frozen=True)
class Comparison:
    """Two studies side by side, `name_a` and `name_b`.

    `definitions`: name, a, b, why; only those that differ. `rows`: columns `ROWS`, numbers as text, `difference` b − a
    where both are numbers. `moved`: unit (patients, courses), variable, a, b, n: who is classified otherwise.
    """

    name_a: str
    name_b: str
    definitions: pl.DataFrame
    rows: pl.DataFrame
    moved: pl.DataFrame

    def text(self, most: int = 20) -> str:
        """The comparison for a terminal: definitions, who moved, and up to `most` values of each table."""
        named = [f"{name}: {a} → {b}{f'  ({why})' if why else ''}" for name, a, b, why in self.definitions.iter_rows()]
        moved = [f"{n} {unit}: {variable} {a} → {b}" for unit, variable, a, b, n in self.moved.iter_rows()]
        chapters = [("Definitions that differ", named), ("Classified otherwise", moved)]
        for (analysis,), part in self.rows.group_by("analysis", maintain_order=True):
            told = [_line(*row[1:]) for row in part.head(most).iter_rows()]
            rest = part.height - len(told)
            chapters.append((str(analysis), [*told, *([f"… and {rest} more values"] if rest else [])]))
        lines = [f"A: {self.name_a}", f"B: {self.name_b}"]
        for title, content in chapters:
            lines += ["", f"{title}:", *(f"  {line}" for line in content or ["nothing"])]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """The comparison as one page that loads nothing."""
        numbers = [_table("Definitions that differ", self.definitions), _table("Classified otherwise", self.moved)]
        for (analysis,), part in self.rows.group_by("analysis", maintain_order=True):
            numbers.append(_table(str(analysis), part.drop("analysis")))
        title = escape(f"{self.name_a} and {self.name_b}")
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            '<meta name="viewport" content="width=device-width,initial-scale=1"><style>'
            ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;"
            "padding:0 1rem}table{border-collapse:collapse}th,td{text-align:left;padding:.2rem .8rem .2rem 0;"
            "border-bottom:1px solid #8886;vertical-align:top;font-variant-numeric:tabular-nums}"
            "div{overflow-x:auto}caption{text-align:left;font-weight:600;padding-top:1.5rem}</style></head><body>"
            f"<h1>What the definitions change</h1><p>A: {escape(self.name_a)}<br>B: {escape(self.name_b)}</p>"
            f"{''.join(numbers)}</body></html>\n"
        )


def _line(row: str, column: str, a: str, b: str, difference: float | None) -> str:
    more = "" if difference is None else f"  ({difference:+.6g})"
    return f"{row.replace(JOINED, ' · ')}: {column} {a} → {b}{more}"


def _table(caption: str, rows: pl.DataFrame) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in rows.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_shown(value))}</td>" for value in row) + "</tr>" for row in rows.iter_rows()
    )
    body = body or f'<tr><td colspan="{rows.width}">nothing</td></tr>'
    return (
        f'<div role="region" tabindex="0" aria-label="{escape(caption)}"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _shown(value: object) -> str:
    if value is None:
        return NOT_THERE
    return f"{value:+.6g}" if isinstance(value, float) else str(value)


def compare_studies(cdm: Cdm, study_a: Study, study_b: Study, *, everything: bool = False) -> Comparison:
    """Derives and analyses both studies on the CDM and lays them side by side; with `everything` equal values too.

    Raises StudyError when the CDM cannot answer one of them.
    """
    derived_a, derived_b = derive(cdm, study_a), derive(cdm, study_b)
    rows = compare_tables(all_results(derived_a, study_a), all_results(derived_b, study_b), everything=everything)
    return Comparison(
        f"{study_a.name} {study_a.version} ({study_a.param_hash})",
        f"{study_b.name} {study_b.version} ({study_b.param_hash})",
        _definitions(study_a, study_b),
        rows,
        _moved(derived_a, derived_b),
    )


def compare_tables(
    tables_a: Mapping[str, pl.DataFrame], tables_b: Mapping[str, pl.DataFrame], *, everything: bool = False
) -> pl.DataFrame:
    """Two runs' result tables as rows (`ROWS`); only what differs by more than 1e-9, unless `everything`."""
    parts = [pl.DataFrame(schema=ROWS)]
    for name in dict.fromkeys([*FIRST, *LAYOUTS]):
        if name not in LEFT_OUT and name in tables_a and name in tables_b:
            parts.append(_compared(name, tables_a[name], tables_b[name], everything))
    return pl.concat(parts)


def _compared(name: str, table_a: pl.DataFrame, table_b: pl.DataFrame, everything: bool) -> pl.DataFrame:
    values = [c for c in schema_of(name) if c not in _about(name) and c not in SAID_IN_WORDS]
    long_a, long_b = (_long(name, table, values) for table in (table_a, table_b))
    both = long_a.join(
        long_b, on=["row", "column"], how="full", coalesce=True, suffix="_b", maintain_order="left_right"
    )
    number_a, number_b = pl.col("number"), pl.col("number_b")
    same_text = pl.col("text").eq_missing(pl.col("text_b"))
    same = pl.when(number_a.is_not_null() & number_b.is_not_null()).then(
        (number_b - number_a).abs() <= TOLERANCE
    ).otherwise(same_text)  # fmt: skip
    told = pl.col("text").is_not_null() | pl.col("text_b").is_not_null()
    kept = both.filter(told & (pl.lit(everything) | ~same))
    return kept.select(
        analysis=pl.lit(name), row="row", column="column", a=pl.col("text").fill_null(NOT_THERE),
        b=pl.col("text_b").fill_null(NOT_THERE), difference=number_b - number_a,
    )  # fmt: skip


def _about(name: str) -> list[str]:
    layout = LAYOUTS[name]
    level = [layout.level] if layout.level else []
    return [*layout.group, *layout.strata, layout.variable, *level, *layout.additional]


def _long(name: str, table: pl.DataFrame, values: list[str]) -> pl.DataFrame:
    """row (the key columns joined), column, text, number; keys that occur again get a running number."""
    about = pl.concat_str([pl.col(c).cast(pl.String) for c in _about(name)], separator=JOINED, ignore_nulls=True)
    keyed = table.with_columns(row=about).with_columns(again=pl.int_range(pl.len()).over("row"))
    again = pl.when(pl.col("again") > 0).then(pl.format("{} #{}", "row", pl.col("again") + 1)).otherwise("row")
    keyed = keyed.with_columns(row=again)
    schema = schema_of(name)
    parts = []
    for column in values:
        is_text = schema[column] == TEXT
        number = pl.lit(None, pl.Float64) if is_text else pl.col(column).cast(pl.Float64)
        shown = pl.col(column).round_sig_figs(6) if schema[column] == REAL else pl.col(column)
        parts.append(keyed.select("row", column=pl.lit(column), text=shown.cast(pl.String), number=number))
    empty = pl.DataFrame(schema={"row": pl.String, "column": pl.String, "text": pl.String, "number": pl.Float64})
    return pl.concat(parts) if parts else empty


def _definitions(study_a: Study, study_b: Study) -> pl.DataFrame:
    """name, a, b, why of the parameters that differ; of those with parts, the parts."""
    rows = []
    for name in dict.fromkeys([*study_a.parameters, *study_b.parameters]):
        one, other = (study.parameters.get(name) for study in (study_a, study_b))
        why = "; ".join(dict.fromkeys(p.why for p in (one, other) if p is not None and p.why))
        values_a, values_b = (_parts(p.value if p else None) for p in (one, other))
        for part in dict.fromkeys([*values_a, *values_b]):
            a, b = values_a.get(part), values_b.get(part)
            if a != b:
                rows.append((f"{name}.{part}" if part else name, str(a), str(b), why))
    if not study_a.members.equals(study_b.members):
        rows.append(("concept sets", str(study_a.members.height), str(study_b.members.height), "members"))
    return pl.DataFrame(rows, schema=dict.fromkeys(("name", "a", "b", "why"), pl.String), orient="row")


def _parts(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {"": value}


def _moved(derived_a: Derived, derived_b: Derived) -> pl.DataFrame:
    schema = {"unit": pl.String, "variable": pl.String, "a": pl.String, "b": pl.String, "n": pl.Int64}
    parts = [pl.DataFrame(schema=schema)]
    for unit, variables in MOVED.items():
        frames = (getattr(derived, unit).select(*_KEYS[unit], *variables) for derived in (derived_a, derived_b))
        one, other = (frame.with_columns(there=pl.lit(value=True)) for frame in frames)
        both = one.join(other, on=_KEYS[unit], how="full", coalesce=True, suffix="_b")
        for variable in variables:
            named = (_named(variable, "there"), _named(f"{variable}_b", "there_b"))
            pairs = both.select(a=named[0], b=named[1]).filter(pl.col("a") != pl.col("b"))
            counted = pairs.group_by("a", "b").len("n").sort("a", "b").cast({"n": pl.Int64})
            parts.append(counted.select(unit=pl.lit(unit), variable=pl.lit(variable), a="a", b="b", n="n"))
    return pl.concat(parts)


def _named(column: str, there: str) -> pl.Expr:
    """The level in words: "not there" for a row that one study does not have, "missing" for an empty value."""
    value = pl.col(column).cast(pl.String).replace("", "none").fill_null("missing")
    return pl.when(pl.col(there).is_null()).then(pl.lit("not there")).otherwise(value)
