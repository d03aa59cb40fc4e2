"""Which resources a change touches, and which of the others those read.

Three sets of resources (key, type) grow in schema `chg` of the work database: `changed` (what came, unless it says what
was known), `touched` (changed, and what reads from it: to be recomputed), `needed` (touched, and what it reads, so
that the transform sees all that it would see in a whole build). Schema `old` holds what the last run left
(`Store.opened`). Each step may add too much, never too little: what is recomputed in vain comes out the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

import etl.cdm
from etl.sql import quote
from etl.transform.stage import Stage
from etl.transform.transform import number_rules

_SAME_AGAIN = "same content again"

# What each text may mean: full URLs (the transform's pseudo-URL of a resource that came without one included).
_URL = "text_key(site, coalesce(url, CASE WHEN length(id) = 36 THEN 'urn:uuid:' || id END))"

_CHANGED = f"""
CREATE TABLE chg.before AS
    SELECT resource_key AS key, site, resource_type AS type, fhir_id AS id, url, content_hash AS hash, outcome, reason
    FROM old.resource WHERE resource_key IN (SELECT key FROM chg.fresh UNION SELECT key FROM chg.deleted);
CREATE TABLE chg.versions AS
    SELECT resource_no AS n, resource_key AS key, resource_type AS type, {_URL} AS text_key
    FROM (SELECT *, fhir_id AS id FROM old.resource) UNION ALL SELECT n, key, type, {_URL} FROM chg.fresh;
CREATE TABLE chg.new_urls AS
    (SELECT key, type, {_URL} AS text_key FROM chg.fresh) EXCEPT (SELECT key, type, {_URL} FROM chg.before);
CREATE TABLE chg.known AS
    SELECT key, any_value(hash) AS hash FROM chg.before
    WHERE outcome <> 'skipped' OR reason NOT IN ('superseded version', '{_SAME_AGAIN}', 'deleted at the source')
    GROUP BY key;
CREATE TABLE chg.changed AS
    SELECT DISTINCT key, type FROM chg.fresh f
        WHERE NOT EXISTS (SELECT 1 FROM chg.known k WHERE k.key = f.key AND k.hash = f.hash)
    UNION SELECT key, type FROM chg.new_urls WHERE text_key IS NOT NULL
    UNION SELECT key, type FROM chg.fresh WHERE file IN (
        SELECT f.file FROM chg.fresh f JOIN chg.versions v ON v.text_key = text_key(f.site, f.url)
        GROUP BY f.file, f.url HAVING count(DISTINCT v.key) > 1)
    UNION SELECT key, type FROM chg.deleted WHERE key IN (SELECT key FROM chg.before);
CREATE TABLE chg.touched AS FROM chg.changed;
"""

# Texts that mean something else now, and identifiers that came or went.
_MEANINGS = """
CREATE VIEW chg.identifiers AS
    SELECT resource_key AS key, site, resource_type AS type, identifier FROM old.identifier
    UNION ALL SELECT key, site, type, identifier FROM chg.fresh_identifier;
CREATE TABLE chg.turned_texts AS
    SELECT text_key FROM chg.new_urls
    UNION
    SELECT r.text_key FROM old.reference r JOIN (
        (SELECT key, site, identifier FROM chg.fresh_identifier
         EXCEPT SELECT resource_key, site, identifier FROM old.identifier)
        UNION
        (SELECT resource_key, site, identifier FROM old.identifier WHERE resource_key IN (SELECT key FROM chg.changed)
         EXCEPT SELECT key, site, identifier FROM chg.fresh_identifier)
    ) i ON i.site = r.site AND i.identifier = regexp_extract(r.text, '\\?identifier=(.*)$', 1)
    WHERE r.text IS NOT NULL
"""

_READERS = """
    SELECT resource_key, resource_type FROM old.reference
    WHERE to_key IN (SELECT key FROM ({keys})) AND NOT starts_with(element, 'back_')
"""

# What a text in a fresh resource may lead to: by its form, by URL, by identifier.
_MEANT = """
CREATE TABLE chg.meant AS
    SELECT DISTINCT key, type, resource_key(site, reference_type(text), reference_id(text)) AS to_key,
           reference_type(text) AS to_type
    FROM chg.fresh_reference WHERE reference_id(text) IS NOT NULL
    UNION
    SELECT f.key, f.type, v.key, v.type FROM chg.fresh_reference f JOIN chg.versions v USING (text_key)
    UNION
    SELECT f.key, f.type, i.key, i.type FROM chg.fresh_reference f
    JOIN chg.identifiers i ON i.site = f.site AND i.identifier = regexp_extract(f.text, '\\?identifier=(.*)$', 1)
    WHERE contains(f.text, '?identifier=')
