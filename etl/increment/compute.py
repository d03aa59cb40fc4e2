"""The transform of what a change touches, as often as it takes until nothing else is touched."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from etl.increment.fresh import note_fresh, note_meanings
from etl.increment.rows import counts_of_all, keep_touched
from etl.increment.touched import Touched
from etl.landing import Landed
from etl.landing.lines import write_lines
from etl.mapping.language import Mappings
from etl.settings import Settings
from etl.store import Store, create_work_schema
from etl.store.old import THAT_COUNT
from etl.transform.macros import create_macros
from etl.transform.stage import Stage
from etl.transform.transform import Transformed, number_rules, transform

LARGEST_SHARE = 0.25
"""Of everything received: when more has changed, a whole build is quicker."""


@dataclass(frozen=True)
class Computed:
    """What an increment made: `counts` of everything received; the rows are in the work database."""

    done: Transformed
    counts: pl.DataFrame


@dataclass(frozen=True)
class Inputs:
    """What an increment reads: all that was landed, what of it is fresh, and until when the data reached last time."""

    landed: Landed
    fresh: Landed
    until_then: date
    folder: Path


def compute_changes(
    work: duckdb.DuckDBPyConnection, store: Store, stages: Sequence[Stage], mappings: Mappings, settings: Settings,
    inputs: Inputs, derive: Callable[[date], None], progress: Callable[[str], None],
) -> Computed | str:  # fmt: skip
    """Fills `out`, `lin`, `led` and `chg` for `Store.apply`; a text says why everything must be computed instead.

    `led.file` must hold all files that count. `derive` makes periods and eras from schema `whole`.
    """
    create_macros(work, settings.key)
    note_fresh(work, inputs.fresh.shards, inputs.fresh.deleted)
    with store.opened(work):
        lost = work.execute(f"SELECT 1 FROM old.lineage_resource WHERE NOT ({THAT_COUNT}) LIMIT 1").fetchone()
        if lost:
            return "not everything is here that came before"
        touched = Touched(work, stages, link_persons_by=settings.link_persons_by)
        known = work.execute("SELECT count(*) FROM old.resource").fetchone()
        if touched.find_changed() > LARGEST_SHARE * (known[0] if known else 0):
            return "much has changed at once"
        note_meanings(work, inputs.fresh.shards)
        _touch_open_ends(work, store, touched, stages, inputs.until_then)
        touched.find_touched()
        done = _transform(work, touched, stages, mappings, settings, inputs, progress)
        differing = work.execute("SELECT count(*) FROM ((FROM lin.rule EXCEPT FROM old.rule) UNION ALL "
                                 "(FROM old.rule EXCEPT FROM lin.rule))").fetchone()  # fmt: skip
        if differing != (0,):
            return "the rules are numbered otherwise"
        while touched.widen():
            _begin_again(work)
            done = _transform(work, touched, stages, mappings, settings, inputs, progress)
        keep_touched(work, store, inputs.until_then, done.data_until)
        derive(done.data_until)
        return Computed(done, counts_of_all(work).pl())


def _transform(
    work: duckdb.DuckDBPyConnection, touched: Touched, stages: Sequence[Stage], mappings: Mappings, settings: Settings,
    inputs: Inputs, progress: Callable[[str], None],
) -> Transformed:  # fmt: skip
    folder = inputs.folder / "needed"
    folder.mkdir(exist_ok=True)
    shards = {}
    for kind, numbers in touched.numbers().items():
        shards[kind] = [folder / f"{kind}.000.ndjson"]
        write_lines(inputs.landed.shards[kind], numbers, shards[kind][0])
    return transform(work, stages, replace(inputs.landed, shards=shards), mappings, settings, progress)


def _touch_open_ends(
    work: duckdb.DuckDBPyConnection, store: Store, touched: Touched, stages: Sequence[Stage], until_then: date
) -> None:
    """Touches what ended on the last day of the data: it still goes on, or it must be looked at."""
    numbers = number_rules(stages)
    open_ends: dict[tuple[str, str], list[int]] = {}
    for stage in stages:
        for plan in stage.plan.rules:
            for column, sql in plan.columns.items():
                if "data_until()" in sql:
                    open_ends.setdefault((plan.rule.table, column), []).append(numbers[stage.table, plan.rule.name])
    for place, ((table, column), rules) in enumerate(sorted(open_ends.items())):
        rows = f"chg.open_{place}"
        store.fetch(work, table, column, f"SELECT DATE '{until_then}'", rows)
        touched.touch_rows(table, rows, rules)


def _begin_again(work: duckdb.DuckDBPyConnection) -> None:
    """Empties what a transform filled; `led.file` stays."""
    work.execute("DROP SCHEMA stage CASCADE; DROP SCHEMA out CASCADE; DROP SCHEMA lin CASCADE; DROP TABLE led.resource")
    create_work_schema(work)
