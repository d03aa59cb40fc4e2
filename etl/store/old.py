"""What the last run left, as an increment reads it: schema `old` of the work database.

`old.resource` is the ledger's, of the files that still count (`led.file` of the work database names them);
`old.lineage_resource`, `old.cdm_row`, `old.reference`, `old.identifier`, `old.row_of`, `old.person_source` are the
lineage's, `old.person` the CDM's.
"""

LINEAGE: dict[str, str] = {
    "resource": "lineage_resource",
    "cdm_row": "cdm_row",
    "reference": "reference",
    "identifier": "identifier",
    "row_of": "row_of",
    "person_source": "person_source",
    "rule": "rule",
}
"""The tables of the lineage that an increment reads, and their names in schema `old`."""

THAT_COUNT = "(resource_no >> 32) IN (SELECT file FROM led.file)"
"""The resources of files that still count, of all that the ledger remembers."""
