"""What is removed from a database that machines share, and above all what is not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rag_service.database import Database
from rag_service.errors import Conflict, NotFound
from rag_service.record import Lineage
from rag_service.sweep import Swept
from rag_service.wiring.building import build
from rag_service.wiring.releases import make_release
from rag_service.wiring.stores import sweep
from tests.conftest import Outcome, SilentProgress
from tests.postgres.machine import Machine


@pytest.fixture
def versions(builder: Machine, build_there: Callable[[], str], tmp_path: Path) -> list[str]:
    """Of the handbook and of two pages; each was served once, the last is active."""
    found = [build_there()]
    for edition in (1, 2):
        (tmp_path / "page.md").write_text(f"# Page\n\nThis is edition {edition}. An employee has {edition} days of paid holiday.\n")
        built = build(builder.settings, builder.catalog, "handbook", str(tmp_path / "page.md"), SilentProgress())
        found.append(built.manifest.version)
    for version in found:
        builder.activate(version)
    return found


def swept(machine: Machine, *, depth: int = 0, recorded: tuple[Lineage, ...] = (), dry_run: bool = False) -> list[Swept]:
    return sweep(machine.catalog, ["handbook"], recorded=recorded, depth=depth, dry_run=dry_run)


def whys(found: list[Swept], what: str = "version") -> list[str]:
    return [one.why for one in found if one.what == what]


def tables(url: str) -> list[str]:
    query = "SELECT tablename FROM pg_tables WHERE schemaname = 'rag' AND starts_with(tablename, 'vectors') ORDER BY 1"
    return [name for (name,) in Database(url).fetched("read", query)]


def test_what_is_served_and_what_going_back_needs_stays_on_every_machine(
    builder: Machine, versions: list[str], tmp_path: Path, url: str
) -> None:
    replica, cleaner = Machine(tmp_path / "two", url), Machine(tmp_path / "three", url)
    assert replica.ask().answer
    found = swept(cleaner, depth=1)
    assert whys(found) == ["", "1 step back", "active"]
    assert whys(found, "release") == ["", "1 step back", "active"]
    assert all(one.size_bytes > 1000 for one in found if one.what == "version")
    assert builder.catalog.versions("handbook") == versions[1:]
    assert tables(url) == ["vectors_2", "vectors_3"]
    assert Database(url).fetched("read", "SELECT 1 FROM rag.files WHERE owner = %s", (f"version:handbook/{versions[0]}",)) == []
    assert replica.ask().answer == builder.ask().answer
    builder.activate(versions[1])
    assert replica.ask().lineage.index.version == versions[1]
    with pytest.raises(NotFound):
        Machine(tmp_path / "four", url).activate(versions[0])


def test_what_a_record_was_made_by_stays(builder: Machine, versions: list[str]) -> None:
    lineage = builder.ask().lineage
    builder.activate(versions[0])
    assert whys(swept(builder, recorded=(lineage,))) == ["active", "", "records need it"]


def test_a_dry_run_says_what_would_go_and_removes_nothing(builder: Machine, versions: list[str], url: str) -> None:
    found = swept(builder, dry_run=True)
    assert whys(found) == ["", "", "active"]
    assert whys(found, "encoder") == ["versions need it"]
    assert builder.catalog.versions("handbook") == versions
    assert len(tables(url)) == 3
    assert found == swept(builder)
    assert builder.catalog.versions("handbook") == versions[2:]


def test_copies_of_what_was_removed_elsewhere_are_removed_by_the_next_sweep(
    builder: Machine, versions: list[str], tmp_path: Path, url: str
) -> None:
    swept(Machine(tmp_path / "two", url))
    assert len([*builder.catalog.versions_folder("handbook").glob("[0-9a-f]*")]) == 3
    assert whys(swept(builder)) == ["active"]
    assert [folder.name for folder in builder.catalog.versions_folder("handbook").glob("[0-9a-f]*")] == versions[2:]


def test_an_encoder_goes_with_the_last_version_that_needs_it_and_comes_back_with_the_next(
    builder: Machine, build_there: Callable[[], str], tmp_path: Path, url: str
) -> None:
    version = build_there()
    [(encoder, size_bytes)] = [(one.id, one.size_bytes) for one in swept(builder) if one.what == "encoder"]
    assert size_bytes > 10_000_000
    with Database(url).writing("write to") as connection:
        connection.execute("DELETE FROM rag.versions")
        connection.execute("DELETE FROM rag.files WHERE owner LIKE 'version:%'")
    assert [(one.id, one.why) for one in swept(builder) if one.what == "encoder"] == [(encoder, "")]
    assert [one for one in swept(builder) if one.what == "encoder"] == []
    assert build_there() == version
    builder.activate(version)
    assert Machine(tmp_path / "two", url).ask().answer


def test_nothing_is_removed_while_another_machine_builds(builder: Machine, versions: list[str], tmp_path: Path, url: str) -> None:
    with builder.catalog.building("handbook"), pytest.raises(Conflict, match="already building"):
        swept(Machine(tmp_path / "two", url))
    assert builder.catalog.versions("handbook") == versions


def test_a_version_that_is_activated_while_somebody_sweeps_stays(
    builder: Machine, versions: list[str], tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reasons were looked up before; what is served is looked at again where nobody can change it."""
    from rag_service import shared_sweep

    looked_up, cleaner = shared_sweep.reasons, Machine(tmp_path / "two", url)

    def slowly(*given: object, **named: object) -> object:
        found = looked_up(*given, **named)  # type: ignore[arg-type]
        builder.catalog.activate("handbook", make_release(builder.settings, builder.catalog, "handbook", versions[0]))
        return found

    monkeypatch.setattr(shared_sweep, "reasons", slowly)
    assert whys(swept(cleaner)) == ["active", "", "active"]
    assert builder.ask().lineage.index.version == versions[0]


def test_the_command_says_what_it_removed(builder: Machine, versions: list[str], cli: Callable[..., Outcome]) -> None:
    done = cli("index", "gc", "--keep", "0", **builder.environ)
    assert done.code == 0, done
    assert versions[0] in done.out
    assert "free" in done.out
    assert builder.catalog.versions("handbook") == versions[2:]
