"""The commands of the delivery: what they find, and how they end."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.audit import findings, ignored, verdict
from deploy.verify import Deployment, NotAsDeployed, verify
from tests.conftest import PROJECT
from tests.processes import ServerProcess

IMAGE = "registry.example/rag-service@sha256:" + "a1" * 32


def package(name: str, *vulnerabilities: str) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": [{"id": each, "fix_versions": ["1.1"]} for each in vulnerabilities]}


def unknown(name: str) -> dict[str, Any]:
    return {"name": name, "skip_reason": "the service did not answer"}


@pytest.mark.parametrize(
    ("dependencies", "unless_offline", "code", "said"),
    [
        ([package("a"), package("b")], False, 0, "2 packages audited, 0 known vulnerabilities"),
        ([package("a", "CVE-1"), package("b")], True, 1, "VULNERABLE  a 1.0: CVE-1 (fixed in 1.1)"),
        ([package("a"), unknown("b")], True, 3, "NOT AUDITED b: the service did not answer"),
        ([unknown("a"), unknown("b")], False, 3, "none of 2 packages could be looked up"),
        ([unknown("a"), unknown("b")], True, 0, "none of 2 packages could be looked up"),
    ],
)
def test_an_audit_ends_well_only_where_everything_was_looked_up(
    dependencies: list[dict[str, Any]], unless_offline: bool, code: int, said: str
) -> None:
    found, lines = verdict(findings({"dependencies": dependencies}), unless_offline=unless_offline)
    assert found == code
    assert said in "\n".join(lines)


def test_a_vulnerability_is_left_out_only_with_a_reason() -> None:
    assert ignored("# why not\nCVE-1  # it concerns Windows\n\n") == ["CVE-1"]
    with pytest.raises(ValueError, match="gives no reason for CVE-2"):
        ignored("CVE-2\n")


@pytest.fixture
def url(served_indexes: Path) -> Any:
    """A running service that was told its image."""
    command = [sys.executable, "-m", "rag_service", "serve", "--name", "handbook", "--port", "0", "--indexes", str(served_indexes)]
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT), "RAG_CONTAINER_IMAGE": IMAGE}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ) as process:
        server = ServerProcess(process)
        yield server.url
        assert server.end() == 0


def test_what_is_served_is_compared_with_what_was_deployed(url: str) -> None:
    deployed = Deployment(url, None, within_s=20)
    assert f"serves {IMAGE}, release " in verify(deployed, IMAGE, "How many days of paid holiday are there?")
    other = IMAGE.replace("a1", "b2")
    with pytest.raises(NotAsDeployed, match=re.escape(f"serves {IMAGE}, not {other}")):
        verify(deployed, other, "How many days of paid holiday are there?")


def test_a_service_that_does_not_answer_is_not_as_deployed() -> None:
    with pytest.raises(NotAsDeployed, match=r"is not ready after 0\.2 s"):
        verify(Deployment("http://127.0.0.1:9", None, within_s=0.2), IMAGE, "Anything?")
