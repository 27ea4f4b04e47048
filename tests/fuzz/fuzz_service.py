"""Every operation of the API, asked in every way that its own description allows and in many that it does not (`make fuzz`).

Not a part of `make test`: pytest collects files of this name only where they are named.
"""

from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, Popen
from sys import executable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tests.api.description import SNAPSHOT
from tests.processes import ServerProcess

UNAVAILABLE = {502, 503, 504}
"""What the API describes for a service that fails or takes too long; it asks for that with a `timeout_ms` of 1."""

document = schemathesis.openapi.from_path(SNAPSHOT)  # which is what the service says: see tests/api/test_openapi.py


@pytest.fixture(scope="session")
def server(served_indexes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The handbook, by a process of its own."""
    folder = tmp_path_factory.mktemp("fuzz")
    command = [executable, "-m", "rag_service", "serve", "--name", "handbook", "--port", "0", "--indexes", str(served_indexes)]
    with Popen(command, stdout=PIPE, stderr=PIPE, text=True, cwd=folder) as process:
        server = ServerProcess(process)
        yield server
        assert server.runs, server.said
        process.terminate()
        process.communicate(timeout=30)
    assert not [line for line in server.said if "Traceback" in line or "unexpected error" in line]


@schemathesis.check
def no_fault_of_the_server(ctx: Any, response: Any, case: Any) -> None:  # noqa: ARG001 - the signature of a check
    assert response.status_code < 500 or response.status_code in UNAVAILABLE, response.text[:500]


@schemathesis.check
def errors_in_the_one_shape(ctx: Any, response: Any, case: Any) -> None:  # noqa: ARG001 - the signature of a check
    if response.status_code >= 400 and "/health/" not in case.path:
        assert set(response.json()) == {"error", "trace_id", "request_id", "trace"}


CHECKS = [
    no_fault_of_the_server,
    errors_in_the_one_shape,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


FUZZED = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@document.parametrize()
@FUZZED
def test_every_reply_is_as_the_description_says(case: Any, server: ServerProcess) -> None:
    case.call_and_validate(base_url=server.url, checks=CHECKS, timeout=30)


@document.include(method="POST").parametrize()
@FUZZED
def test_every_answer_is_as_the_description_says(case: Any, server: ServerProcess) -> None:
    """The same for requests that name nothing which is not there: by chance alone few are answered."""
    if isinstance(case.body, dict):
        asked = {**case.body, **({"model": "handbook"} if "model" in case.body else {})}
        if isinstance(asked.get("rag"), dict):
            asked["rag"] = possible(asked["rag"])
        if isinstance(asked.get("questions"), list):
            asked["questions"] = [possible(each) if isinstance(each, dict) else each for each in asked["questions"][:4]]
        case.body = possible(asked)
    case.call_and_validate(base_url=server.url, checks=CHECKS, timeout=30)


def possible(asked: dict[str, Any]) -> dict[str, Any]:
    left_out = {"release", "index_version", "prompt", "filters", "timeout_ms"}
    kept = {name: value for name, value in asked.items() if name not in left_out}
    return {**kept, "top_k": 3} if "top_k" in kept else kept
