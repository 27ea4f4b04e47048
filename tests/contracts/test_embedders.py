"""What every implementation of the port `Embedder` promises."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings

from rag_service.embedders.encoder import DEFAULT_ENCODER
from rag_service.embedders.langchain import QUERIES_AT_ONCE, LangChainEmbedder
from rag_service.embedders.onnx import OnnxEmbedder
from rag_service.embedders.sentence_transformers import SentenceTransformersEmbedder
from rag_service.errors import EmbedderFailed, PassageTooLong
from rag_service.ports import Embedder

TEXTS = [
    "How do I declare a path parameter?",
    "a",
    "",
    "Der Vertrag kann mit einer Frist von drei Monaten gekündigt werden.",
    "東京都庁は新宿区にあります。🥖",
    "def read(item: int) -> int:\n    return item",
    "one " * 200,
]
TOO_LONG = "word " * 5000


class LetterEmbeddings(Embeddings):
    """Counts the letters of a text, plus one so that no vector is zero."""

    def embed_query(self, text: str) -> list[float]:
        return [1.0 + text.lower().count(letter) for letter in ascii_lowercase]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


@pytest.fixture(scope="session")
def reference() -> SentenceTransformersEmbedder:
    """Takes seconds to import, so it is opened once."""
    return SentenceTransformersEmbedder.open(DEFAULT_ENCODER)


@pytest.fixture(params=["onnx", "onnx in threads", "sentence_transformers", "langchain"], scope="module")
def implementation(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "langchain":
        return LangChainEmbedder.open(LetterEmbeddings(), name="letters", window_tokens=400)
    if request.param == "onnx in threads":
        return OnnxEmbedder.open(request.getfixturevalue("encoder_folder"), threads=3)
    found: Embedder = request.getfixturevalue("embedder" if request.param == "onnx" else "reference")
    return found


def test_vectors_are_float32_of_unit_length_and_the_dimension_told(implementation: Embedder) -> None:
    matrix = implementation.embed_passages(TEXTS)
    assert matrix.shape == (len(TEXTS), implementation.dimension)
    assert matrix.dtype == np.float32
    assert np.linalg.norm(matrix, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-6)
    query = implementation.embed_query(TEXTS[0])
    assert (query.shape, query.dtype) == ((implementation.dimension,), np.float32)
    assert np.linalg.norm(query) == pytest.approx(1, abs=1e-6)


def test_no_texts_give_no_rows(implementation: Embedder) -> None:
    for matrix in (implementation.embed_passages([]), implementation.embed_queries([])):
        assert (matrix.shape, matrix.dtype) == ((0, implementation.dimension), np.float32)


@pytest.mark.parametrize("count", [1, 2, 12])
def test_questions_embedded_together_have_bit_for_bit_the_vectors_that_each_has_alone(implementation: Embedder, count: int) -> None:
    texts = [*TEXTS, TOO_LONG, *TEXTS[:4]][-count:]
    matrix = implementation.embed_queries(texts)
    assert (matrix.shape, matrix.dtype) == ((count, implementation.dimension), np.float32)
    assert [row.tobytes() for row in matrix] == [implementation.embed_query(text).tobytes() for text in texts]


def test_a_vector_does_not_depend_on_what_is_embedded_with_it(implementation: Embedder) -> None:
    together = implementation.embed_passages(TEXTS)
    backwards = implementation.embed_passages(TEXTS[::-1])
    alone = np.concatenate([implementation.embed_passages([text]) for text in TEXTS])
    assert np.array_equal(together, alone)
    assert np.array_equal(together, backwards[::-1])


def test_a_vector_is_the_same_from_several_threads(implementation: Embedder) -> None:
    texts = [*TEXTS[:5], TOO_LONG] * 2
    alone = [implementation.embed_query(text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(implementation.embed_query, texts))
        counted = list(pool.map(implementation.tokenizer.count, texts))
    assert np.array_equal(alone, together)
    assert counted == [implementation.tokenizer.count(text) for text in texts]


def test_different_texts_have_different_vectors(implementation: Embedder) -> None:
    one, other = implementation.embed_passages(["A doctor's note", "Second class trains"])
    assert float(one @ other) < 0.99


def test_a_question_beyond_the_window_is_cut_and_a_passage_is_refused(implementation: Embedder) -> None:
    assert implementation.tokenizer.count(TOO_LONG) > implementation.tokenizer.window_tokens
    assert np.linalg.norm(implementation.embed_query(TOO_LONG)) == pytest.approx(1, abs=1e-6)
    with pytest.raises(PassageTooLong) as caught:
        implementation.embed_passages(["short", TOO_LONG])
    assert "RAG_CHUNK_TOKENS" in caught.value.hint


def test_a_passage_that_just_fills_the_window_is_embedded_and_one_token_more_is_not(implementation: Embedder) -> None:
    window, count = implementation.tokenizer.window_tokens, implementation.tokenizer.count
    fits = max(length for length in range(1, 2 * window) if count("a " * length) <= window)
    assert implementation.embed_passages(["a " * fits]).shape[0] == 1
    with pytest.raises(PassageTooLong):
        implementation.embed_passages(["a " * (fits + 1)])


def test_counting_includes_special_tokens_and_grows_with_the_text(implementation: Embedder) -> None:
    count = implementation.tokenizer.count
    assert count("") == 2
    assert count("") < count("word") < count("word and another word")
    assert count(TOO_LONG) > 1000, "never truncated"


def test_the_digest_is_stable_and_names_sha256(implementation: Embedder) -> None:
    assert implementation.digest == implementation.digest
    assert implementation.digest.startswith("sha256:")
    assert len(implementation.digest) == len("sha256:") + 64
    assert implementation.name
    assert implementation.runtime


def test_the_tokenizers_of_the_export_and_of_the_original_agree(embedder: OnnxEmbedder, reference: SentenceTransformersEmbedder) -> None:
    assert [embedder.tokenizer.count(text) for text in [*TEXTS, TOO_LONG]] == [
        reference.tokenizer.count(text) for text in [*TEXTS, TOO_LONG]
    ]
    assert embedder.tokenizer.window_tokens == reference.tokenizer.window_tokens
    assert embedder.tokenizer.count("Hello, world!") == 6  # [CLS] hello , world ! [SEP]


def test_the_export_gives_the_vectors_of_the_original(embedder: OnnxEmbedder, reference: SentenceTransformersEmbedder) -> None:
    texts = [text for text in TEXTS if text]
    cosines = np.einsum("nd,nd->n", embedder.embed_passages(texts), reference.embed_passages(texts))
    assert cosines.min() >= 0.95
    assert float(embedder.embed_query(TOO_LONG) @ reference.embed_query(TOO_LONG)) >= 0.95


def test_the_export_and_the_original_have_digests_of_their_own(embedder: OnnxEmbedder, reference: SentenceTransformersEmbedder) -> None:
    assert embedder.digest != reference.digest
    assert embedder.name == reference.name == DEFAULT_ENCODER
    assert embedder.revision == reference.revision is not None


def test_exporting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    from rag_service.embedders.export import export_encoder

    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    card = export_encoder(DEFAULT_ENCODER, tmp_path / "one", precision="int8")
    assert export_encoder(DEFAULT_ENCODER, tmp_path / "two", precision="int8") == card
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["encoder.json", "model.onnx", "tokenizer.json"]
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)


class MeetingEmbeddings(LetterEmbeddings):
    """A provider whose first `QUERIES_AT_ONCE` answers wait for one another: they come only if all are asked for at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._meeting = threading.Barrier(QUERIES_AT_ONCE)

    def embed_query(self, text: str) -> list[float]:
        if text.startswith("question"):
            self.asked.append(text)
            if len(self.asked) <= QUERIES_AT_ONCE:
                self._meeting.wait(timeout=10)
            if "fails" in text:
                raise TimeoutError("slow")
        return super().embed_query(text)


def test_a_provider_is_asked_several_questions_at_once() -> None:
    embeddings = MeetingEmbeddings()
    texts = [f"question {'z' * number}" for number in range(3 * QUERIES_AT_ONCE)]
    matrix = LangChainEmbedder.open(embeddings, name="meeting").embed_queries(texts)
    assert sorted(embeddings.asked) == sorted(texts)
    assert (np.diff(matrix[:, ascii_lowercase.index("z")]) > 0).all(), "in the order given"


def test_a_failed_question_fails_them_all_and_those_that_wait_are_not_sent() -> None:
    embeddings = MeetingEmbeddings()
    embedder = LangChainEmbedder.open(embeddings, name="meeting")
    with pytest.raises(EmbedderFailed, match=r"meeting could not embed \(TimeoutError\)") as caught:
        embedder.embed_queries(["question that fails"] * QUERIES_AT_ONCE + ["question"] * 20_000)
    assert caught.value.stage == "embed"
    assert len(embeddings.asked) < 20_000