"""

_TWINS = """
    SELECT i.key, i.type FROM chg.identifiers i JOIN (
        SELECT DISTINCT i.site, i.type, i.identifier FROM chg.identifiers i
        WHERE i.key IN (SELECT key FROM chg.touched)) same
      ON same.site = i.site AND same.type = i.type AND same.identifier = i.identifier
    WHERE i.type IN ({types})
"""

# Records of one person, whichever hospital they come from: identifiers of these systems link across sites.
_LINKED_RECORDS = """
    SELECT i.key, i.type FROM chg.identifiers i WHERE i.type = 'Patient' AND i.identifier IN (
        SELECT identifier FROM chg.identifiers
        WHERE key IN (SELECT key FROM chg.touched WHERE type = 'Patient')
          AND regexp_replace(identifier, '\\|[^|]*$', '') IN ({systems}))
"""


@dataclass(frozen=True)
class _Roles:
    """Resource types by the part they play in a mapping; the numbers of the rules that bear a last visit's day."""

    followed: str
    referrers: str
    unique: str
    visits: str
    dated_rules: str

    @staticmethod
    def of(stages: Sequence[Stage]) -> "_Roles":
        plans = [stage.plan for stage in stages]
        numbers = number_rules(stages)
        dated = [numbers[stage.table, plan.rule.name]
                 for stage in stages for plan in stage.plan.rules if plan.reads_last_visit]  # fmt: skip
        return _Roles(
            followed=_list(follow.to for plan in plans for follow in plan.follows.values()),
            referrers=_list(one.referrer for plan in plans for one in plan.referrals.values()),
            unique=_list(stage.resource for stage in stages if stage.plan.mapping.unique_by),
            visits=_list(stage.resource for stage in stages
                         if any(one.rule.table == "visit_occurrence" for one in stage.plan.rules)),
            dated_rules=", ".join(map(str, dated)) or "-1",
        )  # fmt: skip


