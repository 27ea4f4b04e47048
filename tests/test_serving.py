"""A running server follows what is active, keeps what a request began with, and never gives up what works for what does not."""

import dataclasses
import gc
import logging
import os
import shutil
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_service.ask import Pipeline
from rag_service.build import Built
from rag_service.catalog import Catalog
from rag_service.errors import Damaged, NotFound, NotReady, RagError
from rag_service.opened import CHECKS, Opened, Report
from rag_service.ports import Generator
from rag_service.question import Question
from rag_service.serving import Service
from rag_service.settings import load_settings
from rag_service.types import Completion, Prompt
from rag_service.wiring.releases import make_release, open_release
from tests.doubles import HOLIDAYS, with_top_k


def eventually(true: Callable[[], object], *, within_s: float = 10.0) -> float:
    """Waits for it, and gives the seconds it took."""
    began_s = time.monotonic()
    while not true():
        assert time.monotonic() - began_s < within_s, "it did not happen in time"
        time.sleep(0.01)
    return time.monotonic() - began_s


class Shelf:
    """Releases by id, and which of them is active: what `catalog` and `open_release` are to a real service."""

    def __init__(self, releases: dict[str, Pipeline | Exception], active: str | RagError) -> None:
        self.releases = releases
        self.active = active
        self.opened: list[str] = []

    def active_id(self) -> str:
        if isinstance(self.active, RagError):
            raise self.active
        return self.active

    def open(self, release_id: str, report: Report) -> Opened:
        self.opened.append(release_id)
        report("manifest", "checking")
        found = self.releases[release_id]
        if isinstance(found, Exception):
            report("manifest", "failed")
            raise found
        for check in CHECKS:
            report(check, "ok")
        return Opened(found, ())


_started: list[Service] = []


@pytest.fixture(autouse=True)
def _nothing_goes_on_following_what_is_active() -> Iterator[None]:
    yield
    while _started:
        _started.pop().drain()


def started(shelf: Shelf) -> Service:
    service = Service(shelf.active_id, shelf.open)
    _started.append(service)
    done = threading.Event()
    service.start(ready=lambda _: done.set(), failed=lambda _: done.set())
    assert done.wait(10)
    return service


def top_k(service: Service) -> int:
    return service.pin().lineage.release.retrieval.top_k


def test_before_the_first_release_is_open_nothing_can_be_pinned(pipeline: Pipeline) -> None:
    go, ready = threading.Event(), threading.Event()

    def slowly(_: str, report: Report) -> Opened:
        report("manifest", "ok")
        report("encoder", "checking")
        go.wait(10)
        return Opened(pipeline, ())

    service = Service(lambda: "one", slowly)
    assert service.readiness().checks == dict.fromkeys(CHECKS, "pending")
    service.start(ready=lambda _: ready.set(), failed=lambda _: None)
    with pytest.raises(NotReady, match="still starting"):
        service.pin()
    eventually(lambda: service.readiness().checks["encoder"] == "checking")
    state = service.readiness()
    assert (state.ready, state.release, state.problem, state.checks["manifest"]) == (False, None, None, "ok")
    go.set()
    assert ready.wait(10)
    assert service.pin() is pipeline
    assert service.readiness().ready


@pytest.mark.parametrize("error", [Damaged("a bit is wrong"), RuntimeError("never thought of")])
def test_a_first_release_that_cannot_be_opened_is_reported_and_never_pinned(error: Exception) -> None:
    failures: list[RagError] = []
    service = Service(lambda: "one", Shelf({"one": error}, "one").open)
    service.start(ready=lambda _: None, failed=failures.append)
    eventually(lambda: failures)
    state = service.readiness()
    assert not state.ready
    assert state.problem == failures[0].code == ("damaged" if isinstance(error, Damaged) else "internal")
    assert state.checks["manifest"] == "failed"
    with pytest.raises(NotReady):
        service.pin()


def test_a_service_that_leaves_is_not_ready_and_answers_whoever_comes(pipeline: Pipeline) -> None:
    service = started(Shelf({"one": pipeline}, "one"))
    service.leave()
    assert service.readiness().problem == "shutting_down"
    assert not service.readiness().ready
    assert service.pin() is pipeline


def test_a_service_that_leaves_before_it_could_answer_drains_at_once(pipeline: Pipeline) -> None:
    service = Service(lambda: "one", Shelf({"one": pipeline}, "one").open)
    service.leave()
    with pytest.raises(NotReady, match="shutting down"):
        service.pin()


def test_a_service_that_drains_is_not_ready_and_pins_nothing(pipeline: Pipeline) -> None:
    service = started(Shelf({"one": pipeline}, "one"))
    service.drain()
    assert service.readiness().problem == "shutting_down"
    assert not service.readiness().ready
    with pytest.raises(NotReady, match="shutting down"):
        service.pin()


