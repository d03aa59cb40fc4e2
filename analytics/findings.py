"""What the derivations notice: counters of data quality (REALITIES.md) and evidence for every derived value."""

from dataclasses import dataclass, field

import polars as pl

COUNTERS = {"counter": pl.String, "site": pl.String, "n": pl.Int64, "denominator": pl.Int64}
EVIDENCE = {
    "table": pl.String,
    "key": pl.String,
    "field": pl.String,
    "rule": pl.String,
    "grade": pl.String,
    "source_table": pl.String,
    "source_ids": pl.String,
}
ALL_SITES = "all"


@dataclass
class Findings:
    """Collects counters and evidence while a study is derived; holds ids and counts only."""

    _counts: list[tuple[str, pl.DataFrame, pl.DataFrame | None]] = field(default_factory=list)
    _evidence: list[pl.DataFrame] = field(default_factory=list)

    def count(self, counter: str, rows: pl.DataFrame, among: pl.DataFrame | None = None) -> None:
        """Counts rows (with person_id) that show a reality, among the rows in which it was looked for."""
        self._counts.append((counter, rows.select("person_id"), None if among is None else among.select("person_id")))

    def count_number(self, counter: str, n: int) -> None:
        """A count that belongs to no person; it stands under `all`."""
        self.count(counter, pl.DataFrame({"person_id": [None] * n}, schema={"person_id": pl.Int64}))

    def evidence(
        self,
        rows: pl.DataFrame,
        *,
        table: str,
        field: str,
        rule: str,
        source_table: str,
        source_id: str,
        grade: str | pl.Expr = "B",
        key: tuple[str, ...] = ("person_id",),
    ) -> None:
        """One line per row of `rows`: the source ids (column `source_id`: one id, or a list of ids) of a value."""
        if rows.is_empty():
            return
        ids = pl.col(source_id)
        listed = (
            ids.cast(pl.List(pl.String)).list.join(" ") if rows.schema[source_id] == pl.List else ids.cast(pl.String)
        )
        self._evidence.append(
            rows.select(
                table=pl.lit(table),
                key=pl.concat_str([pl.col(one).cast(pl.String) for one in key], separator=":"),
                field=pl.lit(field),
                rule=pl.lit(rule),
                grade=pl.lit(grade) if isinstance(grade, str) else grade.cast(pl.String),
                source_table=pl.lit(source_table),
                source_ids=listed,
            )
        )

    def evidence_frame(self) -> pl.DataFrame:
        """All evidence: the columns of `EVIDENCE`; `key` is person_id or person_id:course_no."""
        frames = [pl.DataFrame(schema=EVIDENCE), *(one.cast(EVIDENCE) for one in self._evidence)]  # type: ignore[arg-type]
        return pl.concat(frames).unique().sort(list(EVIDENCE))

    def counters_frame(self, sites: pl.DataFrame) -> pl.DataFrame:
        """All counters by site and over all sites, zeros included; `sites`: person_id, site."""
        names = sites["site"].drop_nulls().unique().sort().to_list()
        frames = [pl.DataFrame(schema=COUNTERS)]
        for counter, rows, among in self._counts:
            n, denominator = _by_site(rows, sites), None if among is None else _by_site(among, sites)
            frames.append(
                pl.DataFrame(
                    [
                        (counter, site, n.get(site, 0), None if denominator is None else denominator.get(site, 0))
                        for site in [*names, ALL_SITES]
                    ],
                    schema=COUNTERS,
                    orient="row",
                )
            )
        summed = (
            pl.concat(frames)
            .group_by("counter", "site")
            .agg(
                pl.col("n").sum(),
                pl.when(pl.col("denominator").is_not_null().any())
                .then(pl.col("denominator").sum())
                .alias("denominator"),
            )
        )
        return summed.sort("counter", "site")


def _by_site(rows: pl.DataFrame, sites: pl.DataFrame) -> dict[str, int]:
    counted = rows.join(sites.select("person_id", "site"), on="person_id", how="left").group_by("site").len()
    by_site = {site: n for site, n in counted.iter_rows() if site is not None}
    return by_site | {ALL_SITES: rows.height}
