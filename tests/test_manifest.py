import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rag_service.digests import canonical_json, digest_bytes
from rag_service.errors import Damaged, Mismatch, NotFound
from rag_service.manifest import (
    BUILD_FILE,
    MANIFEST_FILE,
    BuildFacts,
    Counts,
    EncoderPart,
    KeywordPart,
    Manifest,
    Part,
    SkippedInput,
    Skips,
    StorePart,
    read_build_facts,
    read_manifest,
    write_manifest,
)
from rag_service.stored import FileEntry, list_files, verify_files
from tests.damage import overwrite


def digest(text: str) -> str:
    return digest_bytes(text.encode())


MANIFEST = Manifest(
    corpus_digest=digest("corpus"),
    chunk_set_digest=digest("chunks"),
    loader=Part(name="loading", digest=digest("loader")),
    chunker=Part(name="structure", digest=digest("chunker"), parameters={"max_tokens": 256, "context": "headings"}),
    encoder=EncoderPart(name="small", digest=digest("encoder"), embedder="onnx", dimension=384, window_tokens=256, unrelated_cosine=0.037),
    store=StorePart(kind="hnsw", parameters={"links": 32}),
    keywords=KeywordPart(name="bm25s", digest=digest("keywords"), languages=["en"], parameters={"k1": 1.2}),
    sentences=Part(name="units", digest=digest("units")),
    counts=Counts(documents=2, chunks=5, tokens=321, sentences=14),
    skipped=Skips(by_reason={"empty": 1}, listed=[SkippedInput(source="naïve/東京.md", reason="empty", detail="no text")]),
    built_with={"faiss-cpu": "1.12.0"},
    files={"vectors.faiss": FileEntry(sha256="0" * 64, size_bytes=7)},
)
FACTS = BuildFacts(built_at="2025-01-02T03:04:05Z", duration_s=1.25, source="docs/naïve")


@pytest.fixture
def version(tmp_path: Path) -> Path:
    folder = tmp_path / MANIFEST.version
    folder.mkdir()
    write_manifest(folder, MANIFEST, FACTS)
    return folder


def flipped(data: bytes) -> Iterator[bytes]:
    """Copies of `data` that differ in one bit: of each byte in turn, and each bit in turn."""
    for position, byte in enumerate(data):
        yield data[:position] + bytes([byte ^ 1 << position % 8]) + data[position + 1 :]


def test_what_was_written_is_read_again(version: Path) -> None:
    assert read_manifest(version) == MANIFEST
    assert read_build_facts(version) == FACTS


def test_the_digest_of_a_version_is_that_of_its_files_bytes_and_names_its_folder(version: Path) -> None:
    data = (version / MANIFEST_FILE).read_bytes()
    assert MANIFEST.digest == digest_bytes(data)
    assert version.name == MANIFEST.version == MANIFEST.digest[len("sha256:") :][:12]


@pytest.mark.parametrize("file", [MANIFEST_FILE, BUILD_FILE])
def test_a_flipped_bit_in_any_byte_is_found(version: Path, file: str) -> None:
    path = version / file
    for damaged in flipped(path.read_bytes()):
        overwrite(path, damaged)
        with pytest.raises(Damaged):
            read_build_facts(version) if file == BUILD_FILE else read_manifest(version)


@pytest.mark.parametrize("file", [MANIFEST_FILE, BUILD_FILE])
def test_a_file_cut_anywhere_is_found(version: Path, file: str) -> None:
    for length in reversed(range((version / file).stat().st_size)):
        os.truncate(version / file, length)
        with pytest.raises(Damaged):
            read_build_facts(version) if file == BUILD_FILE else read_manifest(version)


@pytest.mark.parametrize("number", ["1e999", "99999999999999999999", "-1", '"384"', "384.0", "null"])
def test_a_number_that_was_not_written_so_is_damage(version: Path, number: str) -> None:
    path = version / MANIFEST_FILE
    path.write_text(path.read_text().replace('"dimension":384', f'"dimension":{number}').replace('"links":32', f'"links":{number}'))
    with pytest.raises(Damaged):
        read_manifest(version)


def test_the_same_content_written_otherwise_is_damage(version: Path) -> None:
    path = version / MANIFEST_FILE
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(Damaged):
        read_manifest(version)


def test_a_sound_manifest_in_a_folder_of_another_name_is_damage(version: Path) -> None:
    other = version.with_name("0123456789ab")
    version.rename(other)
    with pytest.raises(Damaged, match="0123456789ab"):
        read_manifest(other)


