"""How each check type is counted: two aggregates, each with the FROM clause it is asked of.

Numerators and denominators are those of DQD 2.8.4. Aggregates with the same FROM clause are asked in one query, so that
a table is scanned a few times and not once per check. All names come from the CDM metadata and the controls; no value
of a patient enters the SQL text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from etl.cdm import TABLES
from etl.quality.catalogue import Check

_INTEGERS = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
)
VOCABULARY = frozenset({"concept", "vocabulary", "domain", "concept_ancestor"})
"""The tables read from the schema of the vocabulary, where it stands apart."""

_DAYS_AFTER_DEATH = 60
_DAYS_AROUND_VISIT = 7


@dataclass(frozen=True)
class Term:
    """One number: `aggregate` over `source` (a FROM clause)."""

    source: str
    aggregate: str


@dataclass(frozen=True)
class Counting:
    """The two numbers of a check and the other tables that it reads."""

    violated: Term
    denominator: Term
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where the CDM stands: database, its schema, that of the vocabulary, its columns with their types, and today."""

    catalog: str
    schema: str
    vocabulary_schema: str
    columns: dict[str, dict[str, str]]
    today: date

    def of(self, table: str) -> str:
        """The qualified name of a table; with the database, because a file cdm.duckdb makes "cdm" ambiguous."""
        schema = self.vocabulary_schema if table in VOCABULARY else self.schema
        return f"{quoted(self.catalog)}.{quoted(schema)}.{quoted(table)}"


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def counting(check: Check, place: Place) -> Counting:
    """How `check` is counted in `place`. The table and the column must exist (NA rules are applied before)."""
    return _KINDS[check.check_name](check, place)


def _rows(place: Place, table: str) -> str:
    return f"{place.of(table)} t"


def _column(check: Check) -> str:
    return f"t.{quoted(check.field or '')}"


def _when(condition: str) -> str:
    return f"count(*) FILTER (WHERE {condition})"


def _of_all_rows(check: Check, place: Place, condition: str, needs: tuple[str, ...] = ()) -> Counting:
    source = _rows(place, check.table)
    return Counting(Term(source, _when(condition)), Term(source, "count(*)"), needs)


def _of_filled(check: Check, place: Place, condition: str) -> Counting:
    source = _rows(place, check.table)
    return Counting(Term(source, _when(condition)), Term(source, f"count({_column(check)})"))


def _null(check: Check, place: Place) -> Counting:
    return _of_all_rows(check, place, f"{_column(check)} IS NULL")


def _datatype(check: Check, place: Place) -> Counting:
    if place.columns[check.table][check.field or ""] in _INTEGERS:
        return _of_all_rows(check, place, "false")
    column = _column(check)
    text = f"CAST({column} AS VARCHAR)"
    return _of_all_rows(
        check, place, f"{column} IS NOT NULL AND (TRY_CAST({text} AS DOUBLE) IS NULL OR contains({text}, '.'))"
    )


def _primary_key(check: Check, place: Place) -> Counting:
    column = _column(check)
    groups = f"(SELECT {column} AS v, count(*) AS n FROM {_rows(place, check.table)} GROUP BY 1) g"
    violated = "coalesce(sum(g.n) FILTER (WHERE g.v IS NOT NULL AND g.n > 1), 0)"
    return Counting(Term(groups, violated), Term(_rows(place, check.table), "count(*)"))


def _values_with_parent(check: Check, place: Place, parent: str, key: str) -> str:
    # Each distinct value meets its parent once: the same source serves foreign key, domain, class and standard.
    values = f"(SELECT {_column(check)} AS v, count(*) AS n FROM {_rows(place, check.table)} GROUP BY 1) g"
    return f"{values} LEFT JOIN {place.of(parent)} p ON p.{quoted(key)} = g.v"


def _foreign_key(check: Check, place: Place) -> Counting:
    parent, key = check.parameter.split(".")
    source = _values_with_parent(check, place, parent, key)
    violated = f"coalesce(sum(g.n) FILTER (WHERE g.v IS NOT NULL AND p.{quoted(key)} IS NULL), 0)"
    return Counting(Term(source, violated), Term(_rows(place, check.table), "count(*)"), (parent,))


def _concept_with(condition: str, check: Check, place: Place, denominator: str) -> Counting:
    source = _values_with_parent(check, place, "concept", "concept_id")
    violated = f"coalesce(sum(g.n) FILTER (WHERE p.concept_id <> 0 AND ({condition})), 0)"
    return Counting(Term(source, violated), Term(_rows(place, check.table), denominator), ("concept",))