class Touched:
    """The sets of keys of one increment, in schema `chg`."""

    def __init__(
        self, work: duckdb.DuckDBPyConnection, stages: Sequence[Stage], *, link_persons_by: Sequence[str]
    ) -> None:
        self._work = work
        self._roles = _Roles.of(stages)
        twins = [_TWINS.format(types=self._roles.unique)]
        if link_persons_by:
            twins.append(_LINKED_RECORDS.format(systems=_list(link_persons_by)))
        self._twins = " UNION ".join(twins)
        visited = _VISITED.format(visits=self._roles.visits)
        self._dated = _DATED.format(records=_RECORDS.format(keys=visited), rules=self._roles.dated_rules)

    def find_changed(self) -> int:
        """Makes `changed`; gives back how many resources that are."""
        self._work.execute(_CHANGED)
        found = self._work.execute("SELECT count(*) FROM chg.changed").fetchone()
        return int(found[0]) if found else 0

    def find_touched(self) -> None:
        """Completes `touched`: everything whose rows may differ by what is known before the transform.

        Needs `chg.fresh_reference` and `chg.fresh_identifier` of what is changed (`note_meanings`).
        """
        work, roles = self._work, self._roles
        work.execute(f"{_MEANINGS}; {_MEANT}")
        # to what refers to a Patient without a person it matters why there is none
        came_or_went = """SELECT key FROM chg.changed EXCEPT SELECT key FROM chg.known
                          UNION SELECT key FROM chg.deleted
                          UNION SELECT key FROM chg.changed WHERE type = 'Patient'
                            AND key NOT IN (SELECT resource_key FROM old.person_source)"""
        followed = f"SELECT key FROM chg.changed WHERE type IN ({roles.followed})"
        self._touch(
            f"""{_READERS.format(keys=f"{came_or_went} UNION {followed}")}
                UNION SELECT resource_key, resource_type FROM old.reference
                  WHERE text_key IN (SELECT text_key FROM chg.turned_texts)
                UNION SELECT to_key, to_type FROM old.reference
                  WHERE resource_key IN (SELECT key FROM chg.changed) AND to_key IS NOT NULL
                    AND resource_type IN ({roles.referrers}) AND starts_with(element, 'back_')
                UNION SELECT to_key, to_type FROM chg.meant WHERE type IN ({roles.referrers})"""
        )
        self._settle()

    def widen(self) -> int:
        """Adds the readers of what the transform gave another row, person or birth; gives back how many are new."""
        added = self._touch(f"{_READERS.format(keys=_OTHERWISE)} UNION {self._dated}")
        return added + (self._settle() if added else 0)

    def touch_rows(self, table: str, rows: str, rule_ids: Sequence[int]) -> None:
        """Adds the resources from which these rules made rows of a table; `rows` is a relation with the rows.

        Call it before `find_touched`, which adds what hangs on them.
        """
        rules = ", ".join(str(one) for one in rule_ids)
        self._touch(
            f"""SELECT l.resource_key, l.resource_type FROM old.cdm_row r
                JOIN old.lineage_resource l USING (resource_no) JOIN {rows} o ON o.{etl.cdm.ROW_KEYS[table]} = r.row_id
                WHERE r.table_name = {quote(table)} AND r.rule_id IN ({rules})"""
        )

    def numbers(self) -> dict[str, NDArray[np.int64]]:
        """The landed numbers of all versions of what is needed, by resource type."""
        self._find_needed()
        rows = self._work.execute(
            "SELECT type, n FROM chg.versions WHERE key IN (SELECT key FROM chg.needed) ORDER BY ALL"
        ).fetchnumpy()
        kinds, numbers = np.asarray(rows["type"], dtype=object), np.asarray(rows["n"], dtype=np.int64)
        return {str(kind): numbers[kinds == kind] for kind in sorted(set(kinds))}

    def _touch(self, keys: str) -> int:
        """Adds keys to `touched`; gives back how many are new."""
        return self._add("touched", keys)

    def _add(self, name: str, keys: str) -> int:
        """Adds keys to a set, and gives back how many are new; what never came has no version that could be read."""
        added = self._work.execute(
            f"""INSERT INTO chg.{name}
                SELECT DISTINCT k.* FROM ({keys}) k(key, type) ANTI JOIN chg.{name} t ON t.key = k.key"""
        ).fetchone()
        return int(added[0]) if added else 0

    def _settle(self) -> int:
        """Adds what shares a fate with what is touched, until no more is found; gives back how many were added.

        The other records of a Patient, resources with the same business identifier (one of them counts), resources
        that wrote the same row, and Patients with a row that bears the day of the last visit.
        """
        patients = "SELECT key FROM chg.touched WHERE type = 'Patient'"
        total = 0
        while added := self._touch(
            f"{_RECORDS.format(keys=patients)} UNION {self._twins} UNION {_SAME_ROW} UNION {self._dated}"
        ):
            total += added
        return total

    def _find_needed(self) -> None:
        self._work.execute("CREATE OR REPLACE TABLE chg.needed AS FROM chg.touched")
        forward = _FORWARD.format(own="chg.touched", kinds="true")
        visits = _VISITS.format(visits=self._roles.visits)
        self._add("needed", f"{forward} UNION {_REFERRERS} UNION {visits}")
        kinds = (
            f"(r.to_type = r.resource_type OR r.to_type IN ('Patient', {self._roles.followed}) "
            f"OR r.resource_type IN ({self._roles.referrers}))"
        )
        context = _FORWARD.format(own="chg.needed", kinds=kinds)
        while self._add("needed", f"{context} UNION {_RECORDS.format(keys=_NEEDED_PATIENTS)} UNION {_SAME_TEXT}"):
            pass


_NEEDED_PATIENTS = "SELECT key FROM chg.needed WHERE type = 'Patient'"

_RECORDS = """
    SELECT resource_key, 'Patient' FROM old.person_source WHERE person_id IN (
        SELECT person_id FROM old.person_source WHERE resource_key IN ({keys}))
    UNION SELECT unnest([resource_key, to_key]), 'Patient' FROM old.reference
      WHERE resource_type = 'Patient' AND to_type = 'Patient' AND (resource_key IN ({keys}) OR to_key IN ({keys}))
    UNION SELECT unnest([key, to_key]), 'Patient' FROM chg.meant
      WHERE type = 'Patient' AND to_type = 'Patient' AND (key IN ({keys}) OR to_key IN ({keys}))
"""

_FORWARD = """
    SELECT r.to_key, r.to_type FROM old.reference r
    WHERE r.resource_key IN (SELECT key FROM {own}) AND r.to_key IS NOT NULL AND NOT starts_with(r.element, 'back_')
      AND {kinds}
    UNION
    SELECT m.to_key, m.to_type FROM chg.meant m WHERE m.key IN (SELECT key FROM {own})
"""

# Reports that refer to a touched observation: it may take its specimen from them.
_REFERRERS = """
    SELECT resource_key, resource_type FROM old.reference
    WHERE to_key IN (SELECT key FROM chg.touched) AND starts_with(element, 'back_')
"""