@pytest.mark.parametrize("schema", ["rag.index/v1", "rag.index/v3"])
def test_a_sound_manifest_of_another_form_is_no_damage_and_says_which_form_is_read(tmp_path: Path, schema: str) -> None:
    data = canonical_json(MANIFEST.model_dump(mode="json", by_alias=True) | {"schema": schema})
    folder = tmp_path / digest_bytes(data).removeprefix("sha256:")[:12]
    folder.mkdir()
    (folder / MANIFEST_FILE).write_bytes(data)
    with pytest.raises(Mismatch, match=f"has the form {schema}; this service reads rag.index/v2") as caught:
        read_manifest(folder)
    assert "build the index again" in caught.value.hint


def test_an_unknown_key_is_refused(version: Path) -> None:
    values = MANIFEST.model_dump(mode="json", by_alias=True) | {"surprise": 1}
    with pytest.raises(ValidationError):
        Manifest.model_validate(values)
    (version / MANIFEST_FILE).write_bytes(canonical_json(values))
    with pytest.raises(Damaged):
        read_manifest(version)


def test_a_folder_that_is_not_there_is_not_found_and_one_without_manifest_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_manifest(tmp_path / "0123456789ab")
    (tmp_path / "0123456789ab").mkdir()
    with pytest.raises(Damaged, match=r"holds no manifest\.json"):
        read_manifest(tmp_path / "0123456789ab")


CHANGES: dict[str, Any] = {
    "corpus_digest": digest("other"),
    "chunk_set_digest": digest("other"),
    "loader": Part(name="loading", digest=digest("other")),
    "chunker": Part(name="structure", digest=digest("chunker"), parameters={"max_tokens": 255, "context": "headings"}),
    "encoder": MANIFEST.encoder.model_copy(update={"dimension": 385}),
    "store": StorePart(kind="flat"),
    "keywords": MANIFEST.keywords.model_copy(update={"languages": ["de", "en"]}),
    "sentences": Part(name="units", digest=digest("other")),
    "counts": Counts(documents=2, chunks=5, tokens=322, sentences=14),
    "skipped": Skips(),
    "built_with": {"faiss-cpu": "1.12.1"},
    "files": {"vectors.faiss": FileEntry(sha256="0" * 64, size_bytes=8)},
}


def test_the_digest_changes_with_every_field() -> None:
    assert set(CHANGES) == set(Manifest.model_fields) - {"schema_"}
    digests = {MANIFEST.model_copy(update={field: value}).digest for field, value in CHANGES.items()}
    assert len(digests | {MANIFEST.digest}) == len(CHANGES) + 1


def test_how_a_build_went_is_not_part_of_the_version(version: Path) -> None:
    write_manifest(version, MANIFEST, FACTS.model_copy(update={"duration_s": 99.0, "built_at": "2026-01-01T00:00:00Z"}))
    assert read_manifest(version).version == version.name


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "one").write_bytes(b"\x00" * 40)
    (tmp_path / "two").write_bytes(b"second")
    return tmp_path


def test_files_that_are_as_they_were_listed_are_accepted(files: Path) -> None:
    verify_files(files, list_files(files, ["one", "two"]), hint="restore it")


def test_a_flipped_bit_in_any_byte_of_a_listed_file_is_found(files: Path) -> None:
    listed = list_files(files, ["one", "two"])
    for damaged in flipped(b"second"):
        (files / "two").write_bytes(damaged)
        with pytest.raises(Damaged, match="two is damaged: its SHA-256"):
            verify_files(files, listed, hint="restore it")


def test_a_listed_file_that_is_shorter_or_gone_is_named(files: Path) -> None:
    listed = list_files(files, ["one", "two"])
    (files / "one").write_bytes(b"\x00" * 39)
    with pytest.raises(Damaged, match="one is damaged: it has 39 bytes instead of 40"):
        verify_files(files, listed, hint="restore it")
    (files / "one").unlink()
    with pytest.raises(Damaged, match="one is damaged: it is missing"):
        verify_files(files, listed, hint="restore it")


def test_a_folder_in_the_place_of_a_listed_file_is_damage(files: Path) -> None:
    listed = list_files(files, ["one"])
    (files / "one").unlink()
    (files / "one").mkdir()
    with pytest.raises(Damaged):
        verify_files(files, listed, hint="restore it")
