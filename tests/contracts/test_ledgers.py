"""What every implementation of the port `Ledger` promises."""

import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from subprocess import PIPE, Popen
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rag_service.database import Database
from rag_service.errors import NotFound, StorageFailed
from rag_service.filters import parse_filter
from rag_service.kept import AnswerEntry, Feedback, Kept, RecordQuery, Retention
from rag_service.ledger.postgres import PostgresLedger
from rag_service.ledger.sqlite import SqliteLedger
from rag_service.ports import Ledger
from rag_service.record import Receipt
from rag_service.stored_record import entry_of
from tests.postgres.server import database
from tests.recorded import BEGAN, BEGAN_MS, LINEAGE, OTHER_LINEAGE, abstained, answer_id, entry, feedback, ids, lineage, record

Open = Callable[[Path], Ledger]


def open_postgres(folder: Path) -> Ledger:
    return PostgresLedger(Database(database(folder)))


KINDS: dict[str, Open] = {"sqlite": lambda folder: SqliteLedger(folder / "ledger.sqlite"), "postgres": open_postgres}
"""A folder stands for one ledger: what is opened twice on it is the same."""


@pytest.fixture(params=KINDS)
def open_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Ledger]]:
    opened: list[Ledger] = []

    def open_it() -> Ledger:
        opened.append(KINDS[request.param](tmp_path))
        return opened[-1]

    yield open_it
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_ledger: Callable[[], Ledger]) -> Ledger:
    return open_ledger()


def add(ledger: Ledger, *entries: AnswerEntry) -> list[Receipt]:
    return [future.result(timeout=10) for future in [ledger.add(one) for one in entries]]


def numbers(ledger: Ledger, query: RecordQuery = RecordQuery()) -> list[int]:  # noqa: B008 - frozen
    """Of the records that fit, oldest first."""
    found = list(ledger.records(query))
    assert all(isinstance(one, Kept) for one in found), found
    return [int(one.record.answer_id[4:], 16) for one in found if isinstance(one, Kept)]


def intact(ledger: Ledger) -> bool:
    return ledger.audit().flaws == ()


def test_nothing_is_found_before_anything_is_written(ledger: Ledger) -> None:
    for read in (lambda: ledger.find(answer_id(1)), lambda: ledger.rows(RecordQuery()), lambda: list(ledger.records(RecordQuery()))):
        with pytest.raises(NotFound):
            read()
    with pytest.raises(NotFound):
        ledger.rate(answer_id(1), feedback())
    assert ledger.erase_answers([answer_id(1)]) == 0
    assert ledger.erase_key("key") == 0


def test_check_makes_an_empty_ledger(ledger: Ledger) -> None:
    ledger.check()
    ledger.check()
    assert ledger.rows(RecordQuery()).rows == ()
    audit = ledger.audit()
    assert (audit.entries, audit.head, audit.flaws) == (0, None, ())


def test_receipts_count_from_one_without_gaps_and_the_last_is_the_head(ledger: Ledger) -> None:
    receipts = add(ledger, *(entry(number) for number in range(1, 8)))
    assert [receipt.seq for receipt in receipts] == [1, 2, 3, 4, 5, 6, 7]
    assert len({receipt.digest for receipt in receipts}) == 7
    audit = ledger.audit()
    assert (audit.entries, audit.answers, audit.head, audit.flaws) == (7, 7, receipts[-1], ())


@pytest.mark.parametrize("kind", KINDS)
def test_a_receipt_depends_on_all_that_came_before_it(kind: str, open_ledger: Callable[[], Ledger], tmp_path: Path) -> None:
    """Whatever engine holds it."""
    first = add(open_ledger(), entry(1), entry(2))
    (tmp_path / "other").mkdir()
    with_another_past = KINDS[kind](tmp_path / "other")
    second = add(with_another_past, entry(3), entry(2))
    with_another_past.close()
    assert first[1].seq == second[1].seq
    assert first[1].digest != second[1].digest


