"""Builds, activations, rollbacks and sweeps when the disk fails in the middle, fills up, or the process is killed between two operations.

Here every few operations; `tests/crash/crash_index.py` tries every one.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from tests.failing_disk import (
    FailingDisk,
    How,
    HowToRead,
    Switched,
    failing_disk,
    switched_index,
    tried_activations,
    tried_builds,
    tried_reads,
    tried_rollbacks,
    tried_sweeps,
)

every_way = pytest.mark.parametrize("how", get_args(How))


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingDisk]:
    with failing_disk(tmp_path_factory.mktemp("shim")) as disk:
        yield disk


@pytest.fixture(scope="module")
def switched(tmp_path_factory: pytest.TempPathFactory, served_indexes: Path, build: Callable[..., object]) -> Switched:
    return switched_index(tmp_path_factory.mktemp("switched"), served_indexes, build)


@pytest.fixture
def new_root(switched: Switched, tmp_path: Path) -> Callable[[], Path]:
    return lambda: shutil.copytree(switched.root, tmp_path / "root", symlinks=True)


@every_way
def test_a_build_that_the_disk_or_a_kill_ends_leaves_what_was_served_and_the_next_one_comes_to_its_end(
    disk: FailingDisk, switched: Switched, new_root: Callable[[], Path], how: How
) -> None:
    """F7, and F1 between two operations."""
    outcomes = tried_builds(disk, switched, new_root, how, step=6)
    assert outcomes["storage_failed"] > 5 or how == "kill"
    assert sum(outcomes.values()) > 10


@every_way
def test_an_activation_that_the_disk_or_a_kill_ends_leaves_the_old_release_or_the_new_one_and_the_next_one_works(
    disk: FailingDisk, switched: Switched, new_root: Callable[[], Path], how: How
) -> None:
    assert sum(tried_activations(disk, switched, new_root, how, step=1).values()) >= 12


@every_way
def test_a_rollback_that_the_disk_or_a_kill_ends_takes_one_step_or_none(
    disk: FailingDisk, switched: Switched, new_root: Callable[[], Path], how: How
) -> None:
    assert sum(tried_rollbacks(disk, switched, new_root, how, step=4).values()) >= 3


@every_way
def test_a_sweep_that_the_disk_or_a_kill_ends_leaves_whole_versions_and_the_next_one_clears_away_the_rest(
    disk: FailingDisk, switched: Switched, new_root: Callable[[], Path], how: How
) -> None:
    assert sum(tried_sweeps(disk, switched, new_root, how, step=2).values()) >= 6


@pytest.mark.parametrize("how", get_args(HowToRead))
def test_a_disk_that_fails_to_read_gives_the_right_answer_or_a_clean_refusal(
    disk: FailingDisk, new_root: Callable[[], Path], how: HowToRead
) -> None:
    """F10: a start and a question, on an index that was never compared with its digests."""
    outcomes = tried_reads(disk, "ask", new_root, how, step=1 if how == "once" else 5)
    assert sum(outcomes.values()) >= 7
    if how == "once":
        assert outcomes["storage_failed"] > 10
    elif how == "short":
        assert set(outcomes) == {"done"}, "whoever reads goes on until there is no more"
    else:
        assert set(outcomes) <= {"done", "damaged"}
        assert outcomes["damaged"] <= 1, "FAISS opens its file with fopen, which does not try again"


@pytest.mark.parametrize("how", get_args(HowToRead))
def test_an_encoder_on_a_disk_that_fails_to_read_gives_the_right_vector_or_a_clean_refusal(
    disk: FailingDisk, new_root: Callable[[], Path], how: HowToRead
) -> None:
    """F10."""
    outcomes = tried_reads(disk, "load", new_root, how, step=9)
    assert sum(outcomes.values()) >= 10
    assert set(outcomes) == ({"storage_failed", "damaged"} if how == "once" else {"done"})
