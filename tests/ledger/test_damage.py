"""A ledger that a disk or an accident has damaged: what is intact is read and exported, what is not is named, and answers go on."""

import json
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from rag_service.api.trace_schemas import row_of
from rag_service.errors import Damaged, Mismatch, NotRecorded, RagError
from rag_service.kept import Flaw, Kept, RecordQuery, Retention
from rag_service.ledger.sqlite import SqliteLedger
from rag_service.recording import Recorder
from tests.api.conftest import desk_on, running
from tests.conftest import Cli
from tests.recorded import BEGAN_MS, answer_id, entry, feedback, ledger_at, lineage, record

ANSWERS = 80
ERASED = 9
THERE = set(range(1, ANSWERS + 1)) - {ERASED}
PAGE_BYTES = 4096
TABLE_LEAF = 0x0D
"""What a page with rows of a table begins with; then, from the eighth byte, the places of its rows, two bytes each."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A closed ledger of two releases, with feedback and an erasure."""
    path = tmp_path_factory.mktemp("whole") / "ledger.sqlite"
    with ledger_at(path) as ledger:
        futures = [ledger.add(entry(number, of=lineage(top_k=3 + number % 2))) for number in range(1, ANSWERS + 1)]
        futures[-1].result(timeout=10)
        ledger.rate(answer_id(3), feedback("up", comment="fine"))
        ledger.erase_answers([answer_id(ERASED)])
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def read(path: Path) -> tuple[set[int], list[Flaw]]:
    """Numbers of the records that can be read, each of which is what was written, and what is said of the rest."""
    kept, flaws = set[int](), list[Flaw]()
    for found in SqliteLedger(path).records(RecordQuery()):
        if isinstance(found, Flaw):
            flaws.append(found)
            continue
        number = int(found.record.answer_id[4:], 16)
        written = record(number)
        assert (found.record.question, found.record.answer, found.record.hits[0].chunk.text) == (
            written.question, written.answer, written.hits[0].chunk.text,
        )  # fmt: skip
        assert found.record.query_vector.tobytes() == written.query_vector.tobytes()
        assert number not in kept
        kept.add(number)
    return kept, flaws


def everything_ends(path: Path) -> None:
    """With a result or with an error that has a name; nothing else, and not never."""
    ledger = SqliteLedger(path)
    for do in (
        lambda: [row_of(listed) for listed in ledger.rows(RecordQuery(limit=200)).rows],
        lambda: ledger.rows(RecordQuery(text="holiday", rating="up")),
        lambda: ledger.find(answer_id(60)),
        lambda: ledger.rate(answer_id(60), feedback()),
        lambda: ledger.add(entry(900)).result(timeout=10),
        lambda: ledger.erase_answers([answer_id(61)]),
        lambda: ledger.prune(Retention(max_age_s=0, max_bytes=300_000), BEGAN_MS + 5 * 60_000),
        ledger.check,
        ledger.close,
    ):
        with suppress(RagError):
            do()


def damages(whole: bytes) -> Iterator[tuple[str, bytes]]:
    dice = random.Random(4)
    for at in range(PAGE_BYTES + 8, len(whole), PAGE_BYTES):  # the count of cells and the pointers of every page
        if whole[at - 8] == TABLE_LEAF:  # first and last row change places
            yield f"order of page {at // PAGE_BYTES + 1}", _swapped(whole, at - 8)
        yield f"header of page {at // PAGE_BYTES + 1}", whole[: at - 8] + dice.randbytes(16) + whole[at + 8 :]
    for _ in range(16):
        at, bit = dice.randrange(PAGE_BYTES, len(whole)), 1 << dice.randrange(8)
        yield f"bit at {at}", whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :]
    for _ in range(8):
        at = dice.randrange(PAGE_BYTES, len(whole) - 64)
        yield f"64 bytes at {at}", whole[:at] + dice.randbytes(64) + whole[at + 64 :]


def _swapped(whole: bytes, page: int) -> bytes:
    count = int.from_bytes(whole[page + 3 : page + 5], "big")
    first, last = page + 8, page + 8 + 2 * (count - 1)
    changed = bytearray(whole)
    changed[first : first + 2], changed[last : last + 2] = whole[last : last + 2], whole[first : first + 2]
    return bytes(changed)


def test_whatever_is_damaged_what_is_intact_is_read_and_the_rest_is_named(whole: bytes, path: Path) -> None:
    most_lost = 0
    for what, data in damages(whole):
        path.write_bytes(data)
        kept, flaws = read(path)
        assert kept == THERE or flaws, f"{what}: {len(THERE - kept)} are gone without a word"
        assert kept <= THERE
        audit = SqliteLedger(path).audit()
        assert kept == THERE or audit.flaws, what
        most_lost = max(most_lost, len(THERE - kept))
        everything_ends(path)
        path.unlink()
        for suffix in ("-wal", "-shm"):
            path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
    assert 0 < most_lost < ANSWERS


