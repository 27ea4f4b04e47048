"""A build whose texts are embedded elsewhere: the seam, without a cluster. On a real one: `tests/ray/ray_build.py`."""

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rag_service.build import Recipe, build_index
from rag_service.catalog import Catalog
from rag_service.embedders.onnx import OnnxEmbedder
from rag_service.errors import RemoteFailed
from rag_service.manifest import BUILD_FILE
from rag_service.types import Matrix
from rag_service.wiring import building

Cli = Callable[..., Any]


class Shuffled:
    """Embeds the last texts first, in batches of odd size, as a cluster may; and fails once it has given so many batches."""

    def __init__(self, embedder: OnnxEmbedder, *, fails_after: int | None = None) -> None:
        self._embedder = embedder
        self._left = fails_after
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> Iterator[tuple[list[str], Matrix]]:
        rest = list(texts)
        while rest:
            if self._left == 0:
                raise RemoteFailed("the cluster has gone away")
            self._left = None if self._left is None else self._left - 1
            batch, rest = rest[-7:], rest[:-7]
            self.texts += batch
            yield batch, self._embedder.embed_passages(batch)


@pytest.fixture
def build_elsewhere(indexes: Path, handbook: Path, build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Builds the handbook as `build` does, embedded by the `BulkEmbedder` that it is given."""

    def run(elsewhere: Shuffled) -> Any:
        def with_it(catalog: Catalog, name: str, documents: Any, recipe: Recipe, **rest: Any) -> Any:
            known = {field: getattr(recipe, field) for field in Recipe.__slots__}
            return build_index(catalog, name, documents, Recipe(**{**known, "elsewhere": elsewhere}), **rest)

        monkeypatch.setattr(building, "build_index", with_it)
        try:
            return build(indexes, handbook)
        finally:
            monkeypatch.undo()

    return run


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != BUILD_FILE}


def test_the_version_is_that_of_a_build_here(
    build_elsewhere: Callable[..., Any], build: Callable[..., Any], embedder: OnnxEmbedder, indexes: Path, handbook: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "encoders").symlink_to((indexes / "encoders").resolve())
    local = build(here, handbook)
    elsewhere = Shuffled(embedder)
    built = build_elsewhere(elsewhere)
    folders = [Catalog(root).version_folder("handbook", built.manifest.version) for root in (here, indexes)]
    assert files_of(folders[0]) == files_of(folders[1])
    assert len(elsewhere.texts) == len(set(elsewhere.texts)) > built.manifest.counts.chunks  # chunks and sentences, each once
    assert (built.embedded, built.reused) == (local.embedded, local.reused)


def test_a_cluster_that_goes_away_costs_the_build_and_not_what_it_gave(
    build_elsewhere: Callable[..., Any], embedder: OnnxEmbedder, indexes: Path
) -> None:
    failing = Shuffled(embedder, fails_after=1)
    with pytest.raises(RemoteFailed):
        build_elsewhere(failing)
    assert Catalog(indexes).versions("handbook") == []
    again = Shuffled(embedder)
    build_elsewhere(again)
    assert set(failing.texts).isdisjoint(again.texts)


def test_what_has_been_embedded_before_is_not_sent_anywhere(
    build_elsewhere: Callable[..., Any], build: Callable[..., Any], embedder: OnnxEmbedder, indexes: Path, handbook: Path
) -> None:
    build(indexes, handbook)
    elsewhere = Shuffled(embedder)
    built = build_elsewhere(elsewhere)
    assert (elsewhere.texts, built.embedded, built.existed) == ([], 0, True)


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_a_cluster_without_the_package_says_what_to_install(cli: Cli, indexes: Path, handbook: Path) -> None:
    outcome = cli("index", "build", handbook, "--name", "handbook", "--ray", "local", "--indexes", indexes)
    assert outcome.code == 1
    assert "pip install 'rag-service[ray]'" in outcome.err
    assert Catalog(indexes).versions("handbook") == []


def test_a_cluster_needs_what_is_embedded_to_be_kept(cli: Cli, indexes: Path, handbook: Path) -> None:
    outcome = cli("index", "build", handbook, "--name", "handbook", "--ray", "local", "--indexes", indexes, RAG_KEEP_EMBEDDINGS="false")
    assert outcome.code == 2
    assert "RAG_KEEP_EMBEDDINGS" in outcome.err
