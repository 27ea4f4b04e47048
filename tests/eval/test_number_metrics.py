"""Numbers of a reference in an answer: what the SQuAD script takes for equal and is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics.answers import exact_match
from eval.metrics.numbers import numbers_match, said
from eval.scores import Undefined


@pytest.mark.parametrize(("answer", "reference"), [("-5", "5"), ("1.5", "15"), ("10 %", "10"), ("$5", "5")])
def test_the_squad_script_takes_them_for_equal(answer: str, reference: str) -> None:
    assert exact_match(answer.replace(" ", ""), [reference]) == 1.0


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("It was −5 °C.", "5", 0.0),
        ("It was 5 °C.", "-5", 0.0),
        ("It was minus five degrees.", "−5", 1.0),
        ("from 3-5 items", "5", 1.0),  # a range, no sign
        ("- 5 items", "5", 1.0),  # a list, no sign
        ("1.5", "15", 0.0),
        ("10 %", "10", 0.0),
        ("10", "10 %", 0.0),
        ("ten percent", "10 %", 1.0),
        ("1 000 km", "1,000", 1.0),
        ("a thousand and 1000", "1,000", 1.0),
        ("1", "1,000", 0.0),
        ("3.50", "3,5", 1.0),
        ("0,125", "125", 0.0),
        (".5", "0.5", 1.0),
        ("twenty-three", "23", 1.0),
        ("$5 million", "5,000,000", 1.0),  # nobody asked for a currency
        ("5,000,000", "$5m", 0.0),
        ("5 million dollars", "$5m", 1.0),
        ("€5m", "$5m", 0.0),
        ("USD 5", "5 dollars", 1.0),
        ("version v5.2", "5.2", 0.0),  # a name
        ("It was finished on 2024-05-03.", "3 May 2024", 1.0),
        ("On May 3rd, 2024.", "2024-05-03", 1.0),
        ("3. Mai 2024", "3 May 2024", 1.0),
        ("3 de mayo de 2024", "May 3, 2024", 1.0),
        ("2024年5月3日", "3 May 2024", 1.0),
        ("3/5/2024", "5 March 2024", 1.0),  # may be either
        ("3.5.2024", "5 March 2024", 0.0),  # may not
        ("4 May 2024", "3 May 2024", 0.0),
        ("May 2024", "3 May 2024", 0.0),
        ("3 May 2024", "May 2024", 1.0),  # said and more
        ("3 May 2024", "2024", 1.0),
        ("2024", "3 May 2024", 0.0),
        ("between 3 and 7", "3 to 7", 1.0),
        ("between 3 and 8", "3 to 7", 0.0),  # every number is wanted
    ],
)
def test_numbers_worked_by_hand(answer: str, reference: str, expected: float) -> None:
    assert numbers_match(answer, [reference]) == expected


def test_one_reference_is_enough_and_those_without_a_number_are_passed_over() -> None:
    assert numbers_match("in 1889", ["the year of the fair", "1889", "1890"]) == 1.0
    assert numbers_match("in 1891", ["the year of the fair", "1889", "1890"]) == 0.0


def test_without_a_number_there_is_nothing_to_match() -> None:
    assert isinstance(numbers_match("in 1889", ["the year of the fair"]), Undefined)


@pytest.mark.parametrize(("text", "amounts", "days"), [("5 may be enough", 0, 1), ("one of them", 0, 0), ("2024-13-45", 3, 0)])
def test_what_looks_like_a_date(text: str, amounts: int, days: int) -> None:
    found = said(text)
    assert (len(found.amounts), len(found.days)) == (amounts, days)


@given(st.text(alphabet="0123456789.,-−$€% May/年月日abc", max_size=30))
def test_any_text_with_a_number_says_what_it_says(text: str) -> None:
    found = said(text)
    assert numbers_match(text, [text]) == 1.0 or not (found.amounts or found.days)


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_numbers_match_where_they_are_equal(one: int, other: int) -> None:
    assert numbers_match(f"It is {one:,}.", [f"{other}"]) == float(one == other)
