"""quality.json and the quality page, written from the result frame alone: counts and names, nothing of a patient.

The page is one HTML file without any request: style and script stand inside, allowed by their hashes in a
Content-Security-Policy; every text is escaped.
"""

import base64
import hashlib
import importlib.metadata
import json
import platform
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from markupsafe import Markup

from etl.quality.catalogue import DQD_VERSION
from etl.quality.status import Score
from etl.quality.verdict import Verdict

_PACKAGES = ("blina", "duckdb", "polars", "great-expectations")
_STATUS_WORDS = {"failed": "failed", "error": "error", "passed": "passed", "not_applicable": "not applicable"}
_STATUS_ORDER = {"failed": 0, "error": 1, "passed": 2, "not_applicable": 3}
_SEVERITY_ORDER = {"fatal": 0, "convention": 1, "characterization": 2}


def write_reports(
    frame: pl.DataFrame,
    verdict: Verdict,
    json_path: Path,
    html_path: Path,
    title: str,
    *,
    made_at: datetime | None = None,
) -> None:
    """Write quality.json and the HTML page. Folders are made; existing files are replaced."""
    moment = made_at or datetime.now(tz=UTC)
    for path in (json_path, html_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    content = as_json(frame, verdict, title, moment)
    json_path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    html_path.write_text(as_html(frame, verdict, title, moment), encoding="utf-8")


def as_json(frame: pl.DataFrame, verdict: Verdict, title: str, moment: datetime) -> dict[str, Any]:
    """The content of quality.json: summary, environment, expectations, every check."""
    return {
        "title": title,
        "run_id": _run_id(frame),
        "made_at": moment.isoformat(timespec="seconds"),
        "gate": {"ok": verdict.gate_ok, "refused": list(verdict.refused)},
        "summary": {
            "all": _score(verdict.overall),
            "cdm": _score(verdict.cdm),
            "study": _score(verdict.study),
            "failed": list(verdict.failed),
            "errors": list(verdict.errors),
        },
        "environment": environment(),
        "expectations": [vars(expectation) for expectation in verdict.expectations],
        "words": {
            row["check_name"]: {"meaning": row["meaning"], "advice": row["advice"]}
            for row in frame.unique("check_name", maintain_order=True).to_dicts()
        },
        "checks": frame.drop("run_id", "meaning", "advice").to_dicts(),
    }


def as_html(frame: pl.DataFrame, verdict: Verdict, title: str, moment: datetime) -> str:
    """The quality page as one self-contained HTML text."""
    loader = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    loader.filters.update(count=_count, percent=_percent, place=_place)
    style, script = _part("page.css"), _part("page.js")
    rows = _ordered(frame)
    return loader.from_string(_part("page.html")).render(
        title=title,
        run_id=_run_id(frame),
        made_at=moment.strftime("%Y-%m-%d %H:%M %Z"),
        verdict=verdict,
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704 - our own file, not input
        script=Markup(script),  # noqa: S704 - our own file, not input
        problems=_problem_groups(rows),
        study=[row for row in rows if row["level"] == "STUDY"],
        matrix=_matrix(frame),
        rows=rows,
        tables=sorted(frame["table"].unique().to_list()),
        status_words=_STATUS_WORDS,
        environment=environment(),
    )


def environment() -> dict[str, str]:
    """The versions that produced the results."""
    versions = {"python": platform.python_version(), "checks": f"DQD {DQD_VERSION}, table and field level"}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed as a package"
    return versions


def _score(score: Score) -> dict[str, Any]:
    return {**vars(score), "headline_percent": score.headline, "corrected_percent": score.corrected}


def _run_id(frame: pl.DataFrame) -> str:
    return str(frame["run_id"][0]) if frame.height else ""


def _ordered(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Failed first, then errors; within these by severity and by share of violations."""
    return sorted(
        frame.to_dicts(),
        key=lambda row: (
            _STATUS_ORDER[row["status"]],
            _SEVERITY_ORDER[row["severity"]],
            -(row["percent"] or 0.0),
            row["check_id"],
        ),
    )


def _problem_groups(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Failed checks and errors, one group per check type with its words; gating groups first."""
    groups: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["status"] in {"failed", "error"}:
            first = {key: row[key] for key in ("check_name", "meaning", "advice", "severity", "gate", "level")}
            groups.setdefault(row["check_name"], {**first, "rows": []})["rows"].append(row)
    return sorted(groups.values(), key=lambda group: (not group["gate"], _SEVERITY_ORDER[group["severity"]]))


def _matrix(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Counts of statuses by category."""
    counts = frame.group_by("category").agg(
        *((pl.col("status") == status).sum().alias(status) for status in _STATUS_WORDS), pl.len().alias("total")
    )
    return counts.sort("category").to_dicts()


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _part(name: str) -> str:
    return files("etl.quality").joinpath("page", name).read_text(encoding="utf-8")


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def _percent(number: float | None) -> str:
    """A percentage that never rounds a violation away nor a lack of one in."""
    if number is None:
        return "–"
    if 0 < number < 0.01:
        return "< 0.01"
    if 99.99 < number < 100:
        return "> 99.99"
    return f"{number:.2f}".rstrip("0").rstrip(".")


def _place(row: dict[str, Any]) -> Markup:
    """Table and column, with places where a narrow screen may break the line."""
    name = f"{row['table']}.{row['field']}" if row["field"] else str(row["table"])
    return Markup("").join(  # every part is escaped by join
        part if part == "" else Markup("{}<wbr>").format(part) for part in re.findall(r"[^._]*[._]?", name)
    )