def place_of(whole: bytes, path: Path, seq: int) -> int:
    """Where in the file the content of an entry begins."""
    path.write_bytes(whole)
    with closing(sqlite3.connect(path)) as connection:
        (body,) = connection.execute("SELECT body FROM entries WHERE seq = ?", (seq,)).fetchone()
    return whole.index(body[:200])


def test_what_lies_between_two_damaged_pages_is_read_even_where_the_lists_are_damaged_too(whole: bytes, path: Path) -> None:
    """There no way leads from either end."""
    changed = bytearray(whole)
    for at in (place_of(whole, path, 20), place_of(whole, path, 60), whole.index(b"has employee 40?")):
        changed[at - at % PAGE_BYTES] = 0xFF  # no kind of page
    path.write_bytes(changed)
    kept, flaws = read(path)
    assert kept >= {5, 30, 40, 50, 75}
    assert {20, 60} <= THERE - kept
    assert len(THERE - kept) < 10
    assert {flaw.seq for flaw in flaws} == {None, *(THERE - kept)}


@pytest.mark.parametrize("flips", range(8))
def test_one_flipped_bit_in_a_record_costs_that_record_alone(whole: bytes, path: Path, flips: int) -> None:
    ledger = SqliteLedger(path)
    at = place_of(whole, path, 50)
    path.write_bytes(whole[: at + 60 + flips] + bytes([whole[at + 60 + flips] ^ 1 << flips]) + whole[at + 61 + flips :])
    kept, flaws = read(path)
    assert kept == THERE - {50}
    assert [flaw.seq for flaw in flaws] == [50]
    assert [flaw.seq for flaw in ledger.audit().flaws] == [50]
    with pytest.raises(Damaged):
        ledger.find(answer_id(50))
    assert len(ledger.find(answer_id(51))) == 1
    assert {listed.seq for listed in ledger.rows(RecordQuery(limit=200)).rows} >= {50, 51}


@pytest.mark.parametrize(
    "change",
    [
        "question = CAST(x'ff41' AS TEXT)",
        "status = 'perhaps'",
        "status = CAST(x'ff' AS TEXT)",
        "abstain_reason = 'bored'",
        "created_at_ms = -1000000000000000",
        "created_at_ms = 9000000000000000000",
    ],
)
def test_a_list_that_holds_what_nobody_wrote_is_listed_all_the_same(whole: bytes, path: Path, change: str) -> None:
    path.write_bytes(whole)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE answers SET {change} WHERE seq = 50")
    ledger = SqliteLedger(path)
    rows = [row_of(listed) for listed in ledger.rows(RecordQuery(limit=200)).rows]
    assert [row.answer_id for row in rows] == [answer_id(number) for number in sorted(THERE, reverse=True)]
    assert {row.status for row in rows} == {"answered"}
    assert [(flaw.seq, flaw.what) for flaw in ledger.audit().flaws] == [(50, "it is listed as something else than it is")]
    assert read(path) == (THERE, [])


@pytest.mark.parametrize("left", [0.999, 0.9, 0.75, 0.5])
def test_of_a_file_that_was_cut_off_the_beginning_is_read(whole: bytes, path: Path, left: float) -> None:
    path.write_bytes(whole[: int(len(whole) * left)])
    kept, flaws = read(path)
    assert kept
    assert kept < THERE or left > 0.99
    assert flaws
    everything_ends(path)


def test_of_a_file_that_has_lost_its_header_nobody_can_say_what_it_was(whole: bytes, path: Path) -> None:
    for size in (1, 50, 99):
        path.write_bytes(whole[:size])
        with pytest.raises((Damaged, Mismatch), match=r"ledger\.sqlite"):
            list(SqliteLedger(path).records(RecordQuery()))


@pytest.mark.parametrize("size", [100, 512, 1000, PAGE_BYTES, PAGE_BYTES + 1])
def test_of_a_file_of_which_next_to_nothing_is_left_it_is_said_that_it_is_damaged(whole: bytes, path: Path, size: int) -> None:
    path.write_bytes(whole[:size])
    ledger = SqliteLedger(path)
    for look in (lambda: list(ledger.records(RecordQuery())), lambda: ledger.rows(RecordQuery()), ledger.audit):
        with pytest.raises(Damaged, match=r"ledger\.sqlite"):
            look()


