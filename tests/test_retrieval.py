"""Question to hits, on small real indexes: meaning and words, filters, order, and questions that are hard on either half."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.embedders.onnx import OnnxEmbedder
from rag_service.filters import parse_filter
from rag_service.lexical.memory import MemoryKeywords
from rag_service.relevance import HYBRID
from rag_service.retrieval import Mode, Retrieved, Retriever
from rag_service.settings import load_settings
from rag_service.stores.memory import MemorySentences, MemoryStore
from rag_service.stores.sentences import ChunkSentences
from rag_service.terms import terms
from rag_service.types import Chunk, Selection
from rag_service.units import units
from rag_service.wiring.releases import make_release, open_release
from tests.conftest import Build

PAGES = {
    "returns.md": "# Returns\n\nWhoever returns an article is reimbursed within ten days. The parcel has to be complete.",
    "delivery.md": "# Delivery\n\nParcels leave the warehouse at noon. Islands are served by ferry twice a week.",
    "errors/4711.md": "# Spooler\n\nERR_4711 means that the queue of the printer is locked. Restart the spooler.",
    "errors/4712.md": "# Spooler\n\nERR_4712 means that the queue of the printer is full. Delete finished jobs.",
    "errors/4713.md": "# Spooler\n\nERR_4713 means that the queue of the printer is unknown. Install the printer again.",
    "errors/4714.md": "# Spooler\n\nERR_4714 means that the queue of the printer is paused. Press the green button.",
    "garden.md": "# Garden\n\nTomatoes need water every morning. Roses are cut back in spring.",
    "kitchen.md": "# Kitchen\n\nThe dishwasher runs at night. Coffee is bought by the office.",
    "holidays.md": (
        "# Holidays\n\nEvery employee has 28 days of paid holiday a year.\n\n## Carrying over\n\nUnused days expire on 31 March.\n\n"
        "## Part time\n\nWho works less has fewer days."
    ),
    "отпуск.md": "# Отпуск\n\nКаждый сотрудник имеет 28 дней отпуска в год. Неиспользованные дни сгорают 31 марта.",
}
QUESTIONS = (
    "Can I get a refund?",
    "ERR_4711",
    "printer queue locked",
    "What does ERR_4713 mean for the printer?",
    "How many days of paid holiday does an employee have?",
    "unused days expire",
    "When do the roses get cut?",
    "Сколько дней отпуска?",
    "the of and",
    "zzyzx",
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path, build: Build) -> Callable[..., Retriever]:
    """`opened({"page.md": text})` builds an index of these pages, with settings of the release, and opens it."""
    numbers: Iterator[int] = count()

    def open_pages(pages: dict[str, str], **settings: object) -> Retriever:
        return opened_again(folder_of(pages), **settings)

    def folder_of(pages: dict[str, str]) -> Path:
        root = tmp_path_factory.mktemp(f"pages{next(numbers)}")
        (root / "indexes").mkdir()
        (root / "indexes" / "encoders").symlink_to(encoder_folder.parent)
        for name, text in pages.items():
            path = root / "source" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        build(root / "indexes", root / "source", name="pages")
        return root / "indexes"

    return open_pages


def opened_again(root: Path, **chosen: object) -> Retriever:
    settings, catalog = load_settings({}, indexes=root, name="pages", **chosen), Catalog(root)
    [version] = catalog.versions("pages")
    pipeline: Pipeline = open_release(settings, catalog, "pages", make_release(settings, catalog, "pages", version)).pipeline
    ROOTS[id(pipeline.retriever)] = (root, pipeline)
    return pipeline.retriever


ROOTS: dict[int, tuple[Path, Pipeline]] = {}
"""Where each retriever was opened from; what it reads is closed with its pipeline."""


@pytest.fixture(scope="module")
def pages(opened: Callable[..., Retriever]) -> Retriever:
    return opened(PAGES)


@pytest.fixture(scope="module")
def dense(pages: Retriever) -> Retriever:
    return replace(pages, mode="dense")


class Asks:
    """Embeds each question once."""

    def __init__(self, embedder: OnnxEmbedder) -> None:
        self._embedder = embedder
        self._vectors: dict[str, np.ndarray] = {}

    def __call__(self, retriever: Retriever, question: str, k: int = 5, within: Selection | None = None) -> Retrieved:
        return retriever.find(question, self.vector(question), k, within)

    def vector(self, question: str) -> np.ndarray:
        if question not in self._vectors:
            self._vectors[question] = self._embedder.embed_query(question)
        return self._vectors[question]


@pytest.fixture(scope="module")
def ask(embedder: OnnxEmbedder) -> Asks:
    return Asks(embedder)


def sources(found: Retrieved) -> list[str]:
    return [hit.chunk.source for hit in found.hits]


def every(retriever: Retriever) -> list[Chunk]:
    return retriever.chunks.chunks(list(range(len(retriever.chunks))))


# Two halves


def test_words_find_what_meaning_cannot_tell_apart(pages: Retriever, dense: Retriever, ask: Asks) -> None:
    for number in ("4711", "4712", "4713", "4714"):
        assert sources(ask(pages, f"ERR_{number}"))[0] == f"errors/{number}.md"
    assert any(sources(ask(dense, f"ERR_{number}"))[0] != f"errors/{number}.md" for number in ("4711", "4712", "4713", "4714"))


def test_meaning_finds_what_shares_no_word_with_the_question(pages: Retriever, ask: Asks) -> None:
    question = "Can I get a refund?"
    rows = {chunk.source: row for row, chunk in enumerate(every(pages))}
    worded = pages.keywords.scores(pages.keywords.look_up(terms(question, pages.languages)))
    assert worded[rows["returns.md"]] == 0.0
    best = ask(pages, question).hits[0]
    assert best.chunk.source == "returns.md"
    assert best.keywords == 0.0
    assert best.cosine > 0.2


def test_a_hit_says_what_each_half_gave_for_it(pages: Retriever, ask: Asks) -> None:
    question = "What does ERR_4713 mean for the printer?"
    rows = {chunk.id: row for row, chunk in enumerate(every(pages))}
    query = pages.keywords.look_up(terms(question, pages.languages))
    for hit in ask(pages, question, k=20).hits:
        row = rows[hit.chunk.id]
        assert hit.cosine == pytest.approx(float(pages.store.vectors([row])[0] @ ask.vector(question)), abs=2e-5)
        assert hit.keywords == pytest.approx(float(pages.keywords.coverage(query, np.array([row]))[0]), abs=1e-5)


def test_a_hit_has_its_sentences_in_reading_order(pages: Retriever, ask: Asks) -> None:
    best = ask(pages, "unused days expire").hits[0]
    shown = [best.chunk.text[sentence.start : sentence.end] for sentence in best.sentences]
    assert shown == ["Unused days expire on 31 March."]
    assert best.sentences[0].coverage == pytest.approx(1.0)
    first = ask(pages, "ERR_4711").hits[0]
    assert [first.chunk.text[one.start : one.end] for one in first.sentences] == [
        "ERR_4711 means that the queue of the printer is locked.",
        "Restart the spooler.",
    ]


# Dense


@pytest.mark.parametrize("question", QUESTIONS)
def test_dense_retrieval_gives_the_store_s_own_cosines_in_its_order(dense: Retriever, ask: Asks, question: str) -> None:
    positions, cosines = dense.store.search(ask.vector(question), 5)
    found = ask(dense, question)
    assert [hit.chunk.id for hit in found.hits] == [chunk.id for chunk in dense.chunks.chunks(positions.tolist())]
    assert [hit.score for hit in found.hits] == pytest.approx(cosines.tolist(), abs=1.1e-5)
    assert [hit.score for hit in found.hits] == [hit.cosine for hit in found.hits]


# A reference by the formula


class Reference:
    """The score of every permitted chunk, worked out one by one from the texts: no index, no array, no pool."""

    def __init__(self, retriever: Retriever, embedder: OnnxEmbedder) -> None:
        self.chunks = every(retriever)
        self._retriever = retriever
        self._keywords = MemoryKeywords([terms(chunk.embedded_text, retriever.languages) for chunk in self.chunks])
        self._own = embedder.embed_passages([chunk.embedded_text for chunk in self.chunks])
        self._sentences = [[chunk.text[unit.start : unit.end] for unit in units(chunk.text, chunk.heading_path)] for chunk in self.chunks]
        self._vectors = [embedder.embed_passages(sentences) if sentences else np.empty((0, 384)) for sentences in self._sentences]
        self._places = {(chunk.document_id, chunk.ordinal): row for row, chunk in enumerate(self.chunks)}

    def scores(self, question: str, vector: np.ndarray, permitted: Sequence[int]) -> dict[str, float]:
        """By chunk id. The most that a permitted chunk has is what keywords are divided by."""
        query = self._keywords.look_up(terms(question, self._retriever.languages))
        words = self._keywords.scores(query)
        most = max((float(words[row]) for row in permitted), default=0.0) or 1.0
        weights = dict(zip(query.terms, query.weights.tolist(), strict=True))
        total = sum(weights.values()) or 1.0

        def counted(cosine: float) -> float:
            return (cosine - self._retriever.unrelated) / (1 - self._retriever.unrelated)

        def held(text: str) -> float:
            return sum(weights.get(term, 0.0) for term in set(terms(text, self._retriever.languages))) / total

        found = {}
        for row in permitted:
            chunk = self.chunks[row]
            beside = [self._places.get((chunk.document_id, chunk.ordinal + step), row) for step in (-1, 1)]
            near = [float(one @ vector) for one in self._vectors[row]] or [float(self._own[row] @ vector)]
            found[str(chunk.id)] = (
                HYBRID.cosine * counted(float(self._own[row] @ vector))
                + HYBRID.sentence * counted(max(near))
                + HYBRID.keywords * float(words[row]) / most
                + HYBRID.coverage * held(chunk.embedded_text)
                + HYBRID.sentence_coverage * max((held(text) for text in self._sentences[row]), default=0.0)
                + HYBRID.cosine_around * counted(sum(float(self._own[other] @ vector) for other in beside) / 2)
                + HYBRID.keywords_around * sum(float(words[other]) for other in beside) / 2 / most
            )
        return found


@pytest.fixture(scope="module")
def reference(pages: Retriever, embedder: OnnxEmbedder) -> Reference:
    return Reference(pages, embedder)


@pytest.mark.parametrize("question", QUESTIONS)
def test_scores_are_those_of_the_formula(pages: Retriever, reference: Reference, ask: Asks, question: str) -> None:
    found = ask(pages, question, k=50)
    expected = reference.scores(question, ask.vector(question), range(len(reference.chunks)))
    assert {str(hit.chunk.id) for hit in found.hits} == set(expected)
    # Vectors of sentences have 8 bits a dimension, and stand for 0.28 of the score.
    assert [hit.score for hit in found.hits] == pytest.approx([expected[str(hit.chunk.id)] for hit in found.hits], abs=1e-3)
    assert [hit.score for hit in found.hits] == sorted((hit.score for hit in found.hits), reverse=True)


@settings(max_examples=60, deadline=None)
@given(allowed=st.sets(st.sampled_from(sorted(PAGES))), question=st.sampled_from(QUESTIONS), k=st.integers(1, 12))
def test_what_a_filter_forbids_is_neither_found_nor_looked_at(
    pages: Retriever, reference: Reference, ask: Asks, allowed: set[str], question: str, k: int
) -> None:
    within = pages.chunks.select(parse_filter({"source": {"in": sorted(allowed) or ["nowhere"]}}))
    permitted = [row for row, chunk in enumerate(reference.chunks) if chunk.source in allowed]
    assert within.positions.tolist() == permitted
    found = ask(pages, question, k, within)
    expected = reference.scores(question, ask.vector(question), permitted)
    assert set(sources(found)) <= allowed
    assert len(found.hits) == min(k, len(permitted))
    # Keywords are divided by the most that a permitted chunk has: with that of a forbidden one, these would be other numbers.
    assert [hit.score for hit in found.hits] == pytest.approx([expected[str(hit.chunk.id)] for hit in found.hits], abs=1e-3)
    if not permitted:
        assert found == Retrieved((), 0.0)


def test_a_chunk_with_fewer_words_is_not_less_worth_because_a_forbidden_one_has_more(pages: Retriever, ask: Asks) -> None:
    """A worked case of the property above: `ERR_4711` stands in one page, the parts of the word in others."""
    within = pages.chunks.select(parse_filter({"source": {"ne": "errors/4711.md"}}))
    everywhere, inside = ({hit.chunk.source: hit.score for hit in ask(pages, "ERR_4711", 20, where).hits} for where in (None, within))
    assert "errors/4711.md" not in inside
    for source in ("errors/4712.md", "errors/4713.md", "errors/4714.md"):
        assert inside[source] > everywhere[source] + 0.01


# Order


def found_again(found: Retrieved) -> list[tuple[str, float, float, float]]:
    return [(hit.chunk.id, hit.score, hit.cosine, hit.keywords) for hit in found.hits]


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_same_question_finds_the_same_again_and_after_opening_anew(pages: Retriever, ask: Asks, question: str) -> None:
    first, again = ask(pages, question), ask(pages, question)
    anew = ask(opened_again(ROOTS[id(pages)][0]), question)
    assert found_again(first) == found_again(again) == found_again(anew)
    assert [hit.sentences for hit in first.hits] == [hit.sentences for hit in anew.hits]
    assert (first.confidence, first.unknown) == (again.confidence, again.unknown) == (anew.confidence, anew.unknown)


@pytest.mark.parametrize("question", QUESTIONS)
def test_how_many_are_asked_for_changes_neither_the_best_nor_the_confidence(pages: Retriever, ask: Asks, question: str) -> None:
    most = ask(pages, question, k=50)
    for k in (1, 2, 3, 5, 8):
        fewer = ask(pages, question, k=k)
        assert found_again(fewer) == found_again(most)[:k]
        assert fewer.confidence == most.confidence


@pytest.mark.parametrize("mode", ["hybrid", "dense"])
def test_equal_scores_stand_in_row_order(opened: Callable[..., Retriever], ask: Asks, mode: Mode) -> None:
    """Chunks of one vector and the same words but for a number, without sentences and neighbours."""
    rooms = opened({f"room{number}.md": f"# Room\n\nRoom {number} has a window and two doors." for number in range(12)})
    question = "Which room has a window?"
    alike = MemoryStore(np.repeat(ask.vector(question)[None], 12, axis=0))
    nothing = ChunkSentences([], np.empty((0, alike.dimension), np.float32), [])
    retriever = replace(rooms, mode=mode, store=alike, sentences=MemorySentences([nothing] * 12), neighbours=np.full((12, 2), -1, np.int64))
    for k in (1, 5, 12):
        found = ask(retriever, question, k)
        assert len({hit.score for hit in found.hits}) == 1
        assert [hit.chunk.id for hit in found.hits] == [chunk.id for chunk in every(rooms)][:k]


def test_asking_for_more_than_there_is_gives_all_there_is(pages: Retriever, ask: Asks) -> None:
    found = ask(pages, "ERR_4711", k=1000)
    assert sorted(hit.chunk.id for hit in found.hits) == sorted(chunk.id for chunk in every(pages))


@pytest.mark.parametrize("k", [0, -3])
def test_nothing_asked_for_finds_nothing(pages: Retriever, ask: Asks, k: int) -> None:
    assert ask(pages, "ERR_4711", k) == Retrieved((), 0.0)


# Hard questions


def test_a_question_of_stop_words_alone_is_answered_by_meaning(pages: Retriever, ask: Asks) -> None:
    found = ask(pages, "the of and")
    assert len(found.hits) == 5
    assert all(np.isfinite(hit.score) for hit in found.hits)
    assert found.confidence < 0.5


@pytest.mark.parametrize("question", ["?", "…", "🙂", "\u200b", "()"])
def test_a_question_without_a_word_finds_something_and_is_sure_of_nothing(pages: Retriever, ask: Asks, question: str) -> None:
    found = ask(pages, question)
    assert len(found.hits) == 5
    assert found.unknown == 0.0
    assert found.confidence < 0.5


def test_a_question_in_another_script_finds_what_is_written_in_it(pages: Retriever, ask: Asks) -> None:
    found = ask(pages, "Сколько дней отпуска?")
    assert sources(found)[0] == "отпуск.md"
    assert found.hits[0].keywords > 0.5


def test_words_that_no_document_holds_are_told_and_make_it_less_sure(pages: Retriever, ask: Asks) -> None:
    known, unknown = ask(pages, "roses in spring"), ask(pages, "roses in spring zzyzx quux")
    assert known.unknown == 0.0
    assert 0.0 < unknown.unknown < 1.0
    assert ask(pages, "zzyzx").unknown == 1.0
    assert unknown.confidence < known.confidence


def test_it_is_surer_of_what_the_documents_answer_than_of_what_they_do_not(pages: Retriever, ask: Asks) -> None:
    answered = [ask(pages, question).confidence for question in (QUESTIONS[4], "What does ERR_4713 mean?", "When do unused days expire?")]
    foreign = [ask(pages, question).confidence for question in ("Who won the world cup in 1954?", "How heavy is a blue whale?")]
    assert min(answered) > 0.5 > max(foreign)


# Many of a kind


def test_copies_of_a_text_do_not_crowd_out_what_else_there_is(opened: Callable[..., Retriever], ask: Asks) -> None:
    copies = "# Ferry\n\nThe ferry to the island leaves at noon and returns at six in the evening."
    words = ("Smoking", "Fishing", "Singing", "Running", "Cooking", "Painting", "Dancing", "Shouting", "Diving", "Skating")
    notices = {f"notice{word}.md": f"{copies}\n\n## Notice\n\n{word} is forbidden on board of every ship." for word in words}
    fares = {"fare.md": "# Fare\n\nA ticket for the crossing costs twelve euros."}
    retriever = opened({**notices, **fares})
    found = ask(retriever, "When does the ferry to the island leave?")
    texts = [hit.chunk.text for hit in found.hits]
    assert len(retriever.chunks) == 21
    assert len(texts) == len(set(texts)) == 5


def test_a_long_document_makes_room_for_others_that_are_nearly_as_good_however_many_chunks_it_has(
    opened: Callable[..., Retriever], ask: Asks
) -> None:
    def page(*cities: str) -> str:
        return "# Trains\n\n" + "\n\n".join(f"## {city}\n\nThe night train to {city} leaves from platform two." for city in cities)

    long = page("Rome", "Oslo", "Lima", "Cairo", "Delhi", "Quito", "Dakar", "Seoul", "Paris", "Hanoi", "Accra", "Sofia")
    retriever = opened({"long.md": long, "one.md": page("Minsk"), "two.md": page("Turin")})
    question = "Where does the night train leave from?"
    scores = {hit.chunk.source: hit.score for hit in reversed(ask(replace(retriever, per_document=50), question, 50).hits)}
    assert min(scores.values()) > 0.9 * max(scores.values())
    for k, of_it in ((3, 3), (4, 3), (5, 3), (6, 4)):
        assert sources(ask(retriever, question, k)).count("long.md") == of_it
    assert {"one.md", "two.md"} < set(sources(ask(retriever, question, 5)))


def test_how_many_are_asked_for_does_not_change_the_best_of_a_long_document_either(opened: Callable[..., Retriever], ask: Asks) -> None:
    words = [first + rest for first in ("ac", "bo", "cu", "di") for rest in ("ra", "lan", "min", "tus", "vel", "zor")]
    pages = {"long.md": "# Trees\n\n" + "\n\n".join(f"## {word}\n\nThe {word} is planted in the month of May." for word in words)}
    pages |= {f"{word}.md": f"# Trees\n\nThe {word} is planted in the month of June." for word in ("rose", "lily", "iris")}
    retriever = opened(pages)
    for question in ("When is the bolan planted?", "Which trees are planted in May?", "What happens in June?"):
        most = found_again(ask(retriever, question, 20))
        assert len(most) == 20
        for k in range(1, 20):
            assert found_again(ask(retriever, question, k)) == most[:k]
