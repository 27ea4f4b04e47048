"""From a decision to what is served: what was decided on, in place of what it was compared with; and back again if it misbehaves."""

import json
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from subprocess import Popen
from threading import Thread
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from eval import promote as promoting
from eval.adopt import adopt
from eval.cli.gate import gate
from eval.cli.promote import promote as promote_command
from eval.cli.promote import rollback as rollback_command
from eval.cli.promote import status as status_command
from eval.decision import Decision, write_decision
from eval.gate import decide
from eval.live_release import Live, follows, served_digest
from eval.policy import Behaviours, Policy
from eval.promote import Promoted, plan, promote
from eval.results import Measured, ReleaseIdentity, Run
from eval.runs import read_run, write_run
from rag_service.build import Built
from rag_service.catalog import Catalog
from rag_service.drift.compare import LEAST
from rag_service.drift.folder import DriftFolder
from rag_service.drift.reference import Reference
from rag_service.errors import Conflict, Damaged, InvalidInput, Mismatch, NotFound, NotReady, StorageFailed, Unauthorized
from rag_service.manifest import BUILD_FILE, CHUNKS_FILE, MANIFEST_FILE, read_manifest
from rag_service.release import Release
from rag_service.settings import Settings, load_settings
from rag_service.wiring.releases import make_release, open_release
from tests.drift.test_drift import USUAL, record_all
from tests.eval.built import a_candidate, a_run
from tests.eval.test_gate import ASKED, BASE, WRONG, flipped
from tests.processes import ServerProcess

Build = Callable[..., Built]
Start = Callable[..., "Popen[str]"]


@dataclass(frozen=True)
class Tried:
    name: str
    must: bool
    passed: bool


PASSES = (Tried("live/form", True, True), Tried("live/hard", False, False))
FAILS = (Tried("live/form", True, False), Tried("live/trace", True, True))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, served_indexes: Path, handbook: Path, build: Build) -> tuple[Path, Release]:
    """The served handbook, and a candidate: the same documents in smaller chunks, built beside it."""
    root = shutil.copytree(
        served_indexes, tmp_path_factory.mktemp("promoting") / "indexes", symlinks=True, ignore=shutil.ignore_patterns("ledger.sqlite*")
    )
    version = build(root, handbook, name="handbook-eval", chunk_tokens=64).manifest.version
    settings = load_settings({}, indexes=root, top_k=4)
    return root, make_release(settings, Catalog(root), "handbook-eval", version)


@pytest.fixture
def catalog(prepared: tuple[Path, Release], tmp_path: Path) -> Catalog:
    return Catalog(shutil.copytree(prepared[0], tmp_path / "indexes", symlinks=True))


@pytest.fixture
def candidate(prepared: tuple[Path, Release]) -> Release:
    return prepared[1]


@pytest.fixture
def settings(catalog: Catalog) -> Settings:
    return load_settings({}, indexes=catalog.root, name="handbook")


@pytest.fixture
def served(catalog: Catalog) -> Release:
    return catalog.release("handbook", catalog.active_id("handbook"))


def measured(name: str, release: Release, index: str, right: Sequence[bool]) -> Measured:
    made = a_candidate(name, ASKED.rows(right), release=release)
    return replace(made, index=replace(made.index, name=index, version=release.index.version))


@pytest.fixture
def run(served: Release, candidate: Release) -> Run:
    return a_run(measured("served", served, "handbook", BASE), measured("smaller", candidate, "handbook-eval", flipped(BASE, WRONG[:40])))


@pytest.fixture
def decision(run: Run) -> Decision:
    return decide(run, "served", "smaller", Policy(draws=1000))


@pytest.fixture
def decided(tmp_path: Path, run: Run, decision: Decision) -> Path:
    """The folder of a run on which PROMOTE was decided."""
    folder = write_run(tmp_path / "evaluations", run)
    write_decision(folder, decision)
    return folder


@pytest.fixture
def server(start: Start, catalog: Catalog, decided: Path) -> ServerProcess:  # noqa: ARG001 - the run is decided on before
    return ServerProcess(start("serve", "--indexes", catalog.root, "--name", "handbook", "--port", 0))


