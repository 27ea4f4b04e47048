"""A database of the test's own on a real PostgreSQL, and a machine that builds for it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SilentProgress
from tests.postgres.machine import Machine
from tests.postgres.server import database


@pytest.fixture
def url(tmp_path: Path) -> str:
    return database(tmp_path)


@pytest.fixture
def builder(tmp_path: Path, encoder_folder: Path, url: str) -> Machine:
    """Has the encoder, and nothing else."""
    (tmp_path / "one" / "indexes").mkdir(parents=True)
    shutil.copytree(encoder_folder, tmp_path / "one" / "indexes" / "encoders" / encoder_folder.name)
    return Machine(tmp_path / "one", url)


@pytest.fixture
def build_there(builder: Machine, handbook: Path) -> Callable[[], str]:
    from rag_service.wiring.building import build

    return lambda: build(builder.settings, builder.catalog, "handbook", str(handbook), SilentProgress()).manifest.version
