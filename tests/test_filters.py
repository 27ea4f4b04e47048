"""What a filter lets through, how it is written, and what is refused. The page that explains filters is the module's docstring."""

import json
import math
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_service.digests import canonical_json, digest_text
from rag_service.errors import InvalidInput
from rag_service.filters import MAX_CHARS, MAX_CONDITIONS, MAX_VALUES, Filter, both, parse_filter
from rag_service.stores.chunks import SqliteChunks, write_chunk_table
from rag_service.types import Chunk, ChunkId, DocumentFacts, DocumentId, Metadata, MetadataValue


@dataclass(frozen=True)
class Labelled:
    title: str = "Travel"
    source: str = "hr/travel.md"
    metadata: Metadata = field(default_factory=dict)


def parsed(given: Mapping[str, object]) -> Filter:
    found = parse_filter(given)
    assert found is not None
    return found


def allows(given: Mapping[str, object], metadata: Metadata, document_id: str = "d1") -> bool:
    return parsed(given).allows(Labelled(metadata=metadata), document_id)


@pytest.mark.parametrize(
    ("wanted", "found", "met"),
    [
        ("en", "en", True),
        ("en", "EN", False),
        (2020, 2020.0, True),
        ({"eq": 2020}, 2021, False),
        ({"ne": "en"}, "de", True),
        ({"ne": "en"}, "en", False),
        ({"in": ["en", "de"]}, "de", True),
        ({"in": ["en", "de"]}, "fr", False),
        ({"not_in": ["en", "de"]}, "fr", True),
        ({"not_in": ["en", "de"]}, "en", False),
        ({"gt": 2020}, 2020.5, True),
        ({"gt": 2020}, 2020, False),
        ({"gte": 2020}, 2020, True),
        ({"gte": 2020}, 2019, False),
        ({"lt": 2020}, 2019, True),
        ({"lt": 2020}, 2020, False),
        ({"lte": 2020}, 2020, True),
        ({"lte": 2020}, 2021, False),
        ({"gte": "2024-01-01", "lt": "2025"}, "2024-12-31", True),
        ({"gte": "2024-01-01", "lt": "2025"}, "2025-01-01", False),
        ({"prefix": "hr/"}, "hr/leave.md", True),
        ({"prefix": "hr/"}, "HR/leave.md", False),
        ({"prefix": "hr/"}, "it/hr/", False),
        ({"prefix": ""}, "anything", True),
        ({"exists": True}, False, True),
        ({"exists": True}, "", True),
        ({"exists": False}, 0, False),
        ({"gte": 2020, "lte": 2022, "ne": 2021}, 2022, True),
        ({"gte": 2020, "lte": 2022, "ne": 2021}, 2021, False),
        ([{"ne": 1}, {"ne": 2}], 3, True),
        ([{"ne": 1}, {"ne": 2}], 2, False),
    ],
)
def test_a_condition_is_met_as_its_operator_says(wanted: object, found: MetadataValue, met: bool) -> None:
    assert allows({"key": wanted}, {"key": found}) is met


@pytest.mark.parametrize(
    "wanted",
    [
        "en", 0, False, {"eq": ""}, {"ne": "en"}, {"in": ["en", 1, True]}, {"not_in": ["en"]}, {"gt": -1}, {"gte": ""}, {"lt": 1},
        {"lte": "z"}, {"prefix": ""}, {"exists": True},
    ],
)  # fmt: skip
def test_a_document_without_the_key_meets_no_condition_on_it_but_that_it_is_missing(wanted: object) -> None:
    assert not allows({"key": wanted}, {"other": "en"})
    assert allows({"key": {"exists": False}}, {"other": "en"})


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (1, True), (0, False), (True, 1), (False, 0.0), (1, "1"), ("1", 1), ("true", True), (True, "true"),
        ({"ne": 2}, True), ({"ne": True}, 0), ({"ne": "1"}, 2), ({"ne": 1}, "2"),
        ({"in": [1, 2]}, True), ({"in": ["1"]}, 1), ({"not_in": [0]}, True), ({"not_in": ["a", "b"]}, 1), ({"not_in": [False]}, 1),
        ({"gt": 0}, True), ({"gt": 0}, "1"), ({"gt": "0"}, 1), ({"gte": 0}, False), ({"lt": 2}, True), ({"lte": "2"}, 1),
        ({"prefix": "1"}, 1), ({"prefix": ""}, 1), ({"prefix": ""}, True),
    ],
)  # fmt: skip
def test_a_value_of_another_type_meets_no_condition_but_that_it_is_there(wanted: object, found: MetadataValue) -> None:
    assert not allows({"key": wanted}, {"key": found})
    assert allows({"key": {"exists": True}}, {"key": found})


