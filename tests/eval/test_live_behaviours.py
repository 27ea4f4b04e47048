"""Behaviour cases asked of a running service over HTTP, and the command that does it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from eval.behaviours import Case, Verdict, live_cases, run_live
from eval.behaviours.live import LiveService
from eval.cli.behave import behave
from rag_service.ask import Pipeline
from rag_service.errors import InvalidInput
from rag_service.key_file import create_key
from rag_service.ports import Generator
from rag_service.types import Completion, Prompt
from tests.api.conftest import desk_on, running, serving

LIVE = live_cases()


def failed(verdicts: tuple[Verdict, ...], *, must: bool = True) -> set[str]:
    return {verdict.case for verdict in verdicts if verdict.must is must and not verdict.passed}


def one(identifier: str) -> tuple[Case, ...]:
    return tuple(case for case in LIVE if case.id == identifier)


@pytest.fixture(scope="module")
def url(served_indexes: Path) -> Iterator[str]:
    """Of a service that serves the handbook."""
    with running(desk_on(served_indexes)) as client:
        yield f"http://127.0.0.1:{client.port}"


def test_a_service_that_runs_as_it_should_passes_every_live_case(url: str) -> None:
    verdicts = run_live(url, LIVE)
    assert [verdict.detail for verdict in verdicts if not verdict.passed] == []
    assert [verdict.case for verdict in verdicts] == [case.id for case in LIVE]


def test_a_service_that_is_not_there_fails_every_live_case() -> None:
    verdicts = run_live("http://127.0.0.1:1", LIVE)
    assert {verdict.case for verdict in verdicts if not verdict.passed} == {case.id for case in LIVE}
    assert "unreachable" in verdicts[0].said


def test_a_service_with_keys_is_asked_with_one(own_indexes: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    _, secret = create_key(keys, name="behaviours", scopes=("ask",))
    with running(desk_on(own_indexes), keys=keys) as client:
        address = f"http://127.0.0.1:{client.port}"
        assert failed(run_live(address, LIVE, secret)) == set()
        assert "unauthorized" in run_live(address, one("made-up-names"))[0].said


class Uncited:
    """Says what the inner one says, without saying where it is from."""

    def __init__(self, inner: Generator) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def generate(self, prompt: Prompt, **given: Any) -> Completion:
        return replace(self.inner.generate(prompt, **given), text="It is as it is.", markers=())


def test_an_answer_without_citations_fails_the_case_of_the_services_own_passage(make_pipeline: Callable[..., Pipeline]) -> None:
    pipeline = make_pipeline(max_question_chars=4000)
    with running(serving(replace(pipeline, generator=Uncited(pipeline.generator)))) as client:
        verdicts = run_live(f"http://127.0.0.1:{client.port}", LIVE)
    assert {"own-passage-resolves"} <= failed(verdicts) <= {"own-passage-resolves", "long-live-question"}
    assert {verdict.problems for verdict in verdicts if not verdict.passed} == {("the answer cites nothing",)}


@dataclass
class Scripted:
    """A server that replies what it was told to, path by path: the last reply of a path again and again."""

    replies: dict[str, list[tuple[int, bytes, dict[str, str]]]]
    asked: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    """Path, body and headers of each request."""

    def next(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        waiting = self.replies[path.partition("?")[0]]
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@contextmanager
def scripted(**replies: Any) -> Iterator[tuple[Scripted, str]]:
    """`scripted(ask=[(200, {…}, {…})])`: the server, and its address."""
    script = Scripted(
        {f"/{path}": [(status, json.dumps(body).encode(), headers) for status, body, headers in rows] for path, rows in replies.items()}
    )

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            script.asked.append(
                (self.path, json.loads(body) if body else {}, {name.lower(): value for name, value in self.headers.items()})
            )
            status, content, headers = script.next(self.path)
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _reply  # the names that the library calls

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACE = {
    "trace_id": TRACE_ID,
    "release": {"id": "0123456789ab"},
    "index": {"version": "ba9876543210"},
    "embedding_model": {"name": "hashing"},
    "prompt_template": {"name": "answer"},
    "generator": {"name": "extractive"},
}
CITATION = {
    "chunk_id": "c1",
    "document_id": "leave.md",
    "url": "https://public.example/chunks/c1?index_version=ba",
    "quote": "28 days",
    "answer_span": [9, 12],
}
ANSWER = {
    "status": "answered",
    "abstain_reason": None,
    "answer": "28 days. [1]",
    "citations": [CITATION],
    "warnings": [],
    "trace_id": TRACE_ID,
    "trace": TRACE,
}
HEADERS = {"x-trace-id": TRACE_ID}
QUEUE_FULL = {"error": {"code": "queue_full", "message": "busy", "retryable": True, "retry_after_s": 0.01}, "trace_id": TRACE_ID}


def reply_of_a_service(answer: dict[str, Any], *, headers: dict[str, str] = HEADERS, chunk: Any = None, status: int = 200) -> Any:
    chunk = {"text": "Employees have 28 days."} if chunk is None else chunk
    with scripted(ask=[(200, answer, headers)], **{"chunks/c1": [(status, chunk, {})]}) as (_, address):
        return LiveService(address).ask(LIVE[0].documents, "How many days?")


def test_a_citation_is_followed_on_the_service_that_was_asked() -> None:
    reply = reply_of_a_service(ANSWER)
    assert (reply.status, reply.answer, reply.cites, reply.faults) == ("answered", "28 days.", ("leave.md",), ())


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"answer": {**ANSWER, "trace": {**TRACE, "index": {"version": None}}}}, "the trace does not name index.version"),
        ({"answer": {**ANSWER, "trace": {**TRACE, "release": None}}}, "the trace does not name release.id"),
        ({"answer": {**ANSWER, "citations": []}}, "the answer cites nothing"),
        ({"answer": {**ANSWER, "answer": " "}}, "the answer is empty"),
        ({"headers": {"x-trace-id": "f" * 32}}, f"reply, trace and header name different trace ids: {TRACE_ID}, {TRACE_ID}, {'f' * 32}"),
        ({"chunk": {"text": "Employees have 30 days."}}, "the citation of leave.md leads to a passage without the quoted words"),
        ({"chunk": ["28 days"]}, "the citation of leave.md leads to a passage without the quoted words"),
        ({"chunk": {}, "status": 404}, "the citation of leave.md leads to HTTP status 404"),
    ],
)
def test_what_is_wrong_with_a_reply_is_found_whatever_it_says(change: dict[str, Any], fault: str) -> None:
    assert reply_of_a_service(**{"answer": ANSWER, **change}).faults == (fault,)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, {}, "HTTP status 200: status: Field required"),
        (200, {**ANSWER, "status": "guessed"}, "HTTP status 200: status: Input should be 'answered' or 'abstained'"),
        (500, {"detail": "oh"}, "HTTP status 500: error: Field required"),
        (302, {}, "HTTP status 302: error: Field required"),
    ],
)
def test_what_has_not_the_form_of_a_reply_is_an_error_that_says_so(status: int, body: dict[str, Any], said: str) -> None:
    with scripted(ask=[(status, body, {"location": "/elsewhere"})], elsewhere=[(200, ANSWER, HEADERS)]) as (script, address):
        reply = LiveService(address).ask(LIVE[0].documents, "How many days?")
    assert (reply.status, reply.code, reply.message) == ("error", "malformed_reply", said)
    assert [path for path, _, _ in script.asked] == ["/ask"]


def test_what_is_refused_because_of_others_is_asked_again() -> None:
    with scripted(
        ask=[(429, QUEUE_FULL, {}), (503, QUEUE_FULL, {}), (200, ANSWER, HEADERS)], **{"chunks/c1": [(200, {"text": "28 days"}, {})]}
    ) as (
        script,
        address,
    ):
        assert LiveService(address).ask(LIVE[0].documents, "How many days?").status == "answered"
    assert [path for path, _, _ in script.asked] == ["/ask", "/ask", "/ask", "/chunks/c1?index_version=ba"]


def test_what_goes_on_being_refused_is_an_error() -> None:
    with scripted(ask=[(429, QUEUE_FULL, {})]) as (script, address):
        assert LiveService(address).ask(LIVE[0].documents, "How many days?").code == "queue_full"
    assert len(script.asked) == 3


def test_a_question_is_asked_anew_and_says_who_asks() -> None:
    with scripted(ask=[(429, {**QUEUE_FULL, "error": {**QUEUE_FULL["error"], "retryable": False}}, {})]) as (script, address):  # type: ignore[dict-item]
        LiveService(f"{address}/", "secret").ask(LIVE[0].documents, "How many days?")
    ((path, body, headers),) = script.asked
    assert path == "/ask"
    assert body == {"question": "How many days?", "cache": False, "request_id": "behaviour-suite"}
    assert headers["authorization"] == "Bearer secret"


def test_an_index_that_holds_nothing_has_no_passage_to_ask_about() -> None:
    with scripted(search=[(200, {"hits": []}, {})]) as (_, address):
        assert LiveService(address).ask(LIVE[0].documents, "{passage}").code == "no_passage"


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://localhost", "http://"])
def test_what_is_no_address_of_a_service_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match="is not the address of a service"):
        run_live(address, LIVE)


def test_a_key_with_a_line_break_is_refused() -> None:
    with pytest.raises(InvalidInput, match="characters that no key has"):
        LiveService("http://localhost", "a\r\nx-evil: b")


# the command

Command = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path, indexes: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`command("--config", file)` runs `python -m eval behave` in this process, in a folder of its own."""
    app = typer.Typer()
    app.command()(behave)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAG_INDEXES", str(indexes))

    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        return result

    return run


