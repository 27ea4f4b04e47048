import io
import zipfile
from collections.abc import Callable

import docx
import pytest
from docx.document import Document as WordDocument

from rag_service.errors import Unreadable
from rag_service.loading import LoadLimits
from rag_service.loading.docx import load_docx
from rag_service.types import Document, Skipped
from tests.loading.inspection import assert_blocks_are_sound, assert_blocks_cover, pieces


def saved(word: WordDocument) -> bytes:
    out = io.BytesIO()
    word.save(out)
    return out.getvalue()


def untitled() -> WordDocument:
    word = docx.Document()
    word.core_properties.title = ""
    return word


def load_one(data: bytes) -> Document:
    (item,) = load_docx(data, "plans/launch.docx")
    assert isinstance(item, Document)
    assert_blocks_are_sound(item)
    assert_blocks_cover(item)
    return item


def with_body(data: bytes, old: bytes, new: bytes) -> bytes:
    """The same archive with a replacement in its body."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(out, "w") as after:
        for entry in before.infolist():
            content = before.read(entry)
            after.writestr(entry, content.replace(old, new) if entry.filename == "word/document.xml" else content)
    return out.getvalue()


def test_the_body_is_read_in_order_with_headings_lists_and_tables() -> None:
    word = untitled()
    word.add_paragraph("Launch", style="Title")
    word.add_paragraph("Before it.")
    word.add_heading("When", level=2)
    word.add_paragraph("soon", style="List Bullet")
    word.add_paragraph("later", style="List Bullet")
    table = word.add_table(rows=2, cols=2)
    for row, cells in enumerate((("who", "what"), ("Ann", "all of it"))):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    word.add_paragraph("first", style="List Number")
    word.add_paragraph("second", style="List Number")
    document = load_one(saved(word))
    assert pieces(document) == [
        ("heading", "Launch"),
        ("paragraph", "Before it."),
        ("heading", "When"),
        ("list", "- soon\n- later"),
        ("table", "who | what\nAnn | all of it"),
        ("list", "1. first\n2. second"),
    ]
    assert [(block.level, block.title) for block in document.blocks if block.kind == "heading"] == [(1, "Launch"), (2, "When")]
    assert document.title == "Launch"


def test_the_title_in_the_properties_comes_first_and_the_stem_last() -> None:
    word = untitled()
    word.add_paragraph("Text.")
    assert load_one(saved(word)).title == "launch"
    word.add_heading("A heading", level=3)
    assert load_one(saved(word)).title == "A heading"
    word.core_properties.title = "Properties"
    assert load_one(saved(word)).title == "Properties"


def test_a_style_based_on_a_heading_is_a_heading() -> None:
    word = untitled()
    style = word.styles.add_style("Chapter", docx.enum.style.WD_STYLE_TYPE.PARAGRAPH)
    style.base_style = word.styles["Heading 3"]
    word.add_paragraph("One", style="Chapter")
    word.add_paragraph("Text.")
    assert [block.level for block in load_one(saved(word)).blocks] == [3, 0]


def test_a_style_that_is_based_on_itself_ends() -> None:
    word = untitled()
    style = word.styles.add_style("Ring", docx.enum.style.WD_STYLE_TYPE.PARAGRAPH)
    style.base_style = style
    word.add_paragraph("Text.", style="Ring")
    assert pieces(load_one(saved(word))) == [("paragraph", "Text.")]


def test_text_in_content_controls_is_read_and_deleted_text_is_not() -> None:
    word = untitled()
    word.add_paragraph("Kept")
    data = with_body(saved(word), b"<w:p><w:r><w:t>Kept</w:t></w:r></w:p>", (
        b"<w:sdt><w:sdtContent><w:p><w:r><w:t>Kept</w:t><w:tab/><w:t>too</w:t></w:r>"
        b"<w:del><w:r><w:t>gone</w:t></w:r></w:del></w:p></w:sdtContent></w:sdt>"
    ))  # fmt: skip
    assert load_one(data).text == "Kept\ttoo"


def test_a_cell_that_claims_to_span_a_billion_columns_is_one_cell() -> None:
    word = untitled()
    word.add_table(rows=1, cols=1).cell(0, 0).text = "wide"
    data = with_body(saved(word), b"<w:tcPr>", b'<w:tcPr><w:gridSpan w:val="1000000000"/>')
    assert load_one(data).text == "wide"


def test_a_file_without_text_is_empty() -> None:
    assert list(load_docx(saved(untitled()), "x.docx")) == [Skipped("x.docx", "empty", "no text")]


def test_an_archive_that_expands_too_far_is_oversized_before_it_is_expanded(zip_of_zeros: Callable[[int], bytes]) -> None:
    bomb = zip_of_zeros(20_000_000)
    assert len(bomb) < 50_000
    (by_ratio,) = load_docx(bomb, "bomb.docx")
    (by_size,) = load_docx(bomb, "bomb.docx", limits=LoadLimits(max_expanded_bytes=10_000_000))
    assert isinstance(by_ratio, Skipped)
    assert isinstance(by_size, Skipped)
    assert (by_ratio.reason, by_size.reason) == ("oversized", "oversized")
    assert "times its size" in by_ratio.detail
    assert "expands to 20,000,000 bytes" in by_size.detail


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_unreadable(kept: float) -> None:
    word = untitled()
    word.add_paragraph("Text.")
    data = saved(word)
    with pytest.raises(Unreadable):
        list(load_docx(data[: int(kept * len(data))], "x.docx"))


def test_an_archive_that_is_not_words_is_unreadable() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(Unreadable, match="not a readable Word file"):
        list(load_docx(out.getvalue(), "x.docx"))


def test_xml_that_is_damaged_inside_an_intact_archive_is_unreadable() -> None:
    word = untitled()
    word.add_paragraph("Text.")
    with pytest.raises(Unreadable, match="not a readable Word file"):
        list(load_docx(with_body(saved(word), b"</w:body>", b""), "x.docx"))
