"""Markers to places: every span slices to what it says, whatever a generator wrote."""

import time
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rag_service.citations import CitedAnswer, CitingStream, cite, events_of, find_markers, locate_quote
from rag_service.errors import GeneratorFailed
from rag_service.generators.declined import declined, may_be_declined
from rag_service.record import Delta
from rag_service.types import Chunk, ChunkId, Citation, Completion, DocumentId, Hit, Marker, Usage

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


@pytest.mark.parametrize(
    ("claim", "sentences"),
    [
        ("Es verfallen Tage im März, die nicht genommen wurden.", ["Alle haben Urlaub.", "Nicht genommene Tage verfallen am 31. März."]),
        ("Неиспользованный день пропадает в марте.", ["У всех есть отпуск.", "Неиспользованные дни пропадают 31 марта."]),
        ("没用完的假期会在三月过期。", ["每个人都有假期。", "未用完的天数三月底过期。"]),
        ("المدرسه مغلقة غدا.", ["الكتاب جديد.", "غداً ستُغلق المدرسة."]),
    ],
)
def test_a_quote_is_located_in_any_language(claim: str, sentences: list[str]) -> None:
    text = " ".join(sentences)
    (start, end), verbatim = locate_quote(claim, text)
    assert text[start:end] == sentences[1]
    assert not verbatim


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


def test_only_spaces_go_with_a_marker_that_is_taken_out() -> None:
    assert cited("Paris.\n  [9] It lies\t[9] there [9] [9].").text == "Paris.\n It lies\t there."


def test_each_claim_is_located_anew_in_the_same_passage() -> None:
    quotes = [citation.quote for citation in cited("Paris is the capital of France. [2] It lies on the Seine. [2]").citations]
    assert quotes == ["Paris is the capital of France.", "It lies on the Seine."]


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


def test_a_control_character_in_a_marker_is_white_space() -> None:
    assert numbers("Paris [1,\x1c2].") == [(1, 2)]


# The answer while it is being written.

Events = list[Delta | Citation]


def told(events: Events) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def streamed(pieces: Sequence[str], hits: Sequence[Hit] = HITS) -> tuple[list[Events], CitedAnswer]:
    """What each piece gives, then what finishing gives; and the whole answer."""
    stream = CitingStream(hits, may_be_declined)
    events = [stream.feed(piece) for piece in pieces]
    whole = cite(completion("".join(pieces).strip()), hits)
    return [*events, stream.finish(whole)], whole


def deltas(*pieces: str) -> list[str]:
    return [told(events) for events in streamed(pieces)[0]]


def pieces_of(text: str, cuts: Sequence[int]) -> list[str]:
    """`text` cut at `cuts`, which are taken modulo its length."""
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(places)]


ATOMS = st.one_of(
    st.sampled_from(
        ["[1]", "[2]", "[3]", "[9]", "[1, 2]", "[1,9]", "[1,\n2]", "[1", "[", "]", ",", "(", "=", "1", "12", "１", "x", "Paris", "東京"]
    ),
    st.sampled_from(
        ["`", "``", "```", "\n", "\n\n", " ", "  ", "\t", "\u00a0", ".", "。", "It lies on the Seine", "NO_ANSWER", "no_", "**"]
    ),
    st.text(max_size=3),
)
CUTS = st.lists(st.integers(0, 200), max_size=60)


