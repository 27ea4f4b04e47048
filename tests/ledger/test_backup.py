"""A backup of a ledger that goes on being written to is whole, and says so; one that cannot be made leaves nothing behind."""

import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from rag_service.errors import Conflict, NotFound, StorageFailed
from rag_service.kept import Kept, RecordQuery
from rag_service.ledger.backup import back_up
from rag_service.ledger.sqlite import SqliteLedger
from tests.conftest import Cli, fill
from tests.recorded import answer_id, entry, feedback, ledger_at


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite"
    with ledger_at(path, *range(1, 9)) as ledger:
        ledger.rate(answer_id(5), feedback("up"))
        ledger.erase_answers([answer_id(4)])
    return path


def ids(path: Path) -> list[str]:
    return [one.record.answer_id for one in SqliteLedger(path).records(RecordQuery()) if isinstance(one, Kept)]


def test_a_backup_holds_everything_in_one_file_for_its_owner_alone(path: Path, tmp_path: Path) -> None:
    to = tmp_path / "backups" / "monday.sqlite"
    to.parent.mkdir()
    audit = back_up(path, to)
    assert audit == SqliteLedger(path).audit()
    assert (audit.entries, audit.answers, audit.erased, audit.flaws) == (10, 7, 1, ())
    assert ids(to) == ids(path)
    assert [found.name for found in to.parent.iterdir()] == ["monday.sqlite"]
    assert stat.S_IMODE(to.stat().st_mode) == 0o600


def test_a_backup_is_written_to_like_any_ledger(path: Path, tmp_path: Path) -> None:
    to = tmp_path / "copy.sqlite"
    back_up(path, to)
    with ledger_at(to, 9):
        pass
    assert ids(to) == [*ids(path), answer_id(9)]
    assert SqliteLedger(to).audit().flaws == ()


def test_backups_of_a_ledger_that_is_being_written_to_hold_all_that_was_acknowledged_before_they_began(tmp_path: Path) -> None:
    path, stop, acknowledged, problems = tmp_path / "ledger.sqlite", threading.Event(), [], []
    ledger = SqliteLedger(path)

    def write() -> None:
        number = 0
        while not stop.is_set() and number < 5000:
            number += 1
            try:
                ledger.add(entry(number)).result(timeout=10)
            except Exception as error:  # noqa: BLE001 - told by the test, which is another thread
                problems.append(error)
                return
            acknowledged.append(answer_id(number))

    writing = threading.Thread(target=write)
    writing.start()
    try:
        for number in range(5):
            while len(acknowledged) < 20 * (number + 1):
                assert writing.is_alive(), problems
            before = list(acknowledged)
            audit = back_up(path, tmp_path / f"{number}.sqlite")
            assert audit.flaws == ()
            held = ids(tmp_path / f"{number}.sqlite")
            assert held[: len(before)] == before
            assert len(held) == audit.answers
        went_on = len(acknowledged)
    finally:
        stop.set()
        writing.join(timeout=30)
        ledger.close()
    assert problems == []
    assert went_on > 100, "nobody who writes waited for the copies"


def test_a_backup_replaces_nothing(path: Path, tmp_path: Path) -> None:
    to = tmp_path / "there.sqlite"
    to.write_text("something dear to somebody")
    with pytest.raises(Conflict, match="there already"):
        back_up(path, to)
    assert to.read_text() == "something dear to somebody"


def test_what_is_not_there_cannot_be_copied(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        back_up(tmp_path / "ledger.sqlite", tmp_path / "copy.sqlite")
    with pytest.raises(StorageFailed):
        back_up(tmp_path / "ledger.sqlite", tmp_path / "nowhere" / "copy.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_leaves_no_half_of_a_backup(path: Path, small_disk: Path) -> None:
    filler = fill(small_disk, leave_bytes=16_384)
    with pytest.raises(StorageFailed, match="could not write"):
        back_up(path, small_disk / "copy.sqlite")
    assert list(small_disk.iterdir()) == [filler]


def test_the_command_names_the_head_and_what_is_not_as_it_was_written(path: Path, tmp_path: Path, cli: Cli) -> None:
    made = cli("trace", "backup", tmp_path / "good.sqlite", "--ledger", path)
    head = SqliteLedger(path).audit().head
    assert made.code == 0
    assert head is not None
    assert f"good.sqlite: 10 entries, 7 answers, 1 erased\nhead {head.seq}:{head.digest}" in made.out
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE entries SET at_ms = at_ms + 1 WHERE seq = 3")
    flawed = cli("trace", "backup", tmp_path / "flawed.sqlite", "--ledger", path)
    assert flawed.code == 3
    assert "entry 3 does not follow from the entry before it" in flawed.err
    assert (tmp_path / "flawed.sqlite").is_file(), "it may be all that there is"
    again = cli("trace", "backup", tmp_path / "good.sqlite", "--ledger", path)
    assert again.code != 0
    assert "name a new file" in again.err
