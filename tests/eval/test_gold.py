"""Gold in an index: what of a question set is found where, however the documents were cut."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from eval.gold import resolve_gold
from eval.locating import locate, text_of
from eval.places import ChunkPlaces
from eval.questions import EvalQuestion, GoldPlace, read_questions
from eval.quotes import DocumentText, RawText, folded
from eval.results import Gold, GoldSpan
from rag_service.errors import Mismatch
from rag_service.normalise import document_text, normalise
from tests.eval.cut_documents import CutDocuments, a_chunk

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"

TOWER = "# The tower\n\nThe Eiffel Tower stands in Paris.\nIt was finished in 1889 – “the iron lady”.\n\nIt is 330 metres tall, in Paris."


def _asked(*groups: Sequence[GoldPlace], **fields: object) -> EvalQuestion:
    return EvalQuestion("q", "Where is it?", places=tuple(map(tuple, groups)), **fields)  # type: ignore[arg-type]


def _resolved(question: EvalQuestion, documents: dict[str, str] | None = None, **cut: int) -> Gold:
    [gold] = resolve_gold([question], CutDocuments({"tower": TOWER} if documents is None else documents, **cut), index="little")  # type: ignore[arg-type]
    return gold


def _texts(gold: Gold, documents: dict[str, str] | None = None) -> list[list[str]]:
    documents = {"tower": TOWER} if documents is None else documents
    return [[documents[span.document][span.start : span.end] for span in group] for group in gold.groups]


@pytest.mark.parametrize(("size", "overlap"), [(1000, 0), (40, 0), (40, 15), (7, 3), (1, 0)])
def test_offsets_and_quotes_are_found_however_the_document_was_cut(size: int, overlap: int) -> None:
    start = TOWER.index("stands in Paris")
    question = _asked([GoldPlace("tower", start=start, end=start + 15)], [GoldPlace("tower", quote="330 metres tall")])
    gold = _resolved(question, size=size, overlap=overlap)
    assert (gold.relevant, gold.missing) == ({"tower": 1}, 0)
    assert _texts(gold) == [["stands in Paris"], ["330 metres tall"]]


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("finished in 1889", ["finished in 1889"]),
        ("Paris. It was finished", ["Paris.\nIt was finished"]),
        ("  Paris.\n\n It was ", ["Paris.\nIt was"]),
        ('1889 - "the iron lady".', ["1889 – “the iron lady”."]),
        ("1889 — “the iron lady” .", []),
        ("in Paris", ["in Paris", "in Paris"]),
        ("it was finished", []),
        ("aris", ["aris", "aris"]),
        ("tal", ["tal"]),
        ("is", ["is"]),
        ("18", ["18"]),
        ("The", ["The", "The"]),
    ],
)
def test_a_quote_is_found_wherever_it_stands_but_not_within_words_if_it_also_stands_by_itself(quote: str, found: list[str]) -> None:
    gold = _resolved(_asked([GoldPlace("tower", quote=quote)]))
    assert _texts(gold) == ([found] if found else [])
    assert gold.missing == (0 if found else 1)


def test_quotation_marks_as_they_are_come_before_others() -> None:
    documents = {"d": 'He said “no” and she said "no".'}
    assert _texts(_resolved(_asked([GoldPlace("d", quote='"no"')]), documents), documents) == [['"no"']]
    assert _texts(_resolved(_asked([GoldPlace("d", quote="„no“")]), documents), documents) == [["“no”", '"no"']]


def test_a_number_is_not_found_inside_another_one() -> None:
    documents = {"d": "In 2010 there was 1 left of 10."}
    assert [span.start for span in _resolved(_asked([GoldPlace("d", quote="1")]), documents).groups[0]] == [18]


def test_offsets_of_white_space_count_without_it() -> None:
    start = TOWER.index("Paris.")
    gold = _resolved(_asked([GoldPlace("tower", start=start - 1, end=start + 7)]))
    assert gold.groups == ((GoldSpan("tower", start, start + 6),),)


@pytest.mark.parametrize(
    ("place", "why"),
    [
        (GoldPlace("bridge", quote="Paris"), "there is no document 'bridge'"),
        (GoldPlace("bridge"), "there is no document 'bridge'"),
        (GoldPlace("tower", quote="London"), "its quote does not stand in 'tower'"),
        (GoldPlace("tower", start=5, end=6, quote="London"), "its quote does not stand in 'tower'"),
        (GoldPlace("tower", start=3, end=1000), "'tower' has no text there"),
        (GoldPlace("tower", start=1000, end=1001), "'tower' has no text there"),
        (GoldPlace("tower", start=11, end=13), "'tower' has no text there"),
        (GoldPlace(quote="London"), "its quote stands in no document of the index"),
        (GoldPlace(text="London.", quote="London"), "its paragraph stands in no document of the index"),
    ],
)
def test_a_place_that_stands_nowhere_is_missing_and_says_why(place: GoldPlace, why: str) -> None:
    question = _asked([place], [GoldPlace("tower", quote="Paris")])
    assert _resolved(question).missing == 1
    assert locate([question], CutDocuments({"tower": TOWER})).places[place].lost == why  # type: ignore[arg-type]


def test_a_quote_that_moved_is_found_again_nearest_to_where_it_was() -> None:
    first, second = (found.start() for found in re.finditer("Paris", TOWER))
    for offset in (-3, 3):
        [[span]] = _resolved(_asked([GoldPlace("tower", start=second + offset, end=second + offset + 5, quote="Paris")])).groups
        assert span.start == second
        [[span]] = _resolved(_asked([GoldPlace("tower", start=first + offset, end=first + offset + 5, quote="Paris")])).groups
        assert span.start == first
    place = GoldPlace("tower", start=second + 3, end=second + 8, quote="Paris")
    assert locate([_asked([place])], CutDocuments({"tower": TOWER})).places[place].moved  # type: ignore[arg-type]
    there = GoldPlace("tower", start=second, end=second + 5, quote="Paris")
    assert not locate([_asked([there])], CutDocuments({"tower": TOWER})).places[there].moved  # type: ignore[arg-type]


def test_a_quote_without_a_document_is_found_in_all_that_hold_it() -> None:
    documents = {
        "one": "Here the old tower of the town stands alone.",
        "two": "And the old\ntower of  the town again.",
        "three": "No tower.",
    }
    long, short = GoldPlace(quote="the old tower of the town"), GoldPlace(quote="tower")
    gold = _resolved(_asked([long], [short]), documents, size=10)
    assert gold.relevant == {"one": 1, "two": 1, "three": 1}
    assert _texts(gold, documents) == [["the old tower of the town", "the old\ntower of  the town"], ["tower"] * 3]


def test_documents_of_places_are_relevant_unless_a_grade_says_otherwise() -> None:
    documents = {"a": "x one", "b": "x two", "c": "x three"}
    question = _asked([GoldPlace("a", quote="one"), GoldPlace("b", quote="two")], relevant={"b": 3, "c": 2})
    assert _resolved(question, documents).relevant == {"a": 1, "b": 3, "c": 2}


def test_with_a_whole_document_among_its_places_a_question_is_judged_by_documents_alone() -> None:
    question = _asked([GoldPlace("a", quote="one")], [GoldPlace("b")])
    gold = _resolved(question, {"a": "x one", "b": "x two"})
    assert (gold.relevant, gold.missing, gold.groups) == ({"a": 1, "b": 1}, 0, ())


def test_a_document_is_read_once_however_many_places_it_holds() -> None:
    chunks = CutDocuments({"tower": TOWER, "river": "The Danube."}, size=1000)
    questions = [_asked([GoldPlace("tower", quote=word)]) for word in TOWER.split()] + [_asked([GoldPlace("river", start=0, end=3)])]
    resolve_gold(questions, chunks, index="little")  # type: ignore[arg-type]
    assert sorted(chunks.read) == ["river", "tower"]


def test_a_document_of_very_many_chunks_is_read_whole() -> None:
    text = " ".join(f"w{number}" for number in range(3000))
    chunks = CutDocuments({"long": text}, size=5)
    assert len(chunks) > 2000
    read = text_of("long", chunks)  # type: ignore[arg-type]
    assert read is not None
    assert read.text.split() == text.split()
    assert text_of("short", chunks) is None  # type: ignore[arg-type]


# Paragraphs


def test_places_in_a_paragraph_are_places_in_the_document_that_is_made_of_it() -> None:
    raw = "\r\n  \r\n The cafe\u0301 of\u00ad Zoe\u0308\r\nstands  here. "
    document = document_text(raw)
    assert document == " The café of Zoë\nstands  here."
    start = raw.index("Zoe")
    question = _asked(
        [GoldPlace(text=raw, start=start, end=start + 4)], [GoldPlace(text=raw, quote="cafe\u0301 of Zoë stands")], gold_texts=(raw,)
    )
    gold = _resolved(question, {"d": document})
    assert gold.relevant == {"d": 1}
    assert _texts(gold, {"d": document}) == [["Zoë"], ["café of Zoë\nstands"]]


def test_a_paragraph_that_several_documents_consist_of_gives_a_place_in_each() -> None:
    gold = _resolved(_asked([GoldPlace(text="Paris it is.", start=0, end=5)]), {"a": "Paris it is.", "b": "Paris it is.", "c": "Paris."})
    assert gold.groups == ((GoldSpan("a", 0, 5), GoldSpan("b", 0, 5)),)
    assert gold.relevant == {"a": 1, "b": 1}


def test_a_paragraph_that_is_part_of_a_document_makes_it_relevant_and_its_places_are_found_there() -> None:
    paragraph = "It is\u00a0330 metres tall, in Paris."  # with a space that does not break, which the document does not have
    start = paragraph.index("Paris")
    question = _asked([GoldPlace(text=paragraph, start=start, end=start + 5)], gold_texts=(paragraph,))
    gold = _resolved(question, {"other": "Paris.", "tower": TOWER})
    assert (gold.relevant, gold.missing) == ({"tower": 1}, 0)
    assert gold.groups == ((GoldSpan("tower", TOWER.rindex("Paris"), TOWER.rindex("Paris") + 5),),)


def test_a_blank_paragraph_is_no_part_of_everything() -> None:
    gold = _resolved(EvalQuestion("a", "q", gold_texts=(" ", "Paris.")), {"d": "Paris."})
    assert (gold.relevant, gold.missing) == ({"d": 1}, 1)


WORDS = st.text(st.sampled_from("aé\u0301\u0308\u00ad\u200bk\u0915\u093c\u1100\u1161\u11a8\r\n –“"), min_size=1, max_size=30)


@given(WORDS, WORDS, WORDS)
def test_the_place_of_an_answer_holds_its_text_up_to_white_space(before: str, answer: str, after: str) -> None:
    """Of an answer that nothing composes with: a space stands on both sides."""
    assume(document_text(answer).strip())
    raw = f"{before} {answer} {after}"
    document = document_text(raw)
    start, end = RawText(raw).span(len(before) + 1, len(before) + 1 + len(answer))
    assert document[start:end].split() == normalise(answer).split()
    gold = _resolved(_asked([GoldPlace(text=raw, start=len(before) + 1, end=len(before) + 1 + len(answer))]), {"d": document}, size=9)
    assert [text.split() for text in _texts(gold, {"d": document})[0]] == [normalise(answer).split()]


@given(WORDS, st.data())
def test_any_offsets_become_offsets_of_the_document_in_order(raw: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, len(raw)))
    mapped = RawText(raw)
    first, last = mapped.span(start, end)
    assert mapped.text == document_text(raw)
    assert 0 <= first <= last <= len(mapped.text)
    assert set(normalise(raw[start:end]).split()) <= set(mapped.text[first:last].split()) or not _apart(raw, start, end)


def _apart(raw: str, start: int, end: int) -> bool:
    """Whether nothing outside composes with what is inside."""
    return normalise(raw[:start]) + normalise(raw[start:end]) + normalise(raw[end:]) == normalise(raw)


@given(st.text(st.sampled_from("ab “”'\n–-"), max_size=40), st.data())
def test_whatever_is_quoted_from_a_text_is_found_in_it(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    quote = text[start : data.draw(st.integers(start, len(text)))]
    found = DocumentText(text).find(folded(quote))
    assert bool(found) == bool(quote.strip())
    assert all(folded(text[first:last]) == folded(quote) for first, last in found)


# Belonging


def test_a_set_of_which_nothing_is_in_the_index_is_refused() -> None:
    paragraphs = [EvalQuestion(str(number), "q", gold_texts=(f"Foreign {number}.",)) for number in range(3)]
    chunks = CutDocuments({"tower": TOWER})
    with pytest.raises(Mismatch, match=r"none of the 3 gold paragraphs .* 'little'"):
        resolve_gold(paragraphs, chunks, index="little")  # type: ignore[arg-type]
    places = [_asked([GoldPlace("bridge", quote=word), GoldPlace(quote=word)]) for word in ("one", "two")]
    with pytest.raises(Mismatch, match=r"none of the 4 gold places .* 'little'") as refused:
        resolve_gold(places, chunks, index="little")  # type: ignore[arg-type]
    assert "path below the folder" in refused.value.hint


def test_a_set_of_which_something_is_in_the_index_is_not_refused() -> None:
    chunks = CutDocuments({"tower": TOWER})
    foreign = EvalQuestion("1", "q", gold_texts=("Foreign.",))
    for known in (
        _asked([GoldPlace("tower")]),
        _asked([GoldPlace("tower", quote="London")]),  # of this document, in another edition
        EvalQuestion("2", "q", gold_texts=("The Eiffel Tower stands in Paris.",)),
        EvalQuestion("2", "q", relevant={"bridge": 1}),
    ):
        assert resolve_gold([foreign, known], chunks, index="little")[0].missing == 1  # type: ignore[arg-type]
    assert resolve_gold([EvalQuestion("2", "q")], chunks, index="little") == [Gold({}, 0)]  # type: ignore[arg-type]


# Covered


@pytest.mark.parametrize(
    ("cut", "whole"),
    [
        ([(0, 20)], True),
        ([(0, 5), (5, 10)], True),  # half of the place [0, 10) in each
        ([(0, 4), (4, 8), (8, 10)], False),
        ([(4, 9)], True),
        ([(5, 9)], False),
    ],
)
def test_a_place_is_covered_by_a_chunk_that_holds_half_of_it(cut: list[tuple[int, int]], whole: bool) -> None:
    chunks = CutDocuments({})
    chunks.rows = [a_chunk("d", number, start, "x" * (end - start)) for number, (start, end) in enumerate(cut)]
    assert _covered(Gold({"d": 1}, 0, ((GoldSpan("d", 0, 10),),)), chunks) is whole
    alternative = Gold({"d": 1}, 0, ((GoldSpan("d", 0, 10), GoldSpan("d", cut[0][0], cut[0][1])),))
    assert _covered(alternative, chunks)
    both = Gold({"d": 1}, 0, ((GoldSpan("d", 0, 10),), (GoldSpan("d", cut[0][0], cut[0][1]),)))
    assert _covered(both, chunks) is whole
    assert not _covered(Gold({"e": 1}, 0, ((GoldSpan("e", 0, 10),),)), chunks)
    assert _covered(Gold({"d": 1}, 0), chunks)


def _covered(gold: Gold, chunks: CutDocuments) -> bool:
    return ChunkPlaces.of(chunks, [gold]).covered(gold)  # type: ignore[arg-type]


# Published sets


@pytest.mark.parametrize("name", ["chunking-eval", "squad2"])
def test_every_place_of_a_published_set_is_found_and_holds_its_answer(name: str) -> None:
    folder = SHARED_DATA / name
    if not folder.exists():
        pytest.skip(f"{name} is not beside the project, in shared/data")
    questions = read_questions(folder / ("questions.jsonl" if name == "chunking-eval" else "dev-visible.json")).questions
    rows = map(json.loads, (folder / "corpus.jsonl").read_text("utf-8").split("\n")[:-1])
    documents = {row.get("_id") or row["id"]: document_text(row["text"]) for row in rows}
    gold = resolve_gold(questions, CutDocuments(documents, size=900), index=name)  # type: ignore[arg-type]
    assert sum(known.missing for known in gold) == 0
    assert sum(len(known.groups) for known in gold) == {"chunking-eval": 790, "squad2": 1440}[name]
    for question, known in zip(questions, gold, strict=True):
        answers = {folded(document_text(answer)) for answer in question.answers}
        assert {folded(text) for group in _texts(known, documents) for text in group} <= answers