def test_a_record_is_found_by_its_answer_id_with_all_that_was_added(ledger: Ledger) -> None:
    [receipt] = add(ledger, entry(5, key_id="frontend"))
    [kept] = ledger.find(answer_id(5))
    added = record(5)
    assert (kept.receipt, kept.key_id, kept.content, kept.redacted, kept.feedback) == (receipt, "frontend", "full", frozenset(), ())
    assert (kept.record.question, kept.record.answer, kept.record.prompt and kept.record.prompt.user) == (
        added.question, added.answer, added.prompt and added.prompt.user,
    )  # fmt: skip
    assert kept.record.query_vector.tobytes() == added.query_vector.tobytes()
    assert kept.record.lineage.release == LINEAGE.release
    assert ledger.find(answer_id(6)) == []


def test_a_trace_id_finds_all_its_answers_oldest_first(ledger: Ledger) -> None:
    trace_id = "f" * 32
    batch = [record(number, attempt=replace(record(1).attempt, trace_id=trace_id)) for number in (3, 1, 2)]
    add(ledger, *(entry_of(one, content="full", key_id=None) for one in batch), entry(9))
    assert ids(ledger.find(trace_id)) == [answer_id(3), answer_id(1), answer_id(2)]


def test_an_answer_is_added_once(ledger: Ledger) -> None:
    add(ledger, entry(1))
    with pytest.raises(StorageFailed):
        add(ledger, entry(1))
    assert numbers(ledger) == [1]
    assert intact(ledger)


GREEN = parse_filter({"tenant": "green"})


def varied(number: int) -> AnswerEntry:
    """Twelve of these differ in everything that can be asked for."""
    attempt = record(number, of=OTHER_LINEAGE if number > 8 else LINEAGE).attempt
    if number in {4, 5}:
        attempt = replace(attempt, parameters=replace(attempt.parameters, access=GREEN))
    if number in {2, 6}:
        return entry_of(abstained(number, attempt=attempt), content="full", key_id="a")
    hits = tuple(replace(hit, score=hit.score - number / 100) for hit in record(number).hits)
    made = record(number, attempt=attempt, hits=hits, answer=f"100% of {number} [1]" if number == 3 else "")
    return entry_of(made, content="full", key_id="b" if number % 2 else None)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (RecordQuery(), list(range(1, 13))),
        (RecordQuery(since_ms=BEGAN_MS + 4 * 60_000), list(range(4, 13))),
        (RecordQuery(until_ms=BEGAN_MS + 4 * 60_000), [1, 2, 3]),
        (RecordQuery(since_ms=BEGAN_MS + 4 * 60_000, until_ms=BEGAN_MS + 6 * 60_000), [4, 5]),
        (RecordQuery(status="abstained"), [2, 6]),
        (RecordQuery(status="answered", until_ms=BEGAN_MS + 5 * 60_000), [1, 3, 4]),
        (RecordQuery(release=OTHER_LINEAGE.release.id), [9, 10, 11, 12]),
        (RecordQuery(index_version="0123456789ab", key_id="a"), [2, 6]),
        (RecordQuery(index_version="ffffffffffff"), []),
        (RecordQuery(score_below=0.65), [11, 12]),
        (RecordQuery(text="EMPLOYEE 1"), [1, 10, 11, 12]),
        (RecordQuery(text="100%"), [3]),
        (RecordQuery(text="100%", question_only=True), []),
        (RecordQuery(text="has employee 3", question_only=True), [3]),
        (RecordQuery(text="employee_3"), []),
        (RecordQuery(text="\\"), []),
        (RecordQuery(trace_id=f"{7:032x}"), [7]),
        (RecordQuery(key_id="b"), [1, 3, 5, 7, 9, 11]),
        (RecordQuery(access=GREEN.digest if GREEN else ""), [4, 5]),
        (RecordQuery(rating="up"), [7]),
        (RecordQuery(rating="down"), [8]),
        (RecordQuery(rating="any"), [7, 8]),
        (RecordQuery(rating="any", key_id="b"), [7]),
        (RecordQuery(before_seq=3), [1, 2]),
    ],
)
def test_each_condition_lets_through_what_meets_it(ledger: Ledger, query: RecordQuery, expected: list[int]) -> None:
    add(ledger, *(varied(number) for number in range(1, 13)))
    for number, said in ((7, feedback("down")), (7, feedback("up")), (7, feedback(None, comment="so so")), (8, feedback("down"))):
        ledger.rate(answer_id(number), said)
    assert numbers(ledger, query) == expected
    assert [int(listed.row.answer_id[4:], 16) for listed in ledger.rows(query).rows] == expected[::-1]


