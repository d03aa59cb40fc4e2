"""Which landed resources belong to persons that withdrew, and the same landed files without them.

A resource is theirs when anything in it leads to one of their Patients: a relative or absolute reference, a full URL or
URN, a conditional reference, a logical one, a contained Patient; or when it leads to no Patient at all, but to another
resource of theirs (an observation that names only its encounter). Organizations, practitioners, locations and
medications stay.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import msgspec
import polars as pl

from etl.landing.answer import Landed
from etl.landing.lines import Line as LandedLine
from etl.landing.lines import ShardWriter, index_path
from etl.landing.withdrawn import (
    Line,
    Marker,
    Withdrawn,
    conditional,
    identifiers,
    is_shared,
    lines,
    spelled,
    strings,
    typed,
)

WITHDRAWN = "withdrawn"
"""The reason of a skipped resource: its patient withdrew."""

_DECODE = msgspec.json.Decoder(LandedLine)
_LOT = 1_000
"""Lines that are in memory at a time."""


@dataclass
class Leaving:
    """What leaves: Patients (site, id), numbers of lines, n by (file, site, type), ids by (site, type), all marks."""

    withdrawn: Withdrawn
    patients: set[tuple[str, str]] = field(default_factory=set)
    numbers: set[int] = field(default_factory=set)
    counts: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    ids: set[tuple[str, str, str]] = field(default_factory=set)

    def take(self, line: Line) -> None:
        """Adds a resource."""
        self.numbers.add(line.n)
        self.counts[line.file, line.site, line.kind] += 1
        self.ids.add((line.site, line.kind, line.id))

    @property
    def files(self) -> set[int]:
        """The numbers of the files that held something of theirs."""
        return {file for file, _, _ in self.counts}


def find_leaving(
    shards: Mapping[str, Sequence[Path]], withdrawn: Withdrawn, key: str, link_systems: Sequence[str]
) -> Leaving:
    """What of landed resources belongs to the persons of a list; the list comes back with the marks found here."""
    mark = Marker(key)
    leaving = Leaving(withdrawn)
    _find_patients(list(lines("Patient", shards.get("Patient", ()))), leaving, mark, link_systems)
    marks = leaving.withdrawn.marks
    undecided: list[tuple[Line, set[str]]] = []
    new: set[str] = set()
    for kind, paths in shards.items():
        if kind == "Patient":
            continue
        for line in lines(kind, paths):
            theirs, leads = _leads(line, marks, mark)
            if theirs:
                leaving.take(line)
                new |= _marks_of_resource(line, mark)
            elif leads is not None and not is_shared(kind):
                undecided.append((replace(line, resource={}), leads))
    while found := [(line, leads) for line, leads in undecided if leads & (marks | new)]:
        undecided = [one for one in undecided if not one[1] & (marks | new)]
        for line, _ in found:
            leaving.take(line)
            new |= _marks_of_resource(line, mark)
    # Only encounters are remembered: what comes later and names nobody names its encounter.
    kept = {mark("Encounter", site, one) for site, kind, one in leaving.ids if kind == "Encounter"}
    leaving.withdrawn = leaving.withdrawn.plus(marks=kept)
    return leaving


def _find_patients(patients: list[Line], leaving: Leaving, mark: Marker, link_systems: Sequence[str]) -> None:
    """Takes the Patients of the list and all that are the same person, and adds their marks to the list."""
    meant: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for line in patients:
        for url in _urls(line):
            meant.setdefault((line.site, url), set()).add((line.site, line.id))
    marks = set(leaving.withdrawn.marks)
    waiting = patients
    while True:
        found = [one for one in waiting if _names(one, mark, link_systems) & marks]
        if not found:
            break
        waiting = [one for one in waiting if not _names(one, mark, link_systems) & marks]
        for line in found:
            leaving.take(line)
            leaving.patients.add((line.site, line.id))
            marks |= {mark.patient(line.site, line.id)} | _links(line, mark)
            marks |= {mark("identifier", line.site, spelled(one)) for one in line.resource.get("identifier") or ()}
            marks |= _shared(line, mark, link_systems)
            # A URL that means several patients in several Bundles counts in its own file only.
            marks |= {
                mark("url", line.site, url) if len(meant[line.site, url]) == 1
                else mark("url", line.site, url, str(line.file))
                for url in _urls(line)
            }  # fmt: skip
    leaving.withdrawn = leaving.withdrawn.plus(marks=marks)


def _names(line: Line, mark: Marker, link_systems: Sequence[str]) -> set[str]:
    """The marks by which a Patient is known to be of the list: id, shared identifier, or a link to one of it."""
    return {mark.patient(line.site, line.id)} | _links(line, mark) | _shared(line, mark, link_systems)


def _links(line: Line, mark: Marker) -> set[str]:
    """The marks of the Patients that a Patient says it is, too."""
    found = set()
    for link in line.resource.get("link") or ():
        text = (link.get("other") or {}).get("reference") or ""
        target = typed(text)
        if target and target[0] == "Patient":
            found.add(mark.patient(line.site, target[1]))
        elif text:
            found |= {mark("url", line.site, text), mark("url", line.site, text, str(line.file))}
    return found


def _shared(line: Line, mark: Marker, link_systems: Sequence[str]) -> set[str]:
    """The marks of the identifiers that make Patients of any site one person."""
    return {
        mark("person", spelled(one))
        for one in line.resource.get("identifier") or ()
        if one.get("system") in link_systems and one.get("value")
    }


def _urls(line: Line) -> list[str]:
    """The full URLs of a resource."""
    return [line.url] if line.url else [f"urn:uuid:{line.id}"] if len(line.id) == 36 else []


def _marks_of_resource(line: Line, mark: Marker) -> set[str]:
    return {mark(line.kind, line.site, line.id), *(mark("url", line.site, url) for url in _urls(line))}


def _leads(line: Line, marks: frozenset[str], mark: Marker) -> tuple[bool, set[str] | None]:
    """Whether a resource leads to somebody of the list; if not, the marks of what it leads to, None if to a Patient."""
    leads: set[str] = set()
    somebody = False
    for text in strings(line.resource):
        if "/" in text and (target := typed(text)):
            somebody = somebody or target[0] == "Patient"
            leads.add(mark(target[0], line.site, target[1]))
        if text.startswith(("urn:", "http")):
            leads.add(mark("url", line.site, text))
            if text.startswith("urn:"):
                leads.add(mark("url", line.site, text, str(line.file)))
        if "Patient?" in text and (named := conditional(text)):
            somebody = True
            leads.add(mark("identifier", line.site, named))
    for named in identifiers(line.resource):
        leads.add(mark("identifier", line.site, named))
    return not leads.isdisjoint(marks), None if somebody else leads


def without(landed: Landed, leaving: Leaving, folder: Path) -> Landed:
    """The landed files and frames without what leaves, the files written to `folder` (it may be the same one).

    The lines that leave are counted as skipped, so that the counts still add up. Names of files that held something of
    theirs are left out: exports are often named after patients.
    """
    shards: dict[str, list[Path]] = {}
    for kind, paths in landed.shards.items():
        for path in paths:
            if written := _rewrite(path, folder, leaving.numbers):
                shards.setdefault(kind, []).append(written)
    return replace(landed, folder=folder, shards=shards, **frames_without(landed, leaving))


def frames_without(landed: Landed, leaving: Leaving) -> dict[str, pl.DataFrame]:
    """The frames `files`, `deleted`, `counts` without what leaves."""
    files = landed.files.with_columns(
        pl.when(pl.col("file").is_in(list(leaving.files))).then(None).otherwise(pl.col("name")).alias("name")
    )
    gone: Counter[tuple[str, str]] = Counter()
    here = set(landed.files["file"])
    for (file, site, kind), n in leaving.counts.items():
        if file in here:
            gone[site, kind] += n
    more = [(site, kind, "skipped", WITHDRAWN, n) for (site, kind), n in sorted(gone.items())]
    counts = pl.concat([landed.counts, pl.DataFrame(more, schema=landed.counts.schema, orient="row")])
    left = [tuple(row[:3]) not in leaving.ids for row in landed.deleted.select("site", "resource_type", "id").rows()]
    return {"files": files, "deleted": landed.deleted.filter(pl.Series(left, dtype=pl.Boolean)), "counts": counts}


def _rewrite(path: Path, folder: Path, numbers: set[int]) -> Path | None:
    """A shard without some lines, with its index, in a folder (it may be its own); None when nothing is left."""
    kind, share, _ = path.name.split(".")
    with ShardWriter(folder, int(share)) as writer, path.open("rb") as source:
        while lot := [_DECODE.decode(raw) for raw in islice(source, _LOT)]:
            if kept := [line for line in lot if line.n not in numbers]:
                writer.write({kind: kept})
    if kind not in writer.paths and path.parent == folder:
        path.unlink()
        index_path(path).unlink()
    return writer.paths.get(kind)
