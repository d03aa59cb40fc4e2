"""The four forms of delivery: transaction, collection, searchset pages, NDJSON. All end as file name → bytes."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from sample_bundles.render.fhir import Resource

Files = dict[str, bytes]
PAGE_SIZE = 50
SITE2_BASE = "https://his.site2.example/fhir"
SITE3_BASE = "https://fhir.site3.example/fhir"
SWAPPED_TYPE = "Observation"
"""K30: the server's first page of this type is delivered second."""


def name_of(resource: Resource) -> str:
    """`Type/id`."""
    return f"{resource['resourceType']}/{resource['id']}"


def transaction(site: str, resources: Sequence[Resource], hospital: Sequence[Resource]) -> bytes:
    """A transaction Bundle: urn:uuid inside, conditional references to the hospital's own records."""
    known = {name_of(one): f"{one['resourceType']}?identifier={_token(one)}" for one in hospital}

    def rewrite(name: str) -> str:
        return known.get(name) or urn(site, name)

    entries = [
        {
            "fullUrl": urn(site, name_of(one)),
            "resource": rewritten(one, rewrite),
            "request": {"method": "POST", "url": one["resourceType"]},
        }
        for one in resources
    ]
    return _bundle({"resourceType": "Bundle", "type": "transaction"}, entries)


def collection(resources: Sequence[Resource]) -> bytes:
    """A collection Bundle with relative references."""
    entries = [{"fullUrl": f"{SITE2_BASE}/{name_of(one)}", "resource": one} for one in resources]
    return _bundle({"resourceType": "Bundle", "type": "collection"}, entries)


def pages(resources: Iterable[Resource], gb18030_with: str) -> tuple[Files, list[str]]:
    """Searchset pages of 50 per type with absolute URLs, and the names of the pages written in GB18030.

    A page is written in GB18030 if it is one of MedicationAdministration and holds something of that patient.
    """
    files: Files = {}
    encoded: list[str] = []
    for resource_type, found in by_type(resources).items():
        parts = [found[first : first + PAGE_SIZE] for first in range(0, len(found), PAGE_SIZE)]
        for number, part in enumerate(parts, start=1):
            text = _page(resource_type, part, number, len(parts), len(found)).decode()
            name = f"{resource_type}-{_delivered(resource_type, number):03d}.json"
            odd = resource_type == "MedicationAdministration" and any(gb18030_with in one["id"] for one in part)
            files[name] = text.encode("gb18030" if odd else "utf-8")
            encoded += [name] if odd else []
    return files, encoded


def ndjson(resources: Iterable[Resource], suffix: str = "") -> Files:
    """One file per resource type, one resource per line."""
    return {
        f"{resource_type}{suffix}.ndjson": "".join(f"{_compact(one)}\n" for one in found).encode()
        for resource_type, found in by_type(resources).items()
    }


def by_type(resources: Iterable[Resource]) -> dict[str, list[Resource]]:
    """The resources by type, types in the order of their names."""
    found: dict[str, list[Resource]] = defaultdict(list)
    for one in resources:
        found[one["resourceType"]].append(one)
    return dict(sorted(found.items()))


def urn(site: str, name: str) -> str:
    """The fixed urn:uuid of a resource."""
    return f"urn:uuid:{uuid5(NAMESPACE_URL, f'https://blina.example/{site}/{name}')}"


def with_what_they_name(wanted: Sequence[Resource], among: Mapping[str, Resource]) -> list[Resource]:
    """These resources and all those among the given ones that they refer to, directly or not."""
    found: dict[str, Resource] = {}
    waiting = list(wanted)
    while waiting:
        one = waiting.pop()
        if name_of(one) in found:
            continue
        found[name_of(one)] = one
        rewritten(one, lambda name: _collect(name, among, waiting))
    return [found[name] for name in sorted(found)]


def _collect(name: str, among: Mapping[str, Resource], waiting: list[Resource]) -> str:
    if name in among:
        waiting.append(among[name])
    return name


def rewritten(element: Any, rewrite: Callable[[str], str]) -> Any:
    """A copy with every relative reference rewritten; contained ones (`#`) stay."""
    if isinstance(element, list):
        return [rewritten(one, rewrite) for one in element]
    if not isinstance(element, dict):
        return element
    return {
        key: rewrite(value) if key == "reference" and not value.startswith("#") else rewritten(value, rewrite)
        for key, value in element.items()
    }


def _delivered(resource_type: str, number: int) -> int:
    return {1: 2, 2: 1}.get(number, number) if resource_type == SWAPPED_TYPE else number


def _page(resource_type: str, part: Sequence[Resource], number: int, last: int, total: int) -> bytes:
    def url(page: int) -> str:
        return f"{SITE3_BASE}/{resource_type}?_count={PAGE_SIZE}&page={page}"

    links = [{"relation": "self", "url": url(number)}]
    if number < last:
        links.append({"relation": "next", "url": url(number + 1)})
    head = {"resourceType": "Bundle", "type": "searchset", "total": total, "link": links}
    entries = [
        {
            "fullUrl": f"{SITE3_BASE}/{name_of(one)}",
            "resource": rewritten(one, lambda name: f"{SITE3_BASE}/{name}"),
            "search": {"mode": "match"},
        }
        for one in part
    ]
    return _bundle(head, entries)


def _token(resource: Resource) -> str:
    found = resource["identifier"][0]
    return f"{found['system']}|{found['value']}"


def _bundle(head: dict[str, Any], entries: Sequence[dict[str, Any]]) -> bytes:
    """One entry per line, so that a change of one resource is a change of one line."""
    lines = ",\n".join(_compact(entry) for entry in entries)
    return f'{_compact(head)[:-1]},"entry":[\n{lines}\n]}}\n'.encode()


def _compact(element: Any) -> str:
    return json.dumps(element, ensure_ascii=False, separators=(",", ":"))