def test_a_list_of_several_types_compares_each_with_its_own() -> None:
    wanted = {"not_in": ["a", 1]}
    assert allows({"key": wanted}, {"key": "b"})
    assert allows({"key": wanted}, {"key": 2})
    assert not allows({"key": wanted}, {"key": 1.0})
    assert not allows({"key": wanted}, {"key": True})
    assert allows({"key": {"in": ["a", 1, True]}}, {"key": True})
    assert not allows({"key": {"in": ["a", 1, False]}}, {"key": True})


def test_all_conditions_must_hold() -> None:
    given = {"lang": "en", "year": {"gte": 2020}}
    assert allows(given, {"lang": "en", "year": 2020})
    assert not allows(given, {"lang": "en", "year": 2019})
    assert not allows(given, {"lang": "de", "year": 2020})


def test_source_title_and_document_id_are_the_documents_own_whatever_its_metadata_says() -> None:
    forged = {"source": "public/x.md", "title": "Public", "document_id": "public"}
    assert allows({"source": "hr/travel.md", "title": {"prefix": "Tra"}, "document_id": {"in": ["d1"]}}, forged)
    for key, value in forged.items():
        assert not allows({key: value}, forged)
        assert not allows({key: {"exists": False}}, {})


def test_a_chunk_answers_for_its_document() -> None:
    chunk = Chunk(
        id=ChunkId("00"), document_id=DocumentId("d1"), ordinal=0, start=0, end=1, text="x", title="Travel", heading_path=(),
        source="hr/travel.md", page=None, embedded_text="x", tokens=3, metadata={"lang": "en"},
    )  # fmt: skip
    assert parsed({"lang": "en", "source": {"prefix": "hr/"}}).allows(chunk, chunk.document_id)
    assert not parsed({"lang": "de"}).allows(chunk, chunk.document_id)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, {"a": {"eq": 1}}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 0}, {"a": -0.0}),
        ({"a": {"gte": 1, "lt": 2}}, {"a": {"lt": 2, "gte": 1}}),
        ({"a": {"gte": 1, "lt": 2}}, {"a": [{"lt": 2}, {"gte": 1}]}),
        ({"a": {"in": ["x", "y", 3]}}, {"a": {"in": [3.0, "y", "x", "y"]}}),
        ({"a": [{"ne": 1}, {"ne": 1}]}, {"a": {"ne": 1}}),
    ],
)
def test_equal_filters_are_equal_however_they_were_written(one: dict[str, object], other: dict[str, object]) -> None:
    assert parsed(one) == parsed(other)
    assert hash(parsed(one)) == hash(parsed(other))
    assert parsed(one).digest == parsed(other).digest
    assert parsed(one).as_json() == parsed(other).as_json()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": True}),
        ({"a": 0}, {"a": False}),
        ({"a": 1}, {"a": "1"}),
        ({"a": "x"}, {"a": {"in": ["x"]}}),
        ({"a": {"in": [1]}}, {"a": {"in": [True]}}),
        ({"a": {"gt": 1}}, {"a": {"gte": 1}}),
        ({"a": 1}, {"b": 1}),
        ({"a": "('x',)"}, {"a": {"in": ["x"]}}),
    ],
)
def test_different_filters_are_different(one: dict[str, object], other: dict[str, object]) -> None:
    assert parsed(one) != parsed(other)
    assert parsed(one).digest != parsed(other).digest
    combined = both(parsed(one), parsed(other))
    assert combined is not None
    assert len(combined.conditions) == 2


