"""The cells of a table that html_table made, for a writer that sets no HTML (Word)."""

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Cell:
    """A cell as it is printed; `head` for row and column heads, `right` where numbers stand."""

    text: str
    head: bool
    right: bool
    across: int = 1
    down: int = 1


@dataclass
class Row:
    """A row of cells; `top` for column heads, `group` for the heading of a row group."""

    top: bool
    group: bool
    cells: list[Cell] = field(default_factory=list)


class _Reader(HTMLParser):
    """Collects rows and cells; `<br>` and block ends become line breaks."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[Row] = []
        self._cell: Cell | None = None
        self._top = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("thead", "tbody"):
            self._top = tag == "thead"
        elif tag == "tr":
            self.rows.append(Row(self._top, "gt_group_heading_row" in given.get("class", "")))
        elif tag in ("th", "td"):
            right = "gt_right" in given.get("class", "")
            across, down = int(given.get("colspan", 1)), int(given.get("rowspan", 1))
            self._cell = Cell("", tag == "th", right, across, down)
            self.rows[-1].cells.append(self._cell)
        elif tag == "br" and self._cell is not None:
            self._cell.text += "\n"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td") and self._cell is not None:
            lines = (" ".join(line.split(" ")).strip() for line in self._cell.text.split("\n"))
            self._cell.text = "\n".join(line for line in lines if line)
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.text += data


def read_cells(html: str) -> list[Row]:
    """The rows of the HTML table, column heads first."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.rows


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("p", "li", "br") or dict(attrs).get("class") == "remark":
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def plain_text(html: str) -> str:
    """The words of a piece of HTML, one line per paragraph, list item or remark."""
    reader = _Text()
    reader.feed(html)
    reader.close()
    return "\n".join(line.strip() for line in "".join(reader.parts).split("\n") if line.strip())
