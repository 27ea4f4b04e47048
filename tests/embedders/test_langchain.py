import math
import sys
import traceback
from collections.abc import Sequence

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings

from rag_service.embedders.langchain import BATCH_TEXTS, EstimatingTokenizer, LangChainEmbedder
from rag_service.errors import EmbedderFailed, InvalidSettings, Mismatch, MissingDependency, PassageTooLong

KEY = "sk-proj-Zx81AbCdEfGh29IjKlMnOp37QrStUvWx"


class LetterEmbeddings(Embeddings):
    """Counts the letters a, b and c, plus one so that no vector is zero. Remembers what it was asked."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.queries: list[str] = []

    def embed_query(self, text: str) -> list[float]:
        self.queries.append(text)
        return [1.0 + text.count(letter) for letter in "abc"]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.batches.append(len(texts))
        return [[1.0 + text.count(letter) for letter in "abc"] for text in texts]


class FixedEmbeddings(Embeddings):
    """Sound for the probe and every query; for documents it gives `rows`, or raises them."""

    def __init__(self, rows: object, probe: object = (3.0, 4.0)) -> None:
        self._rows = rows
        self._probe = probe

    def embed_query(self, text: str) -> list[float]:  # noqa: ARG002 - the same for every text
        return self._given(self._probe)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:  # noqa: ARG002
        return self._given(self._rows)

    @staticmethod
    def _given(value: object) -> list:  # type: ignore[type-arg]  # whatever a broken provider returns
        if isinstance(value, Exception):
            raise value
        return value  # type: ignore[return-value]


class ProviderError(Exception):
    status_code = 401


class WordTokenizer:
    """One token a word."""

    window_tokens = 4

    def count(self, text: str) -> int:
        return len(text.split())


def test_vectors_have_unit_length_and_the_dimension_of_the_model() -> None:
    embedder = LangChainEmbedder.open(LetterEmbeddings(), name="letters")
    assert embedder.dimension == 3
    # aab: (1+2, 1+1, 1) = (3, 2, 1), of length √14.
    expected = np.array([3, 2, 1]) / math.sqrt(14)
    query = embedder.embed_query("aab")
    assert query.shape == (3,)
    assert query.dtype == np.float32
    np.testing.assert_allclose(query, expected, rtol=1e-6)
    np.testing.assert_allclose(embedder.embed_passages(["aab", ""]), [expected, np.ones(3) / math.sqrt(3)], rtol=1e-6)


def test_no_texts_give_no_rows_and_no_call() -> None:
    embeddings = LetterEmbeddings()
    matrix = LangChainEmbedder.open(embeddings, name="letters").embed_passages([])
    assert matrix.shape == (0, 3)
    assert matrix.dtype == np.float32
    assert embeddings.batches == []


def test_passages_are_sent_in_batches_and_come_back_in_order() -> None:
    embeddings = LetterEmbeddings()
    embedder = LangChainEmbedder.open(embeddings, name="letters")
    texts = ["a" * number for number in range(2 * BATCH_TEXTS + 1)]
    matrix = embedder.embed_passages(texts)
    assert embeddings.batches == [BATCH_TEXTS, BATCH_TEXTS, 1]
    np.testing.assert_array_equal(matrix, np.stack([embedder.embed_query(text) for text in texts]))


def test_a_passage_beyond_the_window_is_refused_before_anything_is_sent() -> None:
    embeddings = LetterEmbeddings()
    embedder = LangChainEmbedder.open(embeddings, name="letters", tokenizer=WordTokenizer())
    with pytest.raises(PassageTooLong, match="5 tokens; letters reads 4"):
        embedder.embed_passages(["one two three four", "one two three four five"])
    assert embeddings.batches == []


def test_a_query_beyond_the_window_is_cut_to_the_longest_beginning_that_fits() -> None:
    embeddings = LetterEmbeddings()
    embedder = LangChainEmbedder.open(embeddings, name="letters", tokenizer=WordTokenizer())
    embedder.embed_query("one two three four")
    embedder.embed_query("one two three four five six")
    assert [query.split() for query in embeddings.queries[1:]] == [["one", "two", "three", "four"]] * 2


def test_a_query_is_cut_by_the_estimate_where_no_tokenizer_is_given() -> None:
    embeddings = LetterEmbeddings()
    LangChainEmbedder.open(embeddings, name="letters", window_tokens=12).embed_query("a" * 100)
    assert embeddings.queries[-1] == "a" * 30  # ten tokens of three bytes, and two special ones


@pytest.mark.parametrize(("text", "tokens"), [("", 2), ("abc", 3), ("abcd", 4), ("東京", 4), ("🥖", 4), ("\ud800", 3)])
def test_the_estimate_is_a_third_of_the_bytes_rounded_up_and_two(text: str, tokens: int) -> None:
    assert EstimatingTokenizer(window_tokens=256).count(text) == tokens


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([[0.0, 0.0]], "zero length"),
        ([[1.0, math.nan]], "not finite"),
        ([[1.0, math.inf]], "not finite"),
        ([[1.0, 2.0, 3.0]], "shape"),
        ([[1.0, 2.0], [1.0, 2.0]], "shape"),
        ([], "shape"),
        ([[]], "shape"),
        ([None], "shape"),
        (None, "shape"),
        ([["one", "two"]], "something else"),
        ([[1.0, 2.0], [1.0]], "something else"),
    ],
)
def test_a_vector_that_is_none_is_refused_by_name(rows: object, complaint: str) -> None:
    embedder = LangChainEmbedder.open(FixedEmbeddings(rows), name="broken-model")
    with pytest.raises(Mismatch, match=f"broken-model gave.*{complaint}") as caught:
        embedder.embed_passages(["text"])
    assert caught.value.stage == "embed"


@pytest.mark.parametrize("probe", [[], [0.0, 0.0], [math.nan], None, [[1.0]]])
def test_a_model_that_gives_no_vector_for_the_probe_is_not_opened(probe: object) -> None:
    with pytest.raises(Mismatch, match="broken-model"):
        LangChainEmbedder.open(FixedEmbeddings([], probe=probe), name="broken-model")


def test_a_query_vector_of_another_dimension_than_at_the_start_is_refused() -> None:
    embeddings = FixedEmbeddings([])
    embedder = LangChainEmbedder.open(embeddings, name="drifting")
    embeddings._probe = (1.0, 2.0, 3.0)
    with pytest.raises(Mismatch, match="shape"):
        embedder.embed_query("text")


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e300])
def test_very_small_and_very_large_vectors_keep_their_direction(scale: float) -> None:
    embedder = LangChainEmbedder.open(FixedEmbeddings([[3 * scale, 4 * scale]]), name="scaled")
    np.testing.assert_allclose(embedder.embed_passages(["text"]), [[0.6, 0.8]], rtol=1e-6)


def test_a_failure_of_the_provider_is_told_by_class_and_status_and_without_its_message() -> None:
    embedder = LangChainEmbedder.open(FixedEmbeddings(ProviderError(f"bad key {KEY}")), name="remote")
    with pytest.raises(EmbedderFailed, match=r"remote could not embed \(ProviderError, HTTP 401\)") as caught:
        embedder.embed_passages(["text"])
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None
    assert caught.value.stage == "embed"
    with pytest.raises(EmbedderFailed, match=r"\(TimeoutError\)"):
        LangChainEmbedder.open(FixedEmbeddings([], probe=TimeoutError("slow")), name="remote")


def test_the_digest_is_stable_and_follows_everything_that_tells_models_apart() -> None:
    def digest(name: str = "letters", identity: str | None = None, window_tokens: int = 256) -> str:
        opened = LangChainEmbedder.open(LetterEmbeddings(), name=name, identity=identity, window_tokens=window_tokens)
        return opened.digest

    assert digest() == digest()
    assert digest().startswith("sha256:")
    others: Sequence[str] = [
        digest(name="other"),
        digest(identity="revision 2"),
        digest(window_tokens=128),
        LangChainEmbedder.open(LetterEmbeddings(), name="letters", tokenizer=WordTokenizer()).digest,
        LangChainEmbedder.open(FixedEmbeddings([], probe=[1.0, 2.0, 3.0]), name="letters").digest,
    ]
    assert len({digest(), *others}) == len(others) + 1


@pytest.mark.parametrize("spec", ["", "text-embedding-3-small", "nobody:model"])
def test_a_name_without_a_known_provider_is_refused(spec: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        LangChainEmbedder.from_spec(spec)
    assert "provider:model" in caught.value.hint


def test_a_provider_whose_package_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_mistralai", None)  # whether or not it is installed; no other test has LangChain cache it
    with pytest.raises(MissingDependency, match="langchain-mistralai") as caught:
        LangChainEmbedder.from_spec("mistralai:mistral-embed")
    assert caught.value.hint == "pip install langchain-mistralai"


def test_a_model_by_name_is_opened_under_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain.embeddings.init_embeddings", lambda _: LetterEmbeddings())
    embedder = LangChainEmbedder.from_spec("letters:abc")
    assert embedder.name == "letters:abc"
    assert embedder.dimension == 3


def test_a_provider_that_refuses_its_key_is_a_setting_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    def init_embeddings(_: str) -> Embeddings:
        raise ProviderError(f"bad key {KEY}")

    monkeypatch.setattr("langchain.embeddings.init_embeddings", init_embeddings)
    with pytest.raises(InvalidSettings, match="ProviderError") as caught:
        LangChainEmbedder.from_spec("openai:text-embedding-3-small")
    assert "OPENAI_API_KEY" in caught.value.hint
    assert KEY not in "".join(traceback.format_exception(caught.value))
