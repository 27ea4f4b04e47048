"""Names and pointers: nothing leaves the root, and nothing damaged is served."""

import errno
import itertools
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.catalog import Catalog, check_name
from rag_service.digests import Json, canonical_json, digest_bytes, digest_json
from rag_service.errors import Conflict, Damaged, InvalidName, NotFound, StorageFailed
from rag_service.release import CodeRef, GeneratorRef, IndexRef, NamedDigest, PromptRef, Release, Retrieval
from tests.damage import overwrite

D = digest_bytes(b"anything")


def release(top_k: int = 5) -> Release:
    return Release(
        index=IndexRef(version="0123456789ab", digest=D),
        encoder=NamedDigest(name="small", digest=D),
        chunker=NamedDigest(name="structure", digest=D),
        retrieval=Retrieval(top_k=top_k, min_confidence=0.25),
        prompt=PromptRef(name="answer", version="1", digest=D),
        generator=GeneratorRef(spec="extractive", options={}, name="extractive", digest=D, parameters={"keep": 0.8}),
        code=CodeRef(version="0.1.0", digest=D),
    )


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "indexes")


def tree(folder: Path) -> list[tuple[str, bytes]]:
    return sorted((path.relative_to(folder).as_posix(), path.read_bytes() if path.is_file() else b"") for path in folder.rglob("*"))


def flipped(data: bytes) -> Iterator[bytes]:
    """Every copy of `data` that differs in one bit."""
    for position, byte in enumerate(data):
        for bit in range(8):
            yield data[:position] + bytes([byte ^ 1 << bit]) + data[position + 1 :]


@pytest.mark.parametrize("name", ["a", "demo", "handbook-2.1", "a_b", "0", "x" * 64, "v1.2.3"])
def test_a_plain_name_is_accepted(name: str) -> None:
    assert check_name(name) == name


NASTY = [
    "", ".", "..", "../x", "x/../y", "/etc", "/", "a/b", "a\\b", "a\x00b", "a\n", "\na", "encoders", "x" * 65, "x" * 300, "a.", ".a", "-a",
    "a-", "_", "a..b", "A", "Demo", "a b", " a", "é", "a∕b", "a／b", "a\u2024\u2024b", "ａ", "~", "~root", "$HOME", "%2e%2e", "a:b",
    "*", "con?",
]  # fmt: skip


