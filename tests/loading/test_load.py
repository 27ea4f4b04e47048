from pathlib import Path

import pytest

from rag_service.loading import EXTENSIONS, LoadLimits, load
from rag_service.loading.formats import loader_for
from tests.loading.inspection import Writer, documents, skips


class Tally:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.done = 0

    def stage(self, name: str, total: int | None) -> None:
        self.stages.append((name, total))

    def advance(self, amount: int = 1) -> None:
        self.done += amount


def reasons(folder: Path) -> dict[str, str]:
    return {item.source: item.reason for item in skips(list(load(folder)))}


def test_progress_counts_every_file_found(write: Writer, folder: Path) -> None:
    write("a.md", "A.")
    write("b.png", b"\x89PNG")
    write("c.jsonl", '{"text": "one"}\n{"text": "two"}\n')
    tally = Tally()
    assert len(list(load(folder, progress=tally))) == 4
    assert (tally.stages, tally.done) == ([("load", 3)], 3)


def test_an_unknown_extension_is_unsupported_and_named(write: Writer, folder: Path) -> None:
    write("a.md", "A.")
    write("b.xyz", "Text all the same.")
    write("LICENSE", "Text all the same.")
    first, second = skips(list(load(folder)))
    assert (first.source, first.reason, first.detail.split(";")[0]) == ("LICENSE", "unsupported", "no extension")
    assert (second.source, second.reason, second.detail.split(";")[0]) == ("b.xyz", "unsupported", "no loader for '.xyz' files")


def test_extensions_are_known_in_any_case(write: Writer) -> None:
    assert [item.source for item in load(write("README.MD", "Read me."))] == ["README.MD"]


@pytest.mark.parametrize("ending", [".md", ".txt", ".html", ".csv", ".jsonl"])
def test_binary_bytes_in_a_text_format_are_binary(write: Writer, folder: Path, ending: str) -> None:
    write(f"x{ending}", b"\x89PNG\r\n\x00\x01\x02" * 20)
    assert reasons(folder) == {f"x{ending}": "binary"}


@pytest.mark.parametrize("ending", EXTENSIONS)
@pytest.mark.parametrize("content", [b"", b"\n"])
def test_a_file_without_anything_in_it_is_never_a_document(write: Writer, folder: Path, ending: str, content: bytes) -> None:
    write(f"x{ending}", content)
    assert set(reasons(folder).values()) <= {"empty", "unreadable"}
    assert not documents(list(load(folder)))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.md", " \n\u200b\n"),
        ("b.md", "---\ntitle: Only this\n---\n"),
        ("c.txt", "\ufeff\u00ad"),
        ("d.html", "<script>x()</script>"),
    ],
)
def test_a_file_of_nothing_visible_is_empty(write: Writer, folder: Path, name: str, content: str) -> None:
    write(name, content)
    assert reasons(folder) == {name: "empty"}


def test_a_copy_under_another_name_is_a_duplicate_of_the_first(write: Writer, folder: Path) -> None:
    write("a.txt", "The same text.\r\n")
    write("b.txt", "The same\u200b text.")
    write("c.txt", "Another text.")
    assert [(item.source, item.reason, item.detail) for item in skips(list(load(folder)))] == [("b.txt", "duplicate", "a.txt")]


def test_the_same_text_under_another_title_is_another_document(write: Writer, folder: Path) -> None:
    write(
        "a.jsonl",
        '{"id": 1, "title": "Mercury, the planet", "text": "See there."}\n{"id": 2, "title": "Venus", "text": "See there."}',
    )
    assert [document.id for document in documents(list(load(folder)))] == ["1", "2"]


def test_one_id_for_two_contents_keeps_the_first(write: Writer, folder: Path) -> None:
    write("a.jsonl", '{"id": "x", "text": "First."}\n{"id": "x", "text": "Second."}\n{"id": "x", "text": "First."}')
    items = list(load(folder))
    assert [document.text for document in documents(items)] == ["First."]
    assert [item.reason for item in skips(items)] == ["duplicate_id", "duplicate"]


def test_a_text_over_the_limit_is_oversized_in_every_format(write: Writer, folder: Path) -> None:
    write("a.md", "m" * 11)
    write("b.txt", "t" * 11)
    write("c.html", "<p>" + "h" * 11)
    write("d.jsonl", '{"text": "jjjjjjjjjjj"}')
    write("e.csv", "text\nccccccccccc\n")
    write("f.md", "fits")
    items = list(load(folder, limits=LoadLimits(max_document_chars=10)))
    assert [document.id for document in documents(items)] == ["f.md"]
    assert {item.reason for item in skips(items)} == {"oversized"}


def test_one_damaged_file_does_not_stop_the_others(write: Writer, folder: Path) -> None:
    write("a.pdf", b"%PDF-1.4 and no more")
    write("b.docx", b"PK\x03\x04 and no more")
    write("c.md", "Fine.")
    items = list(load(folder))
    assert [document.id for document in documents(items)] == ["c.md"]
    assert [item.reason for item in skips(items)] == ["unreadable", "unreadable"]
    assert all(item.detail and str(folder) not in item.detail for item in skips(items))


def test_loading_twice_gives_the_same_documents(write: Writer, folder: Path) -> None:
    write("b.md", "# B\n\ntext")
    write("a.html", "<h1>A</h1><p>text")
    assert list(load(folder)) == list(load(folder))


def test_every_extension_has_a_loader_and_others_have_none() -> None:
    assert all(loader_for(f"x{ending}", LoadLimits()) for ending in EXTENSIONS)
    assert loader_for("x.exe", LoadLimits()) is None
