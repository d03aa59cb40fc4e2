"""The second cohort as files: four hospitals' FHIR, their code maps and their settings, and the truth."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from second_fhir import STUDY, Hospital, Resource
from second_nord import Nord
from second_ost import Ost
from second_story import HOSPITALS, LOCK, Kid, children
from second_west import West
from second_xinan import TRANSFERRED, Xinan

from etl.landing import Source
from etl.settings import Settings, SiteSettings


def settings() -> Settings:
    """The settings of an instance that reads the four hospitals."""
    sites = {
        name: SiteSettings(name, time_zone=zone, decimal_separator="," if name == "NORD" else ".")
        for name, zone in HOSPITALS.items()
    }
    return Settings(
        name="second",
        key="second cohort, invented",
        data_lock=LOCK,
        link_persons_by=(STUDY,),
        sites=sites,
        synthetic=True,
    )


def write(folder: Path, mappings: Path) -> tuple[list[Source], Path, list[Kid]]:
    """Writes bundles and NDJSON, and a copy of the mappings with the four code maps; sources, copy, children."""
    own = folder / "mappings"
    shutil.copytree(mappings, own)
    kids = [_as_known(kid) for kid in children()]
    sources = []
    for kind in (Nord, Xinan, West, Ost):
        hospital: Hospital = kind()
        for kid in kids:
            if kid.hospital == hospital.name:
                hospital.tell(kid)
        if isinstance(hospital, West):
            hospital.transferred(next(kid for kid in kids if kid.number == TRANSFERRED))
        place = folder / hospital.name
        place.mkdir()
        (_bundles if hospital.name in ("NORD", "OST") else _ndjson)(place, hospital.made)
        codes = own / "sites" / hospital.name / "codes"
        codes.mkdir(parents=True)
        (codes / "source_to_concept_map.csv").write_text(hospital.map_rows(), encoding="utf-8")
        sources.append(Source(hospital.name, place))
    return sources, own, kids


def _as_known(kid: Kid) -> Kid:
    """What a source can know at most: of some transplants the month, which counts as its 15th (A13)."""
    if kid.hsct is not None and (kid.hospital == "XINAN" or kid.number == 532):
        return replace(kid, hsct=(kid.day(kid.hsct).replace(day=15) - kid.zero).days)
    return kid


def _bundles(place: Path, made: Iterable[Resource]) -> None:
    """One transaction bundle per child."""
    for number, entries in _by_child(made).items():
        entry = [
            {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}}
            for one in entries
        ]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entry}
        (place / f"{number}.json").write_text(json.dumps(bundle, ensure_ascii=False), encoding="utf-8")


def _by_child(made: Iterable[Resource]) -> dict[str, list[Resource]]:
    found: dict[str, list[Resource]] = {}
    for one in made:
        whose = one["subject"]["reference"] if "subject" in one else f"{one['resourceType']}/{one['id']}"
        found.setdefault(whose.split("/")[1], []).append(one)
    return found


def _ndjson(place: Path, made: Iterable[Resource]) -> None:
    """One file per resource type."""
    files: dict[str, list[str]] = {}
    for one in made:
        files.setdefault(one["resourceType"], []).append(json.dumps(one, ensure_ascii=False))
    for kind, lines in files.items():
        # One hospital's export of drugs is not UTF-8.
        encoding = "gb18030" if place.name == "XINAN" and kind == "MedicationAdministration" else "utf-8"
        (place / f"{kind}.ndjson").write_text("\n".join(lines) + "\n", encoding=encoding)
