"""Values worked by hand from the definitions of the SQuAD 2.0 evaluation script."""

import pytest

from eval.metrics.answers import containment, exact_match, token_f1, tokens, without_citations
from eval.metrics.scores import Undefined


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Normans!", ["normans"]),
        ("An apple, a day", ["apple", "day"]),
        ("well-known U.S. firms", ["wellknown", "us", "firms"]),
        ("“theatre”", ["“theatre”"]),  # only ASCII punctuation is deleted
        ("anthem of the athlete", ["anthem", "of", "athlete"]),
        ("A. The!", []),
    ],
)
def test_texts_are_compared_without_case_punctuation_and_articles(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("answer", "references", "exact", "f1"),
    [
        ("the Normans.", ["Normans"], 1.0, 1.0),
        ("in 1889", ["1889"], 0.0, 2 / 3),  # P 1/2, R 1
        ("the cat sat on the cat", ["cat cat cat"], 0.0, 4 / 7),  # 2 of 4, 2 of 3: repeated words count as often as in both
        ("October 1973", ["1973", "October 1973", "October"], 1.0, 1.0),  # the best reference counts
        ("in October", ["1973", "October 1973"], 0.0, 1 / 2),
        ("Paris", ["London"], 0.0, 0.0),
        ("", ["Paris"], 0.0, 0.0),
        ("", [], 1.0, 1.0),  # no answer was right
        ("Paris", [], 0.0, 0.0),
        ("", ["The", "Paris"], 0.0, 0.0),  # a reference of nothing does not make silence right …
        ("", ["The"], 1.0, 1.0),  # … unless it is the only one
    ],
)
def test_exact_match_and_f1_worked_by_hand(answer: str, references: list[str], exact: float, f1: float) -> None:
    assert exact_match(answer, references) == exact
    assert token_f1(answer, references) == pytest.approx(f1, abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "references", "expected"),
    [
        ("It was finished in 1889, in Paris.", ["1889"], 1.0),
        ("It was finished in 1889.", ["1", "188"], 0.0),  # by whole tokens
        ("the new York city hall", ["New York City"], 1.0),
        ("new big york", ["New York"], 0.0),  # together
        ("york new", ["New York"], 0.0),  # in order
        ("unknown", ["no"], 0.0),
        ("", ["no"], 0.0),
    ],
)
def test_containment_worked_by_hand(answer: str, references: list[str], expected: float) -> None:
    assert containment(answer, references) == expected


def test_containment_of_nothing_is_undefined() -> None:
    assert isinstance(containment("anything", ["the"]), Undefined)


@pytest.mark.parametrize(
    ("answer", "spans", "expected"),
    [
        ("Paris [1]. Since 1889 [2].", [(6, 9), (22, 25)], "Paris. Since 1889."),
        ("Paris [1, 2]", [(6, 12), (6, 12)], "Paris"),  # one marker, two citations
        ("array[0] is first [1]", [(18, 21)], "array[0] is first"),  # what is no citation stays
        ("[1] leads", [(0, 3)], "leads"),
        ("none", [], "none"),
    ],
)
def test_citation_markers_are_taken_out_by_their_places(answer: str, spans: list[tuple[int, int]], expected: str) -> None:
    assert without_citations(answer, spans) == expected