@given(text=st.lists(ATOMS, max_size=20).map("".join), cuts=CUTS, passages=st.integers(0, 3))
@example(text="Paris [1]`", cuts=range(10), passages=3)
@example(text="```\n[1]\n``` [1] ``[2]`` [3]", cuts=range(30), passages=3)
@example(text="x[1] \n = x[2] \n. y[3][1][x]", cuts=range(40), passages=3)
@example(text=" \n a [9] \n [9] ", cuts=range(20), passages=3)
@settings(max_examples=400)
def test_however_the_text_is_cut_the_stream_tells_the_checked_answer(text: str, cuts: Sequence[int], passages: int) -> None:
    events, whole = streamed(pieces_of(text, cuts), HITS[:passages])
    flat = [event for some in events for event in some]
    if declined(text.strip()):
        assert told(flat[: len(flat) - len(events[-1])]) == ""
        return
    assert told(flat) == whole.text
    assert tuple(event for event in flat if isinstance(event, Citation)) == whole.citations
    so_far = 0
    for event in flat:
        if isinstance(event, Delta):
            assert event.text
            so_far += len(event.text)
        else:
            assert so_far >= event.answer_span[1]


@given(text=st.lists(ATOMS, max_size=20).map("".join), cuts=CUTS)
def test_what_was_told_stays_true_whatever_is_written_next(text: str, cuts: Sequence[int]) -> None:
    pieces = pieces_of(text, cuts)
    stream = CitingStream(HITS, may_be_declined)
    given_so_far = "".join(told(stream.feed(piece)) for piece in pieces)
    for more in ("", "`", "```", "(", "]", "=", "1] [1]", " x"):
        full = text + more
        if not declined(full.strip()):
            assert cite(completion(full.strip()), HITS).text.startswith(given_so_far)


def test_plain_text_is_told_as_it_comes() -> None:
    assert deltas("It lies", " on the", " Seine", ", they say.") == ["It lies", " on the", " Seine", ", they say.", ""]


def test_white_space_at_the_end_waits_for_what_follows() -> None:
    assert deltas("\n It lies ", "\n", "\n on the Seine. \n", "\n") == ["It lies", "", " \n\n on the Seine.", "", ""]


def test_a_marker_is_told_whole_with_its_citation_when_no_link_can_come_of_it() -> None:
    events, whole = streamed(["It lies on the Seine ", "[", "2", "]", ". It"])
    assert [told(some) for some in events] == ["It lies on the Seine", "", "", "", " [2]. It", ""]
    assert events[4] == [Delta(" [2]"), whole.citations[0], Delta(". It")]


def test_a_marker_at_the_end_comes_with_the_finish() -> None:
    events, whole = streamed(["It lies on the Seine [2]"])
    assert events == [[Delta("It lies on the Seine")], [Delta(" [2]"), *whole.citations]]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["see [1", "](https", "://x)"], ["see", " [1](https", "://x)", ""]),
        (["x[1]", " ", " = ", "2"], ["x", "", "[1]  =", " 2", ""]),
        (["x[1]", "[", "y]"], ["x", "", "[1][y]", ""]),
        (["in [20", "24] it"], ["in", " [2024] it", ""]),
        (["a [", "x] b"], ["a", " [x] b", ""]),
        (["a [1", "234", "56"], ["a", " [1234", "56", ""]),
    ],
)
def test_brackets_that_turn_out_not_to_cite_are_told_as_they_are(pieces: list[str], expected: list[str]) -> None:
    assert deltas(*pieces) == expected


def test_a_marker_that_names_no_passage_is_never_told_nor_the_space_before_it() -> None:
    assert deltas("Paris ", "[", "9", "]", " is", " [8]\n", "[2, 7].") == ["Paris", "", "", "", " is", "", "\n[2].", ""]


def test_code_in_a_line_waits_for_its_end_or_the_end_of_the_line() -> None:
    assert deltas("run `ls", " [1]", "` now", " `x [1]", " y\n", "z") == ["run", "", " `ls [1]` now", "", " `x [1] y", "\nz", ""]
    assert [event.marker for some in streamed(["`x [1]", " y\n", "z"])[0] for event in some if isinstance(event, Citation)] == [1]


def test_a_long_line_is_told_when_it_ends() -> None:
    line = "`" + "a b " * 50
    assert deltas(line, "c", "\n", "d") == ["", "", line + "c", "\nd", ""]


