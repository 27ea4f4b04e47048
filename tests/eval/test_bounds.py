"""The best that could be reached, the least that must be, and where in an index the gold is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval.bounds import MOST_GOLD, closed_book, oracle_release, with_exact_index, with_oracle
from eval.candidate import Trivial
from eval.places import ChunkPlaces
from eval.results import Gold, GoldSpan
from eval.sample import Sample
from eval.stages.cache import StageCache
from eval.stages.remembered import remembering
from eval.trivial import trivial_pipeline, trivial_release
from rag_service.ask import Pipeline
from rag_service.errors import GeneratorFailed
from rag_service.question import Question
from rag_service.release import Retrieval
from rag_service.stores.selections import selection_of
from rag_service.types import Chunk, ChunkId, DocumentId, Selection, Vector
from tests.doubles import Writes, completion, with_generator
from tests.eval.built import a_release
from tests.eval.conftest import PARAGRAPHS

STANDS = "Where does the Eiffel Tower stand?"
TEXTS = [text for texts in PARAGRAPHS.values() for text in texts]
"""Of the chunks, by row."""
TRIVIAL: tuple[Trivial, ...] = get_args(Trivial)

MakePipeline = Callable[..., Pipeline]


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[StageCache]:
    with StageCache.open(tmp_path) as opened:
        yield opened


# The oracle


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.sets(st.integers(0, len(TEXTS) - 1), min_size=1), question=st.sampled_from([STANDS, *TEXTS, "zzyzx"]))
def test_an_oracle_finds_all_gold_and_nothing_else(rows: set[int], question: str, pipeline: Pipeline) -> None:
    found = with_oracle(np.array(sorted(rows)))(pipeline).ask(Question(question))
    assert sorted(TEXTS.index(hit.chunk.text) for hit in found.hits) == sorted(rows)


def test_an_oracle_answers_whatever_its_confidence(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(retrieval=Retrieval(top_k=1, min_confidence=1.0))
    assert pipeline.ask(Question(STANDS)).abstain_reason == "low_confidence"
    found = with_oracle(np.array([0]))(pipeline).ask(Question(STANDS))
    assert (found.status, found.confidence < 1.0) == ("answered", True)
    assert "Paris" in (found.answer or "")


def test_an_oracle_without_gold_finds_nothing(pipeline: Pipeline) -> None:
    found = with_oracle(np.array([], np.int64))(pipeline).ask(Question(STANDS))
    assert (found.hits, found.abstain_reason) == ((), "no_hits")


def test_an_oracle_that_remembers_finds_what_one_that_does_not_finds(pipeline: Pipeline, cache: StageCache) -> None:
    for rows in ([1], [1, 3], [4]):
        plain = with_oracle(np.array(rows))(pipeline).ask(Question(STANDS))
        for _ in range(2):
            found = with_oracle(np.array(rows))(remembering(pipeline, cache)).ask(Question(STANDS))
            assert (found.hits, found.confidence, found.answer) == (plain.hits, plain.confidence, plain.answer)


def test_the_pipeline_that_serves_is_left_as_it_is(pipeline: Pipeline) -> None:
    before = pipeline.ask(Question(STANDS))
    with_oracle(np.array([4]))(pipeline).ask(Question(STANDS))
    after = pipeline.ask(Question(STANDS))
    assert (after.hits, after.answer) == (before.hits, before.answer)


def test_candidates_that_differ_in_thresholds_alone_have_one_oracle() -> None:
    releases = [a_release(top_k=top_k, min_confidence=least) for top_k in (1, 8) for least in (0.0, 0.9)]
    assert len({release.digest for release in releases}) == 4
    assert len({oracle_release(release).digest for release in releases}) == 1
    assert oracle_release(releases[0]).retrieval.top_k == MOST_GOLD
    assert oracle_release(a_release(mode="dense")).digest != oracle_release(releases[0]).digest


# Closed book


def test_a_generator_that_only_quotes_has_no_closed_book(pipeline: Pipeline) -> None:
    assert closed_book(pipeline, STANDS, None) is None


def test_a_model_is_asked_without_passages(pipeline: Pipeline) -> None:
    model = Writes(completion("In Paris."), follows_instructions=True)
    found = closed_book(with_generator(pipeline, model), f"  {STANDS}\n", 60.0)
    assert found == Sample(status="answered", answer="In Paris.", plain="In Paris.", prompt_tokens=7, completion_tokens=3)
    assert (model.prompts[0].question, model.prompts[0].passages) == (STANDS, ())
    assert STANDS in model.prompts[0].user
    assert not any(text in model.prompts[0].user + model.prompts[0].system for text in TEXTS)
    assert model.deadlines[0] is not None


def test_a_model_may_decline_or_fail_without_passages(pipeline: Pipeline) -> None:
    model = Writes(completion("", declined=True), GeneratorFailed("gone"), follows_instructions=True)
    asked = with_generator(pipeline, model)
    declined, failed, blank = (closed_book(asked, question, None) for question in (STANDS, STANDS, " "))
    assert declined == Sample(status="abstained", abstain_reason="generator_declined")
    assert failed is not None
    assert (failed.status, [failure.code for failure in failed.failures]) == ("error", [GeneratorFailed.code])
    assert blank is not None
    assert [failure.code for failure in blank.failures] == ["invalid_question"]


# The exact index


class Misses:
    """A store whose search loses the row that is nearest."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __len__(self) -> int:
        return len(self._inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def search(self, query: Vector, k: int, within: Selection | None = None) -> tuple[Any, Vector]:
        rows, cosines = self._inner.search(query, k + 1, within)
        return rows[1:], cosines[1:]


def test_an_exact_search_finds_what_a_flat_index_finds(make_pipeline: MakePipeline) -> None:
    flat = make_pipeline(retrieval=Retrieval(mode="dense", top_k=3, min_confidence=0.0))
    lossy = replace(flat, retriever=replace(flat.retriever, store=Misses(flat.store)))
    for question in (STANDS, *TEXTS):
        hits = flat.search(Question(question)).hits
        assert with_exact_index(flat).search(Question(question)).hits == hits
        assert with_exact_index(lossy).search(Question(question)).hits == hits
        assert lossy.search(Question(question)).hits != hits


# Candidates that must lose


def test_trivial_candidates_have_releases_of_their_own() -> None:
    release = a_release()
    digests = [release.digest, *(trivial_release(release, kind).digest for kind in TRIVIAL)]
    assert len(set(digests)) == len(digests) == 5
    assert digests == [a_release().digest, *(trivial_release(a_release(), kind).digest for kind in TRIVIAL)]


def test_a_trivial_pipeline_runs_under_its_own_release(pipeline: Pipeline) -> None:
    for kind in TRIVIAL:
        lineage = trivial_pipeline(pipeline, kind).ask(Question(STANDS)).attempt.lineage
        assert lineage.release == trivial_release(pipeline.lineage.release, kind)


def test_one_always_abstains(pipeline: Pipeline) -> None:
    asked = trivial_pipeline(pipeline, "always_abstain")
    for question in (STANDS, *TEXTS):
        found = asked.ask(Question(question))
        assert (found.status, found.abstain_reason, found.answer) == ("abstained", "generator_declined", None)


def test_one_gives_back_the_question(pipeline: Pipeline) -> None:
    found = trivial_pipeline(pipeline, "copy_question").ask(Question(STANDS))
    assert (found.status, found.answer, found.citations) == ("answered", STANDS, ())


def test_one_gives_back_all_passages_and_cites_each(pipeline: Pipeline) -> None:
    found = trivial_pipeline(pipeline, "echo_context").ask(Question(STANDS))
    texts = [hit.chunk.text for hit in found.hits]
    assert len(texts) == 3
    assert found.answer == "\n\n".join(f"{text} [{number}]" for number, text in enumerate(texts, start=1))
    assert [(citation.marker, citation.chunk.text) for citation in found.citations] == list(enumerate(texts, start=1))


def test_all_but_the_one_that_abstains_answer_whatever_their_confidence(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(retrieval=Retrieval(top_k=1, min_confidence=1.0))
    assert pipeline.ask(Question(STANDS)).status == "abstained"
    assert trivial_pipeline(pipeline, "copy_question").ask(Question("zzyzx")).status == "answered"
    assert trivial_pipeline(pipeline, "echo_context").ask(Question("zzyzx")).status == "answered"


@pytest.fixture
def drawing(make_pipeline: MakePipeline) -> Pipeline:
    """Of 40 documents that are all alike but for a number."""
    return trivial_pipeline(
        make_pipeline({f"d{number}": [f"The river has the number {number}."] for number in range(40)}), "random_retrieval"
    )


def test_a_random_search_is_the_same_for_the_same_question_and_another_for_another(drawing: Pipeline) -> None:
    questions = [f"Which river has the number {number}?" for number in range(20)]
    found = [[hit.chunk.id for hit in drawing.search(Question(question)).hits] for question in questions]
    assert found == [[hit.chunk.id for hit in drawing.search(Question(question)).hits] for question in questions]
    assert len({tuple(sorted(ids)) for ids in found}) == 20
    assert all(len(set(ids)) == 3 for ids in found)


def test_a_random_search_is_no_better_than_chance(drawing: Pipeline, make_pipeline: MakePipeline) -> None:
    """Of 40 chunks 3 are drawn: of 40 questions, 3 find theirs on average, and 9 or more in 3 of 1000 cases. A real search finds all."""
    texts = [chunk.text for chunk in drawing.chunks.chunks(range(40))]

    def found(pipeline: Pipeline) -> int:
        return sum(text in [hit.chunk.text for hit in pipeline.search(Question(text)).hits] for text in texts)

    assert found(drawing) < 9
    assert found(make_pipeline({f"d{number}": [text] for number, text in enumerate(texts)})) == 40


def test_a_random_search_draws_from_what_may_be_seen(drawing: Pipeline) -> None:
    permitted = np.zeros(40, np.bool_)
    permitted[[5, 7]] = True
    seen = drawing.retriever.find(STANDS, drawing.embedder.embed_query(STANDS), 3, selection_of(permitted, documents=2))
    assert sorted(hit.chunk.document_id for hit in seen.hits) == ["d5", "d7"]


# Where the gold is


class Cut:
    """A chunk table of which only places matter: (document, start, end) by row."""

    def __init__(self, *places: tuple[str, int, int]) -> None:
        self._chunks = [
            Chunk(ChunkId(f"c{row}"), DocumentId(document), row, start, end, "", "", (), document, None, "", 0)
            for row, (document, start, end) in enumerate(places)
        ]
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self._chunks)

    def chunks(self, positions: Sequence[int]) -> list[Chunk]:
        self.read.extend(positions)
        return [self._chunks[position] for position in positions]


def spans(*places: tuple[str, int, int]) -> tuple[GoldSpan, ...]:
    return tuple(GoldSpan(*place) for place in places)


CUT = (("a", 0, 100), ("a", 80, 200), ("b", 0, 50), ("c", 0, 10), ("a", 200, 300))


@pytest.mark.parametrize(
    ("gold", "rows", "covered"),
    [
        (Gold({"a": 1}, 0, (spans(("a", 10, 20)),)), [0], True),
        (Gold({"a": 1}, 0, (spans(("a", 85, 95)),)), [0, 1], True),  # where two chunks overlap
        (Gold({"a": 1}, 0, (spans(("a", 150, 250)),)), [1, 4], True),  # half in each, which is enough
        (Gold({"a": 1}, 0, (spans(("a", 100, 350)),)), [], False),  # two fifths in each, which is not
        (Gold({"a": 1, "b": 1}, 0, (spans(("a", 10, 20)), spans(("b", 0, 5)))), [0, 2], True),
        (Gold({"a": 1, "b": 1}, 0, (spans(("a", 100, 350)), spans(("b", 0, 5)))), [2], False),  # one group is lost
        (Gold({"a": 1, "b": 1}, 0, (spans(("a", 100, 350), ("b", 0, 5)),)), [2], True),  # but any place of a group will do
        (Gold({"b": 2, "c": 1}, 0), [2, 3], True),
        (Gold({"b": 2, "c": 0}, 0), [2], True),  # of grade 0 is not relevant
        (Gold({"b": 1, "nowhere": 1}, 0), [2], False),
        (Gold({"x": 1}, 0, (spans(("x", 0, 5)),)), [], False),
    ],
)
def test_chunks_that_hold_gold_are_known_by_their_places(gold: Gold, rows: list[int], covered: bool) -> None:
    places = ChunkPlaces.of(Cut(*CUT), [gold])  # type: ignore[arg-type]
    assert places.rows(gold).tolist() == rows
    assert places.rows(gold).dtype == np.int64
    assert places.covered(gold) == covered


def test_every_chunk_is_read_once_however_many_questions_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eval.places._BATCH", 2)
    cut = Cut(*CUT)
    known = [Gold({"a": 1}, 0), Gold({"a": 1, "b": 1}, 0, (spans(("b", 0, 5)),))]
    places = ChunkPlaces.of(cut, known)  # type: ignore[arg-type]
    assert cut.read == [0, 1, 2, 3, 4]
    assert {document: [row for row, _ in chunks] for document, chunks in places.by_document.items()} == {"a": [0, 1, 4], "b": [2]}


def test_without_gold_nothing_is_read() -> None:
    cut = Cut(*CUT)
    assert ChunkPlaces.of(cut, [Gold({}, 0)]).by_document == {}  # type: ignore[arg-type]
    assert cut.read == []
