"""Result tables for a manuscript: LaTeX (or HTML fragments) by great-tables, from the tables only.

There is no Word form: no library of this project writes it, and Word opens the HTML form with its tables intact.
"""

from collections.abc import Mapping
from pathlib import Path

import polars as pl
from great_tables import GT

from analytics.statistics.tables import CONTAINS_INDIVIDUALS, REAL, SCHEMAS
from etl.errors import StudyError

FORMS = {"latex": ".tex", "html": ".html"}
LEFT_OUT = ("survival_curves", "overall_curves", "cumulative_incidence", "settings", *CONTAINS_INDIVIDUALS)
"""Curves are figures; settings hold patterns that no manuscript prints; rows of single persons stay in the hospital."""
DIGITS = 4


def read_tables(folder: Path) -> dict[str, pl.DataFrame]:
    """The result tables that `write_results` left in a folder, by name. Raises StudyError when there are none."""
    found = {}
    for name in SCHEMAS:
        for path in (folder / f"{name}.parquet", folder / f"synthetic_{name}.parquet"):
            if path.is_file():
                found[name] = pl.read_parquet(path)
    if not found:
        raise StudyError(f"{folder}: holds no result tables")
    return found


def export_tables(tables: Mapping[str, pl.DataFrame], folder: Path, form: str = "latex") -> list[Path]:
    """Writes one file per table that is not empty (`LEFT_OUT` excepted); `form`: latex or html.

    Columns without any value are dropped; numbers have four significant digits. Gives back the paths. Raises StudyError
    for another form.
    """
    if form not in FORMS:
        why = "; no library here writes Word files, Word opens the html form" if form == "docx" else ""
        raise StudyError(f"tables cannot be exported as {form!r}: choose {' or '.join(FORMS)}{why}")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, table in tables.items():
        if name in LEFT_OUT or table.is_empty():
            continue
        path = folder / f"{name}{FORMS[form]}"
        path.write_text(_written(name, table, form), encoding="utf-8")
        written.append(path)
    return written


def _written(name: str, table: pl.DataFrame, form: str) -> str:
    filled = [column for column in table.columns if table[column].null_count() < table.height]
    shown = table.select(
        pl.col(column).round_sig_figs(DIGITS) if table.schema[column] == REAL else pl.col(column) for column in filled
    )
    page = GT(shown).tab_header(title=name.replace("_", " ")).sub_missing(missing_text="")
    text = page.as_latex(use_longtable=True) if form == "latex" else page.as_raw_html()
    return str(text)
