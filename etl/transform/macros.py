"""SQL functions that every transform uses: FHIR dates in a site's time zone, the keys of rows and of resources.

A FHIR date says how precise it is by its length. A partial date becomes the first day of its period (DECISIONS 40); an
instant is converted to the site's zone before its day is taken; a time without offset is read in the site's zone; a
leap second counts as the second before it.
"""

from collections.abc import Collection
from contextlib import suppress
from datetime import date

import duckdb
from duckdb.func import SPECIAL

from etl.mapping.coding_sets import CREATE_TYPE
from etl.sql import quote
from etl.transform.attachment_text import text_of_attachments

_MACROS = (
    """CREATE MACRO IF NOT EXISTS fhir_local(s, zone) AS
         CASE WHEN length(s) <= 10 THEN NULL
              WHEN right(s, 1) IN ('Z', 'z') OR left(right(s, 6), 1) IN ('+', '-')
                THEN time_in(zone, coalesce(TRY_CAST(s AS TIMESTAMPTZ),
                                            TRY_CAST(replace(s, ':60', ':59') AS TIMESTAMPTZ)))
              ELSE coalesce(TRY_CAST(s AS TIMESTAMP), TRY_CAST(replace(s, ':60', ':59') AS TIMESTAMP)) END""",
    """CREATE MACRO IF NOT EXISTS fhir_date(s, zone) AS
         CASE length(s) WHEN 10 THEN TRY_CAST(s AS DATE)
                        WHEN 7 THEN TRY_CAST(s || '-01' AS DATE)
                        WHEN 4 THEN TRY_CAST(s || '-01-01' AS DATE)
                        ELSE CAST(fhir_local(s, zone) AS DATE) END""",
    """CREATE MACRO IF NOT EXISTS fhir_datetime(s, zone) AS fhir_local(s, zone)""",
    """CREATE MACRO IF NOT EXISTS fhir_midnight(s, zone) AS
         CASE WHEN length(s) = 10 THEN TRY_CAST(s AS TIMESTAMP) END""",
    """CREATE MACRO IF NOT EXISTS fhir_without_zone(s) AS
         length(s) > 10 AND s[-1] NOT IN ('Z', 'z') AND s[-6] NOT IN ('+', '-')""",
    """CREATE MACRO IF NOT EXISTS fhir_precision(s, zone) AS
         CASE WHEN s IS NULL THEN NULL
              ELSE CASE length(s) WHEN 4 THEN 'year' WHEN 7 THEN 'month' WHEN 10 THEN 'day'
                                  ELSE if(fhir_without_zone(s), 'no zone', 'second') END END""",
    "CREATE MACRO IF NOT EXISTS fhir_year(s, zone) AS TRY_CAST(s[1:4] AS INTEGER)",
    "CREATE MACRO IF NOT EXISTS fhir_month(s, zone) AS TRY_CAST(s[6:7] AS INTEGER)",
    "CREATE MACRO IF NOT EXISTS fhir_day(s, zone) AS TRY_CAST(s[9:10] AS INTEGER)",
    """CREATE MACRO IF NOT EXISTS reference_type(s) AS CASE WHEN contains(s, '/') THEN
         nullif(regexp_extract(s, '(?:^|/)([A-Z][A-Za-z]+)/[A-Za-z0-9.\\-]{1,64}(?:/_history/[^/]+)?$', 1), '') END""",
    """CREATE MACRO IF NOT EXISTS reference_id(s) AS CASE WHEN contains(s, '/') THEN
         nullif(regexp_extract(s, '(?:^|/)[A-Z][A-Za-z]+/([A-Za-z0-9.\\-]{1,64})(?:/_history/[^/]+)?$', 1), '') END""",
    # A number in the place of three texts, by which references are joined and kept. Other versions of DuckDB may hash
    # otherwise, so a database remembers with which one it was made (`etl.increment.basis`).
    """CREATE MACRO IF NOT EXISTS resource_key(site, kind, id) AS
         CASE WHEN id IS NOT NULL THEN (hash(site, kind, id) >> 1)::BIGINT END""",
    """CREATE MACRO IF NOT EXISTS text_key(site, said) AS
         CASE WHEN said IS NOT NULL THEN (hash(site, said) >> 1)::BIGINT END""",
)


def say_data_until(work: duckdb.DuckDBPyConnection, until: date) -> None:
    """Creates `data_until()`, the day until which the data reaches: the end of what is still going on."""
    work.execute(f"CREATE OR REPLACE MACRO data_until() AS DATE {quote(until.isoformat())}")


_MOST_ZONES = 8
"""Beyond so many zones a CASE is longer to plan than it is worth."""


def _time_in(zones: Collection[str]) -> str:
    """The macro that converts an instant: DuckDB is six times as fast when it knows the zone while it plans."""
    known = sorted(set(zones) - {"UTC"}) if len(zones) <= _MOST_ZONES else []
    cases = "".join(f" WHEN {quote(zone)} THEN timezone({quote(zone)}, t)" for zone in known)
    utc = "WHEN 'UTC' THEN make_timestamp(epoch_us(t))"  # no calendar is asked
    return f"CREATE OR REPLACE MACRO time_in(zone, t) AS CASE zone {utc}{cases} ELSE timezone(zone, t) END"


def create_macros(work: duckdb.DuckDBPyConnection, key: str, zones: Collection[str] = ()) -> None:
    """Creates the functions and the type `coding_set`; `key` is the instance's secret for row keys.

    `zones` are the time zones that are asked for; others work, too.
    """
    if not work.execute("SELECT 1 FROM duckdb_types() WHERE type_name = 'coding_set'").fetchone():
        work.execute(CREATE_TYPE)
    # an increment was here before; to look in the list of all functions takes longer than to be refused
    with suppress(duckdb.NotImplementedException, duckdb.CatalogException):
        work.create_function(
            "attachment_text", text_of_attachments, ["VARCHAR[]", "VARCHAR[]"], "VARCHAR", null_handling=SPECIAL
        )
    # 63 bits, positive; keyed, so that ids cannot be made from known FHIR ids without the secret (f2o-021).
    row_key = (
        "CREATE OR REPLACE MACRO row_key(site, kind, id, rule, slot) AS "
        f"(md5_number_lower(concat_ws('|', {quote(key)}, site, kind, id, rule, slot)) >> 1)::BIGINT"
    )
    work.execute("; ".join([_time_in(zones), *_MACROS, row_key]))
