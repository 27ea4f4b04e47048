"""A real Phoenix, started offline, is sent the spans of a real server and asked for them again (`make phoenix`).

Not a part of `make test`: Phoenix takes minutes to install and more than one to start. pytest collects files of this name only where they
are named.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen
from sys import executable
from typing import Any
from urllib.error import URLError

import pytest

from tests.conftest import PROJECT
from tests.doubles import HOLIDAYS
from tests.processes import ServerProcess

PHOENIX = PROJECT / ".venv-phoenix" / "bin" / "phoenix"
STARTS_WITHIN_S = 400
"""A hundred seconds are usual, nearly all of them imports."""
READS_WITHIN_S = 60
IMAGE = "registry.example/rag@sha256:" + "c" * 64
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CALLER = "00f067aa0ba902b7"

Span = Mapping[str, Any]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def read(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as reply:
        return json.load(reply)


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL. Everything it keeps is in a folder of its own, and it goes away with all that it started."""
    if not PHOENIX.exists():
        pytest.skip("Phoenix is not installed: `make phoenix` does that")
    folder, port = tmp_path_factory.mktemp("phoenix"), free_port()
    url = f"http://127.0.0.1:{port}"
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RAG_", "OTEL_", "PHOENIX_"))},
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    with (folder / "log.txt").open("w") as log:
        process = Popen([PHOENIX, "serve"], stdout=log, stderr=STDOUT, stdin=DEVNULL, env=environ, cwd=folder, start_new_session=True)
    try:
        deadline_s = time.monotonic() + STARTS_WITHIN_S
        while True:
            assert process.poll() is None and time.monotonic() < deadline_s, (folder / "log.txt").read_text()[-5000:]  # noqa: PT018
            try:
                read(f"{url}/v1/projects")
                break
            except (URLError, OSError):
                time.sleep(0.5)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=20)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def server(phoenix: str, served_indexes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    command = [executable, "-m", "rag_service", "serve", "--name", "handbook", "--port", "0", "--indexes", str(served_indexes)]
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
        "OTEL_EXPORTER_OTLP_ENDPOINT": phoenix,
        "OTEL_RESOURCE_ATTRIBUTES": "openinference.project.name=handbook",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "RAG_CONTAINER_IMAGE": IMAGE,
        "RAG_CODE_COMMIT": COMMIT,
    }
    with Popen(command, stdout=PIPE, stderr=PIPE, text=True, cwd=tmp_path_factory.mktemp("served"), env=environ) as process:
        yield ServerProcess(process)
        process.terminate()
        process.communicate(timeout=30)


Traced = Callable[..., tuple[Mapping[str, Any], dict[str, Span]]]


@pytest.fixture
def traced(phoenix: str, server: ServerProcess) -> Traced:
    """`traced(payload, spans=8)` asks, and gives the reply with what Phoenix holds of its trace, by name, once it is all there."""

    def ask(payload: Mapping[str, Any], *, spans: int) -> tuple[Mapping[str, Any], dict[str, Span]]:
        trace_id = os.urandom(16).hex()
        connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        headers = {"content-type": "application/json", "traceparent": f"00-{trace_id}-{CALLER}-01"}
        connection.request("POST", "/ask", json.dumps(payload), headers)
        reply = json.loads(connection.getresponse().read())
        connection.close()
        assert reply["trace_id"] == trace_id
        deadline_s = time.monotonic() + READS_WITHIN_S
        while True:
            found = held(phoenix, trace_id)
            if len(found) == spans:
                return reply, {span["name"]: span for span in found}
            assert time.monotonic() < deadline_s, [span["name"] for span in found]
            time.sleep(0.2)

    return ask


def held(phoenix: str, trace_id: str) -> list[Span]:
    try:
        spans = read(f"{phoenix}/v1/projects/handbook/spans?limit=1000")["data"]
    except URLError:  # the project is made by its first span
        return []
    return [span for span in spans if span["context"]["trace_id"] == trace_id]


def test_an_answer_reads_back_as_one_tree_with_its_kinds(traced: Traced) -> None:
    reply, spans = traced({"question": HOLIDAYS, "cache": False}, spans=7)
    assert {name: span["span_kind"] for name, span in spans.items()} == {
        "POST /ask": "CHAIN",
        "invoke_workflow ask": "CHAIN",
        "embeddings all-MiniLM-L6-v2": "EMBEDDING",
        "retrieval handbook": "RETRIEVER",
        "rag.prompt.render": "PROMPT",
        "chat extractive": "LLM",
        "rag.postprocess": "CHAIN",
    }
    request, workflow = spans.pop("POST /ask"), spans.pop("invoke_workflow ask")
    assert request["parent_id"] == CALLER
    assert workflow["parent_id"] == request["context"]["span_id"]
    assert {span["parent_id"] for span in spans.values()} == {workflow["context"]["span_id"]}
    assert workflow["attributes"]["rag.answer.id"] == reply["answer_id"]


def test_what_made_the_answer_reads_back_on_its_first_spans(traced: Traced) -> None:
    reply, spans = traced({"question": HOLIDAYS, "cache": False}, spans=7)
    for name in ("POST /ask", "invoke_workflow ask"):
        attributes = spans[name]["attributes"]
        assert attributes["rag.release.id"] == reply["trace"]["release"]["id"]
        assert attributes["container.image.repo_digests"] == [IMAGE]
        assert attributes["vcs.ref.head.revision"] == COMMIT


def test_the_passages_read_back_with_ids_and_scores_and_without_their_text(traced: Traced) -> None:
    reply, spans = traced({"question": HOLIDAYS, "cache": False}, spans=7)
    attributes = spans["retrieval handbook"]["attributes"]
    for number, hit in enumerate(reply["hits"]):
        assert attributes[f"retrieval.documents.{number}.document.id"] == hit["chunk_id"]
        assert attributes[f"retrieval.documents.{number}.document.score"] == pytest.approx(hit["score"])
    assert "28 days" not in json.dumps(list(spans.values()))


def test_a_repeated_answer_reads_back_as_one_that_repeats(traced: Traced) -> None:
    first, _ = traced({"question": "Who wears a yellow badge?"}, spans=7)
    again, spans = traced({"question": "Who wears a yellow badge?"}, spans=2)
    assert spans["invoke_workflow ask"]["attributes"]["rag.answer.repeats"] == first["answer_id"]
    assert again["answer_id"] != first["answer_id"]


def test_an_error_reads_back_with_its_code(traced: Traced) -> None:
    _, spans = traced({"question": HOLIDAYS, "prompt": "answer/99"}, spans=2)
    assert spans["invoke_workflow ask"]["status_code"] == "ERROR"
    assert spans["invoke_workflow ask"]["attributes"]["error.type"] == "not_found"