def go(decided: Path, settings: Settings, catalog: Catalog, *, live: Live | None = None, tried: Sequence[Tried] = PASSES) -> Promoted:
    return promote(plan(decided, settings, catalog), settings, catalog, live=live, suite=lambda: tried, why="")


# With the running service


def test_a_promoted_release_is_what_the_running_service_answers_from(
    decided: Path, settings: Settings, catalog: Catalog, candidate: Release, served: Release, server: ServerProcess
) -> None:
    live = Live(server.url)
    assert served_digest(live) == served.digest
    assert go(decided, settings, catalog, live=live) == Promoted(
        name="handbook", release=candidate.id, previous=served.id, adopted=True, behaviours=1
    )
    assert served_digest(live) == candidate.digest
    last = catalog.history("handbook").transitions[-1]
    assert (last.action, last.release, last.previous) == ("activate", candidate.id, served.id)
    assert last.why.startswith("decided by run ")
    assert last.why.endswith(": correct 0.600 → 0.754")
    assert catalog.version_folder("handbook", candidate.index.version).is_dir()


def test_what_was_evaluated_is_a_reference_of_drift_until_there_is_traffic(
    decided: Path, settings: Settings, catalog: Catalog, candidate: Release
) -> None:
    made = go(decided, settings, catalog).reference
    assert isinstance(made, Reference)
    assert (made.source, made.encoder.digest, made.side.since) == ("evaluation", candidate.encoder.digest, "")
    asked = read_run(decided).candidates[1].rows
    assert made.side.questions == len({row.question.question for row in asked}) >= LEAST
    assert made.sample().vectors.shape == (made.side.questions, 384)
    folder = DriftFolder(catalog.drift_folder("handbook"))
    assert folder.newest_for(candidate.encoder.digest, "") == made
    of_traffic = made.model_copy(update={"source": "records", "made_at": "2020-01-01T00:00:00Z"})
    folder.add(of_traffic)
    assert folder.newest_for(candidate.encoder.digest, "") == of_traffic, "however old it is"


def test_a_reference_that_cannot_be_stored_hinders_no_promotion(
    decided: Path, settings: Settings, catalog: Catalog, candidate: Release
) -> None:
    catalog.drift_folder("handbook").write_text("a file where a folder should be")
    promoted = go(decided, settings, catalog)
    assert isinstance(promoted.reference, StorageFailed)
    assert catalog.active_id("handbook") == candidate.id


def test_no_reference_is_made_where_a_setting_says_so(decided: Path, settings: Settings, catalog: Catalog) -> None:
    assert go(decided, settings.model_copy(update={"drift_reference": False}), catalog).reference is None


def test_a_release_that_misbehaves_on_the_running_service_is_taken_back(
    decided: Path, settings: Settings, catalog: Catalog, candidate: Release, served: Release, server: ServerProcess
) -> None:
    live, seen = Live(server.url), []

    def suite() -> Sequence[Tried]:
        seen.append(served_digest(live))
        return FAILS

    with pytest.raises(Mismatch) as caught:
        promote(plan(decided, settings, catalog), settings, catalog, live=live, suite=suite)
    assert seen == [candidate.digest]
    assert caught.value.message == (
        f"1 of 2 cases that must pass fail on the running service: live/form; release {served.id} is served again"
    )
    assert caught.value.hint
    assert served_digest(live) == served.digest
    assert catalog.active_id("handbook") == served.id
    last = catalog.history("handbook").transitions[-1]
    assert (last.action, last.release, last.previous) == ("rollback", served.id, candidate.id)
    assert last.why == "1 of 2 cases that must pass fail on the running service: live/form"


def test_whoever_interrupts_the_suite_finds_served_what_was_served_before(
    decided: Path, settings: Settings, catalog: Catalog, served: Release, server: ServerProcess
) -> None:
    def suite() -> Sequence[Tried]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        promote(plan(decided, settings, catalog), settings, catalog, live=Live(server.url), suite=suite)
    assert catalog.active_id("handbook") == served.id


