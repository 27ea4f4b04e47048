"""What every store behind the port `ObjectStore` promises: a bucket of S3, a folder of a disk, and memory."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rag_service.errors import InvalidSettings, NotFound, RemoteFailed
from rag_service.ports import ObjectStore
from rag_service.remotes.objects import PIECE_BYTES, FsspecObjects
from tests.remotes.faulty_store import Proxy


@pytest.fixture(params=["s3", "file", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        request.getfixturevalue("store")
    urls: dict[str, Callable[[], str]] = {
        "s3": lambda: request.getfixturevalue("url"),
        "file": lambda: f"file://{tmp_path}/disk",
        "memory": lambda: f"memory://{tmp_path.name}",
    }
    return FsspecObjects.open(urls[request.param](), timeout_s=20)


def test_what_was_written_is_read_back_whole_and_in_parts(objects: ObjectStore) -> None:
    objects.write("a/b/c.json", b"0123456789")
    assert objects.size("a/b/c.json") == 10
    assert objects.read("a/b/c.json", 0, 100) == b"0123456789"
    assert objects.read("a/b/c.json", 3, 4) == b"3456"
    assert objects.read("a/b/c.json", 8, 4) == b"89"
    assert objects.read("a/b/c.json", 10, 4) == b""


def test_a_write_replaces_what_was_there(objects: ObjectStore) -> None:
    objects.write("x", b"a longer text")
    objects.write("x", b"short")
    assert (objects.size("x"), objects.read("x", 0, 100)) == (5, b"short")


def test_what_is_not_there_has_no_size_and_cannot_be_read(objects: ObjectStore) -> None:
    objects.write("a/b", b"1")
    assert objects.size("a/c") is None
    assert objects.size("a") is None  # a folder is no object
    with pytest.raises(NotFound, match=r"holds no a/c$"):
        objects.read("a/c", 0, 10)


def test_a_folder_names_what_lies_directly_in_it(objects: ObjectStore) -> None:
    for key in ("v/2.json", "v/1.json", "v/deep/3.json", "w/4.json"):
        objects.write(key, b"{}")
    assert objects.names("v") == ["1.json", "2.json", "deep"]
    assert objects.names("nothing") == []


def test_a_file_of_several_parts_arrives_as_it_is_and_progress_adds_up(objects: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(range(256)) * (2 * PIECE_BYTES // 256) + b"end")
    told: list[int] = []
    objects.upload(path, "files/large", told.append)
    size = path.stat().st_size
    assert (objects.size("files/large"), sum(told)) == (size, size)
    assert objects.read("files/large", size - 5, 50) == b"\xfe\xffend"


def test_several_who_write_the_same_object_leave_it_whole(objects: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "same"
    path.write_bytes(b"the same bytes " * 10_000)
    threads = [threading.Thread(target=objects.upload, args=(path, "files/same", lambda _: None)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert objects.read("files/same", 0, 10**6) == path.read_bytes()
    assert objects.names("files") == ["same"]  # and nothing half-written beside it


@pytest.mark.parametrize(
    "url",
    [
        "s3://", "s3:///", "bucket/prefix", "http://127.0.0.1/bucket", "file://relative/folder", "file:///", "file:///a/../../etc",
        "simplecache::s3://bucket/x", "s3://bucket/x?versionId=1", "s3://bucket/../other",
    ],
)  # fmt: skip
def test_what_is_no_url_of_a_store_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings, match="URL of object storage"):
        FsspecObjects.open(url, timeout_s=1)


@pytest.mark.parametrize("url", ["s3://AKIA1:s3cr3t@bucket/prefix", "https://AKIA1:s3cr3t@host/x", "s3:/AKIA1:s3cr3t@bucket"])
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        FsspecObjects.open(url, timeout_s=1)
    assert "s3cr3t" not in f"{caught.value.message} {caught.value.hint}"
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint


def test_a_store_that_fails_for_a_moment_is_asked_again(store: Proxy, url: str) -> None:
    objects = FsspecObjects.open(url, timeout_s=20)
    objects.write("x", b"0123456789")
    store.faults.of, store.faults.fails, store.faults.cuts = "GET", 1, 1
    assert objects.read("x", 0, 100) == b"0123456789"
    assert store.requests("GET") == 3


def test_a_store_that_goes_on_failing_is_an_error_after_four_tries(store: Proxy, url: str) -> None:
    objects = FsspecObjects.open(url, timeout_s=20)
    store.faults.of, store.faults.fails = "GET", 100
    with pytest.raises(RemoteFailed, match=r"is failing \(503\) in 4 tries"):
        objects.read("x", 0, 100)
    assert store.requests("GET") == 4


def test_an_upload_of_several_parts_that_stalls_ends_in_bounded_time(store: Proxy, url: str, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(3 * PIECE_BYTES))
    told: list[int] = []
    objects = FsspecObjects.open(url, timeout_s=0.3)
    store.faults.bytes_first = 0
    with pytest.raises(RemoteFailed, match=r"did not answer within 0.3 s in 4 tries"):
        objects.upload(path, "large", told.append)
    assert sum(told) == 0