def test_pages_follow_one_another_newest_first_whatever_is_added_meanwhile(ledger: Ledger) -> None:
    add(ledger, *(entry(number) for number in range(1, 24)))
    seen: list[int] = []
    query = RecordQuery(limit=5)
    while True:
        page = ledger.rows(query)
        seen += [int(listed.row.answer_id[4:], 16) for listed in page.rows]
        add(ledger, entry(100 + len(seen)))
        if page.next_before is None:
            break
        query = replace(query, before_seq=page.next_before)
    assert seen == list(range(23, 0, -1))
    assert [len(ledger.rows(RecordQuery(limit=limit)).rows) for limit in (1, 28, 29)] == [1, 28, 28]
    assert ledger.rows(RecordQuery(limit=28)).next_before is None


def test_a_row_says_what_the_record_is(ledger: Ledger) -> None:
    added = entry(3, key_id="frontend")
    add(ledger, added)
    [listed] = ledger.rows(RecordQuery()).rows
    assert (listed.seq, listed.row, listed.rating) == (1, added.row, None)


def test_more_records_than_are_read_at_once_come_in_order_and_each_once(ledger: Ledger) -> None:
    futures = [ledger.add(entry(number)) for number in range(1, 1203)]
    assert futures[-1].result(timeout=30).seq == 1202
    assert numbers(ledger) == list(range(1, 1203))


def test_feedback_comes_back_in_order_and_the_newest_rating_is_listed(ledger: Ledger) -> None:
    add(ledger, entry(1), entry(2))
    said = [feedback("down", comment="no", key_id="a"), feedback("up", expected="30 days"), feedback(None, comment="hm")]
    receipts = [ledger.rate(answer_id(1), one) for one in said]
    assert [receipt.seq for receipt in receipts] == [3, 4, 5]
    assert ledger.find(answer_id(1))[0].feedback == tuple(said)
    assert ledger.find(answer_id(2))[0].feedback == ()
    assert [listed.rating for listed in ledger.rows(RecordQuery()).rows] == [None, "up"]
    with pytest.raises(NotFound):
        ledger.rate(answer_id(3), feedback())
    assert intact(ledger)


def test_what_is_erased_is_found_nowhere_and_the_chain_still_holds(ledger: Ledger) -> None:
    add(ledger, *(entry(number) for number in range(1, 6)))
    ledger.rate(answer_id(2), feedback(comment="a secret thought"))
    ledger.rate(answer_id(3), feedback())
    assert ledger.erase_answers([answer_id(2), answer_id(4), answer_id(4), answer_id(77)]) == 2
    assert numbers(ledger) == [1, 3, 5]
    assert ledger.find(answer_id(2)) == ledger.find(f"{2:032x}") == []
    assert [listed.rating for listed in ledger.rows(RecordQuery()).rows] == [None, "up", None]
    with pytest.raises(NotFound):
        ledger.rate(answer_id(2), feedback())
    audit = ledger.audit()
    assert (audit.entries, audit.answers, audit.erased, audit.flaws) == (8, 3, 3, ())  # two answers and one feedback
    assert ledger.erase_answers([answer_id(2)]) == 0
    assert ledger.audit().entries == 8


