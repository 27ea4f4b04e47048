"""What every catalog promises of releases and of what is served: in files of one machine, and in a database of several."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rag_service.catalog import Catalog
from rag_service.errors import Conflict, Damaged, InvalidName, NotFound
from rag_service.history import Transition
from rag_service.settings import load_settings
from rag_service.wiring.stores import open_catalog
from tests.postgres.server import database
from tests.test_catalog import release

KINDS: dict[str, Callable[[Path], Catalog]] = {
    "files": lambda folder: Catalog(folder / "indexes"),
    "postgres": lambda folder: open_catalog(load_settings({}, indexes=folder / "indexes", store=database(folder))),
}
A, B, C = release(3), release(4), release(5)


@pytest.fixture(params=KINDS)
def open_it(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Catalog]:
    """Two that are opened so are about the same indexes."""
    return lambda: KINDS[request.param](tmp_path)


@pytest.fixture
def catalog(open_it: Callable[[], Catalog]) -> Catalog:
    return open_it()


def test_nothing_is_there_before_anything_is_written(catalog: Catalog) -> None:
    assert (catalog.names(), catalog.versions("demo"), catalog.releases("demo")) == ([], [], [])
    assert catalog.history("demo").transitions == ()
    assert catalog.served_id("demo") is None
    for look in (
        lambda: catalog.active_id("demo"),
        lambda: catalog.release("demo", A.id),
        lambda: catalog.release_of_version("demo", "0" * 12),
    ):
        with pytest.raises(NotFound):
            look()


def test_a_release_comes_back_as_it_was(catalog: Catalog) -> None:
    catalog.add_release("demo", A)
    catalog.add_release("demo", B)
    catalog.add_release("demo", A)
    assert (catalog.release("demo", A.id), catalog.release("demo", B.id)) == (A, B)
    assert catalog.releases("demo") == [A.id, B.id]
    assert catalog.release_of_version("demo", A.index.version) == B.id
    with pytest.raises(NotFound):
        catalog.release("other", A.id)


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "encoders", "a'; DROP TABLE rag.releases; --"])
def test_what_cannot_name_an_index_is_refused_everywhere(catalog: Catalog, name: str) -> None:
    for use in (
        lambda: catalog.add_release(name, A), lambda: catalog.activate(name, A), lambda: catalog.active_id(name),
        lambda: catalog.versions(name), lambda: catalog.releases(name), lambda: catalog.history(name), lambda: catalog.release(name, A.id),
    ):  # fmt: skip
        with pytest.raises(InvalidName):
            use()


def test_an_id_that_is_none_finds_nothing(catalog: Catalog) -> None:
    for identifier in ("", "../../etc", "' OR true --", "0123456789AB", "0" * 13):
        with pytest.raises(NotFound):
            catalog.release("demo", identifier)


def test_activating_is_seen_by_whoever_else_looks(open_it: Callable[[], Catalog]) -> None:
    one, other = open_it(), open_it()
    made = one.activate("demo", A, who="ann", why="it is better")
    assert isinstance(made, Transition)
    assert (other.active_id("demo"), other.release("demo", A.id)) == (A.id, A)
    assert other.history("demo").transitions == (made,)
    assert (made.seq, made.action, made.release, made.previous, made.who, made.why) == (1, "activate", A.id, None, "ann", "it is better")
    assert other.activate("demo", A) is None
    assert one.history("demo").transitions == (made,)


def test_what_is_served_and_going_back_follow_the_history(catalog: Catalog) -> None:
    for one in (A, B, C):
        catalog.activate("demo", one)
    assert catalog.history("demo").back() == B.id
    catalog.activate("demo", B, action="rollback", why="it is worse")
    history = catalog.history("demo")
    assert [(step.seq, step.release, step.previous, step.action) for step in history.transitions] == [
        (1, A.id, None, "activate"), (2, B.id, A.id, "activate"), (3, C.id, B.id, "activate"), (4, B.id, C.id, "rollback"),
    ]  # fmt: skip
    assert (history.back(), history.recent(5), catalog.active_id("demo")) == (A.id, (B.id, A.id), B.id)


def test_who_expects_something_else_to_be_served_changes_nothing(catalog: Catalog) -> None:
    with pytest.raises(Conflict):
        catalog.activate("demo", A, expected=B.id)
    catalog.activate("demo", A, expected=None)
    with pytest.raises(Conflict, match=A.id):
        catalog.activate("demo", B, expected=None)
    catalog.activate("demo", B, expected=A.id)
    assert catalog.active_id("demo") == B.id
    assert len(catalog.history("demo").transitions) == 2


def test_of_many_who_activate_at_once_each_change_stands_in_one_history(open_it: Callable[[], Catalog]) -> None:
    """Who comes while another is at it may be refused, and then has changed nothing."""

    def activate(number: int) -> str | None:
        try:
            made = open_it().activate("demo", release(number + 3), expected=None if number % 2 else "anything")
        except Conflict:
            return None
        return made.release if made else None

    with ThreadPoolExecutor(6) as pool:
        done = {one for one in pool.map(activate, range(12)) if one is not None}
    history = open_it().history("demo").transitions
    assert {step.release for step in history} == done
    assert [step.seq for step in history] == list(range(1, len(history) + 1))
    assert [step.previous for step in history] == [None, *[step.release for step in history[:-1]]]
    assert open_it().active_id("demo") == history[-1].release


def test_indexes_do_not_mix(catalog: Catalog) -> None:
    catalog.activate("one", A)
    catalog.activate("two", B)
    assert (catalog.active_id("one"), catalog.active_id("two")) == (A.id, B.id)
    assert (catalog.releases("one"), catalog.releases("two")) == ([A.id], [B.id])


def test_what_is_followed_is_what_is_active_soon(open_it: Callable[[], Catalog]) -> None:
    one, other = open_it(), open_it()
    one.activate("demo", A)
    follow = other.follow("demo")
    assert follow() == A.id
    one.activate("demo", B)
    for _ in range(200):
        if follow() == B.id:
            break
        time.sleep(0.01)
    assert follow() == B.id


def test_a_release_that_somebody_changed_in_the_database_is_damaged(tmp_path: Path) -> None:
    from rag_service.database import Database

    catalog = KINDS["postgres"](tmp_path)
    catalog.activate("demo", A)
    with Database(database(tmp_path)).writing("write to") as connection:
        connection.execute("UPDATE rag.releases SET body = %s", (B.canonical(),))
    with pytest.raises(Damaged, match=A.id):
        catalog.release("demo", A.id)
