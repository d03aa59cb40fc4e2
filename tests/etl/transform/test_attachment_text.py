"""The text within a document: character sets, HTML, RTF; what cannot be read without guessing is no text."""

import base64

import pytest

from etl.transform.attachment_text import text_of, text_of_attachments


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


READ = {
    "UTF-8 by default": ("text/plain", "Fieber \u00fcber 39 \u00b0C".encode(), "Fieber \u00fcber 39 \u00b0C"),
    "Latin 1 as declared": ("text/plain; charset=ISO-8859-1", "\u00fcber".encode("latin-1"), "\u00fcber"),
    "Windows quotes called Latin 1": ('text/plain;charset="iso-8859-1"', b"\x93ja\x94", "\u201cja\u201d"),
    "Japanese Shift JIS": ("text/plain; charset=Shift_JIS", "\u767a\u71b1".encode("shift_jis"), "\u767a\u71b1"),
    "a byte order mark": ("text/plain", b"\xef\xbb\xbfCRS", "CRS"),
    "UTF-16 by its mark": ("text/plain", "CRS".encode("utf-16"), "CRS"),
    "lines of any system": ("TEXT/Plain", b" a\r\nb\rc\0 ", "a\nb\nc"),
    "Markdown as it is": ("text/markdown", b"# CRS\n* fever", "# CRS\n* fever"),
    "blocks and cells of a page": (
        "text/html",
        (b"<html><head><title>Letter</title><style>p {}</style></head><body><p>CRS &amp; fever</p>"
         b"<table><tr><td>IL-6</td><td>120</td></tr></table>one<br/>two<script>alert(1)</script></body></html>"),
        "CRS & fever\n\nIL-6\t120\n\none\ntwo",
    ),
    "a page that says its own character set": (
        "text/html", b'<meta charset="windows-1252"><p>\xfcber</p>', "\u00fcber"),
    "a head that nobody closed": ("application/xhtml+xml", b"<head><body><p>CRS</p>", "CRS"),
    "rich text": (
        "application/rtf",
        (rb"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0 Arial;}}{\*\generator X;}{\info{\author Dr. L}}"
         rb"\f0\fs20 CRS grade 2\par Temp. \'fcber 39\'b0\tab C \{sic\}}"),
        "CRS grade 2\nTemp. \u00fcber 39\u00b0\tC {sic}",
    ),
    "rich text in Unicode": (
        "text/rtf", rb"{\rtf1\ansi\uc1 \u30330?\u29105?{\uc0\u8364}5 \u-10179?\u-8704?}",
        "\u767a\u71b1\u20ac5 \U0001f600"),
    "rich text in a code page of two bytes": (
        "text/rtf", rb"{\rtf1\ansi\ansicpg932 \'94\'ad\'94\'4d}", "\u767a\u71b1"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "content", "text"), READ.values(), ids=READ)
def test_is_read(kind: str, content: bytes, text: str) -> None:
    assert text_of(kind, b64(content)) == text


UNREAD = {
    "no format": ("", b64(b"CRS")),
    "a format that is no text": ("application/pdf", b64(b"%PDF-1.7")),
    "a CDA document": ("application/xml", b64(b"<ClinicalDocument/>")),
    "no base64": ("text/plain", "CRS!"),
    "broken base64": ("text/plain", "Q1J"),
    "undeclared bytes that are not UTF-8": ("text/plain", b64("\u00fcber".encode("latin-1"))),
    "bytes that are not of the declared set": ("text/plain; charset=utf-8", b64(b"\xff")),
    "a character set that nobody knows": ("text/plain; charset=x-none", b64(b"CRS")),
    "what is no character set": ("text/plain; charset=rot13", b64(b"CRS")),
    "half of a pair": ("text/plain; charset=raw_unicode_escape", b64(b"\\ud83d")),
    "plain text called rich": ("text/rtf", b64(b"CRS")),
    "rich text with a number that no character has": ("text/rtf", b64(rb"{\rtf1 \u999999999999?}")),
    "rich text with an escape without number": ("text/rtf", b64(rb"{\rtf1\uc9\u\uc a}")),
    "nothing but space": ("text/plain", b64(b" \n ")),
    "a page without words": ("text/html", b64(b"<p></p>")),
    "no data": ("text/plain", ""),
}


@pytest.mark.parametrize(("kind", "data"), UNREAD.values(), ids=UNREAD)
def test_is_no_text(kind: str, data: str) -> None:
    assert text_of(kind, data) is None


def test_half_a_pair_in_rich_text_is_a_replacement_character() -> None:
    assert text_of("text/rtf", b64(rb"{\rtf1 a\u-10179?b}")) == "a\ufffdb"


def test_base64_over_several_lines_is_one_text() -> None:
    data = b64(b"cytokine release syndrome of grade two")
    assert text_of("text/plain", data[:20] + "\r\n " + data[20:]) == "cytokine release syndrome of grade two"


def test_of_several_formats_the_first_that_can_be_read() -> None:
    kinds, data = ["application/pdf", None, "text/html", "text/plain"], [b64(b"%PDF"), "x", b64(b"<b>CRS</b>"), "CRS"]
    assert text_of_attachments(kinds, data) == "CRS"
    assert text_of_attachments(kinds[:1], data[:1]) is None
    assert text_of_attachments(None, None) is None
