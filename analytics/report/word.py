"""The study as a Word document: the report's own tables, captions, footnotes and figures, from result tables only.

The blocks are those of the HTML report, collected instead of printed, so that both say the same. Figures are pictures
(Word cannot hold the inline SVG) with the same alternative text. What shows single patients is left out.
"""

import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from docx import Document
from docx.enum.section import WD_ORIENT
from docx.enum.table import WD_TABLE_ALIGNMENT
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Cm, Pt

from analytics.figures.canvas import Drawing, with_pictures
from analytics.report.cohort import COHORT
from analytics.report.definitions import DEFINITIONS
from analytics.report.immune import IMMUNE
from analytics.report.material import Material, Section
from analytics.report.meta import ReportMeta
from analytics.report.models import MODELS
from analytics.report.replication import REAL, REPLICATION, SYNTHETIC
from analytics.report.response import RESPONSE
from analytics.report.safety import SAFETY
from analytics.report.sensitivity import SENSITIVITY
from analytics.report.summary import render_summary
from analytics.report.survival import SURVIVAL
from analytics.report.table_cells import Row, plain_text, read_cells
from analytics.statistics.tables import CONTAINS_INDIVIDUALS

SECTIONS = (COHORT, RESPONSE, SURVIVAL, MODELS, IMMUNE, SAFETY, REPLICATION, SENSITIVITY, DEFINITIONS)
_WIDTH = Cm(25.7)  # A4 across, less the margins
_HEIGHT = Cm(14)  # what a page leaves to a figure between caption and notes
_SMALL, _NOTE = Pt(7.5), Pt(8)


@dataclass
class Block:
    """A table or figure of the report, before it is set."""

    label: str
    title: str
    notes: list[str]
    rows: list[Row] | None = None
    drawing: Drawing | None = None


@dataclass
class Collected(Material):
    """Keeps every table and figure that a section makes."""

    blocks: list[Block] = field(default_factory=list)

    def table(self, title: str, body: str, notes: Sequence[str] = ()) -> str:
        html = super().table(title, body, notes)
        self.blocks.append(Block(f"Table {self._tables}", title, _said(notes), rows=read_cells(body)))
        return html

    def figure(self, drawing: Drawing, notes: Sequence[str] = ()) -> str:
        html = super().figure(drawing, notes)
        self.blocks.append(Block(f"Figure {self._figures}", drawing.title, _said(notes), drawing=drawing))
        return html


def _said(notes: Sequence[str]) -> list[str]:
    return [plain_text(note) for note in notes if note]


def write_word(tables: Mapping[str, pl.DataFrame], meta: ReportMeta, path: Path, *, min_cell_count: int = 0) -> Path:
    """Writes the tables and figures of the study as .docx to `path` and gives it back.

    `tables` are written as given: pass them through `suppress` first where small counts must not leave, and name its
    minimum in `min_cell_count`. Tables with rows of single patients are left out in any case.
    """
    shown = {name: table for name, table in tables.items() if name not in CONTAINS_INDIVIDUALS}
    material = Collected(shown, meta)
    document = Document()
    _set_up(document, meta)
    document.add_heading(meta.title, 0)
    document.add_paragraph(plain_text(SYNTHETIC if meta.synthetic else REAL)).runs[0].bold = True
    if min_cell_count > 1:
        document.add_paragraph(f"Counts below {min_cell_count}, and what would give them away, are not shown (–).")
    document.add_heading("Summary", 1)
    for line in plain_text(render_summary(material)).split("\n"):
        document.add_paragraph(line, style="List Bullet")
    with with_pictures():
        for section in SECTIONS:
            _section(document, section, material)
    document.add_paragraph(
        "Figures that show single patients or courses stay in the hospital and are not part of this."
    )
    if lines := "; ".join(f"{what} {value}" for what, value in meta.lines()):
        document.add_paragraph(lines).runs[0].font.size = _NOTE
    path.parent.mkdir(parents=True, exist_ok=True)
    document.save(str(path))
    return path


def _set_up(document: Any, meta: ReportMeta) -> None:
    page = document.sections[0]
    page.orientation, page.page_width, page.page_height = WD_ORIENT.LANDSCAPE, Cm(29.7), Cm(21)
    page.left_margin = page.right_margin = page.top_margin = page.bottom_margin = Cm(2)
    document.styles["Normal"].font.name, document.styles["Normal"].font.size = "Calibri", Pt(10)
    document.core_properties.title, document.core_properties.author = meta.title, "blina"