def test_the_digest_is_that_of_the_conditions_in_order() -> None:
    # sha256 of [["lang","eq","en"],["year","gte",2020]]
    assert parsed({"year": {"gte": 2020.0}, "lang": "en"}).digest == digest_text('[["lang","eq","en"],["year","gte",2020]]')


def test_no_condition_is_no_filter() -> None:
    assert parse_filter({}) is None


def test_both_lets_through_what_each_does() -> None:
    first, second = parsed({"lang": "en", "year": {"gte": 2020}}), parsed({"year": {"gte": 2022}, "lang": "en"})
    combined = both(first, second)
    assert combined == both(second, first) == parsed({"lang": "en", "year": [{"gte": 2020}, {"gte": 2022}]})
    assert combined is not None
    assert combined.allows(Labelled(metadata={"lang": "en", "year": 2022}), "d")
    assert not combined.allows(Labelled(metadata={"lang": "en", "year": 2021}), "d")


def test_both_of_what_excludes_each_other_lets_nothing_through() -> None:
    combined = both(parsed({"draft": True}), parsed({"draft": 1}))
    assert combined is not None
    assert not any(combined.allows(Labelled(metadata={"draft": value}), "d") for value in (True, 1, "1", False))


def test_both_with_nothing_is_the_other() -> None:
    one = parsed({"lang": "en"})
    assert both(one, None) == both(None, one) == both(one, one) == one
    assert both(None, None) is None


def test_what_is_shown_loses_no_condition() -> None:
    combined = both(parsed({"lang": "en", "year": {"gte": 2020, "lt": 2030}}), parsed({"year": {"gte": 2022}, "tag": {"in": ["b", "a"]}}))
    assert combined is not None
    assert combined.as_json() == {
        "lang": {"eq": "en"},
        "tag": {"in": ["a", "b"]},
        "year": [{"gte": 2020}, {"gte": 2022}, {"lt": 2030}],
    }
    assert parse_filter(combined.as_json()) == combined


def test_a_filter_of_two_full_ones_is_read_back_with_room_for_both() -> None:
    names = string.ascii_lowercase[:MAX_CONDITIONS]
    combined = both(parsed(dict.fromkeys(names, 1)), parsed(dict.fromkeys(names.upper(), 1)))
    assert combined is not None
    assert parse_filter(combined.as_json(), at_most=2 * MAX_CONDITIONS) == combined
    with pytest.raises(InvalidInput, match="filters has 32 conditions; at most 16"):
        parse_filter(combined.as_json())


LONG = "x" * (MAX_CHARS + 1)