def test_two_backticks_may_become_three() -> None:
    events, whole = streamed(["It: ``", "`\n[1] and\n", "x"])
    assert [told(some) for some in events] == ["It:", " ```\n[1] and", "\nx", ""]
    assert whole.citations == ()


def test_a_block_of_code_is_told_as_it_comes_and_nothing_in_it_cites() -> None:
    events, whole = streamed(["``", "`sh\nx", " = y[1]", "\n``", "`\n", "Done [2]", "."])
    assert [told(some) for some in events] == ["", "```sh\nx", " = y[1]", "", "\n```", "\nDone", " [2].", ""]
    assert [citation.marker for citation in whole.citations] == [2]


@pytest.mark.parametrize("refusal", ["NO_ANSWER", "no_answer.\n", "NO_ANSWER\u2003", "**NO_ANSWER**", "", " \n", "«No_Answer»"])
def test_nothing_of_a_refusal_is_told(refusal: str) -> None:
    stream = CitingStream(HITS, may_be_declined)
    assert [event for piece in refusal for event in stream.feed(piece)] == []
    assert stream.finish(cite(completion(""), HITS)) == []


def test_what_begins_like_a_refusal_is_told_once_it_is_none() -> None:
    assert deltas("NO", "_ANS", "WER", " was", " given") == ["", "", "", "NO_ANSWER was", " given", ""]
    assert deltas("No", "w", " it") == ["", "Now", " it", ""]


def test_a_generator_that_returns_another_text_than_it_wrote_is_found_out() -> None:
    stream = CitingStream(HITS, may_be_declined)
    stream.feed("It lies on the Seine [2]. ")
    with pytest.raises(GeneratorFailed, match="another text"):
        stream.finish(cited("It lies on the Thames."))
    with pytest.raises(GeneratorFailed, match="another text"):
        stream.finish(cited("It lies on the Seine [2]. It does.", markers=()))


@given(text=st.lists(ATOMS, max_size=20).map("".join))
def test_a_finished_answer_is_cut_after_each_marker(text: str) -> None:
    whole = cited(text)
    events = events_of(whole)
    assert told(events) == whole.text
    assert tuple(event for event in events if isinstance(event, Citation)) == whole.citations
    assert CitingStream(HITS, may_be_declined).finish(whole) == events
    before = ""
    for event in events:
        if isinstance(event, Delta):
            before += event.text
        else:
            assert len(before) == event.answer_span[1]


def test_a_generator_that_gives_its_markers_is_told_by_them() -> None:
    whole = cited("As in [7], see x [1]. [2]", (Marker(22, 25, (2,)),))
    assert events_of(whole) == [Delta("As in [7], see x [1]. [2]"), *whole.citations]


def test_asking_whether_a_text_may_be_a_refusal_reads_it_a_few_times_over_not_once_a_piece() -> None:
    read = 0

    def counted(beginning: str) -> bool:
        nonlocal read
        read += len(beginning)
        return may_be_declined(beginning)

    stream = CitingStream(HITS, counted)
    for _ in range(30_000):
        assert stream.feed("...") == []
    assert read < 12 * 90_000


@pytest.mark.parametrize(
    "text",
    [
        "It lies on the Seine [2]. " * 10_000,
        "`" + "a " * 150_000,
        "[1" + ",1" * 150_000,
        "x[1]" + " " * 300_000 + "=",
        "a [9]" * 60_000,
        "[2]" * 30_000,
    ],
    ids=["prose", "open code", "open marker", "index", "dropped", "repeated"],
)
def test_tens_of_thousands_of_pieces_are_no_trouble(text: str) -> None:
    """Looking at what is open again with every piece takes minutes."""
    began = time.perf_counter()
    events, whole = streamed([text[start : start + 3] for start in range(0, len(text), 3)])
    assert time.perf_counter() - began < 15
    assert "".join(told(some) for some in events) == whole.text
