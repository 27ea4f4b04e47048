"""Who may see which records: those asked under their own filter, and of them what they may still read."""

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.deployment import describe_deployment
from rag_service.errors import Conflict, Forbidden, NotFound, RagError
from rag_service.filters import Filter, parse_filter
from rag_service.kept import Feedback, Kept, RecordQuery
from rag_service.ledger.sqlite import SqliteLedger
from rag_service.opened import Opened
from rag_service.question import Question
from rag_service.record import Record
from rag_service.records import Records
from rag_service.replay import Missing
from rag_service.settings import load_settings
from rag_service.stored_record import entry_of
from rag_service.wiring.releases import make_release, open_release
from tests.doubles import HOLIDAYS

HERE = describe_deployment(environment="test", declared_image=None, declared_commit=None)
TENANTS = ("red", "green", "blue")


def only(**conditions: Any) -> Filter:
    found = parse_filter(conditions)
    assert found is not None
    return found


def opened(root: Path, version: str, name: str) -> Pipeline:
    settings, catalog = load_settings({}, indexes=root, name=name), Catalog(root)
    return open_release(settings, catalog, name, make_release(settings, catalog, name, version)).pipeline


@pytest.fixture(scope="module")
def before_and_after(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path, build: Any) -> tuple[Pipeline, Pipeline]:
    """60 documents of three tenants; afterwards a third of each has moved to another tenant, and some are gone."""
    root = tmp_path_factory.mktemp("tenants")
    (root / "encoders").symlink_to(encoder_folder.parent)
    chance = random.Random(5)
    first = [(f"d{n}", TENANTS[n % 3]) for n in range(60)]
    second = [(name, chance.choice(TENANTS) if chance.random() < 0.34 else tenant) for name, tenant in first if chance.random() < 0.9]
    versions = []
    for number, labels in enumerate((first, second)):
        source = root / f"documents{number}.jsonl"
        rows = [
            f'{{"id": "{name}", "tenant": "{tenant}", "text": "Department {name} has {name[1:]} days of holiday."}}'
            for name, tenant in labels
        ]
        source.write_text("\n".join(rows))
        versions.append(opened(root, build(root, source, name="tenants").manifest.version, "tenants"))
    return versions[0], versions[1]


@dataclasses.dataclass
class Shelf:
    """A ledger, and what answers now."""

    ledger: SqliteLedger
    active: Pipeline | None = None

    @property
    def records(self) -> Records:
        return Records(
            self.ledger,
            active=lambda: self.active,
            open_release=lambda lineage: (
                Opened(self.active, ()) if self.active and self.active.lineage.release == lineage.release else Missing("index", "gone")
            ),
            missing=lambda _: None,
            deployment=HERE,
        )

    def keep(self, record: Record, key_id: str | None = None) -> Record:
        self.ledger.add(entry_of(record, content="full", key_id=key_id)).result()
        return record


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    yield Shelf(ledger)
    ledger.close()


def test_an_answer_is_found_by_its_id_and_by_its_trace(shelf: Shelf, pipeline: Pipeline) -> None:
    record = shelf.keep(pipeline.ask(Question(HOLIDAYS)))
    assert shelf.records.show(record.answer_id).record.answer == record.answer
    assert shelf.records.show(record.trace_id).record.answer_id == record.answer_id


def test_a_trace_of_several_answers_names_them(shelf: Shelf, pipeline: Pipeline) -> None:
    made = pipeline.ask_many([Question(HOLIDAYS), Question("Who wears a badge?")])
    records = [shelf.keep(record) for record in made if isinstance(record, Record)]
    with pytest.raises(Conflict) as refused:
        shelf.records.show(records[0].trace_id)
    assert all(record.answer_id in refused.value.hint for record in records)


def test_where_nothing_was_written_nothing_is_found(shelf: Shelf) -> None:
    assert shelf.records.page(RecordQuery()).rows == ()
    assert list(shelf.records.records(RecordQuery())) == []
    assert shelf.records.replayable().share is None
    with pytest.raises(NotFound):
        shelf.records.show("ans_" + "0" * 32)


def test_what_can_be_made_again_is_counted_with_reasons_for_the_rest(shelf: Shelf, pipeline: Pipeline) -> None:
    for text in (HOLIDAYS, "Is joe@example.com on holiday?", "Who wears a badge?"):
        shelf.keep(pipeline.ask(Question(text)))
    report = shelf.records.replayable()
    assert (report.records, report.replayable, report.share) == (3, 2, pytest.approx(2 / 3))
    assert [(what, count) for what, _, count in report.reasons] == [("redacted", 1)]


def test_feedback_is_kept_in_order_and_the_last_rating_is_listed(shelf: Shelf, pipeline: Pipeline) -> None:
    record = shelf.keep(pipeline.ask(Question(HOLIDAYS)), key_id="k1")
    for number, rating in enumerate(("up", "down", None)):
        shelf.records.rate(record.answer_id, Feedback(rating, f"comment {number}", None, "k1", 1000 + number))  # type: ignore[arg-type]  # literals
    assert [one.comment for one in shelf.records.show(record.answer_id).feedback] == ["comment 0", "comment 1", "comment 2"]
    assert shelf.records.page(RecordQuery()).rows[0].rating == "down"
    assert len(shelf.records.page(RecordQuery(rating="down")).rows) == 1
    assert shelf.records.page(RecordQuery(rating="up")).rows == ()


