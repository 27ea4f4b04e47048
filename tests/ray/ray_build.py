"""Builds on a real Ray cluster of two nodes on the loopback interface, with token authentication (`make ray`).

Not a part of `make test`: Ray takes minutes to install and its nodes most of one to start. pytest collects files of this name only where
they are named.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import pytest

from rag_service.manifest import BUILD_FILE
from tests.conftest import PROJECT

BIN = PROJECT / ".venv-ray" / "bin"
STARTS_WITHIN_S = 180
BUILDS_WITHIN_S = 300


@dataclass(frozen=True)
class Ray:
    address: str
    token: str
    environ: dict[str, str]
    documents: Path
    node: Callable[..., "Popen[bytes]"]
    """`node("--address=…", before=[…])` starts one more node, which ends with the test."""

    def start_build(self, root: Path, *, address: str | None = None, **environ: str) -> "Popen[str]":
        command = [str(BIN / "rag-service"), "index", "build", str(self.documents), "--name", "demo", "--indexes", str(root)]
        command += ["--ray", address or self.address]
        return Popen(command, stdout=PIPE, stderr=STDOUT, text=True, env={**self.environ, **environ}, cwd=root)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: whoever writes to docs/ meanwhile would make other versions."""
    return shutil.copytree(PROJECT / "docs", tmp_path_factory.mktemp("documents") / "docs")


@pytest.fixture
def ray(tmp_path_factory: pytest.TempPathFactory, documents: Path) -> Iterator[Ray]:
    """A head node with one CPU."""
    if not (BIN / "ray").exists():
        pytest.skip("Ray is not installed: `make ray` does that")
    folder, token = tmp_path_factory.mktemp("ray"), secrets.token_hex(32)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RAG_", "RAY_"))},
        "PYTHONPATH": str(PROJECT),
        "HOME": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_raylet_start_wait_time_s": "300",
        "RAY_agent_register_timeout_ms": "300000",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with ExitStack() as later:
        sockets = later.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))  # paths must be short

        def node(*options: str, before: tuple[str, ...] = ()) -> "Popen[bytes]":
            log = later.enter_context((folder / f"node-{secrets.token_hex(4)}.log").open("wb"))
            command = [*before, str(BIN / "ray"), "start", "--block", "--node-ip-address=127.0.0.1", "--num-cpus=1", *options]
            process = Popen(command, stdout=log, stderr=STDOUT, env=environ, start_new_session=True)
            later.callback(_end, process)
            return process

        node("--head", f"--port={address.partition(':')[2]}", "--include-dashboard=false", f"--temp-dir={sockets}")
        _until(lambda: _alive(address, environ) == 1)
        yield Ray(address, token, environ, documents, node)


def _end(process: "Popen[bytes]") -> None:
    """And all that it started: Ray's processes stay in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)


def _alive(address: str, environ: dict[str, str]) -> int:
    done = subprocess.run(
        [str(BIN / "ray"), "status", f"--address={address}"], capture_output=True, text=True, env=environ, timeout=60, check=False
    )
    return len(set(re.findall(r"node_[0-9a-f]{20,}", done.stdout.partition("Recent failures")[0])))


def _until(reached: Callable[[], bool], *, within_s: float = STARTS_WITHIN_S) -> None:
    over = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < over, "it did not come to that"
        time.sleep(0.5)


@pytest.fixture
def root(tmp_path: Path, encoder_folder: Path) -> Path:
    return _root(tmp_path / "there", encoder_folder)


def _root(folder: Path, encoder_folder: Path) -> Path:
    folder.mkdir()
    (folder / "encoders").symlink_to(encoder_folder.parent)
    return folder


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path, documents: Path) -> dict[str, bytes]:
    """The files of a version that the same code builds without a cluster."""
    if not (BIN / "ray").exists():
        pytest.skip("Ray is not installed: `make ray` does that")
    root = _root(tmp_path_factory.mktemp("local") / "here", encoder_folder)
    command = [str(BIN / "rag-service"), "index", "build", str(documents), "--name", "demo", "--indexes", str(root)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(PROJECT)}, timeout=BUILDS_WITHIN_S)
    return _version(root)


def _version(root: Path) -> dict[str, bytes]:
    [folder] = (root / "demo" / "versions").glob("[0-9a-f]*")
    return {f"{folder.name}/{path.name}": path.read_bytes() for path in folder.iterdir() if path.name != BUILD_FILE}


def _ended(process: "Popen[str]", token: str) -> str:
    said, _ = process.communicate(timeout=BUILDS_WITHIN_S)
    assert token not in said
    return said


def test_two_nodes_build_the_very_version_that_one_machine_builds(ray: Ray, root: Path, local: dict[str, bytes]) -> None:
    ray.node(f"--address={ray.address}")
    _until(lambda: _alive(ray.address, ray.environ) == 2)
    process = ray.start_build(root)
    said = _ended(process, ray.token)
    assert process.returncode == 0, said
    assert "2 machines with 2 CPUs embed" in said
    assert _version(root) == local


def test_a_killed_worker_costs_a_retry_and_not_the_build(ray: Ray, root: Path, local: dict[str, bytes]) -> None:
    process = ray.start_build(root)
    kept = root / "demo" / "embeddings"
    _until(lambda: any(kept.glob("*.sqlite-wal")) and any(path.stat().st_size > 10**6 for path in kept.glob("*.sqlite-wal")))
    [worker] = _workers(ray.environ["HOME"])
    os.kill(worker, signal.SIGKILL)
    assert process.poll() is None
    said = _ended(process, ray.token)
    assert process.returncode == 0, said
    assert not Path(f"/proc/{worker}").exists()
    assert _version(root) == local


def _workers(home: str) -> list[int]:
    """Process ids of those that hold the encoder, of the nodes of this test."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"ray::MapWorker" in (entry / "cmdline").read_bytes() and f"HOME={home}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def test_a_machine_of_another_numeric_class_is_named_and_gets_no_work(
    ray: Ray, root: Path, local: dict[str, bytes], tmp_path: Path
) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root may show a process another /proc/cpuinfo")
    other = tmp_path / "cpuinfo"
    other.write_text("flags : fpu sse2\n")
    shown = ("unshare", "--mount", "sh", "-c", f'mount --bind {other} /proc/cpuinfo && exec "$@"', "sh")
    ray.node(f"--address={ray.address}", before=shown)
    _until(lambda: _alive(ray.address, ray.environ) == 2)
    process = ray.start_build(root)
    said = _ended(process, ray.token)
    assert process.returncode == 0, said
    assert re.search(r"left out: [\d.]+ \([0-9a-f]{8}\) is \w+-baseline/onnxruntime", said)
    assert "1 machines with 1 CPUs embed" in said
    assert _version(root) == local


def test_a_cluster_that_is_not_there_and_a_wrong_token_are_errors_in_bounded_time(ray: Ray, root: Path) -> None:
    process = ray.start_build(root, address="127.0.0.1:9")
    said = _ended(process, ray.token)
    assert process.returncode == 1
    assert "nothing listens at 127.0.0.1:9" in said
    began_s = time.monotonic()
    process = ray.start_build(root, RAY_AUTH_TOKEN="f" * 64)
    said = _ended(process, ray.token)
    assert process.returncode == 1
    assert "cannot be joined" in said
    assert "f" * 64 not in said
    assert time.monotonic() - began_s < 120
    assert not (root / "demo" / "versions").exists()
