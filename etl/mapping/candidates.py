"""Concepts whose names are like a source name: what a reviewer looks at first.

Names are compared in two steps, so that a whole Athena download (millions of concepts) stays feasible. Blocking: a
concept is compared only if it shares one of the rarer words (or word beginnings, or pairs of Chinese or Japanese signs)
of the source name. Scoring: the mean of how much of the words' weight (inverse document frequency) both share, and of
how many trigrams they share (Dice). 1 = the same name; an exact name is always among the candidates.
"""

import duckdb
import polars as pl

from etl.store.work import insert_frame

COMMON = 8_000
"""A word that so many concepts have finds nothing: it is weighed, but not used to find candidates."""

COMPARED = 60
"""Concepts per source name whose trigrams are compared: those that share the most word weight."""

_KEYS_OF_A_NAME = 6
_LEAST = 0.3
"""Names that are less like each other are not shown."""

_OTHER_DOMAIN = 0.7
"""A concept of another domain than the element takes is shown with its score lowered, never hidden."""

_WORDS = r"list_distinct(list_filter(regexp_split_to_array({0}, '[^\p{{L}}\p{{N}}%+]+'), lambda w: w <> ''))"
_RUNS = r"regexp_extract_all({0}, '[\p{{Han}}\p{{Hiragana}}\p{{Katakana}}\p{{Hangul}}]{{2,}}')"
_PAIRS = (
    "flatten(list_transform(" + _RUNS + ", "
    "lambda r: list_transform(range(1, length(r)), lambda i: substr(r, i::INTEGER, 2))))"
)
_SEMANTIC_TAG = (
    r" \((procedure|disorder|finding|substance|situation|observable entity|qualifier value|body structure)\)$"
)
_PLAIN = f"regexp_replace(lower(strip_accents(nfc_normalize({{0}}))), '{_SEMANTIC_TAG}', '')"
_TRIGRAMS = (
    "list_distinct(list_transform(range(1, length({0}) + 3), lambda i: substr('  ' || {0} || '  ', i::INTEGER, 3)))"
)


def find_candidates(connection: duckdb.DuckDBPyConnection, names: pl.DataFrame, per_name: int = 5) -> pl.DataFrame:
    """The best concepts per name: item, rank (1 = best), concept_id, concept_name, domain_id, vocabulary_id,
    concept_code, score (0–1).

    `names` has item (an integer), name, domains (list of the domains the element takes; empty = any). Only valid
    standard concepts of `cdm.concept` are looked at, by their name and by their synonyms.
    """
    _note_names(connection, names)
    _note_words(connection)
    _block(connection)
    return _score(connection, per_name)


def _note_names(connection: duckdb.DuckDBPyConnection, names: pl.DataFrame) -> None:
    connection.execute("CREATE OR REPLACE TEMP TABLE wanted (item BIGINT, name VARCHAR, domains VARCHAR[])")
    insert_frame(connection, "wanted", names.select("item", "name", "domains"))
    connection.execute(f"UPDATE wanted SET name = {_PLAIN.format('name')}")


def _keys(name: str) -> str:
    """SQL of the blocking keys of a name: its words, the first four letters of long ones, pairs of signs."""
    words = _WORDS.format(name)
    starts = f"list_transform(list_filter({words}, lambda w: length(w) >= 5), lambda w: '~' || substr(w, 1, 4))"
    return f"list_distinct(list_concat({words}, {starts}, {_PAIRS.format(name)}))"


def _note_words(connection: duckdb.DuckDBPyConnection) -> None:
    """`labels` (every name of a concept), `label_keys` (the keys that wanted names have too), `weights` by key."""
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE wanted_keys AS SELECT item, unnest({_keys('name')}) AS key FROM wanted"
    )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE labels AS
            WITH standard AS (
              FROM cdm.concept WHERE standard_concept = 'S' AND invalid_reason IS NULL AND concept_id <> 0),
            named AS (
              SELECT concept_id, concept_name AS name FROM standard WHERE concept_name IS NOT NULL
              UNION ALL SELECT concept_id, concept_code FROM standard WHERE vocabulary_id = 'UCUM'
              UNION ALL SELECT concept_id, concept_synonym_name FROM cdm.concept_synonym
              SEMI JOIN standard USING (concept_id))
            SELECT row_number() OVER (ORDER BY concept_id, name) AS label_id, concept_id,
                   {_PLAIN.format("name")} AS label FROM named"""
    )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE label_keys AS
            SELECT label_id, key FROM (SELECT label_id, unnest({_keys("label")}) AS key FROM labels)
            SEMI JOIN wanted_keys USING (key)"""
    )
    # Beginnings of words find misspelt ones; they say little by themselves, so they weigh half.
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE weights AS
           SELECT key, count(k.label_id) AS n,
                  ln(1 + (SELECT count(*) FROM cdm.concept)::DOUBLE / (1 + count(k.label_id)))
                    * CASE WHEN starts_with(key, '~') THEN 0.5 ELSE 1 END AS weight
           FROM (SELECT DISTINCT key FROM wanted_keys) LEFT JOIN label_keys k USING (key) GROUP BY key"""
    )


def _block(connection: duckdb.DuckDBPyConnection) -> None:
    """`pairs`: the concepts that are compared with each wanted name, with the word weight that both share."""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE pairs AS
            WITH finding AS (
              SELECT item, key, weight FROM wanted_keys JOIN weights USING (key) WHERE n BETWEEN 1 AND {COMMON}
              QUALIFY row_number() OVER (PARTITION BY item ORDER BY weight DESC, key) <= {_KEYS_OF_A_NAME}),
            found AS (
              SELECT item, label_id, sum(weight) AS shared FROM finding JOIN label_keys USING (key)
              GROUP BY item, label_id),
            best AS (
              FROM found
              QUALIFY row_number() OVER (PARTITION BY item ORDER BY shared DESC, label_id) <= {COMPARED})
            SELECT item, label_id, concept_id, label FROM (
              SELECT item, label_id FROM best
              UNION
              SELECT w.item, l.label_id FROM wanted w JOIN labels l ON l.label = w.name)
            JOIN labels USING (label_id)"""
    )


def _score(connection: duckdb.DuckDBPyConnection, per_name: int) -> pl.DataFrame:
    # A word that no wanted name has weighs as much as one that stands once in the vocabulary: it is a difference.
    unknown = "ln(1 + (SELECT count(*) FROM cdm.concept)::DOUBLE / 2)"
    words, trigrams = _WORDS.format("label"), _TRIGRAMS.format("label")
    return connection.execute(
        f"""WITH words AS (
              SELECT item, label_id, unnest({words}) AS key FROM pairs),
            shared AS (
              SELECT p.item, p.label_id, sum(coalesce(g.weight, {unknown})) AS whole,
                     sum(g.weight) FILTER (w.key IS NOT NULL) AS both
              FROM words p LEFT JOIN weights g USING (key)
              LEFT JOIN wanted_keys w ON w.item = p.item AND w.key = p.key GROUP BY ALL),
            own AS (
              SELECT item, sum(weight) AS whole FROM wanted_keys JOIN weights USING (key)
              WHERE NOT starts_with(key, '~') GROUP BY item),
            compared AS (
              SELECT p.item, p.concept_id, {trigrams} AS theirs, {_TRIGRAMS.format("w.name")} AS mine,
                     CASE WHEN p.label = w.name THEN 1
                          ELSE 2 * coalesce(s.both, 0) / nullif(s.whole + o.whole, 0) END AS by_words
              FROM pairs p JOIN wanted w USING (item)
              LEFT JOIN shared s USING (item, label_id) LEFT JOIN own o USING (item)),
            scored AS (
              SELECT item, concept_id,
                     max((coalesce(least(by_words, 1), 0)
                          + 2.0 * len(list_intersect(theirs, mine)) / (len(theirs) + len(mine))) / 2) AS score
              FROM compared GROUP BY ALL)
            SELECT item, row_number() OVER ranked AS rank, concept_id, concept_name, domain_id, vocabulary_id,
                   concept_code, round(score * fit, 2) AS score
            FROM (SELECT s.*, c.concept_name, c.domain_id, c.vocabulary_id, c.concept_code,
                         CASE WHEN len(w.domains) = 0 OR list_contains(w.domains, c.domain_id) THEN 1
                              ELSE {_OTHER_DOMAIN} END AS fit
                  FROM scored s JOIN cdm.concept c USING (concept_id) JOIN wanted w USING (item))
            WHERE score * fit >= {_LEAST}
            WINDOW ranked AS (PARTITION BY item ORDER BY score * fit DESC, concept_id)
            QUALIFY rank <= {int(per_name)} ORDER BY item, rank"""
    ).pl()