def _section(document: Any, section: Section, material: Collected) -> None:
    """The section's heading and blocks; what this run could not make is said in one line."""
    material.blocks.clear()
    html = section.render(material)
    if not material.blocks:
        return
    document.add_heading(section.title, 1)
    if section.lead:
        document.add_paragraph(plain_text(section.lead)).paragraph_format.keep_with_next = True
    for block in material.blocks:
        _block(document, block)
    absent = [line for line in plain_text(html).split("\n") if "not computed (" in line]
    absent = [line for line in absent if not any(f"“{name}”" in line for name in CONTAINS_INDIVIDUALS)]
    for line in absent:
        document.add_paragraph(line).runs[0].italic = True


def _block(document: Any, block: Block) -> None:
    caption = document.add_paragraph(style="Caption")
    caption.add_run(f"{block.label}. ").bold = True
    caption.add_run(block.title)
    caption.paragraph_format.keep_with_next = True
    if block.rows:
        _table(document, block.rows)
    elif block.drawing is not None and block.drawing.png:
        width, height = struct.unpack(">II", block.drawing.png[16:24])  # the header of every PNG
        room = min(_WIDTH, Cm(2.2 * block.drawing.width), int(_HEIGHT * width / height))
        picture = document.add_picture(io.BytesIO(block.drawing.png), width=room)
        picture._inline.docPr.set("descr", block.drawing.description)
        picture._inline.docPr.set("title", block.drawing.title)
    for note in block.notes:
        said = document.add_paragraph()
        said.paragraph_format.space_after = Pt(2)
        said.add_run(note).font.size = _NOTE
    document.add_paragraph()


def _table(document: Any, rows: Sequence[Row]) -> None:
    width = max(sum(cell.across for cell in row.cells) for row in rows)
    table = document.add_table(rows=len(rows), cols=width)
    table.alignment = WD_TABLE_ALIGNMENT.LEFT
    table.autofit = False
    grid = [list(line.cells) for line in table.rows]  # once: python-docx reads the whole table for every cell asked for
    for place, share in enumerate(_widths(rows, width)):
        table.columns[place].width = share
        for cells in grid:
            cells[place].width = share
    taken: set[tuple[int, int]] = set()
    for line, row in enumerate(rows):
        place = 0
        for cell in row.cells:
            while (line, place) in taken:
                place += 1
            box = grid[line][place]
            if cell.across > 1 or cell.down > 1:
                box = box.merge(grid[line + cell.down - 1][place + cell.across - 1])
            taken |= {(line + d, place + a) for d in range(cell.down) for a in range(cell.across)}
            _fill(box, cell.text, right=cell.right, bold=row.top or row.group)
        _mark(table.rows[line], grid[line], row)
    _rules(grid, sum(row.top for row in rows))


def _widths(rows: Sequence[Row], width: int) -> list[int]:
    """The page's width shared out by the longest line of each column, none too narrow and none too wide."""
    longest = [11] * width
    for row in rows:
        if not row.group and len(row.cells) == width and all(cell.across == 1 for cell in row.cells):
            for place, cell in enumerate(row.cells):
                lines = [len(line) for line in cell.text.split("\n")]
                longest[place] = max(longest[place], min(48, max(lines)))
    total = max(sum(longest), 90)  # a table of few short columns need not fill the page
    return [int(_WIDTH * one / total) for one in longest]


def _fill(box: Any, text: str, *, right: bool, bold: bool) -> None:
    paragraph = box.paragraphs[0]
    paragraph.paragraph_format.space_after = Pt(0)
    paragraph.alignment = WD_ALIGN_PARAGRAPH.RIGHT if right else WD_ALIGN_PARAGRAPH.LEFT
    run = paragraph.add_run(text)
    run.font.size, run.bold = _SMALL, bold


def _mark(line: Any, cells: Sequence[Any], row: Row) -> None:
    """Column heads come again on every page; a row is never cut; the heading of a group stays with its first row."""
    properties = line._tr.get_or_add_trPr()
    for name in ("w:cantSplit", *(("w:tblHeader",) if row.top else ())):
        properties.append(OxmlElement(name))
    if row.top or row.group:
        for cell in cells:
            cell.paragraphs[0].paragraph_format.keep_with_next = True


def _rules(grid: Sequence[Sequence[Any]], heads: int) -> None:
    """Three lines, as journals set them: above and below the column heads, and at the end."""
    for number, edges in ((0, ("top",)), (heads - 1, ("bottom",)), (len(grid) - 1, ("bottom",))):
        for cell in grid[number]:
            properties = cell._tc.get_or_add_tcPr()
            borders = properties.find(qn("w:tcBorders"))
            if borders is None:
                borders = OxmlElement("w:tcBorders")
                properties.append(borders)
            for edge in edges:
                rule = OxmlElement(f"w:{edge}")
                for name, value in (("val", "single"), ("sz", "8"), ("color", "1B1F24")):
                    rule.set(qn(f"w:{name}"), value)
                borders.append(rule)