def test_a_service_that_ends_meanwhile_does_not_keep_the_release(
    decided: Path, settings: Settings, catalog: Catalog, served: Release, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promoting, "follows", lambda live, digest: follows(live, digest, within_s=1.0, steady_s=0.1))
    planned, live = plan(decided, settings, catalog), Live(server.url)

    def suite() -> Sequence[Tried]:
        server.end(signal.SIGTERM)
        return FAILS

    with pytest.raises(Mismatch, match=f"release {served.id} is served again, but {live.url} says: nothing answers at {live.url}: "):
        promote(planned, settings, catalog, live=live, suite=suite)
    assert catalog.active_id("handbook") == served.id


def test_a_service_of_other_indexes_is_noticed_before_anything_changes(
    decided: Path, settings: Settings, catalog: Catalog, served: Release, candidate: Release, start: Start, tmp_path: Path
) -> None:
    """Another folder of indexes, in which the candidate is served already."""
    elsewhere = Catalog(shutil.copytree(catalog.root, tmp_path / "elsewhere", symlinks=True))
    elsewhere.activate("handbook-eval", candidate)
    server = ServerProcess(start("serve", "--indexes", elsewhere.root, "--name", "handbook-eval", "--port", 0))
    with pytest.raises(Mismatch, match=f"serves release {candidate.id}, and the candidate was compared with release {served.id}"):
        go(decided, settings, catalog, live=Live(server.url))
    assert catalog.active_id("handbook") == served.id
    assert not catalog.version_folder("handbook", candidate.index.version).exists()


def test_where_nothing_listens_nothing_is_activated(
    decided: Path, settings: Settings, catalog: Catalog, served: Release, candidate: Release
) -> None:
    with pytest.raises(NotReady, match=r"nothing answers at http://127\.0\.0\.1:9: .*refused"):
        go(decided, settings, catalog, live=Live("http://127.0.0.1:9"))
    assert catalog.active_id("handbook") == served.id
    assert not catalog.version_folder("handbook", candidate.index.version).exists()


# Without it


def test_without_a_running_service_the_next_one_serves_the_release(
    decided: Path, settings: Settings, catalog: Catalog, candidate: Release, served: Release
) -> None:
    promoted = go(decided, settings, catalog)
    assert promoted.behaviours is None
    assert catalog.active_id("handbook") == candidate.id
    assert catalog.history("handbook").back() == served.id
    with pytest.raises(Mismatch, match=f"serves release {candidate.id} already"):
        plan(decided, settings, catalog)


@pytest.mark.parametrize("verdict", ["REJECT", "INCONCLUSIVE", "INVALID"])
def test_only_promote_is_promoted(decided: Path, settings: Settings, catalog: Catalog, decision: Decision, verdict: Any) -> None:
    write_decision(decided, replace(decision, verdict=verdict))
    with pytest.raises(Mismatch, match=f"the decision on 'smaller' is {verdict}: "):
        plan(decided, settings, catalog)


def test_without_a_decision_nothing_is_promoted(decided: Path, settings: Settings, catalog: Catalog) -> None:
    (decided / "decision.json").unlink()
    with pytest.raises(NotFound, match="nothing was decided on the run"):
        plan(decided, settings, catalog)


def test_a_decision_against_what_is_served_no_longer_is_refused(
    decided: Path, settings: Settings, catalog: Catalog, served: Release
) -> None:
    other = served.model_copy(update={"retrieval": served.retrieval.model_copy(update={"top_k": 2})})
    catalog.activate("handbook", other)
    with pytest.raises(Mismatch, match=f"serves release {other.id}, and the candidate was compared with release {served.id}"):
        plan(decided, settings, catalog)


