"""Short ways to write down the columns of a CDM table.

Every column carries in `info` what checks and loaders ask about it (`ColumnFacts` names the keys). Types follow the CDM
with two departures: ids that blina makes are BIGINT (they are 63-bit hashes; the CDM's `integer` has 32 bits), and
`float` is a double, because a 32-bit float changes laboratory values.
"""

from datetime import date, datetime
from typing import TypedDict

from sqlalchemy import BigInteger, Column, Date, DateTime, Double, Integer, MetaData, String, Text

METADATA = MetaData()
"""All tables of the CDM, without a schema: `schema_translate_map={None: "cdm"}` puts them where they are wanted."""


class ColumnFacts(TypedDict):
    """What stands in `Column.info`; the facts of OMOP_CDMv5.4_Field_Level.csv, and of DQD 2.8.4 for `standard`.

    `fk_domain` may name several domains, separated by ", ". `standard`: a concept here must be a valid standard
    concept. `source_concept`: the column holds the concept of the source code. Whether the CDM requires a value is
    `not Column.nullable`; `primary_key` is SQLAlchemy's own.
    """

    cdm_type: str
    fk_table: str | None
    fk_field: str | None
    fk_domain: str | None
    fk_class: str | None
    standard: bool
    source_concept: bool


def facts(cdm_type: str, fk_table: str | None = None, fk_field: str | None = None) -> ColumnFacts:
    """The facts of a plain column; concept columns add theirs."""
    return ColumnFacts(
        cdm_type=cdm_type,
        fk_table=fk_table,
        fk_field=fk_field,
        fk_domain=None,
        fk_class=None,
        standard=False,
        source_concept=False,
    )


def key(name: str) -> Column[int]:
    """The primary key of a table whose rows blina makes."""
    return Column(name, BigInteger, primary_key=True, autoincrement=False, info=dict(facts("integer")))


def concept_key(name: str) -> Column[int]:
    """The key of the CONCEPT table: ids of OMOP fit in 32 bits."""
    return Column(name, Integer, primary_key=True, autoincrement=False, info=dict(facts("integer")))


def text_key(name: str, length: int) -> Column[str]:
    """The key of a vocabulary table that is keyed by a word."""
    return Column(name, String(length), primary_key=True, info=dict(facts(f"varchar({length})")))


def link(name: str, table: str, field: str | None = None, *, required: bool = False) -> Column[int]:
    """The id of a row of another table; the other table's key has the same name unless `field` says otherwise."""
    return Column(name, BigInteger, nullable=not required, info=dict(facts("integer", table, field or name)))


def row_id(name: str, *, required: bool = False) -> Column[int]:
    """The id of a row of a table that another column (or nothing) names: no foreign key in the CDM."""
    return Column(name, BigInteger, nullable=not required, info=dict(facts("integer")))


def concept(
    name: str,
    domain: str | None = None,
    *,
    concept_class: str | None = None,
    required: bool = False,
    standard: bool = False,
) -> Column[int]:
    """A concept id; with `domain` or `concept_class` when the CDM asks for one, `standard` when DQD does."""
    info = facts("integer", "concept", "concept_id")
    info["fk_domain"], info["fk_class"], info["standard"] = domain, concept_class, standard
    info["source_concept"] = name.endswith("source_concept_id")
    return Column(name, Integer, nullable=not required, info=dict(info))


def count(name: str, *, required: bool = False) -> Column[int]:
    """A whole number that is no id: a year, a count, days."""
    return Column(name, Integer, nullable=not required, info=dict(facts("integer")))


def number(name: str, *, required: bool = False) -> Column[float]:
    """A measured value."""
    return Column(name, Double, nullable=not required, info=dict(facts("float")))


def day(name: str, *, required: bool = False) -> Column[date]:
    """A calendar day, local to the site."""
    return Column(name, Date, nullable=not required, info=dict(facts("date")))


def moment(name: str, *, required: bool = False) -> Column[datetime]:
    """A date with its time, local to the site, without zone."""
    return Column(name, DateTime, nullable=not required, info=dict(facts("datetime")))


def text(name: str, length: int, *, required: bool = False, fk: tuple[str, str] | None = None) -> Column[str]:
    """A text of at most `length` characters; `fk` = (table, field) when it is the key of a vocabulary table."""
    info = facts(f"varchar({length})", *(fk or ()))
    return Column(name, String(length), nullable=not required, info=dict(info))


def long_text(name: str, *, required: bool = False) -> Column[str]:
    """A text without a limit, `varchar(MAX)` in the CDM."""
    return Column(name, Text, nullable=not required, info=dict(facts("varchar(max)")))
