"""What hangs together: the references, identifiers and rows by which a later change finds what it touches.

Kept in the lineage, so that a nightly increment recomputes only what a change can alter (`etl.increment`).
"""

from collections.abc import Sequence

import duckdb

from etl.sql import quote
from etl.transform.stage import Stage

PATIENT_LINK = "link"
"""The element under which a link between two Patients stands in `lineage.reference`."""


def note_links(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage]) -> None:
    """Fills `lin.reference`, `lin.identifier` and `lin.row_of` from the stage tables of a finished transform.

    Only of the newest version of each resource: of the others nothing is ever written.
    """
    references = [part for stage in stages for part in _references(stage)]
    if references:
        work.execute(f"INSERT INTO lin.reference {' UNION ALL '.join(references)}")
    identifiers = [
        f"SELECT site, {quote(stage.resource)}, id, unnest(ids) FROM {stage.read} WHERE newest"
        for stage in stages
        if "ids" in stage.plan.expressions
    ]
    if identifiers:
        work.execute(f"INSERT INTO lin.identifier {' UNION ALL '.join(identifiers)}")
    work.execute("INSERT INTO lin.row_of SELECT table_name, site, type, id, row_id FROM stage.ids")


def _references(stage: Stage) -> list[str]:
    """SELECTs of what a type refers to: where to, and the text where it is no plain "Type/id"."""
    found = []
    single = []
    for one in stage.plan.references.values():
        to, text = (f'"rt_{one.name}"', f'"ri_{one.name}"'), f'"{one.column}"'
        if one.name in stage.plan.referrals:
            said, told = f'"ri_{one.name}" IS NOT NULL', "NULL"
        else:
            said = f"NOT starts_with({text}, '#')"  # contained: part of itself
            told = _unless_plain(text, *to)
        parts = f"'element': {quote(one.name)}, 'type': {to[0]}, 'id': {to[1]}, 'text': {told}"
        single.append(f"CASE WHEN {said} THEN {{{parts}}} END")
    if single:  # in one pass: a SELECT for each reference would join the two tables of the type as often
        found.append(
            f"SELECT n, site, {quote(stage.resource)}, id, one.element, one.type, one.id, one.text "
            f"FROM (SELECT n, site, id, unnest([{', '.join(single)}]) AS one FROM {stage.table} WHERE newest) "
            "WHERE one IS NOT NULL"
        )
    for name in stage.plan.expressions:
        if name.startswith("back_"):
            found.append(_many(stage, name, f'"{name}"'))
    if stage.resource == "Patient":
        found.append(_many(stage, PATIENT_LINK, "patient_links"))
    return found


def _many(stage: Stage, element: str, texts: str) -> str:
    """A SELECT of a list of reference texts; the resource that a full URL means is looked up."""
    return (
        f"SELECT s.n, s.site, {quote(stage.resource)}, s.id, {quote(element)}, coalesce(reference_type(t), u.type), "
        f"coalesce(reference_id(t), u.id), {_unless_plain('t', 'reference_type(t)', 'reference_id(t)')} "
        f"FROM (SELECT n, site, id, unnest({texts}) AS t FROM {stage.read} WHERE newest) s "
        "LEFT JOIN stage.urls u ON u.site = s.site AND u.url = t"
    )


def _unless_plain(text: str, kind: str, one: str) -> str:
    """SQL of a reference's text, NULL where it ends in the "Type/id" that it means."""
    return f"CASE WHEN ends_with({text}, {kind} || '/' || {one}) THEN NULL ELSE {text} END"
