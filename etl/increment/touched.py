"""Which resources a change touches, and which of the others those read.

Three sets of keys (site, type, id) grow in schema `chg` of the work database: `changed` (what came, unless it says what
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
_URLS = """
    SELECT site, coalesce(url, 'urn:uuid:' || id) AS url, type, id FROM {source}
    WHERE url IS NOT NULL OR length(id) = 36
"""

# Views where everything received is meant: it is long, and each step looks for few of its keys.
_CHANGED = f"""
CREATE TABLE chg.before AS
    SELECT o.site, o.resource_type AS type, o.fhir_id AS id, o.url, o.content_hash AS hash, o.outcome, o.reason
    FROM old.resource o SEMI JOIN (SELECT site, type, id FROM chg.fresh UNION SELECT site, type, id FROM chg.deleted) k
      ON k.site = o.site AND k.type = o.resource_type AND k.id = o.fhir_id;
CREATE VIEW chg.versions AS
    SELECT n, site, type, id, url FROM chg.fresh
    UNION ALL SELECT resource_no, site, resource_type, fhir_id, url FROM old.resource;
CREATE VIEW chg.urls AS {_URLS.format(source="chg.versions")};
CREATE TABLE chg.new_urls AS
    ({_URLS.format(source="chg.fresh")}) EXCEPT ({_URLS.format(source="chg.before")});
CREATE TABLE chg.known AS
    SELECT site, type, id, any_value(hash) AS hash FROM chg.before
    WHERE outcome <> 'skipped' OR reason NOT IN ('superseded version', '{_SAME_AGAIN}', 'deleted at the source')
    GROUP BY ALL;
CREATE TABLE chg.changed AS
    SELECT DISTINCT site, type, id FROM chg.fresh f WHERE NOT EXISTS (
        SELECT 1 FROM chg.known k WHERE k.site = f.site AND k.type = f.type AND k.id = f.id AND k.hash = f.hash)
    UNION SELECT site, type, id FROM chg.new_urls
    UNION SELECT site, type, id FROM chg.fresh WHERE file IN (
        SELECT f.file FROM chg.fresh f JOIN chg.urls u ON u.site = f.site AND u.url = f.url
        GROUP BY f.file, f.url HAVING count(DISTINCT (u.type, u.id)) > 1)
    UNION SELECT site, type, id FROM chg.deleted
        SEMI JOIN chg.before b ON b.site = deleted.site AND b.type = deleted.type AND b.id = deleted.id;
CREATE TABLE chg.touched AS FROM chg.changed;
"""

# Texts that mean something else now, and identifiers that came or went.
_MEANINGS = """
CREATE TABLE chg.turned_texts AS
    SELECT site, url AS text FROM chg.new_urls
    UNION
    SELECT r.site, r.text FROM old.reference r JOIN (
        (SELECT site, type, id, identifier FROM chg.fresh_identifier
         EXCEPT SELECT site, resource_type, fhir_id, identifier FROM old.identifier)
        UNION
        (SELECT o.site, o.resource_type, o.fhir_id, o.identifier FROM old.identifier o
         JOIN chg.changed c ON c.site = o.site AND c.type = o.resource_type AND c.id = o.fhir_id
         EXCEPT SELECT site, type, id, identifier FROM chg.fresh_identifier)
    ) i ON i.site = r.site AND i.identifier = regexp_extract(r.text, '\\?identifier=(.*)$', 1)
    WHERE r.text IS NOT NULL
"""

_READERS = """
    SELECT r.site, r.resource_type, r.fhir_id FROM old.reference r
    JOIN ({keys}) k ON k.site = r.site AND k.type = r.to_type AND k.id = r.to_id
    WHERE r.element NOT LIKE 'back\\_%' ESCAPE '\\'
"""

# What a text in a fresh resource may lead to: by its form, by URL, by identifier.
_MEANT = """
CREATE TABLE chg.meant AS
    SELECT DISTINCT site, type, id, reference_type(text) AS to_type, reference_id(text) AS to_id
    FROM chg.fresh_reference WHERE reference_id(text) IS NOT NULL
    UNION
    SELECT f.site, f.type, f.id, u.type, u.id FROM chg.fresh_reference f
    JOIN chg.urls u ON u.site = f.site AND u.url = f.text
    UNION
    SELECT f.site, f.type, f.id, i.type, i.id FROM chg.fresh_reference f JOIN (
        SELECT site, resource_type AS type, fhir_id AS id, identifier FROM old.identifier
        UNION SELECT site, type, id, identifier FROM chg.fresh_identifier) i
      ON i.site = f.site AND i.identifier = regexp_extract(f.text, '\\?identifier=(.*)$', 1)
    WHERE contains(f.text, '?identifier=')