def test_a_decision_on_another_release_than_the_run_holds_is_refused(
    decided: Path, settings: Settings, catalog: Catalog, run: Run, served: Release
) -> None:
    """The candidate of the run has been exchanged for another one of the same name."""
    changed = served.model_copy(update={"retrieval": served.retrieval.model_copy(update={"top_k": 1})})
    exchanged = replace(run.candidates[1], release=ReleaseIdentity(id=changed.id, digest=changed.digest, content=changed))
    write_run(decided.parents[1], replace(run, candidates=(run.candidates[0], exchanged)))
    with pytest.raises(Mismatch, match="the decision is about release"):
        plan(decided, settings, catalog)


def test_a_release_whose_content_is_not_what_its_digest_says_is_refused(
    decided: Path, settings: Settings, catalog: Catalog, run: Run, candidate: Release
) -> None:
    changed = candidate.model_copy(update={"retrieval": candidate.retrieval.model_copy(update={"min_confidence": 0.0})})
    forged = replace(run.candidates[1], release=ReleaseIdentity(id=candidate.id, digest=candidate.digest, content=changed))
    write_run(decided.parents[1], replace(run, candidates=(run.candidates[0], forged)))
    with pytest.raises(Mismatch, match="the decision is about release"):
        plan(decided, settings, catalog)


def test_what_is_served_counts_as_what_it_is_with_the_code_that_runs_here(
    tmp_path: Path, settings: Settings, catalog: Catalog, run: Run, decision: Decision, served: Release, candidate: Release
) -> None:
    """The pointer names a release of earlier code; what answers, and what was evaluated, is the same with the code of now."""
    older = served.model_copy(update={"code": served.code.model_copy(update={"digest": "sha256:" + "1" * 64})})
    catalog.activate("handbook", older)
    folder = write_run(tmp_path / "evaluations", run)
    write_decision(folder, decision)
    promoted = go(folder, settings, catalog)
    assert (promoted.previous, promoted.release) == (older.id, candidate.id)


def test_a_candidate_of_other_code_than_runs_here_is_not_promoted(
    tmp_path: Path, settings: Settings, catalog: Catalog, served: Release, candidate: Release
) -> None:
    older = candidate.model_copy(update={"code": candidate.code.model_copy(update={"digest": "sha256:" + "1" * 64})})
    run = a_run(measured("served", served, "handbook", BASE), measured("smaller", older, "handbook-eval", flipped(BASE, WRONG[:40])))
    folder = write_run(tmp_path / "evaluations", run)
    write_decision(folder, decide(run, "served", "smaller", Policy(draws=1000)))
    with pytest.raises(Mismatch, match="what would answer here is not what was decided on: code changed since the evaluation"):
        go(folder, settings, catalog)
    assert catalog.active_id("handbook") == served.id


def test_somebody_who_activates_meanwhile_is_not_overruled(decided: Path, settings: Settings, catalog: Catalog, served: Release) -> None:
    planned = plan(decided, settings, catalog)
    other = served.model_copy(update={"retrieval": served.retrieval.model_copy(update={"top_k": 2})})
    catalog.activate("handbook", other)
    with pytest.raises(Conflict, match=f"serves release {other.id} by now"):
        promote(planned, settings, catalog, live=None, suite=lambda: PASSES)
    assert catalog.active_id("handbook") == other.id


# The commands


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog: Catalog) -> Callable[..., Outcome]:
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    for command in (gate, promote_command, rollback_command, status_command):
        app.command(command.__name__)(command)

    def call(name: str, *arguments: object) -> Outcome:
        result = CliRunner().invoke(app, [name, *map(str, arguments), "--indexes", str(catalog.root)])
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        return Outcome(result.exit_code, result.stdout, " ".join(result.stderr.split()))

    return call


