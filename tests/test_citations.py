"""Markers to places: every span slices to what it says, whatever a generator wrote."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.citations import CitedAnswer, cite, find_markers, locate_quote
from rag_service.types import Chunk, ChunkId, Completion, DocumentId, Hit, Marker, Usage

DOCUMENT = "# Leave\n\nEvery employee has 28 days of paid holiday a year. Unused days expire on 31 March. Ask your manager!"
PARIS = "Paris is the capital of France. It lies on the Seine."


def hit(text: str, start: int = 0, score: float = 0.5) -> Hit:
    chunk = Chunk(
        id=ChunkId(text[:8]),
        document_id=DocumentId("d"),
        ordinal=0,
        start=start,
        end=start + len(text),
        text=text,
        title="",
        heading_path=(),
        source="d.txt",
        page=None,
        embedded_text=text,
        tokens=1,
    )
    return Hit(chunk, score)


def completion(text: str, markers: tuple[Marker, ...] | None = None) -> Completion:
    return Completion(text, declined=False, finish_reason="stop", model="m", usage=Usage(None, None), markers=markers)


LEAVE = hit(DOCUMENT[9:], start=9, score=0.75)
HITS = [LEAVE, hit(PARIS), hit("Bread is baked from flour.")]


def cited(text: str, markers: tuple[Marker, ...] | None = None) -> CitedAnswer:
    return cite(completion(text, markers), HITS)


def numbers(text: str) -> list[tuple[int, ...]]:
    return [marker.numbers for marker in find_markers(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Paris [1].", [(1,)]),
        ("Paris[1].", [(1,)]),
        ("Paris. [1]", [(1,)]),
        ("Paris [1, 3].", [(1, 3)]),
        ("Paris [1,2 , 3].", [(1, 2, 3)]),
        ("Paris [1][2].", [(1,), (2,)]),
        ("Paris [1][2][3].", [(1,), (2,), (3,)]),
        ("Paris[1][2][3].", [(1,), (2,), (3,)]),
        ("Paris [1] [2]", [(1,), (2,)]),
        ("(Paris) [1]", [(1,)]),
        ("东京是首都[1]。北京[2]，", [(1,), (2,)]),
        ("[1] says so.", [(1,)]),
        ("Paris [0] [999]", [(0,), (999,)]),
    ],
)
def test_numbers_in_square_brackets_cite(text: str, expected: list[tuple[int, ...]]) -> None:
    assert numbers(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "see [1](https://example.org)",
        "text [1](#note) more",
        "`items[1]` and `[1]`",
        "```python\nx = [1]\nprint(x) [2]\n```",
        "```\nnever closed [1]",
        "x[1]=2",
        "x[1] = 2",
        "f(x[1])",
        "x[1](2)",
        "x[1]+y[2]*3",
        "[1.5] [a] [] [1-3] [2024] [-1] [１２３４]",
    ],
)
def test_code_subscripts_links_and_other_brackets_do_not_cite(text: str) -> None:
    assert numbers(text) == []


def test_a_marker_after_code_cites() -> None:
    assert numbers("Run `make setup` [1].\n\n```\nx[2]\n``` \n[3]") == [(1,), (3,)]


def test_an_answer_that_quotes_word_for_word_is_located_in_chunk_and_document() -> None:
    answer = cited("Unused days expire on 31 March. [1]")
    [citation] = answer.citations
    assert citation.verbatim
    assert citation.quote == "Unused days expire on 31 March."
    assert DOCUMENT[slice(*citation.document_span)] == citation.quote
    assert citation.score == 0.75
    assert answer.notices == ()


def test_an_answer_in_other_words_cites_the_sentence_that_shares_most_of_them() -> None:
    [citation] = cited("Holiday that is unused will expire in March [1].").citations
    assert not citation.verbatim
    assert citation.quote == "Unused days expire on 31 March."


def test_only_the_last_sentence_before_a_marker_is_what_it_supports() -> None:
    [citation] = cited("Here is what I found. It lies on the Seine [2].").citations
    assert citation.verbatim
    assert citation.quote == "It lies on the Seine"


@pytest.mark.parametrize("markers", ["[1][2]", "[1] [2]", "[1], [2]", "[1, 2]"])
def test_markers_that_follow_each_other_cite_the_same_words(markers: str) -> None:
    answer = cited(f"It lies on the Seine {markers}.")
    assert [citation.marker for citation in answer.citations] == [1, 2]
    assert [citation.verbatim for citation in answer.citations] == [False, True]
    assert answer.citations[1].quote == "It lies on the Seine"


def test_a_marker_that_names_no_passage_is_taken_out_and_reported() -> None:
    answer = cited("Paris [9] is the capital [2, 7] of France [4].")
    assert answer.text == "Paris is the capital [2] of France."
    assert [citation.marker for citation in answer.citations] == [2]
    assert answer.text[slice(*answer.citations[0].answer_span)] == "[2]"
    assert [notice.code for notice in answer.notices] == ["citation_dropped"] * 3
    assert [notice.detail.split()[1] for notice in answer.notices] == ["9", "7", "4"]


def test_an_answer_that_cites_nothing_says_so() -> None:
    assert [notice.code for notice in cited("Paris.").notices] == ["citation_missing"]
    assert [notice.code for notice in cited("Paris [8].").notices] == ["citation_dropped", "citation_missing"]


def test_markers_that_the_generator_gives_are_used_and_brackets_in_what_it_quotes_are_not() -> None:
    text = "As in [7], see x [1]. [2]"
    answer = cite(completion(text, (Marker(22, 25, (2,)),)), HITS)
    assert answer.text == text
    assert [(citation.marker, citation.answer_span) for citation in answer.citations] == [(2, (22, 25))]
    assert answer.notices == ()
    assert cited(text, ()).citations == (), "no markers given is none, not unknown"


def test_a_marker_with_nothing_before_it_cites_the_passage_but_claims_no_quote() -> None:
    [citation] = cited("[2]").citations
    assert not citation.verbatim
    assert citation.quote == "Paris is the capital of France."


def test_a_claim_that_ends_otherwise_than_the_passage_is_still_verbatim() -> None:
    assert locate_quote("Paris is the capital of France:", PARIS) == ((0, 30), True)
    assert locate_quote("Paris is the capital of France.", PARIS) == ((0, 31), True)


def test_a_passage_without_a_sentence_is_quoted_whole() -> None:
    assert locate_quote("Something", "  ") == ((0, 2), False)


MARKERS = st.lists(st.integers(0, 12), min_size=1, max_size=3).map(lambda found: f"[{', '.join(map(str, found))}]")
PIECES = st.one_of(
    st.sampled_from(["Paris", " ", ". ", "It lies on the Seine", "\n\n", "`x[1]`", "(", ")", "x", "東京"]), MARKERS, st.text(max_size=5)
)
PASSAGES = st.lists(st.text(st.sampled_from("ab. \n[1]東"), max_size=30), max_size=4)


@given(pieces=st.lists(PIECES, max_size=15), passages=PASSAGES)
def test_every_span_slices_to_what_it_says(pieces: list[str], passages: list[str]) -> None:
    hits = [hit(text, start=10 * number) for number, text in enumerate(passages)]
    answer = cite(completion("".join(pieces)), hits)
    for citation in answer.citations:
        shown = answer.text[slice(*citation.answer_span)]
        assert citation.marker in [int(number) for number in shown.strip("[]").split(",")]
        assert citation.chunk is hits[citation.marker - 1].chunk
        start, end = citation.quote_span
        assert 0 <= start <= end <= len(citation.chunk.text)
        assert citation.quote == citation.chunk.text[start:end]
        assert citation.document_span == (citation.chunk.start + start, citation.chunk.start + end)
    spans = [citation.answer_span for citation in answer.citations]
    assert spans == sorted(spans)
    for marker in find_markers("".join(pieces)):
        for number in marker.numbers:
            known = 1 <= number <= len(hits)
            assert known or f"marker {number} names no passage" in [notice.detail for notice in answer.notices]


@pytest.mark.parametrize("unit", ["[1", "[1,", "[1 ", "[", "]", "`", "```", "[1][", "x[1]", "[1] "])
def test_twenty_thousand_characters_of_brackets_are_no_trouble(unit: str) -> None:
    text = unit * (20_000 // len(unit))
    assert all(text[marker.start] == "[" for marker in find_markers(text))
