import io
import logging

import pytest
from pypdf import PdfReader, PdfWriter

from rag_service.errors import Unreadable
from rag_service.loading import LoadLimits
from rag_service.loading.pdf import load_pdf
from rag_service.types import Document, Skipped
from tests.loading.inspection import PdfBuilder, assert_blocks_are_sound, assert_blocks_cover

TWO_PAGES = (
    [
        "This is the first line of a paragraph that is wide",
        "and ends here.",
        "A second paragraph then begins, and it is wide too",
    ],
    ["The second page."],
)


def encrypted(data: bytes, password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_every_block_has_the_page_it_stands_on(make_pdf: PdfBuilder) -> None:
    (document,) = load_pdf(make_pdf(TWO_PAGES, title="Annual Report"), "reports/r1.pdf")
    assert isinstance(document, Document)
    assert document.title == "Annual Report"
    assert [(block.page, document.text[block.start : block.end]) for block in document.blocks] == [
        (1, "This is the first line of a paragraph that is wide\nand ends here."),
        (1, "A second paragraph then begins, and it is wide too"),
        (2, "The second page."),
    ]
    assert_blocks_are_sound(document)
    assert_blocks_cover(document)


def test_without_a_title_in_its_information_a_file_is_called_by_its_stem(make_pdf: PdfBuilder) -> None:
    (document,) = load_pdf(make_pdf([["Text."]]), "reports/r1.pdf")
    assert isinstance(document, Document)
    assert document.title == "r1"


def test_a_scan_is_empty_and_says_why(make_pdf: PdfBuilder) -> None:
    assert list(load_pdf(make_pdf([[], []]), "scan.pdf")) == [Skipped("scan.pdf", "empty", "no text layer: 2 pages (scanned?)")]


def test_a_file_encrypted_without_a_password_is_read(make_pdf: PdfBuilder) -> None:
    (document,) = load_pdf(encrypted(make_pdf(TWO_PAGES), ""), "r.pdf")
    assert isinstance(document, Document)
    assert document.blocks[-1].page == 2


def test_a_file_that_needs_a_password_is_unreadable(make_pdf: PdfBuilder) -> None:
    with pytest.raises(Unreadable, match="encrypted"):
        list(load_pdf(encrypted(make_pdf(TWO_PAGES), "secret"), "r.pdf"))


def test_a_file_with_too_many_pages_is_oversized(make_pdf: PdfBuilder) -> None:
    (item,) = load_pdf(make_pdf([["x"]] * 4), "long.pdf", limits=LoadLimits(max_pages=3))
    assert item == Skipped("long.pdf", "oversized", "4 pages; the limit is 3")


def test_reading_stops_at_the_page_that_makes_the_text_too_long(make_pdf: PdfBuilder) -> None:
    (item,) = load_pdf(make_pdf([["x" * 60], ["y" * 60]]), "long.pdf", limits=LoadLimits(max_document_chars=100))
    assert isinstance(item, Skipped)
    assert item.reason == "oversized"


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_read_or_unreadable_but_nothing_else(make_pdf: PdfBuilder, kept: float) -> None:
    data = make_pdf(TWO_PAGES)
    try:
        items = list(load_pdf(data[: int(kept * len(data))], "cut.pdf"))
    except Unreadable:
        return
    assert all(isinstance(item, Document) or item.reason == "empty" for item in items)


def test_what_the_parser_grumbles_about_stays_out_of_the_terminal(
    make_pdf: PdfBuilder, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    damaged = make_pdf(TWO_PAGES).replace(b"startxref\n", b"startxref\n9")
    with caplog.at_level(logging.WARNING):
        assert len(list(load_pdf(damaged, "r.pdf"))) == 1
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("pypdf").level == logging.NOTSET