@pytest.mark.usefixtures("decided")
def test_the_command_promotes_says_so_and_the_next_ones_show_and_undo_it(
    cli: Callable[..., Outcome], settings: Settings, catalog: Catalog, candidate: Release, served: Release, server: ServerProcess
) -> None:
    """With the bundled cases for running services. Between the two, enough is asked to be a reference of drift."""
    promoted = cli("promote", "latest", "--url", server.url, "--why", "it finds more")
    assert promoted.code == 0, promoted.err
    assert f"promoted: handbook serves release {candidate.id}, in place of {served.id}" in promoted.out
    assert "the running service follows and passes" in promoted.out
    assert "of drift is kept, of what was evaluated, until there is one of traffic" in promoted.err
    status = " ".join(cli("status", "--name", "handbook").out.split())
    assert f"handbook: release {candidate.id}, since " in status
    assert "why it finds more" in status
    assert f"PROMOTE smaller ({candidate.id}) against served ({served.id})" in status
    record_all(catalog.root, open_release(settings, catalog, "handbook", candidate).pipeline, USUAL[:110], days_ago=1)
    back = cli("rollback", "--name", "handbook")
    assert "of drift is kept, of what was asked" in back.err
    assert f"rolled back: handbook serves release {served.id} again, in place of {candidate.id}" in back.out
    assert catalog.active_id("handbook") == served.id


def test_the_command_fails_where_a_case_that_must_pass_does_not(
    cli: Callable[..., Outcome],
    tmp_path: Path,
    run: Run,
    decided: Path,
    decision: Decision,
    catalog: Catalog,
    served: Release,
    server: ServerProcess,
) -> None:
    cases = tmp_path / "mine.yaml"
    cases.write_text(
        "kind: live\ncases:\n  - {id: never, level: must, ask: How much holiday, contains: nobody writes this, "
        "status: answered, reason: a test}\n"
    )
    policy = decision.policy.model_copy(update={"behaviours": Behaviours(file=cases)})
    write_decision(decided, replace(decision, policy=policy))
    failed = cli("promote", run.id[:6], "--url", server.url)
    assert failed.code == 1
    assert f"1 of 1 cases that must pass fail on the running service: live/never; release {served.id} is served again" in failed.err
    assert catalog.active_id("handbook") == served.id
    assert DriftFolder(catalog.drift_folder("handbook")).references() == []


@pytest.mark.usefixtures("decided")
def test_the_command_refuses_before_anything_changes(cli: Callable[..., Outcome], catalog: Catalog, served: Release) -> None:
    nobody = cli("promote", "--url", "http://127.0.0.1:9")
    assert (nobody.code, "nothing answers at http://127.0.0.1:9" in nobody.err) == (1, True)
    assert cli("promote", "ffff").code == 1
    both = cli("promote", "--url", "http://127.0.0.1:9", "--no-live")
    assert (both.code, "--url and --no-live do not go together" in both.err) == (1, True)
    assert catalog.active_id("handbook") == served.id
    assert cli("promote", "--no-live").code == 0
    assert catalog.active_id("handbook") != served.id


@pytest.mark.usefixtures("decided")
@pytest.mark.parametrize(("expected", "code"), [("in the shed", 0), ("in the attic", 1)])
def test_the_gate_tries_the_suite_over_little_corpora_that_are_answered_as_the_candidate_answers(
    cli: Callable[..., Outcome], tmp_path: Path, expected: str, code: int
) -> None:
    (tmp_path / "garden").mkdir()
    (tmp_path / "garden" / "tools.md").write_text("# Tools\n\nThe ladder stands in the shed. The rake hangs behind the door.\n")
    (tmp_path / "mine.yaml").write_text(
        "kind: paraphrase\ncorpus: garden\ncases:\n  - {id: ladder, level: must, ask: Where does the ladder stand, status: answered, "
        f"contains: {expected}, reason: a test}}\n"
    )
    (tmp_path / "policy.yaml").write_text("behaviours: {file: mine.yaml}\n")
    outcome = cli("gate", "served", "smaller", "--policy", "policy.yaml")
    assert outcome.code == code, outcome
    assert ("these fail: paraphrase/ladder" in " ".join(outcome.out.split())) is (code == 1)