def _domain(check: Check, place: Place) -> Counting:
    domains = ", ".join(_text(domain.strip()) for domain in check.parameter.split(","))
    return _concept_with(f"p.domain_id NOT IN ({domains})", check, place, "count(*)")


def _class(check: Check, place: Place) -> Counting:
    return _concept_with(f"p.concept_class_id <> {_text(check.parameter)}", check, place, "count(*)")


def _standard(check: Check, place: Place) -> Counting:
    condition = "p.standard_concept IS DISTINCT FROM 'S' OR p.invalid_reason IS NOT NULL"
    return _concept_with(condition, check, place, f"count({_column(check)})")


def _record_completeness(check: Check, place: Place) -> Counting:
    column, field = _column(check), check.field or ""
    violated, asked = f"{column} = 0", f"{column} IS NOT NULL"
    source_value = field.replace("_source_concept_id", "_concept_id").replace("_concept_id", "_source_value")
    if TABLES[check.table].columns[field].nullable and source_value in place.columns[check.table]:
        # A nullable column left empty although the source gave a value has not been mapped either.
        unmapped = f"({column} IS NULL AND t.{quoted(source_value)} IS NOT NULL)"
        violated, asked = f"{violated} OR {unmapped}", f"{asked} OR {unmapped}"
    source = _rows(place, check.table)
    return Counting(Term(source, _when(violated)), Term(source, _when(asked)))


def _source_values(check: Check, place: Place) -> Counting:
    value, standard = _column(check), f"t.{quoted(check.parameter)}"
    source = _rows(place, check.table)
    empty = "coalesce(max(CASE WHEN {} THEN 1 ELSE 0 END), 0)"
    violated = f"count(DISTINCT {value}) FILTER (WHERE {standard} = 0) + " + empty.format(
        f"{value} IS NULL AND {standard} = 0"
    )
    return Counting(
        Term(source, violated), Term(source, f"count(DISTINCT {value}) + " + empty.format(f"{value} IS NULL"))
    )


def _low(check: Check, place: Place) -> Counting:
    return _of_filled(check, place, f"{_comparable(check)} < {_bound(check, place)}")


def _high(check: Check, place: Place) -> Counting:
    return _of_filled(check, place, f"{_comparable(check)} > {_bound(check, place)}")


def _comparable(check: Check) -> str:
    kind = TABLES[check.table].columns[check.field or ""].info["cdm_type"]
    return _day(_column(check)) if kind in {"date", "datetime"} else _column(check)


def _bound(check: Check, place: Place) -> str:
    if check.parameter == "today + 1 day":
        return f"DATE '{place.today + timedelta(days=1)}'"
    if check.parameter == "this year + 1":
        return str(place.today.year + 1)
    return f"DATE '{check.parameter}'" if check.parameter.count("-") == 2 else str(float(check.parameter))


def _start_before_end(check: Check, place: Place) -> Counting:
    start, end = _column(check), f"t.{quoted(check.parameter)}"
    source = _rows(place, check.table)
    both = _when(f"{start} IS NOT NULL AND {end} IS NOT NULL")
    return Counting(Term(source, _when(f"{_day(start)} > {_day(end)}")), Term(source, both))


def _temporal_after(check: Check, place: Place) -> Counting:
    other_table, other = check.parameter.split(".")
    column = _day(_column(check))
    if other_table != "person" or check.table == "person":
        return _of_all_rows(check, place, f"{_day(f't.{quoted(other)}')} > {column}")
    birth = "coalesce(CAST(p.birth_datetime AS DATE), make_date(p.year_of_birth, 6, 1))"
    source = f"{_rows(place, check.table)} JOIN {place.of('person')} p ON p.person_id = t.person_id"
    return Counting(
        Term(source, _when(f"{birth} > {column}")), Term(_rows(place, check.table), "count(*)"), ("person",)
    )


def _after_birth(check: Check, place: Place) -> Counting:
    birth = (
        "coalesce(CAST(p.birth_datetime AS DATE), "
        "make_date(p.year_of_birth, coalesce(p.month_of_birth, 1), coalesce(p.day_of_birth, 1)))"
    )
    source = f"{_rows(place, check.table)} JOIN {place.of('person')} p ON p.person_id = t.person_id"
    denominator = Term(_rows(place, check.table), f"count({_column(check)})")
    return Counting(Term(source, _when(f"{_day(_column(check))} < {birth}")), denominator, ("person",))


