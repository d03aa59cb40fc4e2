"""The text of a document that came within its resource: base64, character set, HTML and RTF undone.

Only for sites whose policy `notes` asks for it. Nothing is fetched: an attachment that is only a URL has no text. A
text that cannot be read without guessing (unknown format, undeclared bytes that are not UTF-8) is none, rather than a
wrong one. Nothing here raises or logs, so that no word of a document can stand in a message.
"""

import base64
import binascii
import codecs
import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser

from striprtf.striprtf import rtf_to_text

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_HEAD = 2048  # bytes in which an HTML page must say its character set (the standard says 1024)


def text_of_attachments(types: Sequence[str | None] | None, data: Sequence[str | None] | None) -> str | None:
    """The text of the first attachment that can be read; `types` are MIME types, `data` base64, in the same order."""
    for kind, content in zip(types or (), data or (), strict=False):
        text = text_of(kind or "", content or "")
        if text:
            return text
    return None


def text_of(content_type: str, data: str) -> str | None:
    """The text of one attachment, None where there is none or it cannot be read without guessing."""
    kind, _, parameters = content_type.partition(";")
    read = _FORMATS.get(kind.strip().lower())
    if read is None:
        return None
    try:
        raw = base64.b64decode("".join(data.split()), validate=True)
        text = read(raw, _charset(parameters))
        text.encode()  # half a surrogate pair could not be stored
    except (binascii.Error, ValueError, LookupError):  # ValueError: also bytes that are not of the character set
        return None
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").strip()
    return text or None


def _charset(parameters: str) -> str | None:
    found = re.search(r"charset\s*=\s*[\"']?([A-Za-z0-9_.:-]+)", parameters, re.IGNORECASE)
    return found[1] if found else None


def _decoded(raw: bytes, charset: str | None) -> str:
    """Text by its byte order mark, else by the declared character set, else UTF-8."""
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return raw[len(mark) :].decode(name)
    # "ISO-8859-1" is read as its superset Windows-1252, as every browser does
    known = codecs.lookup(charset or "utf-8")
    if not getattr(known, "_is_text_encoding", True):
        raise LookupError
    return raw.decode("cp1252" if known.name in {"iso8859-1", "ascii"} and charset else known.name)


# --- HTML --------------------------------------------------------------------------------------------------------

_BLOCKS = frozenset(
    "address article aside blockquote br dd div dl dt fieldset figure footer form h1 h2 h3 h4 h5 h6 header hr li main "
    "nav ol p pre section table tr ul".split()
)
_UNREAD = frozenset(("script", "style", "head", "template"))


class _Page(HTMLParser):
    """The words of a page: a line per block, cells apart, scripts and styles left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.unread: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNREAD:
            self.unread.append(tag)
        elif tag == "body":
            self.unread.clear()  # a <head> that nobody closed
        self._break(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.unread:
            self.unread.remove(tag)
        self._break(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._break(tag)

    def handle_data(self, data: str) -> None:
        if not self.unread:
            self.parts.append(re.sub(r"\s+", " ", data))

    def _break(self, tag: str) -> None:
        if not self.unread:
            self.parts.append("\n" if tag in _BLOCKS else "\t" if tag in {"td", "th"} else "")


def _html(raw: bytes, charset: str | None) -> str:
    meta = _META.search(raw[:_HEAD])
    page = _Page()
    page.feed(_decoded(raw, charset or (meta[1].decode("ascii") if meta else None)))
    page.close()
    lines = (re.sub(r"[ \t]*\t[ \t]*", "\t", line).strip() for line in "".join(page.parts).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


# --- RTF ---------------------------------------------------------------------------------------------------------


def _rtf(raw: bytes, _: str | None) -> str:
    """RTF is ASCII that says its code pages itself. Half a pair of \\u is no character."""
    if not raw.lstrip().startswith(b"{\\rtf"):
        raise ValueError
    try:
        text: str = rtf_to_text(raw.decode("latin-1"), errors="replace")  # type: ignore[no-untyped-call]  # has no types
    except (ArithmeticError, TypeError):  # what striprtf meets in broken RTF, beside ValueError
        raise ValueError from None
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_FORMATS: dict[str, Callable[[bytes, str | None], str]] = {
    "text/plain": _decoded,
    "text/markdown": _decoded,
    "text/html": _html,
    "application/xhtml+xml": _html,
    "text/rtf": _rtf,
    "application/rtf": _rtf,
}
"""How each MIME type is read; PDF, images and CDA are none of these, they are no plain text."""