def test_without_its_log_a_ledger_holds_what_was_in_the_file(tmp_path: Path) -> None:
    """A log that somebody deleted takes the newest with it; a receipt shows that."""
    path, copied = tmp_path / "ledger.sqlite", tmp_path / "copied.sqlite"
    with ledger_at(path, *range(1, 60)):
        pass
    with ledger_at(path, *range(60, 80)) as ledger:
        [last] = [kept.receipt for kept in ledger.find(answer_id(79))]
        assert path.with_name("ledger.sqlite-wal").stat().st_size > 0
        shutil.copy(path, copied)
    left = SqliteLedger(copied)
    assert [int(found.record.answer_id[4:], 16) for found in left.records(RecordQuery()) if isinstance(found, Kept)] == list(range(1, 60))
    assert left.audit().flaws == ()
    assert left.digest_at(last.seq) is None
    assert left.add(entry(80)).result(timeout=10).seq == 60
    left.close()


def test_a_log_that_was_cut_off_or_damaged_gives_a_beginning_of_what_was_written(tmp_path: Path) -> None:
    path, dice = tmp_path / "ledger.sqlite", random.Random(9)
    (tmp_path / "copy").mkdir()
    with ledger_at(path) as ledger:
        for number in range(1, 41):
            ledger.add(entry(number)).result(timeout=10)  # a commit each
        log = path.with_name("ledger.sqlite-wal").read_bytes()
        data = path.read_bytes()
    seen = set()
    for _ in range(25):
        at = dice.randrange(len(log) // 4, len(log))
        damaged = log[:at] + (b"" if dice.random() < 0.5 else bytes([log[at] ^ 64]) + log[at + 1 :])
        copied = tmp_path / "copy" / "ledger.sqlite"
        copied.write_bytes(data)
        copied.with_name("ledger.sqlite-wal").write_bytes(damaged)
        copied.with_name("ledger.sqlite-shm").unlink(missing_ok=True)
        kept, flaws = read(copied)
        assert (kept, flaws) == (set(range(1, len(kept) + 1)), [])
        assert SqliteLedger(copied).audit().flaws == ()
        seen.add(len(kept))
    assert len(seen) > 5


# What a service and its commands make of it


@pytest.fixture
def cut_off(whole: bytes, path: Path) -> Path:
    path.write_bytes(whole[: len(whole) // 2])
    return path


def test_a_service_answers_without_records_where_its_ledger_is_damaged(cut_off: Path, caplog: pytest.LogCaptureFixture) -> None:
    failures: list[None] = []
    recorder = Recorder(SqliteLedger(cut_off))
    recorder.failed = lambda: failures.append(None)
    recorder.start()
    kept = recorder.keep(record(500), key_id=None)
    recorder.close()
    assert (kept.receipt, kept.unrecorded) == (None, "the ledger could not be written (damaged)")
    assert len(failures) == 1
    assert "answers go out unrecorded: the ledger ledger.sqlite is damaged" in caplog.text
    assert "trace verify" in caplog.text


def test_a_strict_service_refuses_where_its_ledger_is_damaged(cut_off: Path) -> None:
    recorder = Recorder(SqliteLedger(cut_off), strict=True)
    with pytest.raises(NotRecorded):
        recorder.keep(record(500), key_id=None)
    recorder.close()


def test_what_is_intact_is_exported_and_the_rest_is_named(cut_off: Path, cli: Cli, tmp_path: Path) -> None:
    to = tmp_path / "saved.jsonl"
    exported = cli("trace", "export", "--ledger", cut_off, "--to", to)
    assert exported.code == 3
    saved = [json.loads(line) for line in to.read_text().splitlines()]
    assert len(saved) > 10
    assert f"written {len(saved)} records" in exported.err
    assert "entry " in exported.err
    verified = cli("trace", "verify", "--ledger", cut_off)
    assert verified.code == 3
    listed = cli("trace", "list", "--ledger", cut_off, "--limit", "500", "--json")
    assert {row["answer_id"] for row in json.loads(listed.out)} >= {line["answer_id"] for line in saved}


def test_over_http_what_is_intact_is_listed_and_exported(whole: bytes, own_indexes: Path) -> None:
    (own_indexes / "ledger.sqlite").write_bytes(whole[: len(whole) // 2])
    with running(desk_on(own_indexes)) as client:
        lines = client.get("/traces/export").body.splitlines()
        assert len(lines) > 10
        assert len(client.get("/traces?limit=200").json["traces"]) >= len(lines)
        reply = client.ask({"question": "Who wears a yellow badge?"})
        assert (reply.status, reply.json["trace"]["recorded"]) == (200, False)
        assert "damaged" in reply.json["trace"]["unknown"]["receipt"]
