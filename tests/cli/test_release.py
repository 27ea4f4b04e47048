"""`rag-service release`: what it prints, what it changes, and what a wrong call gets."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_service.catalog import Catalog
from tests.doubles import HOLIDAYS

Cli = Callable[..., Any]


@pytest.fixture
def catalog(own_indexes: Path) -> Catalog:
    return Catalog(own_indexes)


@pytest.fixture
def release(cli: Cli, own_indexes: Path) -> Cli:
    """`release("rollback", …)` of the handbook."""

    def run(verb: str, *arguments: object, name: str = "handbook", **environ: str) -> Any:
        return cli("release", verb, name, *arguments, "--indexes", own_indexes, **environ)

    return run


@pytest.fixture
def served(cli: Cli, catalog: Catalog) -> list[str]:
    """Three releases that were served one after the other."""
    found = [catalog.active_id("handbook")]
    for top_k in ("4", "3"):
        outcome = cli("index", "activate", "--name", "handbook", "--why", f"top {top_k}", "--indexes", catalog.root, RAG_TOP_K=top_k)
        assert outcome.code == 0, outcome.err
        found.append(catalog.active_id("handbook"))
    return found


def failed(outcome: Any, code: int = 1) -> str:
    assert (outcome.code, outcome.out) == (code, ""), outcome
    [(message, hint)] = re.findall(r"^error (.+)\n +(\S.*)$", outcome.err, re.MULTILINE)
    return f"{message}\n{hint}"


def test_releases_are_listed_newest_first_and_the_active_one_is_marked(release: Cli, served: list[str]) -> None:
    lines = release("list").out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == served[::-1]
    assert [line.rstrip().endswith("active") for line in lines] == [True, False, False]
    assert re.search(r"dense 3/0\.\d+|hybrid 3/0\.\d+|\w+ 3/0\.\d+", lines[0])


def test_a_listed_release_whose_version_is_gone_or_that_is_damaged_says_so(release: Cli, catalog: Catalog, served: list[str]) -> None:
    catalog.release_path("handbook", served[0]).write_text("{}")
    assert re.search(rf"{served[0]} .*damaged", release("list").out)
    [version] = catalog.versions("handbook")
    catalog.version_folder("handbook", version).rename(catalog.root / "elsewhere")
    assert release("list").out.count("its version is gone") == 2


def test_a_release_is_shown_with_every_part(release: Cli, served: list[str]) -> None:
    assert json.loads(release("show").out)["id"] == served[-1]
    shown = json.loads(release("show", served[0]).out)
    assert (shown["id"], shown["digest"][7:19]) == (served[0], served[0])
    assert shown["release"]["retrieval"]["top_k"] == 5
    assert "0123456789ab" in failed(release("show", "0123456789ab"))


def test_rolling_back_goes_back_one_and_then_one_further_and_says_how_to_undo_it(release: Cli, catalog: Catalog, served: list[str]) -> None:
    outcome = release("rollback", "--why", "too few")
    assert outcome.code == 0, outcome.err
    assert f"active: handbook release {served[1]}" in outcome.out
    assert f"in place of {served[2]}" in outcome.out
    assert f"to undo that: rag-service release activate handbook {served[2]}" in outcome.out
    assert catalog.active_id("handbook") == served[1]
    assert release("rollback").code == 0
    assert catalog.active_id("handbook") == served[0]
    assert "never served another release: there is nothing to go back to" in failed(release("rollback"))
    assert catalog.active_id("handbook") == served[0]
    last = catalog.history("handbook").transitions[-2]
    assert (last.why, last.action) == ("too few", "rollback")
    assert "@" in last.who


def test_what_the_hint_to_undo_says_undoes_it(release: Cli, cli: Cli, catalog: Catalog, served: list[str]) -> None:
    [told] = re.findall(r"to undo that: rag-service (.*)", release("rollback").out)
    assert cli(*told.split(), "--indexes", catalog.root).code == 0
    assert catalog.active_id("handbook") == served[2]


def test_going_back_to_a_release_that_is_named(release: Cli, catalog: Catalog, served: list[str]) -> None:
    assert release("rollback", served[0]).code == 0
    assert catalog.active_id("handbook") == served[0]
    assert catalog.history("handbook").back() is None


def test_a_release_is_activated_by_its_id_and_again_changes_nothing(release: Cli, catalog: Catalog, served: list[str]) -> None:
    assert f"active: handbook release {served[1]}" in release("activate", served[1], "--why", "better").out
    history = catalog.history("handbook")
    assert history.transitions[-1].why == "better"
    again = release("activate", served[1])
    assert (again.code, "active already" in again.out) == (0, True)
    assert catalog.history("handbook") == history


def test_the_history_is_told_newest_first_with_who_and_why(release: Cli, served: list[str]) -> None:
    release("rollback", "--why", "[bold]too few[/bold]")
    lines = release("history").out.splitlines()[1:]
    assert [re.split(r"  +", line)[1] for line in lines] == ["rolled back", "activated", "activated", "activated"]
    assert "[bold]too few[/bold]" in lines[0]
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", lines[0])
    told = json.loads(release("history", "--json").out)
    assert [(one["previous"], one["release"]) for one in told] == [
        (None, served[0]), (served[0], served[1]), (served[1], served[2]), (served[2], served[1]),
    ]  # fmt: skip


def test_a_history_with_damaged_lines_is_told_without_them(release: Cli, catalog: Catalog, served: list[str]) -> None:
    log = catalog.index_folder("handbook") / "history.jsonl"
    log.write_bytes(b"nonsense\n" + log.read_bytes())
    outcome = release("history")
    assert outcome.code == 0
    assert "1 damaged lines of the history were left out" in outcome.err
    assert served[2] in outcome.out


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("identifier", ["0123456789ab", "nonsense", "../../ACTIVE", "", "x" * 300, "a\u2215b"])
def test_an_unknown_release_is_an_error_and_what_is_served_is_still_served(release: Cli, catalog: Catalog, identifier: str) -> None:
    """A5."""
    before = catalog.active_path("handbook").read_bytes()
    for verb in ("activate", "rollback"):
        assert identifier in failed(release(verb, identifier))
    assert catalog.active_path("handbook").read_bytes() == before


@pytest.mark.parametrize("verb", ["list", "show", "history", "rollback", "activate"])
@pytest.mark.parametrize(("name", "code"), [("nowhere", 1), ("../x", 2), ("encoders", 2), ("%2e%2e", 2), ("con?", 2)])
def test_an_index_that_is_not_there_or_a_name_that_is_none_is_an_error(release: Cli, verb: str, name: str, code: int) -> None:
    outcome = release(verb, *(["0123456789ab"] if verb == "activate" else []), name=name)
    if (verb, code) == ("list", 1):
        assert (outcome.code, outcome.out) == (0, "")
        assert "no releases of nowhere" in outcome.err
        return
    failed(outcome, code)


def test_a_release_whose_version_is_damaged_is_not_gone_back_to_and_the_check_is_named(
    release: Cli, cli: Cli, catalog: Catalog, own_indexes: Path, tmp_path: Path
) -> None:
    old = catalog.active_id("handbook")
    (tmp_path / "pets.md").write_text("# Pets\n\nDogs may come to the office on Fridays.\n")
    assert cli("index", "build", tmp_path / "pets.md", "--name", "handbook", "--activate", "--indexes", own_indexes).code == 0
    new = catalog.active_id("handbook")
    path = catalog.version_folder("handbook", catalog.release("handbook", old).index.version) / "vectors.faiss"
    path.write_bytes(path.read_bytes()[:-7])
    said = failed(release("rollback"))
    assert f"release {old} is not activated, the check `manifest` failed: " in said
    assert "vectors.faiss" in said
    assert catalog.active_id("handbook") == new
    assert "Fridays" in cli("ask", "When may dogs come to the office?", "--name", "handbook", "--indexes", own_indexes).out


def test_a_damaged_pointer_is_an_error_until_something_is_activated(release: Cli, cli: Cli, catalog: Catalog, served: list[str]) -> None:
    catalog.active_path("handbook").write_text("nonsense\n")
    for verb in ("show", "history", "rollback"):
        assert "ACTIVE of 'handbook' does not name a release" in failed(release(verb))
    assert release("activate", served[0]).code == 0
    assert "28 days" in cli("ask", HOLIDAYS, "--name", "handbook", "--indexes", catalog.root).out