@pytest.fixture
def two_cases(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "leave.md").write_text("# Leave\n\nEvery employee has 28 days of paid holiday a year.\n")
    path = tmp_path / "cases.yaml"
    path.write_text(
        "kind: noise\ncorpus: papers\ncases:\n"
        "  - {id: holidays, level: must, ask: 'How many days of paid holiday does every employee have?', contains: '28', status: answered, "
        "reason: a test}\n"
        "  - {id: salary, level: should, ask: 'What is the capital of Australia?', status: answered, reason: a test}\n"
    )
    return path


def test_the_command_shows_what_failed_and_succeeds_where_no_must_did(command: Command, two_cases: Path, tmp_path: Path) -> None:
    result = command("--cases", two_cases, "--json", tmp_path / "out.json", "--junit", tmp_path / "out.xml")
    assert result.exit_code == 0
    assert "should noise/salary" in result.stdout
    assert "every case passed that must" in result.stdout
    written = json.loads((tmp_path / "out.json").read_text())
    assert (written["schema"], written["passed"], written["of"]) == ("rag.behaviours/v1", True, "the default settings")
    assert [(verdict["case"], verdict["passed"]) for verdict in written["verdicts"]] == [("holidays", True), ("salary", False)]
    assert written["verdicts"][1]["problems"] == ["answered was expected, not abstained"]
    assert 'tests="2" failures="0" errors="0" skipped="1"' in (tmp_path / "out.xml").read_text()


