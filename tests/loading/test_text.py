from hypothesis import given
from hypothesis import strategies as st

from rag_service.loading.text import load_text
from rag_service.types import Block, Document
from tests.loading.inspection import assert_blocks_are_sound, assert_blocks_cover, pieces


def test_paragraphs_are_divided_at_blank_lines_and_the_title_is_the_stem() -> None:
    (document,) = load_text("\n\n  First line\nsecond line\n \t\n\nNext.\n".encode("utf-16"), "notes/meeting.v2.txt")
    assert isinstance(document, Document)
    assert document.text == "  First line\nsecond line\n \t\n\nNext."
    assert document.title == "meeting.v2"
    assert pieces(document) == [("paragraph", "First line\nsecond line"), ("paragraph", "Next.")]
    assert document.blocks[0] == Block(2, 24, "paragraph")


@given(st.text(st.one_of(st.sampled_from("\n\t \r\u00a0\u200b\u3000ab"), st.characters()), max_size=60))
def test_blocks_are_in_order_and_hold_everything_visible(text: str) -> None:
    for item in load_text(text.encode("utf-8", "replace"), "x.txt"):
        if isinstance(item, Document):
            assert_blocks_are_sound(item)
            assert_blocks_cover(item)