# All visits of a touched Patient: one of them is the last.
_VISITS = """
    SELECT resource_key, resource_type FROM old.reference
    WHERE to_type = 'Patient' AND resource_type IN ({visits}) AND to_key IN (SELECT key FROM chg.touched)
    UNION
    SELECT key, type FROM chg.meant
    WHERE to_type = 'Patient' AND type IN ({visits}) AND to_key IN (SELECT key FROM chg.touched)
"""

# The Patients of touched visits: then, by what came, and (after a transform) now.
_VISITED = """
    SELECT to_key FROM (
        SELECT resource_key AS key, to_key, resource_type AS type, to_type FROM old.reference
        UNION ALL SELECT key, to_key, type, to_type FROM chg.meant
        UNION ALL SELECT resource_key, to_key, resource_type, to_type FROM lin.reference)
    WHERE type IN ({visits}) AND to_type = 'Patient' AND key IN (SELECT key FROM chg.touched)
"""

# All records of these persons from which a rule made rows that bear the day of the last visit.
_DATED = """
    SELECT l.resource_key, l.resource_type FROM old.cdm_row c JOIN old.lineage_resource l USING (resource_no)
    WHERE c.rule_id IN ({rules}) AND l.resource_key IN (SELECT key FROM ({records}) p(key, type))
"""

# Deaths have no key of their own: two resources may tell of the same one.
_SAME_ROW = """
    SELECT o.resource_key, o.resource_type FROM old.cdm_row c JOIN old.lineage_resource o USING (resource_no)
    WHERE c.table_name = 'death' AND c.row_id IN (
        SELECT row_id FROM old.cdm_row r JOIN old.lineage_resource l USING (resource_no)
        WHERE r.table_name = 'death' AND l.resource_key IN (SELECT key FROM chg.touched))
"""

# Everything that answers to a text which a needed resource wrote: whether it means one thing only must be seen. Of a
# report that is needed for some of its observations, the texts that may mean those.
_SAME_TEXT = """
    SELECT key, type FROM chg.versions WHERE text_key IN (
        SELECT r.text_key FROM old.reference r
        WHERE r.resource_key IN (SELECT key FROM chg.needed) AND (NOT starts_with(r.element, 'back_')
            OR r.resource_key IN (SELECT key FROM chg.touched)
            OR r.text_key IN (SELECT text_key FROM chg.versions WHERE key IN (SELECT key FROM chg.touched)))
        UNION SELECT text_key FROM chg.fresh_reference)
    UNION
    SELECT i.key, i.type FROM chg.identifiers i JOIN (
        SELECT r.site, regexp_extract(r.text, '\\?identifier=(.*)$', 1) AS identifier FROM old.reference r
        WHERE contains(r.text, '?identifier=') AND r.resource_key IN (SELECT key FROM chg.needed)) t
      ON t.site = i.site AND t.identifier = i.identifier
"""

# Touched resources that mean another row now, patients that are another person, persons born on another day.
_OTHERWISE = """
    WITH mine AS (
        SELECT * FROM old.row_of WHERE resource_key IN (SELECT key FROM chg.touched)
    ), now AS (
        SELECT * FROM lin.row_of WHERE resource_key IN (SELECT key FROM chg.touched)
    ), persons_then AS (
        SELECT s.resource_key, s.person_id, s.canonical, p.year_of_birth, p.month_of_birth, p.day_of_birth
        FROM old.person_source s LEFT JOIN old.person p USING (person_id)
        WHERE s.resource_key IN (SELECT key FROM chg.touched)
    ), persons_now AS (
        SELECT resource_key(s.site, 'Patient', s.fhir_id) AS resource_key,
               s.person_id, s.canonical, p.year_of_birth, p.month_of_birth, p.day_of_birth
        FROM lin.person_source s LEFT JOIN out.person p USING (person_id)
        WHERE resource_key(s.site, 'Patient', s.fhir_id) IN (SELECT key FROM chg.touched)
    )
    SELECT DISTINCT resource_key AS key FROM (
        SELECT resource_key FROM ((FROM mine EXCEPT FROM now) UNION ALL (FROM now EXCEPT FROM mine))
        UNION ALL
        SELECT resource_key FROM ((FROM persons_then EXCEPT FROM persons_now)
                                  UNION ALL (FROM persons_now EXCEPT FROM persons_then)))
"""


def _list(names: Iterable[str]) -> str:
    """Names as an SQL list; a word that no type bears when there is none."""
    return ", ".join(quote(name) for name in sorted(set(names))) or "''"