def test_erasing_a_key_erases_all_that_it_asked_and_nothing_else(ledger: Ledger) -> None:
    add(ledger, *(entry(number, key_id=("a", "b", None)[number % 3]) for number in range(9)))
    assert ledger.erase_key("b") == 3
    assert numbers(ledger) == [0, 2, 3, 5, 6, 8]
    assert ledger.erase_key("b") == ledger.erase_key("nobody") == 0
    assert intact(ledger)


def test_thousands_of_answers_can_be_erased_at_once(ledger: Ledger) -> None:
    add(ledger, *(entry(number) for number in range(1, 4)))
    assert ledger.erase_answers([answer_id(number) for number in range(2, 40_000)]) == 2
    assert numbers(ledger) == [1]


def test_what_is_too_old_is_dropped_and_the_chain_still_holds(ledger: Ledger) -> None:
    add(ledger, *(entry(number) for number in range(1, 11)))
    ledger.rate(answer_id(2), feedback())
    now_ms = BEGAN_MS + 10 * 60_000
    assert ledger.prune(Retention(max_age_s=3600), now_ms) == 0
    assert ledger.prune(Retention(max_age_s=5 * 60 + 1), now_ms) == 4
    assert numbers(ledger) == [5, 6, 7, 8, 9, 10]
    audit = ledger.audit()
    assert (audit.pruned_through, audit.answers, audit.flaws) == (4, 6, ())
    assert add(ledger, entry(11))[0].seq == 13  # after ten answers, one feedback and one pruning
    assert ledger.prune(Retention(max_age_s=60), now_ms + 1000 * 60_000) == 9
    assert numbers(ledger) == []
    assert intact(ledger)
    assert add(ledger, entry(12))[0].seq == 15


def test_everything_is_kept_without_a_limit(ledger: Ledger) -> None:
    add(ledger, entry(1))
    assert ledger.prune(Retention(), BEGAN_MS + 10**12) == 0


def test_an_entry_of_a_clock_that_was_ahead_is_dropped_when_its_time_comes(ledger: Ledger) -> None:
    ahead = record(2).created_at.replace(year=2027)
    add(ledger, entry(1), entry(2, created_at=ahead), entry(3))
    assert ledger.prune(Retention(max_age_s=60), BEGAN_MS + 3600_000) == 1
    assert numbers(ledger) == [2, 3]
    assert ledger.prune(Retention(max_age_s=60), round(ahead.timestamp() * 1000) + 61_000) >= 2
    assert numbers(ledger) == []
    assert intact(ledger)


@pytest.mark.parametrize("chars", [10, 3000, 9000])
def test_what_is_too_much_is_dropped_oldest_first_until_it_fits(ledger: Ledger, tmp_path: Path, chars: int) -> None:
    """Noise, which no packing makes smaller."""
    dice = random.Random(chars)
    add(ledger, *(entry(number, raw_answer=dice.randbytes(chars).hex()) for number in range(1, 301)))
    limit = 400 * 1024
    assert ledger.prune(Retention(max_bytes=limit)) > 0
    left = numbers(ledger)
    assert left == list(range(left[0], 301))
    assert len(left) > 10
    assert ledger.prune(Retention(max_bytes=limit)) == 0
    assert sum(path.stat().st_size for path in tmp_path.iterdir() if not path.name.endswith("-shm")) <= limit
    assert intact(ledger)


def test_releases_that_no_record_needs_any_more_are_dropped_with_them(ledger: Ledger) -> None:
    old, new = lineage(top_k=3), lineage(top_k=4)
    add(ledger, entry(1, of=old), entry(2, of=new), entry(3, of=old), entry(4, of=new), entry(5, of=new))
    ledger.prune(Retention(max_age_s=0), BEGAN_MS + 3 * 60_000)
    assert numbers(ledger) == [3, 4, 5]
    ledger.prune(Retention(max_age_s=0), BEGAN_MS + 4 * 60_000)
    assert numbers(ledger) == [4, 5]
    assert {kept.record.lineage.release.id for kept in ledger.records(RecordQuery()) if isinstance(kept, Kept)} == {new.release.id}


