"""The cached vocabulary: loaded once per content, whole or not there, the same rows as loading gives."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pytest

from etl.errors import CdmError, VocabularyError
from etl.store.sources import sources
from etl.vocabulary import Release, attach_vocabulary, load_code_maps, load_vocabulary, preflight, shipped_folder
from etl.vocabulary import cache as caching
from etl.vocabulary.tables import ORDER, TABLES

CONCEPT = "concept_id concept_name domain_id vocabulary_id concept_class_id standard_concept concept_code \
valid_start_date valid_end_date invalid_reason"
KILLED = """
import os, signal, sys
from pathlib import Path
import duckdb
from etl.vocabulary import attach_vocabulary, cache
def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(cache, sys.argv[1], killed) if sys.argv[1] != "move_in" else setattr(cache.disk, "move_in", killed)
attach_vocabulary(duckdb.connect(), [Path(sys.argv[2])], Path(sys.argv[3]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _folder(tmp_path / "athena", "1-1", "2-2")


def _folder(made: Path, *codes: str) -> Path:
    """A vocabulary folder whose files are older than the clock's tick, so that their hashes are remembered."""
    made.mkdir(exist_ok=True)
    rows = [f"{n}\tx\tMeasurement\tLOINC\tLab\tS\t{code}\t20200101\t20991231\t" for n, code in enumerate(codes, 1)]
    (made / "CONCEPT.csv").write_text("\n".join(["\t".join(CONCEPT.split()), *rows, ""]), encoding="utf-8")
    _age(made, 60)
    return made


def _age(folder: Path, seconds: int) -> None:
    for file in folder.iterdir():
        os.utime(file, (time.time() - seconds, time.time() - seconds))


def _attach(folders: list[Path], cache: Path) -> tuple[duckdb.DuckDBPyConnection, Release]:
    work = duckdb.connect()
    return work, attach_vocabulary(work, folders, cache)


def _codes(work: duckdb.DuckDBPyConnection) -> list[str]:
    return [code for (code,) in work.execute("SELECT concept_code FROM vocab.concept ORDER BY 1").fetchall()]


@pytest.fixture
def fills(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry per time that the files were loaded."""
    seen: list[int] = []
    load = caching.load_vocabulary

    def counted(connection: duckdb.DuckDBPyConnection, folders: list[Path]) -> Release:
        seen.append(len(folders))
        return load(connection, folders)

    monkeypatch.setattr(caching, "load_vocabulary", counted)
    return seen


def test_the_cache_gives_the_rows_and_the_release_that_loading_gives(folder: Path, tmp_path: Path) -> None:
    folders = [folder, shipped_folder()]
    loaded = duckdb.connect()
    release = load_vocabulary(loaded, folders)
    work, attached = _attach(folders, tmp_path / "cache")
    again, once_more = _attach(folders, tmp_path / "cache")
    for table in TABLES:
        rows = loaded.execute(f"FROM vocab.{table} ORDER BY ALL").fetchall()
        assert work.execute(f"FROM vocab.{table} ORDER BY ALL").fetchall() == rows
        assert again.execute(f"FROM vocab.{table} ORDER BY ALL").fetchall() == rows
    assert (attached.version, attached.folders) == (release.version, release.folders)
    assert list(attached.problems) == preflight(loaded)
    assert attached.problems
    assert once_more == attached


def test_the_files_are_loaded_once(folder: Path, tmp_path: Path, fills: list[int]) -> None:
    first = _attach([folder], tmp_path / "cache")[1]
    second = _attach([folder], tmp_path / "cache")[1]
    assert len(fills) == 1
    assert first.fingerprint == second.fingerprint != ""


def test_unchanged_files_are_not_read_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _attach([folder], tmp_path / "cache")
    read: list[Path] = []
    sha256 = caching.disk.sha256
    monkeypatch.setattr(caching.disk, "sha256", lambda path: (read.append(path), sha256(path))[1])
    _attach([folder], tmp_path / "cache")
    assert read == []
    _age(folder, 30)
    _attach([folder], tmp_path / "cache")
    assert read == [folder / "CONCEPT.csv"]


def test_a_touched_file_of_the_same_content_is_not_loaded_again(folder: Path, tmp_path: Path, fills: list[int]) -> None:
    _attach([folder], tmp_path / "cache")
    _age(folder, 30)
    _attach([folder], tmp_path / "cache")
    assert len(fills) == 1


def test_other_content_of_the_same_size_is_another_vocabulary(folder: Path, tmp_path: Path, fills: list[int]) -> None:
    first = _attach([folder], tmp_path / "cache")[1]
    _folder(folder, "1-1", "3-3")
    _age(folder, 30)
    work, second = _attach([folder], tmp_path / "cache")
    assert _codes(work) == ["1-1", "3-3"]
    assert first.fingerprint != second.fingerprint
    assert [file.stem for file in (tmp_path / "cache").glob("*.duckdb")] == [second.fingerprint]
    assert len(fills) == 2


def test_a_file_just_written_is_hashed_again_and_never_taken_for_another(folder: Path, tmp_path: Path) -> None:
    now = time.time()
    for codes in (("1-1", "2-2"), ("4-4", "5-5"), ("6-6", "7-7")):
        _folder(folder, *codes)
        os.utime(folder / "CONCEPT.csv", (now, now))
        assert _codes(_attach([folder], tmp_path / "cache")[0]) == list(codes)


def test_the_order_of_the_folders_and_the_loader_are_part_of_the_fingerprint(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = _folder(tmp_path / "other", "8-8")
    prints = [_attach(folders, tmp_path / "cache")[1].fingerprint for folders in ([folder, other], [other, folder])]
    monkeypatch.setattr(caching, "_LOADER", ("athena.py",))
    prints.append(_attach([folder, other], tmp_path / "cache")[1].fingerprint)
    assert len(set(prints)) == 3


@pytest.mark.parametrize("at", ["load_vocabulary", "preflight", "move_in"])
def test_a_run_killed_while_it_fills_leaves_nothing_that_is_believed(folder: Path, tmp_path: Path, at: str) -> None:
    cache = tmp_path / "cache"
    done = subprocess.run([sys.executable, "-c", KILLED, at, folder, cache], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert list(cache.glob(".filling-*"))
    assert not list(cache.glob("*.duckdb"))
    assert _codes(_attach([folder], cache)[0]) == ["1-1", "2-2"]
    assert not list(cache.glob(".filling-*"))


@pytest.mark.parametrize("damage", [b"", b"no database", None])
def test_a_damaged_cache_is_made_again(folder: Path, tmp_path: Path, fills: list[int], damage: bytes | None) -> None:
    cache = tmp_path / "cache"
    file = cache / f"{_attach([folder], cache)[1].fingerprint}.duckdb"
    file.write_bytes(file.read_bytes()[:5000] if damage is None else damage)
    (cache / "hashes.json").write_text("{broken", encoding="utf-8")
    assert _codes(_attach([folder], cache)[0]) == ["1-1", "2-2"]
    assert len(fills) == 2


def test_faults_of_the_files_are_told_and_leave_no_cache(folder: Path, tmp_path: Path) -> None:
    text = (folder / "CONCEPT.csv").read_text(encoding="utf-8")
    (folder / "CONCEPT.csv").write_text(text.replace("2020", "20x0"), encoding="utf-8")
    with pytest.raises(VocabularyError) as caught:
        _attach([folder], tmp_path / "cache")
    assert any("CONCEPT.csv:2: valid_start_date" in problem for problem in caught.value.problems)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name not in {"lock", "hashes.json"}]
    with pytest.raises(VocabularyError, match="no such vocabulary folder"):
        _attach([tmp_path / "nowhere"], tmp_path / "cache")
    with pytest.raises(VocabularyError, match="no vocabulary folder given"):
        _attach([], tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_a_clear_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    with pytest.raises(CdmError, match="cache: cannot be written"):
        _attach([folder], tmp_path / "cache")


def test_runs_at_once_load_once_and_keep_what_they_attached(folder: Path, tmp_path: Path, fills: list[int]) -> None:
    other = _folder(tmp_path / "other", *(f"{n}-9" for n in range(30_000)))
    held, _ = _attach([other], tmp_path / "cache")
    found: list[list[str]] = []
    runs = [
        threading.Thread(target=lambda: found.append(_codes(_attach([folder], tmp_path / "cache")[0])))
        for _ in range(3)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert found == [["1-1", "2-2"]] * 3
    assert len(fills) == 2
    assert len(list((tmp_path / "cache").glob("*.duckdb"))) == 1
    assert len(_codes(held)) == 30_000, "its file was removed by the others, but it has it open"


def test_rows_lie_in_the_order_in_which_they_are_looked_up(tmp_path: Path) -> None:
    backwards = _folder(tmp_path / "athena", *(f"{n}" for n in range(9_000, 1_000, -1)))
    work, _ = _attach([backwards], tmp_path / "cache")
    assert _codes(work) == [code for (code,) in work.execute("SELECT concept_code FROM vocab.concept").fetchall()]
    work, _ = _attach([shipped_folder()], tmp_path / "cache")
    for table, columns in ORDER.items():
        key = f"({', '.join(columns)})"
        wrong = f"SELECT count(*) FROM (SELECT {key} AS k, lag({key}) OVER (ORDER BY rowid) AS b FROM {{}}) WHERE b > k"
        assert work.execute(wrong.format(f"{caching.ATTACHED}.vocab.{table}")).fetchone() == (0,)


def test_the_store_and_the_code_maps_find_the_vocabulary(tmp_path: Path) -> None:
    work, _ = _attach([shipped_folder()], tmp_path / "cache")
    load_code_maps(work, shipped_folder().parent, [])
    assert work.execute("SELECT count(*) > 0 FROM vocab.code_map WHERE target_concept_id > 0").fetchone() == (True,)
    assert {name for schema, name in sources(work) if schema == "cdm"} >= set(TABLES)
