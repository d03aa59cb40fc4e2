"""The result tables as the report's sections see them, and the blocks (tables, figures, notes) that sections make.

A section asks for a table with the columns it needs. If the table is absent, empty or lacks a column, the block says
"not computed" and why; a report is made from whatever a run could compute.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import polars as pl

from analytics.figures.canvas import Drawing
from analytics.report.meta import ReportMeta


class NotComputedError(Exception):
    """A result table that a block needs is not there; the message says which. Never leaves the report."""


def some(table: pl.DataFrame, what: str) -> pl.DataFrame:
    """The table if it has a row; raises NotComputedError, saying that there is no `what`, otherwise."""
    if table.is_empty():
        raise NotComputedError(f"the result tables hold no {what}")
    return table


def total_of(counts: pl.Series) -> int | None:
    """The sum of counts; None when one of them is suppressed, because then the sum would be too small."""
    return None if counts.null_count() else int(counts.sum())


@dataclass
class Material:
    """The tables of a run, its provenance, and the running numbers of tables and figures."""

    tables: Mapping[str, pl.DataFrame]
    meta: ReportMeta
    _tables: int = 0
    _figures: int = 0

    def need(self, name: str, *columns: str) -> pl.DataFrame:
        """The table `name`, with at least one row and these columns; raises NotComputedError otherwise."""
        table = self.tables.get(name)
        if table is None:
            raise NotComputedError(f"the result table “{name}” is not part of this run")
        missing = [column for column in columns if column not in table.columns]
        if missing:
            raise NotComputedError(f"the result table “{name}” lacks {', '.join(missing)}")
        if table.is_empty():
            raise NotComputedError(f"the result table “{name}” is empty")
        return table

    def maybe(self, name: str, *columns: str) -> pl.DataFrame | None:
        """The table `name`, or None where `need` would refuse."""
        try:
            return self.need(name, *columns)
        except NotComputedError:
            return None

    def table(self, title: str, body: str, notes: Sequence[str] = ()) -> str:
        """A numbered table in its own scrolling box. `body` and `notes` are HTML, `title` is text."""
        self._tables += 1
        return _block("table", f"Table {self._tables}", title, body, notes)

    def figure(self, drawing: Drawing, notes: Sequence[str] = ()) -> str:
        """A numbered figure; `notes` are HTML."""
        self._figures += 1
        body = f'<div class="plate" style="--plot-width:{drawing.width:.1f}">{drawing.svg}</div>'
        return _block("figure", f"Figure {self._figures}", drawing.title, body, notes)


@dataclass(frozen=True)
class Section:
    """One chapter: `blocks` are functions from the material to HTML, tried one by one."""

    anchor: str
    title: str
    blocks: tuple[tuple[str, Callable[[Material], str]], ...]
    lead: str = ""

    def render(self, material: Material) -> str:
        """The chapter as HTML; a block without its table becomes a sentence that says so."""
        parts = [
            f'<section id="{self.anchor}" aria-labelledby="{self.anchor}-heading">',
            f'<h2 id="{self.anchor}-heading">{escape(self.title)}</h2>',
        ]
        if self.lead:
            parts.append(f'<p class="lead">{self.lead}</p>')
        for name, build in self.blocks:
            try:
                parts.append(build(material))
            except NotComputedError as reason:
                parts.append(
                    f'<p class="absent"><strong>{escape(name)}:</strong> not computed ({escape(str(reason))}).</p>'
                )
        return "\n".join([*parts, "</section>"])


def _block(kind: str, label: str, title: str, body: str, notes: Sequence[str]) -> str:
    anchor = label.lower().replace(" ", "-")
    footer = f'<div class="notes">{"".join(f"<p>{note}</p>" for note in notes if note)}</div>' if any(notes) else ""
    return (
        f'<figure class="block {kind}" id="{anchor}">'
        f'<figcaption id="{anchor}-caption"><span class="label">{label}.</span> {escape(title)}</figcaption>'
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{anchor}-caption">{body}</div>'
        f"{footer}</figure>"
    )
