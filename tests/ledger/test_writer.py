"""The thread that writes: one commit for all who wait, and each is told how its own entry fared."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rag_service.errors import NotFound, StorageFailed
from rag_service.kept import RecordQuery
from rag_service.ledger import group_commit, schema
from rag_service.ledger import writer as module
from rag_service.ledger.sqlite import SqliteLedger
from rag_service.ledger.writer import Chain, Writer, add_answer
from tests.recorded import answer_id, entry, feedback, ledger_at


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    writer = Writer(path)
    yield writer
    writer.close()


def submit(writer: Writer, *numbers: int) -> "list[Future[Any]]":
    def adding(number: int) -> Callable[[Chain], object]:
        return lambda entries: add_answer(entries, entry(number))

    return [writer.submit(adding(number)) for number in numbers]


class Held:
    """Work that holds up the writer until it is let go, so that all that comes meanwhile waits for the next commit."""

    def __init__(self, writer: Writer) -> None:
        self._began, self._go = threading.Event(), threading.Event()
        self.done = writer.submit(self._work)
        assert self._began.wait(10)

    def _work(self, _: Chain) -> None:
        self._began.set()
        assert self._go.wait(10)

    def let_go(self) -> None:
        self._go.set()
        self.done.result(timeout=10)


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with every commit."""
    made: list[str] = []

    class Counting(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if sql == "COMMIT":
                made.append(sql)
            return super().execute(sql, *values)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **named: connect(*given, factory=Counting, **named))
    return made


def test_all_that_wait_share_one_commit(writer: Writer, commits: list[str]) -> None:
    held = Held(writer)
    futures = submit(writer, *range(1, 101))
    held.let_go()
    before = len(commits)
    assert [future.result(timeout=10).seq for future in futures] == list(range(1, 101))
    assert before + 1 >= len(commits)


def test_a_commit_takes_no_more_than_it_may(writer: Writer, commits: list[str]) -> None:
    held = Held(writer)
    futures = submit(writer, *range(1, 2 * group_commit.MOST_AT_ONCE + 2))
    held.let_go()
    before = len(commits)
    futures[-1].result(timeout=10)
    assert len(commits) - before in {2, 3}


def test_nobody_is_told_before_it_is_on_the_disk(path: Path, writer: Writer) -> None:
    """What another connection reads in the moment of the receipt is there."""
    for number in range(1, 40):
        [future] = submit(writer, number)
        seq = future.result(timeout=10).seq
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT seq FROM answers WHERE answer_id = ?", (answer_id(number),)).fetchone() == (seq,)


def test_one_that_cannot_be_written_does_not_take_the_others_with_it(path: Path, writer: Writer) -> None:
    submit(writer, 5)[0].result(timeout=10)
    held = Held(writer)
    others = submit(writer, 1, 2)
    again, unforeseen = submit(writer, 5)[0], writer.submit(lambda _: {}["nothing"])
    refused = writer.submit(lambda entries: module.add_feedback(entries, answer_id(99), feedback()))
    others += submit(writer, 3)
    held.let_go()
    assert [future.result(timeout=10).seq for future in others] == [2, 3, 4]
    with pytest.raises(StorageFailed):
        again.result(timeout=10)
    with pytest.raises(StorageFailed, match="KeyError"):
        unforeseen.result(timeout=10)
    with pytest.raises(NotFound):
        refused.result(timeout=10)
    writer.close()
    audit = SqliteLedger(path).audit()
    assert (audit.answers, audit.flaws) == (4, ())


def test_where_the_disk_is_to_blame_all_hear_of_it_and_the_next_is_written(writer: Writer) -> None:
    submit(writer, 1)[0].result(timeout=10)
    held = Held(writer)
    futures = submit(writer, 2, 3, 4)
    futures.insert(1, writer.submit(_disk_full))
    held.let_go()
    for future in futures:
        with pytest.raises(StorageFailed, match="disk is full"):
            future.result(timeout=10)
    assert [future.result(timeout=10).seq for future in submit(writer, 5, 6)] == [2, 3]


def _disk_full(_: Chain) -> None:
    """What SQLite says of a full disk, said by SQLite: a database that may not grow."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA max_page_count = 1")
        connection.execute("CREATE TABLE full (a)")


def test_those_that_hear_of_a_failure_hear_of_it_in_an_exception_of_their_own(writer: Writer) -> None:
    held = Held(writer)
    futures = [writer.submit(_disk_full), *submit(writer, 1, 2)]
    held.let_go()
    errors = [future.exception(timeout=10) for future in futures]
    assert len({id(error) for error in errors}) == 3


def test_closing_writes_what_waits_and_takes_nothing_after(path: Path) -> None:
    writer = Writer(path)
    held = Held(writer)
    futures = submit(writer, *range(1, 700))
    closer = threading.Thread(target=writer.close)
    closer.start()
    held.let_go()
    closer.join(timeout=20)
    assert not closer.is_alive()
    assert [future.result(timeout=0).seq for future in futures] == list(range(1, 700))
    with pytest.raises(StorageFailed, match="closed"):
        submit(writer, 700)[0].result(timeout=1)
    writer.close()


def test_a_writer_that_was_never_asked_opens_nothing(path: Path) -> None:
    writer = Writer(path)
    writer.close()
    assert not path.exists()


def test_no_more_wait_than_may(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MOST_WAITING", 20)
    held = Held(writer)
    futures = submit(writer, *range(1, 31))
    refused = [future for future in futures if future.done()]
    assert len(refused) == 10
    for future in refused:
        with pytest.raises(StorageFailed, match="20 entries wait for the ledger"):
            future.result()
    held.let_go()
    assert [future.result(timeout=10).seq for future in futures[:20]] == list(range(1, 21))
    assert submit(writer, 31)[0].result(timeout=10).seq == 21


def test_who_gave_up_waiting_before_its_turn_is_left_out(writer: Writer) -> None:
    held = Held(writer)
    first, second, third = submit(writer, 1, 2, 3)
    assert second.cancel()
    held.let_go()
    assert (first.result(timeout=10).seq, third.result(timeout=10).seq) == (1, 2)


def test_another_process_that_writes_for_a_moment_is_waited_for(path: Path, writer: Writer) -> None:
    submit(writer, 1)[0].result(timeout=10)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        [future] = submit(writer, 2)
        time.sleep(0.3)
        assert not future.done()
        other.execute("COMMIT")
    assert future.result(timeout=10).seq == 2


def test_another_process_that_holds_on_to_the_ledger_is_not_waited_for_for_ever(
    path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_MS", 200)
    submit(writer, 1)[0].result(timeout=10)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageFailed, match="database is locked"):
            submit(writer, 2)[0].result(timeout=10)
        other.execute("COMMIT")
    assert submit(writer, 3)[0].result(timeout=10).seq == 2


def test_what_was_erased_leaves_the_log_too_once_no_reader_is_in_the_way(path: Path) -> None:
    def holds(word: bytes) -> bool:
        return any(word in file.read_bytes() for file in path.parent.iterdir())

    with ledger_at(path) as ledger:
        ledger.add(entry(1, question="Who is Zebedee?")).result(timeout=10)
        ledger.add(entry(2)).result(timeout=10)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM entries").fetchone()
            assert ledger.erase_answers([answer_id(1)]) == 1
            assert ledger.add(entry(3)).result(timeout=10).seq == 4  # nobody waits for the reader
            assert holds(b"Zebedee")
            reader.execute("COMMIT")
        deadline_s = time.monotonic() + 10
        while holds(b"Zebedee"):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert len(ledger.rows(RecordQuery()).rows) == 2