def test_a_service_that_drains_while_it_opens_gives_up_and_calls_it_no_failure(pipeline: Pipeline) -> None:
    begun, go, ended, failures = threading.Event(), threading.Event(), threading.Event(), []

    def slowly(_: str, report: Report) -> Opened:
        report("manifest", "checking")
        begun.set()
        assert go.wait(10)
        try:
            report("manifest", "ok")
        finally:
            ended.set()
        return Opened(pipeline, ())

    service = Service(lambda: "one", slowly)
    service.start(ready=failures.append, failed=failures.append)
    assert begun.wait(10)
    service.drain()
    go.set()
    assert ended.wait(10)
    eventually(lambda: not any(thread.name == "open-release" for thread in threading.enumerate()))
    assert failures == []
    assert service.readiness().checks["manifest"] == "checking"


def test_an_activation_is_followed_by_the_next_requests(pipeline: Pipeline) -> None:
    shelf = Shelf({"one": pipeline, "two": with_top_k(pipeline, 2)}, "one")
    service = started(shelf)
    assert top_k(service) == 5
    shelf.active = "two"
    eventually(lambda: top_k(service) == 2, within_s=1.0)
    assert shelf.opened == ["one", "two"]


def test_an_activation_is_followed_without_a_question_when_readiness_is_asked(pipeline: Pipeline) -> None:
    two = with_top_k(pipeline, 2)
    shelf = Shelf({"one": pipeline, "two": two}, "one")
    service = started(shelf)
    shelf.active = "two"
    eventually(lambda: service.readiness().release == two.lineage.release.id, within_s=1.0)


