import json
import tracemalloc

import pytest

from rag_service.loading import load
from rag_service.loading.jsonl import load_jsonl
from rag_service.normalise import document_text
from rag_service.types import Document, Skipped
from tests.loading.inspection import DATA, documents, skips


def rows(text: str | bytes, source: str = "sets/corpus.jsonl") -> list[Document | Skipped]:
    return list(load_jsonl(text if isinstance(text, bytes) else text.encode(), source))


def test_a_beir_row_becomes_a_document_of_its_own() -> None:
    row = {
        "_id": "MED-10",
        "title": "Statins",
        "text": "One.\n\nTwo.\n",
        "metadata": {"url": "u", "year": 1},
        "year": 2,
        "list": [1],
        "x": None,
    }
    (document,) = documents(rows(json.dumps(row)))
    assert (document.id, document.source, document.title) == ("MED-10", "sets/corpus.jsonl#MED-10", "Statins")
    assert document.text == document_text("One.\n\nTwo.\n") == "One.\n\nTwo."
    assert document.metadata == {"url": "u", "year": 2}
    assert [(block.start, block.end) for block in document.blocks] == [(0, 4), (6, 10)]


def test_an_integer_id_becomes_text_and_a_missing_one_the_line() -> None:
    items = documents(rows('{"id": 0, "contents": "a"}\n\n{"content": "b"}\n{"id": "", "text": "c"}'))
    assert [document.id for document in items] == ["0", "sets/corpus.jsonl#3", "sets/corpus.jsonl#4"]
    assert [document.source for document in items][1:] == ["sets/corpus.jsonl#3", "sets/corpus.jsonl#4"]


def test_a_row_of_a_title_alone_has_it_as_its_text() -> None:
    (document,) = documents(rows('{"id": "a", "title": "Only this", "text": " "}'))
    assert (document.title, document.text) == ("Only this", "Only this")


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("{broken", "not JSON"),
        ("[1]", "a JSON object was expected, not list"),
        ("{}", "no text in any of"),
        ('{"text": 5}', "no text in any of"),
        ('{"id": 1.5, "text": "x"}', "the id is neither"),
        ('{"id": true, "text": "x"}', "the id is neither"),
        ("[" * 100_000, "JSON nested too deeply"),
        ('{"text": "x", "n": ' + "1" * 5000 + "}", "JSON nested too deeply, or with a number of too many digits"),
        (b'{"text": "\xff"}', "not UTF-8"),
    ],
)
def test_a_row_that_cannot_be_used_is_reported_by_its_line(line: str | bytes, detail: str) -> None:
    raw = line if isinstance(line, bytes) else line.encode()
    good, bad, last = rows(b'{"text": "a"}\n' + raw + b'\n{"text": "b"}')
    assert isinstance(good, Document)
    assert isinstance(last, Document)
    assert isinstance(bad, Skipped)
    assert (bad.source, bad.reason) == ("sets/corpus.jsonl#L2", "invalid_row")
    assert bad.detail.startswith(detail)


def test_metadata_holds_only_what_canonical_json_can() -> None:
    (document,) = documents(rows('{"text": "x", "nan": NaN, "big": 9007199254740992, "s": "a\\ud800\\u200b", "ok": -1.5, "yes": true}'))
    assert document.metadata == {"big": hex(2**53), "s": "a\ufffd", "ok": -1.5, "yes": True}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_understood(encoding: str) -> None:
    (document,) = documents(rows('{"text": "Grüße"}\n'.encode(encoding)))
    assert document.text == "Grüße"


def test_a_file_of_blank_lines_is_empty() -> None:
    assert [item.reason for item in skips(rows("\n \n"))] == ["empty"]


def test_rows_are_made_one_at_a_time() -> None:
    data = b"".join(b'{"id": %d, "text": "%s"}\n' % (number, b"word " * 200) for number in range(5_000))
    tracemalloc.start()
    assert sum(1 for _ in load_jsonl(data, "x.jsonl")) == 5_000
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < len(data) / 4


@pytest.mark.skipif(not (DATA / "squad2").is_dir(), reason="SQuAD 2.0 is not beside the project")
def test_a_squad_row_has_exactly_the_text_of_its_context() -> None:
    path = DATA / "squad2" / "corpus.jsonl"
    with path.open(encoding="utf-8") as lines:
        contexts = {row["_id"]: row["text"] for row in map(json.loads, lines)}
    loaded = documents(list(load(path)))
    assert len(loaded) == len(contexts) == 1_216
    assert all(document.text == document_text(contexts[document.id]) for document in loaded)