def _rows_with_death(check: Check, place: Place) -> tuple[str, str]:
    source = f"{_rows(place, check.table)} JOIN {place.of('death')} d ON d.person_id = t.person_id"
    return source, _when(f"{_day(_column(check))} > {_day('d.death_date')} + {_DAYS_AFTER_DEATH}")


def _before_death(check: Check, place: Place) -> Counting:
    # Two death rows of a person count twice, as in DQD.
    source, violated = _rows_with_death(check, place)
    return Counting(Term(source, violated), Term(source, f"count({_column(check)})"), ("death",))


def _during_life(check: Check, place: Place) -> Counting:
    source, violated = _rows_with_death(check, place)
    dead = f"{_rows(place, check.table)} WHERE t.person_id IN (SELECT person_id FROM {place.of('death')})"
    return Counting(Term(source, violated), Term(dead, "count(*)"), ("death",))


def _within_visit(check: Check, place: Place) -> Counting:
    # Compared uncast, as in DQD: a datetime counts with its time of day.
    column, days = _column(check), f"INTERVAL {_DAYS_AROUND_VISIT} DAY"
    source = (
        f"{_rows(place, check.table)} JOIN {place.of('visit_occurrence')} v "
        "ON v.visit_occurrence_id = t.visit_occurrence_id"
    )
    outside = f"{column} < v.visit_start_date - {days} OR {column} > v.visit_end_date + {days}"
    return Counting(Term(source, _when(outside)), Term(source, "count(*)"), ("visit_occurrence",))


def _person_completeness(check: Check, place: Place) -> Counting:
    persons = f"{place.of('person')} p"
    without = f"{persons} WHERE NOT EXISTS (SELECT 1 FROM {_rows(place, check.table)} WHERE t.person_id = p.person_id)"
    return Counting(Term(without, "count(*)"), Term(persons, "count(*)"), ("person",))


def _condition_eras(check: Check, place: Place) -> Counting:
    conditions = f"{place.of('condition_occurrence')} c WHERE c.condition_concept_id <> 0"
    without = f"{conditions} AND NOT EXISTS (SELECT 1 FROM {_rows(place, check.table)} WHERE t.person_id = c.person_id)"
    persons = "count(DISTINCT c.person_id)"
    return Counting(Term(without, persons), Term(conditions, persons), ("condition_occurrence",))


def _period_overlap(check: Check, place: Place) -> Counting:
    rows = _rows(place, check.table)
    start, end = "observation_period_start_date", "observation_period_end_date"
    # In order of start, an overlap or a back-to-back start shows against the latest end so far.
    ordered = (
        f"(SELECT t.person_id, t.{start} AS started, max(t.{end}) OVER (PARTITION BY t.person_id "
        f"ORDER BY t.{start}, t.{end} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS ended FROM {rows}) o"
    )
    violated = f"count(DISTINCT o.person_id) FILTER (WHERE {_day('o.started')} <= {_day('o.ended')} + 1)"
    return Counting(Term(ordered, violated), Term(rows, "count(DISTINCT t.person_id)"))


def _day(expression: str) -> str:
    return f"CAST({expression} AS DATE)"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


_KINDS: dict[str, Callable[[Check, Place], Counting]] = {
    "isRequired": _null,
    "measureValueCompleteness": _null,
    "cdmDatatype": _datatype,
    "isPrimaryKey": _primary_key,
    "isForeignKey": _foreign_key,
    "fkDomain": _domain,
    "fkClass": _class,
    "isStandardValidConcept": _standard,
    "standardConceptRecordCompleteness": _record_completeness,
    "sourceConceptRecordCompleteness": _record_completeness,
    "sourceValueCompleteness": _source_values,
    "plausibleValueLow": _low,
    "plausibleValueHigh": _high,
    "plausibleStartBeforeEnd": _start_before_end,
    "plausibleTemporalAfter": _temporal_after,
    "plausibleAfterBirth": _after_birth,
    "plausibleBeforeDeath": _before_death,
    "plausibleDuringLife": _during_life,
    "withinVisitDates": _within_visit,
    "measurePersonCompleteness": _person_completeness,
    "measureConditionEraCompleteness": _condition_eras,
    "measureObservationPeriodOverlap": _period_overlap,
}
