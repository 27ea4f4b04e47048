"""Files that did not change are not read again, and no change goes unnoticed."""

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_service import stored
from rag_service.catalog import Catalog
from rag_service.errors import Damaged
from rag_service.evidence import EVIDENCE_FILES
from rag_service.verified import verified_version

SETTLED_S = 0.06


@pytest.fixture
def version(own_indexes: Path) -> Path:
    [found] = Catalog(own_indexes).versions("handbook")
    time.sleep(SETTLED_S)
    return Catalog(own_indexes).version_folder("handbook", found)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "verified" / "notes.json"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read and compared with their digests."""
    names: list[str] = []
    digest = stored.file_digest

    def counted(path: Path) -> Any:
        names.append(path.name)
        return digest(path)

    monkeypatch.setattr(stored, "file_digest", counted)
    return names


FILES = sorted(["chunks.sqlite", "vectors.faiss", *EVIDENCE_FILES])


def test_the_first_time_every_file_is_read_and_from_then_on_none(version: Path, notes: Path, read: list[str]) -> None:
    first = verified_version(version, notes=notes, full=False)
    assert read == FILES
    read.clear()
    assert verified_version(version, notes=notes, full=False) == first
    assert read == []


def test_full_reads_every_file_each_time(version: Path, notes: Path, read: list[str]) -> None:
    for _ in range(3):
        verified_version(version, notes=notes, full=True)
    assert read == FILES * 3


def keep_times(path: Path, change: Callable[[Path], object]) -> None:
    """Changes the file and gives it the size and the times that it had, as far as anybody can."""
    stat = path.stat()
    change(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns


def flip(path: Path, at: int = -1) -> None:
    with path.open("r+b") as file:
        file.seek(at, 2 if at < 0 else 0)
        byte = file.read(1)[0]
        file.seek(at, 2 if at < 0 else 0)
        file.write(bytes([byte ^ 1]))


def replace(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.with_name("other").write_bytes(data)
    path.with_name("other").replace(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a bit": flip,
    "a bit, the time set back": lambda path: keep_times(path, flip),
    "another file, the time set back": lambda path: keep_times(path, replace),
    "cut short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "longer": lambda path: os.truncate(path, path.stat().st_size + 1),
    "gone": Path.unlink,
    "a link to the same bytes elsewhere, altered": lambda path: (
        shutil.copy(path, path.parent.parent / "elsewhere"),
        flip(path.parent.parent / "elsewhere"),
        path.unlink(),
        path.symlink_to(path.parent.parent / "elsewhere"),
    ),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("change", CHANGES)
def test_any_change_after_the_last_comparison_is_noticed(version: Path, notes: Path, change: str, file: str) -> None:
    verified_version(version, notes=notes, full=False)
    CHANGES[change](version / file)
    for _ in range(2):
        with pytest.raises(Damaged, match=re.escape(file)):
            verified_version(version, notes=notes, full=False)


@pytest.mark.parametrize("change", ["the file that the link leads to", "where the link leads"])
def test_a_file_that_is_a_link_is_as_good_as_what_it_leads_to(
    version: Path, notes: Path, read: list[str], tmp_path: Path, change: str
) -> None:
    """As somebody has it who moved the largest file to another disk."""
    linked, large = version / "vectors.faiss", tmp_path / "large"
    shutil.move(linked, large)
    linked.symlink_to(large)
    altered = tmp_path / "altered"
    shutil.copy(large, altered)
    flip(altered)
    time.sleep(SETTLED_S)
    verified_version(version, notes=notes, full=False)
    read.clear()
    verified_version(version, notes=notes, full=False)
    assert read == []
    if change == "where the link leads":
        linked.unlink()
        linked.symlink_to(altered)
    else:
        flip(large)
    with pytest.raises(Damaged, match=r"vectors\.faiss"):
        verified_version(version, notes=notes, full=False)


def test_a_copy_of_the_folder_is_read_for_itself(version: Path, notes: Path, read: list[str], tmp_path: Path) -> None:
    verified_version(version, notes=notes, full=False)
    read.clear()
    copy = shutil.copytree(version, tmp_path / version.name)
    verified_version(copy, notes=notes, full=False)
    assert read == FILES


def test_a_file_that_was_only_touched_is_read_again_once(version: Path, notes: Path, read: list[str]) -> None:
    verified_version(version, notes=notes, full=False)
    os.utime(version / "vectors.faiss")
    time.sleep(SETTLED_S)
    read.clear()
    for _ in range(3):
        verified_version(version, notes=notes, full=False)
    assert read == FILES


def test_a_file_that_changed_a_moment_ago_is_not_yet_taken_as_settled(version: Path, notes: Path) -> None:
    os.utime(version / "vectors.faiss")
    verified_version(version, notes=notes, full=False)
    assert not notes.exists()
    time.sleep(SETTLED_S)
    verified_version(version, notes=notes, full=False)
    assert notes.exists()


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b"null", b'{"note": {}, "digest": "sha256:0"}', None])
def test_notes_that_cannot_be_read_mean_that_everything_is(version: Path, notes: Path, read: list[str], damage: bytes | None) -> None:
    verified_version(version, notes=notes, full=False)
    read.clear()
    if damage is None:
        data = bytearray(notes.read_bytes())
        data[len(data) // 2] ^= 1
        damage = bytes(data)
    notes.write_bytes(damage)
    verified_version(version, notes=notes, full=False)
    assert read == FILES


def test_notes_that_cannot_be_written_stop_nothing(version: Path, read: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for _ in range(2):
        verified_version(version, notes=tmp_path / "file" / "notes.json", full=False)
    assert read == FILES * 2


def test_an_altered_manifest_is_noticed_although_no_file_changed(version: Path, notes: Path) -> None:
    verified_version(version, notes=notes, full=False)
    flip(version / "manifest.json", at=100)
    with pytest.raises(Damaged, match=r"manifest\.json"):
        verified_version(version, notes=notes, full=False)