"""

_TWINS = """
    SELECT i.site, i.type, i.id FROM chg.identifiers i JOIN (
        SELECT DISTINCT i.site, i.type, i.identifier FROM chg.identifiers i
        JOIN chg.{keys} t ON t.site = i.site AND t.type = i.type AND t.id = i.id) same
      ON same.site = i.site AND same.type = i.type AND same.identifier = i.identifier
    WHERE i.type IN ({types})
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
        self, work: duckdb.DuckDBPyConnection, stages: Sequence[Stage], *, persons_by_identifier: bool
    ) -> None:
        self._work = work
        self._roles = _Roles.of(stages)
        unique = f"{self._roles.unique}, 'Patient'" if persons_by_identifier else self._roles.unique
        self._twin_types = unique
        visited = _VISITED.format(visits=self._roles.visits)
        self._dated = _DATED.format(records=_RECORDS.format(keys=visited), rules=self._roles.dated_rules)

    def find_changed(self) -> int:
        """Makes `changed`; gives back how many resources that are."""
        self._work.execute(_CHANGED)
        found = self._work.execute("SELECT count(*) FROM chg.changed").fetchone()
        return int(found[0]) if found else 0

    def find_touched(self) -> None:
        """Makes `touched`: everything whose rows may differ by what is known before the transform.

        Needs `chg.fresh_reference` and `chg.fresh_identifier` of what is changed (`note_meanings`).
        """
        work, roles = self._work, self._roles
        work.execute(
            """CREATE TABLE chg.identifiers AS
               SELECT site, resource_type AS type, fhir_id AS id, identifier FROM old.identifier
               UNION SELECT site, type, id, identifier FROM chg.fresh_identifier"""
        )
        work.execute(_MEANINGS)
        work.execute(_MEANT)
        # to what refers to a Patient without a person it matters why there is none
        came_or_went = """SELECT site, type, id FROM chg.changed EXCEPT SELECT site, type, id FROM chg.known
                          UNION SELECT site, type, id FROM chg.deleted
                          UNION SELECT site, type, id FROM chg.changed WHERE type = 'Patient'
                            AND (site, id) NOT IN (SELECT (site, fhir_id) FROM old.person_source)"""
        self._touch(_READERS.format(keys=came_or_went))
        self._touch(_READERS.format(keys=f"SELECT * FROM chg.changed WHERE type IN ({roles.followed})"))
        self._touch(
            "SELECT r.site, r.resource_type, r.fhir_id FROM old.reference r "
            "JOIN chg.turned_texts t ON t.site = r.site AND t.text = r.text"
        )
        self._touch(
            f"""SELECT r.site, r.to_type, r.to_id FROM old.reference r
                JOIN chg.changed c ON c.site = r.site AND c.type = r.resource_type AND c.id = r.fhir_id
                WHERE r.to_id IS NOT NULL AND r.resource_type IN ({roles.referrers}) AND r.element LIKE 'back%'"""
        )
        self._touch(f"SELECT site, to_type, to_id FROM chg.meant WHERE type IN ({roles.referrers})")
        self._settle()

    def widen(self) -> int:
        """Adds the readers of what the transform gave another row, person or birth; gives back how many are new."""
        added = self._touch(f"{_READERS.format(keys=_OTHERWISE)} UNION {self._dated}")
        return added + (self._settle() if added else 0)

    def touch_rows(self, table: str, rows: str, rule_ids: Sequence[int]) -> None:
        """Adds the resources from which these rules made rows of a table; `rows` is a relation with the rows."""
        rules = ", ".join(str(one) for one in rule_ids)
        self._touch(
            f"""SELECT l.site, l.resource_type, l.fhir_id FROM old.cdm_row r
                JOIN old.lineage_resource l USING (resource_no) JOIN {rows} o ON o.{etl.cdm.ROW_KEYS[table]} = r.row_id
                WHERE r.table_name = {quote(table)} AND r.rule_id IN ({rules})"""
        )
        self._settle()

    def numbers(self) -> dict[str, NDArray[np.int64]]:
        """The landed numbers of all versions of what is needed, by resource type."""
        self._find_needed()
        rows = self._work.execute(
            "SELECT v.type, v.n FROM chg.versions v SEMI JOIN chg.needed d "
            "ON d.site = v.site AND d.type = v.type AND d.id = v.id ORDER BY ALL"
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
                SELECT DISTINCT k.* FROM ({keys}) k(site, type, id)
                ANTI JOIN chg.{name} t ON t.site = k.site AND t.type = k.type AND t.id = k.id"""
        ).fetchone()
        return int(added[0]) if added else 0

    def _settle(self) -> int:
        """Adds what shares a fate with what is touched, until no more is found; gives back how many were added.

        The other records of a Patient, resources with the same business identifier (one of them counts), resources
        that wrote the same row, and Patients with a row that bears the day of the last visit.
        """
        patients = "SELECT * FROM chg.touched WHERE type = 'Patient'"
        twins = _TWINS.format(keys="touched", types=self._twin_types)
        total = 0
        while added := self._touch(
            f"{_RECORDS.format(keys=patients)} UNION {twins} UNION {_SAME_ROW} UNION {self._dated}"
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


_NEEDED_PATIENTS = "SELECT * FROM chg.needed WHERE type = 'Patient'"

_RECORDS = """
    SELECT o.site, 'Patient', o.fhir_id FROM old.person_source o JOIN (
        SELECT s.person_id FROM old.person_source s JOIN ({keys}) k ON k.site = s.site AND k.id = s.fhir_id) p
      USING (person_id)
    UNION SELECT r.site, 'Patient', r.to_id FROM old.reference r JOIN ({keys}) k ON k.site = r.site AND k.id = r.fhir_id
      WHERE r.resource_type = 'Patient' AND r.to_type = 'Patient'
    UNION SELECT r.site, 'Patient', r.fhir_id FROM old.reference r JOIN ({keys}) k ON k.site = r.site AND k.id = r.to_id
      WHERE r.resource_type = 'Patient' AND r.to_type = 'Patient'
    UNION SELECT m.site, 'Patient', m.to_id FROM chg.meant m JOIN ({keys}) k ON k.site = m.site AND k.id = m.id
      WHERE m.type = 'Patient' AND m.to_type = 'Patient'
    UNION SELECT m.site, 'Patient', m.id FROM chg.meant m JOIN ({keys}) k ON k.site = m.site AND k.id = m.to_id
      WHERE m.type = 'Patient' AND m.to_type = 'Patient'
"""

_FORWARD = """
    SELECT r.site, r.to_type, r.to_id FROM old.reference r
    JOIN {own} k ON k.site = r.site AND k.type = r.resource_type AND k.id = r.fhir_id
    WHERE r.to_id IS NOT NULL AND NOT starts_with(r.element, 'back_') AND {kinds}
    UNION
    SELECT m.site, m.to_type, m.to_id FROM chg.meant m
    JOIN {own} k ON k.site = m.site AND k.type = m.type AND k.id = m.id
"""

# Reports that refer to a touched observation: it may take its specimen from them.
_REFERRERS = """
    SELECT r.site, r.resource_type, r.fhir_id FROM old.reference r
    JOIN chg.touched k ON k.site = r.site AND k.type = r.to_type AND k.id = r.to_id
    WHERE starts_with(r.element, 'back_')
"""

# All visits of a touched Patient: one of them is the last.
_VISITS = """
    SELECT r.site, r.resource_type, r.fhir_id FROM old.reference r
    JOIN chg.touched k ON k.site = r.site AND k.type = r.to_type AND k.id = r.to_id
    WHERE r.to_type = 'Patient' AND r.resource_type IN ({visits})
    UNION
    SELECT m.site, m.type, m.id FROM chg.meant m
    JOIN chg.touched k ON k.site = m.site AND k.type = m.to_type AND k.id = m.to_id
    WHERE m.to_type = 'Patient' AND m.type IN ({visits})
"""

# The Patients of touched visits: then, by what came, and (after a transform) now.
_VISITED = """
    SELECT r.site, r.to_id AS id FROM old.reference r
    JOIN chg.touched t ON t.site = r.site AND t.type = r.resource_type AND t.id = r.fhir_id
    WHERE t.type IN ({visits}) AND r.to_type = 'Patient'
    UNION
    SELECT m.site, m.to_id FROM chg.meant m JOIN chg.touched t ON t.site = m.site AND t.type = m.type AND t.id = m.id
    WHERE t.type IN ({visits}) AND m.to_type = 'Patient'
    UNION
    SELECT r.site, r.to_id FROM lin.reference r
    JOIN chg.touched t ON t.site = r.site AND t.type = r.resource_type AND t.id = r.fhir_id
    WHERE t.type IN ({visits}) AND r.to_type = 'Patient'
"""

# All records of these persons from which a rule made rows that bear the day of the last visit.
_DATED = """
    SELECT l.site, l.resource_type, l.fhir_id FROM old.cdm_row c JOIN old.lineage_resource l USING (resource_no)
    JOIN ({records}) p(site, type, id) ON p.site = l.site AND p.type = l.resource_type AND p.id = l.fhir_id
    WHERE c.rule_id IN ({rules})
"""

# Deaths have no key of their own: two resources may tell of the same one.
_SAME_ROW = """
    SELECT o.site, o.resource_type, o.fhir_id FROM old.cdm_row c JOIN old.lineage_resource o USING (resource_no)
    JOIN (SELECT row_id FROM old.cdm_row r JOIN old.lineage_resource l USING (resource_no)
          JOIN chg.touched t ON t.site = l.site AND t.type = l.resource_type AND t.id = l.fhir_id
          WHERE r.table_name = 'death') same ON same.row_id = c.row_id
    WHERE c.table_name = 'death'
"""

# Everything that answers to a text which a needed resource wrote: whether it means one thing only must be seen. Of a
# report that is needed for some of its observations, the texts that may mean those.
_SAME_TEXT = """
    SELECT u.site, u.type, u.id FROM chg.urls u JOIN (
        SELECT r.site, r.text FROM old.reference r
        JOIN chg.needed k ON k.site = r.site AND k.type = r.resource_type AND k.id = r.fhir_id
        WHERE r.text IS NOT NULL AND (NOT starts_with(r.element, 'back_')
            OR (r.site, r.resource_type, r.fhir_id) IN (SELECT (site, type, id) FROM chg.touched)
            OR (r.site, r.text) IN (SELECT (o.site, o.url) FROM chg.urls o SEMI JOIN chg.touched t
                                    ON t.site = o.site AND t.type = o.type AND t.id = o.id))
        UNION SELECT f.site, f.text FROM chg.fresh_reference f) t ON t.site = u.site AND t.text = u.url
    UNION
    SELECT i.site, i.type, i.id FROM chg.identifiers i JOIN (
        SELECT r.site, regexp_extract(r.text, '\\?identifier=(.*)$', 1) AS identifier FROM old.reference r
        JOIN chg.needed k ON k.site = r.site AND k.type = r.resource_type AND k.id = r.fhir_id
        WHERE contains(r.text, '?identifier=')) t ON t.site = i.site AND t.identifier = i.identifier
"""

# Touched resources that mean another row now, patients that are another person, persons born on another day.
_OTHERWISE = """
    WITH mine AS (
        SELECT r.* FROM old.row_of r JOIN chg.touched t
          ON t.site = r.site AND t.type = r.resource_type AND t.id = r.fhir_id
    ), now AS (
        SELECT r.* FROM lin.row_of r JOIN chg.touched t
          ON t.site = r.site AND t.type = r.resource_type AND t.id = r.fhir_id
    ), persons_then AS (
        SELECT s.site, s.fhir_id, s.person_id, s.canonical, p.year_of_birth, p.month_of_birth, p.day_of_birth
        FROM old.person_source s JOIN chg.touched t ON t.type = 'Patient' AND t.site = s.site AND t.id = s.fhir_id
        LEFT JOIN old.person p USING (person_id)
    ), persons_now AS (
        SELECT s.site, s.fhir_id, s.person_id, s.canonical, p.year_of_birth, p.month_of_birth, p.day_of_birth
        FROM lin.person_source s JOIN chg.touched t ON t.type = 'Patient' AND t.site = s.site AND t.id = s.fhir_id
        LEFT JOIN out.person p USING (person_id)
    )
    SELECT DISTINCT site, resource_type AS type, fhir_id AS id
    FROM ((FROM mine EXCEPT FROM now) UNION ALL (FROM now EXCEPT FROM mine))
    UNION
    SELECT DISTINCT site, 'Patient', fhir_id
    FROM ((FROM persons_then EXCEPT FROM persons_now) UNION ALL (FROM persons_now EXCEPT FROM persons_then))
"""


def _list(names: Iterable[str]) -> str:
    """Names as an SQL list; a word that no type bears when there is none."""
    return ", ".join(quote(name) for name in sorted(set(names))) or "''"
