"""SQL of a coded element as {codings: [{system, code, display, user}], text}; NULL when it says nothing."""

from etl.mapping.fhirpath_sql import PathError, Translator, Value
from etl.mapping.structure import is_primitive

CREATE_TYPE = (
    "CREATE TYPE coding_set AS STRUCT(codings STRUCT(system VARCHAR, code VARCHAR, display VARCHAR, "
    '"user" BOOLEAN)[], text VARCHAR)'
)


def coding_set(translator: Translator, value: Value) -> str:
    """SQL of the coding set of a CodeableConcept, Coding, Quantity (its unit), code, or text. Raises PathError."""
    kind = value.type
    if kind == "Coding":
        return _as_set(_codings(translator, value), None)
    if value.many:
        raise PathError("a concept is read from one element; say .first() or .where(...).first()")
    if kind == "CodeableConcept":
        codings = translator.translate("coding", value)
        text = translator.translate("text", value).sql
        words = f"coalesce({text}, {_words_alone(translator, codings)})"
        return _as_set(_codings(translator, codings), words, value)
    if kind == "Quantity":
        system, code, unit = (translator.translate(name, value).sql for name in ("system", "code", "unit"))
        return _as_set(f"(CASE WHEN {code} IS NOT NULL THEN [{_one(system, code, unit, 'NULL')}] END)", unit, value)
    if kind == "code":
        one = _one("NULL", value.sql, "NULL", "NULL")
        return _as_set(f"(CASE WHEN {value.sql} IS NOT NULL THEN [{one}] END)", None)
    if is_primitive(kind):
        return _as_set(None, f"CAST({value.sql} AS VARCHAR)")
    raise PathError(f"a concept is read from CodeableConcept, Coding, Quantity, code or string, not from {kind}")


def identifier_texts(translator: Translator, value: Value) -> str:
    """SQL list of the "system|value" texts of identifiers."""
    many = _listed(value)
    each = translator.variable()
    one = Value(each, "Identifier", many=False, need=value.need)
    system, number = translator.translate("system", one).sql, translator.translate("value", one).sql
    kept = f"list_filter({many}, lambda {each}: {number} IS NOT NULL)"
    return f"list_transform({kept}, lambda {each}: coalesce({system}, '') || '|' || {number})"


def _codings(translator: Translator, value: Value) -> str:
    each = translator.variable()
    one = Value(each, "Coding", many=False, need=value.need)
    system, code, display, user = (
        translator.translate(name, one).sql for name in ("system", "code", "display", "userSelected")
    )
    kept = f"list_filter({_listed(value)}, lambda {each}: {code} IS NOT NULL)"
    return f"list_transform({kept}, lambda {each}: {_one(system, code, display, user)})"


def _words_alone(translator: Translator, value: Value) -> str:
    """SQL of the first display that stands without a code: it is all that was said, so it counts as the text."""
    each = translator.variable()
    one = Value(each, "Coding", many=False, need=value.need)
    code, display = (translator.translate(name, one).sql for name in ("code", "display"))
    kept = f"list_filter({_listed(value)}, lambda {each}: {code} IS NULL AND {display} IS NOT NULL)[1]"
    return translator.translate("display", Value(f"({kept})", "Coding", many=False, need=value.need)).sql


def _listed(value: Value) -> str:
    return value.sql if value.many else f"[{value.sql}]"


def _one(system: str, code: str, display: str, user: str) -> str:
    return f"{{'system': {system}, 'code': {code}, 'display': {display}, 'user': {user}}}"


def _as_set(codings: str | None, text: str | None, value: Value | None = None) -> str:
    """SQL of the set; nothing is evaluated where `value` is not there, as most elements of most resources are not."""
    text = f"nullif(trim({text}), '')" if text else None
    says = " OR ".join([*([f"len({codings}) > 0"] if codings else []), *([f"{text} IS NOT NULL"] if text else [])])
    # DuckDB gives no list and an empty one the same hash, by which equal sets are told (`key_of`)
    listed = f"CASE WHEN len({codings}) > 0 THEN {codings} END" if codings else "NULL"
    made = f"{{'codings': {listed}, 'text': {text or 'NULL'}}}::coding_set"
    there = f"{value.sql} IS NOT NULL AND " if value else ""
    return f"(CASE WHEN {there}({says}) THEN {made} END)"
