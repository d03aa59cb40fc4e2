"""References between resources: full URLs, relative and absolute ones, conditional and logical ones, in any file order.

A reference becomes the type and the key of a resource of its site; whether that resource has a row is asked when a row
is written (`stage.ids`). What cannot be resolved stays NULL and is counted.
"""

from collections.abc import Sequence

import duckdb

from etl.sql import quote
from etl.transform.plan import Reference
from etl.transform.stage import Stage


def index_targets(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage]) -> None:
    """Fills `stage.urls`, `stage.bundle_urls` (URLs that mean different things in different Bundles) and
    `stage.identifiers`, from all stage tables."""
    urls = " UNION ALL ".join(
        f"SELECT n, site, bundle, url, {quote(stage.resource)} AS type, id FROM {stage.read} WHERE url IS NOT NULL "
        f"UNION ALL SELECT n, site, bundle, 'urn:uuid:' || id, {quote(stage.resource)}, id FROM {stage.read} "
        "WHERE url IS NULL AND length(id) = 36"
        for stage in stages
    )
    nobody = "SELECT 0::BIGINT AS n, '' AS site, 0::BIGINT AS bundle, '' AS url, '' AS type, '' AS id WHERE false"
    # Grouped by numbers, and the texts fetched by the number of one that has them: groups of texts take several times
    # the memory, which is what is short where there are millions of resources.
    meant = "min(n) AS n, min(key) = max(key) AS one"
    keyed = f"SELECT *, resource_key(site, type, id) AS key FROM ({urls or nobody})"
    work.execute(
        f"CREATE TABLE stage.urls AS SELECT u.site, u.url, u.type, u.id, g.one FROM ({urls or nobody}) u "
        f"JOIN (SELECT {meant} FROM ({keyed}) GROUP BY text_key(site, url)) g ON g.n = u.n"
    )
    torn = work.execute("SELECT count(*) FROM stage.urls WHERE NOT one").fetchone() != (0,)
    several = f"({keyed if torn else nobody}) SEMI JOIN (FROM stage.urls WHERE NOT one) USING (site, url)"
    work.execute(
        f"""CREATE TABLE stage.bundle_urls AS SELECT site, bundle, url, any_value(type) AS type, any_value(id) AS id
            FROM {several} GROUP BY site, bundle, url HAVING {"min(key) = max(key)" if torn else "false"};
            DELETE FROM stage.urls WHERE NOT one"""
    )
    identifiers = " UNION ALL ".join(
        f"SELECT site, {quote(stage.resource)} AS type, unnest(ids) AS identifier, id FROM {stage.read} WHERE newest"
        for stage in stages
        if "ids" in stage.plan.expressions
    )
    nothing = "SELECT '' AS site, '' AS type, '' AS identifier, '' AS id WHERE false"
    work.execute(
        "CREATE TABLE stage.identifiers AS SELECT site, type, identifier, min(id) AS id FROM "
        f"({identifiers or nothing}) "
        "GROUP BY site, type, identifier HAVING count(DISTINCT id) = 1"
    )
    work.execute("CREATE TABLE stage.ids (table_name VARCHAR, key BIGINT, row_id BIGINT)")


def resolve_references(work: duckdb.DuckDBPyConnection, stage: Stage, stages: Sequence[Stage]) -> None:
    """Makes the keys of a type and the view that joins them to what was read; `read_references` was called before.

    Columns: `rt_<name>`, `rk_<name>` (type and key) per reference, `ri_<name>` (id) where it may point to the type
    itself, `k_<name>` (person_id) where it points to a Patient, and `outcome`, which is NULL for resources that go on.
    """
    plan = stage.plan
    read = [name for name in plan.expressions if name.startswith(("f_", "r_"))]
    columns, joins = [f's."{name}"' for name in ("n", "site", "id", "zone", "fate", *read)], []
    for number, reference in enumerate(plan.references.values()):
        name = reference.name
        if name in plan.referrals:
            joins.append(_referral(work, stage, stages, number))
        else:
            text = f's."{reference.column}"'
            joins.append(f"LEFT JOIN stage.reference_texts m{number} ON m{number}.k = hash(s.site, s.bundle, {text})")
        columns += [f'm{number}.{read} AS "{column}"' for column, read in _found(stage, reference).items()]
    resolved = f"(SELECT {', '.join(columns)} FROM {stage.read} s {' '.join(joins)})"
    persons, person_joins = _persons(stage)
    found = "".join(f', s."{column}"' for one in plan.references.values() for column in _found(stage, one))
    work.execute(
        f"CREATE TABLE {stage.keys} AS SELECT s.n{found}{''.join(', ' + column for column in persons)} "
        f"FROM {resolved} s {' '.join(person_joins)}"
    )
    work.execute(
        f"CREATE VIEW {stage.table} AS SELECT r.*, v.* EXCLUDE (n) FROM {stage.read} r JOIN {stage.keys} v USING (n)"
    )


def _found(stage: Stage, reference: Reference) -> dict[str, str]:
    """What a type's keys say of a reference, by column: type, key, and the id where the type refers to itself."""
    columns = {f"rt_{reference.name}": "type", f"rk_{reference.name}": "key"}
    return columns | ({f"ri_{reference.name}": "id"} if stage.resource in reference.to else {})


