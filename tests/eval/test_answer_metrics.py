"""Values worked by hand from the definitions of the SQuAD 2.0 evaluation script."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics.answers import containment, exact_match, fact_recall, token_f1, tokens, without_citations
from eval.metrics.wording import WORDING, char3_recall, lcs_length, rouge_l, token_recall
from eval.scores import Undefined


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
        ("埃菲尔铁塔位于巴黎。", ["巴黎"], 1.0),  # no spaces: by characters
        ("塔は1889年にパリで完成した。", ["1889年"], 1.0),
        ("塔は1889年にパリで完成した。", ["889年"], 0.0),
        ("埃菲尔铁塔位于巴黎。", ["黎巴"], 0.0),
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


@pytest.mark.parametrize(
    ("answer", "facts", "expected"),
    [
        ("It took 2 years and cost 7.8 million francs.", [["two years", "2 years"], ["7.8 million"]], 1.0),
        ("It took 2 years.", [["two years", "2 years"], ["7.8 million"]], 0.5),
        ("It took 12 years.", [["2 years"]], 0.0),  # by whole tokens
        ("", [["2 years"], ["7.8 million"]], 0.0),
        ("It took 2 years.", [["2 years"], ["the"]], 1.0),  # a fact without a token is passed over
    ],
)
def test_facts_worked_by_hand(answer: str, facts: list[list[str]], expected: float) -> None:
    assert fact_recall(answer, facts) == expected


def test_facts_without_a_token_are_undefined() -> None:
    assert isinstance(fact_recall("anything", [["the"]]), Undefined)


@pytest.mark.parametrize(
    ("answer", "references", "recalled", "rouge", "grams"),
    [
        ("the cat sat on the mat", ["cat mat"], 1.0, 2 * 2 / (4 + 2), 4 / 5),  # `t m` is not in it
        ("mat cat", ["cat mat"], 1.0, 0.5, 3 / 5),  # order: LCS 1; `at `, `t m`, ` ma` against `mat`, `at `, `t c`, ` ca`, `cat`
        ("Paris", ["London"], 0.0, 0.0, 0.0),
        ("", ["Paris"], 0.0, 0.0, 0.0),
        ("no", ["no"], 1.0, 1.0, 1.0),  # shorter than three characters
        ("cat", ["cat cat"], 0.5, 2 / 3, 1 / 5),  # `cat` occurs twice in the reference
        ("dog", ["cat", "hot dog"], 0.5, 2 / 3, 1 / 5),  # the best reference counts
    ],
)
def test_wording_worked_by_hand(answer: str, references: list[str], recalled: float, rouge: float, grams: float) -> None:
    assert token_recall(answer, references) == pytest.approx(recalled)
    assert rouge_l(answer, references) == pytest.approx(rouge)
    assert char3_recall(answer, references) == pytest.approx(grams)


def test_three_characters_tell_chinese_answers_apart() -> None:
    assert char3_recall("埃菲尔铁塔位于巴黎", ["埃菲尔铁塔"]) == 1.0
    assert char3_recall("埃菲尔大桥", ["埃菲尔铁塔"]) == pytest.approx(1 / 3)


def test_wording_without_a_usable_reference_is_undefined() -> None:
    assert all(isinstance(measure("anything", ["the"]), Undefined) for measure in WORDING.values())


ITEMS = st.lists(st.sampled_from("abc"), max_size=12)


@given(ITEMS, ITEMS)
def test_the_longest_common_subsequence_is_that_of_the_table(first: Sequence[str], second: Sequence[str]) -> None:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, one in enumerate(first, start=1):
        for j, other in enumerate(second, start=1):
            table[i][j] = table[i - 1][j - 1] + 1 if one == other else max(table[i - 1][j], table[i][j - 1])
    assert lcs_length(first, second) == table[-1][-1]


WORDS = st.lists(st.sampled_from(["cat", "mat", "sat", "Paris", "1889"]), min_size=1, max_size=8).map(" ".join)


@given(WORDS, WORDS)
def test_wording_lies_between_none_and_all_and_what_is_the_same_has_all(answer: str, reference: str) -> None:
    for measure in WORDING.values():
        value = measure(answer, [reference])
        assert isinstance(value, float)
        assert 0.0 <= value <= 1.0
        assert measure(reference, [reference]) == 1.0