def test_what_is_read_while_it_is_erased_and_dropped_is_no_damage(ledger: Ledger) -> None:
    add(ledger, *(entry(number) for number in range(1, 1101)))
    reading = ledger.records(RecordQuery())
    next(reading)
    ledger.erase_answers([answer_id(300), answer_id(800)])
    ledger.prune(Retention(max_age_s=0), BEGAN_MS + 10 * 60_000)
    rest = list(reading)
    assert all(isinstance(one, Kept) for one in rest)
    assert len(rest) == 1100 - 9 - 2  # those before 10, of which one was read, and the two


def test_an_audit_while_entries_are_erased_and_dropped_finds_nothing_wrong(ledger: Ledger) -> None:
    add(ledger, *(entry(number) for number in range(1, 1301)))

    def meanwhile(_: int) -> None:
        ledger.erase_answers([answer_id(1250)])
        ledger.prune(Retention(max_age_s=0), BEGAN_MS + 1100 * 60_000)

    assert ledger.audit(meanwhile).flaws == ()
    assert ledger.audit().flaws == ()


def test_what_was_added_before_closing_is_there_after_opening(open_ledger: Callable[[], Ledger]) -> None:
    first = open_ledger()
    futures = [first.add(entry(number)) for number in range(1, 400)]
    first.close()
    assert [future.result(timeout=0).seq for future in futures] == list(range(1, 400))
    assert numbers(open_ledger()) == list(range(1, 400))
    with pytest.raises(StorageFailed):
        first.add(entry(400)).result(timeout=1)


def test_threads_that_add_at_once_get_receipts_of_their_own(ledger: Ledger) -> None:
    with ThreadPoolExecutor(16) as pool:
        receipts = list(pool.map(lambda number: ledger.add(entry(number)).result(timeout=20), range(400)))
    assert sorted(receipt.seq for receipt in receipts) == list(range(1, 401))
    for number in (0, 199, 399):
        assert ledger.find(answer_id(number))[0].receipt == receipts[number]
    assert intact(ledger)