USES: dict[str, Callable[[Catalog, str], Any]] = {
    "index_folder": lambda catalog, name: catalog.index_folder(name),
    "versions": lambda catalog, name: catalog.versions(name),
    "version_folder": lambda catalog, name: catalog.version_folder(name, "0123456789ab"),
    "add_release": lambda catalog, name: catalog.add_release(name, release()),
    "release": lambda catalog, name: catalog.release(name, "0123456789ab"),
    "active_id": lambda catalog, name: catalog.active_id(name),
    "activate": lambda catalog, name: catalog.activate(name, release()),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_name_is_refused_everywhere_and_nothing_is_touched(catalog: Catalog, name: str, use: str) -> None:
    with pytest.raises(InvalidName) as caught:
        USES[use](catalog, name)
    assert caught.value.param == "name"
    assert tree(catalog.root.parent) == []


@given(name=st.one_of(st.text(max_size=80), st.text("./\\\x00~:ab", max_size=12), st.sampled_from(NASTY)))
def test_whatever_name_is_accepted_names_a_folder_directly_below_the_root(name: str) -> None:
    root = Path("/srv/indexes")
    try:
        folder = Catalog(root).index_folder(name)
    except InvalidName:
        return
    assert os.path.normpath(folder) == f"/srv/indexes/{name}"
    assert folder.parent == root
    assert name != "encoders"


@pytest.mark.parametrize(
    "identifier", ["", "..", "../../ACTIVE", "0123456789a", "0123456789abc", "0123456789AB", "0123456789ab\n", "x" * 300]
)
def test_what_is_not_an_id_is_not_found(catalog: Catalog, identifier: str) -> None:
    with pytest.raises(NotFound):
        catalog.release("demo", identifier)
    with pytest.raises(NotFound):
        catalog.version_folder("demo", identifier)
    with pytest.raises(NotFound):
        catalog.encoder_folder(identifier)


def test_building_an_index_with_a_nasty_name_is_refused(catalog: Catalog) -> None:
    for name in NASTY:
        if name != "encoders":  # the lock of the encoders' own folder
            with pytest.raises(InvalidName), catalog.building(name):
                pytest.fail("it is being built")
    assert tree(catalog.root.parent) == []


def test_an_index_is_built_by_one_at_a_time(catalog: Catalog) -> None:
    with catalog.building("demo"):
        with pytest.raises(Conflict, match="building 'demo'"), catalog.building("demo"):
            pytest.fail("both build")
        with catalog.building("other"), catalog.building("encoders"):
            pass


def test_an_empty_catalog_has_nothing(catalog: Catalog) -> None:
    assert catalog.names() == []
    assert catalog.versions("demo") == []
    assert catalog.encoders() == []


def test_names_are_sorted_and_only_those_of_indexes(catalog: Catalog) -> None:
    one = "versions/0123456789ab"
    for folder in (f"b/{one}", f"a/{one}", "encoders/0123456789ab", f"Not A Name/{one}", "c", "empty/versions", "d/versions/.building-1"):
        (catalog.root / folder).mkdir(parents=True)
    assert catalog.names() == ["a", "b"]


def a_version(catalog: Catalog, version: str, *, built_at: str | None, modified_s: int) -> Path:
    """As much of one as its place in the order depends on. Without `built_at` it cannot say when it was built."""
    folder = catalog.version_folder("demo", version)
    folder.mkdir(parents=True)
    if built_at is not None:
        facts: dict[str, Json] = {"built_at": built_at, "duration_s": 1.5, "source": "docs"}
        (folder / "build.json").write_bytes(canonical_json({"build": facts, "digest": digest_json(facts)}))
    os.utime(folder, (modified_s, modified_s))
    return folder


EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"
EARLY_S = 1_767_225_600


def test_versions_are_listed_oldest_first_whatever_times_their_folders_were_copied_with(catalog: Catalog) -> None:
    a_version(catalog, "aaaaaaaaaaaa", built_at=LATE, modified_s=1)
    a_version(catalog, "bbbbbbbbbbbb", built_at=EARLY, modified_s=2)
    (catalog.versions_folder("demo") / ".building-1234").mkdir()
    assert catalog.versions("demo") == ["bbbbbbbbbbbb", "aaaaaaaaaaaa"]
    copied = Catalog(shutil.copytree(catalog.root, catalog.root.parent / "copied", copy_function=shutil.copyfile))
    for version in copied.versions("demo"):
        (copied.version_folder("demo", version)).touch()
    assert copied.versions("demo") == ["bbbbbbbbbbbb", "aaaaaaaaaaaa"]


def test_of_versions_built_in_one_second_the_times_of_the_folders_decide_and_then_the_ids(catalog: Catalog) -> None:
    for version, modified_s in (("dddddddddddd", 7), ("cccccccccccc", 8), ("bbbbbbbbbbbb", 9), ("aaaaaaaaaaaa", 9)):
        a_version(catalog, version, built_at=EARLY, modified_s=modified_s)
    assert catalog.versions("demo") == ["dddddddddddd", "cccccccccccc", "aaaaaaaaaaaa", "bbbbbbbbbbbb"]


@pytest.mark.parametrize("damage", ["gone", "flipped", "a folder"])
def test_a_version_that_cannot_say_when_it_was_built_goes_by_the_time_of_its_folder(catalog: Catalog, damage: str) -> None:
    a_version(catalog, "aaaaaaaaaaaa", built_at=EARLY, modified_s=1)
    a_version(catalog, "bbbbbbbbbbbb", built_at=LATE, modified_s=1)
    folder = a_version(catalog, "cccccccccccc", built_at=None if damage == "gone" else "2027-01-01T00:00:00Z", modified_s=1)
    path = folder / "build.json"
    if damage == "flipped":
        path.write_bytes(path.read_bytes().replace(b"2027", b"2028"))
    elif damage == "a folder":
        path.unlink()
        path.mkdir()
    for modified_s, place in ((EARLY_S - 5, 0), (EARLY_S + 0.5, 1), (EARLY_S + 5, 2)):
        os.utime(folder, (modified_s, modified_s))
        assert catalog.versions("demo")[place] == "cccccccccccc"


def test_a_build_time_that_is_written_anew_is_seen(catalog: Catalog) -> None:
    """What was read is kept, but not for longer than it holds."""
    a_version(catalog, "aaaaaaaaaaaa", built_at=EARLY, modified_s=1)
    a_version(catalog, "bbbbbbbbbbbb", built_at=LATE, modified_s=1)
    assert catalog.versions("demo")[-1] == "bbbbbbbbbbbb"
    shutil.rmtree(catalog.version_folder("demo", "aaaaaaaaaaaa"))
    a_version(catalog, "aaaaaaaaaaaa", built_at="2026-01-01T00:00:02Z", modified_s=1)
    assert catalog.versions("demo")[-1] == "aaaaaaaaaaaa"


def test_a_version_that_a_build_came_to_again_is_the_newest_in_a_copy_too(catalog: Catalog) -> None:
    for version, built_at in (("aaaaaaaaaaaa", EARLY), ("bbbbbbbbbbbb", EARLY), ("cccccccccccc", LATE)):
        a_version(catalog, version, built_at=built_at, modified_s=1)
    before = tree(catalog.versions_folder("demo"))
    catalog.note_rebuilt("demo", "bbbbbbbbbbbb")
    assert catalog.versions("demo") == ["aaaaaaaaaaaa", "cccccccccccc", "bbbbbbbbbbbb"]
    catalog.note_rebuilt("demo", "aaaaaaaaaaaa")
    assert tree(catalog.versions_folder("demo")) == before, "a version stays as it was built"
    assert catalog.versions("demo") == ["cccccccccccc", "bbbbbbbbbbbb", "aaaaaaaaaaaa"]
    os.utime(catalog.version_folder("demo", "cccccccccccc"))
    assert catalog.versions("demo")[0] == "cccccccccccc"


def test_of_versions_that_are_gone_it_is_forgotten_that_builds_came_to_them(catalog: Catalog) -> None:
    for version in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"):
        a_version(catalog, version, built_at=EARLY, modified_s=1)
        catalog.note_rebuilt("demo", version)
    shutil.rmtree(catalog.version_folder("demo", "aaaaaaaaaaaa"))
    catalog.note_rebuilt("demo", "bbbbbbbbbbbb")
    assert set(json.loads((catalog.index_folder("demo") / "rebuilt.json").read_bytes())) == {"bbbbbbbbbbbb"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"bbbbbbbbbbbb": 5}', b"\xff", b"null"])
def test_where_it_cannot_be_read_which_were_built_again_the_first_build_counts(catalog: Catalog, content: bytes) -> None:
    a_version(catalog, "aaaaaaaaaaaa", built_at=LATE, modified_s=1)
    a_version(catalog, "bbbbbbbbbbbb", built_at=EARLY, modified_s=1)
    path = catalog.index_folder("demo") / "rebuilt.json"
    path.write_bytes(content)
    assert catalog.versions("demo") == ["bbbbbbbbbbbb", "aaaaaaaaaaaa"]
    catalog.note_rebuilt("demo", "bbbbbbbbbbbb")
    assert catalog.versions("demo") == ["aaaaaaaaaaaa", "bbbbbbbbbbbb"]


def test_a_release_that_was_activated_is_the_active_one(catalog: Catalog) -> None:
    catalog.activate("demo", release(5))
    catalog.activate("demo", release(6))
    assert catalog.active_id("demo") == release(6).id
    assert catalog.release("demo", release(6).id) == release(6)
    assert catalog.release("demo", release(5).id) == release(5), "the one before stays, to roll back to"


def test_a_releases_id_does_not_depend_on_the_index_it_is_stored_under(catalog: Catalog) -> None:
    catalog.activate("demo", release())
    catalog.activate("other", release())
    assert catalog.active_id("demo") == catalog.active_id("other")


def test_adding_a_release_again_repairs_a_damaged_copy(catalog: Catalog) -> None:
    catalog.add_release("demo", release())
    path = catalog.index_folder("demo") / "releases" / f"{release().id}.json"
    path.write_bytes(b"{}")
    catalog.add_release("demo", release())
    assert catalog.release("demo", release().id) == release()


def test_a_release_that_is_not_there_is_not_found(catalog: Catalog) -> None:
    with pytest.raises(NotFound, match="no release 0123456789ab"):
        catalog.release("demo", "0123456789ab")


def test_an_index_that_is_not_there_is_not_found_and_the_hint_lists_those_that_are(catalog: Catalog) -> None:
    catalog.version_folder("handbook", "0123456789ab").mkdir(parents=True)
    with pytest.raises(NotFound) as caught:
        catalog.active_id("demo")
    assert "handbook" in caught.value.hint


def test_an_index_with_versions_but_no_active_release_says_so(catalog: Catalog) -> None:
    catalog.version_folder("demo", "0123456789ab").mkdir(parents=True)
    with pytest.raises(NotFound, match="has no active release"):
        catalog.active_id("demo")


def test_a_flipped_bit_in_any_byte_of_a_release_is_found(catalog: Catalog) -> None:
    catalog.add_release("demo", release())
    path = catalog.index_folder("demo") / "releases" / f"{release().id}.json"
    for damaged in itertools.islice(flipped(path.read_bytes()), 0, None, 7):  # every byte, and every bit in turn
        overwrite(path, damaged)
        with pytest.raises(Damaged):
            catalog.release("demo", release().id)


def test_a_release_of_another_form_is_told_from_one_that_is_damaged(catalog: Catalog) -> None:
    catalog.add_release("docs", release())
    content = json.loads(release().canonical()) | {"schema": "rag.release/v1"}
    data = canonical_json(content)
    identifier = digest_bytes(data).removeprefix("sha256:")[:12]
    path = catalog.index_folder("docs") / "releases" / f"{identifier}.json"
    path.write_bytes(data)
    with pytest.raises(Damaged, match="has a form that this version of the service does not read"):
        catalog.release("docs", identifier)
    path.write_bytes(data.replace(b"extractive", b"extractivE"))
    with pytest.raises(Damaged, match="is damaged"):
        catalog.release("docs", identifier)


def test_a_sound_release_under_another_name_is_damaged(catalog: Catalog) -> None:
    catalog.add_release("demo", release())
    folder = catalog.index_folder("demo") / "releases"
    (folder / f"{release().id}.json").rename(folder / "0123456789ab.json")
    with pytest.raises(Damaged):
        catalog.release("demo", "0123456789ab")


@pytest.mark.parametrize("number", ["1e999", "99999999999999999999"])
def test_a_release_with_a_number_beyond_canonical_json_is_damaged(catalog: Catalog, number: str) -> None:
    catalog.add_release("demo", release())
    path = catalog.index_folder("demo") / "releases" / f"{release().id}.json"
    path.write_text(path.read_text().replace('"keep":0.8', f'"keep":{number}'))
    with pytest.raises(Damaged):
        catalog.release("demo", release().id)


def test_no_flipped_bit_of_the_pointer_ever_gives_a_release(catalog: Catalog) -> None:
    catalog.activate("demo", release())
    for damaged in flipped(catalog.active_path("demo").read_bytes()):
        overwrite(catalog.active_path("demo"), damaged)
        with pytest.raises((Damaged, NotFound)):
            catalog.release("demo", catalog.active_id("demo"))


@pytest.mark.parametrize("content", [b"", b"\n", b"0123456789ab\n\n", b"0123456789ab extra", b"../../other\n", b"\xff\xfe", b"0" * 10_000])
def test_a_pointer_that_names_no_release_is_damaged(catalog: Catalog, content: bytes) -> None:
    catalog.activate("demo", release())
    catalog.active_path("demo").write_bytes(content)
    with pytest.raises(Damaged, match="ACTIVE"):
        catalog.active_id("demo")


def test_a_folder_in_the_place_of_the_pointer_is_damaged(catalog: Catalog) -> None:
    catalog.active_path("demo").mkdir(parents=True)
    with pytest.raises(Damaged, match="ACTIVE"):
        catalog.active_id("demo")


@contextmanager
def failing_fsync(*, of_folders: bool) -> Iterator[None]:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == of_folders:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(os, "fsync", fsync)
        yield


def test_an_activation_whose_last_fsync_fails_says_that_the_new_release_is_served(catalog: Catalog) -> None:
    catalog.add_release("demo", release(5))
    with failing_fsync(of_folders=True), pytest.raises(StorageFailed) as caught:
        catalog.activate("demo", release(5))
    assert catalog.active_id("demo") == release(5).id
    assert f"release {release(5).id} is what 'demo' serves now, but it may not last" in caught.value.message
    assert os.strerror(errno.EIO) in caught.value.message
    assert "untouched" not in caught.value.hint
    with failing_fsync(of_folders=True), pytest.raises(StorageFailed, match="ACTIVE"):
        catalog.activate("demo", release(5))  # not confirmed before the disk has
    assert catalog.activate("demo", release(5)) is None
    assert [one.release for one in catalog.history("demo").transitions] == [release(5).id]


def test_an_activation_that_fails_before_does_not_say_that_the_new_release_is_served(catalog: Catalog) -> None:
    catalog.activate("demo", release(5))
    catalog.add_release("demo", release(6))
    with failing_fsync(of_folders=False), pytest.raises(StorageFailed) as caught:
        catalog.activate("demo", release(6))
    assert "serves now" not in caught.value.message
    assert catalog.active_id("demo") == release(5).id
