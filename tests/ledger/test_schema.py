"""Files that are no ledger of this version: what is said of them, and the command that migrates an older one."""

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from rag_service.errors import Conflict, Damaged, Mismatch, NotFound, RagError, StorageFailed
from rag_service.kept import RecordQuery
from rag_service.ledger import migration, schema
from rag_service.ledger.migration import migrate
from rag_service.ledger.schema import APPLICATION_ID, SCHEMA_VERSION
from rag_service.ledger.sqlite import SqliteLedger
from rag_service.recording import Recorder
from tests.conftest import Cli
from tests.recorded import entry, ledger_at


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite"
    with ledger_at(path, 1, 2):
        pass
    return path


def run(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def refusals(path: Path) -> list[RagError]:
    """By every way in."""
    ledger, found = SqliteLedger(path), list[RagError]()
    for do in (
        ledger.check,
        lambda: ledger.add(entry(7)).result(timeout=10),
        lambda: ledger.rows(RecordQuery()),
        lambda: list(ledger.records(RecordQuery())),
        ledger.audit,
    ):
        with pytest.raises(RagError) as refused:
            do()
        found.append(refused.value)
    ledger.close()
    return found


def test_a_ledger_is_known_by_its_header(path: Path) -> None:
    header = path.read_bytes()[:100]
    assert header.startswith(b"SQLite format 3\0")
    assert header[68:72] == b"RAGL"
    assert int.from_bytes(header[60:64], "big") == SCHEMA_VERSION == 2


def test_a_ledger_is_for_its_owner_alone(path: Path) -> None:
    with ledger_at(path, 3):
        files = list(path.parent.iterdir())
        assert len(files) == 3
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_commits_wait_for_the_disk_and_what_is_deleted_is_overwritten(tmp_path: Path) -> None:
    with closing(schema.open_for_writing(tmp_path / "ledger.sqlite")) as connection:
        settings = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "secure_delete")]
    assert settings == ["wal", 2, 1]  # FULL


def test_an_older_ledger_is_refused_with_the_command_that_migrates_it(path: Path) -> None:
    run(path, "PRAGMA user_version = 0")
    for refused in refusals(path):
        assert isinstance(refused, Mismatch)
        assert refused.message == "the ledger ledger.sqlite has schema version 0, and this program writes 2"
        assert "`rag-service trace migrate`" in refused.hint


def test_a_newer_ledger_is_refused_and_left_as_it_is(path: Path) -> None:
    run(path, "PRAGMA user_version = 99")
    before = path.read_bytes()
    for refused in refusals(path):
        assert isinstance(refused, Mismatch)
        assert refused.message == "the ledger ledger.sqlite has schema version 99, and this program knows up to 2"
        assert "newer rag-service" in refused.hint
    assert path.read_bytes() == before


@pytest.mark.parametrize("application_id", [0, 7])
def test_the_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path, application_id: int) -> None:
    path = tmp_path / "other.sqlite"
    run(path, f"PRAGMA application_id = {application_id}")
    run(path, "CREATE TABLE entries (seq INTEGER PRIMARY KEY, kind TEXT)")
    before = path.read_bytes()
    for refused in refusals(path):
        assert isinstance(refused, Mismatch)
        assert refused.message == "other.sqlite is a database, but not a ledger"
        assert "RAG_LEDGER" in refused.hint
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Notes of nobody.\n" * 500)
    before = path.read_bytes()
    for refused in refusals(path):
        assert isinstance(refused, Damaged)
        assert "notes.txt" in refused.message
    assert path.read_bytes() == before


def test_a_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder.sqlite"
    folder.mkdir()
    writing = refusals(folder)[:2]
    assert [type(refused) for refused in writing] == [StorageFailed, StorageFailed]
    assert all("folder.sqlite" in refused.message and "RAG_LEDGER" in refused.hint for refused in writing)


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    writing = refusals(tmp_path / "file" / "ledger.sqlite")[:2]
    assert [type(refused) for refused in writing] == [StorageFailed, StorageFailed]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read_is_refused(path: Path) -> None:
    path.chmod(0)
    assert {type(refused) for refused in refusals(path)} == {StorageFailed}


