"""Concept sets resolved in the loaded vocabulary: (vocabulary_id, concept_code) → concept ids, with descendants.

A member of status I (PROTOCOL.md section 7) has no verified code: its code is written `name:…` and found by its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from analytics.cdm import Cdm, number_list
from analytics.study import Study
from etl.errors import StudyError

_NAME = "name:"


@dataclass(frozen=True)
class ConceptSets:
    """The sets of a study in one vocabulary.

    `concepts`: concept_set, concept_id (with descendants). `members`: the study's rows with the concept_id found
    (null: not in this vocabulary).
    """

    concepts: pl.DataFrame
    members: pl.DataFrame

    @cached_property
    def _by_name(self) -> Mapping[str, list[int]]:
        return dict(self.concepts.group_by("concept_set").agg("concept_id").iter_rows())

    def ids(self, *names: str) -> list[int]:
        """The concept ids of one or several sets; empty when the vocabulary has none of their members."""
        return sorted({one for name in names for one in self._by_name.get(name, [])})

    def within(self, column: str, *names: str) -> pl.Expr:
        """Whether a concept column holds a member of these sets (never null)."""
        return pl.col(column).is_in(self.ids(*names)).fill_null(value=False)

    def choose(self, column: str, options: Mapping[str, object]) -> pl.Expr:
        """The value that goes with the first set a concept column belongs to, else null; `options`: set → value."""
        chosen = pl.lit(None)
        for name, value in reversed(list(options.items())):
            chosen = pl.when(self.within(column, name)).then(pl.lit(value)).otherwise(chosen)
        return chosen

    @property
    def unresolved(self) -> pl.DataFrame:
        """The members that this vocabulary does not know: concept_set, vocabulary_id, concept_code, label, status."""
        return self.members.filter(pl.col("concept_id").is_null()).drop("concept_id", "include_descendants")


def resolve_concept_sets(cdm: Cdm, study: Study, *, strict: bool = True) -> ConceptSets:
    """The study's concept sets in the CDM's vocabulary.

    Raises StudyError when a required set resolves to nothing (`strict`).
    """
    members = study.members.join(_concepts(cdm, study.members), on=["vocabulary_id", "concept_code"], how="left")
    found = members.filter(pl.col("concept_id").is_not_null())
    own = found.select("concept_set", "concept_id")
    heads = found.filter("include_descendants").select("concept_set", ancestor_concept_id="concept_id")
    concepts = pl.concat([own, _descendants(cdm, heads)]).unique().sort("concept_set", "concept_id")
    sets = ConceptSets(concepts, members)
    missing = [name for name in study.required_concept_sets if not sets.ids(name)]
    if strict and missing:
        raise StudyError("the vocabulary knows no member of a concept set that the study needs", problems=missing)
    return sets


def _concepts(cdm: Cdm, members: pl.DataFrame) -> pl.DataFrame:
    """vocabulary_id, concept_code (as the study writes it), concept_id."""
    table = f"{cdm.vocabulary_schema}.concept"
    keys = {"vocabulary_id": pl.String, "concept_code": pl.String, "concept_id": pl.Int64}
    if not cdm.has("concept", schema=cdm.vocabulary_schema):
        return pl.DataFrame(schema=keys)
    vocabularies = _text_list(members["vocabulary_id"].to_list())
    codes = members["concept_code"].to_list()
    names = [code.removeprefix(_NAME) for code in codes if code.startswith(_NAME)]
    by_code = (
        f"SELECT vocabulary_id, concept_code, concept_id FROM {table} "
        f"WHERE vocabulary_id IN ({vocabularies}) AND concept_code IN ({_text_list(codes)})"
    )
    by_name = (
        f"SELECT vocabulary_id, '{_NAME}' || concept_name AS concept_code, concept_id FROM {table} "
        f"WHERE vocabulary_id IN ({vocabularies}) AND concept_name IN ({_text_list(names)}) "
        "AND coalesce(invalid_reason, '') = ''"
    )
    found = [
        cdm.query(sql).select(pl.col(name).cast(kind) for name, kind in keys.items()) for sql in (by_code, by_name)
    ]
    return pl.concat(found).sort("concept_id").unique(["vocabulary_id", "concept_code"], keep="first")


def _descendants(cdm: Cdm, heads: pl.DataFrame) -> pl.DataFrame:
    if heads.is_empty() or not cdm.has("concept_ancestor", schema=cdm.vocabulary_schema):
        return pl.DataFrame(schema={"concept_set": pl.String, "concept_id": pl.Int64})
    rows = cdm.query(
        f"SELECT ancestor_concept_id, descendant_concept_id FROM {cdm.vocabulary_schema}.concept_ancestor "
        f"WHERE ancestor_concept_id IN ({number_list(heads['ancestor_concept_id'])})"
    ).cast(pl.Int64)
    joined = heads.join(rows, on="ancestor_concept_id")
    return joined.select("concept_set", concept_id="descendant_concept_id")


def _text_list(values: list[str]) -> str:
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in sorted(set(values)))
    return quoted or "NULL"
