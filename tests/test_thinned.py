"""What is left out of the hits because a better one says it, or because one document has said enough."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.ranking import thinned
from rag_service.types import Chunk, ChunkId, DocumentId, Hit

MEETING = (
    "The committee meets on the first Monday of every month in the large hall, reads the minutes of the last meeting aloud, and then "
    "hears what the members have to say about the budget, about the garden behind the house and about the summer party."
)


def hit(score: float, text: str, document: str = "", *, cosine: float = 0.5, keywords: float = 0.5) -> Hit:
    """Of a document of its own where none is named."""
    name = hashlib.sha256(f"{score} {text} {document}".encode()).hexdigest()
    chunk = Chunk(ChunkId(name[:32]), DocumentId(document or name), 0, 0, len(text), text, "", (), "d.txt", None, text, 3)
    return Hit(chunk, score, cosine, keywords)


def scores(hits: list[Hit]) -> list[float]:
    return [found.score for found in hits]


def test_hits_that_say_different_things_stay_in_their_order() -> None:
    hits = [hit(0.9, "Ferries leave at noon."), hit(0.8, "Bread is baked at night."), hit(0.7, "Copper conducts heat.")]
    assert thinned(hits, 3, per_document=3) == hits
    assert thinned(hits, 2, per_document=3) == hits[:2]


def test_of_equal_texts_the_best_stays() -> None:
    hits = [hit(0.9, MEETING), hit(0.9, "Something else is said here."), hit(0.8, MEETING), hit(0.7, f"  {MEETING}\n")]
    assert scores(thinned(hits, 4, per_document=3)) == [0.9, 0.9]


def test_a_short_text_is_the_same_only_as_itself() -> None:
    hits = [hit(0.9, "Closed."), hit(0.8, "Open."), hit(0.7, "Closed."), hit(0.6, "")]
    assert scores(thinned(hits, 4, per_document=3)) == [0.9, 0.8, 0.6]


def test_texts_are_the_same_where_nine_of_ten_runs_of_three_words_are() -> None:
    # 45 words are 43 runs of three, of which 3 change with a word in the middle: 40 of 46 are common, which is too few; at the end one
    # run changes, and 42 of 44 are.
    assert len(MEETING.split()) == 45
    inside = hit(0.8, MEETING.replace("budget,", "weather,"))
    at_the_end = hit(0.7, MEETING.replace("party.", "festival."))
    assert scores(thinned([hit(0.9, MEETING), inside, at_the_end], 3, per_document=3)) == [0.9, 0.8]


def test_texts_that_differ_in_a_number_both_stay() -> None:
    one, two = (f"{MEETING} The fee is {fee} euros a year for each member and is due in January." for fee in (30, 45))
    assert scores(thinned([hit(0.9, one), hit(0.8, two)], 2, per_document=3)) == [0.9, 0.8]


def test_the_same_numbers_in_another_order_are_something_else() -> None:
    one, two = (f"{MEETING} Rooms {first} and {second} are free." for first, second in (("12", "14"), ("14", "12")))
    assert len(thinned([hit(0.9, one), hit(0.8, two)], 2, per_document=3)) == 2


def test_what_is_left_out_makes_room_for_the_next() -> None:
    hits = [*(hit(0.9 - number / 100, MEETING) for number in range(5)), hit(0.3, "Copper conducts heat."), hit(0.2, "Penguins swim.")]
    assert scores(thinned(hits, 3, per_document=3)) == [0.9, 0.3, 0.2]


def test_a_document_that_has_had_its_share_makes_room_for_one_that_is_nearly_as_good() -> None:
    hits = [
        hit(0.90, "Ferries leave at noon.", "a"),
        hit(0.89, "Tickets are sold on board.", "a"),
        hit(0.88, "Dogs travel free.", "a"),
        hit(0.80, "Bread is baked at night.", "b"),  # 0.88 * 0.9 is 0.792
        hit(0.79, "Copper conducts heat.", "c"),
    ]
    assert scores(thinned(hits, 5, per_document=2)) == [0.90, 0.89, 0.80, 0.88, 0.79]
    assert scores(thinned(hits, 3, per_document=2)) == [0.90, 0.89, 0.80]


def test_a_document_makes_no_room_for_what_is_much_worse() -> None:
    hits = [hit(score, f"{word} leaves at noon.", "a") for score, word in ((0.9, "Ferry"), (0.89, "Train"), (0.88, "Coach"))]
    hits.append(hit(0.5, "Copper conducts heat.", "b"))
    assert scores(thinned(hits, 3, per_document=1)) == [0.9, 0.89, 0.88]


def test_a_document_alone_goes_on() -> None:
    hits = [hit(0.9 - number / 100, f"Chapter {number} speaks of something.", "a") for number in range(6)]
    assert thinned(hits, 5, per_document=1) == hits[:5]


def test_a_text_that_is_left_out_is_not_counted_for_its_document() -> None:
    hits = [hit(0.9, MEETING, "a"), hit(0.89, MEETING, "b"), hit(0.88, "Bread is baked at night.", "b"), hit(0.87, "Copper.", "c")]
    assert scores(thinned(hits, 3, per_document=1)) == [0.9, 0.88, 0.87]


@pytest.mark.parametrize("k", [0, -1])
def test_nothing_asked_for_gives_nothing(k: int) -> None:
    assert thinned([hit(0.9, "Copper.")], k, per_document=3) == []


def test_nothing_stays_nothing() -> None:
    assert thinned([], 5, per_document=3) == []


@st.composite
def ranked(draw: st.DrawFn) -> list[Hit]:
    """Best first, of few texts and few documents, so that many are alike."""
    texts = st.sampled_from([MEETING, MEETING.replace("party", "festival"), f"{MEETING} 5", f"{MEETING} 6", "Copper.", "Closed.", ""])
    places = st.tuples(
        st.floats(-1, 1).map(lambda score: round(score, 3)), texts, st.sampled_from("abcd"), st.sampled_from([0.5, 0.52, 0.7])
    )
    found = sorted(draw(st.lists(places, max_size=14)), key=lambda place: -place[0])
    made = [hit(score, text, document, cosine=cosine) for score, text, document, cosine in found]
    return [replace(one, chunk=replace(one.chunk, id=ChunkId(f"{number:032x}"))) for number, one in enumerate(made)]


@given(hits=ranked(), k=st.integers(0, 16), per_document=st.integers(1, 4))
def test_what_comes_out_came_in_once_at_most_and_there_are_at_most_k(hits: list[Hit], k: int, per_document: int) -> None:
    found = thinned(hits, k, per_document=per_document)
    identifiers = [one.chunk.id for one in found]
    assert len(found) <= k
    assert len(set(identifiers)) == len(identifiers)
    assert all(one in hits for one in found)
    assert bool(found) == bool(hits and k)
    if found:
        assert found[0] == hits[0]


@given(hits=ranked(), k=st.integers(0, 16), per_document=st.integers(1, 4))
def test_asking_for_fewer_gives_the_first_of_those_that_asking_for_more_gives(hits: list[Hit], k: int, per_document: int) -> None:
    assert thinned(hits, k, per_document=per_document) == thinned(hits, 16, per_document=per_document)[:k]


@given(hits=ranked(), k=st.integers(0, 16))
def test_without_a_share_of_a_document_the_order_is_as_it_was(hits: list[Hit], k: int) -> None:
    found = thinned(hits, k, per_document=1000)
    places = [hits.index(one) for one in found]
    assert places == sorted(places)


@given(hits=ranked(), per_document=st.integers(1, 4))
def test_a_worse_hit_goes_before_a_better_one_only_where_that_ones_document_has_had_its_share(hits: list[Hit], per_document: int) -> None:
    found = thinned(hits, len(hits), per_document=per_document)
    for place, one in enumerate(found):
        had = [earlier.chunk.document_id for earlier in found[:place]]
        for later in found[place + 1 :]:
            if later.score > one.score:
                assert had.count(later.chunk.document_id) >= per_document
                assert had.count(one.chunk.document_id) < per_document
                assert one.score >= 0.9 * later.score


@given(hits=ranked(), per_document=st.integers(1, 4))
def test_nothing_that_comes_out_has_the_words_of_another(hits: list[Hit], per_document: int) -> None:
    alike = [replace(one, cosine=0.5) for one in hits]
    texts = [one.chunk.text for one in thinned(alike, len(hits), per_document=per_document)]
    assert len(set(texts)) == len(texts)
    assert set(texts) | {MEETING, MEETING.replace("party", "festival")} >= {one.chunk.text for one in hits}


@given(hits=ranked(), per_document=st.integers(1, 4))
def test_thinning_what_was_thinned_changes_nothing_but_where_documents_stand(hits: list[Hit], per_document: int) -> None:
    once = thinned(hits, len(hits), per_document=per_document)
    again = thinned(once, len(once), per_document=1000)
    assert again == once
