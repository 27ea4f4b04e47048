"""Whatever somebody does to the rows of a ledger, looking through it says to which entry, and the command that looks fails."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import orjson
import pytest
import zstandard

from rag_service.kept import Retention
from rag_service.ledger import chain
from rag_service.ledger.sqlite import SqliteLedger
from rag_service.stored_record import entry_of
from tests.conftest import Cli
from tests.recorded import BEGAN_MS, abstained, answer_id, entry, feedback, ledger_at

ERASED, RATED, RATING, ERASURE = 4, 5, 9, 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Eight answers, a rating of the fifth, and the erasure of the fourth."""
    path = tmp_path / "ledger.sqlite"
    with ledger_at(path, *range(1, 9)) as ledger:
        assert ledger.rate(answer_id(RATED), feedback("up")).seq == RATING
        ledger.erase_answers([answer_id(ERASED)])
    return path


def changed(path: Path, *statements: str, values: tuple[object, ...] = ()) -> None:
    """By somebody who may write the file and knows SQL."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            assert connection.execute(statement, values if "?" in statement else ()).rowcount != 0, statement


def flaws(path: Path) -> list[tuple[int | None, str]]:
    ledger = SqliteLedger(path)
    return [(flaw.seq, flaw.what) for flaw in ledger.audit().flaws]


def test_nothing_is_wrong_with_a_ledger_that_nobody_changed(path: Path) -> None:
    assert flaws(path) == []
    audit = SqliteLedger(path).audit()
    assert (audit.entries, audit.answers, audit.erased) == (10, 7, 1)


SWAPPED = (
    "UPDATE entries SET seq = -3 WHERE seq = 3",
    "UPDATE entries SET seq = 3 WHERE seq = 6",
    "UPDATE entries SET seq = 6 WHERE seq = -3",
)


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (["UPDATE entries SET at_ms = at_ms + 1 WHERE seq = 3"], {3}),
        (["UPDATE entries SET kind = 'feedback' WHERE seq = 3"], {3}),
        (["UPDATE entries SET kind = 'erasure' WHERE seq = 3"], {3}),
        (["UPDATE entries SET kind = 'pruning' WHERE seq = 3"], {3}),
        (["UPDATE entries SET kind = 'party' WHERE seq = 3"], {3}),
        (["UPDATE entries SET body = (SELECT body FROM entries WHERE seq = 2) WHERE seq = 3"], {3}),
        (["UPDATE entries SET body = x'00' WHERE seq = 3"], {3}),
        (["UPDATE entries SET vector = x'00000000' WHERE seq = 3"], {3}),
        (["UPDATE entries SET vector = NULL WHERE seq = 3"], {3}),
        (["UPDATE entries SET digest = zeroblob(32) WHERE seq = 3"], {3, 4}),
        (["UPDATE entries SET content = zeroblob(32) WHERE seq = 3"], {3}),
        (["UPDATE entries SET lineage = zeroblob(32) WHERE seq = 3"], {3}),
        (["UPDATE entries SET body = NULL, vector = NULL WHERE seq = 3"], {3}),
        (["UPDATE entries SET body = NULL WHERE seq = 3"], {3}),
        (["UPDATE entries SET body = (SELECT body FROM entries WHERE seq = 3) WHERE seq = 4"], {4}),
        (["UPDATE entries SET at_ms = 0 WHERE seq = 1"], {1}),
        (SWAPPED, {3, 6}),
        (["DELETE FROM entries WHERE seq = 3"], {3}),
        (["DELETE FROM entries WHERE seq BETWEEN 3 AND 5"], {3}),
        (["DELETE FROM entries WHERE seq = 10"], {ERASED}),
        (["DELETE FROM entries WHERE seq = 1"], {None}),
        (["DELETE FROM entries WHERE seq <= 3"], {None}),
        (["INSERT INTO entries SELECT 11, kind, at_ms, content, digest, lineage, body, vector FROM entries WHERE seq = 3"], {11}),
        (["INSERT INTO entries SELECT 0, kind, at_ms, content, digest, lineage, body, vector FROM entries WHERE seq = 3"], {0}),
        (["INSERT INTO entries SELECT -9, kind, at_ms, content, digest, lineage, body, vector FROM entries WHERE seq = 3"], {-9}),
        (["INSERT INTO entries SELECT 1 << 60, kind, at_ms, content, digest, lineage, body, vector FROM entries WHERE seq = 3"], {1 << 60}),
        (["UPDATE entries SET seq = 1 << 60 WHERE seq = 3"], {3, 1 << 60}),
        (["UPDATE answers SET question = 'What else?' WHERE seq = 3"], {3}),
        (["UPDATE answers SET status = 'abstained' WHERE seq = 3"], {3}),
        (["UPDATE answers SET key_id = 'somebody' WHERE seq = 3"], {3}),
        (["DELETE FROM answers WHERE seq = 3"], {3}),
        (["UPDATE answers SET seq = 77 WHERE seq = 3"], {3, 77}),
        (["UPDATE feedback SET rating = 'down'"], {RATING}),
        (["DELETE FROM feedback"], {RATING}),
        (["UPDATE lineages SET body = x'7b7d'"], {1, 2, 3, 5, 6, 7, 8}),
        (["DELETE FROM lineages"], {1, 2, 3, 5, 6, 7, 8}),
    ],
    ids=lambda given: given[0].removeprefix("UPDATE ") if isinstance(given, list) else None,
)
def test_what_was_changed_is_named(path: Path, statements: list[str], named: set[int | None]) -> None:
    changed(path, *statements)
    assert {seq for seq, _ in flaws(path)} >= named


def test_an_answer_that_was_listed_without_an_entry_is_named(path: Path) -> None:
    changed(path, "DELETE FROM entries WHERE seq = 8", "UPDATE answers SET seq = 12, answer_id = 'ans_0' WHERE seq = 8")
    assert (12, "an answer is listed that is not there") in flaws(path)


def test_who_makes_the_digests_of_one_entry_fit_its_new_content_is_found_by_the_next(path: Path) -> None:
    """And who makes those after it fit too has made another chain, with another head."""
    head = SqliteLedger(path).audit().head
    with closing(sqlite3.connect(path)) as connection, connection:
        (before,) = connection.execute("SELECT digest FROM entries WHERE seq = 2").fetchone()
        at_ms, body, vector = connection.execute("SELECT at_ms, body, vector FROM entries WHERE seq = 3").fetchone()
        said = orjson.loads(zstandard.ZstdDecompressor().decompress(body))
        new = orjson.dumps({**said, "answer": "Employee 3 has 280 days. [1]"})
        content = chain.content_digest(new, vector)
        digest = chain.entry_digest(before, 3, at_ms, "answer", content)
        connection.execute(
            "UPDATE entries SET body = ?, content = ?, digest = ? WHERE seq = 3",
            (zstandard.ZstdCompressor().compress(new), content, digest),
        )
        connection.execute("UPDATE answers SET answer = 'Employee 3 has 280 days. [1]' WHERE seq = 3")
    assert flaws(path) == [(4, "does not follow from the entry before it")]
    with closing(sqlite3.connect(path)) as connection, connection:
        rows = connection.execute("SELECT seq, at_ms, kind, content FROM entries WHERE seq > 3 ORDER BY seq").fetchall()
        for seq, at_ms, kind, content in rows:
            digest = chain.entry_digest(digest, seq, at_ms, kind, content)
            connection.execute("UPDATE entries SET digest = ? WHERE seq = ?", (digest, seq))
    audit = SqliteLedger(path).audit()
    assert audit.flaws == ()
    assert audit.head != head


def test_a_gap_is_named_once_however_long_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with ledger_at(path, *range(1, 1301)):
        pass
    changed(path, "DELETE FROM answers WHERE seq BETWEEN 10 AND 1290", "DELETE FROM entries WHERE seq BETWEEN 10 AND 1290")
    assert flaws(path) == [(10, "is missing, and so are all up to 1,290")]


def test_cut_off_newest_entries_are_found_by_a_receipt_alone(tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "ledger.sqlite"
    with ledger_at(path, *range(1, 9)) as ledger:
        [receipt] = [kept.receipt for kept in ledger.find(answer_id(8))]
    changed(path, "DELETE FROM answers WHERE seq > 6", "DELETE FROM entries WHERE seq > 6")
    assert flaws(path) == []
    missed = cli("trace", "verify", "--ledger", path, "--expect", f"{receipt.seq}:{receipt.digest}")
    assert missed.code == 3
    assert "entry 8 is missing, though there is a receipt for it" in missed.err
    with ledger_at(path, 7, 10):
        pass
    assert flaws(path) == []
    replaced = cli("trace", "verify", "--ledger", path, "--expect", f"{receipt.seq}:{receipt.digest}")
    assert replaced.code == 3
    assert "entry 8 is not the entry of the receipt" in replaced.err


def test_what_retention_dropped_is_not_said_to_be_missing_without_a_word(path: Path, cli: Cli) -> None:
    ledger = SqliteLedger(path)
    receipt = ledger.find(answer_id(1))[0].receipt
    assert ledger.prune(Retention(max_age_s=0), BEGAN_MS + 3 * 60_000) == 2
    ledger.close()
    assert flaws(path) == []
    missed = cli("trace", "verify", "--ledger", path, "--expect", f"{receipt.seq}:{receipt.digest}")
    assert missed.code == 3
    assert "entry 1 was dropped by retention" in missed.err


def test_what_comes_back_after_retention_dropped_it_is_named(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    copy.write_bytes(path.read_bytes())
    ledger = SqliteLedger(path)
    ledger.prune(Retention(max_age_s=0), BEGAN_MS + 4 * 60_000)
    ledger.close()
    changed(path, f"ATTACH '{copy}' AS copy", "INSERT INTO entries SELECT * FROM copy.entries WHERE seq = 3")
    assert (3, "is there, though it was dropped") in flaws(path)


def test_the_command_names_the_entry_and_exits_with_3(path: Path, cli: Cli) -> None:
    assert cli("trace", "verify", "--ledger", path).code == 0
    changed(path, "UPDATE entries SET at_ms = at_ms + 1 WHERE seq = 3")
    verified = cli("trace", "verify", "--ledger", path)
    assert verified.code == 3
    assert verified.out.startswith("not intact 10 entries, 7 answers, 1 erased")
    assert "entry 3 does not follow from the entry before it" in verified.err
    as_json = cli("trace", "verify", "--ledger", path, "--json")
    assert as_json.code == 3
    assert {"seq": 3, "what": "does not follow from the entry before it"} in orjson.loads(as_json.out)["flaws"]


def test_an_index_that_no_longer_leads_to_an_answer_is_named(path: Path) -> None:
    changed(
        path,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET sql = 'CREATE INDEX answers_by_trace ON answers (answer_id)' WHERE name = 'answers_by_trace'",
    )
    assert any(seq is None and "answers_by_trace" in what for seq, what in flaws(path))


@pytest.mark.parametrize("made", [lambda: entry(9, content="digest"), lambda: entry(9, question="Is joe@example.com in?")])
def test_answers_of_every_kind_are_intact(path: Path, made: Callable[[], object]) -> None:
    ledger = SqliteLedger(path)
    ledger.add(made()).result(timeout=10)  # type: ignore[arg-type]  # an entry
    ledger.close()
    assert flaws(path) == []


def test_abstentions_are_intact(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    ledger.add(entry_of(abstained(1), content="full", key_id=None)).result(timeout=10)
    ledger.close()
    assert flaws(tmp_path / "ledger.sqlite") == []
