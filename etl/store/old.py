"""What the last run left, as an increment reads it: schema `old` of the work database.

`old.resource` is the ledger's, of the files that still count (`led.file` of the work database names them);
`old.lineage_resource`, `old.cdm_row`, `old.reference`, `old.identifier`, `old.row_of`, `old.person_source` are the
lineage's, `old.person` the CDM's. All that name a resource have its `resource_key`.
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

KEYS: dict[str, str] = {
    "resource": "resource_key(site, resource_type, fhir_id)",
    "lineage_resource": "resource_key(site, resource_type, fhir_id)",
    "person_source": "resource_key(site, 'Patient', fhir_id)",
}
"""The key of the resource that a row names, by table of schema `old`, where the database does not hold it."""

THAT_COUNT = "(resource_no >> 32) IN (SELECT file FROM led.file)"
"""The resources of files that still count, of all that the ledger remembers."""


def view(name: str, source: str) -> str:
    """The statement that makes `old.<name>` of the relation that holds its rows."""
    key = f", {KEYS[name]} AS resource_key" if name in KEYS else ""
    where = f" WHERE {THAT_COUNT}" if name == "resource" else ""
    return f"CREATE VIEW old.{name} AS SELECT *{key} FROM {source}{where}"
