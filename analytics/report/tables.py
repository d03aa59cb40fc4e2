"""Result rows as an HTML table, set by great-tables.

Of great-tables' output the table itself is kept: its stub, groups, column heads and spanners. Its style sheet goes
(it fixes light colours and styles `tr` for the whole page; the page has its own), ids go (they repeat from table to
table), and row heads get their scope. Cells are escaped here, because great-tables does not.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import great_tables as gt
import polars as pl

from analytics.report.material import NotComputedError

_MANY = 9
"""Columns from which a table is set more tightly, so that it fits the page beside the contents."""


@dataclass(frozen=True)
class Column:
    """A column: `name` in the rows, `label` for the reader (HTML, with its unit), and an optional common heading."""

    name: str
    label: str
    align: Literal["left", "center", "right"] = "right"
    spanner: str = ""


def html_table(
    rows: Sequence[Mapping[str, object]], columns: Sequence[Column], *, stub: str, group: str | None = None
) -> str:
    """The rows as an HTML table; the column `stub` holds the row heads, `group` (a key of the rows) makes row groups.

    Every value is text ready to be shown; None is shown as an empty cell. `columns` includes the stub column.
    Raises NotComputedError when there is no row.
    """
    if not rows:
        raise NotComputedError("the result tables hold no row for it")
    names = [column.name for column in columns] + ([group] if group else [])
    cells = {name: ["" if row[name] is None else escape(str(row[name])) for row in rows] for name in names}
    table = gt.GT(
        pl.DataFrame(cells, schema=dict.fromkeys(names, pl.String)), rowname_col=stub, groupname_col=group, id="t"
    )
    labels: dict[str, Any] = {column.name: gt.html(column.label) for column in columns if column.name != stub}
    table = table.cols_label(**labels)
    head = next(column.label for column in columns if column.name == stub)
    table = table.tab_stubhead(gt.html(head))
    for align in ("left", "center", "right"):
        chosen = [column.name for column in columns if column.align == align and column.name != stub]
        if chosen:
            table = table.cols_align(align, columns=chosen)
    for spanner in dict.fromkeys(column.spanner for column in columns if column.spanner):
        table = table.tab_spanner(gt.html(spanner), [column.name for column in columns if column.spanner == spanner])
    html = _plain(table.as_raw_html())
    return html.replace('class="gt_table', 'class="dense gt_table', 1) if len(columns) >= _MANY else html


def _plain(raw: str) -> str:
    """Only the <table> of great-tables' output, without ids, inline sizes and Quarto attributes, with scopes."""
    found = re.search(r"<table.*</table>", raw, flags=re.S)
    assert found is not None, "great-tables writes a table"
    html = re.sub(r' (?:id|headers|style|data-quarto-[a-z-]+)="[^"]*"', "", found.group())
    html = re.sub(r' (?:rowspan|colspan)="1"', "", html)
    html = re.sub(r'<th class="gt_row ([^"]*)"(?! scope)', r'<th scope="row" class="gt_row \1"', html)
    html = re.sub(r'<th class="gt_group_heading', r'<th scope="colgroup" class="gt_group_heading', html)
    return re.sub(r"\n\s*", "\n", html)
