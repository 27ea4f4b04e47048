"""Where a server takes questions: the release a request means, what it answered before, and the chunks it cited."""

import dataclasses
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_service.answer_cache import AnswerCache
from rag_service.archive import Archive
from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.desk import Desk, Pin
from rag_service.errors import Damaged, InvalidInput, InvalidQuestion, NotFound, NotReady, ReleaseUnavailable, ShuttingDown
from rag_service.filters import parse_filter
from rag_service.opened import Opened
from rag_service.pinned import Pinned
from rag_service.question import Question
from rag_service.record import Event, Found, Record
from rag_service.recording import Recorder
from rag_service.serving import Service
from rag_service.settings import load_settings
from rag_service.wiring.desks import max_concurrent, max_queue, open_desk
from rag_service.wiring.releases import make_release
from tests.doubles import HOLIDAYS, Around, Writes, completion, no_records, with_generator

BADGES = "What do visitors wear?"


def begun(desk: Desk) -> Desk:
    done = threading.Event()
    desk.service.start(ready=lambda _: done.set(), failed=lambda _: done.set())
    assert done.wait(30)
    return desk


def desk_of(pipeline: Pipeline, *, cache_bytes: int = 2**20) -> Desk:
    """A desk that answers with this pipeline and knows no other."""

    def nothing(name: str) -> Any:
        raise NotFound(f"there is no {name}")

    return begun(
        Desk(
            Service(lambda: "one", lambda _, report: Opened(pipeline, ())),  # noqa: ARG005 - nothing to report
            cache=AnswerCache(cache_bytes),
            pinned=Pinned(nothing, most=2),
            archive=Archive(lambda: (), nothing),
            release_of_version=nothing,
            recorder=Recorder(None),
            records=no_records(),
        )
    )


@pytest.fixture
def catalog(own_indexes: Path) -> Catalog:
    return Catalog(own_indexes)


@pytest.fixture
def two_releases(catalog: Catalog, build: Any, tmp_path: Path) -> tuple[str, str]:
    """(active, older): the handbook is the older one, a page about pets is what answers now."""
    older = catalog.active_id("handbook")
    folder = tmp_path / "pets"
    folder.mkdir()
    (folder / "pets.md").write_text("# Pets\n\nDogs may come to the office on Fridays.\n")
    version = build(catalog.root, folder).manifest.version
    release = make_release(load_settings({}, indexes=catalog.root), catalog, "handbook", version)
    catalog.activate("handbook", release)
    return release.id, older


@pytest.fixture
def open_it(catalog: Catalog) -> Callable[..., Desk]:
    """As `rag-service serve` makes it."""
    return lambda **settings: begun(open_desk(load_settings({}, indexes=catalog.root, name="handbook", **settings), catalog))


# Which release


def test_a_request_that_names_nothing_gets_what_is_active(pipeline: Pipeline) -> None:
    desk = desk_of(pipeline)
    lineage = pipeline.lineage
    for pin in (
        Pin(),
        Pin(release=lineage.release.id),
        Pin(index_version=lineage.index.version),
        Pin(lineage.release.id, lineage.index.version),
    ):
        assert desk.admit(pin) is pipeline
    assert Pin().anything
    assert not Pin(release="0123456789ab").anything


def test_a_release_beside_the_active_one_is_opened_once_and_answers_as_itself(
    two_releases: tuple[str, str], open_it: Callable[..., Desk]
) -> None:
    active, older = two_releases
    desk, pin = open_it(), Pin(release=older)
    assert desk.admit(pin) is None
    opened = desk.open(pin, deadline_s=None)
    assert desk.admit(pin) is opened
    assert desk.open(pin, deadline_s=None) is opened
    record = desk.ask(opened, Question(HOLIDAYS), use_cache=True)
    assert "28 days" in str(record.answer)
    assert record.lineage.release.id == older
    now = desk.admit(Pin())
    assert now is not None
    assert now.lineage.release.id == active


