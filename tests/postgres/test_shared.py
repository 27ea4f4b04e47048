"""An index in PostgreSQL, as several machines use it: each with a folder of its own, and nothing in it at first."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from rag_service.catalog import Catalog
from rag_service.database import Database
from rag_service.drift.folder import DriftFolder
from rag_service.errors import Damaged, Mismatch, StorageFailed
from rag_service.question import Question
from rag_service.wiring.desks import recorder_of
from rag_service.wiring.releases import make_release, open_release
from rag_service.wiring.stores import open_ledger
from tests.conftest import Outcome
from tests.doubles import HOLIDAYS
from tests.drift.test_drift import USUAL
from tests.postgres.machine import Machine
from tests.postgres.server import PASSWORD
from tests.processes import ServerProcess
from tests.recorded import answer_id, entry


def test_a_machine_without_any_file_answers_as_the_one_that_built(
    builder: Machine, build_there: Callable[[], str], tmp_path: Path, url: str, pipeline: Any
) -> None:
    builder.activate(build_there())
    replica = Machine(tmp_path / "two", url)
    first, second, local = builder.ask(), replica.ask(), pipeline.ask(Question(HOLIDAYS))
    for made in (second, local):
        assert (made.answer, made.confidence) == (first.answer, first.confidence)
        assert [(hit.chunk.id, hit.score) for hit in made.hits] == [(hit.chunk.id, hit.score) for hit in first.hits]
    assert [stage.digest for stage in second.stages] == [stage.digest for stage in first.stages]
    assert not list(replica.folder.rglob("*.faiss"))
    assert not [path for path in replica.folder.rglob(".building-*")]


def test_an_activation_keeps_what_any_machine_recorded_as_a_reference_of_its_own(
    builder: Machine, build_there: Callable[[], str], tmp_path: Path, url: str, pipeline: Any, cli: Callable[..., Outcome]
) -> None:
    builder.activate(build_there())
    recorder = recorder_of(builder.settings)
    for text in USUAL[:110]:
        recorder.keep(pipeline.ask(Question(text)), key_id=None)
    recorder.close()
    replica = Machine(tmp_path / "two", url)
    done = cli("index", "activate", "--generator", "extractive", **{**replica.environ, "RAG_TOP_K": "3"})
    assert (done.code, "110 questions asked in 28 days" in done.err) == (0, True), done.err
    kept = [DriftFolder(machine.catalog.drift_folder("handbook")).references() for machine in (builder, replica)]
    assert [[made.side.conversations for made in of_machine] for of_machine in kept] == [[], [110]]


def test_the_same_documents_give_the_version_that_is_there(builder: Machine, build_there: Callable[[], str]) -> None:
    version = build_there()
    assert build_there() == version
    assert builder.catalog.versions("handbook") == [version]


def test_files_that_were_changed_in_the_database_are_not_used(build_there: Callable[[], str], tmp_path: Path, url: str) -> None:
    version = build_there()
    with Database(url).writing("write to") as connection:
        connection.execute("UPDATE rag.files SET body = set_byte(body, 5, get_byte(body, 5) # 1) WHERE path = 'chunks.sqlite' AND part = 0")
    replica = Machine(tmp_path / "two", url)
    with pytest.raises(Damaged, match=r"chunks\.sqlite"):
        replica.catalog.version_folder("handbook", version)
    assert not (replica.folder / "indexes" / "handbook" / "versions" / version).exists()


def test_no_file_of_the_database_leaves_its_folder(build_there: Callable[[], str], tmp_path: Path, url: str) -> None:
    version = build_there()
    with Database(url).writing("write to") as connection:
        connection.execute("UPDATE rag.files SET path = '../../../escaped' WHERE path = 'chunks.sqlite'")
    with pytest.raises(Damaged, match="escaped"):
        Machine(tmp_path / "two", url).catalog.version_folder("handbook", version)
    assert not list(tmp_path.rglob("escaped"))


def test_vectors_that_were_changed_are_not_activated_and_a_build_puts_them_right(
    builder: Machine, build_there: Callable[[], str], url: str
) -> None:
    version = build_there()
    with Database(url).writing("write to") as connection:
        connection.execute(
            "UPDATE rag.vectors_1 SET embedding = (SELECT embedding FROM rag.vectors_1 WHERE position = 1) WHERE position = 0"
        )
    with pytest.raises(Damaged, match="vectors"):
        builder.activate(version)
    assert build_there() == version
    builder.activate(version)
    assert builder.ask().answer


def test_an_index_in_a_database_is_not_opened_without_it(builder: Machine, build_there: Callable[[], str]) -> None:
    version = build_there()
    files = Catalog(builder.catalog.root)
    release = make_release(builder.settings, files, "handbook", version)
    with pytest.raises(Mismatch, match="in a database"):
        open_release(builder.settings, files, "handbook", release)


def test_a_role_that_makes_and_changes_nothing_but_records_is_enough_to_serve(
    builder: Machine, build_there: Callable[[], str], tmp_path: Path, url: str
) -> None:
    """As docs/postgres.md sets it up."""
    version = build_there()
    builder.activate(version)
    open_ledger(builder.settings).check()
    role = f"serving_{url.rpartition('/')[2]}"
    with Database(url).writing("write to") as connection:
        for statement in (
            f"CREATE ROLE {role} LOGIN PASSWORD 'narrow'",
            f"GRANT USAGE ON SCHEMA rag TO {role}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA rag TO {role}",
            f"GRANT INSERT, UPDATE, DELETE ON rag.entries, rag.answers, rag.lineages, rag.feedback TO {role}",
        ):
            connection.execute(statement.encode())
    replica = Machine(tmp_path / "two", f"postgresql://{role}:narrow@{url.rpartition('@')[2]}")
    assert replica.ask().answer == builder.ask().answer
    with pytest.raises(StorageFailed, match="permission denied"):
        replica.catalog.activate("handbook", make_release(replica.settings, replica.catalog, "handbook", version))
    ledger = open_ledger(replica.settings)
    ledger.check()
    assert [ledger.add(entry(number)).result(timeout=20).seq for number in (1, 2)] == [1, 2]
    assert ledger.erase_answers([answer_id(1)]) == 1
    assert ledger.audit().flaws == ()
    ledger.close()


def test_what_a_build_lacks_is_said_before_anything_is_embedded(builder: Machine, build_there: Callable[[], str], url: str) -> None:
    with Database(url).writing("write to") as connection:
        role = f"building_{url.rpartition('/')[2]}"
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'narrow'".encode())
        connection.execute(f"GRANT CREATE ON DATABASE {url.rpartition('/')[2]} TO {role}".encode())
    narrow = Machine(builder.folder, f"postgresql://{role}:narrow@{url.rpartition('@')[2]}")
    with pytest.raises(StorageFailed, match="permission denied to create extension") as refused, narrow.catalog.building("handbook"):
        raise AssertionError("it went on")
    assert "CREATE EXTENSION vector" in refused.value.hint
    with narrow.catalog.building("encoders"), Machine(builder.folder.with_name("two"), url).catalog.building("encoders"):
        pass  # each on its own machine
    version = build_there()
    with Database(url).writing("write to") as connection:
        connection.execute(f"GRANT USAGE ON SCHEMA rag TO {role}".encode())
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA rag TO {role}".encode())
    with pytest.raises(StorageFailed, match="may make no tables"), narrow.catalog.building("handbook"):
        raise AssertionError("it went on")
    assert builder.catalog.versions("handbook") == [version]


def test_a_wrong_password_is_said_and_never_shown(tmp_path: Path, url: str, cli: Callable[..., Outcome]) -> None:
    wrong = url.replace("s3cret", "wr0ngsecret")
    for arguments in (("index", "list"), ("trace", "list"), ("ask", "What?"), ("config", "show"), ("index", "build", str(tmp_path))):
        done = cli(*arguments, RAG_STORE=wrong, RAG_INDEXES=str(tmp_path / "i"))
        if arguments[0] != "config":
            assert done.code != 0
        assert "wr0ngsecret" not in done.out + done.err
        assert PASSWORD not in done.out + done.err
    assert "password authentication failed" in cli("index", "list", RAG_STORE=wrong).err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("index", "push", "handbook", "file:///nowhere"), "neither pushed nor pulled"),
        (("index", "pull", "handbook", "file:///nowhere"), "neither pushed nor pulled"),
        (("trace", "backup", "copy.sqlite"), "pg_dump"),
        (("trace", "migrate"), "one form only"),
    ],
)
def test_what_is_about_files_says_so(
    arguments: tuple[str, ...], said: str, builder: Machine, cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli(*arguments, **builder.environ)
    assert done.code != 0
    assert said in " ".join(done.err.split())
    assert not (tmp_path / "copy.sqlite").exists()


@pytest.mark.parametrize("bad", ["postgresql:/u:topsecret@h/d", "postgres://u:topsecret@h:port/d", "postgresql://u:top secret@h/d?what=1"])
def test_a_url_that_cannot_be_read_is_not_repeated(bad: str, cli: Callable[..., Outcome]) -> None:
    done = cli("index", "list", RAG_STORE=bad)
    assert done.code != 0
    assert "secret" not in done.out + done.err


@pytest.fixture
def two_servers(
    builder: Machine, build_there: Callable[[], str], tmp_path: Path, url: str, start: Callable[..., "Popen[str]"]
) -> Iterator[list[ServerProcess]]:
    builder.activate(build_there())
    machines = [builder, Machine(tmp_path / "two", url)]
    servers = [ServerProcess(start("serve", "--port", "0", environ=machine.environ)) for machine in machines]
    yield servers
    assert [server.end() for server in servers] == [0, 0]


def asked(server: ServerProcess) -> Any:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/ask", json.dumps({"question": HOLIDAYS}), {"content-type": "application/json"})
    reply = connection.getresponse()
    body = json.loads(reply.read())
    connection.close()
    assert reply.status == 200, body
    return body


def test_two_servers_on_one_database_agree_on_what_is_served_and_on_one_chain(two_servers: list[ServerProcess], builder: Machine) -> None:
    first = [asked(server)["trace"]["release"]["id"] for server in two_servers]
    other = builder.activate(builder.catalog.versions("handbook")[0], top_k=3)
    activated_s = time.monotonic()
    for server in two_servers:
        while asked(server)["trace"]["release"]["id"] != other:
            assert time.monotonic() - activated_s < 5, "a server did not follow"
            time.sleep(0.02)
    assert set(first) != {other}
    receipts = [asked(server)["trace"]["receipt"]["seq"] for server in two_servers * 3]
    assert receipts == list(range(receipts[0], receipts[0] + 6))


def test_workers_of_one_server_have_connections_of_their_own(
    builder: Machine, build_there: Callable[[], str], start: Callable[..., "Popen[str]"]
) -> None:
    builder.activate(build_there())
    server = ServerProcess(start("serve", "--port", "0", "--workers", "2", environ=builder.environ))
    for _ in range(300):
        if all(any(f"worker {number} of 2 is ready" in line for line in server.said) for number in (1, 2)):
            break
        time.sleep(0.1)
    with ThreadPoolExecutor(4) as pool:
        receipts = [reply["trace"]["receipt"]["seq"] for reply in pool.map(lambda _: asked(server), range(24))]
    assert sorted(receipts) == list(range(1, 25))
    assert server.end() == 0
    assert not [line for line in server.said if "rror" in line]
