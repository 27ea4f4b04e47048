"""Which encoder runs: the one that was asked for, and afterwards the very one that an index was built with."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rag_service.build import Built
from rag_service.catalog import Catalog
from rag_service.embedders.encoder import read_card
from rag_service.embedders.export import LEAST_COSINE
from rag_service.errors import InvalidSettings, Mismatch, MissingDependency, NotFound
from rag_service.question import Question
from rag_service.settings import load_settings
from rag_service.wiring.encoders import embedder_of, embedder_to_build_with, export_encoder, find_encoder
from rag_service.wiring.releases import make_release, open_release

HOLIDAYS = "How many days of paid holiday does an employee have?"

Build = Callable[..., Built]


def test_an_exported_encoder_is_found_by_its_name_and_by_its_id(indexes: Path, encoder_folder: Path) -> None:
    for asked in ("all-MiniLM-L6-v2", read_card(encoder_folder).id):
        found = find_encoder(load_settings({}, indexes=indexes, encoder=asked), Catalog(indexes))
        assert found is not None
        assert found.name == encoder_folder.name


def test_another_precision_is_another_encoder(tmp_path: Path, encoder_folder: Path) -> None:
    encoders = tmp_path / "encoders"
    encoders.mkdir()
    (encoders / encoder_folder.name).symlink_to(encoder_folder)  # this one alone: fp32 may lie beside it
    assert find_encoder(load_settings({}, indexes=tmp_path, precision="fp32"), Catalog(tmp_path)) is None


@pytest.mark.parametrize("encoder", ["no-such-encoder", "0123456789ab", "/nowhere/all-MiniLM-L6-v2"])
def test_an_encoder_that_nobody_knows_is_not_found_and_the_hint_names_one_that_is(indexes: Path, encoder: str) -> None:
    with pytest.raises(NotFound) as caught:
        embedder_to_build_with(load_settings({}, indexes=indexes, encoder=encoder), Catalog(indexes))
    assert encoder in caught.value.message
    assert "all-MiniLM-L6-v2" in caught.value.hint


def test_an_export_that_does_not_give_the_vectors_of_the_original_is_never_there_to_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LEAST_COSINE, "int8", 1.01)
    with pytest.raises(Mismatch, match="does not give its vectors"):
        export_encoder(load_settings({}, indexes=tmp_path), Catalog(tmp_path))
    assert [path.name for path in (tmp_path / "encoders").iterdir()] == [".lock"]


def test_an_index_built_with_torch_is_answered_with_torch_whatever_is_set_then(indexes: Path, handbook: Path, build: Build) -> None:
    manifest = build(indexes, handbook, embedder="sentence_transformers").manifest
    assert manifest.encoder.embedder == "sentence_transformers"
    later, catalog = load_settings({}, indexes=indexes), Catalog(indexes)
    assert later.embedder == "onnx"
    release = make_release(later, catalog, "handbook", manifest.version)
    record = open_release(later, catalog, "handbook", release).pipeline.ask(Question(HOLIDAYS))
    assert "28 days" in (record.answer or "")
    assert record.lineage.embedder.digest == manifest.encoder.digest
    assert "torch" in record.lineage.embedder.runtime


def test_an_encoder_that_is_not_the_one_of_the_index_is_refused(indexes: Path, handbook: Path, build: Build) -> None:
    manifest = build(indexes, handbook).manifest
    other = manifest.model_copy(update={"encoder": manifest.encoder.model_copy(update={"embedder": "sentence_transformers"})})
    with pytest.raises(Mismatch, match="was built with all-MiniLM-L6-v2"):
        embedder_of(other, Catalog(indexes), load_settings({}, indexes=indexes))


def test_a_provider_without_its_package_or_its_key_is_said(indexes: Path) -> None:
    chosen = load_settings({}, indexes=indexes, embedder="langchain", encoder="openai:text-embedding-3-small")
    with pytest.raises((MissingDependency, InvalidSettings)) as caught:
        embedder_to_build_with(chosen, Catalog(indexes))
    assert "openai" in caught.value.message