def test_the_command_fails_where_a_case_does_that_must_pass(command: Command, two_cases: Path, tmp_path: Path) -> None:
    (tmp_path / "careful.toml").write_text("min_confidence = 1.0\n")
    result = command("--cases", two_cases, "--config", tmp_path / "careful.toml")
    assert result.exit_code == 1
    assert "1 of the cases that must pass did not" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_the_command_tries_the_active_release_of_an_index(command: Command, two_cases: Path, served_indexes: Path) -> None:
    result = command("--cases", two_cases, "--name", "handbook", "--indexes", served_indexes)
    assert result.exit_code == 0
    assert "of handbook" in result.stdout


def test_the_command_asks_a_running_service(command: Command, url: str) -> None:
    result = command("--url", url)
    assert result.exit_code == 0
    assert url in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--name", "handbook", "--url", "http://localhost"], 2, "name different things to try"),
        (["--json", "nowhere/out.json"], 1, "lies in a folder that does not exist"),
        (["--cases", "cases.yaml", "--url", "http://localhost"], 1, "is asked of a running service"),
        (["--cases", "none.yaml"], 1, "there is no file none.yaml"),
        (["--name", "nothing"], 1, "there is no index 'nothing'"),
    ],
)
def test_a_wrong_call_is_said_before_anything_is_asked(
    command: Command, two_cases: Path, arguments: list[str], code: int, message: str
) -> None:
    assert two_cases.name == "cases.yaml"
    result = command(*arguments)
    assert result.exit_code == code
    assert message in result.stderr