def test_an_index_version_is_answered_by_the_release_that_serves_it(
    catalog: Catalog, two_releases: tuple[str, str], open_it: Callable[..., Desk]
) -> None:
    _, older = two_releases
    version = catalog.release("handbook", older).index.version
    opened = open_it().open(Pin(index_version=version), deadline_s=None)
    assert (opened.lineage.release.id, opened.lineage.index.version) == (older, version)


def test_a_release_and_an_index_version_that_do_not_belong_together_are_refused(
    two_releases: tuple[str, str], open_it: Callable[..., Desk]
) -> None:
    active, older = two_releases
    desk = open_it()
    now = desk.admit(Pin())
    assert now is not None
    for pin in (Pin(older, now.lineage.index.version), Pin(older, "0123456789ab")):
        with pytest.raises(InvalidInput) as caught:
            desk.open(pin, deadline_s=None)
        assert caught.value.param == "index_version"
    assert desk.admit(Pin(active, "0123456789ab")) is None


@pytest.mark.parametrize(
    "pin", [Pin(release="0123456789ab"), Pin(index_version="0123456789ab"), Pin(release="../ACTIVE"), Pin(index_version="")]
)
def test_what_is_not_there_is_not_found(open_it: Callable[..., Desk], pin: Pin) -> None:
    with pytest.raises(NotFound):
        open_it().open(pin, deadline_s=None)


def test_a_release_that_cannot_be_opened_any_more_says_so_without_paths(
    catalog: Catalog, two_releases: tuple[str, str], open_it: Callable[..., Desk]
) -> None:
    _, older = two_releases
    vectors = catalog.version_folder("handbook", catalog.release("handbook", older).index.version) / "vectors.faiss"
    vectors.write_bytes(b"")
    with pytest.raises(ReleaseUnavailable, match="damaged") as caught:
        open_it().open(Pin(release=older), deadline_s=None)
    assert str(catalog.root) not in caught.value.message + caught.value.hint
    assert caught.value.param == "release"


def test_a_release_of_other_code_is_not_passed_off_as_the_one_that_was_named(catalog: Catalog, open_it: Callable[..., Desk]) -> None:
    active = catalog.release("handbook", catalog.active_id("handbook"))
    other = active.model_copy(update={"code": active.code.model_copy(update={"digest": "sha256:" + "1" * 64})})
    catalog.add_release("handbook", other)
    with pytest.raises(ReleaseUnavailable, match="other code"):
        open_it().open(Pin(release=other.id), deadline_s=None)


def test_with_no_release_kept_beside_it_only_the_active_one_answers(two_releases: tuple[str, str], open_it: Callable[..., Desk]) -> None:
    with pytest.raises(NotFound, match="not the active one"):
        open_it(pinned_releases=0).open(Pin(release=two_releases[1]), deadline_s=None)


def test_a_version_is_served_by_the_release_that_was_made_last(catalog: Catalog) -> None:
    first = catalog.release("handbook", catalog.active_id("handbook"))
    second = first.model_copy(update={"retrieval": first.retrieval.model_copy(update={"top_k": 2})})
    catalog.add_release("handbook", second)
    releases = catalog.index_folder("handbook") / "releases"
    for newest in (first, second):
        for release in (first, second):
            made_s = 2_000_000_000 if release is newest else 1_000_000_000
            os.utime(releases / f"{release.id}.json", (made_s, made_s))
        assert catalog.release_of_version("handbook", first.index.version) == newest.id


def test_a_damaged_release_hides_no_other_of_the_same_version(catalog: Catalog) -> None:
    first = catalog.release("handbook", catalog.active_id("handbook"))
    second = first.model_copy(update={"retrieval": first.retrieval.model_copy(update={"top_k": 2})})
    catalog.add_release("handbook", second)
    damaged = catalog.index_folder("handbook") / "releases" / f"{second.id}.json"
    damaged.write_bytes(b"{}")
    os.utime(damaged, (2_000_000_000, 2_000_000_000))
    with pytest.raises(Damaged):
        catalog.release("handbook", second.id)
    assert catalog.release_of_version("handbook", first.index.version) == first.id