def test_the_folder_of_a_ledger_is_made(tmp_path: Path) -> None:
    path = tmp_path / "some" / "folder" / "ledger.sqlite"
    with ledger_at(path, 1):
        assert len(SqliteLedger(path).rows(RecordQuery()).rows) == 1


@pytest.mark.parametrize("strict", [False, True])
def test_a_service_does_not_start_on_a_ledger_of_another_version(path: Path, strict: bool) -> None:
    run(path, "PRAGMA user_version = 99")
    recorder = Recorder(SqliteLedger(path), strict=strict)
    with pytest.raises(Mismatch):
        recorder.start()


def test_the_command_line_says_what_to_do_about_an_older_ledger(path: Path, cli: Cli) -> None:
    run(path, "PRAGMA user_version = 0")
    refused = cli("trace", "list", "--ledger", path)
    assert refused.code == 1
    assert "schema version 0" in refused.err
    assert "rag-service trace migrate" in refused.err


def test_a_ledger_from_before_the_first_release_says_that_no_way_leads_from_it(path: Path, cli: Cli) -> None:
    run(path, "PRAGMA user_version = 1")
    refused = cli("trace", "list", "--ledger", path)
    assert refused.code == 1
    assert "before the first release" in refused.err
    assert "RAG_LEDGER" in refused.err


# Migration


@pytest.fixture
def older(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of the version before, which had a column less and another name for a table, and the steps that lead from there."""
    run(path, "ALTER TABLE feedback RENAME TO opinions")
    run(path, "ALTER TABLE answers DROP COLUMN repeats")
    run(path, "PRAGMA user_version = 1")
    steps = {1: "ALTER TABLE opinions RENAME TO feedback;\nALTER TABLE answers ADD COLUMN repeats TEXT;\n"}
    monkeypatch.setattr(migration, "STEPS", steps)
    return path


def test_an_older_ledger_is_migrated_and_a_copy_stays_as_it_was(older: Path, cli: Cli) -> None:
    migrated = cli("trace", "migrate", "--ledger", older)
    assert (migrated.code, migrated.out) == (0, "migrated; as it was: ledger.sqlite.v1\n")
    ledger = SqliteLedger(older)
    assert [listed.seq for listed in ledger.rows(RecordQuery()).rows] == [2, 1]
    assert ledger.audit().flaws == ()
    assert ledger.add(entry(3)).result(timeout=10).seq == 3
    ledger.close()
    copy = older.with_name("ledger.sqlite.v1")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("SELECT count(*) FROM opinions, entries").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (2,)


def test_a_migration_that_fails_changes_nothing(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "STEPS", {1: f"{migration.STEPS[1]};\nALTER TABLE nothing ADD COLUMN more TEXT;\n"})
    with pytest.raises(StorageFailed):
        migrate(older)
    with closing(sqlite3.connect(older)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM opinions").fetchone() == (0,)


def test_a_ledger_that_a_server_is_writing_to_is_not_migrated(older: Path) -> None:
    with closing(sqlite3.connect(older, isolation_level=None)) as server:
        server.execute("BEGIN IMMEDIATE")
        with pytest.raises(Conflict) as refused:
            migrate(older)
        assert "stop the server" in refused.value.hint


def test_nothing_is_done_where_nothing_is_to_be_done(path: Path, cli: Cli) -> None:
    before = path.read_bytes()
    assert migrate(path) is None
    assert cli("trace", "migrate", "--ledger", path).out == "up to date\n"
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir() if "v" in file.suffix] == []


def test_where_no_step_leads_from_an_older_ledger_that_is_said(path: Path) -> None:
    for version in (0, 99):
        run(path, f"PRAGMA user_version = {version}")
        with pytest.raises(Mismatch, match=f"no step leads from schema version {version}"):
            migrate(path)


def test_what_is_no_ledger_is_not_migrated(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        migrate(tmp_path / "nothing.sqlite")
    run(tmp_path / "other.sqlite", "CREATE TABLE things (name TEXT)")
    with pytest.raises(Mismatch):
        migrate(tmp_path / "other.sqlite")
    (tmp_path / "notes.txt").write_text("Notes of nobody.\n" * 500)
    with pytest.raises(Damaged):
        migrate(tmp_path / "notes.txt")
