"""All files of sample_bundles/ that are rendered: what each hospital delivers, and the list of plants."""

import json
from collections.abc import Sequence
from pathlib import Path

from sample_bundles.render import deliver
from sample_bundles.render.deliver import Files, name_of
from sample_bundles.render.dialect import Dialect
from sample_bundles.render.fhir import Resource
from sample_bundles.render.plants import Plants, list_truth, plant
from sample_bundles.render.site1 import Site1
from sample_bundles.render.site2 import Site2
from sample_bundles.render.site3 import Site3
from sample_bundles.render.site4 import Site4
from sample_bundles.render.story import CONTACT_ELSEWHERE, last_contact, story
from sample_bundles.render.truth import Child, read_truth

RENDERED = ("site1", "site2", "site3", "site4", "plants.json")
"""What the renderer owns below sample_bundles/."""
GB18030_CHILD = "P100"


def render() -> Files:
    """Every rendered file, by its path below sample_bundles/."""
    plants = Plants()
    children = read_truth()
    files: Files = {}
    for dialect in (Site1(plants), Site2(plants), Site3(plants), Site4(plants)):
        made = {
            child: dialect.child(child, plant(child, story(child))) for child in children if child.site == dialect.site
        }
        delivered = _deliver(dialect, made, plants)
        if dialect.site == "SITE1":
            delivered |= _contact_elsewhere(dialect, children, plants)
        files |= {f"{dialect.site.lower()}/{name}": content for name, content in delivered.items()}
    for child in children:
        list_truth(plants, child)
    files["plants.json"] = (json.dumps(plants.as_json(), ensure_ascii=False, indent=1) + "\n").encode()
    return files


def differences(folder: Path, files: Files) -> list[str]:
    """The paths below a folder that are missing, superfluous or different from these files."""
    there = {
        path.relative_to(folder).as_posix()
        for name in RENDERED
        for path in ([folder / name] if name.endswith(".json") else (folder / name).rglob("*"))
        if path.is_file()
    }
    changed = {name for name in there & files.keys() if (folder / name).read_bytes() != files[name]}
    return sorted(changed | (there ^ files.keys()))


def write(folder: Path, files: Files) -> None:
    """Writes the files below a folder and removes what was rendered there before and is rendered no more."""
    for name in differences(folder, files):
        path = folder / name
        if name in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name])
        else:
            path.unlink()


def _deliver(dialect: Dialect, made: dict[Child, list[Resource]], plants: Plants) -> Files:
    twice = {child: _delivered_twice(child, resources) for child, resources in made.items()}
    for child, resource in twice.items():
        if resource is not None:
            plants.add("K04", dialect.site, child.patient_id, [name_of(resource)])
    again = [resource for resource in twice.values() if resource is not None]
    match dialect.site:
        case "SITE1" | "SITE2":
            return _by_patient(dialect, made, twice, plants)
        case "SITE3":
            return _paged(dialect, made, again, plants)
        case _:
            everything = [*dialect.hospital(), *(one for resources in made.values() for one in resources)]
            return deliver.ndjson(everything) | deliver.ndjson(again, suffix=".2")


def _delivered_twice(child: Child, resources: Sequence[Resource]) -> Resource | None:
    """K04: the first bag of every child whose number ends in 7."""
    if child.number % 10 != 7:
        return None
    return next(one for one in resources if one["id"] == f"{child.patient_id}-bag-1-01")


def _by_patient(
    dialect: Dialect, made: dict[Child, list[Resource]], twice: dict[Child, Resource | None], plants: Plants
) -> Files:
    """One bundle per patient; what came in an earlier delivery (K05), or comes again (K04), lies in a second one."""
    hospital = dialect.hospital()
    files = {"hospital.json": _bundle(dialect, hospital, hospital)}
    for child, resources in made.items():
        earlier = [one for one in resources if one.get("meta", {}).get("versionId") == "1"]
        current = [one for one in resources if one not in earlier]
        files[f"{child.patient_id}.json"] = _bundle(dialect, current, hospital)
        among = {name_of(one): one for one in current}
        for suffix, wanted in (("earlier", earlier), ("again", [twice[child]])):
            found = [one for one in wanted if one is not None]
            if found:
                extra = deliver.with_what_they_name(found, among)
                copies = [name_of(one) for one in extra if one not in found]
                plants.add("COPIES", dialect.site, child.patient_id, copies)
                files[f"{child.patient_id}-{suffix}.json"] = _bundle(dialect, extra, hospital)
    return files


def _bundle(dialect: Dialect, resources: Sequence[Resource], hospital: Sequence[Resource]) -> bytes:
    if dialect.site == "SITE1":
        return deliver.transaction(dialect.site, resources, hospital)
    return deliver.collection(resources)


def _paged(dialect: Dialect, made: dict[Child, list[Resource]], again: Sequence[Resource], plants: Plants) -> Files:
    """Pages per type; the child of K20 comes first, and what comes twice (K04) opens the page after its own."""
    children = sorted(made, key=lambda child: (child.patient_id != GB18030_CHILD, child.number))
    everything = [*dialect.hospital(), *(one for child in children for one in made[child])]
    for one in again:
        same = [other for other in everything if other["resourceType"] == one["resourceType"]]
        page_start = (same.index(one) // deliver.PAGE_SIZE + 1) * deliver.PAGE_SIZE
        everything.insert(everything.index(same[page_start]), one)
    files, encoded = deliver.pages(everything, GB18030_CHILD)
    plants.add("K20", dialect.site, GB18030_CHILD, encoded)
    plants.add("K30", dialect.site, "", [f"{deliver.SWAPPED_TYPE}-002.json"])
    return files


def _contact_elsewhere(site1: Dialect, children: Sequence[Child], plants: Plants) -> Files:
    """K17: the last contact of a child of SITE2, recorded at SITE1 under another record number."""
    child = next(child for child in children if child.patient_id == CONTACT_ELSEWHERE)
    chart = f"{child.patient_id}-S1"
    visit = site1.visit(child, last_contact(child, chart, plant="K17"))
    resources = [site1.patient(child, chart), visit]
    plants.add("K17", site1.site, child.patient_id, [name_of(one) for one in resources])
    return {f"{chart}.json": deliver.transaction(site1.site, resources, site1.hospital())}
