"""What hangs together: the references, identifiers and rows by which a later change finds what it touches.

Kept in the lineage, so that a nightly increment recomputes only what a change can alter (`etl.increment`).
"""

from collections.abc import Sequence

import duckdb

from etl.sql import quote
from etl.transform.stage import Stage

PATIENT_LINK = "link"
"""The element under which a link between two Patients stands in `lineage.reference`."""


def note_references(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage]) -> None:
    """Fills `lin.reference` from the stage tables of a finished transform.

    Only of the newest version of each resource: of the others nothing is ever written.
    """
    references = [part for stage in stages for part in _references(stage)]
    if references:
        work.execute(f"INSERT INTO lin.reference {' UNION ALL '.join(references)}")


def note_identities(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage]) -> None:
    """Fills `lin.identifier` and `lin.row_of`: by what else a resource is known, and which row it means."""
    identifiers = [
        f"SELECT {_own(stage)}, site, {quote(stage.resource)}, unnest(ids) FROM {stage.read} WHERE newest"
        for stage in stages
        if "ids" in stage.plan.expressions
    ]
    if identifiers:
        work.execute(f"INSERT INTO lin.identifier {' UNION ALL '.join(identifiers)}")
    work.execute("INSERT INTO lin.row_of SELECT table_name, key, row_id FROM stage.ids")


def _own(stage: Stage) -> str:
    """SQL of a resource's own key."""
    return f"resource_key(site, {quote(stage.resource)}, id)"


def _references(stage: Stage) -> list[str]:
    """SELECTs of what a type refers to: where to, and by which text."""
    found = []
    single = []
    for one in stage.plan.references.values():
        kind, key, text = f'"rt_{one.name}"', f'"rk_{one.name}"', f'"{one.column}"'
        if one.name in stage.plan.referrals:
            said, told = f"{key} IS NOT NULL", "'text_key': NULL, 'text': NULL"
        else:
            said = f"NOT starts_with({text}, '#')"  # contained: part of itself
            text_key, kept = _told(text, key)
            told = f"'text_key': {text_key}, 'text': {kept}"
        single.append(
            f"CASE WHEN {said} THEN {{'element': {quote(one.name)}, 'type': {kind}, 'key': {key}, {told}}} END"
        )
    if single:  # in one pass: a SELECT for each reference would join the two tables of the type as often
        found.append(
            f"SELECT n, site, {quote(stage.resource)}, own, one.element, one.type, one.key, one.text_key, one.text "
            f"FROM (SELECT n, site, {_own(stage)} AS own, unnest([{', '.join(single)}]) AS one FROM {stage.table} "
            "WHERE newest) WHERE one IS NOT NULL"
        )
    for name in stage.plan.expressions:
        if name.startswith("back_"):
            found.append(_many(stage, name, f'"{name}"'))
    if stage.resource == "Patient":
        found.append(_many(stage, PATIENT_LINK, "patient_links"))
    return found


def _many(stage: Stage, element: str, texts: str) -> str:
    """A SELECT of a list of reference texts; the resource that a full URL means is looked up."""
    text_key, kept = _told("t", "key")
    return (
        f"SELECT n, site, {quote(stage.resource)}, own, {quote(element)}, type, key, {text_key}, {kept} FROM ("
        "SELECT s.*, coalesce(reference_type(t), u.type) AS type, "
        "resource_key(s.site, coalesce(reference_type(t), u.type), coalesce(reference_id(t), u.id)) AS key "
        f"FROM (SELECT n, site, {_own(stage)} AS own, unnest({texts}) AS t FROM {stage.read} WHERE newest) s "
        "LEFT JOIN stage.urls u ON u.site = s.site AND u.url = t)"
    )


def _told(text: str, key: str) -> tuple[str, str]:
    """SQL of the key of a reference's text; and of the text itself where that is needed: nothing answers to it yet, or
    it names an identifier.
    """
    return f"text_key(site, {text})", f"CASE WHEN {key} IS NULL OR contains({text}, '?identifier=') THEN {text} END"
