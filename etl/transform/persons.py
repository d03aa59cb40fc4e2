"""Which Patients are one person: Patient.link, and the identifier systems that the settings name.

Never by name or birth date. The canonical record is the one that no other replaces, with the shortest, then smallest
id, so that it does not depend on the order of arrival (REALITIES R42).
"""

from collections.abc import Sequence

import duckdb
import polars as pl

from etl.sql import quote
from etl.store import insert_frame
from etl.transform.stage import Stage


def map_persons(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage], link_systems: Sequence[str]) -> None:
    """Fills `stage.person_map` (site, id, key, person_id, canonical) and `lin.person_source`.

    Patients that a rule skips or the source deleted stand in the map without a person (`left_out`): what refers to them
    is skipped, too.
    Stage tables of Patient must have `patient_links` (reference texts), `patient_replaced` and `ids` (identifiers).
    """
    work.execute(
        "CREATE TABLE stage.person_map (site VARCHAR, id VARCHAR, canonical_site VARCHAR, canonical_id VARCHAR, "
        "person_id BIGINT, canonical BOOLEAN, left_out BOOLEAN, "
        "key BIGINT GENERATED ALWAYS AS (resource_key(site, 'Patient', id)))"
    )
    if not stages:
        return
    union = " UNION ALL ".join(
        f"SELECT site, id, patient_links, patient_replaced, ids FROM {stage.read} WHERE fate IS NULL"
        for stage in stages
    )
    work.execute(f"CREATE TEMP TABLE patients AS {union}")
    groups = _groups(work, link_systems)
    if groups.height:
        insert_frame(work, "stage.person_map", groups)
    work.execute(
        """INSERT INTO stage.person_map (site, id, canonical_site, canonical_id)
           SELECT DISTINCT site, id, site, id FROM patients p
           WHERE NOT EXISTS (SELECT 1 FROM stage.person_map m WHERE m.site = p.site AND m.id = p.id)"""
    )
    work.execute(
        """UPDATE stage.person_map SET canonical = (site = canonical_site AND id = canonical_id),
             person_id = row_key(canonical_site, 'Patient', canonical_id, 'person', '')"""
    )
    work.execute("INSERT INTO lin.person_source SELECT person_id, site, id, canonical FROM stage.person_map")
    left_out = " UNION ALL ".join(
        f"SELECT site, id, true FROM {stage.read} WHERE newest AND starts_with(fate, 'skipped|')" for stage in stages
    )
    work.execute(f"INSERT INTO stage.person_map (site, id, left_out) {left_out}")
    work.execute("DROP TABLE patients")


def _groups(work: duckdb.DuckDBPyConnection, link_systems: Sequence[str]) -> pl.DataFrame:
    """The patients that share a person with another one, with the canonical record of each group."""
    edges = work.execute(
        """SELECT a.site AS site_a, a.id AS id_a, a.site AS site_b, reference_id(a.link) AS id_b
             FROM (SELECT site, id, unnest(patient_links) AS link FROM patients) a
             WHERE reference_id(a.link) IS NOT NULL
           UNION
           SELECT l.site, l.id, u.site, u.id
             FROM (SELECT site, id, unnest(patient_links) AS link FROM patients) l
             JOIN stage.urls u ON u.site = l.site AND u.url = l.link AND u.type = 'Patient'"""
    ).fetchall()
    if link_systems:
        systems = ", ".join(quote(system) for system in link_systems)
        edges += work.execute(
            f"""WITH named AS (SELECT site, id, unnest(ids) AS identifier FROM patients),
                    shared AS (SELECT site, id, identifier FROM named
                               WHERE list_has_any([regexp_replace(identifier, '\\|[^|]*$', '')], [{systems}])),
                    first AS (SELECT identifier, min((site, id)) AS one FROM shared
                              GROUP BY identifier HAVING count(*) > 1)
               SELECT f.one[1], f.one[2], s.site, s.id FROM shared s JOIN first f USING (identifier)"""
        ).fetchall()
    known = {(site, one): bool(replaced) for site, one, replaced in
             work.execute("SELECT site, id, patient_replaced FROM patients").fetchall()}  # fmt: skip
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(one: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(one, one) != one:
            one = parent[one]
        return one

    for site_a, id_a, site_b, id_b in edges:
        if (site_a, id_a) in known and (site_b, id_b) in known:
            parent[root((site_a, id_a))] = root((site_b, id_b))
    members: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for one in list(parent):
        members.setdefault(root(one), []).append(one)
    rows = []
    for group in members.values():
        canonical = min(group, key=lambda one: (known[one], len(one[1]), one[1], one[0]))
        rows += [(site, one, *canonical) for site, one in group]
    return pl.DataFrame(rows, schema=["site", "id", "canonical_site", "canonical_id"], orient="row")
