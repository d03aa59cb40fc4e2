"""What a build says of itself: the counts that add up, the rows, the time, and what a data manager should look at."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

import etl.cdm
from etl.store import Store

COUNT_COLUMNS = ("site", "resource_type", "outcome", "reason", "n")


@dataclass(frozen=True)
class IdentifierSystem:
    """A system of business identifiers that came, on how many of them, and what becomes of its identifiers.

    `system` is empty where the source names none, and "(no URI)" for what is none: it may be a number itself.
    """

    site: str
    resource_type: str
    system: str
    n: int
    handling: str


@dataclass(frozen=True)
class BuildReport:
    """What a build did: `counts` has site, resource_type, outcome (kept, skipped, rejected), reason, n.

    `computed` is "changes", or "everything: …" with the reason. Counts and rows are those of everything received so
    far; `files`, `bytes` and `rejected_now` are those of this run, `left_aside` its files that are no FHIR by name,
    or a bulk export's list; `incomplete_rows`, `reversed_ends`, `noted` and `unresolved_references` those of what it
    computed.
    """

    run_id: str
    computed: str
    counts: pl.DataFrame
    rows: dict[str, int]
    changed_tables: tuple[str, ...]
    seconds: dict[str, float]
    files: int
    bytes: int
    left_aside: int
    rejected_now: int
    standard_share: dict[str, tuple[int, int]]
    unmapped: int
    unresolved_codes: tuple[str, ...]
    vocabulary_warnings: tuple[str, ...]
    incomplete_rows: int
    reversed_ends: int
    noted: dict[str, int]
    unresolved_references: dict[str, int]
    decoded: dict[str, int]
    identifier_systems: tuple[IdentifierSystem, ...]
    rejects: Path | None
    vocabulary_release: str
    mapping_sha: str

    @property
    def totals(self) -> dict[str, int]:
        """Resources landed, kept, skipped, rejected."""
        sums = dict(self.counts.group_by("outcome").agg(pl.col("n").sum()).iter_rows())
        kept, skipped, rejected = (int(sums.get(name, 0)) for name in ("kept", "skipped", "rejected"))
        return {"landed": kept + skipped + rejected, "kept": kept, "skipped": skipped, "rejected": rejected}

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: counts by resource type and reason, rows by table, seconds by stage, run id."""
        by_type: dict[str, dict[str, Any]] = {}
        for kind, outcome, reason, n in (
            self.counts.group_by("resource_type", "outcome", "reason").agg(pl.col("n").sum()).sort(pl.all()).iter_rows()
        ):
            entry = by_type.setdefault(kind, {"landed": 0, "kept": 0, "skipped": {}, "rejected": {}})
            entry["landed"] += n
            if outcome == "kept":
                entry["kept"] += n
            else:
                entry[outcome][reason] = entry[outcome].get(reason, 0) + n
        return {
            "run_id": self.run_id,
            "computed": self.computed,
            "totals": self.totals,
            "resources": by_type,
            "rows": self.rows,
            "changed_tables": list(self.changed_tables),
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
            "rejected_now": self.rejected_now,
            "files": self.files,
            "bytes": self.bytes,
            "files_left_aside": self.left_aside,
            "standard_concepts": {
                domain: {"rows": rows, "standard": standard, "share": round(standard / rows, 4) if rows else None}
                for domain, (rows, standard) in self.standard_share.items()
            },
            "unmapped_codes": self.unmapped,
            "unresolved_code_map_targets": len(self.unresolved_codes),
            "vocabulary_warnings": list(self.vocabulary_warnings),
            "incomplete_rows": self.incomplete_rows,
            "ends_before_starts": self.reversed_ends,
            "noted": self.noted,
            "unresolved_references": self.unresolved_references,
            "decoded_from": self.decoded,
            "identifier_systems": [asdict(one) for one in self.identifier_systems],
            "rejects": str(self.rejects) if self.rejects else None,
            "vocabulary_release": self.vocabulary_release,
            "mapping_sha": self.mapping_sha,
        }


def rows_by_table(store: Store) -> dict[str, int]:
    """The rows of every CDM table but the vocabulary's."""
    tables = [name for name in etl.cdm.TABLES if name not in etl.cdm.VOCABULARY_TABLES]
    counts = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM cdm.{name}" for name in tables)
    return {str(name): int(n) for name, n in store.rows(counts)}


def standard_share(store: Store, rows: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Rows, and rows with a standard concept, of the table of each domain; `rows` by table."""
    tables = {
        domain: table
        for domain, table in etl.cdm.DOMAIN_TABLES.items()
        if domain not in {"Note", "Episode", "Regimen"} and rows.get(table)
    }
    if not tables:
        return {}
    standard = " UNION ALL ".join(
        f"SELECT '{domain}', count(*) FROM cdm.{table} WHERE {_concept_column(domain, table)} <> 0"
        for domain, table in tables.items()
    )
    return {str(domain): (rows[tables[domain]], int(n)) for domain, n in store.rows(standard)}


def _concept_column(domain: str, table: str) -> str:
    return {"Visit": "visit_concept_id"}.get(domain, f"{table.split('_')[0]}_concept_id")


def unmapped_codes(store: Store) -> int:
    """The number of source codes without a standard concept."""
    found = store.rows(
        "SELECT count(*) FROM (SELECT DISTINCT site, source_vocabulary_id, source_code FROM lineage.unmapped) AS codes"
    )
    return int(found[0][0])


def identifier_systems(store: Store, link_persons_by: Sequence[str]) -> tuple[IdentifierSystem, ...]:
    """Every system of business identifiers that was received, most frequent first (HL7 f2o-025, -026).

    The site's privacy assessment has to name them. No identifier is in the CDM or makes a key; the lineage holds them.
    """
    uri = "split_part(identifier, '|', 1)"
    shown = f"CASE WHEN {uri} = '' OR position(':' IN {uri}) > 0 THEN {uri} ELSE '(no URI)' END"
    found = store.rows(
        f"SELECT site, resource_type, {shown}, count(*) FROM lineage.identifier "
        "GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3"
    )
    return tuple(
        IdentifierSystem(str(site), str(kind), str(system), int(n), _handling(str(kind), str(system), link_persons_by))
        for site, kind, system, n in found
    )


def _handling(resource_type: str, system: str, link_persons_by: Sequence[str]) -> str:
    kept = "not in the CDM; in the lineage, where it finds references and repeated results"
    joins = resource_type == "Patient" and system in link_persons_by
    return f"{kept}; joins the records of one person" if joins else kept


def sums(rows: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Counts by name, names that come twice added up."""
    total: dict[str, int] = {}
    for name, n in rows:
        total[name] = total.get(name, 0) + n
    return total