@pytest.mark.parametrize("version", ["0123456789ab", "", "../..", "ABCDEF012345"])
def test_a_version_that_no_release_serves_is_not_found(catalog: Catalog, version: str) -> None:
    with pytest.raises(NotFound):
        catalog.release_of_version("handbook", version)


# Ready or not


def test_before_the_release_is_open_nobody_is_admitted(catalog: Catalog) -> None:
    desk = open_desk(load_settings({}, indexes=catalog.root, name="handbook"), catalog)
    with pytest.raises(NotReady, match="starting"):
        desk.admit(Pin())


def test_a_desk_that_drains_admits_nobody_and_who_was_admitted_is_answered(pipeline: Pipeline) -> None:
    desk = desk_of(pipeline)
    admitted = desk.admit(Pin())
    assert admitted is not None
    desk.service.drain()
    assert desk.service.leaving
    for pin in (Pin(), Pin(release="0123456789ab")):
        with pytest.raises(ShuttingDown):
            desk.admit(pin)
    assert desk.ask(admitted, Question(HOLIDAYS), use_cache=True).status == "answered"


# What was answered before


def test_a_question_is_answered_once_and_then_repeated(pipeline: Pipeline) -> None:
    generator = Writes(completion("28 days [1]."))
    writing = with_generator(pipeline, generator)
    desk = desk_of(writing)
    assert desk.recall(writing, Question(HOLIDAYS)) is None
    first = desk.ask(writing, Question(HOLIDAYS), use_cache=True)
    second = desk.ask(writing, Question(HOLIDAYS), use_cache=True)
    third = desk.recall(writing, Question(HOLIDAYS))
    assert len(generator.prompts) == 1
    assert first.repeats is None
    assert third is not None
    assert second.repeats == third.repeats == first.answer_id


def test_who_does_not_want_the_cache_neither_reads_nor_fills_it(pipeline: Pipeline) -> None:
    generator = Writes(completion("28 days [1]."))
    writing = with_generator(pipeline, generator)
    desk = desk_of(writing)
    desk.ask(writing, Question(HOLIDAYS), use_cache=False)
    assert desk.recall(writing, Question(HOLIDAYS)) is None
    desk.ask(writing, Question(HOLIDAYS), use_cache=True)
    assert desk.ask(writing, Question(HOLIDAYS), use_cache=False).repeats is None
    assert len(generator.prompts) == 3


def test_a_repeated_answer_is_told_like_the_first_one_under_its_own_id(pipeline: Pipeline) -> None:
    desk = desk_of(pipeline)
    tellings: list[list[Event]] = [[], []]
    records = [desk.ask(pipeline, Question(HOLIDAYS), use_cache=True, tell=events.append) for events in tellings]
    (found, *first), (found_again, *second) = tellings
    assert first == second
    assert isinstance(found, Found)
    assert isinstance(found_again, Found)
    assert [found.answer_id, found_again.answer_id] == [record.answer_id for record in records]


def test_an_error_is_not_kept(pipeline: Pipeline) -> None:
    desk = desk_of(pipeline)
    for _ in range(2):
        with pytest.raises(NotFound):
            desk.ask(pipeline, Question(HOLIDAYS, prompt="answer/99"), use_cache=True)
    assert desk.cache.size_bytes == 0


def test_of_a_batch_only_what_is_not_known_is_asked_and_the_order_stays(pipeline: Pipeline) -> None:
    embedded: list[int] = []
    counting = dataclasses.replace(pipeline, embedder=Around(pipeline.embedder, "embed_queries", lambda: embedded.append(1)))
    desk = desk_of(counting)
    known = desk.ask(counting, Question(BADGES), use_cache=True)
    results = desk.ask_many(counting, [Question(HOLIDAYS), Question(BADGES), Question("")], use_cache=True)
    first, repeated, blank = results
    assert isinstance(first, Record)
    assert isinstance(repeated, Record)
    assert isinstance(blank, InvalidQuestion)
    assert (first.repeats, repeated.repeats) == (None, known.answer_id)
    assert "yellow badge" in str(repeated.answer)
    again = desk.ask_many(counting, [Question(BADGES), Question(HOLIDAYS)], use_cache=True)
    assert [getattr(result, "repeats", None) for result in again] == [known.answer_id, first.answer_id]
    assert embedded == [1]


