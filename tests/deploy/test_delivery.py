"""The commands of the delivery: what they find, and how they end."""

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from deploy.audit import findings, ignored, verdict
from deploy.lock import pins, together, written
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


def offered(name: str, version: str, sha256: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "version": version}, "download_info": {"archive_info": {"hashes": {"sha256": sha256}}}}


def test_a_lock_names_every_file_that_a_machine_would_get_and_not_the_project_itself() -> None:
    project = {"metadata": {"name": "rag-service", "version": "0.1.0"}, "download_info": {"dir_info": {}}}
    one = pins({"install": [project, offered("NumPy", "2.4", "a1"), offered("jaraco.text", "4.0", "b1")]})
    other = pins({"install": [project, offered("numpy", "2.4", "a2"), offered("jaraco_text", "4.0", "b1")]})
    assert written(together([one, other])).splitlines()[1:] == [
        "jaraco-text==4.0 \\",
        "    --hash=sha256:b1",
        "numpy==2.4 \\",
        "    --hash=sha256:a1 \\",
        "    --hash=sha256:a2",
    ]


def test_machines_that_would_get_different_versions_are_no_lock() -> None:
    with pytest.raises(ValueError, match="different versions of numpy"):
        together([pins({"install": [offered("numpy", "2.4", "a1")]}), pins({"install": [offered("numpy", "2.3", "a2")]})])


def test_pip_installs_what_a_lock_names_and_nothing_that_was_changed_since(tmp_path: Path) -> None:
    """A wheel of this test, in a folder that serves as package index."""
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"

    def put(code: str) -> None:
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("tiny.py", code)
            archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
            archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr("tiny-1.0.dist-info/RECORD", "tiny.py,,\ntiny-1.0.dist-info/METADATA,,\n")

    def install(name: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "pip", "install", "--require-hashes", "--no-deps", "--no-index", "--find-links", str(tmp_path)]
        command += ["--disable-pip-version-check", "--target", str(tmp_path / name), "-r", str(lock)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    put("MINE = True\n")
    lock = tmp_path / "hashes.txt"
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock.write_text(written(pins({"install": [offered("tiny", "1.0", sha256)]})))
    assert install("first").returncode == 0
    assert (tmp_path / "first" / "tiny.py").read_text() == "MINE = True\n"
    put("MINE = False\n")
    refused = install("second")
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr
