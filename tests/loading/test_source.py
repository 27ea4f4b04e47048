import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_service.errors import Conflict, NothingToIndex
from rag_service.loading import LoadLimits, load
from rag_service.types import Skipped
from tests.loading.inspection import Writer, documents, skips


def test_a_folder_is_read_with_all_below_it_in_the_order_of_posix_paths(write: Writer, folder: Path) -> None:
    for name in ("b.md", "a/z.md", "a.md", "a/b/c.txt", "Z.md"):
        write(name, f"Text of {name}.")
    assert [document.id for document in documents(list(load(folder)))] == ["Z.md", "a.md", "a/b/c.txt", "a/z.md", "b.md"]


def test_a_file_is_known_by_its_name(write: Writer) -> None:
    (document,) = documents(list(load(write("deep/down/guide.md", "# Guide"))))
    assert (document.id, document.source, document.title) == ("guide.md", "guide.md", "Guide")


def test_hidden_files_and_folders_are_left_out_silently(write: Writer, folder: Path) -> None:
    for name in (".git/config.md", ".hidden.md", "seen.md"):
        write(name, f"Text of {name}.")
    assert [item.source for item in load(folder)] == ["seen.md"]


def test_links_to_files_and_folders_are_reported_and_not_followed(write: Writer, folder: Path, tmp_path: Path) -> None:
    write("real.md", "Real.")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.md").write_text("Secret.")
    (folder / "folder").symlink_to(outside)
    (folder / "file.md").symlink_to(outside / "secret.md")
    (folder / "dangling.md").symlink_to(outside / "gone.md")
    (folder / "loop").symlink_to(folder)
    items = list(load(folder))
    assert [document.id for document in documents(items)] == ["real.md"]
    assert [(item.source, item.reason) for item in skips(items)] == [
        ("dangling.md", "symlink"),
        ("file.md", "symlink"),
        ("folder", "symlink"),
        ("loop", "symlink"),
    ]


def test_a_hard_link_is_a_file_like_any_other_wherever_else_it_has_a_name(write: Writer, folder: Path, tmp_path: Path) -> None:
    """A6. The kernel keeps no record of which name was there first; what a link must not do is lead somewhere by its text."""
    outside = tmp_path / "outside.md"
    outside.write_text("# Outside\n\nWritten elsewhere.")
    write("sub/page.md", "Page.")
    (folder / "linked.md").hardlink_to(outside)
    (folder / "sub" / "same.md").hardlink_to(folder / "sub" / "page.md")
    items = list(load(folder))
    assert [(document.id, document.title) for document in documents(items)] == [("linked.md", "Outside"), ("sub/page.md", "page")]
    assert [(item.source, item.reason, item.detail) for item in skips(items)] == [("sub/same.md", "duplicate", "sub/page.md")]
    copied = shutil.copytree(folder, tmp_path / "copied")
    assert list(load(copied)) == items, "copies of them would have given the same"


def test_a_hard_link_to_a_symbolic_link_is_not_followed_either(write: Writer, folder: Path, tmp_path: Path) -> None:
    write("real.md", "Real.")
    (tmp_path / "secret.md").write_text("Secret.")
    (tmp_path / "link.md").symlink_to(tmp_path / "secret.md")
    os.link(tmp_path / "link.md", folder / "linked.md", follow_symlinks=False)
    items = list(load(folder))
    assert [document.id for document in documents(items)] == ["real.md"]
    assert [(item.source, item.reason) for item in skips(items)] == [("linked.md", "symlink")]


def test_a_source_that_is_itself_a_link_is_followed(write: Writer, folder: Path, tmp_path: Path) -> None:
    write("page.md", "Page.")
    (tmp_path / "link").symlink_to(folder)
    assert [item.source for item in load(tmp_path / "link")] == ["page.md"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.md", ["a.md"]),
        ("**/*.md", ["a.md", "docs/b.md", "docs/deep/c.md"]),
        ("docs/*.md", ["b.md"]),
        ("docs/**", ["b.md", "d.txt", "deep/c.md"]),
        ("**/deep/*", ["docs/deep/c.md"]),
        ("docs/[bx].m?", ["b.md"]),
        ("*/**/c.md", ["docs/deep/c.md"]),
    ],
)
def test_a_pattern_names_files_below_its_plain_part(write: Writer, folder: Path, pattern: str, expected: list[str]) -> None:
    for name in ("a.md", "docs/b.md", "docs/deep/c.md", "docs/d.txt", "docs/.hidden/e.md"):
        write(name, f"Text of {name}.")
    assert [item.source for item in load(f"{folder}/{pattern}")] == expected


