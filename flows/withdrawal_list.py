"""The list of who withdraws: pairs of site and Patient id in a text file."""

import csv
import re
from pathlib import Path

from etl.errors import UsageError

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


def read_list(path: Path) -> list[tuple[str, str]]:
    """(site, Patient id) of each line: tab-separated without a header, or a CSV with the columns site and id.

    An id may be written as a reference (`Patient/…`). Raises UsageError naming every line that cannot be read, without
    what stands in it.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: the list cannot be read ({type(error).__name__})") from None
    has_header = bool(lines) and {"site", "id"} <= {name.strip().lower() for name in re.split("[,;\t]", lines[0])}
    found: list[tuple[str, str]] = []
    problems = []
    for number, row in _rows(lines, has_header):
        site, one = row
        if not site or not _ID.fullmatch(one):
            problems.append(f"line {number}: no site and Patient id")
        else:
            found.append((site, one))
    if problems:
        form = "one line each: site, tab, Patient id; or a CSV with the columns site and id"
        raise UsageError(f"{path}: the list cannot be used ({form}); nothing was withdrawn", problems=problems)
    if not found:
        raise UsageError(f"{path}: the list is empty")
    return list(dict.fromkeys(found))


def _rows(lines: list[str], has_header: bool) -> list[tuple[int, tuple[str, str]]]:
    rows = []
    if has_header:
        delimiter = next(one for one in ("\t", ";", ",") if one in lines[0])
        names = [name.strip().lower() for name in next(csv.reader([lines[0]], delimiter=delimiter))]
        for number, cells in enumerate(csv.reader(lines[1:], delimiter=delimiter), start=2):
            row = dict(zip(names, cells, strict=False))
            rows.append((number, (row.get("site", "").strip(), _bare(row.get("id", "")))))
    else:
        for number, line in enumerate(lines, start=1):
            site, _, one = line.partition("\t")
            rows.append((number, (site.strip(), _bare(one))))
    return [(number, row) for number, row in rows if any(row)]


def _bare(text: str) -> str:
    return text.strip().removeprefix("Patient/")
