"""A real cross-encoder, tiny and with random weights: what it says means nothing, how it is used does."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.errors import InvalidSettings, Mismatch, NotFound, RagError
from rag_service.question import Question
from rag_service.release import RerankerRef
from rag_service.rerankers.cross_encoder import CrossEncoderReranker, reranker_digest
from rag_service.settings import load_settings
from rag_service.wiring.releases import make_release, open_release
from rag_service.wiring.rerankers import chosen_reranker, open_reranker
from tests.conftest import Cli
from tests.doubles import HOLIDAYS

WORDS = ("how many days of paid holiday does an employee have", "every has 28 a year unused expire", "on book second class first train")
PASSAGES = ("Every employee has 28 days of paid holiday a year.", "Book second class.", "Unused days expire. " * 20, "")


def saved(folder: Path, *, labels: int = 1) -> Path:
    """A model as `CrossEncoder.save_pretrained` writes it: 2 layers, 32 dimensions, the same weights each time."""
    folder.mkdir()
    words, letters = " ".join(WORDS).split(), "abcdefghijklmnopqrstuvwxyz"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *dict.fromkeys([*words, *letters, *".?", *(f"##{letter}" for letter in letters)])]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    torch.manual_seed(4)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=128, num_labels=labels, initializer_range=0.5,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=128).save_pretrained(folder)
    CrossEncoder(str(folder), device="cpu").save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return shutil.copytree(folder, tmp_path / "tiny")


@pytest.fixture(scope="module")
def reranker(folder: Path) -> CrossEncoderReranker:
    return CrossEncoderReranker.open(folder)


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


# What the port promises


def test_scores_are_numbers_from_nothing_to_one_in_the_order_of_the_passages(reranker: CrossEncoderReranker) -> None:
    scores = reranker.scores(HOLIDAYS, PASSAGES)
    assert scores.dtype == np.float32
    assert scores.shape == (4,)
    assert 0.0 <= float(scores.min()) < float(scores.max()) <= 1.0
    assert reranker.scores(HOLIDAYS, PASSAGES[::-1]).tolist() == scores.tolist()[::-1]


def test_a_score_is_the_logistic_function_of_what_the_model_gives(reranker: CrossEncoderReranker, folder: Path) -> None:
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    pair = BertTokenizerFast.from_pretrained(folder)(HOLIDAYS, PASSAGES[0], return_tensors="pt")
    with torch.no_grad():
        logit = float(model(**pair).logits)
    assert reranker.scores(HOLIDAYS, PASSAGES[:1]).tolist() == pytest.approx([1 / (1 + np.exp(-logit))], rel=1e-5)


def test_a_score_does_not_depend_on_what_else_is_judged(reranker: CrossEncoderReranker) -> None:
    together = reranker.scores(HOLIDAYS, PASSAGES).tolist()
    assert together == [float(reranker.scores(HOLIDAYS, [passage])[0]) for passage in PASSAGES]


def test_a_score_depends_on_the_question(reranker: CrossEncoderReranker) -> None:
    assert reranker.scores(HOLIDAYS, PASSAGES).tolist() != reranker.scores("first train", PASSAGES).tolist()


def test_no_passages_have_no_scores(reranker: CrossEncoderReranker) -> None:
    assert reranker.scores(HOLIDAYS, []).shape == (0,)


def test_a_passage_beyond_the_window_is_judged_by_its_beginning(reranker: CrossEncoderReranker) -> None:
    long = "days " * 1000
    assert reranker.scores(HOLIDAYS, [long]).tolist() == reranker.scores(HOLIDAYS, [long + "second class"]).tolist()


# Identity


def test_the_digest_is_the_same_for_the_same_files_wherever_they_are(reranker: CrossEncoderReranker, folder: Path, own: Path) -> None:
    assert reranker.name == "tiny"
    assert reranker.digest == reranker_digest(folder) == reranker_digest(own)
    assert reranker.digest.startswith("sha256:")


def test_a_byte_of_any_file_changes_the_digest(folder: Path, own: Path) -> None:
    names = sorted(path.relative_to(own) for path in own.rglob("*") if path.is_file())
    assert "model.safetensors" in map(str, names)
    found = {reranker_digest(folder)}
    for name in names:
        change_a_byte(own / name)
        found.add(reranker_digest(own))
    (own / "more.txt").write_text("one file more")
    found.add(reranker_digest(own))
    assert len(found) == len(names) + 2


# What cannot be opened


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no folder nowhere with a reranker") as caught:
        CrossEncoderReranker.open(tmp_path / "nowhere")
    assert "save_pretrained" in caught.value.hint


def test_a_model_that_sorts_into_classes_is_no_reranker(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match="classes gives 2 numbers for a pair") as caught:
        CrossEncoderReranker.open(saved(tmp_path / "classes", labels=2))
    assert caught.value.hint == "use a model made for reranking"


@pytest.mark.parametrize("content", [{}, {"readme.txt": "nothing"}, {"config.json": "{"}, {"config.json": "{}"}])
def test_a_folder_without_a_model_is_an_error_by_name(tmp_path: Path, content: dict[str, str]) -> None:
    (tmp_path / "empty").mkdir()
    for name, text in content.items():
        (tmp_path / "empty" / name).write_text(text)
    with pytest.raises(RagError, match="empty"):
        CrossEncoderReranker.open(tmp_path / "empty")


def test_weights_that_were_cut_off_are_an_error_by_name(own: Path) -> None:
    weights = (own / "model.safetensors").read_bytes()
    (own / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(RagError, match="tiny"):
        CrossEncoderReranker.open(own)


@pytest.mark.parametrize("spec", ["cross_encoder:", "cross_encoder", "colbert:models/x", "tiny"])
def test_a_setting_that_names_no_reranker_says_what_can_be_used(spec: str) -> None:
    with pytest.raises(InvalidSettings, match="there is no reranker") as caught:
        chosen_reranker(load_settings({}, reranker=spec))
    assert caught.value.param == "reranker"
    assert "cross_encoder:<folder" in caught.value.hint


def test_no_reranker_is_chosen_unless_one_is_named() -> None:
    assert chosen_reranker(load_settings({})) is None


# In a release


def with_reranker(root: Path, folder: Path | None, **chosen: object) -> Pipeline:
    spec = {} if folder is None else {"reranker": f"cross_encoder:{folder}"}
    settings, catalog = load_settings({}, indexes=root, name="handbook", **spec, **chosen), Catalog(root)
    [version] = catalog.versions("handbook")
    return open_release(settings, catalog, "handbook", make_release(settings, catalog, "handbook", version)).pipeline


def found(pipeline: Pipeline, question: str, top_k: int = 20) -> Sequence[tuple[str, float]]:
    return [(hit.chunk.id, hit.score) for hit in pipeline.search(Question(question, top_k=top_k)).hits]


def test_hits_come_in_the_order_of_its_scores(served_indexes: Path, folder: Path, reranker: CrossEncoderReranker) -> None:
    pipeline, plain = with_reranker(served_indexes, folder), with_reranker(served_indexes, None)
    hits = pipeline.search(Question(HOLIDAYS, top_k=20)).hits
    scores = reranker.scores(HOLIDAYS, [hit.chunk.embedded_text for hit in hits]).tolist()
    assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-5)
    assert scores == sorted(scores, reverse=True)
    before = plain.search(Question(HOLIDAYS, top_k=20)).hits
    assert {hit.chunk.id for hit in hits} == {hit.chunk.id for hit in before}
    assert [hit.chunk.id for hit in hits] != [hit.chunk.id for hit in before]
    own = {hit.chunk.id: (hit.cosine, hit.keywords, hit.sentences) for hit in before}
    assert {hit.chunk.id: (hit.cosine, hit.keywords, hit.sentences) for hit in hits} == own


def test_it_judges_as_many_as_the_release_says_however_few_are_asked_for(served_indexes: Path, folder: Path) -> None:
    every, few = with_reranker(served_indexes, folder), with_reranker(served_indexes, folder, rerank_depth=3)
    assert found(every, HOLIDAYS, top_k=1) == found(every, HOLIDAYS)[:1]
    best = [identifier for identifier, _ in found(with_reranker(served_indexes, None), HOLIDAYS, top_k=3)]
    assert sorted(identifier for identifier, _ in found(few, HOLIDAYS, top_k=3)) == sorted(best)


def test_a_release_names_it_by_content_and_an_absolute_folder(
    served_indexes: Path, folder: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    reference = chosen_reranker(load_settings({}, reranker="cross_encoder:tiny", rerank_depth=7))
    assert reference == RerankerRef(spec=f"cross_encoder:{folder}", name="tiny", digest=reranker_digest(folder), depth=7)
    releases = {with_reranker(served_indexes, each).lineage.release.id for each in (None, folder)}
    releases.add(with_reranker(served_indexes, folder, rerank_depth=3).lineage.release.id)
    change_a_byte(own / "README.md")
    releases.add(with_reranker(served_indexes, own).lineage.release.id)
    assert len(releases) == 4


def test_a_model_that_has_changed_since_is_refused(own_indexes: Path, own: Path) -> None:
    settings, catalog = load_settings({}, indexes=own_indexes, name="handbook", reranker=f"cross_encoder:{own}"), Catalog(own_indexes)
    [version] = catalog.versions("handbook")
    release = make_release(settings, catalog, "handbook", version)
    assert release.reranker is not None
    assert open_reranker(release.reranker).digest == release.reranker.digest
    change_a_byte(own / "README.md")
    for opening in (lambda: open_reranker(release.reranker), lambda: open_release(settings, catalog, "handbook", release)):
        with pytest.raises(Mismatch, match="the reranker tiny is not the one that the release names") as caught:
            opening()
        assert caught.value.hint == "activate the index again"


def test_it_is_chosen_by_a_setting_at_activation_and_named_in_every_trace(cli: Cli, own_indexes: Path, folder: Path) -> None:
    at = ("--indexes", own_indexes)
    assert cli("index", "activate", "--name", "handbook", *at, RAG_RERANKER=f"cross_encoder:{folder}").code == 0
    asked = cli("ask", HOLIDAYS, "--name", "handbook", "--json", *at)
    assert asked.code == 0, asked.err
    reply = json.loads(asked.out)
    assert reply["trace"]["reranker"] == {"name": "tiny", "digest": reranker_digest(folder), "depth": 20}
    scores = [hit["score"] for hit in reply["hits"]]
    expected = CrossEncoderReranker.open(folder)
    catalog = Catalog(own_indexes)
    release = catalog.release("handbook", catalog.active_id("handbook"))
    assert release.reranker == RerankerRef(spec=f"cross_encoder:{folder}", name="tiny", digest=expected.digest, depth=20)
    assert scores == sorted(scores, reverse=True)
    assert cli("index", "activate", "--name", "handbook", *at).code == 0
    plain = json.loads(cli("ask", HOLIDAYS, "--name", "handbook", "--json", *at).out)
    assert plain["trace"]["reranker"] is None
    assert [hit["score"] for hit in plain["hits"]] != scores


def test_a_retriever_with_one_is_as_sure_as_its_own_signs_say(served_indexes: Path, folder: Path) -> None:
    """Confidence comes of cosines and words, not of the scores of a model that was fitted on something else."""
    pipeline = with_reranker(served_indexes, folder)
    judged = pipeline.search(Question(HOLIDAYS))
    again = replace(pipeline.retriever, reranker=None)
    assert 0.0 < judged.confidence <= again.find(HOLIDAYS, pipeline.embedder.embed_query(HOLIDAYS), 5).confidence
