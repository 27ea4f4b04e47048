import pytest

from rag_service.loading.csv import load_csv
from rag_service.types import Document, Skipped
from tests.loading.inspection import assert_blocks_cover, documents, skips


def rows(text: str, source: str = "data/list.csv") -> list[Document | Skipped]:
    return list(load_csv(text.encode(), source))


def test_a_text_column_is_the_text_and_the_others_are_title_id_and_metadata() -> None:
    (document,) = documents(rows('\ufeffid,Title,Body,lang,empty\n7,A name,"first\n\nsecond, with ""quotes""",en,\n'))
    assert (document.id, document.source, document.title) == ("7", "data/list.csv#7", "A name")
    assert document.text == 'first\n\nsecond, with "quotes"'
    assert document.metadata == {"lang": "en"}
    assert len(document.blocks) == 2


def test_without_a_text_column_a_row_reads_as_its_named_values() -> None:
    first, second = documents(rows("name,colour,price\nApple,red,\nPear,,3\n"))
    assert (first.text, first.title, first.id) == ("name: Apple\ncolour: red", "Apple", "data/list.csv#1")
    assert (second.text, second.source) == ("name: Pear\nprice: 3", "data/list.csv#2")
    assert_blocks_cover(first)


def test_a_row_that_does_not_fit_the_header_is_reported_by_its_line() -> None:
    items = rows('a,b\n"one\nline",2\n3\n4,5,6\n7,8\n')
    assert [document.text for document in documents(items)] == ["a: one\nline\nb: 2", "a: 7\nb: 8"]
    assert [(item.source, item.reason, item.detail) for item in skips(items)] == [
        ("data/list.csv#L4", "invalid_row", "line 4: the header has 2 fields, this row has 1"),
        ("data/list.csv#L5", "invalid_row", "line 5: the header has 2 fields, this row has 3"),
    ]


def test_a_quotation_mark_that_is_never_closed_is_reported_where_it_opens() -> None:
    items = rows('a,b\n1,2\n3,"open\n5,6\n')
    assert [document.text for document in documents(items)] == ["a: 1\nb: 2"]
    assert [(item.source, item.reason) for item in skips(items)] == [("data/list.csv#L3", "invalid_row")]


@pytest.mark.parametrize(
    ("source", "text"), [("x.tsv", "text\tn\na, b; c\t1\n"), ("x.csv", "text;n\na, b, c;1\n"), ("x.csv", "text|n\na, b|1\n")]
)
def test_tabs_semicolons_and_bars_divide_as_the_header_shows(source: str, text: str) -> None:
    (document,) = documents(rows(text, source))
    assert document.metadata == {"n": "1"}


def test_blank_lines_are_nothing_and_a_row_without_values_is_empty() -> None:
    items = rows("text,n\n\na,1\n\n,\n")
    assert [document.id for document in documents(items)] == ["data/list.csv#1"]
    assert [(item.source, item.reason) for item in skips(items)] == [("data/list.csv#2", "empty")]


@pytest.mark.parametrize("text", ["a,b\n", "a,b", "\n\n"])
def test_a_table_without_rows_is_empty(text: str) -> None:
    assert [item.reason for item in skips(rows(text))] == ["empty"]


def test_a_field_longer_than_the_standard_limit_is_read() -> None:
    (document,) = documents(rows("text,n\n" + "x" * 200_000 + ",1\n"))
    assert len(document.text) == 200_000
