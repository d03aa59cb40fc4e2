"""Numbers that follow from the published ones by arithmetic, beside this cohort's; never the paper's statements."""

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from analytics.replication import NO, NOT_COMPUTABLE, YES, Tables, load_published, row_of
from analytics.statistics.tables import tidy

STRATA = ("CR_MRDneg", "CR_MRDpos", "RR")


def _count(tables: Tables, **where: str) -> str:
    table = tables["classification"]
    return str(table.filter(*(pl.col(name) == value for name, value in where.items()))["n"].sum())


def _fraction(tables: Tables, group: str) -> str | None:
    row = row_of(tables["response"], analysis_id="A2", group=group, site="all")
    return None if row is None else f"{row['k']}/{row['n']}"


def _courses(tables: Tables) -> str | None:
    row = row_of(tables["exposure"], variable="delivered days", level="sum")
    return None if row is None else str(row["denominator"])


def _negative(tables: Tables, analysis: str) -> int:
    row = row_of(tables["response"], analysis_id=analysis, site="all")
    return 0 if row is None else int(row["n"])


def _failures(tables: Tables) -> str:
    rows = [row_of(tables["response"], analysis_id="A2", group=g, site="all") for g in ("RR", "MRDpos")]
    return str(sum(row["n"] - row["k"] for row in rows if row))


def _events(tables: Tables, endpoint: str) -> str | None:
    rows = [row_of(tables["survival_at"], endpoint=endpoint, stratum=s, time=365.0) for s in STRATA]
    return "/".join(str(row["events"]) for row in rows if row) if all(rows) else None


DERIVED: dict[str, Callable[[Tables], str | None]] = {
    "DER-KM-NEG": lambda t: _count(t, stratum="CR_MRDneg"),
    "DER-KM-MRD": lambda t: _count(t, stratum="CR_MRDpos"),
    "DER-KM-RR": lambda t: _count(t, stratum="RR"),
    "DER-STATE-NEG": lambda t: _count(t, state="MRDneg"),
    "DER-N-COURSES": _courses,
    "DER-EXTRA": lambda t: str(_negative(t, "A3") - _negative(t, "A3-course1")),
    "DER-CR-RR": lambda t: _fraction(t, "RR"),
    "DER-CR-MRD": lambda t: _fraction(t, "MRDpos"),
    "DER-NONRESP": _failures,
    "DER-DELAY-MRD": lambda t: _count(t, indication="CHEMO_DELAY", state="MRDpos"),
    "DER-RR-MRD": lambda t: _count(t, indication="RR", state="MRDpos"),
    "DER-RR-NEG": lambda t: _count(t, indication="RR", state="MRDneg"),
    "DER-EV-EFS": lambda t: _events(t, "EFS"),
    "DER-EV-OS": lambda t: _events(t, "OS"),
}


def derived_vs_computed(tables: Tables, published: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """The derived numbers in the columns of `published_vs_computed`; the note says "derived" and the arithmetic."""
    content = published if published is not None else load_published()
    rows = []
    for entry in content["derived_by_arithmetic"]:
        read = DERIVED.get(entry["id"])
        computed = read(tables) if read else None
        match = NOT_COMPUTABLE if computed is None else YES if computed == str(entry["value"]) else NO
        rows.append({
            "id": entry["id"], "quantity": entry["quantity"], "unit_of_analysis": entry["unit"],
            "published": str(entry["value"]), "computed": computed, "match": match,
            "note": f"derived, not printed in the paper: {entry['basis']}",
        })  # fmt: skip
    return tidy("published_vs_computed", rows)


def not_stated(published: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """What the abstract does not say: id, unknown."""
    content = published if published is not None else load_published()
    schema = {"id": pl.String, "unknown": pl.String}
    return pl.DataFrame(content["not_stated_in_the_abstract"], schema=schema, orient="row")
