"""The page: sections put into the template, written in one piece."""

import os
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

import polars as pl
from jinja2 import Environment, StrictUndefined

from analytics.report.cohort import COHORT
from analytics.report.definitions import DEFINITIONS
from analytics.report.immune import IMMUNE
from analytics.report.material import Material
from analytics.report.meta import ReportMeta
from analytics.report.models import MODELS
from analytics.report.provenance import PROVENANCE
from analytics.report.quality import QUALITY
from analytics.report.replication import REAL, REPLICATION, SYNTHETIC
from analytics.report.response import RESPONSE
from analytics.report.safety import SAFETY
from analytics.report.sensitivity import SENSITIVITY
from analytics.report.summary import render_summary
from analytics.report.survival import SURVIVAL
from analytics.statistics.tables import CONTAINS_INDIVIDUALS

SECTIONS = (
    COHORT,
    RESPONSE,
    SURVIVAL,
    MODELS,
    IMMUNE,
    SAFETY,
    REPLICATION,
    SENSITIVITY,
    DEFINITIONS,
    QUALITY,
    PROVENANCE,
)
"""The chapters in the order of the page."""

_TOGETHER = "Made from aggregate result tables only; no row of a patient is in this page."
_ALONE = (
    "Made from result tables only. Some figures show single patients or courses, without identifiers and calendar "
    "dates: this page stays in the hospital. A run with a smallest cell count makes a page for sharing without them."
)


def render_report(tables: Mapping[str, pl.DataFrame], meta: ReportMeta) -> str:
    """The report as one HTML document: no script, no request, styles and figures inline.

    `tables` are the tidy statistic tables by name (`analytics.statistics`), and may hold `counters`. A table that is
    absent or empty makes its block say "not computed". The same tables and provenance give the same bytes.
    """
    material = Material(tables, meta)
    summary = render_summary(material)
    chapters = [(section.anchor, section.title, section.render(material)) for section in SECTIONS]
    template = _environment().from_string(_asset("page.html.jinja"))
    return template.render(
        meta=meta,
        statement=SYNTHETIC if meta.synthetic else REAL,
        style=_asset("style.css"),
        summary=summary,
        contents=_ALONE if any(name in tables for name in CONTAINS_INDIVIDUALS) else _TOGETHER,
        chapters=chapters,
    )


def write_report(tables: Mapping[str, pl.DataFrame], meta: ReportMeta, path: Path) -> Path:
    """Writes the report to `path` (folders are made) in one step, so that no half page is seen; gives `path`."""
    html = render_report(tables, meta)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        half.write_text(html, encoding="utf-8")
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
    return path


@cache
def _environment() -> Environment:
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


@cache
def _asset(name: str) -> str:
    return (files("analytics.report") / name).read_text(encoding="utf-8")