def test_a_pattern_reports_links_that_it_would_have_to_follow(write: Writer, folder: Path, tmp_path: Path) -> None:
    write("docs/a.md", "A.")
    (tmp_path / "elsewhere").mkdir()
    (folder / "docs" / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "docs" / "other.txt").symlink_to(tmp_path / "gone.txt")
    assert [(item.source, isinstance(item, Skipped)) for item in load(f"{folder}/docs/**/*.md")] == [
        ("a.md", False),
        ("linked", True),
    ]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(write: Writer) -> None:
    path = write("notes [1].md", "Text.")
    assert [item.source for item in load(str(path))] == ["notes [1].md"]


@pytest.mark.parametrize("source", ["", "  ", "nowhere/at/all", "nowhere/*.md", "x" * 5000])
def test_a_source_that_is_not_there_is_refused_at_once_with_a_hint(source: str) -> None:
    with pytest.raises(NothingToIndex) as caught:
        load(source)
    assert caught.value.hint


def test_a_folder_without_a_readable_format_is_refused(write: Writer, folder: Path) -> None:
    with pytest.raises(NothingToIndex, match="no file matches"):
        load(folder)
    write("photo.png", b"\x89PNG")
    with pytest.raises(NothingToIndex, match=r"\.png"):
        load(folder)


def test_a_folder_named_like_a_page_is_a_folder(write: Writer, folder: Path) -> None:
    write("x.md/inner.md", "Inner.")
    assert [item.source for item in load(folder)] == ["x.md/inner.md"]


def test_a_file_that_vanishes_after_it_was_found_ends_the_loading_and_is_named_without_its_path(write: Writer, folder: Path) -> None:
    write("a.md", "A.")
    gone = write("b.md", "B.")
    items = load(folder)
    gone.unlink()
    assert next(items).source == "a.md"
    with pytest.raises(Conflict, match=r"^b\.md has vanished"):
        next(items)


@pytest.fixture
def busy(write: Writer, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes to a page all the time, and that has its turn whenever the page is looked at, however busy the machine is."""
    page = write("log.md", "x" * 1_000_000)
    code = "import os, sys\nfile = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)\nprint()\nwhile True: os.write(file, b'y')"
    look = os.fstat

    def look_after_its_turn(descriptor: int) -> os.stat_result:
        before = look(descriptor)
        while os.path.samestat(before, page.stat()) and writing.poll() is None and look(descriptor).st_size == before.st_size:
            os.sched_yield()
        return look(descriptor)

    with subprocess.Popen([sys.executable, "-uc", code, str(page)], stdout=subprocess.PIPE) as writing:
        assert writing.stdout is not None
        writing.stdout.readline()
        monkeypatch.setattr(os, "fstat", look_after_its_turn)
        yield writing
        writing.kill()


@pytest.mark.usefixtures("busy")
def test_a_file_that_is_written_all_the_time_ends_the_loading(folder: Path) -> None:
    with pytest.raises(Conflict, match=r"^log\.md is being written"):
        list(load(folder, limits=LoadLimits(max_file_bytes=10**9)))


def test_a_file_that_was_being_written_is_read_whole_once_it_keeps_still(
    folder: Path, busy: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(_: float) -> None:
        busy.kill()
        busy.wait()

    monkeypatch.setattr("rag_service.loading.source.time.sleep", wait)
    [document] = documents(list(load(folder, limits=LoadLimits(max_file_bytes=10**9, max_document_chars=10**9))))
    assert document.text == (folder / "log.md").read_text()


def test_a_file_that_became_a_link_after_it_was_found_is_not_followed(write: Writer, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("Secret.")
    page = write("a.md", "A.")
    items = load(folder)
    page.unlink()
    page.symlink_to(tmp_path / "secret")
    assert [item.reason for item in skips(list(items))] == ["unreadable"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_reported_rather_than_waited_for(write: Writer, folder: Path) -> None:
    write("a.md", "A.")
    os.mkfifo(folder / "pipe.md")
    assert [(item.source, item.reason) for item in skips(list(load(folder)))] == [("pipe.md", "unreadable")]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_what_permissions_forbid_is_reported(write: Writer, folder: Path) -> None:
    write("a.md", "A.")
    write("b.md", "B.").chmod(0)
    closed = folder / "closed"
    closed.mkdir(mode=0)
    assert [(item.source, item.reason) for item in skips(list(load(folder)))] == [
        ("b.md", "unreadable"),
        ("closed", "unreadable"),
    ]
    closed.chmod(0o700)


def test_a_file_name_that_is_not_text_still_gives_an_id_that_is(folder: Path) -> None:
    try:
        (Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.md"))).write_text("Text.")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    (document,) = documents(list(load(folder)))
    assert document.id == "caf\ufffd.md"


def test_a_file_over_the_limit_is_oversized(write: Writer, folder: Path) -> None:
    write("big.md", "x" * 101)
    write("fits.md", "y" * 100)
    items = list(load(folder, limits=LoadLimits(max_file_bytes=100)))
    assert [(item.source, item.reason, item.detail) for item in skips(items)] == [("big.md", "oversized", "101 bytes; the limit is 100")]
