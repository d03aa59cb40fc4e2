"""Where an instance keeps what does not stand in its database: all it received, the vocabulary ready to
use, its key, who withdrew.

A DuckDB file has all of that beside itself, under its own name. A PostgreSQL database stands on a server: for it a
folder of this machine is named (`--landed DIR`, or `instance.landed` in the settings file).
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from etl.errors import CdmError, SettingsError
from etl.store.postgres_connection import SCHEMES, shown

_DUCKDB = "duckdb:///"


@dataclass(frozen=True)
class Home:
    """The places of one instance; `database` names it in messages, without user and password."""

    database: str
    folder: Path
    landed: Path
    vocabulary: Path
    key: Path
    withdrawn: Path
    work_prefix: str
    file: Path | None = None

    def in_use(self) -> bool:
        """Whether something was built here: then a missing key is a fault, not a beginning."""
        if self.file is not None:
            return self.file.exists()
        return self.landed.is_dir() and any(self.landed.iterdir())

    def folders(self) -> dict[str, Path]:
        """What a backup takes along beside the database, by name; the key is not among it."""
        return {"landed": self.landed, "withdrawn": self.withdrawn}

    def claim(self) -> None:
        """Remembers in a server's folder which database it belongs to; call it under the lock of the database.

        Raises SettingsError when it belongs to another one, whose received data a build would take for leftovers.
        """
        if self.file is not None:
            return
        note = self.folder / "database"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not note.exists():
                note.write_text(self.database + "\n", "utf-8")
            owner = note.read_text("utf-8").strip()
        except OSError as error:
            raise CdmError(f"{self.folder}: cannot be written ({error.strerror})") from None
        if owner != self.database:
            raise SettingsError(
                f"{self.folder}: holds what {owner} received, not {self.database}; name another folder, or, when that "
                f"is the same database under a new name, write the new name into {note}"
            )


def home_of(url: str, landed: Path | None = None) -> Home:
    """The places of the instance whose database stands at a URL; `landed` is the folder named for a server.

    Raises SettingsError when a server's folder is not named, or one is named for a DuckDB file; CdmError for a URL
    that no store takes.
    """
    if not is_server(url):
        file = database_path(url)
        if landed is not None:
            raise SettingsError(f"{file}: a DuckDB file keeps what it received beside itself: name no folder (landed)")
        named = file.with_name
        return Home(
            str(file), file.parent, named(file.name + ".landed"), named(file.name + ".vocabulary"),
            named(file.name + ".key"), named(file.name + ".withdrawn"), f".blina-work-{file.name}~", file,
        )  # fmt: skip
    if landed is None:
        raise SettingsError(
            f"{shown(url)}: say in which folder of this machine to keep what is received: "
            "--landed DIR, or instance.landed in the settings file"
        )
    return Home(
        shown(url), landed, landed / "landed", landed / "vocabulary", landed / "key", landed / "withdrawn",
        ".blina-work-",
    )  # fmt: skip


def is_server(url: str) -> bool:
    """Whether a URL names a PostgreSQL database."""
    return url.startswith(SCHEMES)


def name_of(url: str) -> str:
    """The name of a database for titles: the file's, or the one on the server."""
    return urlsplit(url).path.strip("/") or "postgresql" if is_server(url) else database_path(url).name


def beside(url: str) -> Path:
    """Where reports on a database go that nobody gave a place: beside the file, or here for one on a server."""
    return Path() if is_server(url) else database_path(url).parent


def database_path(url: str) -> Path:
    """The file that a `duckdb:///FILE` URL names. Raises CdmError for any other URL."""
    path = url.removeprefix(_DUCKDB)
    if path == url or path in {"", ":memory:"}:
        scheme = url.split("://", 1)[0] if "://" in url else "no scheme"
        raise CdmError(
            f"this database URL ({scheme}) is not supported: write {_DUCKDB}FILE or postgresql://USER@HOST/DATABASE"
        )
    return Path(path)


def refuse_password(url: str) -> None:
    """Raises SettingsError when a URL holds a password: for places that keep what they are given, such as Prefect."""
    if is_server(url) and (urlsplit(url).password or "password=" in urlsplit(url).query):
        raise SettingsError(
            f"{shown(url)}: no password in the URL here, it would be kept in clear; put it into a PGPASSFILE"
        )
