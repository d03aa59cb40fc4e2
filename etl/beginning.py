"""What a build looks at before it reads anything: is all there, may it be read and written, does it belong together."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from etl.errors import CdmError, MappingError, SettingsError, SourceError
from etl.increment import KEY_MARK, key_mark
from etl.landing import RejectWriter, Source
from etl.landing.received import Received, open_received
from etl.settings import KEY_VARIABLE
from etl.store import Home, Store, disk


def existing_folder(named: Path | None) -> Path | None:
    """The named folder of mappings. Raises MappingError when it is not there: it would be one without a rule."""
    if named is not None and not named.is_dir():
        raise MappingError(f"{named}: no such mappings folder")
    return named


def reject_writer(folder: Path, key: str) -> RejectWriter:
    """The list of what is rejected, in a folder. Raises CdmError when it cannot be written there."""
    with disk.told(folder):
        return RejectWriter(folder, key)


def refuse_another_key(store: Store, home: Home, key: str) -> None:
    """Raises SettingsError for another key than the last run's: what is new would get ids that fit nothing."""
    with store.reading():
        then = store.last_basis() or {}
    if then.get(KEY_MARK, mark := key_mark(key)) != mark:
        raise SettingsError(
            f"{home.database}: its ids were made with another key; bring that key back (instance.key in the settings "
            f"file, {KEY_VARIABLE}, or {home.key}), or begin anew (--anew) from all files"
        )


def received_earlier(store: Store, home: Home, *, anew: bool) -> Received:
    """What the runs landed that committed and still count.

    Raises CdmError when some of it is lost, unless all begins `anew`: the database would silently shrink to what is
    there.
    """
    with store.reading():
        committed = store.run_ids()
        needed = {row[0] for row in store.rows("SELECT DISTINCT first_run FROM ledger.file")} & committed
    try:
        earlier = open_received(home.landed, committed)
    except pl.exceptions.PolarsError:
        raise CdmError(
            f"{home.landed}: another version of blina wrote what was received before, in a form that this one does not "
            "read; build a new database from all files (the same key makes the same ids), or go on with that version"
        ) from None
    lost = needed - {run.name for run in earlier.runs}
    if lost and not anew:
        raise CdmError(
            f"{earlier.folder}: what {len(lost)} of {len(needed)} earlier runs received is missing, "
            "though the database was built from it; bring the folder back from a backup, or begin anew (--anew) "
            "from all files"
        )
    return earlier


def files_not_known(before: Received, sources: Sequence[Source]) -> tuple[list[Source], int]:
    """The files that did not come before. Raises SourceError when one cannot be read; its name may be a patient's."""
    try:
        return before.unknown(sources)
    except OSError as error:
        raise SourceError(
            f"a file cannot be read ({error.strerror}); nothing was changed in the database. "
            "What this user may not read, `find FOLDER ! -readable` lists",
            problems=sorted({str(source.path) for source in sources}),
        ) from None
