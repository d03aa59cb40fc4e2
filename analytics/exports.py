"""Result tables for a manuscript (Word with captions, footnotes and figures, LaTeX, HTML) or to be shared as CSV."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import polars as pl
from great_tables import GT

from analytics.report.meta import ReportMeta
from analytics.report.word import write_word
from analytics.results import schema_of, write_results
from analytics.statistics.tables import CONTAINS_INDIVIDUALS, REAL, SCHEMAS
from analytics.suppression import suppress
from etl.errors import StudyError

FORMS = {"latex": ".tex", "html": ".html", "docx": ".docx", "csv": ".csv"}
LEFT_OUT = ("survival_curves", "overall_curves", "cumulative_incidence", "settings", *CONTAINS_INDIVIDUALS)
"""Curves are figures; settings hold patterns that no manuscript prints; rows of single persons stay in the hospital."""
DIGITS = 4
_PREFIX = "synthetic_"


def read_tables(folder: Path) -> dict[str, pl.DataFrame]:
    """The result tables that `write_results` left in a folder, by name. Raises StudyError when there are none."""
    found = {}
    for name in (*SCHEMAS, "derived_vs_computed"):
        for path in (folder / f"{name}.parquet", folder / f"{_PREFIX}{name}.parquet"):
            if path.is_file():
                found[name] = pl.read_parquet(path)
                if missing := [column for column in schema_of(name) if column not in found[name].columns]:
                    raise StudyError(f"{path}: made by another version, columns missing: {', '.join(missing)}")
    if not found:
        raise StudyError(f"{folder}: holds no result tables")
    return found


def read_meta(folder: Path) -> ReportMeta:
    """What `results.json` of the folder says about the run; a folder without it is taken for real patients."""
    for path in (folder / "results.json", folder / f"{_PREFIX}results.json"):
        if path.is_file():
            said = json.loads(path.read_bytes())
            return ReportMeta(
                synthetic=bool(said["synthetic"]), cdm_name=str(said["cdm_name"]), software=f"blina {version('blina')}",
                param_hash=str(said["param_hash"] or ""),
            )  # fmt: skip
    return ReportMeta(synthetic=False)


def export_tables(
    tables: Mapping[str, pl.DataFrame],
    folder: Path,
    form: str = "latex",
    *,
    meta: ReportMeta | None = None,
    min_cell_count: int = 0,
) -> list[Path]:
    """Writes one file per table that is not empty (`LEFT_OUT` excepted), or with form docx one document.

    Form csv is what a hospital shares: text files only, curves and settings included, as `write_results` writes them,
    with the definitions (`settings.csv`) and their hash, the release's minimum and all estimates in one long table.
    Counts below `min_cell_count` are suppressed first. In latex and html columns without any value are dropped and
    numbers have four significant digits. Of synthetic patients every file name and title says so. Gives back the paths.
    Raises StudyError for another form.
    """
    if form not in FORMS:
        raise StudyError(f"tables cannot be exported as {form!r}: choose {', '.join(FORMS)}")
    about = meta or ReportMeta(synthetic=False)
    released = suppress(tables, min_cell_count)
    prefix = _PREFIX if about.synthetic else ""
    folder.mkdir(parents=True, exist_ok=True)
    if form == "csv":
        shared = {name: table for name, table in released.items() if name not in CONTAINS_INDIVIDUALS}
        name, minimum = about.cdm_name, min_cell_count
        return write_results(
            shared, folder, cdm_name=name, min_cell_count=minimum, synthetic=about.synthetic, parquet=False
        )
    if form == "docx":
        return [write_word(released, about, folder / f"{prefix}study.docx", min_cell_count=min_cell_count)]
    written = []
    for name, table in released.items():
        if name in LEFT_OUT or table.is_empty():
            continue
        path = folder / f"{prefix}{name}{FORMS[form]}"
        path.write_text(_written(f"{prefix}{name}", table, form), encoding="utf-8")
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
