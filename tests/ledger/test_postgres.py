"""Records in PostgreSQL: what somebody with rights on the database may do to them, and what only that engine minds."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest

from rag_service.database import Connection, Database
from rag_service.errors import Damaged, InvalidSettings, Mismatch, StorageFailed
from rag_service.kept import Flaw, RecordQuery, Retention
from rag_service.ledger.postgres import PostgresLedger
from rag_service.ledger.postgres_writer import prunable
from tests.postgres.server import database
from tests.recorded import BEGAN_MS, answer_id, entry, feedback


@pytest.fixture
def url(tmp_path: Path) -> str:
    return database(tmp_path)


@pytest.fixture
def ledger(url: str) -> Iterator[PostgresLedger]:
    ledger = PostgresLedger(Database(url))
    yield ledger
    ledger.close()


def change(url: str, statement: str) -> None:
    with Database(url).writing("write to") as connection:
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE rag.entries SET body = set_byte(body, 30, get_byte(body, 30) # 1) WHERE seq = 3", {3}),
        ("UPDATE rag.entries SET vector = NULL WHERE seq = 3", {3}),
        ("UPDATE rag.entries SET at_ms = at_ms + 1 WHERE seq = 3", {3}),
        ("UPDATE rag.entries SET content = sha256(content) WHERE seq = 3", {3}),
        ("DELETE FROM rag.entries WHERE seq = 3", {3}),
        ("DELETE FROM rag.entries WHERE seq < 3", {None, 1, 2}),
        ("UPDATE rag.answers SET question = 'another' WHERE seq = 3", {3}),
        ("DELETE FROM rag.answers WHERE seq = 3", {3}),
        ("UPDATE rag.feedback SET rating = 'down'", {6}),
        ("UPDATE rag.entries SET body = NULL, vector = NULL WHERE seq = 3", {3}),
        ("DELETE FROM rag.lineages", {1, 2, 3, 4, 5}),
    ],
)
def test_what_was_changed_behind_its_back_is_named(ledger: PostgresLedger, url: str, statement: str, named: set[int | None]) -> None:
    for number in range(1, 6):
        ledger.add(entry(number)).result(timeout=10)
    ledger.rate(answer_id(1), feedback("up"))
    assert ledger.audit().flaws == ()
    change(url, statement)
    assert {flaw.seq for flaw in ledger.audit().flaws} == named


def test_one_damaged_record_hides_no_other(ledger: PostgresLedger, url: str) -> None:
    for number in range(1, 6):
        ledger.add(entry(number)).result(timeout=10)
    change(url, "UPDATE rag.entries SET body = set_byte(body, 30, get_byte(body, 30) # 1) WHERE seq = 3")
    found = list(ledger.records(RecordQuery()))
    assert [one.seq for one in found if isinstance(one, Flaw)] == [3]
    assert len(found) == 5
    with pytest.raises(Damaged, match="entry 3"):
        ledger.find(answer_id(3))


def test_a_text_with_nul_is_kept_as_it_was_and_found(ledger: PostgresLedger) -> None:
    """PostgreSQL has no NUL in a text: the list shows another letter, the record the one that was there."""
    ledger.add(entry(1, question="be\0fore", answer="af\0ter")).result(timeout=10)
    [listed] = ledger.rows(RecordQuery(text="be\0fore")).rows
    assert listed.row.question == "be\ufffdfore"
    [kept] = ledger.find(answer_id(1))
    assert (kept.record.question, kept.record.answer) == ("be\0fore", "af\0ter")
    assert ledger.audit().flaws == ()


@pytest.mark.parametrize("text", ["'; DROP TABLE rag.entries; --", "%s", "%(a)s", "$1", "\\'", "E'\\x'"])
def test_whatever_is_asked_for_is_a_value(ledger: PostgresLedger, text: str) -> None:
    ledger.add(entry(1, question=text, key_id=text)).result(timeout=10)
    assert [listed.row.question for listed in ledger.rows(RecordQuery(text=text, key_id=text)).rows] == [text]
    assert ledger.rows(RecordQuery(release=text, trace_id=text)).rows == ()
    assert ledger.find(text) == []
    assert ledger.erase_key(text) == 1


def test_a_ledger_of_another_form_is_refused_and_left_alone(ledger: PostgresLedger, url: str) -> None:
    ledger.check()
    change(url, "UPDATE rag.ledger SET version = 99")
    other = PostgresLedger(Database(url))
    for use in (other.check, lambda: other.rows(RecordQuery()), lambda: other.add(entry(1)).result(timeout=10)):
        with pytest.raises(Mismatch, match="99"):
            use()
    other.close()


def test_connections_that_the_server_closed_are_replaced_without_a_word(ledger: PostgresLedger, url: str) -> None:
    """As a restart does. Nothing had begun on them, so nothing can have been written twice."""
    ledger.add(entry(1)).result(timeout=10)
    assert ledger.rows(RecordQuery()).rows
    ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    for number in range(2, 5):
        change(url, ours)
        assert ledger.add(entry(number)).result(timeout=10).seq == number
        assert len(ledger.rows(RecordQuery()).rows) == number
    assert ledger.audit().flaws == ()


class Meanwhile:
    """A connection, between whose statements others write."""

    def __init__(self, connection: Connection, others: Callable[[], object]) -> None:
        self._connection = connection
        self._others = others

    def execute(self, *statement: Any) -> Any:
        done = self._connection.execute(*statement)
        self._others()
        return done


def test_what_is_written_while_old_entries_are_looked_for_is_young(ledger: PostgresLedger, url: str) -> None:
    numbers = count(1)
    ledger.check()

    def others() -> None:
        ledger.add(entry(next(numbers))).result(timeout=10)

    with Database(url).reading("read") as connection:
        looked = prunable(cast("Connection", Meanwhile(connection, others)), Retention(max_age_s=60.0, max_bytes=None), BEGAN_MS)
    assert next(numbers) > 1
    assert looked == 0


@pytest.mark.parametrize("bad", ["", "postgresql:/x", "postgresql://u:secret word@h/x", "mysql://u:secret@h/x"])
def test_what_is_no_url_is_refused_without_being_repeated(bad: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        Database(bad)
    assert "secret" not in str(refused.value) + refused.value.hint


def test_no_database_no_port_and_no_password_are_each_said(url: str) -> None:
    place = url.rpartition("@")[2]
    for wrong, said in (
        (url.rpartition("/")[0] + "/nothere", "does not exist"),
        (f"postgresql://admin:hushhush@{place}", "password authentication failed"),
        ("postgresql://admin:hushhush@127.0.0.1:1/x", "refused"),
    ):
        with pytest.raises(StorageFailed, match=said) as refused:
            Database(wrong).fetched("read", "SELECT 1")
        assert refused.value.hint
        assert "hushhush" not in str(refused.value) + refused.value.hint