def test_a_key_that_only_asks_rates_its_own_answers(shelf: Shelf, pipeline: Pipeline) -> None:
    mine, other = shelf.keep(pipeline.ask(Question(HOLIDAYS)), "k1"), shelf.keep(pipeline.ask(Question(HOLIDAYS)), "k2")
    said = Feedback("up", None, None, "k1", 1)
    shelf.records.rate(mine.answer_id, said, only_of_key="k1")
    with pytest.raises(NotFound):
        shelf.records.rate(other.answer_id, said, only_of_key="k1")


# Keys that see a part of the documents


def test_a_limited_key_sees_what_was_asked_under_its_filter_alone(shelf: Shelf, before_and_after: tuple[Pipeline, Pipeline]) -> None:
    shelf.active = before_and_after[0]
    red, green = only(tenant="red"), only(tenant="green")
    mine = shelf.keep(shelf.active.ask(Question(HOLIDAYS, access=red)))
    shelf.keep(shelf.active.ask(Question(HOLIDAYS, access=green)))
    everybody = shelf.keep(shelf.active.ask(Question(HOLIDAYS)))
    assert [listed.row.answer_id for listed in shelf.records.page(RecordQuery(), red).rows] == [mine.answer_id]
    assert len(shelf.records.page(RecordQuery()).rows) == 3
    with pytest.raises(NotFound):
        shelf.records.show(everybody.answer_id, red)
    with pytest.raises(NotFound):
        shelf.records.compare(mine.answer_id, everybody.answer_id, red)
    with pytest.raises(NotFound):
        shelf.records.erase(everybody.answer_id, red)


def test_a_limited_key_cannot_find_out_answers_by_searching_for_their_words(
    shelf: Shelf, before_and_after: tuple[Pipeline, Pipeline]
) -> None:
    shelf.active = before_and_after[0]
    red = only(tenant="red")
    record = shelf.keep(shelf.active.ask(Question("How much holiday?", access=red, min_confidence=0)))
    assert "Department" in (record.answer or "")
    assert len(shelf.records.page(RecordQuery(text="Department")).rows) == 1
    assert shelf.records.page(RecordQuery(text="Department"), red).rows == ()
    assert shelf.records.page(RecordQuery(text="holiday"), red).rows[0].row.answer is None


def test_a_limited_key_makes_answers_again_from_the_active_release_alone(shelf: Shelf, before_and_after: tuple[Pipeline, Pipeline]) -> None:
    first, second = before_and_after
    red = only(tenant="red")
    shelf.active = second
    unchanged = next(
        record
        for number in range(60)
        if shelf.records._shows(record := first.ask(Question(f"Department d{number}", access=red, top_k=1, min_confidence=0)), red)
    )
    shelf.keep(unchanged)
    with pytest.raises(Forbidden):
        shelf.records.replay(unchanged.answer_id, red)
    now = shelf.keep(second.ask(Question(HOLIDAYS, access=red)))
    assert shelf.records.replay(now.answer_id, red)[1].verdict == "exact"


def test_no_key_ever_sees_a_passage_that_it_may_not_read_now(shelf: Shelf, before_and_after: tuple[Pipeline, Pipeline]) -> None:
    """Over random questions, filters and callers, before and after labels have changed, by every way in."""
    chance, (first, second) = random.Random(11), before_and_after
    filters: list[Filter | None] = [None, *(only(tenant=tenant) for tenant in TENANTS), only(tenant={"in": ["red", "green"]})]
    asked = []
    for number in range(150):
        question = Question(f"How many days has department d{chance.randrange(60)}?", access=chance.choice(filters), top_k=1 + number % 6,
                            min_confidence=0)  # fmt: skip
        asked.append(shelf.keep((first if number < 100 else second).ask(question)))
    shown = hidden = 0
    for active in before_and_after:
        shelf.active = active
        for access in filters[1:]:
            assert access is not None
            readable = {chunk.document_id for chunk in active.chunks.chunks(active.chunks.select(access).positions.tolist())}
            exported = [found for found in shelf.records.records(RecordQuery(), access) if isinstance(found, Kept)]
            listed = {row.row.answer_id for row in shelf.records.page(RecordQuery(limit=1000), access).rows}
            for record in asked:
                seen = _seen(shelf.records, record.answer_id, access)
                assert all(_documents(kept) <= readable for kept in seen)
                assert not seen or record.answer_id in listed
                mine = record.attempt.parameters.access == access and {hit.chunk.document_id for hit in record.hits} <= readable
                assert bool(seen) == mine, "what may be seen is seen"
                shown, hidden = shown + bool(seen), hidden + (not seen)
            assert all(_documents(kept) <= readable for kept in exported)
    assert min(shown, hidden) > 100


def _seen(records: Records, identifier: str, access: Filter) -> list[Kept]:
    """All that comes back by any way in."""
    found: list[Kept] = []
    for look in (
        lambda: [records.show(identifier, access)],
        lambda: list(records.compare(identifier, identifier, access)[:2]),
        lambda: [records.replay(identifier, access)[0]],
        lambda: list(records.selected([identifier], access)),
    ):
        try:
            found += look()
        except RagError:
            continue
    return found


def _documents(kept: Kept) -> set[str]:
    return {hit.chunk.document_id for hit in kept.record.hits}