def test_a_pointer_that_moves_on_while_the_switch_begins_is_not_followed_to_where_it_was(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf({"one": with_top_k(pipeline, 1), "two": with_top_k(pipeline, 2), "three": with_top_k(pipeline, 3)}, "one")
    service = started(shelf)
    read: list[str] = []

    def moves_on() -> str:
        read.append("")
        return "two" if len(read) == 1 else "three"  # moved between the look that starts the switch and the switch itself

    monkeypatch.setattr(service, "_active_id", moves_on)
    eventually(lambda: top_k(service) == 3)
    assert shelf.opened == ["one", "three"]


@pytest.mark.parametrize("error", [Damaged("a bit is wrong"), RuntimeError("never thought of")])
def test_a_release_that_cannot_be_opened_does_not_take_over_and_is_reported(pipeline: Pipeline, error: Exception) -> None:
    shelf = Shelf({"one": pipeline, "two": error}, "one")
    service = started(shelf)
    shelf.active = "two"
    eventually(lambda: service.readiness().problem)
    assert top_k(service) == 5
    assert service.readiness().ready
    assert all(state == "ok" for state in service.readiness().checks.values())
    for _ in range(50):
        service.pin()
    assert shelf.opened == ["one", "two"]  # it is not tried again at once


def test_a_problem_is_over_when_the_release_that_answers_is_active_again(pipeline: Pipeline) -> None:
    shelf = Shelf({"one": pipeline, "two": Damaged("a bit is wrong")}, "one")
    service = started(shelf)
    for trouble in ("two", NotFound("ACTIVE is gone")):
        shelf.active = trouble
        eventually(lambda: service.readiness().problem)
        shelf.active = "one"
        eventually(lambda: service.readiness().problem is None, within_s=1.0)
    assert service.readiness().ready


def test_a_pointer_that_is_gone_is_reported_once_and_the_release_goes_on(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    shelf = Shelf({"one": pipeline}, "one")
    service = started(shelf)
    shelf.active = NotFound("ACTIVE is gone")
    caplog.clear()
    with caplog.at_level(logging.ERROR, logger="rag_service.serving"):
        for _ in range(20):
            assert top_k(service) == 5
    assert [record.getMessage() for record in caplog.records] == [
        "the active release cannot be served, the previous one goes on: ACTIVE is gone"
    ]
    assert service.readiness().problem == "not_found"


class Waits:
    """A generator that waits until it is told to write."""

    def __init__(self, inner: Generator) -> None:
        self._inner = inner
        self.name, self.digest, self.parameters, self.context_tokens = inner.name, inner.digest, inner.parameters, inner.context_tokens
        self.follows_instructions = inner.follows_instructions
        self.begun, self.go = threading.Event(), threading.Event()

    def count_tokens(self, text: str) -> int:
        return self._inner.count_tokens(text)

    def generate(self, prompt: Prompt, **options: Any) -> Completion:
        self.begun.set()
        assert self.go.wait(10)
        return self._inner.generate(prompt, **options)


def test_a_request_under_way_ends_with_the_release_that_it_began_with(pipeline: Pipeline) -> None:
    waiting = Waits(pipeline.generator)
    shelf = Shelf({"one": dataclasses.replace(pipeline, generator=waiting), "two": with_top_k(pipeline, 2)}, "one")
    service = started(shelf)
    records = []
    request = threading.Thread(target=lambda: records.append(service.pin().ask(Question(HOLIDAYS))))
    request.start()
    assert waiting.begun.wait(10)
    shelf.active = "two"
    eventually(lambda: top_k(service) == 2)
    waiting.go.set()
    request.join(timeout=10)
    [record] = records
    assert record.lineage.release.id == pipeline.lineage.release.id
    assert len(record.hits) == 5
    assert record.status == "answered"


def test_an_activation_is_followed_within_a_second_although_nobody_asks_anything(pipeline: Pipeline) -> None:
    shelf = Shelf({"one": pipeline, "two": with_top_k(pipeline, 2)}, "one")
    service = started(shelf)
    shelf.active = "two"
    time.sleep(1.0)
    assert shelf.opened == ["one", "two"]
    assert service.current is shelf.releases["two"]


def test_a_service_that_drains_follows_nothing_more(pipeline: Pipeline) -> None:
    shelf = Shelf({"one": pipeline, "two": with_top_k(pipeline, 2)}, "one")
    service = started(shelf)
    service.drain()
    shelf.active = "two"
    time.sleep(0.6)
    assert shelf.opened == ["one"]
    assert service.current is pipeline


Build = Callable[..., Built]


def service_of(root: Path) -> Service:
    """As `rag-service serve` makes it."""
    settings, catalog = load_settings({}, indexes=root, name="handbook"), Catalog(root)

    def open_one(release_id: str, report: Report) -> Opened:
        return open_release(settings, catalog, "handbook", catalog.release("handbook", release_id), report=report)

    service, done = Service(lambda: catalog.active_id("handbook"), open_one), threading.Event()
    _started.append(service)
    service.start(ready=lambda _: done.set(), failed=lambda _: done.set())
    assert done.wait(30)
    return service


def build_another(root: Path, build: Build, folder: Path) -> str:
    """A version of other documents; gives its id."""
    folder.mkdir()
    (folder / "pets.md").write_text("# Pets\n\nDogs may come to the office on Fridays.\n")
    return build(root, folder).manifest.version


def activate(root: Path, version: str) -> None:
    Catalog(root).activate("handbook", make_release(load_settings({}, indexes=root), Catalog(root), "handbook", version))


def test_a_new_version_on_disk_is_served_within_a_second(own_indexes: Path, build: Build, tmp_path: Path) -> None:
    service = service_of(own_indexes)
    assert service.pin().ask(Question("When may dogs come?")).status == "abstained"
    version = build_another(own_indexes, build, tmp_path / "pets")
    activate(own_indexes, version)
    eventually(lambda: service.pin().lineage.index.version == version, within_s=1.0)
    assert "Fridays" in str(service.pin().ask(Question("When may dogs come to the office?")).answer)


def test_the_old_pipeline_is_freed_with_its_last_reader(own_indexes: Path, build: Build, tmp_path: Path) -> None:
    service = service_of(own_indexes)
    reader = service.pin()
    old, chunks = weakref.ref(reader), reader.chunks
    version = build_another(own_indexes, build, tmp_path / "pets")
    activate(own_indexes, version)
    eventually(lambda: service.pin().lineage.index.version == version)
    gc.collect()
    assert reader.ask(Question(HOLIDAYS)).status == "answered"  # still whole for who holds it
    del reader
    gc.collect()
    assert old() is None
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        len(chunks)


def opened_files(root: Path) -> set[str]:
    """Folders of versions of which this process has a file open or mapped (Linux)."""
    found = {os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{name}")}
    found |= {line.split(maxsplit=5)[5].strip() for line in Path("/proc/self/maps").read_text().splitlines() if len(line.split()) > 5}
    return {Path(path).parent.name for path in found if path.startswith(f"{root}/handbook/versions/")}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells which files are mapped")
def test_the_files_of_the_old_version_are_let_go_with_its_last_reader_and_not_before(
    own_indexes: Path, build: Build, tmp_path: Path
) -> None:
    service = service_of(own_indexes)
    [old] = Catalog(own_indexes).versions("handbook")
    reader = service.pin()
    version = build_another(own_indexes, build, tmp_path / "pets")
    activate(own_indexes, version)
    eventually(lambda: service.pin().lineage.index.version == version)
    gc.collect()
    assert opened_files(own_indexes) == {old, version}
    assert reader.ask(Question(HOLIDAYS)).status == "answered"
    del reader
    gc.collect()
    assert opened_files(own_indexes) == {version}


def test_a_damaged_version_does_not_take_over_from_an_intact_one(own_indexes: Path, build: Build, tmp_path: Path) -> None:
    service = service_of(own_indexes)
    version = build_another(own_indexes, build, tmp_path / "pets")
    vectors = Catalog(own_indexes).version_folder("handbook", version) / "vectors.faiss"
    data = bytearray(vectors.read_bytes())
    data[-1] ^= 1
    vectors.write_bytes(data)
    activate(own_indexes, version)
    eventually(lambda: service.readiness().problem == "damaged")
    assert service.readiness().ready
    assert service.pin().lineage.index.version != version
    assert service.pin().ask(Question(HOLIDAYS)).status == "answered"


def test_files_deleted_under_a_running_service_do_not_stop_its_answers(own_indexes: Path) -> None:
    service = service_of(own_indexes)
    before = service.pin().ask(Question(HOLIDAYS))
    shutil.rmtree(own_indexes / "handbook")
    after = service.pin().ask(Question(HOLIDAYS))
    assert after.answer == before.answer
    assert [stage.digest for stage in after.stages] == [stage.digest for stage in before.stages]
    assert service.readiness().problem == "not_found"