def read_references(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage]) -> None:
    """`stage.reference_texts`: type, id and key of each distinct text; URNs, other URLs and conditional ones looked up.

    Its key is a hash of site, Bundle and text: each type joins the table once for each of its references.
    """
    texts = []
    for stage in stages:
        direct = [one for one in stage.plan.references.values() if one.name not in stage.plan.referrals]
        if direct:
            columns = ", ".join(f'"{one.column}"' for one in direct)
            texts.append(f"SELECT site, bundle, unnest([{columns}]) AS reference FROM {stage.read}")
    nothing = "SELECT NULL::VARCHAR AS site, NULL::BIGINT AS bundle, NULL::VARCHAR AS reference WHERE false"
    work.execute(
        f"""CREATE OR REPLACE TABLE stage.reference_texts AS
            WITH parsed AS (
              SELECT site, bundle, reference, reference_type(reference) AS type, reference_id(reference) AS id
              FROM (SELECT DISTINCT site, bundle, reference FROM ({" UNION ALL ".join(texts) or nothing})
                    WHERE reference IS NOT NULL)),
            odd AS (
              SELECT o.site, o.bundle, o.reference, coalesce(b.type, u.type, i.type) AS type,
                     coalesce(b.id, u.id, i.id) AS id
              FROM parsed o
              LEFT JOIN stage.bundle_urls b ON b.site = o.site AND b.bundle = o.bundle AND b.url = o.reference
              LEFT JOIN stage.urls u ON u.site = o.site AND u.url = o.reference
              LEFT JOIN stage.identifiers i ON i.site = o.site
                AND i.type = regexp_extract(o.reference, '^([A-Za-z]+)\\?identifier=', 1)
                AND i.identifier = regexp_extract(o.reference, '\\?identifier=(.*)$', 1)
              WHERE o.id IS NULL)
            SELECT hash(site, bundle, reference) AS k, type, id, resource_key(site, type, id) AS key
            FROM (SELECT * FROM parsed WHERE id IS NOT NULL UNION ALL SELECT * FROM odd WHERE type IS NOT NULL)"""
    )


def _referral(work: duckdb.DuckDBPyConnection, stage: Stage, stages: Sequence[Stage], number: int) -> str:
    """The join for a reference that is taken from a resource pointing here (DiagnosticReport.result → specimen)."""
    name = list(stage.plan.references)[number]
    referral = stage.plan.referrals[name]
    parts = " UNION ALL ".join(
        f'SELECT site, unnest("back_{referral.element}") AS pointing, "taken_{name}" AS taken '
        f"FROM {other.read} WHERE newest"
        for other in stages
        if other.resource == referral.referrer
    )
    nothing = "SELECT NULL::VARCHAR AS site, NULL::VARCHAR AS pointing, NULL::VARCHAR AS taken WHERE false"
    work.execute(
        f"""CREATE OR REPLACE TEMP TABLE referral_{number} AS
            SELECT *, resource_key(site, type, id) AS key FROM (
            SELECT p.site, coalesce(reference_id(p.pointing), u.id) AS here,
                   min(coalesce(reference_type(p.taken), t.type)) AS type,
                   min(coalesce(reference_id(p.taken), t.id)) AS id
            FROM ({parts or nothing}) p
            LEFT JOIN stage.urls u ON u.site = p.site AND u.url = p.pointing
            LEFT JOIN stage.urls t ON t.site = p.site AND t.url = p.taken
            WHERE p.taken IS NOT NULL GROUP BY ALL HAVING count(DISTINCT p.taken) = 1)"""
    )
    return f"LEFT JOIN referral_{number} m{number} ON m{number}.site = s.site AND m{number}.here = s.id"


def _persons(stage: Stage) -> tuple[list[str], list[str]]:
    """Columns and joins: persons of the references to Patient, and the outcome of resources without what they need."""
    plan = stage.plan
    persons = [one for one in plan.references.values() if one.to == ("Patient",)]
    columns = [f'p{number}.person_id AS "k_{one.name}"' for number, one in enumerate(persons)]
    joins = [
        f'LEFT JOIN stage.person_map p{number} ON p{number}.key = s."rk_{one.name}"'
        for number, one in enumerate(persons)
    ]
    checks = [f"({plan.missing})"] + [
        f"CASE WHEN s.\"r_{one.name}\" IS NULL THEN 'rejected|missing {one.name}' "
        f"WHEN p{number}.left_out THEN 'skipped|person is left out' "
        f"WHEN p{number}.person_id IS NULL THEN 'rejected|{one.name} not found' END"
        for number, one in enumerate(persons)
        if one.required
    ]
    if stage.resource == "Patient":
        columns.append("own.person_id AS k_person")
        joins.append("LEFT JOIN stage.person_map own ON own.key = resource_key(s.site, 'Patient', s.id)")
        checks.append("CASE WHEN NOT own.canonical THEN 'skipped|linked to another record of the person' END")
    columns.append(f"coalesce(s.fate, {', '.join(checks)})::VARCHAR AS outcome")
    return columns, joins


def levels(stages: Sequence[Stage]) -> list[list[Stage]]:
    """The types in levels: those that others refer to come in an earlier one. Of types that refer to each other, the
    first in alphabetical order has a level of its own.

    Nobody waits for Patient, whose keys are known from `stage.person_map`; what bears the day of the last visit waits
    for the types that write visits.
    """
    kinds = {stage.resource for stage in stages}
    visits = {one.resource for one in stages if any(p.rule.table == "visit_occurrence" for p in one.plan.rules)}
    waits: dict[str, set[str]] = {kind: set() for kind in kinds}
    for stage in stages:
        targets = {to for reference in stage.plan.references.values() for to in reference.to}
        if any(plan.reads_last_visit for plan in stage.plan.rules):
            targets |= visits
        waits[stage.resource] |= (targets & kinds) - {stage.resource, "Patient"}
    found: list[list[Stage]] = []
    done: set[str] = set()
    while len(done) < len(waits):
        ready = sorted(kind for kind in waits if kind not in done and waits[kind] <= done)
        ready = ready or sorted(kind for kind in waits if kind not in done)[:1]
        found.append([stage for kind in ready for stage in stages if stage.resource == kind])
        done |= set(ready)
    return found
