"""The drawing board: one style, colours that follow the page's theme, and SVG that can stand in any page.

Text stays text (selectable, searchable); matplotlib measures it with its own DejaVu Sans, which is wider than the fonts
of a page, so nothing overlaps. Colours are the Okabe–Ito palette; on export each becomes a CSS variable with the light
value behind it, so that the page can lighten them on a dark ground. The same tables give the same bytes: the ids are
salted with the figure's name, and no date is written.
"""

import io
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK: Final = "#1b1f24"
MUTED: Final = "#5b6470"
RULE: Final = "#d5dae0"
PLATE: Final = "#f1f4f7"
PAPER: Final = "#fefefe"
BLUE: Final = "#0072b2"
ORANGE: Final = "#e69f00"
GREEN: Final = "#009e73"
VERMILION: Final = "#d55e00"
PURPLE: Final = "#cc79a7"
SKY: Final = "#56b4e9"

_VARIABLES = {
    INK: "--fig-ink",
    MUTED: "--fig-muted",
    RULE: "--fig-rule",
    PLATE: "--fig-plate",
    PAPER: "--fig-paper",
    BLUE: "--fig-blue",
    ORANGE: "--fig-orange",
    GREEN: "--fig-green",
    VERMILION: "--fig-vermilion",
    PURPLE: "--fig-purple",
    SKY: "--fig-sky",
}

STRATUM_STYLE: Final[dict[str, tuple[str, Any]]] = {
    "CR_MRDneg": (BLUE, "-"),
    "CR_MRDpos": (ORANGE, (0, (5, 1.5))),
    "RR": (VERMILION, (0, (1.5, 1))),
    "UNKNOWN": (MUTED, "-."),
}
"""Colour and dash of each stratum: the dash tells them apart where colour does not."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.unicode_minus": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "text.color": INK,
    "mathtext.default": "regular",
    "path.simplify": False,
}


@dataclass(frozen=True)
class Drawing:
    """A finished figure: `svg` to be put inline, `title` and `description` (the alternative text with the numbers).

    `png` is the same as a picture of 200 dots per inch, made only inside `with_pictures`.
    """

    name: str
    svg: str
    title: str
    description: str
    width: float
    png: bytes = b""


_PICTURES: ContextVar[bool] = ContextVar("pictures", default=False)
_DPI = 200


@contextmanager
def with_pictures() -> Iterator[None]:
    """Figures drawn inside also carry a PNG, for documents that cannot hold SVG."""
    token = _PICTURES.set(True)
    try:
        yield
    finally:
        _PICTURES.reset(token)


def style(name: str) -> AbstractContextManager[None]:
    """The settings under which a figure is drawn and saved (a context manager)."""
    return mpl.rc_context({**_STYLE, "svg.hashsalt": name})


def board(width: float, height: float) -> Figure:
    """An empty figure of the given size in inches, apart from any global state of pyplot."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def export(figure: Figure, name: str, title: str, description: str) -> Drawing:
    """The figure as inline SVG with role, title and description; to be called inside `style(name)`.

    Ids get the figure's name as prefix (several figures share a page), matplotlib's page-wide <style>, its metadata
    and its fixed size go, fonts become sizes, and palette colours become CSS variables.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.S)
    svg = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>\s*", "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.S)
    svg = _own_ids(svg, name)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r"font: ?(?P<rest>[^;\"]*?)(?P<size>[\d.]+)px [^;\"]*", _font, svg)
    for colour, variable in _VARIABLES.items():
        svg = re.sub(rf"(?<=: ){colour}", f"var({variable}, {colour})", svg)
    view = re.search(r'viewBox="[^"]+"', svg)
    assert view is not None, "matplotlib writes a viewBox"
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' class="plot" {view.group()}'
        f' role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    )
    svg = re.sub(r"^<svg[^>]*>", lambda _: head, svg, count=1)
    return Drawing(name, svg, title, description, figure.get_figwidth(), _picture(figure))


def _picture(figure: Figure) -> bytes:
    if not _PICTURES.get():
        return b""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _own_ids(svg: str, name: str) -> str:
    """Ids that something refers to get a prefix; the others (figure_1, axes_1, …) go."""
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m.group(1)}"' if m.group(1) in used else "", svg)
    return re.sub(r'((?:href="|url\()#)', lambda m: f"{m.group(1)}{name}-", svg)


def _font(match: "re.Match[str]") -> str:
    """`font: bold 10px 'DejaVu Sans'` as size and weight; the family is the page's."""
    weight = "; font-weight: 700" if re.search(r"bold|[67]00", match["rest"]) else ""
    slant = "; font-style: italic" if "italic" in match["rest"] else ""
    return f"font-size: {match['size']}px{weight}{slant}"