def test_a_batch_that_does_not_want_the_cache_asks_everything(pipeline: Pipeline) -> None:
    desk = desk_of(pipeline)
    desk.ask(pipeline, Question(HOLIDAYS), use_cache=True)
    results = desk.ask_many(pipeline, [Question(HOLIDAYS), Question(BADGES)], use_cache=False)
    assert [getattr(result, "repeats", "none") for result in results] == [None, None]
    assert desk.recall(pipeline, Question(BADGES)) is None


def test_a_desk_without_a_cache_answers_anew_each_time(pipeline: Pipeline) -> None:
    desk = desk_of(pipeline, cache_bytes=0)
    records = [desk.ask(pipeline, Question(HOLIDAYS), use_cache=True) for _ in range(2)]
    assert [record.repeats for record in records] == [None, None]


# What it cited


def test_a_chunk_of_what_answers_now_is_found_with_its_version_and_without(pipeline: Pipeline) -> None:
    desk, chunk = desk_of(pipeline), pipeline.chunks.chunks([0])[0]
    version = pipeline.lineage.index.version
    for asked in (version, None):
        assert desk.chunk(chunk.id, version=asked, access=None) == (chunk, version)
    with pytest.raises(NotFound):
        desk.chunk("nowhere", version=version, access=None)


def test_a_chunk_that_the_key_may_not_see_is_not_found(pipeline: Pipeline) -> None:
    desk, chunk = desk_of(pipeline), pipeline.chunks.chunks([0])[0]
    for version in (pipeline.lineage.index.version, None):
        assert desk.chunk(chunk.id, version=version, access=parse_filter({"source": chunk.source}))[0] == chunk
        with pytest.raises(NotFound):
            desk.chunk(chunk.id, version=version, access=parse_filter({"source": "elsewhere.md"}))


def test_a_chunk_that_was_cited_before_the_index_was_built_again_still_resolves(
    catalog: Catalog, two_releases: tuple[str, str], open_it: Callable[..., Desk]
) -> None:
    _, older = two_releases
    version = catalog.release("handbook", older).index.version
    desk = open_it()
    cited = desk.ask(desk.open(Pin(release=older), deadline_s=None), Question(HOLIDAYS), use_cache=True).citations[0]
    for asked in (version, None):
        assert desk.chunk(cited.chunk.id, version=asked, access=None) == (cited.chunk, version)
    desk.service.drain()
    assert desk.chunk(cited.chunk.id, version=version, access=None)[1] == version


# How much at once


@pytest.mark.parametrize(
    ("spec", "set_to", "most"),
    [
        ("extractive", None, len(os.sched_getaffinity(0))),
        ("llamacpp:/m.gguf", None, len(os.sched_getaffinity(0))),
        ("openai:gpt-5", None, 64),
        ("openai:gpt-5", 3, 3),
    ],
)
def test_answers_made_at_once_are_as_many_as_cores_or_many_where_a_provider_computes(
    pipeline: Pipeline, spec: str, set_to: int | None, most: int
) -> None:
    release = pipeline.lineage.release
    served = release.model_copy(update={"generator": release.generator.model_copy(update={"spec": spec})})
    assert max_concurrent(load_settings({}, max_concurrent=set_to), served) == most


@pytest.mark.parametrize(("set_to", "most"), [(None, 12), (0, 0), (7, 7)])
def test_four_times_as_many_may_wait_unless_it_is_set(set_to: int | None, most: int) -> None:
    assert max_queue(load_settings({}, max_queue=set_to), 3) == most