# Taking over an index version


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_index_version_is_taken_over_byte_for_byte_and_once(catalog: Catalog, candidate: Release) -> None:
    (catalog.version_folder("handbook-eval", candidate.index.version) / "left.tmp").write_text("of nobody")
    assert adopt(catalog, "handbook", candidate.index, "handbook-eval")
    copied = files_of(catalog.version_folder("handbook", candidate.index.version))
    original = files_of(catalog.version_folder("handbook-eval", candidate.index.version))
    assert copied == {name: content for name, content in original.items() if name != "left.tmp"}
    assert copied.keys() == {MANIFEST_FILE, BUILD_FILE, *read_manifest(catalog.version_folder("handbook", candidate.index.version)).files}
    assert not adopt(catalog, "handbook", candidate.index, "handbook-eval")
    assert not list(catalog.versions_folder("handbook").glob(".building-*"))


def test_a_damaged_version_is_not_taken_over(catalog: Catalog, candidate: Release) -> None:
    file = catalog.version_folder("handbook-eval", candidate.index.version) / CHUNKS_FILE
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(Damaged, match=CHUNKS_FILE):
        adopt(catalog, "handbook", candidate.index, "handbook-eval")
    assert not catalog.version_folder("handbook", candidate.index.version).exists()
    assert not list(catalog.versions_folder("handbook").glob(".building-*"))


def test_a_version_that_was_removed_is_missed_by_name(catalog: Catalog, candidate: Release) -> None:
    shutil.rmtree(catalog.version_folder("handbook-eval", candidate.index.version))
    with pytest.raises(NotFound, match=f"index version {candidate.index.version} is neither in 'handbook' nor in 'handbook-eval'"):
        adopt(catalog, "handbook", candidate.index, "handbook-eval")


def test_whoever_builds_the_index_just_now_is_not_disturbed(catalog: Catalog, candidate: Release) -> None:
    with catalog.building("handbook"), pytest.raises(Conflict, match="another process is already building 'handbook'"):
        adopt(catalog, "handbook", candidate.index, "handbook-eval")


# What a service says


class Scripted:
    """A service of which only /info is there; each reply is the next of a list, the last again and again."""

    def __init__(self, *replies: tuple[int, object]) -> None:
        given = list(replies)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = given.pop(0) if len(given) > 1 else given[0]
                data = json.dumps(body).encode() if not isinstance(body, bytes) else body
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.live = Live(f"http://127.0.0.1:{self._server.server_port}/")
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Live:
        self._thread.start()
        return self.live

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def says(digest: str) -> tuple[int, object]:
    return 200, {"release": {"id": digest, "digest": digest}}


@pytest.mark.parametrize(
    ("reply", "error", "text"),
    [
        ((401, {}), Unauthorized, "refuses the key"),
        ((403, {}), Unauthorized, "refuses the key"),
        ((503, {}), NotReady, "is not ready"),
        ((404, {}), Mismatch, "says 404"),
        ((200, {"service": "another"}), Mismatch, "does not say which release is served"),
        ((200, b"<html>"), Mismatch, "does not say which release is served"),
        ((200, []), Mismatch, "does not say which release is served"),
    ],
)
def test_what_is_not_the_service_is_said(reply: tuple[int, object], error: type[Exception], text: str) -> None:
    with Scripted(reply) as live, pytest.raises(error, match=text):
        served_digest(live)


def test_what_is_no_address_is_said() -> None:
    for url in ("localhost:8000", "ftp://x", "file:///etc/passwd"):
        with pytest.raises(InvalidInput, match="is not the address of a service"):
            Live(url)


def test_a_service_follows_once_all_its_processes_do() -> None:
    """Two processes on one port: one has followed, the other has not yet."""
    with Scripted(says("new"), says("old"), says("new"), says("old"), says("new")) as live:
        assert follows(live, "new", within_s=5.0, steady_s=0.3) is None
        assert served_digest(live) == "new"


def test_a_service_that_does_not_follow_is_quoted() -> None:
    with Scripted(says("sha256:0123456789abcdef")) as live:
        assert follows(live, "new", within_s=0.2, steady_s=0.1) == "release 0123456789ab"
    with Scripted((503, {})) as live:
        assert "is not ready" in str(follows(live, "new", within_s=0.2, steady_s=0.1))
