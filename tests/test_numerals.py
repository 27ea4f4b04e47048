"""Numbers as values that can be compared, however they are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.numerals import claimed_numbers, readings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("42", [{"42"}]),
        ("1,234,567", [{"1234567"}]),
        ("1.234.567,80", [{"1234567.8"}]),
        ("1,234.5", [{"1234.5"}]),
        ("3.50", [{"3.5"}]),
        ("007", [{"7"}]),
        ("10 000 or 10\u202f000", [{"10000"}, {"10000"}]),
        ("in 2011 500 people", [{"2011"}, {"500"}]),
        ("1.234", [{"1.234", "1234"}]),
        ("1.2.3", [{"1.2.3"}]),
        ("2024-05-03 at 10:30", [{"2024"}, {"5"}, {"3"}, {"10"}, {"30"}]),
        ("the 3rd of the 1990s, 42km", [{"3"}, {"1990"}, {"42"}]),
        ("v1.2, h100 and x86_64", []),
        ("5 million, 1.5 thousand", [{"5000000"}, {"1500"}]),
        ("twenty-three", [{"23"}]),
        ("two hundred five", [{"205"}]),
        ("three million", [{"3000000"}]),
        ("two three", [{"2"}, {"3"}]),
        ("one of them", []),
        ("在2011年", [{"2011"}]),
        ("٤٢", [{"42"}]),
    ],
)
def test_a_claimed_number_has_the_values_that_it_may_be_read_as(text: str, expected: list[set[str]]) -> None:
    assert [set(number.values) for number in claimed_numbers(text)] == expected


@pytest.mark.parametrize("text", ["40%", "40 %", "40 percent", "40 per cent", "forty percent", "40 Prozent", "40 por ciento"])
def test_percentages_are_told_from_plain_numbers(text: str) -> None:
    [number] = claimed_numbers(text)
    assert number.percent
    assert number.values == {"40"}
    assert not claimed_numbers("40 people")[0].percent


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3 May", "5"),
        ("im März", "3"),
        ("the third", "3"),
        ("twice", "2"),
        ("drei Tage", "3"),
        ("trois jours", "3"),
        ("5m rows", "5000000"),
        ("5m rows", "5"),
        ("二十三", "23"),
        ("二〇一一年", "2011"),
        ("三百", "300"),
    ],
)
def test_a_passage_holds_every_value_that_a_reader_may_see_in_it(text: str, value: str) -> None:
    assert value in readings(text)


@given(st.integers(0, 10**12))
def test_every_way_to_write_an_integer_meets(number: int) -> None:
    [plain] = claimed_numbers(str(number))
    for written in (f"{number:,}", f"{number:,}".replace(",", "."), f"{number:,}".replace(",", "'"), f"{number:,}".replace(",", " ")):
        assert plain.values & readings(written), written


@given(st.text(st.sampled_from("0123456789.,' two hundredmillion-五十百%²٣") | st.characters(), max_size=80))
def test_no_text_breaks_them(text: str) -> None:
    for number in claimed_numbers(text):
        assert number.values & readings(text)


def test_words_that_multiply_without_end_stay_small() -> None:
    assert all(len(value) < 40 for number in claimed_numbers("two " + "million " * 1000) for value in number.values)