OTHER_PROCESS = """
import sys
from pathlib import Path
from tests.contracts.test_ledgers import KINDS, entry
kind, folder, first, last = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
ledger = KINDS[kind](folder)
print("open", flush=True)
sys.stdin.readline()
futures = []
for number in range(first, last):
    futures.append(ledger.add(entry(number)))
    if number % 3 == 0:
        futures[-1].result(timeout=20)
print(*sorted(future.result(timeout=20).seq for future in futures))
ledger.close()
"""


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_that_write_to_one_ledger_get_one_chain(kind: str, tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", OTHER_PROCESS, kind, str(tmp_path), *bounds] for bounds in (("0", "200"), ("200", "400"))]
    project = Path(__file__).resolve().parents[2]
    writers = [Popen(command, stdin=PIPE, stdout=PIPE, text=True, cwd=project) for command in commands]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
    said: list[str] = []
    waiting = [threading.Thread(target=lambda one=writer: said.append(one.communicate("go\n", timeout=40)[0])) for writer in writers]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    seqs = [[int(seq) for seq in lines.split()] for lines in said]
    assert sorted(seqs[0] + seqs[1]) == list(range(1, 401))
    ledger = KINDS[kind](tmp_path)
    audit = ledger.audit()
    ledger.close()
    assert (audit.answers, audit.flaws) == (400, ())


AHEAD_MINUTES = 500


@dataclass
class Modelled:
    """An answer as the model of a ledger has it."""

    number: int
    key_id: str | None
    at_ms: int
    feedback: list[Feedback] = field(default_factory=list)


class LedgerMachine(RuleBasedStateMachine):
    """Anything, in any order, against a list."""

    kind = "sqlite"

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.ledger = KINDS[self.kind](Path(self.folder.name))
        self.there: list[Modelled] = []
        self.added = self.seqs = 0
        self.known: list[tuple[int, Receipt]] = []

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.folder.cleanup()

    @rule(keys=st.lists(st.sampled_from([None, "a", "b"]), min_size=1, max_size=6), ahead=st.booleans())
    def add(self, keys: list[str | None], ahead: bool) -> None:
        """With a clock that is `ahead`, or right again."""
        futures = []
        for key_id in keys:
            self.added += 1
            minutes = self.added + (AHEAD_MINUTES if ahead else 0)
            made = entry(self.added, key_id=key_id, created_at=BEGAN + timedelta(minutes=minutes))
            futures.append(self.ledger.add(made))
            self.there.append(Modelled(self.added, key_id, made.row.created_at_ms))
        for future in futures:
            self.seqs += 1
            assert future.result(timeout=10).seq == self.seqs

    @precondition(lambda self: self.there)
    @rule(data=st.data(), rating=st.sampled_from(["up", "down", None]))
    def rate(self, data: st.DataObject, rating: str | None) -> None:
        one = data.draw(st.sampled_from(self.there))
        said = feedback(rating, comment="why")  # type: ignore[arg-type]  # one of them
        assert self.ledger.rate(answer_id(one.number), said).seq == self.seqs + 1
        self.seqs += 1
        one.feedback.append(said)

    @precondition(lambda self: self.added)
    @rule(data=st.data())
    def erase_answers(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sets(st.integers(1, self.added), min_size=1, max_size=3))
        self._erased([one for one in self.there if one.number in chosen], self.ledger.erase_answers([answer_id(one) for one in chosen]))

    @rule(key_id=st.sampled_from(["a", "b"]))
    def erase_key(self, key_id: str) -> None:
        self._erased([one for one in self.there if one.key_id == key_id], self.ledger.erase_key(key_id))

    def _erased(self, gone: list[Modelled], erased: int) -> None:
        assert erased == len(gone)
        self.seqs += bool(gone)
        self.there = [one for one in self.there if one not in gone]

    @precondition(lambda self: self.there)
    @rule(data=st.data(), ahead=st.booleans())
    def prune(self, data: st.DataObject, ahead: bool) -> None:
        """Answers alone, so that the model need not know when anything else was written."""
        oldest = data.draw(st.integers(1, self.added + 1)) + (AHEAD_MINUTES if ahead else 0)
        dropped = self.ledger.prune(Retention(max_age_s=0), BEGAN_MS + oldest * 60_000)
        if dropped:
            self.seqs += 1
        left = {number for number in numbers(self.ledger)}
        gone = [one for one in self.there if one.number not in left]
        assert all(one.at_ms < BEGAN_MS + oldest * 60_000 for one in gone)
        assert [one.number for one in gone] == [one.number for one in self.there][: len(gone)]
        self.there = [one for one in self.there if one not in gone]

    @rule()
    def reopen(self) -> None:
        self.ledger.close()
        self.ledger = KINDS[self.kind](Path(self.folder.name))

    @rule()
    def audit(self) -> None:
        if self.seqs:
            audit = self.ledger.audit()
            assert audit.flaws == ()
            assert audit.head is not None
            assert (audit.head.seq, audit.answers) == (self.seqs, len(self.there))

    @invariant()
    def it_holds_what_the_model_holds(self) -> None:
        if not self.seqs:
            return
        found = [one for one in self.ledger.records(RecordQuery()) if isinstance(one, Kept)]
        assert [(one.record.answer_id, one.key_id, list(one.feedback)) for one in found] == [
            (answer_id(one.number), one.key_id, one.feedback) for one in self.there
        ]


class PostgresMachine(LedgerMachine):
    kind = "postgres"


TestLedgerAgainstAModel = LedgerMachine.TestCase
TestLedgerAgainstAModel.settings = settings(max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))
TestPostgresAgainstAModel = PostgresMachine.TestCase
TestPostgresAgainstAModel.settings = settings(
    max_examples=10, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
