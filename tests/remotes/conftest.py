"""A store with a bucket of its own for each test, reached through a proxy that can break it."""

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rag_service.remotes import objects
from tests.remotes.faulty_store import Proxy, environment, proxy_to, put, s3_server

pytest.importorskip("s3fs", reason="the extra [s3] is not installed")
pytest.importorskip("moto", reason="moto's server is not installed")

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with s3_server(tmp_path_factory.mktemp("moto")) as port:
        yield port


@pytest.fixture
def store(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Everything of this process that speaks to S3 goes through the proxy."""
    with proxy_to(s3_port) as proxy:
        for variable, value in environment(proxy.url).items():
            monkeypatch.setenv(variable, value)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        monkeypatch.setattr(objects, "_FIRST_PAUSE_S", 0.02)
        yield proxy


@pytest.fixture
def bucket(s3_port: int) -> str:
    name = f"bucket{next(_numbers)}"
    put(s3_port, name)
    return name


@pytest.fixture
def url(bucket: str) -> str:
    return f"s3://{bucket}/shelf"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The folder of indexes of a machine that holds nothing."""
    return tmp_path / "elsewhere"


@pytest.fixture
def mounted() -> Iterator[Callable[[Path, str], None]]:
    """`mounted(folder, "4m")` makes it a file system of its own, so large."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    with ExitStack() as later:

        def mount(folder: Path, size: str) -> None:
            command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
            later.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)

        yield mount
