"""A backup: one file with every table of every schema, and with folders that belong to the database.

It is a ZIP: `manifest.json` with the SHA-256 of every member, `tables/<schema>.<table>.parquet`, `folders/<name>/…`. A
backup of either kind of database can be restored into either kind. It holds FHIR ids and, with what was received, the
patients' data: keep it as the source data are kept.
"""

import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import duckdb
from sqlalchemy import Table

from etl.errors import CdmError
from etl.store import disk, held, open_store, steps
from etl.store.releases import last_run, write_parquet
from etl.store.snapshot import snapshot, table_of
from etl.store.sources import SCHEMAS, Place

FORMAT = "blina backup 1"


def backup(database: str, file: Path, folders: Mapping[str, Path] | None = None) -> dict[str, Any]:
    """Writes the backup of the database at a URL, and of `folders` by name, to a file; gives back its manifest.

    The file appears whole, by one rename. The run lock is held meanwhile: between the tables and the folders no run
    may put files in or take them away, or the backup could not be built upon. Raises CdmError when there is no run to
    back up or no room, LockError when a run holds the database.
    """
    with held(database, "backup"), disk.told(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=file.parent) as made:
            place = Path(made)
            with snapshot(database) as found, duckdb.connect(str(place / "work.duckdb")) as work:
                run = last_run(found)
                rows = {".".join(one): found.copy(work, one) for one in found.tables(tuple(SCHEMAS))}
                steps.reached("backup: tables copied")
                write_parquet(work, place / "tables")
            members = {f"tables/{path.name}": path for path in sorted((place / "tables").iterdir())}
            for name, folder in (folders or {}).items():
                for path in sorted(folder.rglob("*")):
                    if path.is_file():
                        members[f"folders/{name}/{path.relative_to(folder).as_posix()}"] = path
            manifest = {
                "format": FORMAT,
                "made_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
                "made_by": f"blina {version('blina')}",
                **run,
                "rows": rows,
                "members": {name: disk.sha256(path) for name, path in members.items()},
            }
            whole = place / "backup.zip"
            with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
                archive.writestr("manifest.json", json.dumps(manifest, indent=1, sort_keys=True))
                for name, path in members.items():
                    stored = zipfile.ZIP_STORED if name.startswith("tables/") else zipfile.ZIP_DEFLATED
                    archive.write(path, name, stored)
            whole.chmod(0o600)  # it holds what was received
            steps.reached("backup: file written")
            disk.move_in(whole, file)
    steps.reached("backup: moved in")
    return manifest


def restore(
    file: Path, database: str, folders: Mapping[str, Path] | None = None, *, overwrite: bool = False
) -> dict[str, Any]:
    """Makes the database at a URL, and `folders` by name, what they were when the backup was made; its manifest.

    The file is checked whole before anything is written. Raises CdmError when it is no backup, torn or changed, and
    when the database holds runs or a folder is not empty, unless `overwrite`; LockError when a run holds the database.
    """
    with tempfile.TemporaryDirectory(prefix="blina-restore-") as made, disk.told(file):
        place = Path(made)
        manifest = _unpack(file, place)
        steps.reached("restore: read")
        with open_store(database, run_id="restore") as store, duckdb.connect(str(place / "work.duckdb")) as work:
            if store.run_ids() and not overwrite:
                raise CdmError(f"{store.url}: holds runs already; restore into an empty database, or say overwrite")
            for name, folder in (folders or {}).items():
                _refuse_filled(folder, name, overwrite)
            store.fill(work, _tables(work, place / "tables"))
            for name, folder in (folders or {}).items():
                _restore_folder(place / "folders" / name, folder)
    return manifest


def _unpack(file: Path, place: Path) -> dict[str, Any]:
    """The checked members of a backup, as files, and its manifest."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
            manifest = json.loads(archive.read("manifest.json")) if "manifest.json" in names else {}
            if manifest.get("format") != FORMAT:
                raise CdmError(f"{file}: is no backup of this version of blina")
            members: dict[str, str] = manifest["members"]
            if names - {"manifest.json"} != members.keys() or any(_leads_out(name) for name in members):
                raise CdmError(f"{file}: this backup is torn: its members are not those of its manifest")
            archive.extractall(place, members)
    except FileNotFoundError:
        raise CdmError(f"{file}: there is no such file") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, AttributeError):
        raise CdmError(f"{file}: is no backup, or a torn one") from None
    changed = [name for name, digest in members.items() if disk.sha256(place / name) != digest]
    if changed:
        raise CdmError(f"{file}: this backup is damaged", problems=[f"{name}: changed" for name in changed])
    return dict(manifest)


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or path.parts[0] not in {"tables", "folders"}


def _tables(work: duckdb.DuckDBPyConnection, folder: Path) -> dict[Place, tuple[Table, str]]:
    """The tables of a backup."""
    found: dict[Place, tuple[Table, str]] = {}
    for path in sorted(folder.glob("*.parquet")):
        schema, name = path.stem.split(".", 1)
        source = f"read_parquet('{str(path).replace(chr(39), chr(39) * 2)}')"
        kinds = {one[0]: one[1] for one in work.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
        table = SCHEMAS.get(schema, {}).get(name)
        if schema not in SCHEMAS or (table is not None and {one.name for one in table.columns} != kinds.keys()):
            raise CdmError(f"{schema}.{name}: the backup has this table in another layout; use the blina that made it")
        if table is None:
            table = table_of(work, name, source)
        found[schema, name] = table, source
    for schema, tables in SCHEMAS.items():
        for name in tables:
            if (schema, name) not in found:
                raise CdmError(f"{schema}.{name}: the backup lacks this table; use the blina that made it")
    return found


def _refuse_filled(folder: Path, name: str, overwrite: bool) -> None:
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise CdmError(f"{folder}: is not empty; the backup's {name} would be mixed with it: say overwrite")


def _restore_folder(source: Path, folder: Path) -> None:
    """Puts a folder in its place: copied beside it, then exchanged."""
    made, aside = folder.with_name(f".restoring-{folder.name}"), folder.with_name(f".replaced-{folder.name}")
    for left in (made, aside):
        shutil.rmtree(left, ignore_errors=True)
    if source.is_dir():
        shutil.copytree(source, made)
    else:
        made.mkdir(parents=True)
    made.chmod(0o700)
    if folder.exists():
        folder.rename(aside)
    disk.move_in(made, folder)
    shutil.rmtree(aside, ignore_errors=True)