@pytest.mark.parametrize(
    ("given", "param", "complaint"),
    [
        ({f"k{number}": 1 for number in range(MAX_CONDITIONS + 1)}, "filters", "filters has 17 conditions; at most 16"),
        ({"a": [{"ne": number} for number in range(MAX_CONDITIONS + 1)]}, "filters", "filters has 17 conditions; at most 16"),
        ({"": 1}, "filters", "a key of filters has 0 characters; 1 to 256"),
        ({LONG: 1}, "filters", "a key of filters has 257 characters; 1 to 256"),
        ({"\ud800": 1}, "filters", "a key of filters holds half a surrogate pair"),
        ({7: 1}, "filters", "a key of filters is not a text"),
        ({"year": {"between": [1, 2]}}, "filters.year", "filters.year has the unknown operator 'between'"),
        ({"year": {"GT": 1}}, "filters.year", "unknown operator 'GT'"),
        ({"year": {"$gt": 1}}, "filters.year", r"unknown operator '\$gt'"),
        ({"year": {"o" * 5000: 1}}, "filters.year", "unknown operator 'o{40}'"),
        ({"year": {}}, "filters.year", "filters.year has no operator"),
        ({"year": []}, "filters.year", "filters.year has no operator"),
        ({"year": [{"gt": 1}, {}]}, "filters.year", "filters.year has no operator"),
        ({"year": [2020, 2021]}, "filters.year", "filters.year is a list of values"),
        ({"year": [{"gt": 1}, 2]}, "filters.year", "filters.year is a list of values"),
        ({"year": [[{"gt": 1}]]}, "filters.year", "filters.year is a list of values"),
        ({"year": {"exists": 1}}, "filters.year", "filters.year.exists must be true or false"),
        ({"year": {"exists": None}}, "filters.year", "filters.year.exists must be true or false"),
        ({"year": {"in": 2020}}, "filters.year", "filters.year.in must be a list of 1 to 64 values"),
        ({"year": {"in": "2020"}}, "filters.year", "filters.year.in must be a list of 1 to 64 values"),
        ({"year": {"in": []}}, "filters.year", "filters.year.in must be a list of 1 to 64 values"),
        ({"year": {"not_in": list(range(MAX_VALUES + 1))}}, "filters.year", "filters.year.not_in must be a list of 1 to 64 values"),
        ({"year": {"gt": True}}, "filters.year", "filters.year.gt compares numbers or texts"),
        ({"year": {"prefix": 20}}, "filters.year", "filters.year.prefix must be a text"),
        ({"lang": LONG}, "filters.lang", "a value of filters.lang has 257 characters; at most 256"),
        ({"lang": {"in": ["en", LONG]}}, "filters.lang", "a value of filters.lang has 257 characters; at most 256"),
        ({"bad\nkey": None}, r"filters.'bad\nkey'", r"a value of filters\.'bad\\nkey' must be"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(given: dict[str, object], param: str, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint) as caught:
        parse_filter(given)
    assert caught.value.param == param
    assert len(caught.value.message) < 700


NO_VALUES = [None, math.nan, math.inf, -math.inf, 2**53, -(2**53), 1e300, 10**400, "\udfff", [[1]], ["x"], {"eq": 1}, object()]


@pytest.mark.parametrize("value", NO_VALUES, ids=lambda value: str(value)[:12].encode("unicode_escape").decode())
@pytest.mark.parametrize("written", [lambda value: {"eq": value}, lambda value: {"in": ["en", value]}, lambda value: {"lt": value}])
def test_what_is_no_text_number_or_truth_value_is_refused(written: Callable[[object], object], value: object) -> None:
    with pytest.raises(InvalidInput, match=r"a value of filters\.key must be a text, a number below 2\^53, true or false") as caught:
        parse_filter({"key": written(value)})
    assert caught.value.param == "filters.key"


def test_what_is_just_within_the_limits_is_accepted() -> None:
    full = {f"k{number}": {"in": [f"v{value}" for value in range(MAX_VALUES)]} for number in range(MAX_CONDITIONS)}
    assert len(parsed(full).conditions) == MAX_CONDITIONS
    assert parsed({"x" * MAX_CHARS: "x" * MAX_CHARS}).digest.startswith("sha256:")
    assert parsed({"n": {"in": [2**53 - 1, 1 - 2**53]}}).digest.startswith("sha256:")


def test_another_field_is_called_by_its_name() -> None:
    with pytest.raises(InvalidInput, match=r"a value of filter\.lang must be") as caught:
        parse_filter({"lang": None}, param="filter")
    assert caught.value.param == "filter.lang"


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
numbers = st.integers(1 - 2**53, 2**53 - 1) | st.floats(-(2.0**53), 2.0**53, exclude_min=True, exclude_max=True)
few = st.sampled_from(["", "a", "ab", "b", "1", "true", -1, 0, 1, 1.5, True, False])
"""So few that conditions meet."""


def operators(values: st.SearchStrategy[MetadataValue]) -> st.SearchStrategy[tuple[str, object]]:
    orderable = values.filter(lambda value: not isinstance(value, bool))
    return st.one_of(
        st.tuples(st.sampled_from(["eq", "ne"]), values),
        st.tuples(st.sampled_from(["in", "not_in"]), st.lists(values, min_size=1, max_size=5)),
        st.tuples(st.sampled_from(["gt", "gte", "lt", "lte"]), orderable),
        st.tuples(st.just("prefix"), values.filter(lambda value: isinstance(value, str))),
        st.tuples(st.just("exists"), st.booleans()),
    )


def filters(values: st.SearchStrategy[MetadataValue], keys: st.SearchStrategy[str]) -> st.SearchStrategy[Filter]:
    """Any number of operators of one key, the same one twice among them."""
    written = st.lists(operators(values), min_size=1, max_size=3).map(lambda pairs: [dict([pair]) for pair in pairs])
    return st.dictionaries(keys, written, min_size=1, max_size=4).map(parsed)


@settings(max_examples=150, deadline=None)
@given(filters(st.one_of(texts, numbers, st.booleans()), texts.filter(bool)))
def test_any_filter_is_read_back_from_what_it_shows(wanted: Filter) -> None:
    shown = wanted.as_json()
    assert parse_filter(shown) == wanted
    again = parsed(json.loads(canonical_json(shown)))  # as a trace is stored and sent
    assert again == wanted
    assert again.digest == wanted.digest


@settings(max_examples=150, deadline=None)
@given(filters(few, st.sampled_from("ab")), filters(few, st.sampled_from("ab")), st.dictionaries(st.sampled_from("ab"), few))
def test_both_allows_exactly_what_each_allows(first: Filter, second: Filter, metadata: Metadata) -> None:
    combined, document = both(first, second), Labelled(metadata=metadata)
    assert combined is not None
    assert combined.allows(document, "d") == (first.allows(document, "d") and second.allows(document, "d"))
    assert parse_filter(combined.as_json(), at_most=2 * MAX_CONDITIONS) == combined


def table_of(path: Path, metadata: list[Metadata], chunks_of: list[int]) -> list[Chunk]:
    """Writes document i with `metadata[i]`, in folder i % 3, and `chunks_of[j]` as the document of chunk j; gives the chunks."""
    documents = [
        DocumentFacts(
            id=DocumentId(f"d{row}"), title=f"Title {row}", source=f"{row % 3}/{row}.md", metadata=values,
            digest=digest_text(str(row)), text_digest=digest_text(str(row)),
        )
        for row, values in enumerate(metadata)
    ]  # fmt: skip
    blank = Chunk(
        id=ChunkId(""), document_id=DocumentId(""), ordinal=0, start=0, end=4, text="text", title="", heading_path=(), source="",
        page=None, embedded_text="text", tokens=3,
    )  # fmt: skip
    chunks = [
        replace(
            blank, id=ChunkId(f"{position:03d}"), document_id=documents[row].id, ordinal=position, title=documents[row].title,
            source=documents[row].source, metadata=documents[row].metadata,
        )
        for position, row in enumerate(chunks_of)
    ]  # fmt: skip
    path.unlink(missing_ok=True)
    write_chunk_table(path, documents, chunks)
    return chunks


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.data())
def test_a_table_selects_the_chunks_that_a_filter_allows_one_by_one(tmp_path: Path, choice: st.DataObject) -> None:
    metadata = choice.draw(st.lists(st.dictionaries(st.sampled_from("ab"), few, max_size=2), min_size=1, max_size=8))
    chunks_of = choice.draw(st.lists(st.integers(0, len(metadata) - 1), max_size=20))
    chunks = table_of(tmp_path / "chunks.sqlite", metadata, chunks_of)
    table = SqliteChunks.open(tmp_path / "chunks.sqlite")
    for wanted in (
        choice.draw(filters(few, st.sampled_from("ab"))),
        choice.draw(filters(st.sampled_from(["0/", "1/1.md", "d1", "d", "Title 2"]), st.sampled_from(["source", "title", "document_id"]))),
    ):
        allowed = [position for position, chunk in enumerate(chunks) if wanted.allows(chunk, chunk.document_id)]
        selection = table.select(wanted)
        assert selection.positions.tolist() == allowed
        assert [position for position in range(len(chunks)) if selection.bitmap[position // 8] >> position % 8 & 1] == allowed
        assert selection.documents == len({chunks_of[position] for position in allowed})
    table.close()
